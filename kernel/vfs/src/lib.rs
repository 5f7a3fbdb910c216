//! Files: what a name is, what an open file is, and the kinds of file that need no device.
//!
//! * [`inode`], [`dentry`], [`mount`], [`path`]: the tree of names.
//! * [`file`], [`description`], [`fdtable`]: open files.
//! * [`open`], [`names`], [`attributes`]: what system calls do to the tree.
//!
//! Nothing here waits: an operation that would have to returns [`base::Error::WouldBlock`] and the
//! caller awaits the file's queue. Locks are spin locks in the order of [`ranks`].
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod attributes;
pub mod clock;
pub mod context;
pub mod cpio;
mod cpio_entry;
pub mod dentry;
pub mod description;
pub mod detached;
pub mod devices;
pub mod directory;
pub mod epoll;
pub mod eventfd;
pub mod fdtable;
pub mod file;
pub mod flags;
pub mod inode;
pub mod locks;
pub mod mount;
pub mod names;
pub mod open;
pub mod path;
pub mod permission;
pub mod pipe;
mod pipe_quota;
pub mod poll;
pub mod ranks;
pub mod ring;
pub mod signalled;
#[cfg(test)]
mod tests;
pub mod timerfd;
pub mod tmpfs;
mod writers;

pub use context::FsContext;
pub use dentry::Dentry;
pub use description::Description;
pub use fdtable::FdTable;
pub use file::{Caller, File};
pub use flags::OpenFlags;
pub use inode::{Device, FileType, Inode, Metadata};
pub use mount::{FileSystem, Location, Mount};
pub use writers::{Executed, Writers};

#[cfg(test)]
executor::hosted_platform!();
