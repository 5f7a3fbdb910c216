//! Giving up the CPU.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "does nothing unless awaited"]
pub struct YieldNow(bool);

/// Lets the other runnable tasks of this CPU go first: the task goes to the tail of its queue.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// executor::spawn(async { executor::yield_now().await }, Default::default());
/// assert_eq!(executor::run_next(), executor::Step::Ran);
/// assert!(executor::has_work());
/// # }
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow(false)
}

impl Future for YieldNow {
    type Output = ();
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The future of [`preempt`].
#[cfg(not(loom))]
#[derive(Debug)]
#[must_use = "does nothing unless awaited"]
pub struct Preempt(bool);

/// Gives way to what [`need_resched`](crate::need_resched) found, or, in the middle of long work, to what may have come.
/// Unlike a yield, a task whose slice is not used up keeps its turn: it goes to the head of its queue (but for one of the
/// idle class, which has none to keep) and goes on with what is left of the slice.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// executor::spawn(async {
///     // user::enter() has returned with an interrupt
///     if executor::need_resched() {
///         executor::preempt().await;
///     }
/// }, Default::default());
/// assert_eq!(executor::run_next(), executor::Step::Ran);
/// # }
/// ```
#[cfg(not(loom))]
pub fn preempt() -> Preempt {
    Preempt(false)
}

#[cfg(not(loom))]
impl Future for Preempt {
    type Output = ();
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        crate::cpu::keep_slice();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
