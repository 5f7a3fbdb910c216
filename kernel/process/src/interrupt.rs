//! What ends a wait besides what it waits for. Each wait chooses one of two combinators, or neither when it is
//! uninterruptible.
//!
//! Both poll the operation first and look at the thread's conditions second, so what has finished beats what
//! interrupts it, and nothing is done twice.

use crate::Thread;
use crate::thread::Conditions;
use base::{Error, Restart, Result};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use pin_project_lite::pin_project;

pin_project! {
    /// A wait that a condition of the thread ends.
    #[must_use = "futures do nothing unless polled"]
    pub struct Interruptible<'a, F> {
        #[pin]
        wait: F,
        thread: &'a Thread,
        by: Conditions,
        restart: Restart,
    }
}

impl Thread {
    /// Waits until `wait` is done, or a signal is to be taken, the process stops or dies. `restart` says what
    /// then becomes of the system call.
    pub fn interruptible<F: Future>(&self, restart: Restart, wait: F) -> Interruptible<'_, F> {
        Interruptible { wait, thread: self, by: Conditions::INTERRUPT, restart }
    }

    /// Waits until `wait` is done or the thread must die.
    pub fn killable<F: Future>(&self, wait: F) -> Interruptible<'_, F> {
        Interruptible { wait, thread: self, by: Conditions::FATAL, restart: Restart::Always }
    }
}

impl<F: Future> Future for Interruptible<'_, F> {
    type Output = Result<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.wait.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if this.thread.has(*this.by) {
            return Poll::Ready(Err(Error::Interrupted(*this.restart)));
        }
        Poll::Pending
    }
}
