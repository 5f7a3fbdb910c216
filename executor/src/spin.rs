//! Spin locks with a rank.
//!
//! Kernel mode takes no interrupts, so a spin lock masks none. Its guard is not `Send`: a future
//! that kept one across an `.await` would not be spawnable, so the compiler keeps spin locks
//! short. Every lock has a [`Rank`]; a CPU takes locks in rising rank only, which debug builds check.
#![allow(unsafe_code)] // RawMutex is an unsafe trait.

use core::ops::{Deref, DerefMut};

/// A lock's place in the lock order. Locks are taken in rising rank.
///
/// The executor's own locks are innermost and use ranks from [`Rank::EXECUTOR`] up, so they may be
/// taken (a wake, a notify, a timer) under any lock of the kernel. Ranks below are the kernel's.
///
/// ```
/// use executor::spin::Rank;
/// const INODE: Rank = Rank::new(40, "inode");
/// assert_eq!(INODE.name(), "inode");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    order: u8,
    name: &'static str,
}

impl Rank {
    /// The first rank that the executor uses itself.
    pub const EXECUTOR: u8 = 239;
    pub(crate) const WAIT: Rank = Rank::new(240, "wait queue");
    pub(crate) const OBSERVERS: Rank = Rank::new(241, "observers");
    pub(crate) const ASYNC: Rank = Rank::new(242, "async lock");
    #[cfg(not(loom))]
    pub(crate) const TIMER: Rank = Rank::new(239, "timer");
    #[cfg(not(loom))]
    pub(crate) const TIMERS: Rank = Rank::new(243, "timers");
    #[cfg(not(loom))]
    pub(crate) const RUN_QUEUE: Rank = Rank::new(250, "run queue");
    pub(crate) const INBOX: Rank = Rank::new(251, "inbox");
    #[cfg(all(feature = "trace", not(loom)))]
    pub(crate) const TRACE: Rank = Rank::new(255, "trace");

    /// A rank: a place in the order, and the name that a violation is reported by.
    pub const fn new(order: u8, name: &'static str) -> Rank {
        Rank { order, name }
    }
    /// The place in the order; higher is further in.
    pub const fn order(self) -> u8 {
        self.order
    }
    /// The name.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

#[cfg(not(loom))]
mod raw {
    use core::sync::atomic::{AtomicBool, Ordering};

    pub struct RawSpin(AtomicBool);

    // SAFETY: `lock` and `try_lock` return (with success) only to the one caller whose swap or
    // exchange turned the word from false to true, and only `unlock` turns it back, so there is
    // one owner at a time. Acquire on taking pairs with Release on giving back.
    unsafe impl lock_api::RawMutex for RawSpin {
        #[allow(clippy::declare_interior_mutable_const)]
        const INIT: Self = RawSpin(AtomicBool::new(false));
        type GuardMarker = lock_api::GuardNoSend;

        #[inline]
        fn lock(&self) {
            while self.0.swap(true, Ordering::Acquire) {
                self.wait();
            }
        }
        #[inline]
        fn try_lock(&self) -> bool {
            !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Acquire)
        }
        #[inline]
        unsafe fn unlock(&self) {
            self.0.store(false, Ordering::Release);
        }
    }

    impl RawSpin {
        #[cold]
        fn wait(&self) {
            while self.0.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
        }
    }

    pub type Inner<T> = lock_api::Mutex<RawSpin, T>;
    pub type Guard<'a, T> = lock_api::MutexGuard<'a, RawSpin, T>;
}

#[cfg(loom)]
mod raw {
    pub type Inner<T> = loom::sync::Mutex<T>;
    pub type Guard<'a, T> = loom::sync::MutexGuard<'a, T>;
}

/// A value behind a spin lock.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// use executor::spin::{Rank, SpinLock};
/// static COUNT: SpinLock<u32> = SpinLock::new(Rank::new(10, "count"), 0);
/// *COUNT.lock() += 1;
/// assert_eq!(*COUNT.lock(), 1);
/// # }
/// ```
///
/// A guard cannot cross an `.await` of a task:
///
/// ```compile_fail
/// # use executor::spin::{Rank, SpinLock};
/// static COUNT: SpinLock<u32> = SpinLock::new(Rank::new(10, "count"), 0);
/// executor::spawn(async {
///     let mut count = COUNT.lock();
///     executor::yield_now().await;
///     *count += 1;
/// }, Default::default());
/// ```
pub struct SpinLock<T: ?Sized> {
    #[cfg(debug_assertions)]
    rank: Rank,
    inner: raw::Inner<T>,
}

impl<T> SpinLock<T> {
    #[cfg(not(loom))]
    /// An unlocked lock.
    pub const fn new(rank: Rank, value: T) -> Self {
        let _ = rank;
        SpinLock {
            #[cfg(debug_assertions)]
            rank,
            inner: lock_api::Mutex::const_new(<raw::RawSpin as lock_api::RawMutex>::INIT, value),
        }
    }
    #[cfg(loom)]
    /// An unlocked lock.
    pub fn new(rank: Rank, value: T) -> Self {
        let _ = rank;
        SpinLock {
            #[cfg(debug_assertions)]
            rank,
            inner: loom::sync::Mutex::new(value),
        }
    }

    /// The value, from the only owner of the lock.
    #[cfg(not(loom))]
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Takes the lock, spinning while another CPU has it.
    #[inline]
    pub fn lock(&self) -> SpinGuard<'_, T> {
        #[cfg(debug_assertions)]
        held::push(self.rank, true);
        #[cfg(not(loom))]
        let inner = self.inner.lock();
        #[cfg(loom)]
        let inner = self.inner.lock().unwrap();
        SpinGuard {
            inner,
            #[cfg(debug_assertions)]
            rank: self.rank,
        }
    }

    /// As [`SpinLock::lock`], for a lock of the same rank as one that is held: two buckets of a table. The caller
    /// takes such locks in one fixed order of its own, which is not checked.
    #[inline]
    #[cfg(not(loom))]
    pub fn lock_same_rank(&self) -> SpinGuard<'_, T> {
        #[cfg(debug_assertions)]
        held::push(self.rank, false);
        SpinGuard {
            inner: self.inner.lock(),
            #[cfg(debug_assertions)]
            rank: self.rank,
        }
    }

    /// Takes the lock if nobody has it. The order is not checked, since this cannot deadlock.
    #[inline]
    #[cfg(not(loom))]
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        let inner = self.inner.try_lock()?;
        #[cfg(debug_assertions)]
        held::push(self.rank, false);
        Some(SpinGuard {
            inner,
            #[cfg(debug_assertions)]
            rank: self.rank,
        })
    }

    /// The value, without locking, through the only reference.
    #[cfg(not(loom))]
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

/// The right to use what a [`SpinLock`] protects. Not `Send`.
pub struct SpinGuard<'a, T: ?Sized> {
    inner: raw::Guard<'a, T>,
    #[cfg(debug_assertions)]
    rank: Rank,
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(debug_assertions)]
impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        held::pop(self.rank);
    }
}

/// Panics if this CPU holds a spin lock. Does nothing in release builds.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// executor::spin::assert_no_locks_held();
/// # }
/// ```
#[inline]
pub fn assert_no_locks_held() {
    #[cfg(debug_assertions)]
    held::assert_none();
}

/// The ranks that this CPU holds, in the order in which it took them.
#[cfg(debug_assertions)]
mod held {
    use super::Rank;
    use core::cell::{Cell, RefCell};

    const DEPTH: usize = 16;

    struct Held {
        ranks: [Rank; DEPTH],
        depth: usize,
    }

    impl Held {
        const fn new() -> Held {
            Held { ranks: [Rank::new(0, ""); DEPTH], depth: 0 }
        }
    }

    #[cfg(not(target_os = "none"))]
    fn with<R>(f: impl FnOnce(&mut Held) -> R) -> R {
        std::thread_local! {
            static HELD: RefCell<Held> = const { RefCell::new(Held::new()) };
        }
        HELD.with(|held| f(&mut held.borrow_mut()))
    }

    #[cfg(target_os = "none")]
    fn with<R>(f: impl FnOnce(&mut Held) -> R) -> R {
        struct PerCpu([RefCell<Held>; crate::MAX_CPUS]);
        // SAFETY: an element is used only by its CPU, which takes no interrupts in kernel mode and
        // so never comes here twice at once.
        unsafe impl Sync for PerCpu {}
        static HELD: PerCpu = PerCpu([const { RefCell::new(Held::new()) }; crate::MAX_CPUS]);
        f(&mut HELD.0[crate::platform::cpu_id()].borrow_mut())
    }

    pub fn push(rank: Rank, check: bool) {
        let problem = Cell::new(None);
        with(|held| {
            if check && held.depth > 0 {
                let last = held.ranks[..held.depth].iter().max_by_key(|r| r.order());
                problem.set(last.copied().filter(|last| last.order() >= rank.order()));
            }
            if problem.get().is_none() && held.depth < DEPTH {
                held.ranks[held.depth] = rank;
                held.depth += 1;
            }
        });
        if let Some(last) = problem.get() {
            panic!(
                "lock order: took `{}` ({}) while holding `{}` ({})",
                rank.name(),
                rank.order(),
                last.name(),
                last.order()
            );
        }
    }

    pub fn pop(rank: Rank) {
        with(|held| {
            let Some(at) = held.ranks[..held.depth].iter().rposition(|r| *r == rank) else { return };
            held.ranks.copy_within(at + 1..held.depth, at);
            held.depth -= 1;
        });
    }

    pub fn assert_none() {
        let held = with(|held| held.ranks[..held.depth].last().copied());
        if let Some(rank) = held {
            panic!("a spin lock is held: `{}`", rank.name());
        }
    }
}
