//! What an idle CPU does: it takes from another.

use crate::fifo::Ready;
use crate::machine::Machine;
use crate::platform;
use crate::trace::{self, Point};

/// Takes a task from another CPU's queue.
#[cold]
#[inline(never)]
pub(super) fn steal(machine: &Machine, me: usize) -> Option<Ready> {
    let cpus = platform::cpu_count();
    for step in 1..cpus {
        let victim = &machine.cpus[(me + step) % cpus];
        if victim.gauge.len() == 0 {
            continue;
        }
        let Some(mut queue) = victim.queue.try_lock() else { continue };
        if let Some(task) = queue.steal(&victim.gauge, me) {
            trace::about(task.metadata(), Point::Migrate, me as u64);
            return Some(task);
        }
    }
    None
}
