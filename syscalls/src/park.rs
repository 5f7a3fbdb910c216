//! Calls that wait for nothing but their file: they park on it and are made again when it is ready.
//!
//! Such a call does all of its work in the half that does not wait. Where that finds the file not ready it says so through
//! [`Target::unready`], and the thread's life waits for the file and makes the call again, on the same file even if
//! its number means another by then. A call that has moved something already, or that must stop waiting at some time, goes on in its
//! async half instead.

use crate::args::Args;
use crate::paths::file;
use alloc::sync::Arc;
use base::{Error, Events, Restart, Result};
use core::future::Future;
use core::ops::Deref;
use executor::{Arrival, WaitQueue};
use process::Current;
use process::current::Parked;
use vfs::Description;

/// The file of a call that may park: what is open as its first argument, or what it has parked on.
pub struct Target {
    file: Arc<Description>,
    /// The call has been woken for this file.
    woken: bool,
}

impl Deref for Target {
    type Target = Description;

    #[inline]
    fn deref(&self) -> &Description {
        &self.file
    }
}

impl Target {
    /// EBADF.
    #[inline]
    pub fn of(current: &mut Current, args: &Args) -> Result<Target> {
        match current.parked.take() {
            Some(parked) => Ok(Target { file: parked.file, woken: true }),
            None => Ok(Target { file: file(current, args, 0)?, woken: false }),
        }
    }

    /// What comes of a call that failed with `error`: one that would have to wait for `events` parks if it can.
    #[inline]
    pub fn unready(self, current: &mut Current, error: Error, events: Events, restart: Restart) -> Error {
        if let Error::WouldBlock = error {
            if current.transferred == 0 && current.carried.is_none() {
                current.parked = Some(Parked { file: self.file, events, restart });
            }
        } else if self.woken {
            self.pass_on(events);
        }
        error
    }

    /// It was woken for something that it has not taken: another may.
    #[cold]
    fn pass_on(self, events: Events) {
        if let Some(queue) = self.file.queue() {
            queue.notify_one(events.bits());
        }
    }
}

/// What the thread has parked on and where that is waited for. `None` if it has not parked, or the wait may have to end at some
/// time: the call goes on in its async half.
#[inline]
pub fn place(current: &Current) -> Option<(&Parked, &WaitQueue)> {
    let parked = current.parked.as_ref()?;
    Some((parked, parked.file.file().timeless_queue(parked.events)?))
}

/// Waits at such a place until the file is ready.
#[inline]
pub fn ready<'a>(
    current: &'a Current,
    parked: &'a Parked,
    queue: &'a WaitQueue,
) -> impl Future<Output = Result<Arrival>> + 'a {
    let wanted = parked.events | Events::ERR | Events::HUP;
    let look = move || parked.file.poll(&current.caller()).intersects(wanted);
    current.thread.interruptible(parked.restart, queue.arrival(wanted.bits(), look))
}
