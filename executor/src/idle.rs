//! The handshake that keeps a wake from falling between "nothing to do" and "asleep".
//!
//! The CPU publishes that it is idle, and *then* looks for work once more; a waker leaves its work,
//! and *then* reads whether the CPU is idle. Both sides have a sequentially consistent fence in
//! between, so at least one of them sees the other: either the CPU finds the work and does not
//! sleep, or the waker sees the CPU idle and rings. The ring is an interrupt, which stays pending
//! while interrupts are masked and ends the halt that follows, so ringing early is as good as late.
//!
//! The same word says what level the CPU runs at otherwise: a waker rings a CPU that runs
//! something of a lower level, too.

use crate::sync::atomic::{AtomicU32, Ordering, fence};

/// What a CPU runs: 0 is idle, higher preempts lower.
pub(crate) struct Level(AtomicU32);

impl Level {
    crate::sync::const_fn! {
        pub fn new(level: u32) -> Level {
            Level(AtomicU32::new(level))
        }
    }

    #[inline]
    #[cfg_attr(loom, expect(dead_code))]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Publishes that the CPU is idle. The caller then looks for work and halts if there is none.
    pub fn enter_idle(&self) {
        self.0.store(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Publishes what the CPU runs. A change is fenced as in `enter_idle`, so that what is pushed
    /// against the old level is found by the look at the inbox on the way to user mode. Whether it has changed.
    #[inline]
    #[cfg_attr(loom, expect(dead_code))]
    pub fn set(&self, level: u32) -> bool {
        let changes = self.0.load(Ordering::Relaxed) != level;
        if changes {
            self.0.store(level, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
        changes
    }

    /// The level, for a waker that has just left its work.
    #[inline]
    pub fn after_push(&self) -> u32 {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed)
    }
}
