//! The loop that the async halves of socket calls share.

use crate::fault;
use arch::trap::PageFault;
use base::{Errno, Error, Events, Restart, Result};
use kernel::time::monotonic;
use process::Current;
use vfs::Description;

/// Bytes of a stream that are moved between two chances for others to run.
pub const CHUNK: usize = 1 << 20;

/// How a call goes on after a step.
pub enum Step {
    /// It has ended.
    Done(Result<usize>),
    /// It goes on when this fault is resolved.
    Fault(PageFault),
    /// It goes on when the socket is ready.
    Wait,
    /// It goes on when others have had a chance to run.
    Yield,
}

impl Step {
    /// What an error of the arguments means.
    pub fn failed(error: Error) -> Step {
        match error {
            Error::Fault(page) => Step::Fault(page),
            error => Step::Done(Err(error)),
        }
    }
}

/// What ends a wait besides the socket.
#[derive(Clone, Copy)]
pub struct Limit {
    /// SO_RCVTIMEO or SO_SNDTIMEO, in nanoseconds from the beginning of the wait.
    pub nanos: Option<u64>,
    /// What comes of the call then.
    pub late: Errno,
}

/// Takes steps until there is a result, waiting for `events` of the socket. An error may come after steps that moved bytes:
/// whoever calls looks at its own count. A signal restarts the call, if there is no time limit (signal(7)).
pub async fn drive(
    current: &Current,
    file: &Description,
    events: Events,
    limit: Limit,
    mut step: impl FnMut() -> Step,
) -> Result<usize> {
    let until = limit.nanos.map(|nanos| monotonic().saturating_add(nanos));
    let mut next = step();
    loop {
        next = match next {
            Step::Done(result) => return result,
            Step::Fault(page) => {
                fault::resolve(current, page).await?;
                step()
            }
            Step::Yield => {
                executor::preempt().await;
                step()
            }
            Step::Wait => {
                let queue = file.queue().ok_or(Errno::EAGAIN)?;
                let moved = || match step() {
                    Step::Wait => None,
                    next => Some(next),
                };
                let ready = queue.wait_until_exclusive(events.bits(), moved).after_failure();
                match until {
                    None => current.thread.interruptible(Restart::IfAsked, ready).await?,
                    Some(at) => {
                        match current.thread.interruptible(Restart::IfAsked, executor::timeout_at(at, ready)).await {
                            Ok(Ok(next)) => next,
                            Ok(Err(_)) => return Err(limit.late.into()),
                            Err(Error::Interrupted(_)) => return Err(Errno::EINTR.into()),
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
        };
    }
}
