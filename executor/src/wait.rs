//! Wait queues.
//!
//! A waiter checks its condition, registers, and checks again; a notifier changes the condition,
//! and *then* looks whether anyone waits. Both have a sequentially consistent fence in between, so
//! either the waiter's second look sees the change or the notifier sees the waiter. The notifier's
//! look is one load when nobody waits.
//!
//! The lists and nodes belong to the spin lock `waiters`, the observers to `observers`. Wakers and
//! observers are called with neither held.
#![allow(unsafe_code)] // A pin projection.

use crate::list::{Batch, Lists, Node, State, Which};
use crate::spin::{Rank, SpinGuard, SpinLock};
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// The mask that meets every interest but 0.
pub const ALL: u32 = u32::MAX;

/// Is told of every notification of the [`WaitQueue`]s it is attached to, as epoll needs it.
pub trait Observer: Send + Sync {
    /// A notification with `mask` has met its interest. Called by the notifier, with no lock of the
    /// executor held; must not wait.
    fn notified(&self, mask: u32);
}

/// Names an attached observer of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObserverId(u64);

struct Attached {
    id: u64,
    interest: u32,
    observer: Arc<dyn Observer>,
}

struct Observers {
    next_id: u64,
    /// Ascending by id.
    list: Vec<Attached>,
}

/// Where tasks wait for a condition on an object to come true.
///
/// Masks are opaque: a notification meets a waiter if their masks have a bit in common.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// use executor::WaitQueue;
/// use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
/// const READABLE: u32 = 1;
/// static QUEUE: WaitQueue = WaitQueue::new();
/// static FULL: AtomicBool = AtomicBool::new(false);
///
/// let reader = executor::spawn(async {
///     QUEUE.wait_until(READABLE, || FULL.swap(false, SeqCst).then_some(())).await;
/// }, Default::default());
/// executor::run_next();
/// assert!(!reader.is_finished());
/// FULL.store(true, SeqCst);
/// QUEUE.notify_one(READABLE);
/// executor::run_next();
/// assert!(reader.is_finished());
/// # }
/// ```
pub struct WaitQueue {
    /// How many wait: 0 means that a notification has nobody to wake.
    population: AtomicU32,
    /// All that observers are interested in: a notification that does not meet it has nobody to tell.
    observed: AtomicU32,
    waiters: SpinLock<Lists>,
    observers: SpinLock<Observers>,
}

impl WaitQueue {
    crate::sync::const_fn! {
        /// An empty queue.
        pub fn new() -> WaitQueue {
            WaitQueue {
                population: AtomicU32::new(0),
                observed: AtomicU32::new(0),
                waiters: SpinLock::new(Rank::WAIT, Lists::new()),
                observers: SpinLock::new(Rank::OBSERVERS, Observers { next_id: 0, list: Vec::new() }),
            }
        }
    }

    /// Waits until `condition` returns something. It is called on every poll, before and after
    /// registering, with no lock held; every notification that meets `interest` causes a poll.
    pub fn wait_until<T, F: FnMut() -> Option<T>>(&self, interest: u32, condition: F) -> Wait<'_, F> {
        Wait { queue: self, interest, which: Which::Shared, failed: false, condition, node: Node::new() }
    }

    /// As [`wait_until`](Self::wait_until), but each notification wakes only as many exclusive waiters
    /// as it says. One that is dropped after it was woken, and before it was polled, passes that on.
    pub fn wait_until_exclusive<T, F: FnMut() -> Option<T>>(&self, interest: u32, condition: F) -> Wait<'_, F> {
        Wait { queue: self, interest, which: Which::Exclusive, failed: false, condition, node: Node::new() }
    }

    /// Waits for a notification that meets `interest`, as an exclusive waiter: whoever is woken acts on it by itself, and if it
    /// turns out that it does not, passes it on with [`notify_one`](Self::notify_one). `look` is called once, after
    /// registering: if it says that what is waited for has come already, the wait is over.
    ///
    /// ```
    /// # executor::hosted_platform!();
    /// # fn main() {
    /// use executor::{Arrival, WaitQueue};
    /// static QUEUE: WaitQueue = WaitQueue::new();
    /// let task = executor::spawn(async { assert_eq!(QUEUE.arrival(1, || false).await, Arrival::Told) }, Default::default());
    /// executor::run_next();
    /// QUEUE.notify_one(1);
    /// executor::run_next();
    /// assert!(task.is_finished());
    /// # }
    /// ```
    pub fn arrival<L: FnMut() -> bool>(&self, interest: u32, look: L) -> Awaited<'_, L> {
        Awaited { queue: self, interest, look, node: Node::new() }
    }

    /// Wakes one exclusive waiter, and all others, that `mask` meets. How many were woken.
    #[inline]
    pub fn notify_one(&self, mask: u32) -> usize {
        self.notify_n(mask, 1)
    }

    /// Wakes all waiters that `mask` meets. How many were woken.
    #[inline]
    pub fn notify_all(&self, mask: u32) -> usize {
        self.notify_n(mask, usize::MAX)
    }

    /// Wakes at most `n` exclusive waiters, and all others, that `mask` meets. How many were woken.
    #[inline]
    pub fn notify_n(&self, mask: u32, n: usize) -> usize {
        fence(Ordering::SeqCst);
        if self.observed.load(Ordering::Relaxed) & mask != 0 {
            self.tell_observers(mask);
        }
        if self.population.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.wake(mask, usize::MAX, n)
    }

    fn wake(&self, mask: u32, shared: usize, exclusive: usize) -> usize {
        let mut waiters = self.waiters.lock();
        if exclusive == 1
            && let Some(waker) = waiters.take_only(mask)
        {
            self.population.store(waiters.len(), Ordering::Relaxed);
            drop(waiters);
            waker.wake();
            return 1;
        }
        self.wake_some(waiters, mask, shared, exclusive)
    }

    #[inline(never)]
    fn wake_some(&self, mut waiters: SpinGuard<'_, Lists>, mask: u32, shared: usize, exclusive: usize) -> usize {
        let (mut shared_left, mut exclusive_left) = (shared, exclusive);
        let mut batch = Batch::new();
        let mut more = waiters.pick(Which::Shared, mask, &mut shared_left, false, &mut batch);
        // Told with all others, an exclusive waiter has nothing to pass on.
        let given = exclusive != usize::MAX;
        more |= waiters.pick(Which::Exclusive, mask, &mut exclusive_left, given, &mut batch);
        self.population.store(waiters.len(), Ordering::Relaxed);
        drop(waiters);
        batch.wake();
        while more {
            let mut waiters = self.waiters.lock();
            more = waiters.take_picked(&mut batch);
            self.population.store(waiters.len(), Ordering::Relaxed);
            drop(waiters);
            batch.wake();
        }
        (shared - shared_left) + (exclusive - exclusive_left)
    }

    /// Whether anyone waits here, or observes.
    pub fn is_empty(&self) -> bool {
        self.population.load(Ordering::Relaxed) == 0 && self.observed.load(Ordering::Relaxed) == 0
    }

    /// Has `observer` told of every notification that meets `interest`, until it is detached.
    ///
    /// As with a waiter, look at the object's state after attaching: what happened before is not told.
    ///
    /// # Errors
    /// No memory (ENOMEM).
    ///
    /// ```
    /// # executor::hosted_platform!();
    /// # fn main() {
    /// use executor::{ALL, Observer, WaitQueue};
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering::SeqCst}};
    /// struct Seen(AtomicU32);
    /// impl Observer for Seen {
    ///     fn notified(&self, mask: u32) { self.0.fetch_or(mask, SeqCst); }
    /// }
    /// let (queue, seen) = (WaitQueue::new(), Arc::new(Seen(AtomicU32::new(0))));
    /// let id = queue.attach(seen.clone(), 0b11).unwrap();
    /// queue.notify_all(0b01);
    /// queue.notify_all(0b100);
    /// assert_eq!(seen.0.load(SeqCst), 0b01);
    /// assert!(queue.detach(id));
    /// # }
    /// ```
    pub fn attach(&self, observer: Arc<dyn Observer>, interest: u32) -> Result<ObserverId, TryReserveError> {
        let mut observers = self.observers.lock();
        observers.list.try_reserve(1)?;
        let id = observers.next_id;
        observers.next_id += 1;
        observers.list.push(Attached { id, interest, observer });
        self.publish(&observers);
        drop(observers);
        fence(Ordering::SeqCst);
        Ok(ObserverId(id))
    }

    /// Ends what [`attach`](Self::attach) began. False if it had ended. A call that another CPU has begun goes on.
    pub fn detach(&self, id: ObserverId) -> bool {
        let mut observers = self.observers.lock();
        let Ok(at) = observers.list.binary_search_by_key(&id.0, |attached| attached.id) else { return false };
        let attached = observers.list.remove(at);
        self.publish(&observers);
        drop(observers);
        drop(attached);
        true
    }

    /// Changes the interest of an observer. False if it is not attached.
    pub fn set_interest(&self, id: ObserverId, interest: u32) -> bool {
        let mut observers = self.observers.lock();
        let Ok(at) = observers.list.binary_search_by_key(&id.0, |attached| attached.id) else { return false };
        observers.list[at].interest = interest;
        self.publish(&observers);
        drop(observers);
        fence(Ordering::SeqCst);
        true
    }

    /// Sums up what observers are interested in, for those who look without the lock.
    fn publish(&self, observers: &Observers) {
        let all = observers.list.iter().fold(0, |all, attached| all | attached.interest);
        self.observed.store(all, Ordering::Relaxed);
    }

    fn tell_observers(&self, mask: u32) {
        let observers = self.observers.lock();
        if let [only] = &observers.list[..] {
            let observer = (only.interest & mask != 0).then(|| only.observer.clone());
            drop(observers);
            if let Some(observer) = observer {
                observer.notified(mask);
            }
            return;
        }
        drop(observers);
        self.tell_all(mask);
    }

    #[cold]
    fn tell_all(&self, mask: u32) {
        const BATCH: usize = 8;
        let mut from = 0;
        loop {
            let mut batch: [Option<Arc<dyn Observer>>; BATCH] = [const { None }; BATCH];
            let mut taken = 0;
            let observers = self.observers.lock();
            let start = observers.list.partition_point(|attached| attached.id < from);
            for attached in &observers.list[start..] {
                if taken == BATCH {
                    break;
                }
                from = attached.id + 1;
                if attached.interest & mask != 0 {
                    batch[taken] = Some(attached.observer.clone());
                    taken += 1;
                }
            }
            drop(observers);
            for observer in batch.iter().flatten() {
                observer.notified(mask);
            }
            if taken < BATCH {
                return;
            }
        }
    }
}

#[cfg(not(loom))]
impl Default for WaitQueue {
    fn default() -> Self {
        WaitQueue::new()
    }
}

/// The future of [`WaitQueue::wait_until`].
#[must_use = "does nothing unless awaited"]
pub struct Wait<'a, F> {
    queue: &'a WaitQueue,
    interest: u32,
    which: Which,
    /// The condition is known not to hold: register first.
    failed: bool,
    condition: F,
    node: Node,
}

/// What a poll needs of a [`Wait`], apart.
struct Parts<'p, F> {
    queue: &'p WaitQueue,
    interest: u32,
    which: Which,
    failed: &'p mut bool,
    condition: &'p mut F,
    node: Pin<&'p mut Node>,
}

impl<F> Wait<'_, F> {
    /// For a caller that has just seen the condition fail: the first poll registers at once and looks after that. The look that
    /// keeps a wake from being lost is this second one, so nothing else changes.
    ///
    /// ```
    /// # executor::hosted_platform!();
    /// # fn main() {
    /// static QUEUE: executor::WaitQueue = executor::WaitQueue::new();
    /// let task = executor::spawn(async { QUEUE.wait_until(1, || Some(())).after_failure().await }, Default::default());
    /// executor::run_next();
    /// assert!(task.is_finished());
    /// # }
    /// ```
    pub fn after_failure(mut self) -> Self {
        self.failed = true;
        self
    }

    fn parts(self: Pin<&mut Self>) -> Parts<'_, F> {
        // SAFETY: of the fields only `node` is pinned, and nothing moves it; `condition` is never
        // pinned (the closure is called by `&mut`).
        unsafe {
            let this = self.get_unchecked_mut();
            Parts {
                queue: this.queue,
                interest: this.interest,
                which: this.which,
                failed: &mut this.failed,
                condition: &mut this.condition,
                node: Pin::new_unchecked(&mut this.node),
            }
        }
    }
}

impl WaitQueue {
    /// Takes a node off the queue. The mask that it was to pass on, if any.
    #[inline]
    fn forget(&self, node: Pin<&mut Node>) -> Option<u32> {
        if node.state() == State::Free { None } else { self.forget_used(node) }
    }

    #[inline(never)]
    fn forget_used(&self, mut node: Pin<&mut Node>) -> Option<u32> {
        if node.state() == State::Linked {
            let mut waiters = self.waiters.lock();
            // If it has been taken off meanwhile this gives nothing.
            let (waker, given) = waiters.unlink(node.as_mut());
            self.population.store(waiters.len(), Ordering::Relaxed);
            drop(waiters);
            if let Some(waker) = waker {
                drop(waker);
                return given;
            }
        }
        let given = node.as_mut().take_given();
        if given.is_none() {
            node.reset();
        }
        given
    }
}

impl<T, F: FnMut() -> Option<T>> Future for Wait<'_, F> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Parts { queue, interest, which, failed, condition, mut node } = self.parts();
        if !core::mem::take(failed)
            && let Some(value) = condition()
        {
            // A wake that this waiter was given is used by what it has just taken.
            queue.forget(node);
            return Poll::Ready(value);
        }
        let mut waiters = queue.waiters.lock();
        let old = waiters.enlist(node.as_mut(), which, interest, cx.waker());
        queue.population.store(waiters.len(), Ordering::Relaxed);
        drop(waiters);
        drop(old);
        fence(Ordering::SeqCst);
        if let Some(value) = condition() {
            queue.forget(node);
            return Poll::Ready(value);
        }
        Poll::Pending
    }
}

impl<F> Drop for Wait<'_, F> {
    fn drop(&mut self) {
        // SAFETY: the future is being dropped and is not moved any more; if it was never pinned its node
        // was never linked.
        let node = unsafe { Pin::new_unchecked(&mut self.node) };
        if let Some(mask) = self.queue.forget(node) {
            self.queue.wake(mask, 0, 1);
        }
    }
}

/// How a [`WaitQueue::arrival`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A notification came.
    Told,
    /// The look found that there was nothing to wait for.
    Seen,
}

/// The future of [`WaitQueue::arrival`].
#[must_use = "does nothing unless awaited"]
pub struct Awaited<'a, L> {
    queue: &'a WaitQueue,
    interest: u32,
    look: L,
    node: Node,
}

impl<L: FnMut() -> bool> Future for Awaited<'_, L> {
    type Output = Arrival;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Arrival> {
        // SAFETY: of the fields only `node` is pinned, and nothing moves it.
        let (queue, interest, look, mut node) = unsafe {
            let this = self.get_unchecked_mut();
            (this.queue, this.interest, &mut this.look, Pin::new_unchecked(&mut this.node))
        };
        match node.state() {
            State::Free => {
                let mut waiters = queue.waiters.lock();
                waiters.link(node.as_mut(), Which::Exclusive, interest, cx.waker());
                queue.population.store(waiters.len(), Ordering::Relaxed);
                drop(waiters);
                fence(Ordering::SeqCst);
                if look() {
                    queue.forget(node);
                    return Poll::Ready(Arrival::Seen);
                }
                return Poll::Pending;
            }
            // Polled for another reason. It may be told until the lock is taken.
            State::Linked => {
                let mut waiters = queue.waiters.lock();
                if node.state() == State::Linked {
                    let old = waiters.enlist(node, Which::Exclusive, interest, cx.waker());
                    drop(waiters);
                    drop(old);
                    return Poll::Pending;
                }
            }
            State::Given | State::Told => {}
        }
        node.reset();
        Poll::Ready(Arrival::Told)
    }
}

impl<L> Drop for Awaited<'_, L> {
    fn drop(&mut self) {
        // SAFETY: as in `Wait::drop`.
        let node = unsafe { Pin::new_unchecked(&mut self.node) };
        if let Some(mask) = self.queue.forget(node) {
            self.queue.wake(mask, 0, 1);
        }
    }
}
