//! The thread record: what others may know of a thread and do to it. What only the thread itself touches is
//! in [`crate::Current`].

use crate::process::Process;
use crate::signal::{Actions, Pending, Signal, SignalSet};
use crate::times::ThreadTimes;
use crate::users::Charge;
use crate::{Pid, futex, limits};
use alloc::sync::Arc;
use arch::addr::VirtAddr;
use base::{Credentials, rank};
use bitflags::bitflags;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use executor::spin::SpinLock;
use executor::{Class, SchedParams, Task};
use memory::Space;
use vfs::{FdTable, FsContext};

bitflags! {
    /// What a thread has to look at before its program goes on, and what ends its waits. Whoever sets a bit
    /// wakes the thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Conditions: u32 {
        /// A signal may have to be taken.
        const SIGNAL = 1;
        /// The whole process dies.
        const KILL = 2;
        /// The process stops.
        const STOP = 4;
        /// Another thread of the process executes a new program; this one dies.
        const EXEC = 8;
        /// The thread must leave this CPU: its affinity has changed.
        const MIGRATE = 16;
        /// The thread has asked to exit.
        const EXIT = 32;
        /// What it has registered for restartable sequences is to be brought up to date.
        const RSEQ = 64;
        /// What ends a killable wait.
        const FATAL = Conditions::KILL.bits() | Conditions::EXEC.bits();
        /// What ends an interruptible wait.
        const INTERRUPT = Conditions::FATAL.bits() | Conditions::SIGNAL.bits() | Conditions::STOP.bits();
    }
}

/// No CPU has this number.
const UNWATCHED: u16 = u16::MAX;

/// A thread's name: at most 15 bytes and a zero.
pub type Name = [u8; 16];

/// What of a thread others look at (/proc) and the thread itself changes now and then.
pub struct View {
    /// comm, prctl(2) PR_SET_NAME.
    pub name: Name,
    /// Its identity.
    pub cred: Arc<Credentials>,
    /// Its address space, until it exits.
    pub space: Option<Arc<Space>>,
    /// Its descriptors, until it exits.
    pub files: Option<Arc<FdTable>>,
    /// Its directories, until it exits.
    pub fs: Option<Arc<FsContext>>,
    /// Its signal actions.
    pub actions: Arc<Actions>,
    /// The task that runs it, once it is spawned.
    pub task: Option<Task>,
    /// Its number.
    pub pid: Arc<Pid>,
    /// The signal it gets when its parent thread exits (PR_SET_PDEATHSIG).
    pub parent_death_signal: Option<Signal>,
    /// The head of its robust futex list (set_robust_list(2)); null for none.
    pub robust_list: VirtAddr,
    /// [`UndoList::name`](ipc::sem::UndoList::name) of the list of what semaphores are to take back for it; 0 without one.
    pub undo: u32,
    /// Its place in the count of its user's threads, until it exits.
    pub(crate) charge: Option<Charge>,
}

/// A thread. Lives until its last observer is gone; its future holds one reference.
pub struct Thread {
    /// The process it belongs to.
    pub process: Arc<Process>,
    tid: AtomicU32,
    conditions: AtomicU32,
    /// Its children are scheduled by default (SCHED_RESET_ON_FORK).
    resets_on_fork: AtomicBool,
    /// It has given away, for its end, what futexes it owned.
    owns_nothing: AtomicBool,
    /// The CPU that its program was told it runs on (rseq(2)); [`UNWATCHED`] if it has not asked.
    told_cpu: AtomicU16,
    mask: AtomicU64,
    /// [`Space::id`] of the address space in `view`, so that a switch need not lock that. 0 for none.
    space_id: AtomicUsize,
    /// What sigtimedwait(2) waits for although it is blocked.
    pub(crate) waiting_for: AtomicU64,
    /// Signals sent to this thread alone.
    pub signals: SpinLock<Pending>,
    /// What it shares with others.
    pub view: SpinLock<View>,
    /// What it has used.
    pub times: ThreadTimes,
    /// The ticket of the last futex wait that was woken.
    pub(crate) futex_wake: AtomicU64,
    /// Where its futex wait was moved to.
    pub(crate) futex_moved: SpinLock<Option<futex::Key>>,
}

impl Thread {
    /// A thread that no one knows yet and that does not run.
    pub(crate) fn new(process: Arc<Process>, mask: SignalSet, view: View) -> Arc<Thread> {
        let space_id = AtomicUsize::new(view.space.as_ref().map_or(0, |space| space.id()));
        Arc::new(Thread {
            process,
            tid: AtomicU32::new(view.pid.number()),
            conditions: AtomicU32::new(0),
            resets_on_fork: AtomicBool::new(false),
            owns_nothing: AtomicBool::new(false),
            told_cpu: AtomicU16::new(UNWATCHED),
            mask: AtomicU64::new(mask.0),
            space_id,
            waiting_for: AtomicU64::new(0),
            signals: SpinLock::new(rank::THREAD_SIGNALS, Pending::new()),
            view: SpinLock::new(rank::THREAD, view),
            times: ThreadTimes::new(),
            futex_wake: AtomicU64::new(0),
            futex_moved: SpinLock::new(rank::FUTEX_MOVED, None),
        })
    }

    /// The thread id.
    #[inline]
    pub fn id(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// Takes over another number (execve(2) by a thread that does not lead).
    pub(crate) fn set_pid(&self, pid: Arc<Pid>) -> Arc<Pid> {
        self.tid.store(pid.number(), Ordering::Relaxed);
        core::mem::replace(&mut self.view.lock().pid, pid)
    }

    /// Whether this thread's id is the process's.
    pub fn is_leader(&self) -> bool {
        self.id() == self.process.id()
    }

    /// Its name, without trailing zeros.
    pub fn name(&self) -> Name {
        self.view.lock().name
    }

    /// Its identity.
    pub fn cred(&self) -> Arc<Credentials> {
        self.view.lock().cred.clone()
    }

    /// Its signal actions.
    pub fn actions(&self) -> Arc<Actions> {
        self.view.lock().actions.clone()
    }

    /// The signals it blocks.
    #[inline]
    pub fn mask(&self) -> SignalSet {
        SignalSet(self.mask.load(Ordering::Relaxed))
    }

    /// Sets the mask without looking at what becomes pending or undeliverable; see [`crate::signal::deliver::set_mask`].
    pub(crate) fn set_mask_raw(&self, mask: SignalSet) {
        self.mask.store(mask.0, Ordering::SeqCst);
    }

    /// Whether the thread would take this signal if it were sent now.
    pub(crate) fn wants(&self, signal: Signal) -> bool {
        !self.mask().contains(signal) || SignalSet(self.waiting_for.load(Ordering::SeqCst)).contains(signal)
    }

    /// Whether the thread keeps this signal pending rather than having it thrown away when it is ignored.
    pub(crate) fn holds_back(&self, signal: Signal) -> bool {
        self.mask().contains(signal) || SignalSet(self.waiting_for.load(Ordering::SeqCst)).contains(signal)
    }

    /// Whether any of `which` holds.
    #[inline]
    pub fn has(&self, which: Conditions) -> bool {
        self.conditions.load(Ordering::Acquire) & which.bits() != 0
    }

    /// Whether nothing has to be looked at before the program goes on: one load.
    #[inline]
    pub fn is_undisturbed(&self) -> bool {
        self.conditions.load(Ordering::Acquire) == 0
    }

    /// Whether `which` holds and nothing else.
    #[inline]
    pub fn has_only(&self, which: Conditions) -> bool {
        self.conditions.load(Ordering::Acquire) == which.bits()
    }

    /// Sets a condition and wakes the thread, whatever it waits for.
    pub fn interrupt(&self, which: Conditions) {
        self.set(which);
        self.wake();
    }

    /// Has the thread's future polled again.
    pub(crate) fn wake(&self) {
        let view = self.view.lock();
        if let Some(task) = &view.task {
            task.wake();
        }
    }

    /// Whether its children are scheduled by default (SCHED_RESET_ON_FORK).
    pub fn resets_on_fork(&self) -> bool {
        self.resets_on_fork.load(Ordering::Relaxed)
    }

    /// Says whether they are.
    pub fn set_resets_on_fork(&self, resets: bool) {
        self.resets_on_fork.store(resets, Ordering::Relaxed);
    }

    /// How it was asked to be scheduled, and on which CPUs.
    pub fn sched_params(&self) -> SchedParams {
        let class = futex::pi::own_class(self);
        let view = self.view.lock();
        let Some(task) = &view.task else { return SchedParams::default() };
        SchedParams { class, affinity: task.affinity(), ..SchedParams::default() }
    }

    /// Has it scheduled otherwise, unless it runs by a higher priority that it was lent.
    pub fn set_class(self: &Arc<Thread>, class: Class) {
        futex::pi::set_class(self, class);
    }

    /// The class that it runs by, which may be lent.
    pub(crate) fn running_class(&self) -> Class {
        self.view.lock().task.as_ref().map_or(Class::default(), Task::class)
    }

    /// Has it run by this class from now on.
    pub(crate) fn run_by(&self, class: Class) {
        if let Some(task) = &self.view.lock().task
            && task.class() != class
        {
            task.promote(class);
        }
    }

    /// Whether it has given away, for its end, what futexes it owned.
    pub(crate) fn owns_nothing(&self) -> bool {
        self.owns_nothing.load(Ordering::SeqCst)
    }

    pub(crate) fn set_owns_nothing(&self, yes: bool) {
        self.owns_nothing.store(yes, Ordering::SeqCst);
    }

    /// How a child of this thread is to be scheduled: as it is, unless it asked for the default.
    pub(crate) fn child_params(&self) -> SchedParams {
        let params = self.sched_params();
        let class = match params.class {
            class if !self.resets_on_fork() => class,
            Class::Fair { nice } => Class::Fair { nice: nice.max(0) },
            Class::Batch { nice } => Class::Batch { nice: nice.max(0) },
            Class::Idle => Class::Idle,
            Class::RealTime { .. } => Class::default(),
        };
        SchedParams { class, ..params }
    }

    /// Sets a condition on oneself, which is awake.
    pub fn set(&self, which: Conditions) {
        self.conditions.fetch_or(which.bits(), Ordering::SeqCst);
    }

    /// Clears a condition.
    pub fn clear(&self, which: Conditions) {
        self.conditions.fetch_and(!which.bits(), Ordering::SeqCst);
    }

    /// Makes this CPU see the thread's address space. Called whenever the thread's future is polled.
    #[inline]
    pub fn install(&self) {
        if !memory::tlb::is_settled(self.space_id.load(Ordering::Relaxed)) {
            self.switch_in();
        }
    }

    fn switch_in(&self) {
        // What other CPUs have asked this one to forget goes first: activation may trust what is cached.
        if memory::tlb::pending() {
            memory::tlb::service();
        }
        let view = self.view.lock();
        if let Some(space) = &view.space {
            space.activate();
        }
        ipc::acts(self.process.id());
        let told = self.told_cpu.load(Ordering::Relaxed);
        if told != UNWATCHED && usize::from(told) != arch::cpu::id() {
            self.set(Conditions::RSEQ);
        }
    }

    /// Its program was told that it runs on `cpu`, and is told of another; or it does not ask to be told any more.
    pub(crate) fn watch_cpu(&self, cpu: Option<usize>) {
        self.told_cpu.store(cpu.map_or(UNWATCHED, |cpu| cpu as u16), Ordering::Relaxed);
    }

    /// Its program is a copy of that of `other`, with what that was told.
    pub(crate) fn watch_same_cpu(&self, other: &Thread) {
        self.told_cpu.store(other.told_cpu.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Replaces the address space, or takes it away. Only the thread itself does this.
    pub(crate) fn set_space(&self, space: Option<Arc<Space>>) -> Option<Arc<Space>> {
        self.space_id.store(space.as_ref().map_or(0, |space| space.id()), Ordering::Relaxed);
        core::mem::replace(&mut self.view.lock().space, space)
    }

    /// A limit of its process (getrlimit(2)): the soft value.
    pub fn limit(&self, resource: limits::Resource) -> u64 {
        self.process.limits.get(resource).soft
    }
}

/// While it lives, signals of a set wake the thread although it blocks them (sigtimedwait(2)).
pub struct WaitingForSignals<'a>(&'a Thread);

impl Thread {
    /// Says that the thread waits for the signals of `set`.
    pub fn wait_for_signals(&self, set: SignalSet) -> WaitingForSignals<'_> {
        self.waiting_for.store(set.0, Ordering::SeqCst);
        WaitingForSignals(self)
    }
}

impl Drop for WaitingForSignals<'_> {
    fn drop(&mut self) {
        self.0.waiting_for.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_a_thread_and_its_number_stay_within_their_budget() {
        // Locks that check their order are larger than those of a release.
        const BUDGET: usize = 480;
        let (thread, pid) = (size_of::<Thread>(), size_of::<Pid>());
        println!("a thread's record: {thread} bytes, its number: {pid}, budget {BUDGET} for both");
        assert!(thread + pid <= BUDGET);
    }
}
