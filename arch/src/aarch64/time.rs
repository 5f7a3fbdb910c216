//! The clock and the one timer of each CPU. All times are nanoseconds since boot.
//!
//! The clock is the virtual counter (CNTVCT_EL0), which the CPUs share and which starts at power-on; the timer
//! is the
//! virtual timer. Conversions are fixed-point products, exact to 2^-48 of the factor.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTKCTL_EL1, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SHIFT: u32 = 48;
const NS_PER_S: u64 = 1_000_000_000;
/// Where the device tree's firmware forgot to set CNTFRQ_EL0: QEMU's rate.
const FREQUENCY_DEFAULT: u64 = 62_500_000;

/// Nanoseconds per tick, times 2^48.
static NS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// Ticks per nanosecond, times 2^48.
static TICKS_PER_NS: AtomicU64 = AtomicU64::new(0);
static WALL_AT_BOOT: AtomicU64 = AtomicU64::new(0);

/// Ticks of the counter per second.
pub(super) fn frequency() -> u64 {
    match CNTFRQ_EL0.get() {
        0 => FREQUENCY_DEFAULT,
        frequency => frequency,
    }
}

/// Sets up the conversions and reads the PL031 clock behind `rtc`.
pub(super) fn init(rtc: Option<*mut u8>) {
    let frequency = u128::from(frequency());
    let scaled = |a: u128, b: u128| u64::try_from((a << SHIFT) / b).unwrap_or(u64::MAX);
    NS_PER_TICK.store(scaled(NS_PER_S.into(), frequency), Relaxed);
    TICKS_PER_NS.store(scaled(frequency, NS_PER_S.into()), Relaxed);
    if let Some(rtc) = rtc {
        // SAFETY: the PL031's data register, mapped: seconds since 1970.
        let seconds = unsafe { rtc.cast::<u32>().read_volatile() };
        WALL_AT_BOOT.store((u64::from(seconds) * NS_PER_S).saturating_sub(now()), Relaxed);
    }
    init_cpu();
}

/// Sets up the timer of the CPU that runs this, and lets programs read the virtual counter.
pub(super) fn init_cpu() {
    CNTKCTL_EL1.write(CNTKCTL_EL1::EL0VCTEN::SET);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR);
}

/// Stops the timer, which has fired.
pub(super) fn quiet() {
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR);
    barrier::isb(barrier::SY);
}

fn product(a: u64, factor: &AtomicU64) -> u64 {
    (u128::from(a) * u128::from(factor.load(Relaxed)) >> SHIFT) as u64
}

/// Nanoseconds since boot; the same on every CPU, never going back.
#[inline]
pub fn now() -> u64 {
    // Without it the counter might be read early.
    barrier::isb(barrier::SY);
    product(CNTVCT_EL0.get(), &NS_PER_TICK)
}

/// Asks for [`super::irq::Irq::Timer`] on this CPU at `deadline` (at once if it has passed), instead of
/// any earlier request; `None` cancels.
pub fn set_deadline(deadline: Option<u64>) {
    let Some(deadline) = deadline else {
        CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::CLEAR);
        return;
    };
    // Rounded up, so that the clock shows the deadline when the timer fires.
    let ticks = product(deadline, &TICKS_PER_NS).saturating_add(1);
    CNTV_CVAL_EL0.set(ticks);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
}

/// The wall clock, in nanoseconds since 1970-01-01 UTC, at the moment when [`now`] was zero, as the
/// machine's real-time clock told at boot.
pub fn wall_clock_at_boot() -> u64 {
    WALL_AT_BOOT.load(Relaxed)
}
