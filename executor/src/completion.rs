//! Things that happen once, or again.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::wait::{ALL, WaitQueue};

/// Something that happens once, for which any number of tasks may wait.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// static DONE: executor::Completion = executor::Completion::new();
/// let child = executor::spawn(DONE.wait(), Default::default());
/// executor::run_next();
/// DONE.complete();
/// executor::run_next();
/// assert!(child.is_finished());
/// # }
/// ```
pub struct Completion {
    done: AtomicBool,
    queue: WaitQueue,
}

impl Completion {
    crate::sync::const_fn! {
        /// One that has not happened.
        pub fn new() -> Completion {
            Completion { done: AtomicBool::new(false), queue: WaitQueue::new() }
        }
    }

    /// Makes it happen and wakes all who wait. False if it had happened already.
    pub fn complete(&self) -> bool {
        let first = !self.done.swap(true, Ordering::AcqRel);
        if first {
            self.queue.notify_all(ALL);
        }
        first
    }

    /// Whether it has happened.
    pub fn is_complete(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Waits until it has happened.
    pub async fn wait(&self) {
        self.queue.wait_until(ALL, || self.is_complete().then_some(())).await;
    }
}

#[cfg(not(loom))]
impl Default for Completion {
    fn default() -> Self {
        Completion::new()
    }
}

/// A flag that one waiter takes: it stays set until a task has waited for it.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// static KICK: executor::Event = executor::Event::new();
/// KICK.set(); // nobody waits yet; it is kept
/// let driver = executor::spawn(KICK.wait(), Default::default());
/// executor::run_next();
/// assert!(driver.is_finished());
/// # }
/// ```
pub struct Event {
    set: AtomicBool,
    queue: WaitQueue,
}

impl Event {
    crate::sync::const_fn! {
        /// One that is not set.
        pub fn new() -> Event {
            Event { set: AtomicBool::new(false), queue: WaitQueue::new() }
        }
    }

    /// Sets it and wakes one waiter. Setting it twice counts once.
    pub fn set(&self) {
        if !self.set.swap(true, Ordering::AcqRel) {
            self.queue.notify_one(ALL);
        }
    }

    /// Takes it if it is set.
    pub fn take(&self) -> bool {
        self.set.load(Ordering::Relaxed) && self.set.swap(false, Ordering::AcqRel)
    }

    /// Waits until it is set, and takes it.
    pub async fn wait(&self) {
        self.queue.wait_until_exclusive(ALL, || self.take().then_some(())).await;
    }
}

#[cfg(not(loom))]
impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}
