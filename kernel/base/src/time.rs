//! Times as the kernel keeps them (nanoseconds in a `u64`) and as programs see them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds in a second.
pub const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Clock ticks per second that /proc and times(2) count in (`sysconf(_SC_CLK_TCK)`).
pub const USER_HZ: u64 = 100;

/// `struct timespec` with 64-bit fields, as every 64-bit program lays it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, 0 to 999,999,999 in a valid value.
    pub nsec: i64,
}

impl Timespec {
    /// From nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Timespec {
        Timespec { sec: (nanos / NANOS_PER_SEC) as i64, nsec: (nanos % NANOS_PER_SEC) as i64 }
    }

    /// In nanoseconds, cut off at `u64::MAX`; `None` (EINVAL) if a field is negative or `nsec` is a
    /// second or more.
    pub const fn to_nanos(self) -> Option<u64> {
        if self.sec < 0 || self.nsec < 0 || self.nsec >= NANOS_PER_SEC as i64 {
            return None;
        }
        Some((self.sec as u64).saturating_mul(NANOS_PER_SEC).saturating_add(self.nsec as u64))
    }
}
