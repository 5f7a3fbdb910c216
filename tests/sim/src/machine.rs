//! One run: the machine, the programs on it, and the scheduler that decides everything a machine leaves open.
//!
//! One host thread plays all CPUs. A step of a CPU polls one task, which runs until it waits, or until the
//! scheduler makes it give way. While a program is in user mode other CPUs may be stepped inside that step, so a thread may be
//! on its CPU while things happen elsewhere. A CPU that halts goes on when an interrupt is pending, and not before, so a
//! ring that is missing shows.

use crate::observe::see;
use crate::rng::Rng;
use crate::script::*;
use crate::world::World;
use arch::addr::VirtAddr;
use arch::irq::Irq;
use arch::sim;
use arch::trap::{PageFault, Trap};
use arch::user::{Context, Program};
use arch::usercopy;
use base::Credentials;
use executor::{SchedParams, Step};
use linux_raw_sys::general as raw;
use memory::space::{Flags, Limits, MapRequest, Place};
use process::pidfd::PidFd;
use process::signal::{Siginfo, Signal, SignalSet, send, stop::StopState};
use process::{Conditions, Current, Process, Thread, pid};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use vfs::mount::MountFlags;
use vfs::tmpfs::{self, Tmpfs};
use vfs::{Caller, FsContext, Mount};

/// Register 13 holds the node that runs.
const NODE: usize = 13;
/// While register 15 is set, register 14 keeps the result that a forced yield would hide.
const KEPT: usize = 14;
const YIELDED: usize = 15;

/// After so many operations a run goes round in circles.
const MOST_OPS: u64 = 3_000_000;
const RAM: usize = 64 << 20;

struct Driver {
    rng: Rng,
    world: World,
    /// CPUs that are in a step, and those that halt.
    busy: [bool; arch::MAX_CPUS],
    halted: [bool; arch::MAX_CPUS],
    cpus: usize,
    ops: u64,
    hash: u64,
    trace: bool,
    baseline: Option<(memory::frames::Stats, sim::InUse)>,
    /// How eagerly the scheduler interferes, in percent.
    yields: usize,
    nests: usize,
    ticks: usize,
}

thread_local! {
    /// Somebody lives beside the first process, who can be killed for memory.
    static OTHERS: Cell<bool> = const { Cell::new(false) };
    static DRIVER: RefCell<Option<Driver>> = const { RefCell::new(None) };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

fn with<T>(f: impl FnOnce(&mut Driver) -> T) -> T {
    DRIVER.with_borrow_mut(|driver| f(driver.as_mut().expect("a run is going on")))
}

/// What a run came to.
pub struct Outcome {
    pub hash: u64,
    pub ops: u64,
    pub calls: u64,
    pub cpus: usize,
    pub nodes: usize,
}

/// Runs a seed; panics where something is wrong.
pub fn run(seed: u64, trace: bool) -> Outcome {
    let plan = Arc::new(crate::plan::plan(seed));
    if trace {
        print_plan(&plan);
    }
    let mut rng = Rng::new(seed ^ 0xc0ff_ee00_0000);
    let mut entropy = [0; 32];
    entropy[..8].copy_from_slice(&seed.to_ne_bytes());
    let cpus = plan.cpus;
    let nodes = plan.entry.len();
    let (yields, nests, ticks) = (rng.pick(&[0, 5, 20, 50]), rng.pick(&[0, 10, 30]), rng.pick(&[0, 3, 15]));
    DRIVER.set(Some(Driver {
        rng,
        world: World::new(plan.clone()),
        busy: [false; arch::MAX_CPUS],
        halted: [false; arch::MAX_CPUS],
        cpus,
        ops: 0,
        hash: 0xcbf2_9ce4_8422_2325,
        trace,
        baseline: None,
        yields,
        nests,
        ticks,
    }));
    boot(cpus, entropy, plan.clone());
    sim::set_fate(fate(seed, &plan));
    settle();
    // The first process may be in the middle of its script, waiting for what sleeps, and go on to make more.
    for _ in 0..NODES {
        check_sleepers();
        if with(|d| d.world.all_reaped) {
            break;
        }
        kill_everybody();
        settle();
    }
    sim::set_fate(None);
    check_end();
    with(|d| Outcome { hash: d.hash, ops: d.ops, calls: d.world.calls, cpus, nodes })
}

/// What goes wrong in this run, if anything does.
fn fate(seed: u64, plan: &Plan) -> Option<sim::Fate> {
    let (shortage, faults) = (plan.shortage, plan.faults);
    if shortage == 0 && faults == 0 {
        return None;
    }
    let mut rng = Rng::new(seed ^ 0xfa7e);
    Some(Box::new(move |chance| match chance {
        // The first process alone cannot be helped.
        sim::Chance::Memory => OTHERS.get() && rng.below(1000) < shortage,
        sim::Chance::Access => rng.below(1000) < faults,
    }))
}

fn print_plan(plan: &Plan) {
    eprintln!("{} CPUs, {} nodes", plan.cpus, plan.entry.len());
    for (at, op) in plan.ops.iter().enumerate() {
        if let Some(node) = plan.entry.iter().position(|entry| *entry == at) {
            let (maker, home, flags) = (plan.maker[node], plan.home[node], plan.flags[node]);
            eprintln!("node {node} of {maker}, in the process of {home}, flags {flags:#x}:");
        }
        if !matches!(op, Op::Load { .. } | Op::Done(_)) {
            eprintln!("  {at:5} {op:?}");
        }
    }
}

/// Drives a future that has nothing to wait for.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

fn boot(cpus: usize, entropy: [u8; 32], plan: Arc<Plan>) {
    let info = sim::boot(cpus, RAM, entropy);
    memory::init(info);
    kernel::time::init();
    kernel::random::init();
    process::users::set_threads_max(1000).expect("a fair number");
    kernel::cpu::set_count(cpus);
    for cpu in 0..cpus {
        sim::set_cpu(cpu);
        executor::start();
    }
    sim::set_cpu(0);
    let fs = Tmpfs::new(tmpfs::Options { mode: 0o755, name: "rootfs", ..tmpfs::Options::default() }).expect("a tmpfs");
    let root = Mount::new(fs, b"rootfs", MountFlags::empty()).root();
    let fs = Arc::new(FsContext::new(root));
    for (index, entry) in plan.executables.iter().enumerate() {
        crate::image::install(&fs, index, *entry);
    }
    let mut current = process::clone::first(fs).expect("a first process");
    map(&current, SHARED, SHARED_PAGES, Flags::SHARED);
    map(&current, PRIVATE, PRIVATE_PAGES, Flags::empty());
    map(&current, STACKS, STACK_PAGES, Flags::empty());
    current.cx = Context::new(plan.entry[0], stack_top(0));
    let script = Arc::new(Script(plan));
    sim::set_executed_program(script.clone());
    current.cx.program = Some(script);
    let thread = current.thread.clone();
    let task = syscalls::run::spawn(current, SchedParams::default(), None);
    thread.view.lock().task = Some(task);
}

fn map(current: &Current, at: usize, pages: usize, more: Flags) {
    let mut request = MapRequest::anonymous(Place::Fixed(VirtAddr(at)), pages * 0x1000, Flags::READ | Flags::WRITE);
    request.flags |= more;
    now(current.space.map(request, &Limits::NONE)).expect("room");
}

/// Steps CPUs until all halt and no timer is set.
fn settle() {
    loop {
        let mut ready = [0; arch::MAX_CPUS];
        let count = ready_cpus(&mut ready);
        if count == 0 {
            let Some(at) = sim::next_deadline() else {
                return;
            };
            let now = sim::with(|machine| machine.now);
            sim::advance(at.saturating_sub(now).max(1));
            continue;
        }
        let cpu = with(|d| ready[d.rng.below(count)]);
        if with(|d| d.rng.chance(2)) {
            let any = with(|d| d.rng.below(d.cpus));
            sim::raise(any, Irq::Ipi);
        }
        step(cpu);
    }
}

/// The CPUs that can be stepped now.
fn ready_cpus(out: &mut [usize; arch::MAX_CPUS]) -> usize {
    let mut count = 0;
    let (cpus, busy, halted) = with(|d| (d.cpus, d.busy, d.halted));
    let here = sim::cpu();
    for cpu in 0..cpus {
        sim::set_cpu(cpu);
        if !busy[cpu] && (!halted[cpu] || sim::irq_pending()) {
            out[count] = cpu;
            count += 1;
        }
    }
    sim::set_cpu(here);
    count
}

/// One turn of a CPU's main loop.
fn step(cpu: usize) {
    let before = sim::cpu();
    sim::set_cpu(cpu);
    with(|d| {
        d.busy[cpu] = true;
        d.ops += 1;
        assert!(d.ops < MOST_OPS, "the run goes round in circles");
    });
    if with(|d| core::mem::take(&mut d.halted[cpu])) {
        kernel::cpu::finish_halt();
    } else if with(|d| d.rng.chance(20)) {
        kernel::cpu::service_interrupts();
    }
    if executor::run_next() == Step::Idle && kernel::cpu::prepare_halt() {
        with(|d| d.halted[cpu] = true);
    }
    meet();
    with(|d| d.busy[cpu] = false);
    sim::advance(with(|d| d.rng.range(50, 2000) as u64));
    sim::set_cpu(before);
}

/// The code of every program.
struct Script(Arc<Plan>);

impl Program for Script {
    fn run(&self, cx: &mut Context) -> Trap {
        meet();
        self.arrive(cx);
        loop {
            if cx.regs[YIELDED] != 0 {
                cx.ret = cx.regs[KEPT];
                cx.regs[YIELDED] = 0;
            }
            if let Some(trap) = self.interfere(cx) {
                return trap;
            }
            if let Some(trap) = self.one(cx) {
                return trap;
            }
        }
    }
}

impl Script {
    /// A program that has just come back to user mode may have the result of a call, which is judged before anything else happens.
    fn arrive(&self, cx: &Context) {
        if let Some(Op::Become(node)) = self.0.ops.get(cx.pc) {
            with(|d| d.world.executed(*node));
        }
        let Some(Op::Done(call)) = self.0.ops.get(cx.pc) else { return };
        // A child is not the one that made the call.
        if matches!(call, Call::Clone { .. }) && cx.ret == 0 || cx.regs[YIELDED] != 0 {
            return;
        }
        let node = cx.regs[NODE] as u8;
        // Which process a new descriptor names.
        let named = match call {
            Call::PidfdOpen => pidfd_of(node, cx.ret),
            Call::Clone { .. } => pidfd_of(node, word(pidfd_word(node)) as usize),
            _ => None,
        };
        with(|d| d.world.returned(node, *call, cx.ret as isize, named, &word));
    }

    /// Whether the handler with its frame at `sp` runs in a child that has not come back from its birth, and goes by its maker's name
    /// yet. A frame begins with the place, the stack pointer and the result that were interrupted; then come the registers.
    fn is_newborn(&self, sp: usize) -> bool {
        let from = |at: usize| word(at) as usize;
        let (at, above) = (from(sp), from(sp + 8));
        if (self.0.handler..self.0.entry[0]).contains(&at) {
            return self.is_newborn(above);
        }
        let register = |number: usize| from(sp + (3 + number) * 8);
        let result = if register(YIELDED) != 0 { register(KEPT) } else { from(sp + 16) };
        matches!(self.0.ops.get(at), Some(Op::Done(Call::Clone { .. }))) && result == 0
    }

    /// What may happen to a program between two of its instructions.
    fn interfere(&self, cx: &mut Context) -> Option<Trap> {
        let (yields, nests, ticks) = with(|d| (d.rng.chance(d.yields), d.rng.chance(d.nests), d.rng.chance(d.ticks)));
        sim::advance(with(|d| d.rng.range(10, 1000) as u64));
        if nests && DEPTH.get() < 3 {
            let mut ready = [0; arch::MAX_CPUS];
            let count = ready_cpus(&mut ready);
            if count > 0 {
                let cpu = with(|d| ready[d.rng.below(count)]);
                DEPTH.set(DEPTH.get() + 1);
                step(cpu);
                DEPTH.set(DEPTH.get() - 1);
            }
        }
        if ticks {
            // A whole slice passes.
            sim::advance(4_000_000);
            sim::raise(sim::cpu(), Irq::Timer);
        }
        if sim::irq_pending() && with(|d| d.rng.chance(80)) {
            return Some(Trap::Interrupt);
        }
        if yields && !matches!(self.0.ops[cx.pc], Op::Trap(_)) {
            (cx.regs[KEPT], cx.regs[YIELDED]) = (cx.ret, 1);
            cx.nr = raw::__NR_sched_yield as usize;
            return Some(Trap::Syscall);
        }
        None
    }

    /// One operation.
    fn one(&self, cx: &mut Context) -> Option<Trap> {
        let op = self.0.ops[cx.pc];
        let node = cx.regs[NODE] as u8;
        note(node, cx, &op);
        match self.execute(cx, node, op) {
            Ok(trap) => trap,
            Err(fault) => Some(Trap::PageFault(fault)),
        }
    }

    fn execute(&self, cx: &mut Context, node: u8, op: Op) -> Result<Option<Trap>, PageFault> {
        let mut next = cx.pc + 1;
        match op {
            Op::Load { nr, args } => {
                let mut values = [0; 6];
                for (value, arg) in values.iter_mut().zip(args) {
                    *value = match arg {
                        Arg::Is(value) => value,
                        Arg::Word(at) => usercopy::load_u32(VirtAddr(at))? as usize,
                        Arg::Minus(at) => (usercopy::load_u32(VirtAddr(at))? as i32).wrapping_neg() as usize,
                    };
                }
                (cx.nr, cx.args) = (nr as usize, values);
            }
            Op::Trap(call) => {
                cx.pc = next;
                if call == Call::InHandler {
                    if cx.nr == raw::__NR_rt_sigreturn as usize && !self.is_newborn(cx.sp) {
                        with(|d| d.world.handler_ends(node));
                    }
                } else {
                    let pidfd = match call {
                        Call::PidfdSend { .. } | Call::Read { .. } | Call::Write { .. } => pidfd_of(node, cx.args[0]),
                        Call::PidfdWait { .. } => pidfd_of(node, cx.args[1]),
                        Call::PidfdPoll { .. } => pidfd_of(node, word(cx.args[0]) as usize),
                        _ => None,
                    };
                    let ino = match call {
                        Call::Read { .. } | Call::Write { .. } => ino_of(node, cx.args[0]),
                        _ => None,
                    };
                    with(|d| d.world.enters(node, call, cx.args, ino, pidfd));
                }
                return Ok(Some(Trap::Syscall));
            }
            Op::Done(Call::Clone { child }) if cx.ret == 0 => {
                // The child is another node from here on.
                cx.regs[NODE] = child.into();
                next = self.0.entry[child as usize];
            }
            Op::Done(_) => {}
            Op::StoreResult(at) => store(at, cx.ret as u32)?,
            Op::Store(at, value) => store(at, value)?,
            Op::Add(at, value) => {
                let old = usercopy::load_u32(VirtAddr(at))?;
                store(at, old.wrapping_add(value))?;
            }
            Op::Copy(from, to) => store(to, usercopy::load_u32(VirtAddr(from))?)?,
            Op::Jump(to) => next = to,
            Op::JumpIfResult(low, high, to) => {
                if (low..=high).contains(&(cx.ret as isize)) {
                    next = to;
                }
            }
            Op::JumpIfWord(at, value, to) => {
                if usercopy::load_u32(VirtAddr(at))? == value {
                    next = to;
                }
            }
            Op::JumpUnlessWord(at, value, to) => {
                if usercopy::load_u32(VirtAddr(at))? != value {
                    next = to;
                }
            }
            Op::Fill { node, write, records } => {
                // Begun anew after each fault, it would never end.
                let fill = || {
                    (0..records).try_for_each(|at| {
                        let to = VirtAddr(buffer(node) + usize::from(at) * RECORD);
                        usercopy::write(to, &record(write, at)).map_err(|(fault, _)| fault)
                    })
                };
                sim::spared(fill)?;
            }
            Op::Handled if self.is_newborn(cx.sp) => {}
            Op::Handled => with(|d| d.world.handler_begins(node, cx.regs[0] as u8)),
            Op::Become(node) => cx.regs[NODE] = node.into(),
            Op::Unreachable => {
                panic!("node {node} is where nothing comes, at {}", cx.pc);
            }
            Op::Baseline => with(|d| d.baseline = Some((memory::stats(), sim::in_use()))),
            Op::AllReaped => with(|d| d.world.root_is_alone()),
        }
        cx.pc = next;
        Ok(None)
    }
}

/// A word of the memory of the program that runs.
fn word(at: usize) -> u32 {
    sim::spared(|| usercopy::load_u32(VirtAddr(at)).unwrap_or(0))
}

fn store(at: usize, value: u32) -> Result<(), PageFault> {
    usercopy::write(VirtAddr(at), &value.to_ne_bytes()).map_err(|(fault, _)| fault)
}

/// Counts, hashes and prints what is about to be executed.
fn note(node: u8, cx: &Context, op: &Op) {
    with(|d| {
        d.ops += 1;
        assert!(d.ops < MOST_OPS, "the run goes round in circles");
        for value in [sim::cpu(), node.into(), cx.pc, cx.ret] {
            d.hash = (d.hash ^ value as u64).wrapping_mul(0x100_0000_01b3);
        }
        if d.trace && !matches!(op, Op::Load { .. }) {
            let now = sim::with(|machine| machine.now);
            let result = cx.ret as isize;
            eprintln!("{now:10} cpu {} node {node:2} {:5} {op:?} [{result}]", sim::cpu(), cx.pc);
        }
    });
}

/// Has the model follow the kernel.
fn meet() {
    let seen = see();
    OTHERS.set(seen.iter().any(|(id, process)| *id != 1 && !process.place.threads.is_empty()));
    with(|d| d.world.meet(&seen, &word));
}

/// Every process there is.
fn processes() -> Vec<Arc<Process>> {
    pid::processes(1).collect()
}

/// At rest: every thread that is left must have a reason to sleep.
fn check_sleepers() {
    sim::spared(check_all_sleepers);
}

fn check_all_sleepers() {
    for cpu in 0..with(|d| d.cpus) {
        sim::set_cpu(cpu);
        assert!(!executor::has_work(), "CPU {cpu} halts and has work");
    }
    sim::set_cpu(0);
    for process in processes() {
        let (stopped, threads) = {
            let shared = process.shared.lock();
            (shared.stop, shared.threads.values().cloned().collect::<Vec<_>>())
        };
        for thread in &threads {
            check_sleeper(&process, thread, stopped);
        }
    }
}

fn check_sleeper(process: &Arc<Process>, thread: &Arc<Thread>, stopped: StopState) {
    let id = thread.id();
    let vforks = |thread: Arc<Thread>| with(|d| is_in_vfork(&d.world, thread.id()));
    let held_up = matches!(stopped, StopState::Stopping { .. });
    assert!(!held_up || process.threads().any(vforks), "process {} never finished stopping", process.id());
    assert!(!thread.has(Conditions::FATAL), "thread {id} must die and sleeps");
    if stopped != StopState::Running {
        return;
    }
    assert!(!thread.has(Conditions::STOP), "thread {id} must stop, its process runs, and it sleeps");
    let node = with(|d| d.world.node_of(id));
    let Some(node) = node else { panic!("thread {id} sleeps and never told its id") };
    let Some(inside) = with(|d| d.world.in_call(node).cloned()) else {
        panic!("thread {id} (node {node}) is lost in user mode")
    };
    let call = inside.call;
    let in_vfork = with(|d| is_in_vfork(&d.world, id));
    if !in_vfork {
        assert!(
            !thread.has(Conditions::SIGNAL),
            "thread {id} (node {node}) has a signal to take and sleeps in {call:?}"
        );
        let own = thread.signals.lock().set();
        let shared = process.shared.lock();
        // A signal of the process waits for the thread that was told of it, even if that is in vfork.
        let told = shared.threads.values().any(|thread| thread.has(Conditions::SIGNAL));
        let pending = if told { own } else { own.union(shared.pending.set()) };
        drop(shared);
        let wanted = pending.intersection(SignalSet(!0).without(thread.mask()));
        assert!(wanted.is_empty(), "thread {id} (node {node}) sleeps in {call:?} over the signals {:#x}", wanted.0);
    }
    match call {
        Call::Pause => assert!(node == 0, "only the first process pauses"),
        Call::Clone { .. } => {
            assert!(in_vfork, "thread {id} (node {node}) sleeps in clone");
            let made = memory_is_used_by_another(thread, process);
            assert!(made, "thread {id} (node {node}) waits for a vfork child that is gone");
        }
        Call::Wait { .. } | Call::Waitid { .. } | Call::PidfdWait { .. } => {
            check_waiter(process, thread, node, &inside.call, inside.args, inside.pidfd);
        }
        Call::PidfdPoll { timed } => {
            assert!(!timed, "thread {id} (node {node}) sleeps past its time");
            let over = inside.pidfd.is_some_and(|target| with(|d| d.world.model.is_over(target)));
            assert!(!over, "thread {id} (node {node}) waits for the end of {:?}, which is over", inside.pidfd);
        }
        // What it would have to take was looked for above.
        Call::Sigsuspend { .. } => {}
        Call::Sigtimedwait { timed, .. } => {
            assert!(!timed, "thread {id} (node {node}) sleeps past its time");
            let missed = with(|d| d.world.mail.has_missed(id));
            assert!(missed.is_none(), "thread {id} (node {node}) waits for signals, and {missed:?} is there");
        }
        Call::FutexWait { addr, timed, .. } => {
            assert!(!timed, "thread {id} (node {node}) sleeps past its time");
            thread.install();
            let word = usercopy::load_u32(VirtAddr(addr)).unwrap_or(0);
            let expected = inside.args[2] as u32;
            assert!(
                word == expected || with(|d| d.world.model.violent),
                "thread {id} (node {node}) sleeps on the futex {addr:#x}, which is {word} and not {expected}"
            );
        }
        // The number may name another file by now.
        Call::Read { .. } | Call::Write { .. } if inside.ino != ino_of(node, inside.args[0]) => {}
        Call::Read { .. } | Call::Write { .. } => check_pipe(thread, node, &inside.call, inside.args[0]),
        other => panic!("thread {id} (node {node}) sleeps in {other:?}"),
    }
}

/// Whether a thread is in the call that makes a child of vfork.
fn is_in_vfork(world: &World, id: u32) -> bool {
    let call = world.node_of(id).and_then(|node| world.in_call(node)).map(|inside| inside.call);
    let Some(Call::Clone { child }) = call else { return false };
    world.plan.flags[child as usize] & u64::from(raw::CLONE_VFORK) != 0
}

/// Whether another process still uses the memory of a thread that waits in vfork.
fn memory_is_used_by_another(thread: &Arc<Thread>, process: &Arc<Process>) -> bool {
    let space = thread.view.lock().space.clone();
    let Some(space) = space else { return false };
    processes()
        .iter()
        .any(|other| other.id() != process.id() && other.space().is_some_and(|theirs| Arc::ptr_eq(&theirs, &space)))
}

/// A waiter sleeps rightly if it has a child that matches and nothing to be told of.
fn check_waiter(
    process: &Arc<Process>,
    thread: &Arc<Thread>,
    node: u8,
    call: &Call,
    args: [usize; 6],
    pidfd: Option<u32>,
) {
    let (options, one) = match call {
        Call::Wait { options } => (*options, (args[0] as i32 > 0).then_some(args[0] as u32)),
        Call::Waitid { options } => (*options, (args[0] as u32 == raw::P_PID).then_some(args[1] as u32)),
        Call::PidfdWait { options } => (*options, pidfd),
        _ => return,
    };
    let group = match call {
        Call::Wait { .. } if args[0] as i32 == 0 || (args[0] as i32) < -1 => true,
        Call::Waitid { .. } => args[0] as u32 == raw::P_PGID,
        _ => false,
    };
    let tree = process::tree::lock();
    let children: Vec<_> = process.children(&tree, None).collect();
    let mut matching = 0;
    for child in &children {
        if one.is_some_and(|id| id != child.id()) {
            continue;
        }
        let links = child.links(&tree);
        let is_clone = links.exit_signal != Some(Signal::SIGCHLD);
        let kind = options & raw::__WALL != 0 || is_clone == (options & raw::__WCLONE != 0);
        if !kind || options & raw::__WNOTHREAD != 0 && links.parent_thread != thread.id() {
            continue;
        }
        matching += 1;
        assert!(
            links.zombie.is_none() || group,
            "thread {} (node {node}) waits for a child, and {} is a zombie",
            thread.id(),
            child.id()
        );
    }
    assert!(
        matching > 0,
        "thread {} (node {node}) waits in {call:?} {:x?} for a child, and has none",
        thread.id(),
        args
    );
}

/// The inode of a node's descriptor.
fn ino_of(node: u8, fd: usize) -> Option<u64> {
    let thread = pid::find_thread(with(|d| d.world.id_of(node)))?;
    let files = thread.view.lock().files.clone()?;
    files.get(fd as u32).ok().map(|description| description.metadata().ino)
}

/// The process that a node's descriptor names, if it is a pidfd.
fn pidfd_of(node: u8, fd: usize) -> Option<u32> {
    let thread = pid::find_thread(with(|d| d.world.id_of(node)))?;
    let files = thread.view.lock().files.clone()?;
    let description = files.get(fd as u32).ok()?;
    Some(description.file().as_any()?.downcast_ref::<PidFd>()?.number())
}

/// A reader sleeps rightly before an empty pipe that somebody can write to, a writer before a full one that
/// somebody can read from.
fn check_pipe(thread: &Arc<Thread>, node: u8, call: &Call, fd: usize) {
    let files = thread.view.lock().files.clone();
    // It may have been closed by those who share the table.
    let Some(Ok(description)) = files.map(|files| files.get(fd as u32)) else {
        return;
    };
    let cred = Credentials::root();
    let events = description.poll(&Caller::kernel(&cred));
    let reads = matches!(call, Call::Read { .. });
    let wanted = if reads { base::Events::READABLE } else { base::Events::WRITABLE };
    let flags = description.flags();
    if reads && !flags.readable() || !reads && !flags.writable() {
        return;
    }
    assert!(
        (events & wanted).is_empty(),
        "thread {} (node {node}) sleeps in {call:?}, and the pipe is {events:?}",
        thread.id()
    );
    let ino = description.metadata().ino;
    let peer = processes().iter().any(|process| {
        let threads: Vec<_> = process.shared.lock().threads.values().cloned().collect();
        threads.iter().any(|thread| {
            let Some(files) = thread.view.lock().files.clone() else {
                return false;
            };
            let mut found = false;
            files.each(0, |_, other| {
                let flags = other.flags();
                let fits = if reads { flags.writable() } else { flags.readable() };
                found |= fits && other.metadata().ino == ino;
                !found
            });
            found
        })
    });
    assert!(peer, "thread {} (node {node}) sleeps in {call:?}, and the pipe's other end is nowhere", thread.id());
}

/// Ends what rightly sleeps for ever.
fn kill_everybody() {
    with(|d| {
        if d.trace {
            eprintln!("all that is left sleeps rightly; now it is killed");
        }
    });
    // The CPU that does it is awake.
    sim::set_cpu(0);
    if with(|d| core::mem::take(&mut d.halted[0])) {
        kernel::cpu::finish_halt();
    }
    for process in processes() {
        if !process.is_init() {
            with(|d| d.world.model.killed(process.id()));
            send::to_process(&process, Siginfo::user(Signal::SIGKILL, 0, 0)).expect("SIGKILL is never refused");
        }
    }
}

/// Only the first process is left, and everything was given back.
fn check_end() {
    assert!(with(|d| d.world.all_reaped), "the first process never saw the last of its children");
    assert_eq!(process::users::threads(), 1, "threads are counted that do not exist");
    let first = pid::find_process(1).expect("the first process");
    let left: Vec<_> = processes().iter().map(|process| process.id()).filter(|id| *id != 1).collect();
    assert!(left.is_empty(), "processes are left: {left:?}");
    for id in 2..=pid::last_number() {
        assert!(pid::Pid::find(id).is_none(), "number {id} is still taken");
    }
    // A CPU keeps the address space of its last thread until it gets another.
    let thread = first.any_thread().expect("its thread");
    for cpu in 0..with(|d| d.cpus) {
        sim::set_cpu(cpu);
        thread.install();
    }
    sim::set_cpu(0);
    drop((thread, first, left));
    let Some((before, heap_before)) = with(|d| d.baseline) else {
        panic!("the first process did not come to its start")
    };
    let (after, heap) = (memory::stats(), sim::in_use());
    assert_eq!(after.anonymous, before.anonymous, "private memory was not given back");
    assert_eq!(after.file, before.file, "shared memory was not given back");
    assert_eq!(after.tables, before.tables, "page tables were not given back");
    assert_eq!(after.free, before.free, "frames were not given back: {before:?} {after:?}");
    let blocks = heap.blocks - heap_before.blocks;
    let bytes = heap.bytes - heap_before.bytes;
    if with(|d| d.trace) {
        eprintln!("the heap grew by {blocks} blocks, {bytes} bytes");
    }
    assert!(blocks <= crate::HEAP_SLACK, "the heap grew by {blocks} blocks, {bytes} bytes");
}
