//! The kernel's parts joined: what a CPU does ([`cpu`]), how the machine boots ([`boot`]), the log, the
//! devices and the file systems that show the kernel's own state.
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod boot;
pub mod cmdline;
pub mod console;
pub mod cpu;
pub mod devices;
pub mod jobs;
pub mod load;
pub mod log;
pub mod mounts;
pub mod names;
pub mod network;
pub mod proc;
pub mod random;
pub mod shutdown;
mod signal_io;
pub mod sysrq;
pub mod tick;
pub mod time;
#[cfg(feature = "trace")]
mod trace;
