//! Terminals (tty(4), pty(7), termios(3)): the line discipline, the terminal object, pseudo-terminals, the console.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod ldisc;
pub mod queue;
pub mod termios;
