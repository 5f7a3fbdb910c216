//! What bounds the waits of poll(2), select(2), epoll_wait(2): a time limit, and a signal mask for their duration.

use crate::args::Args;
use crate::{fault, signals};
use arch::addr::VirtAddr;
use base::{Errno, Error, Restart, Result, Timespec};
use core::future::Future;
use kernel::time::monotonic;
use memory::user::UserPtr;
use process::Current;
use process::signal::{SignalSet, deliver};

/// How a time limit lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `struct timespec`.
    Nanos,
    /// `struct timeval`.
    Micros,
}

/// The bounds of one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Nanoseconds from the beginning of the call; `None` for no limit.
    pub limit: Option<u64>,
    /// Where what is left of them goes in the end.
    pub remaining: Option<(VirtAddr, Unit)>,
    /// The mask.
    pub mask: Option<SignalSet>,
}

impl Bounds {
    /// A limit in milliseconds; none if it is negative.
    pub fn millis(millis: i32) -> Bounds {
        Bounds { limit: u64::try_from(millis).ok().map(|millis| millis * 1_000_000), ..Bounds::default() }
    }

    /// A limit that lies at argument `i`, which may be null. EINVAL.
    pub fn at(args: &Args, i: usize, unit: Unit) -> Result<Bounds> {
        let ptr = args.ptr::<[i64; 2]>(i);
        if ptr.is_null() {
            return Ok(Bounds::default());
        }
        let [sec, rest] = ptr.read()?;
        let time = match unit {
            Unit::Nanos => Timespec { sec, nsec: rest },
            Unit::Micros if rest < 0 => return Err(Errno::EINVAL.into()),
            Unit::Micros => Timespec { sec: sec.saturating_add(rest / 1_000_000), nsec: rest % 1_000_000 * 1000 },
        };
        let limit = time.to_nanos().ok_or(Errno::EINVAL)?;
        Ok(Bounds { limit: Some(limit), remaining: Some((args.addr(i), unit)), mask: None })
    }

    /// With the mask at `ptr`, which may be null, of `size` bytes. EINVAL.
    pub fn with_mask(self, ptr: UserPtr<u64>, size: usize) -> Result<Bounds> {
        if ptr.is_null() {
            return Ok(self);
        }
        if size != 8 {
            return Err(Errno::EINVAL.into());
        }
        Ok(Bounds { mask: Some(SignalSet(ptr.read()?)), ..self })
    }

    /// Whether the call returns at once even if nothing is ready. A mask may let a signal through first.
    pub fn is_over(&self) -> bool {
        self.limit == Some(0) && self.mask.is_none()
    }

    /// Whether they bound nothing.
    pub fn is_plain(&self) -> bool {
        self.limit.is_none() && self.mask.is_none()
    }

    /// Whether there is neither a mask nor a place where what is left of the time goes: the limit was a number (poll(2)).
    pub fn is_unseen(&self) -> bool {
        self.mask.is_none() && self.remaining.is_none()
    }

    /// The end on the monotonic clock.
    pub fn deadline(&self) -> Option<u64> {
        self.limit.map(|limit| monotonic().saturating_add(limit))
    }

    /// Puts the mask in place.
    pub fn begin(&self, current: &mut Current) {
        if let Some(mask) = self.mask {
            signals::suspend_mask(current, mask);
        }
    }

    /// Stores what is left of the time, and takes the mask back unless a signal is to be looked at with it.
    pub async fn end(&self, current: &mut Current, deadline: Option<u64>, mut result: Result<usize>) -> Result<usize> {
        if let (Some((ptr, unit)), Some(deadline)) = (self.remaining, deadline) {
            let left = Timespec::from_nanos(deadline.saturating_sub(monotonic()));
            let rest = if unit == Unit::Nanos { left.nsec } else { left.nsec / 1000 };
            // The call has its result by now, so a bad pointer changes nothing, but that it could not begin anew with what is left.
            while let Err(page) = UserPtr::<[i64; 2]>::new(ptr).write(&[left.sec, rest]) {
                if fault::resolve(current, page).await.is_err() {
                    if let Err(Error::Interrupted(_)) = result {
                        result = Err(Error::Interrupted(Restart::Never));
                    }
                    break;
                }
            }
        }
        if !matches!(result, Err(Error::Interrupted(_)))
            && self.mask.is_some()
            && let Some(mask) = current.saved_mask.take()
        {
            deliver::set_mask(&current.thread, mask);
        }
        result
    }
}

/// Waits for `ready`, but not after `deadline`: `None` when the time is up.
pub async fn bounded<F: Future>(
    current: &Current,
    restart: Restart,
    deadline: Option<u64>,
    ready: F,
) -> Result<Option<F::Output>> {
    match deadline {
        None => current.thread.interruptible(restart, ready).await.map(Some),
        Some(at) => {
            let limited = executor::timeout_at(at, ready);
            Ok(current.thread.interruptible(restart, limited).await?.ok())
        }
    }
}
