//! One CPU's part of the scheduler: choosing, running, waking, stealing, idling.
//!
//! What is here is called by the kernel's main loop on each CPU and by wakers on any CPU.
//! `queue` is behind a short spin lock that its own CPU takes uncontended; thieves only try it.
//! `gauge` is the part of it for those who only look, and changes under its lock. `level` and `inbox` are the
//! meeting points with wakers (see `idle` and `inbox`). The rest is written by its own CPU alone.

mod accounting;
mod stealing;

pub(crate) use accounting::runtime;
pub use accounting::{account, current_cpu_time};
use stealing::steal;

use crate::MAX_CPUS;
use crate::balance::{self, balance};
use crate::current::Current;
use crate::fifo::{Fifo, Ready};
use crate::idle::Level;
use crate::inbox::{Inbox, Overflow};
use crate::machine::{self, Machine};
use crate::platform;
use crate::ring::LateRing;
use crate::runqueue::{Gauge, Place, RunQueue};
use crate::sched::{Entity, LEVEL_FAIR, LEVEL_NONE, LEVEL_RT};
use crate::spin::{Rank, SpinLock};
use crate::timer::Timers;
use crate::trace::{self, Point};
use async_task::ScheduleInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::Relaxed};

/// After how long in user mode a task that its waker left in the wake slot is offered to idle CPUs.
const SLOT_PATIENCE: u64 = 50_000;
const NEVER: u64 = u64::MAX;

impl Overflow<Ready> for Fifo {
    fn push(&mut self, task: Ready) {
        self.push_back(task);
    }
    fn pop(&mut self) -> Option<Ready> {
        self.pop_front()
    }
}

/// One CPU. The alignment makes an index into a shift.
#[repr(align(4096))]
pub(crate) struct Cpu {
    queue: SpinLock<RunQueue>,
    gauge: Gauge,
    /// When the running task's slice ends, in ns.
    slice_end: AtomicU64,
    /// Up to when run time has been charged, in ns.
    charged: AtomicU64,
    /// Whether `charged` is from before an idle time.
    stale: AtomicBool,
    /// When the wake slot is offered to idle CPUs, in ns.
    offer_at: AtomicU64,
    /// When to look next whether another CPU has less to do, in ns.
    balance_at: AtomicU64,
    current: Current,
    pub(crate) timers: Timers,
    level: Level,
    /// Whether the CPU's timer is set for the end of the slice.
    ticking: AtomicBool,
    /// [`is_settled`] has said yes, and nothing that it looks at has changed since, but for the inbox.
    quiet: AtomicBool,
    inbox: Inbox<LateRing, Fifo>,
}

impl Cpu {
    pub(crate) const fn new() -> Cpu {
        Cpu {
            queue: SpinLock::new(Rank::RUN_QUEUE, RunQueue::new()),
            gauge: Gauge::new(),
            slice_end: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            stale: AtomicBool::new(true),
            offer_at: AtomicU64::new(NEVER),
            balance_at: AtomicU64::new(0),
            current: Current::new(),
            timers: Timers::new(),
            level: Level::new(LEVEL_NONE),
            ticking: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            inbox: Inbox::new(LateRing::new(), Fifo::new()),
        }
    }

    /// Queues a task while the CPUs `idle` are idle; how many wait now.
    #[inline(always)]
    fn push(&self, idle: u64, task: Ready, place: Place) -> u32 {
        let mut queue = self.queue.lock();
        // With the lock held: who changes the class looks for the task in the queue after that.
        let class = task.metadata().class();
        // One more that waits for the tick disturbs nobody.
        if class.outranks(self.level.get()) || !self.ticking.load(Relaxed) || idle != 0 {
            self.disturb();
        }
        queue.push(&self.gauge, task, class, place)
    }

    /// Queues a task that was woken on this CPU, which is `me`, and has an idle CPU come for what waits here.
    #[inline(always)]
    fn push_woken(&self, machine: &Machine, me: usize, task: Ready, place: Place) {
        let idle = machine.idle.load(Relaxed);
        if idle == 0 {
            self.push(0, task, place);
        } else if self.push(idle, task, place) > 1 {
            // Whoever is in the wake slot, or the only one, will run here soon.
            offer(machine, me, u64::MAX);
        }
    }

    /// Has the next [`is_quiet`] say no. On its own CPU.
    #[inline]
    pub(crate) fn disturb(&self) {
        self.quiet.store(false, Relaxed);
    }

    /// How many tasks wait here, but for those on the way.
    pub(crate) fn waiting(&self) -> u32 {
        self.gauge.len()
    }

    /// How many tasks run or wait here.
    pub(crate) fn load(&self) -> u32 {
        self.gauge.len() + u32::from(self.level.get() != LEVEL_NONE)
    }

    /// Takes out a fair task that waits here and that `cpu` may run.
    pub(crate) fn spare(&self, cpu: usize) -> Option<Ready> {
        self.queue.lock().steal_fair(&self.gauge, cpu)
    }

    fn drain(&self, machine: &Machine, me: usize) {
        let mut ready = 0;
        self.inbox.drain(|task: Ready| ready = self.push(machine.idle.load(Relaxed), task, Place::Tail));
        if ready > 1 {
            offer(machine, me, u64::MAX);
        }
    }
}

/// What [`run_next`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It polled a task.
    Ran,
    /// There was nothing to run here or to steal.
    Idle,
}

#[inline(always)]
fn this() -> (&'static Machine, usize, &'static Cpu) {
    let machine = machine::get();
    let me = platform::cpu_id() % MAX_CPUS;
    (machine, me, &machine.cpus[me])
}

/// Opens this CPU to tasks from others. Each CPU calls it once, before its main loop; allocates.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// executor::start();
/// # }
/// ```
pub fn start() {
    let (machine, me, cpu) = this();
    cpu.inbox.ring().open();
    #[cfg(feature = "trace")]
    crate::trace::open();
    machine.online.fetch_or(1 << me, Ordering::SeqCst);
}

/// Polls the next task of this CPU, or one stolen from another. Not to be called from a poll.
///
/// The main loop of a CPU, which halts with the interrupt that ends the halt still masked until then:
///
/// ```no_run
/// # executor::hosted_platform!();
/// # fn main() {
/// # fn halt_until(_deadline: Option<u64>) {}
/// # fn now() -> u64 { 0 }
/// executor::start();
/// loop {
///     executor::fire_timers(now());
///     if executor::run_next() == executor::Step::Idle && executor::enter_idle() {
///         halt_until(executor::next_deadline());
///         executor::leave_idle();
///     }
/// }
/// # }
/// ```
#[inline]
pub fn run_next() -> Step {
    let (machine, me, cpu) = this();
    loop {
        if cpu.inbox.pending() {
            cpu.drain(machine, me);
        }
        let picked = cpu.queue.lock().pop(&cpu.gauge);
        let Some((task, from_slot)) = picked.or_else(|| steal(machine, me).map(|task| (task, false))) else {
            cpu.stale.store(true, Relaxed);
            return Step::Idle;
        };
        if !task.metadata().allows(me) && elsewhere(machine, task.metadata()) {
            route(machine, me, task);
            continue;
        }
        cpu.poll(me, task, from_slot);
        return Step::Ran;
    }
}

impl Cpu {
    #[inline]
    fn poll(&self, me: usize, task: Ready, from_slot: bool) {
        let entity = task.metadata();
        let class = entity.class();
        if entity.arrive(me) {
            platform::arrived();
        }
        if self.stale.load(Relaxed) {
            self.stale.store(false, Relaxed);
            let now = platform::now();
            self.charged.store(now, Relaxed);
            platform::resumed(now);
        }
        if class.is_fair() && !entity.goes_on() {
            self.begin(LEVEL_FAIR, || self.charged.load(Relaxed) + class.fair_slice(), from_slot);
        } else {
            let slice = entity.take_slice(class);
            self.begin(class.level(), || self.charged.load(Relaxed).saturating_add(slice), from_slot);
        }
        trace::about(entity, Point::Begin, 0);
        self.current.run(task);
        trace::point(Point::End, 0);
        crate::spin::assert_no_locks_held();
    }

    /// Sets the slice of a task that is polled next, which would end at `end`, and the level that this CPU runs at.
    #[inline(always)]
    fn begin(&self, level: u32, end: impl FnOnce() -> u64, from_slot: bool) {
        let old_end = self.slice_end.load(Relaxed);
        // A task from the wake slot runs on its waker's slice, so that a pair has no more than one.
        if !from_slot || self.charged.load(Relaxed) >= old_end {
            let end = end();
            self.slice_end.store(end, Relaxed);
            if end < old_end {
                self.disturb();
            }
        }
        self.offer_at.store(NEVER, Relaxed);
        if self.level.set(level) {
            self.disturb();
        }
    }
}

/// Whether this CPU has something to run: in its queue or on the way there.
#[inline]
pub fn has_work() -> bool {
    let (_, _, cpu) = this();
    cpu.gauge.len() > 0 || cpu.inbox.pending()
}

/// How many tasks run or wait for a CPU, on all CPUs: a snapshot, for load averages.
pub fn runnable() -> usize {
    let cpus = &machine::get().cpus[..platform::cpu_count()];
    cpus.iter().map(|cpu| cpu.gauge.len() as usize + usize::from(cpu.current.is_some())).sum()
}

/// Whether the running task should [`preempt`](crate::preempt) itself: something of a higher class waits, or
/// its slice is used up and an equal waits. The kernel asks on the way to user mode.
#[inline]
pub fn need_resched() -> bool {
    let (machine, me, cpu) = this();
    if cpu.inbox.pending() {
        cpu.drain(machine, me);
    }
    cpu.gauge.len() > 0 && cpu.outranked(machine, me)
}

/// Whether the running task is the only one of this CPU that can run: a yield would come back to it at once.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// assert!(executor::is_alone());
/// executor::spawn(async {}, Default::default());
/// assert!(!executor::is_alone());
/// # }
/// ```
#[inline]
pub fn is_alone() -> bool {
    let (_, _, cpu) = this();
    cpu.gauge.len() == 0 && !cpu.inbox.pending()
}

/// Whether [`is_settled`] has said yes and would say so again, but for CPUs that have become idle since: those look
/// for work by themselves first. Two loads, for a task that comes back to the kernel often.
#[inline]
pub fn is_quiet() -> bool {
    let (_, _, cpu) = this();
    cpu.quiet.load(Relaxed) && !cpu.inbox.pending()
}

/// Has the next [`is_quiet`] on this CPU say no: something else that the kernel looks at on the way to user mode has changed.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// assert!(executor::is_settled(u64::MAX) && executor::is_quiet());
/// executor::disturb();
/// assert!(!executor::is_quiet());
/// # }
/// ```
pub fn disturb() {
    this().2.disturb();
}

/// Whether the kernel has nothing to do on the way to user mode while this CPU's timer is set for `armed`: what
/// [`need_resched`] and [`next_deadline`] would find with less to look at. Nothing has come in, no timer comes before
/// `armed`, and what waits neither outranks the running task nor has to be offered to an idle CPU; since the timer ends
/// the stay in user mode before the slice ends, the clock need not be read.
///
/// ```
/// # executor::hosted_platform!();
/// # fn main() {
/// assert!(executor::is_settled(u64::MAX));
/// executor::spawn(async {}, Default::default());
/// assert!(!executor::is_settled(u64::MAX));
/// # }
/// ```
#[inline]
pub fn is_settled(armed: u64) -> bool {
    let (machine, me, cpu) = this();
    if cpu.inbox.pending() || cpu.timers.next() < armed {
        return false;
    }
    let ticking = cpu.ticking.load(Relaxed);
    let settled = if cpu.gauge.len() == 0 {
        // A tick that is on its way although nobody waits any more may come: the next look after it ends them. So a pair that
        // wakes each other in turn does not set and clear it each time.
        !ticking || armed <= cpu.slice_end.load(Relaxed)
    } else {
        ticking
            && cpu.gauge.top() <= cpu.level.get()
            && armed <= cpu.slice_end.load(Relaxed)
            && machine.idle.load(Relaxed) & !(1 << me) == 0
    };
    if settled {
        cpu.quiet.store(true, Relaxed);
    }
    settled
}

impl Cpu {
    fn outranked(&self, machine: &Machine, me: usize) -> bool {
        let (top, level) = (self.gauge.top(), self.level.get());
        if top > level {
            return true;
        }
        let now = platform::now();
        if now >= self.offer_at.load(Relaxed) {
            self.offer_at.store(NEVER, Relaxed);
            self.queue.lock().flush_slot(&self.gauge);
            offer(machine, me, u64::MAX);
        }
        if now < self.slice_end.load(Relaxed) {
            return false;
        }
        if now >= self.balance_at.load(Relaxed) {
            self.balance_at.store(now.saturating_add(balance::PERIOD), Relaxed);
            balance(machine, me);
        }
        if top == level || level <= LEVEL_FAIR {
            return true;
        }
        // Only lower ones wait: another slice, so that the tick does not come back at once.
        let slice = self.current.with(|entity| entity.class().slice()).unwrap_or(0);
        self.slice_end.store(now.saturating_add(slice), Relaxed);
        false
    }
}

/// When the running task's slice ends, in ns.
pub fn slice_end() -> u64 {
    this().2.slice_end.load(Relaxed)
}

/// When this CPU must next be interrupted, in ns: its first timer, or the end of the slice if
/// others wait. None: not at all. The kernel asks on the way to user mode and to the halt, after
/// [`need_resched`].
#[inline]
pub fn next_deadline() -> Option<u64> {
    let (machine, me, cpu) = this();
    let mut deadline = cpu.timers.next();
    let mut others = has_work();
    if others {
        cpu.ticking.store(true, Relaxed);
    } else if cpu.ticking.load(Relaxed) {
        // A waker that saw `ticking` did not ring. As in the idle handshake: publish, then look.
        cpu.ticking.store(false, Relaxed);
        core::sync::atomic::fence(Ordering::SeqCst);
        if cpu.inbox.pending() {
            cpu.ticking.store(true, Relaxed);
            others = true;
        }
    }
    if others {
        deadline = deadline.min(cpu.slice_end.load(Relaxed));
        if machine.idle.load(Relaxed) & !(1 << me) != 0 {
            if cpu.offer_at.load(Relaxed) == NEVER {
                cpu.offer_at.store(platform::now().saturating_add(SLOT_PATIENCE), Relaxed);
            }
            deadline = deadline.min(cpu.offer_at.load(Relaxed));
        }
    }
    (deadline != NEVER).then_some(deadline)
}

/// Calls `f` with the data of the task that is being polled on this CPU.
#[cfg(feature = "trace")]
pub(crate) fn with_current<R>(f: impl FnOnce(&Entity) -> R) -> Option<R> {
    this().2.current.with(f)
}

/// Notes what the running task, which gives way, has left of its slice.
pub(crate) fn keep_slice() {
    let (_, _, cpu) = this();
    let left = cpu.slice_end.load(Relaxed).saturating_sub(platform::now());
    cpu.current.with(|entity| entity.keep_slice(left));
}

/// Says that this CPU is about to halt. False: there is work after all, and it must not.
///
/// After `true` the caller halts with interrupts enabled in the same step, so that a ring that came in between
/// ends the halt at once, and then calls [`leave_idle`].
pub fn enter_idle() -> bool {
    let (machine, me, cpu) = this();
    machine.idle.fetch_or(1 << me, Ordering::SeqCst);
    cpu.level.enter_idle();
    let sleep = !has_work();
    if !sleep {
        leave_idle();
    }
    sleep
}

/// Ends what [`enter_idle`] began.
pub fn leave_idle() {
    let (machine, me, cpu) = this();
    machine.idle.fetch_and(!(1 << me), Ordering::SeqCst);
    cpu.stale.store(true, Relaxed);
}

/// Called by async-task with every task that has become runnable.
#[inline]
pub(crate) fn schedule(task: Ready, info: ScheduleInfo) {
    let (machine, me, cpu) = this();
    let entity = task.metadata();
    trace::about(entity, Point::Wake, 0);
    if !entity.is_home(me) || !entity.allows(me) {
        return route(machine, me, task);
    }
    // Each place by itself, since a queue that knows it has less to ask.
    if info.woken_while_running {
        if entity.goes_on() {
            cpu.push_woken(machine, me, task, Place::Head);
        } else {
            cpu.push_woken(machine, me, task, Place::Tail);
        }
    } else if cpu.current.is_some() {
        cpu.push_woken(machine, me, task, Place::Slot);
    } else {
        cpu.push_woken(machine, me, task, Place::Tail);
    }
}

/// Queues a task that has just been spawned: at the tail, since its spawner goes on.
pub(crate) fn enqueue_new(task: Ready) {
    let (machine, me, cpu) = this();
    let affinity = task.metadata().affinity.load(Relaxed);
    trace::about(task.metadata(), Point::Spawn, 0);
    if !task.metadata().is_home(me) || !task.metadata().allows(me) {
        return route(machine, me, task);
    }
    let idle = machine.idle.load(Relaxed);
    cpu.push(idle, task, Place::Tail);
    if idle != 0 {
        offer(machine, me, affinity);
    }
}

/// Rings one idle CPU of `wanted` so that it steals.
#[cold]
fn offer(machine: &Machine, me: usize, wanted: u64) {
    let idle = machine.idle.load(Relaxed) & wanted & !(1 << me);
    if idle != 0 {
        let bit = idle & idle.wrapping_neg();
        // Whoever clears the bit rings, so that a burst of wakes rings once.
        if machine.idle.fetch_and(!bit, Ordering::SeqCst) & bit != 0 {
            platform::ring(bit.trailing_zeros() as usize);
        }
    }
}

/// Whether a started CPU may run the task.
fn elsewhere(machine: &Machine, entity: &Entity) -> bool {
    entity.affinity.load(Relaxed) & machine.online.load(Relaxed) != 0
}

/// Gives a task to the best CPU that may run it: its home if that is idle, else an idle one, else
/// its home again, else this one, else any.
#[cold]
#[inline(never)]
fn route(machine: &Machine, me: usize, task: Ready) {
    let entity = task.metadata();
    let home = entity.home();
    let online = machine.online.load(Relaxed);
    let may = match entity.affinity.load(Relaxed) & online {
        0 => online | 1 << me,
        some => some,
    };
    let idle = machine.idle.load(Relaxed) & may;
    let home_bit = 1u64.checked_shl(home as u32).unwrap_or(0);
    let target = if may & home_bit != 0 && machine.cpus[home].level.get() == LEVEL_NONE {
        home
    } else if idle != 0 {
        idle.trailing_zeros() as usize
    } else if may & home_bit != 0 {
        home
    } else if may >> me & 1 != 0 {
        me
    } else {
        may.trailing_zeros() as usize
    };
    if target == me {
        entity.send(me);
        machine.cpus[me].push(machine.idle.load(Relaxed), task, Place::Tail);
        return;
    }
    send(machine, task, target);
}

/// Hands a task to another CPU, and rings that if it would not look soon enough.
#[cold]
pub(crate) fn send(machine: &Machine, task: Ready, target: usize) {
    let (entity, cpu) = (task.metadata(), &machine.cpus[target]);
    let level = entity.class().level();
    entity.send(target);
    trace::about(entity, Point::Migrate, target as u64);
    let first = cpu.inbox.push(task);
    let running = cpu.level.after_push();
    let lower = running < level;
    if first && (lower || !cpu.ticking.load(Relaxed)) || lower && level >= LEVEL_RT {
        platform::ring(target);
    }
}

/// Has a task, whose class has just changed, compete by it at once: one that waits in a queue goes where it belongs now,
/// and one that runs here is outranked by what is above its new class. One that runs on another CPU has its new class
/// when it is preempted there. For what is rare: every queue is searched.
#[cold]
pub(crate) fn reclassify(entity: &Entity) {
    let (machine, me, cpu) = this();
    if cpu.current.is(entity) {
        cpu.level.set(entity.class().level());
        cpu.disturb();
        return;
    }
    for cpu in &machine.cpus[..platform::cpu_count()] {
        let taken = cpu.queue.lock().take(&cpu.gauge, entity);
        if let Some(task) = taken {
            return route(machine, me, task);
        }
    }
}

/// Whether a task is being polled or waits in a run queue; not seen is one that is on its way to another CPU. For what
/// is rare: every queue is searched.
#[cold]
pub(crate) fn is_runnable(entity: &Entity) -> bool {
    let cpus = &machine::get().cpus[..platform::cpu_count()];
    cpus.iter().any(|cpu| cpu.current.is(entity) || cpu.gauge.len() > 0 && cpu.queue.lock().holds(entity))
}
