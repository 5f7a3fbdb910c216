//! How long tasks have run.

use super::{Relaxed, this};
use crate::sched::Entity;
use crate::{machine, platform};
use core::sync::atomic::Ordering;

/// Charges the running task for its time up to now, so that its run time is exact in the middle
/// of a long poll. The end of each poll does this by itself.
#[inline]
pub fn account() {
    let (_, _, cpu) = this();
    let now = platform::now();
    // A CPU's own clock does not go back.
    let spent = now.wrapping_sub(cpu.charged.load(Relaxed));
    cpu.charged.store(now, Relaxed);
    cpu.current.with(|entity| {
        // Only the CPU that runs the task writes this.
        let total = entity.runtime.load(Relaxed);
        // Release: after `charged`, so that who adds what is not charged yet never counts a time twice.
        entity.runtime.store(total.wrapping_add(spent), Ordering::Release);
    });
}

/// How long a task has run, in ns, up to now even if it is running, here or elsewhere. Another CPU that is just charging
/// it may give a little less than a moment ago.
pub(crate) fn runtime(entity: &Entity) -> u64 {
    let charged = entity.runtime.load(Ordering::Acquire);
    let Some(cpu) = machine::get().cpus.get(entity.home()) else { return charged };
    if !cpu.current.is(entity) {
        return charged;
    }
    charged.wrapping_add(platform::now().saturating_sub(cpu.charged.load(Relaxed)))
}

/// The run time of the task being polled on this CPU in ns, up to now. None outside a poll.
pub fn current_cpu_time() -> Option<u64> {
    account();
    this().2.current.with(|entity| entity.runtime.load(Relaxed))
}
