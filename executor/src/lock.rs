//! Locks that tasks wait for: fair, first come first served, with guards that may cross an `.await`.
//!
//! One word says who has the lock: the number of readers, a writer bit, and a bit that says that
//! someone waits. While that bit is clear, taking and giving back is one exchange of the word.
//! While it is set nobody takes the lock past the queue: whoever gives it back grants it, under
//! the spin lock of the queue, to the first waiter (and the readers that follow a first reader). A
//! grant makes the waiter the owner before it runs; one that is dropped before it runs gives back.
#![allow(unsafe_code)] // The data is in an UnsafeCell, and pin projections.

use crate::list::{Batch, Lists, Node, State, Which};
use crate::spin::{Rank, SpinLock};
use crate::sync::atomic::{AtomicU32, Ordering};
use core::cell::UnsafeCell;
use core::future::Future;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::task::{Context, Poll};

const WRITER: u32 = 1 << 31;
const WAITERS: u32 = 1 << 30;
const READERS: u32 = WAITERS - 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read = 1,
    Write = 2,
}

struct Raw {
    word: AtomicU32,
    waiters: SpinLock<Lists>,
}

impl Raw {
    crate::sync::const_fn! {
        fn new() -> Raw {
            Raw { word: AtomicU32::new(0), waiters: SpinLock::new(Rank::ASYNC, Lists::new()) }
        }
    }

    #[inline]
    fn try_take(&self, kind: Kind) -> bool {
        match kind {
            Kind::Write => self.word.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok(),
            Kind::Read => {
                let mut word = self.word.load(Ordering::Relaxed);
                while word & (WRITER | WAITERS) == 0 && word != READERS {
                    match self.word.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed) {
                        Ok(_) => return true,
                        Err(now) => word = now,
                    }
                }
                false
            }
        }
    }

    #[inline]
    fn give_back(&self, kind: Kind) {
        match kind {
            Kind::Write => {
                if self.word.compare_exchange(WRITER, 0, Ordering::Release, Ordering::Relaxed).is_err() {
                    self.word.fetch_and(!WRITER, Ordering::Release);
                    self.grant();
                }
            }
            Kind::Read => {
                if self.word.fetch_sub(1, Ordering::Release) == WAITERS | 1 {
                    self.grant();
                }
            }
        }
    }

    /// Makes the first waiters owners, as far as the lock is free, and wakes them.
    #[cold]
    fn grant(&self) {
        let mut batch = Batch::new();
        loop {
            let mut waiters = self.waiters.lock();
            self.grant_locked(&mut waiters, &mut batch);
            drop(waiters);
            if !batch.is_full() {
                return batch.wake();
            }
            batch.wake();
        }
    }

    /// Nobody but the holder of the spin lock takes the lock while WAITERS is set; others only give
    /// it back, and come here afterwards.
    fn grant_locked(&self, waiters: &mut Lists, batch: &mut Batch) {
        while !batch.is_full() {
            let word = self.word.load(Ordering::Acquire);
            match waiters.first_interest(Which::Exclusive) {
                None => {
                    self.word.fetch_and(!WAITERS, Ordering::Relaxed);
                    return;
                }
                Some(kind) if kind == Kind::Read as u32 => {
                    if word & WRITER != 0 {
                        return;
                    }
                    self.word.fetch_add(1, Ordering::Acquire);
                }
                Some(_) => {
                    if word & (WRITER | READERS) != 0 {
                        return;
                    }
                    self.word.fetch_or(WRITER, Ordering::Acquire);
                }
            }
            waiters.give_first(Which::Exclusive, batch);
        }
    }

    async fn take(&self, kind: Kind) {
        if !self.try_take(kind) {
            Take { raw: self, kind, node: Node::new() }.await;
        }
    }
}

/// Waits in the queue of a lock.
struct Take<'a> {
    raw: &'a Raw,
    kind: Kind,
    node: Node,
}

impl Future for Take<'_> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (raw, kind) = (self.raw, self.kind);
        // SAFETY: `node` is pinned when the future is; nothing moves it.
        let mut node = unsafe { self.map_unchecked_mut(|this| &mut this.node) };
        if node.state() == State::Given {
            node.reset();
            return Poll::Ready(());
        }
        let mut batch = Batch::new();
        let mut waiters = raw.waiters.lock();
        let mut old = None;
        if node.state() != State::Given {
            old = waiters.enlist(node.as_mut(), Which::Exclusive, kind as u32, cx.waker());
            raw.word.fetch_or(WAITERS, Ordering::Relaxed);
            raw.grant_locked(&mut waiters, &mut batch);
        }
        drop(waiters);
        drop(old);
        let full = batch.is_full();
        batch.wake();
        if full {
            raw.grant();
        }
        if node.state() == State::Given {
            node.reset();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        if self.node.state() == State::Free {
            return;
        }
        // SAFETY: the future is being dropped and does not move any more.
        let mut node = unsafe { Pin::new_unchecked(&mut self.node) };
        let mut waiters = self.raw.waiters.lock();
        let granted = node.state() == State::Given;
        let (waker, _) = waiters.unlink(node.as_mut());
        drop(waiters);
        drop(waker);
        if granted {
            node.reset();
            self.raw.give_back(self.kind);
        } else {
            // It may have been the writer that the readers behind it waited for.
            self.raw.grant();
        }
    }
}

/// A fair lock whose guard may cross an `.await`.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// static LOCK: executor::Mutex<u32> = executor::Mutex::new(0);
/// executor::spawn(async {
///     let mut value = LOCK.lock().await;
///     executor::yield_now().await;
///     *value += 1;
/// }, Default::default());
/// while executor::run_next() == executor::Step::Ran {}
/// assert_eq!(*LOCK.try_lock().unwrap(), 1);
/// # }
/// ```
pub struct Mutex<T: ?Sized> {
    raw: Raw,
    value: UnsafeCell<T>,
}

// SAFETY: a guard is the only way to the value and there is one at a time, on any CPU.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above; sharing the lock gives only `&mut T` to one at a time, which T: Send allows.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    crate::sync::const_fn! {
        /// An unlocked lock.
        pub fn new(value: T) -> Self {
            Mutex { raw: Raw::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value, from the only owner.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock; waits while another has it.
    #[inline]
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        self.raw.take(Kind::Write).await;
        MutexGuard { lock: self }
    }

    /// Takes the lock if nobody has it or waits for it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_take(Kind::Write).then(|| MutexGuard { lock: self })
    }

    /// The value, through the only reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Gives back a lock whose guard was forgotten, on another thread of a model.
    #[cfg(all(test, loom))]
    pub(crate) fn give_back_for_model(&self) {
        self.raw.give_back(Kind::Write);
    }
}

/// The right to use what a [`Mutex`] protects.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// let lock = executor::Mutex::new(1);
/// let guard: executor::MutexGuard<'_, i32> = lock.try_lock().unwrap();
/// assert!(*guard == 1 && lock.try_lock().is_none());
/// # }
/// ```
#[must_use = "the lock is given back when this is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.give_back(Kind::Write);
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists, so its holder has the lock and nobody else uses the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` shows that the guard gives out no other reference.
        unsafe { &mut *self.lock.value.get() }
    }
}

// SAFETY: a shared guard only gives out `&T`. (Send follows from `&Mutex<T>`: T: Send.)
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

/// A fair lock for many readers or one writer, whose guards may cross an `.await`.
///
/// Readers do not pass a writer that waits, so writers are not starved; a task must not read-lock
/// again what it has read-locked.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// let lock = executor::RwLock::new(5);
/// let (a, b) = (lock.try_read().unwrap(), lock.try_read().unwrap());
/// assert!(*a + *b == 10 && lock.try_write().is_none());
/// # }
/// ```
pub struct RwLock<T: ?Sized> {
    raw: Raw,
    value: UnsafeCell<T>,
}

// SAFETY: the lock owns the value.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: readers on several CPUs share `&T` (T: Sync), and a writer has `&mut T` alone (T: Send).
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T> RwLock<T> {
    crate::sync::const_fn! {
        /// An unlocked lock.
        pub fn new(value: T) -> Self {
            RwLock { raw: Raw::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value, from the only owner.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock together with other readers; waits while a writer has it or waits for it.
    #[inline]
    pub async fn read(&self) -> ReadGuard<'_, T> {
        self.raw.take(Kind::Read).await;
        ReadGuard { lock: self }
    }

    /// Takes the lock alone; waits while others have it.
    #[inline]
    pub async fn write(&self) -> WriteGuard<'_, T> {
        self.raw.take(Kind::Write).await;
        WriteGuard { lock: self }
    }

    /// Takes the lock together with other readers if no writer has it or waits for it.
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        self.raw.try_take(Kind::Read).then(|| ReadGuard { lock: self })
    }

    /// Takes the lock alone if nobody has it or waits for it.
    #[inline]
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        self.raw.try_take(Kind::Write).then(|| WriteGuard { lock: self })
    }

    /// The value, through the only reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// The right to read what an [`RwLock`] protects.
#[must_use = "the lock is given back when this is dropped"]
pub struct ReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.give_back(Kind::Read);
    }
}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the holder of the guard has the lock with other readers: nobody writes.
        unsafe { &*self.lock.value.get() }
    }
}

/// The right to read and write what an [`RwLock`] protects.
#[must_use = "the lock is given back when this is dropped"]
pub struct WriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

impl<T: ?Sized> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.give_back(Kind::Write);
    }
}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the holder of the guard has the lock alone.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` shows that the guard gives out no other reference.
        unsafe { &mut *self.lock.value.get() }
    }
}
