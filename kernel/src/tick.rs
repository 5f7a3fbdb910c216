//! The tick: every few milliseconds a busy CPU looks what it is busy with. An idle one does not tick.
//!
//! The tick says what a CPU's time went to, in programs or in the kernel, as a sample does: what was spent since the tick
//! before goes to where this one falls. Reading the clock at every entry of the kernel would be exact and
//! would cost every system call.
//!
//! The statics are each written by their own CPU.

use arch::MAX_CPUS;
use base::PerCpu;
use base::percpu::Padded;
use core::sync::atomic::{AtomicU64, Ordering};
use process::times::Mode;

/// Nanoseconds between two ticks.
pub const PERIOD: u64 = 4_000_000;

type Counter = PerCpu<AtomicU64>;

const fn counter() -> Counter {
    PerCpu::new([const { Padded(AtomicU64::new(0)) }; MAX_CPUS])
}

/// When each CPU's next tick is due, in nanoseconds since boot.
static DUE: Counter = counter();
/// How long each CPU had not been halted, as of its last tick.
static BUSY: Counter = counter();
static USER: Counter = counter();
static NICE: Counter = counter();
static SYSTEM: Counter = counter();

/// When this CPU's next tick is due; a period from `now` if that time has passed.
pub(crate) fn due(now: u64) -> u64 {
    let due = DUE.this().load(Ordering::Relaxed);
    if due > now {
        return due;
    }
    DUE.this().store(now + PERIOD, Ordering::Relaxed);
    now + PERIOD
}

/// When this CPU's next tick is due, or was when it ticked last.
#[inline]
pub(crate) fn last_due() -> u64 {
    DUE.this().load(Ordering::Relaxed)
}

/// Whether this CPU's tick is due; if so the next one is set.
pub(crate) fn take(now: u64) -> bool {
    if DUE.this().load(Ordering::Relaxed) > now {
        return false;
    }
    DUE.this().store(now + PERIOD, Ordering::Relaxed);
    true
}

/// The tick met this CPU in `mode`, in a program of positive nice value where `nice`.
pub fn charge(mode: Mode, nice: bool) {
    let cpu = arch::cpu::id();
    let busy = arch::time::now().saturating_sub(crate::cpu::idle_time(cpu));
    let spent = busy.saturating_sub(BUSY.this().swap(busy, Ordering::Relaxed));
    let counter = match mode {
        Mode::User if nice => &NICE,
        Mode::User => &USER,
        Mode::System => &SYSTEM,
    };
    counter.this().fetch_add(spent, Ordering::Relaxed);
}

/// What a CPU's time went to since boot, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// Programs.
    pub user: u64,
    /// Programs of positive nice values.
    pub nice: u64,
    /// The kernel.
    pub system: u64,
    /// Nothing.
    pub idle: u64,
}

impl CpuTime {
    /// CPU `cpu`'s. What it was busy with since its last tick is not yet in it.
    pub fn of(cpu: usize) -> CpuTime {
        let [user, nice, system] = [&USER, &NICE, &SYSTEM].map(|counter| counter.of(cpu).load(Ordering::Relaxed));
        CpuTime { user, nice, system, idle: crate::cpu::idle_time(cpu) }
    }

    /// The sum of two.
    pub fn plus(self, other: CpuTime) -> CpuTime {
        CpuTime {
            user: self.user + other.user,
            nice: self.nice + other.nice,
            system: self.system + other.system,
            idle: self.idle + other.idle,
        }
    }
}
