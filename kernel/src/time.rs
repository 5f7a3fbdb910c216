//! The kernel's clocks (clock_gettime(2)). All count nanoseconds.

use base::Errno;
use core::sync::atomic::{AtomicU64, Ordering};

/// What is to be added to the time since boot to get the wall clock.
static WALL_OFFSET: AtomicU64 = AtomicU64::new(0);
/// When the wall clock was last set, for waits on it: changed by every settime.
static WALL_CHANGES: AtomicU64 = AtomicU64::new(0);

/// Takes the wall clock from the machine. Once, at boot.
pub fn init() {
    WALL_OFFSET.store(arch::time::wall_clock_at_boot(), Ordering::Relaxed);
}

/// CLOCK_MONOTONIC and CLOCK_BOOTTIME: nanoseconds since boot. (The machine does not suspend.)
#[inline]
pub fn monotonic() -> u64 {
    arch::time::now()
}

/// CLOCK_REALTIME: nanoseconds since 1970.
#[inline]
pub fn realtime() -> u64 {
    monotonic().wrapping_add(WALL_OFFSET.load(Ordering::Relaxed))
}

/// Sets CLOCK_REALTIME. EINVAL if it would make boot earlier than 1970.
pub fn set_realtime(nanos: u64) -> Result<(), Errno> {
    let offset = nanos.checked_sub(monotonic()).ok_or(Errno::EINVAL)?;
    WALL_OFFSET.store(offset, Ordering::Relaxed);
    WALL_CHANGES.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// The monotonic time at which the wall clock will show `nanos`, if it is not set meanwhile.
pub fn monotonic_of(nanos: u64) -> u64 {
    nanos.saturating_sub(WALL_OFFSET.load(Ordering::Relaxed))
}
