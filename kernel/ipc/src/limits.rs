//! How many objects there may be and how large (`kernel.sem`, `kernel.msg*`, `kernel.shm*`; proc_sys_kernel(5)).

use base::Errno;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One more than the highest index of an object: what an id has room for (`IPCMNI`).
pub const MOST: usize = 1 << 15;

/// A limit that root can set.
pub struct Limit {
    value: AtomicU64,
    max: u64,
}

impl Limit {
    pub(crate) const fn new(value: u64, max: u64) -> Limit {
        Limit { value: AtomicU64::new(value), max }
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.value.load(Relaxed)
    }

    /// Changes it. EINVAL for what it cannot be.
    pub fn set(&self, value: u64) -> Result<(), Errno> {
        if value > self.max {
            return Err(Errno::EINVAL);
        }
        self.value.store(value, Relaxed);
        Ok(())
    }
}

const INT: u64 = i32::MAX as u64;

/// Semaphores of one set (SEMMSL).
pub static SEMMSL: Limit = Limit::new(32_000, 65_536);
/// Semaphores of all sets (SEMMNS).
pub static SEMMNS: Limit = Limit::new(1_024_000_000, INT);
/// Operations of one semop(2) (SEMOPM).
pub static SEMOPM: Limit = Limit::new(500, INT);
/// Sets (SEMMNI).
pub static SEMMNI: Limit = Limit::new(32_000, MOST as u64);
/// Bytes of one message.
pub static MSGMAX: Limit = Limit::new(8192, INT);
/// Bytes of all messages of a new queue.
pub static MSGMNB: Limit = Limit::new(16_384, INT);
/// Queues.
pub static MSGMNI: Limit = Limit::new(32_000, MOST as u64);
/// Bytes of one segment.
pub static SHMMAX: Limit = Limit::new(u64::MAX - (1 << 24), u64::MAX);
/// Pages of all segments.
pub static SHMALL: Limit = Limit::new(u64::MAX - (1 << 24), u64::MAX);
/// Segments.
pub static SHMMNI: Limit = Limit::new(4096, MOST as u64);
