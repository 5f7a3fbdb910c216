//! Load averages (getloadavg(3)): how many tasks ran or waited for a CPU, averaged over 1, 5 and 15 minutes.

use core::sync::atomic::{AtomicU64, Ordering};

/// Bits after the point.
pub const SHIFT: u32 = 11;
const ONE: u64 = 1 << SHIFT;

/// How often the averages are taken, in nanoseconds.
const PERIOD: u64 = 5_000_000_000;

/// exp(-5 s / 1, 5, 15 min), in the same fixed point.
const DECAY: [u64; 3] = [1884, 2014, 2037];

static AVERAGES: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// The averages, with [`SHIFT`] bits after the point.
pub fn averages() -> [u64; 3] {
    core::array::from_fn(|i| AVERAGES[i].load(Ordering::Relaxed))
}

/// Samples for ever. One task of the kernel's own.
pub async fn sample() {
    let mut next = arch::time::now() + PERIOD;
    loop {
        executor::sleep_until(next).await;
        next += PERIOD;
        // This task is runnable itself and does not count.
        let active = executor::runnable().saturating_sub(1) as u64 * ONE;
        for (average, decay) in AVERAGES.iter().zip(DECAY) {
            let old = average.load(Ordering::Relaxed);
            average.store((old * decay + active * (ONE - decay)) >> SHIFT, Ordering::Relaxed);
        }
    }
}
