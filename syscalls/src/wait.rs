//! The async halves of the calls that can wait.
//!
//! All of them are arms of one future, whose size is that of its largest arm. A rare call with a large future is boxed
//! here, so that a thread that waits in a common call stays small.

use crate::args::Args;
use crate::{children, creation, execution, futex, scheduling, signals, time};
use alloc::boxed::Box;
use base::{Errno, Result};
use process::Current;

/// Which call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the call of that name")]
pub enum Slow {
    /// A call that never waits.
    Never,
    Clone,
    Clone3,
    Fork,
    Vfork,
    Execve,
    Execveat,
    Wait4,
    Waitid,
    Futex,
    SchedYield,
    Nanosleep,
    ClockNanosleep,
    RestartSyscall,
    Pause,
    RtSigsuspend,
    RtSigtimedwait,
}

/// Goes on where the fast half would have had to wait.
pub async fn finish(current: &mut Current, slow: Slow, args: &Args) -> Result<usize> {
    match slow {
        Slow::Never => Err(Errno::EAGAIN.into()),
        Slow::SchedYield => scheduling::sched_yield(current).await,
        Slow::Futex => futex::futex(current, args).await,
        Slow::Wait4 => children::wait4(current, args).await,
        Slow::Waitid => children::waitid(current, args).await,
        Slow::Nanosleep => time::nanosleep(current, args).await,
        Slow::ClockNanosleep => time::clock_nanosleep(current, args).await,
        Slow::Pause => signals::pause(current).await,
        Slow::RtSigsuspend => signals::sigsuspend(current, args).await,
        Slow::RtSigtimedwait => signals::sigtimedwait(current, args).await,
        Slow::RestartSyscall => Box::pin(time::restart_syscall(current)).await,
        Slow::Clone => Box::pin(creation::clone(current, args)).await,
        Slow::Clone3 => Box::pin(creation::clone3(current, args)).await,
        Slow::Fork => Box::pin(creation::fork(current)).await,
        Slow::Vfork => Box::pin(creation::vfork(current)).await,
        Slow::Execve => Box::pin(execution::execve(current, args)).await,
        Slow::Execveat => Box::pin(execution::execveat(current, args)).await,
    }
}
