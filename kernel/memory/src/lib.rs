//! Memory: frames of RAM, the kernel heap, address spaces, and access to what programs hold in theirs.
//!
//! * [`frames`]: RAM page by page; [`frames::Frame`] owns one.
//! * [`heap`]: the kernel's global allocator, on top of the frames.
//! * [`space`]: what mmap(2) and its like work on, and what a page fault is answered from.
//! * [`tlb`]: which CPU runs which space, and getting rid of stale translations.
//! * [`user`], [`io`]: copies from and to programs.
//!
//! Nothing here panics for what a program asks, and nothing sleeps but what is `async`.
#![cfg_attr(target_os = "none", no_std)]
#![warn(missing_docs)]

extern crate alloc;

mod boot;
mod boxed;
pub mod frames;
pub mod heap;
pub mod io;
mod machine;
mod ranks;
pub mod space;
pub mod tlb;
pub mod user;

pub use boot::with_boot_range;
pub use boxed::try_pin;
pub use frames::{Frame, Kind, OutOfMemory, admit, init, is_pressed, stats};
pub use heap::KernelHeap;
pub use space::{FaultError, Space};
pub use zerocopy;

#[cfg(test)]
executor::hosted_platform!();
