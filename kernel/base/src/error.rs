//! How an operation of the kernel ends when it does not succeed. It becomes an errno in one place,
//! where the system call returns (`syscalls::run`).

use crate::Errno;
use arch::trap::PageFault;

/// The result of an operation that never waits.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why an operation that never waits did not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It failed, for good.
    Errno(Errno),
    /// It touched user memory that is not there. Nothing that the program could observe has happened: resolve the
    /// fault (which may wait) and call again. What cannot be resolved becomes EFAULT.
    Fault(PageFault),
    /// It would have to wait. Wait on the object's queue and call again, or fail with EAGAIN
    /// where the program asked not to wait.
    WouldBlock,
    /// A signal ended the wait before anything happened.
    Interrupted(Restart),
}

/// What becomes of a system call that a signal interrupted (signal(7), "Interruption of system
/// calls"). Decided at delivery, in `process::signal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Restarted if no handler runs or the handler has SA_RESTART, else EINTR. (The common case.)
    IfAsked,
    /// Restarted if no handler runs, else EINTR: pause, sigsuspend, select, ...
    IfUnhandled,
    /// Restarted always; the program never sees it: fork, and calls that are part of exit.
    Always,
    /// Never restarted: EINTR, even where no handler runs (epoll_wait, semop).
    Never,
    /// As [`Restart::IfUnhandled`], but restarted through restart_syscall(2), which goes on with what the
    /// thread noted (a relative sleep's end).
    Resume,
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error::Errno(errno)
    }
}

impl From<PageFault> for Error {
    fn from(fault: PageFault) -> Error {
        Error::Fault(fault)
    }
}
