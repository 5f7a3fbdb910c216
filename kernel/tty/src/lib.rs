//! Terminals (tty(4), pty(7), termios(3)).
//!
//! * [`ldisc`]: the line discipline, pure; [`termios`] its settings, [`queue`] its buffers.
//! * [`tty`]: the terminal around it; [`line`](mod@line) is its far end, [`file`](mod@file) an open one, `ioctl` what
//!   ioctl_tty(2) lists.
//! * [`job`]: sessions and groups, and what the process layer is asked for.
//! * [`pty`], [`devpts`]: pseudo-terminals and where their names are. [`console`]: the terminals with fixed names.
//!
//! Nothing here waits: what would have to returns [`base::Error::WouldBlock`]. Locks: [`ranks`].
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod console;
pub mod devpts;
pub mod file;
mod ioctl;
pub mod job;
pub mod ldisc;
pub mod line;
pub mod pty;
pub mod queue;
pub mod ranks;
pub mod termios;
pub mod tty;

#[cfg(test)]
mod tests;
