//! Evening out what CPUs have to do.
//!
//! An idle CPU steals. That leaves busy ones as they are, one with thirty tasks beside one with a single task that never
//! waits, and a task's share would depend on where it happened to start. So a CPU on which tasks wait looks now and then,
//! when a slice has been used up, whether another has fewer, and sends it half of the difference. The one with more does it:
//! the one with fewer may run a program that does not come into the kernel for as long as nobody waits beside it.
//!
//! Tasks count alike, whatever their weight. Real-time ones stay where they are, as does who is in the wake slot.

use crate::cpu;
use crate::machine::Machine;
use crate::platform;

/// How long after one look the next comes, in ns.
pub(crate) const PERIOD: u64 = 4_000_000;
/// How many tasks are sent at most: their queue is locked, and its CPU is needed.
const MOST: u32 = 8;

/// Sends tasks that wait on this CPU, `me`, to the one that has the fewest, if that has two fewer.
#[cold]
#[inline(never)]
pub(crate) fn balance(machine: &Machine, me: usize) {
    let online = machine.online.load(core::sync::atomic::Ordering::Relaxed);
    let others = (0..platform::cpu_count()).filter(|&other| other != me && online >> other & 1 != 0);
    let Some((load, target)) = others.map(|other| (machine.cpus[other].load(), other)).min() else { return };
    // What runs here is in no queue.
    let mine = machine.cpus[me].waiting() + 1;
    for _ in 0..(mine.saturating_sub(load) / 2).min(MOST) {
        let Some(task) = machine.cpus[me].spare(target) else { return };
        cpu::send(machine, task, target);
    }
}
