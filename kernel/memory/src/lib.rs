//! Memory: frames of RAM, the kernel heap, address spaces, and access to what programs hold in theirs.
#![cfg_attr(target_os = "none", no_std)]
#![warn(missing_docs)]

extern crate alloc;

pub mod io;
pub mod user;

pub use zerocopy;
