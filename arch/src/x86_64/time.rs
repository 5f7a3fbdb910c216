//! The clock and the one timer of each CPU. All times are nanoseconds since boot.
//!
//! The clock is the time stamp counter, which runs alike on all CPUs, times a factor. The statics are written by
//! the boot CPU before others run.

use super::apic;
use super::features::{Features, has};
use super::percpu;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// Bits behind the point of the factors.
const SHIFT: u32 = 32;
const NS_PER_S: u128 = 1_000_000_000;

static TSC_BASE: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per tick of the TSC.
static NS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// Ticks of the timer (TSC, or the APIC's clock) per nanosecond.
static TICKS_PER_NS: AtomicU64 = AtomicU64::new(0);
static TSC_HZ: AtomicU64 = AtomicU64::new(0);
static WALL_CLOCK: AtomicU64 = AtomicU64::new(0);

/// The time stamp counter.
#[inline(always)]
pub(super) fn tsc() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: reads a counter that every x86_64 has.
    unsafe { asm!("rdtsc", out("rax") low, out("rdx") high, options(nomem, nostack, preserves_flags)) };
    high << 32 | low
}

/// Starts the clock at zero. `apic_hz` counts only where the timer does not go by the TSC.
pub(super) fn start(tsc_hz: u64, apic_hz: u64) {
    let timer_hz = if has(Features::TSC_DEADLINE) { tsc_hz } else { apic_hz };
    TSC_HZ.store(tsc_hz, Ordering::Relaxed);
    NS_PER_TICK.store(((NS_PER_S << SHIFT) / u128::from(tsc_hz)) as u64, Ordering::Relaxed);
    TICKS_PER_NS.store(((u128::from(timer_hz) << SHIFT) / NS_PER_S) as u64, Ordering::Relaxed);
    TSC_BASE.store(tsc(), Ordering::Relaxed);
}

/// Ticks of the time stamp counter per second.
pub(super) fn tsc_hz() -> u64 {
    TSC_HZ.load(Ordering::Relaxed)
}

#[inline(always)]
fn scale(value: u64, factor: u64) -> u64 {
    (u128::from(value) * u128::from(factor) >> SHIFT) as u64
}

/// Nanoseconds since boot; the same on every CPU, never going back.
#[inline]
pub fn now() -> u64 {
    let ticks = tsc().wrapping_sub(TSC_BASE.load(Ordering::Relaxed));
    scale(ticks, NS_PER_TICK.load(Ordering::Relaxed))
}

/// Waits for `ns` nanoseconds, busily. For hardware that must be given time.
pub(super) fn spin(ns: u64) {
    let end = now() + ns;
    while now() < end {
        core::hint::spin_loop();
    }
}

/// Asks for [`super::irq::Irq::Timer`] on this CPU at `deadline` (at once if it has passed), instead of
/// any earlier request; `None` cancels.
pub fn set_deadline(deadline: Option<u64>) {
    percpu::this().deadline.set(deadline.unwrap_or(u64::MAX));
    let Some(deadline) = deadline else {
        if has(Features::TSC_DEADLINE) {
            apic::set_tsc_deadline(0)
        } else {
            apic::set_count(0)
        }
        return;
    };
    let left = deadline.saturating_sub(now());
    // One more than the product, which is rounded down: the timer must not be early by a tick.
    let ticks = (u128::from(left) * u128::from(TICKS_PER_NS.load(Ordering::Relaxed)) >> SHIFT) + 1;
    if has(Features::TSC_DEADLINE) {
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        apic::set_tsc_deadline(tsc().saturating_add(ticks));
    } else {
        apic::set_count(u32::try_from(ticks).unwrap_or(u32::MAX));
    }
}

/// The timer's interrupt came: whether the deadline has passed. A counter too short for the deadline is started
/// again.
pub(super) fn deadline_passed() -> bool {
    let cpu = percpu::this();
    match cpu.deadline.get() {
        u64::MAX => false,
        deadline if deadline <= now() => {
            cpu.deadline.set(u64::MAX);
            true
        }
        deadline => {
            set_deadline(Some(deadline));
            false
        }
    }
}

/// The wall clock, in nanoseconds since 1970-01-01 UTC, at the moment when [`now`] was zero, as the
/// machine's real-time clock told at boot.
pub fn wall_clock_at_boot() -> u64 {
    WALL_CLOCK.load(Ordering::Relaxed)
}

/// Takes the wall clock's value now, in seconds.
pub(super) fn set_wall_clock(seconds: u64) {
    WALL_CLOCK.store((seconds * NS_PER_S as u64).saturating_sub(now()), Ordering::Relaxed);
}
