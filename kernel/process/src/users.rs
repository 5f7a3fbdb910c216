//! How many threads there are, in all and of each user (RLIMIT_NPROC, kernel.threads-max).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use base::{Credentials, Errno, rank};
use core::sync::atomic::{AtomicU64, Ordering};
use executor::spin::SpinLock;

static USERS: SpinLock<BTreeMap<u32, u64>> = SpinLock::new(rank::USERS, BTreeMap::new());
static TOTAL: AtomicU64 = AtomicU64::new(0);
static CREATED: AtomicU64 = AtomicU64::new(0);
static THREADS_MAX: AtomicU64 = AtomicU64::new(20);

/// One thread counted for one user; dropping it counts it out.
pub struct Charge(u32);

/// Counts one more thread for the user of `cred`. EAGAIN if the user has `limit` of them and
/// no privilege, or if there are as many as the system allows, for anybody.
pub fn charge(cred: &Arc<Credentials>, limit: u64) -> Result<Charge, Errno> {
    let mut users = USERS.lock();
    let count = users.get_mut(&cred.uid);
    if count.as_ref().map_or(0, |count| **count) >= limit && !crate::clone::may_exceed_nproc(cred) {
        return Err(Errno::EAGAIN);
    }
    if TOTAL.load(Ordering::Relaxed) >= THREADS_MAX.load(Ordering::Relaxed) {
        return Err(Errno::EAGAIN);
    }
    match count {
        Some(count) => *count += 1,
        None => _ = users.insert(cred.uid, 1),
    }
    TOTAL.fetch_add(1, Ordering::Relaxed);
    CREATED.fetch_add(1, Ordering::Relaxed);
    Ok(Charge(cred.uid))
}

impl Charge {
    /// Counts the thread for another user from now on (setuid(2)), whatever that user's limit.
    pub(crate) fn move_to(&mut self, uid: u32) {
        let mut users = USERS.lock();
        count_out(&mut users, self.0);
        *users.entry(uid).or_insert(0) += 1;
        self.0 = uid;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut users = USERS.lock();
        TOTAL.fetch_sub(1, Ordering::Relaxed);
        count_out(&mut users, self.0);
    }
}

fn count_out(users: &mut BTreeMap<u32, u64>, uid: u32) {
    if let Some(count) = users.get_mut(&uid) {
        *count -= 1;
        if *count == 0 {
            users.remove(&uid);
        }
    }
}

/// Threads that exist.
pub fn threads() -> u64 {
    TOTAL.load(Ordering::Relaxed)
}

/// Threads that were ever made, as far as they got (`processes` in /proc/stat).
pub fn created() -> u64 {
    CREATED.load(Ordering::Relaxed)
}

/// `kernel.threads-max`.
pub fn threads_max() -> u64 {
    THREADS_MAX.load(Ordering::Relaxed)
}

/// Sets `kernel.threads-max`. EINVAL below 20.
pub fn set_threads_max(max: u64) -> Result<(), Errno> {
    if max < 20 {
        return Err(Errno::EINVAL);
    }
    THREADS_MAX.store(max, Ordering::Relaxed);
    Ok(())
}
