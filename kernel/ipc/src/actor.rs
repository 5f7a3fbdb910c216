//! For whom a CPU works. What is mapped and unmapped remembers the process that did it (`shm_lpid`), also where that happens
//! by fork(2), execve(2) or exit, deep in the address space, which knows nothing of processes.

use base::percpu::{Padded, PerCpu};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

static ACTORS: PerCpu<AtomicU32> = PerCpu::new([const { Padded(AtomicU32::new(0)) }; arch::MAX_CPUS]);

/// From now on this CPU works for process `id`. To be said whenever it changes the address space.
#[inline]
pub fn acts(id: u32) {
    ACTORS.this().store(id, Relaxed);
}

/// The process that this CPU works for.
pub(crate) fn actor() -> u32 {
    ACTORS.this().load(Relaxed)
}
