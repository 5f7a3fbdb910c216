//! The open file description (open(2), "Open file descriptions") and what a kind of file does.
//!
//! Operations never wait. One that would have to returns [`Error::WouldBlock`]; whoever called it
//! waits on [`File::queue`] and calls again. So blocking, non-blocking, poll, select and epoll are the
//! same few lines above this trait, and no future needs a box.

use base::{Credentials, Errno, Error, Events, Result};
use executor::WaitQueue;
use memory::io::{Dst, Src};

/// What a call on a file knows of its caller.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// For permission checks.
    pub cred: &'a Credentials,
    /// O_NONBLOCK of the description, or a flag of the call. Most files need not look: the caller turns
    /// [`Error::WouldBlock`] into EAGAIN by itself.
    pub nonblock: bool,
    /// O_APPEND of the description.
    pub append: bool,
    /// O_DIRECT, which pipes take as packet mode.
    pub direct: bool,
    /// The thread id of the caller in the initial pid namespace; its process's is `process`.
    pub thread: u32,
    /// The process id of the caller.
    pub process: u32,
}

/// A kind of open file: a pipe end, a socket, a terminal, a regular file, ... Every method has a default that gives
/// the errno of a file that cannot do it.
pub trait File: Send + Sync {
    /// Reads at `pos` into `dst` and returns the number of bytes, 0 at the end of file. Files that cannot seek
    /// ignore `pos`. A fault of `dst` after some bytes is not an error: what was
    /// transferred is reported, and `dst` remembers the fault.
    fn read(&self, _caller: &Caller, _pos: u64, _dst: &mut Dst) -> Result<usize> {
        Err(Errno::EINVAL.into())
    }

    /// Writes `src` at `pos` and returns the number of bytes taken (with [`Caller::append`], at the
    /// end of file; [`File::position_after_append`] then tells where that was).
    fn write(&self, _caller: &Caller, _pos: u64, _src: &mut Src) -> Result<usize> {
        Err(Errno::EINVAL.into())
    }

    /// What the file is ready for now. Must not wait.
    fn poll(&self, _caller: &Caller) -> Events {
        Events::IN | Events::OUT | Events::RDNORM | Events::WRNORM
    }

    /// Where to wait for a change of [`File::poll`]; woken with the [`Events`] bits that may have become true.
    /// `None`: always ready.
    fn queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// Whether the file has a position (lseek works, pread and pwrite are allowed).
    fn seekable(&self) -> bool {
        false
    }

    /// ioctl(2). `arg` is the third argument as given; pointers in it are user addresses. The default is ENOTTY.
    fn ioctl(&self, _caller: &Caller, _request: u32, _arg: usize) -> Result<usize> {
        Err(Errno::ENOTTY.into())
    }

    /// The last reference to the description is gone.
    fn close(&self) {}
}

/// The error of an operation that would wait, for a caller that asked not to.
pub fn no_wait<T>(result: Result<T>) -> Result<T> {
    match result {
        Err(Error::WouldBlock) => Err(Errno::EAGAIN.into()),
        other => other,
    }
}
