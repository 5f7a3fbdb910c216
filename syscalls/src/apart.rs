//! Futures that are polled by a function of their own.
//!
//! The compiler puts the poll of what a future awaits into the poll of that future, so one rare and large `.await` makes the whole
//! a function with thousands of instructions and kilobytes of stack, and that is what each of its polls pays for.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use pin_project_lite::pin_project;

pin_project! {
    /// See [`apart`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Apart<F> {
        #[pin]
        future: F,
    }
}

/// `future`, whose poll stays out of whatever awaits it: for what is rare, in what is polled often. It still lies in the future
/// that awaits it, unlike one in a box.
pub fn apart<F: Future>(future: F) -> Apart<F> {
    Apart { future }
}

impl<F: Future> Future for Apart<F> {
    type Output = F::Output;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}
