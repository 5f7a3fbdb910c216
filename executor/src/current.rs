//! The task that a CPU is polling, and the future around every task's future that charges the
//! task for the time of its poll.
#![allow(unsafe_code)] // A pointer to the running task's data, and a pin projection.

use crate::sched::Entity;
use core::future::Future;
use core::pin::Pin;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use core::task::{Context, Poll};

/// The scheduling data of the task that is being polled. Only its CPU uses it.
pub(crate) struct Current(AtomicPtr<Entity>);

impl Current {
    pub const fn new() -> Current {
        Current(AtomicPtr::new(ptr::null_mut()))
    }

    /// Runs a task.
    #[inline]
    pub fn run(&self, task: crate::fifo::Ready) {
        // Release: who sees the task here sees since when it has been charged (`cpu::runtime`).
        self.0.store(ptr::from_ref(task.metadata()).cast_mut(), Release);
        task.run();
        self.0.store(ptr::null_mut(), Relaxed);
    }

    /// Whether it is this task that is being polled; for other CPUs too.
    pub fn is(&self, entity: &Entity) -> bool {
        ptr::eq(self.0.load(Acquire), entity)
    }

    #[inline]
    pub fn is_some(&self) -> bool {
        !self.0.load(Relaxed).is_null()
    }

    /// Calls `f` with the data of the task that is being polled on this CPU.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&Entity) -> R) -> Option<R> {
        let entity = self.0.load(Relaxed);
        // SAFETY: the pointer is null or was stored by `run`, on this CPU, which has not returned
        // (it clears the pointer, and this CPU is not interrupted). While `Runnable::run` runs
        // any code of ours (the poll, the schedule function, destructors of the future), the
        // task is allocated and so is its metadata, which only gives out shared references.
        unsafe { entity.as_ref() }.map(f)
    }
}

/// A task's future, which charges each poll's time to the task.
pub(crate) struct Charged<F>(pub F);

impl<F: Future> Future for Charged<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the only field is pinned when the struct is: nothing moves it out, and the struct
        // has no Drop and no Unpin of its own.
        let future = unsafe { self.map_unchecked_mut(|this| &mut this.0) };
        let result = future.poll(cx);
        crate::cpu::account();
        result
    }
}
