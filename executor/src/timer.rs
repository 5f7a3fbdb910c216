//! Sleeping, time limits, and timers of kernel objects.
#![allow(unsafe_code)] // Pin projections.

pub(crate) use crate::heap::Timers;
use crate::heap::{Action, Node};
use crate::machine;
use crate::platform;
use crate::spin::{Rank, SpinLock};
use alloc::boxed::Box;
use alloc::sync::Weak;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Fires the timers of this CPU that are due at `now` (ns). The kernel calls it in its main
/// loop and when the timer interrupts; [`is_quiet`](crate::is_quiet) says no after it. Callbacks run here, with no lock held.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// executor::fire_timers(1_000);
/// # }
/// ```
#[inline]
pub fn fire_timers(now: u64) {
    let cpu = &machine::get().cpus[platform::cpu_id()];
    cpu.disturb();
    let timers = &cpu.timers;
    if timers.next() > now {
        return;
    }
    while let Some(action) = timers.pop_due(now) {
        match action {
            Action::Wake(waker) => waker.wake(),
            Action::Call(object) => {
                if let Some(object) = object.upgrade() {
                    object.expired(now);
                }
            }
        }
    }
}

/// The future of [`sleep_until`].
#[must_use = "does nothing unless awaited"]
pub struct Sleep {
    deadline: u64,
    node: Node,
}

/// Waits until `deadline`, in ns of the platform's clock. Dropping it cancels the timer, on any CPU.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// use executor::machine;
/// let task = executor::spawn(executor::sleep_until(500), Default::default());
/// executor::run_next();
/// assert_eq!(executor::next_deadline(), Some(500));
/// machine::set_now(500);
/// executor::fire_timers(500);
/// executor::run_next();
/// assert!(task.is_finished());
/// # }
/// ```
pub fn sleep_until(deadline: u64) -> Sleep {
    Sleep { deadline, node: Node::new() }
}

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        // SAFETY: `node` is pinned when the future is; nothing moves it out of the field.
        let node = unsafe { self.map_unchecked_mut(|this| &mut this.node) };
        if platform::now() >= deadline {
            node.cancel();
            return Poll::Ready(());
        }
        if !node.set_waker(cx.waker()) {
            node.arm(deadline, Action::Wake(cx.waker().clone()));
        }
        Poll::Pending
    }
}

/// The time limit of [`timeout_at`] came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// The future of [`timeout_at`].
#[must_use = "does nothing unless awaited"]
pub struct Timeout<F> {
    future: F,
    sleep: Sleep,
}

/// Awaits `future`, but not after `deadline` (ns). A future that is ready beats its deadline.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// use executor::{Elapsed, machine, timeout_at};
/// executor::spawn(async {
///     assert_eq!(timeout_at(10, async { 7 }).await, Ok(7));
///     assert_eq!(timeout_at(10, core::future::pending::<()>()).await, Err(Elapsed));
/// }, Default::default());
/// executor::run_next();
/// machine::set_now(10);
/// executor::fire_timers(10);
/// executor::run_next();
/// # }
/// ```
pub fn timeout_at<F: Future>(deadline: u64, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until(deadline) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: both fields are pinned when the struct is; nothing moves them.
        let (future, sleep) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), Pin::new_unchecked(&mut this.sleep))
        };
        if let Poll::Ready(value) = future.poll(cx) {
            return Poll::Ready(Ok(value));
        }
        sleep.poll(cx).map(|()| Err(Elapsed))
    }
}

/// What a [`Timer`] calls.
pub trait Expire: Send + Sync {
    /// The timer has fired. `now` is the time that [`fire_timers`] was given, in ns. It may arm the
    /// timer again.
    fn expired(&self, now: u64);
}

/// A timer of a kernel object, which calls [`Expire::expired`] of it.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// use executor::{Expire, Timer};
/// use std::sync::{Arc, Weak, atomic::{AtomicU64, Ordering::SeqCst}};
/// struct Alarm { timer: Timer, at: AtomicU64 }
/// impl Expire for Alarm {
///     fn expired(&self, now: u64) { self.at.store(now, SeqCst); }
/// }
/// let alarm = Arc::new_cyclic(|me: &Weak<Alarm>| Alarm { timer: Timer::new(me.clone()), at: AtomicU64::new(0) });
/// alarm.timer.arm(30);
/// executor::fire_timers(29);
/// assert_eq!(alarm.at.load(SeqCst), 0);
/// executor::fire_timers(31);
/// assert_eq!(alarm.at.load(SeqCst), 31);
/// # }
/// ```
pub struct Timer {
    object: Weak<dyn Expire>,
    node: SpinLock<Pin<Box<Node>>>,
}

impl Timer {
    /// A timer of `object` that is not armed. Allocates its node.
    pub fn new(object: Weak<dyn Expire>) -> Timer {
        Timer { object, node: SpinLock::new(Rank::TIMER, Box::pin(Node::new())) }
    }

    /// Makes it fire at `deadline` (ns) on this CPU, and at no other time.
    pub fn arm(&self, deadline: u64) {
        self.node.lock().as_mut().arm(deadline, Action::Call(self.object.clone()));
    }

    /// Makes it not fire. False if it was not armed; a call that has begun on another CPU goes on.
    pub fn cancel(&self) -> bool {
        self.node.lock().cancel()
    }

    /// Whether it is going to fire.
    pub fn is_armed(&self) -> bool {
        self.node.lock().is_armed()
    }
}
