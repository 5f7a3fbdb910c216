//! Tasks that other CPUs woke for this one.
//!
//! A bounded lock-free queue takes the common case. When it is full, or its CPU has not started
//! yet, tasks go to an intrusive list behind a spin lock, so nothing is lost and nothing is
//! allocated. Order between the two is not kept.
//!
//! Order in memory: a pusher puts its task in and *then* swaps `pending` to true; the owner swaps
//! it to false and *then* empties both. The swaps are read-modify-writes of one word, so they have
//! one order. If the push's swap comes after the owner's, `pending` is true again and the owner
//! comes back; if it comes before, the owner's swap acquires what the push's swap released and
//! finds the task. The pusher that turned `pending` from false to true is the one that rings.

use crate::spin::{Rank, SpinLock};
use crate::sync::atomic::{AtomicBool, Ordering};

/// A bounded queue: `crossbeam_queue::ArrayQueue`, or a stand-in under loom.
pub(crate) trait Ring<T>: Sync {
    /// Gives the task back if the queue is full or not there.
    fn push(&self, task: T) -> Result<(), T>;
    fn pop(&self) -> Option<T>;
}

/// An unbounded list: `Fifo`, or a stand-in under loom.
pub(crate) trait Overflow<T>: Send {
    fn push(&mut self, task: T);
    fn pop(&mut self) -> Option<T>;
}

pub(crate) struct Inbox<R, O> {
    pending: AtomicBool,
    overflowed: AtomicBool,
    ring: R,
    overflow: SpinLock<O>,
}

impl<R, O> Inbox<R, O> {
    crate::sync::const_fn! {
        pub fn new(ring: R, overflow: O) -> Self {
            Inbox {
                pending: AtomicBool::new(false),
                overflowed: AtomicBool::new(false),
                ring,
                overflow: SpinLock::new(Rank::INBOX, overflow),
            }
        }
    }

    /// Whether [`drain`](Inbox::drain) would find something.
    #[inline]
    pub fn pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    #[inline]
    #[cfg_attr(loom, expect(dead_code))]
    pub fn ring(&self) -> &R {
        &self.ring
    }

    /// Adds a task; true if the owner does not know yet that there is something.
    pub fn push<T>(&self, task: T) -> bool
    where
        R: Ring<T>,
        O: Overflow<T>,
    {
        if let Err(task) = self.ring.push(task) {
            let mut overflow = self.overflow.lock();
            overflow.push(task);
            self.overflowed.store(true, Ordering::Relaxed);
        }
        !self.pending.swap(true, Ordering::SeqCst)
    }

    /// Hands every task to `take`. Only the owner calls this.
    pub fn drain<T>(&self, mut take: impl FnMut(T))
    where
        R: Ring<T>,
        O: Overflow<T>,
    {
        self.pending.swap(false, Ordering::SeqCst);
        while let Some(task) = self.ring.pop() {
            take(task);
        }
        // Ordered after the pusher's store by the swaps of `pending`, as the tasks are.
        while self.overflowed.load(Ordering::Relaxed) {
            let mut overflow = self.overflow.lock();
            let task = overflow.pop();
            if task.is_none() {
                self.overflowed.store(false, Ordering::Relaxed);
            }
            drop(overflow);
            if let Some(task) = task {
                take(task);
            }
        }
    }
}
