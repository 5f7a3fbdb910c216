//! The process: a thread group and what its threads share.

use crate::alarm::Alarm;
use crate::cpu_timers::CpuTimers;
use crate::limits::Limits;
use crate::oom;
use crate::pid::Pid;
use crate::signal::stop::{self, StopState};
use crate::signal::{Actions, Pending, Signal, SignalSet};
use crate::thread::{Conditions, Thread};
use crate::timers::Timers;
use crate::times::ProcessTimes;
use crate::tree::{Group, Links, Tree};
use alloc::sync::{Arc, Weak};
use base::{Error, Few, rank};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use executor::spin::{SpinGuard, SpinLock};
use executor::{Completion, WaitQueue};
use memory::Space;
use vfs::FdTable;

/// A process, from its creation until it is reaped and nobody looks at it any more.
pub struct Process {
    pid: Arc<Pid>,
    /// Guarded by the process's own lock.
    pub shared: SpinLock<Shared>,
    /// Guarded by the tree lock; see [`Process::links`].
    links: SpinLock<Links>,
    /// Woken when the process goes on after a stop.
    pub resumed: WaitQueue,
    /// Woken when the process exits, stops or goes on: waiters that name it.
    pub changed: WaitQueue,
    /// Woken when any child does: waiters that name none, or a group.
    pub children_changed: WaitQueue,
    /// Woken when a signal is queued for the process or one of its threads: signalfd, sigtimedwait.
    pub signals_changed: WaitQueue,
    /// Woken when a thread of it has exited: an execve(2) waits for that.
    pub threads_changed: WaitQueue,
    /// Resource limits.
    pub limits: Limits,
    /// What it has used.
    pub times: ProcessTimes,
    /// Its real-time interval timer.
    pub alarm: Alarm,
    /// Its timers of CPU time.
    pub(crate) cpu_timers: CpuTimers,
    /// The timers that its program has made.
    pub timers: Timers,
    uid: AtomicU32,
    over: AtomicBool,
    /// Whether a core file was begun; then `dump` knows more.
    dumps: AtomicBool,
    core_filter: AtomicU32,
    /// How eagerly it is killed for memory, -1000 to 1000, and what it may set that to without privilege.
    pub oom: oom::Adjustment,
}

/// What the process's lock guards.
pub struct Shared {
    /// The live threads by id. A leader that exited is not among them.
    pub threads: Few<u32, Arc<Thread>>,
    /// How many threads have not called exit(2).
    pub(crate) staying: usize,
    /// All its threads have the KILL condition.
    killed: bool,
    /// Signals sent to the process.
    pub pending: Pending,
    /// Whether it runs.
    pub stop: StopState,
    /// Counts its stops.
    pub stop_round: u32,
    /// A stop signal was taken, and no SIGCONT has come since.
    pub stop_taken: bool,
    /// It went on and no wait has told the parent.
    pub continued: bool,
    /// Set once: the wait status that the whole process exits with.
    pub group_exit: Option<i32>,
    /// The thread id that executes a new program and awaits the end of the others.
    pub exec: Option<u32>,
    /// Signal actions as of the last thread to change them.
    pub actions: Arc<Actions>,
    /// The name of the leader, for those who ask when it is a zombie.
    pub last_name: crate::thread::Name,
    /// Fires when the process was made by vfork and lets go of its parent's memory.
    pub vfork: Option<Arc<Completion>>,
    /// The executable, which nobody may write until the process has exited; for /proc/PID/exe.
    pub executable: Option<Arc<vfs::Executed>>,
    /// Where its argument and its environment strings lie, for /proc/PID/cmdline and environ.
    pub strings: ((usize, usize), (usize, usize)),
    /// Where its auxiliary vector lies.
    pub auxv: (usize, usize),
    /// The core file that it leaves, once that is begun.
    pub dump: Option<Arc<crate::dump::Dump>>,
}

impl Process {
    /// A process without threads, in `group`. `pid` becomes its id.
    pub(crate) fn new(pid: Arc<Pid>, group: Arc<Group>, actions: Arc<Actions>, limits: Limits) -> Arc<Process> {
        Arc::new_cyclic(|me: &Weak<Process>| Process {
            shared: SpinLock::new(
                rank::PROCESS,
                Shared {
                    threads: Few::new(),
                    staying: 0,
                    killed: false,
                    pending: Pending::new(),
                    stop: StopState::Running,
                    stop_round: 0,
                    stop_taken: false,
                    continued: false,
                    group_exit: None,
                    exec: None,
                    actions,
                    last_name: [0; 16],
                    vfork: None,
                    executable: None,
                    strings: ((0, 0), (0, 0)),
                    auxv: (0, 0),
                    dump: None,
                },
            ),
            links: SpinLock::new(rank::LINKS, Links::new(group)),
            resumed: WaitQueue::new(),
            changed: WaitQueue::new(),
            children_changed: WaitQueue::new(),
            signals_changed: WaitQueue::new(),
            threads_changed: WaitQueue::new(),
            limits,
            times: ProcessTimes::new(),
            alarm: Alarm::new(me.clone()),
            cpu_timers: CpuTimers::new(),
            timers: Timers::new(),
            uid: AtomicU32::new(0),
            over: AtomicBool::new(false),
            dumps: AtomicBool::new(false),
            core_filter: AtomicU32::new(crate::dump::filter::DEFAULT),
            oom: oom::Adjustment::default(),
            pid,
        })
    }

    /// The process id.
    #[inline]
    pub fn id(&self) -> u32 {
        self.pid.number()
    }

    /// What its id belongs to.
    pub fn pid(&self) -> &Arc<Pid> {
        &self.pid
    }

    /// Whether it is the first process, which cannot die.
    pub fn is_init(&self) -> bool {
        self.id() == 1
    }

    /// Its place in the tree. At most one process's links are locked at a time.
    pub fn links<'a>(&'a self, _tree: &Tree) -> SpinGuard<'a, Links> {
        self.links.lock()
    }

    /// The parent; `None` for the first process.
    pub fn parent(&self, tree: &Tree) -> Option<Arc<Process>> {
        self.links(tree).parent.clone()
    }

    /// The signal actions.
    pub fn actions(&self) -> Arc<Actions> {
        self.shared.lock().actions.clone()
    }

    /// Whether it has exited: it is a zombie, or reaped.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// It is a zombie now; its `changed` is notified after this.
    pub(crate) fn set_over(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether a core file was begun.
    #[inline]
    pub fn dumps(&self) -> bool {
        self.dumps.load(Ordering::Acquire)
    }

    pub(crate) fn set_dumps(&self) {
        self.dumps.store(true, Ordering::Release);
    }

    /// What of its memory goes into a core file ([`crate::dump::filter`]).
    pub fn core_filter(&self) -> u32 {
        self.core_filter.load(Ordering::Relaxed)
    }

    /// Changes what does.
    pub fn set_core_filter(&self, filter: u32) {
        self.core_filter.store(filter & crate::dump::filter::ALL, Ordering::Relaxed);
    }

    /// The real user id of its threads.
    pub fn uid(&self) -> u32 {
        self.uid.load(Ordering::Relaxed)
    }

    pub(crate) fn set_uid(&self, uid: u32) {
        self.uid.store(uid, Ordering::Relaxed);
    }

    /// One of its live threads, the leader if it lives.
    pub fn any_thread(&self) -> Option<Arc<Thread>> {
        let shared = self.shared.lock();
        shared.threads.get(&self.id()).or_else(|| shared.threads.values().next()).cloned()
    }

    /// Its live threads. The process is not locked between one and the next.
    pub fn threads(&self) -> impl Iterator<Item = Arc<Thread>> + use<'_> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let shared = self.shared.lock();
            let (&id, thread) = shared.threads.first_in(from..)?;
            from = id + 1;
            Some(thread.clone())
        })
    }

    /// Its address space while it has one.
    pub fn space(&self) -> Option<Arc<Space>> {
        self.any_thread()?.view.lock().space.clone()
    }

    /// Its descriptors while it has some.
    pub fn files(&self) -> Option<Arc<FdTable>> {
        self.any_thread()?.view.lock().files.clone()
    }

    /// Ends the process: every thread gets the KILL condition. The first status given wins.
    pub fn exit_group(&self, status: i32) {
        self.shared.lock().begin_group_exit(self, status);
    }

    /// A thread begins to exit by itself. If all have, the process's status is decided: it is that of the last to begin, for
    /// who joins a thread sees it gone before it is, and may then exit with a status that counts.
    pub fn begin_exit(&self, status: i32) {
        let mut shared = self.shared.lock();
        shared.staying -= 1;
        if shared.staying == 0 {
            shared.group_exit.get_or_insert(status);
        }
    }

    /// The status the process exits with, once that is decided.
    pub fn exit_status(&self) -> Option<i32> {
        self.shared.lock().group_exit
    }

    /// Whether one more queued signal is within RLIMIT_SIGPENDING. (Counted per process, where
    /// Linux counts per user.)
    pub(crate) fn signal_queue_room(&self, shared: &Shared) -> bool {
        (shared.pending.queued() as u64) < self.limits.get(crate::limits::Resource::Sigpending).soft
    }
}

impl Shared {
    /// Fails with `Interrupted` if the process is about to die, or to have one thread alone.
    pub(crate) fn refuse_if_dying(&self) -> Result<(), Error> {
        if self.group_exit.is_some() || self.exec.is_some() {
            return Err(Error::Interrupted(base::Restart::Always));
        }
        Ok(())
    }

    /// One more thread.
    pub(crate) fn add(&mut self, thread: &Arc<Thread>) {
        self.threads.insert(thread.id(), thread.clone());
        self.staying += 1;
    }

    /// As [`Process::exit_group`], under the lock. Threads that call exit(2) may have decided the status and wait for memory on
    /// their way out: the condition ends that.
    pub(crate) fn begin_group_exit(&mut self, process: &Process, status: i32) {
        self.group_exit.get_or_insert(status);
        if core::mem::replace(&mut self.killed, true) {
            return;
        }
        stop::release(process, self);
        for thread in self.threads.values() {
            thread.interrupt(Conditions::KILL);
        }
    }

    /// A thread that takes `signal` if it is sent to the process: the leader if it does, else any.
    pub(crate) fn pick(&self, signal: Signal) -> Option<&Arc<Thread>> {
        // The leader is the first to be asked, and mostly the last.
        let leader = self.threads.values().next()?;
        if leader.wants(signal) { Some(leader) } else { self.threads.values().find(|thread| thread.wants(signal)) }
    }

    /// Forgets pending signals of the process and of all threads.
    pub fn discard(&mut self, set: SignalSet) {
        self.pending.discard(set);
        for thread in self.threads.values() {
            thread.signals.lock().discard(set);
        }
    }
}
