//! The clock and the one timer of each CPU. All times are nanoseconds since boot.

use super::sim;

/// Nanoseconds since boot; the same on every CPU, never going back.
pub fn now() -> u64 {
    sim::with(|s| s.now)
}

/// Asks for [`super::irq::Irq::Timer`] on this CPU at `deadline` (at once if it has passed), instead of
/// any earlier request; `None` cancels.
pub fn set_deadline(deadline: Option<u64>) {
    sim::set_deadline(deadline);
}

/// The wall clock, in nanoseconds since 1970-01-01 UTC, at the moment when [`now`] was zero, as the
/// machine's real-time clock told at boot.
pub fn wall_clock_at_boot() -> u64 {
    1_700_000_000_000_000_000
}
