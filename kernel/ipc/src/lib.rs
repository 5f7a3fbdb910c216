//! System V IPC (sysvipc(7)): semaphore sets, message queues and shared memory segments, which have numbers that
//! everybody may know and live until they are removed.
//!
//! * [`registry`]: the objects of one kind by id and by key; [`perm`]: who may use them.
//! * [`line`]: sleepers whose business is finished by whoever makes it possible, in the order in which they came.
//! * [`sem`], [`msg`], [`shm`]: the three kinds; [`limits`]: how many and how large; [`show`]: /proc/sysvipc.
//!
//! Nothing here waits but the futures that a sleeper is given. An object's lock is taken with no other of this crate held
//! but, where it is said, the registry's.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod actor;
pub mod limits;
mod line;
pub mod msg;
pub mod perm;
mod registry;
pub mod sem;
pub mod shm;
pub mod show;
#[cfg(test)]
mod tests;

pub use actor::acts;
pub use perm::Permissions;
pub use registry::{ById, Registry};

use base::Credentials;

/// Who makes a call.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The identity that permissions are checked for.
    pub cred: &'a Credentials,
    /// The process id that the object remembers.
    pub process: u32,
}

/// `IPC_PRIVATE`: the key of an object that has none.
pub const PRIVATE: i32 = 0;
/// `IPC_CREAT`.
pub const CREATE: u32 = 0o1000;
/// `IPC_EXCL`.
pub const EXCLUSIVE: u32 = 0o2000;
/// `IPC_NOWAIT`.
pub const NOWAIT: u32 = 0o4000;

/// Seconds of the wall clock, as the objects' times are kept.
fn now() -> i64 {
    vfs::clock::now().sec
}

#[cfg(test)]
executor::hosted_platform!();
