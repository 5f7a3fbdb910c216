//! Tasks and how to start them.

use crate::cpu;
use crate::current::Charged;
use crate::platform;
use crate::sched::{Class, Entity, SchedParams};
use async_task::{Builder, WithInfo};
use core::future::Future;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Waker;

/// A task: the executor's side of a thread.
///
/// Dropping it does not cancel the task, which runs on detached. Keep it for as long as the task
/// may wait with its waker stored nowhere else: async-task ends a task whose last waker and
/// last handle are gone, since nothing could ever wake it.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// let task = executor::spawn(async { executor::yield_now().await }, Default::default());
/// assert_eq!(executor::run_next(), executor::Step::Ran);
/// assert!(!task.is_finished());
/// assert_eq!(executor::run_next(), executor::Step::Ran);
/// assert!(task.is_finished());
/// # }
/// ```
pub struct Task {
    /// None only while it is being dropped.
    handle: Option<async_task::Task<(), Entity>>,
    waker: Waker,
}

/// Starts a task: its future is polled from now on, on the CPU that `params` says or another that
/// may run it. Allocates the task once; futures of 2,048 bytes and more are boxed inside.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// use executor::{Class, SchedParams, spawn};
/// spawn(async { /* a thread */ }, SchedParams { class: Class::Fair { nice: 5 }, ..Default::default() });
/// # }
/// ```
pub fn spawn<F>(future: F, params: SchedParams) -> Task
where
    F: Future<Output = ()> + Send + 'static,
{
    spawn_with(|| future, params)
}

/// As [`spawn`], for a large future: it is made where it stays, and so not moved there.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// let name = String::from("a thread");
/// let task = executor::spawn_with(move || async move { assert_eq!(name, "a thread") }, Default::default());
/// executor::run_next();
/// assert!(task.is_finished());
/// # }
/// ```
#[inline]
pub fn spawn_with<F>(make: impl FnOnce() -> F, params: SchedParams) -> Task
where
    F: Future<Output = ()> + Send + 'static,
{
    let home = params.cpu.filter(|cpu| *cpu < crate::MAX_CPUS).unwrap_or_else(platform::cpu_id);
    let (ready, handle) =
        Builder::new().metadata(Entity::new(&params, home)).spawn(move |_| Charged(make()), WithInfo(cpu::schedule));
    let waker = ready.waker();
    cpu::enqueue_new(ready);
    Task { handle: Some(handle), waker }
}

impl Task {
    fn entity(&self) -> Option<&Entity> {
        self.handle.as_ref().map(async_task::Task::metadata)
    }

    /// Makes the task runnable, or polled again if it is being polled.
    #[inline]
    pub fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// The task's waker.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether its future has resolved.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(async_task::Task::is_finished)
    }

    /// Sets the nice value of a fair or batch task; from its next turn on.
    pub fn set_nice(&self, nice: i8) {
        if let Some(entity) = self.entity() {
            entity.set_nice(nice);
        }
    }

    /// Sets its class; from its next turn on.
    pub fn set_class(&self, class: Class) {
        if let Some(entity) = self.entity() {
            entity.set_class(class);
        }
    }

    /// Sets its class at once: a task that waits for its turn has it by the new class. Looks through the run queues.
    pub fn promote(&self, class: Class) {
        if let Some(entity) = self.entity() {
            entity.set_class(class);
            cpu::reclassify(entity);
        }
    }

    /// Its class.
    pub fn class(&self) -> Class {
        self.entity().map_or(Class::default(), |entity| entity.class().unpack())
    }

    /// Sets the CPUs that may run it, one bit each, from its next turn on. True if the CPU that
    /// has it now is not among them: a task that is running should then be made to
    /// [`preempt`](crate::preempt) itself, and a task that waits moves when it is next woken.
    #[must_use = "a running task stays where it is until it yields"]
    pub fn set_affinity(&self, mask: u64) -> bool {
        self.entity().is_some_and(|entity| {
            entity.affinity.store(mask, Relaxed);
            !entity.allows(entity.home())
        })
    }

    /// Whether it runs or waits for a CPU: a snapshot. Looks through the run queues.
    pub fn is_runnable(&self) -> bool {
        self.entity().is_some_and(cpu::is_runnable)
    }

    /// The CPUs that may run it.
    pub fn affinity(&self) -> u64 {
        self.entity().map_or(u64::MAX, |entity| entity.affinity.load(Relaxed))
    }

    /// The CPU that runs it or ran it last.
    pub fn cpu(&self) -> usize {
        self.entity().map_or(0, |entity| entity.home())
    }

    /// How long it has run, in ns, up to now. While another CPU is just charging it, this may be a little less than
    /// what it was a moment ago.
    pub fn runtime_ns(&self) -> u64 {
        self.entity().map_or(0, cpu::runtime)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.detach();
        }
    }
}
