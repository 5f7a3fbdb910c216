//! The wall clock as inode times need it.

use base::Timespec;
use core::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds between 1970-01-01 UTC and boot; zero until set, which means the machine's own.
static OFFSET: AtomicU64 = AtomicU64::new(0);

/// Makes `nanos` the wall-clock time of boot (clock_settime(2)), in nanoseconds since 1970.
pub fn set_boot_time(nanos: u64) {
    OFFSET.store(nanos, Ordering::Relaxed);
}

/// The wall-clock time now, for atime, mtime and ctime.
pub fn now() -> Timespec {
    let boot = match OFFSET.load(Ordering::Relaxed) {
        0 => arch::time::wall_clock_at_boot(),
        nanos => nanos,
    };
    Timespec::from_nanos(boot.saturating_add(arch::time::now()))
}
