//! Random programs: a tree of processes and threads, each of which does a few things and ends.

use crate::mail;
use crate::rng::Rng;
use crate::script::*;
use linux_raw_sys::general as raw;

const SIGUSR1: u8 = 10;
const SIGUSR2: u8 = 12;
const SIGTERM: u8 = 15;
const SIGCHLD: u8 = 17;
const SIGCONT: u8 = 18;
const SIGSTOP: u8 = 19;

/// What a seed turns on, so that some runs are of few kinds of calls and find what crowds hide.
struct Taste {
    threads: bool,
    vfork: bool,
    signals: bool,
    handlers: bool,
    stops: bool,
    futexes: bool,
    pipes: bool,
    groups: bool,
    odd_clones: bool,
    autoreap: bool,
    subreapers: bool,
    sleeps: bool,
    execs: bool,
    mail: bool,
    much: bool,
    masks: bool,
    pidfds: bool,
}

struct Maker {
    rng: Rng,
    plan: Plan,
    taste: Taste,
    /// Nodes that may still be made.
    left: usize,
    pipes: u8,
}

const ZERO: Arg = Arg::Is(0);

/// The plan of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut rng = Rng::new(seed);
    let mut often = |percent| rng.chance(percent);
    let taste = Taste {
        threads: often(60),
        vfork: often(40),
        signals: often(60),
        handlers: often(50),
        stops: often(25),
        futexes: often(50),
        pipes: often(50),
        groups: often(40),
        odd_clones: often(40),
        autoreap: often(20),
        subreapers: often(25),
        sleeps: often(40),
        execs: often(40),
        mail: often(40),
        much: often(30),
        masks: often(40),
        pidfds: often(40),
    };
    let (often_short, often_faulty) = (rng.chance(15), rng.chance(20));
    let left = rng.pick(&[2, 4, 8, 16, 32, NODES - 1]);
    let plan = Plan {
        ops: Vec::new(),
        entry: vec![0],
        maker: vec![0],
        home: vec![0],
        flags: vec![0],
        pidfd: vec![false],
        closes: false,
        cpus: rng.range(1, 4),
        handlers: false,
        nocldwait: false,
        writes: 0,
        values: 0,
        handler: 0,
        shortage: if often_short { 1 + rng.below(30) } else { 0 },
        faults: if often_faulty { 1 + rng.below(50) } else { 0 },
        executables: Vec::new(),
    };
    let mut maker = Maker { rng, plan, taste, left, pipes: 0 };
    maker.handler();
    maker.root();
    maker.plan
}

impl Maker {
    fn here(&self) -> usize {
        self.plan.ops.len()
    }

    fn op(&mut self, op: Op) -> usize {
        self.plan.ops.push(op);
        self.here() - 1
    }

    fn call(&mut self, call: Call, nr: u32, args: &[Arg]) {
        let mut all = [ZERO; 6];
        all[..args.len()].copy_from_slice(args);
        self.op(Op::Load { nr, args: all });
        self.op(Op::Trap(call));
        self.op(Op::Done(call));
    }

    fn handler(&mut self) {
        // Its address must be neither SIG_DFL nor SIG_IGN.
        for _ in 0..2 {
            self.op(Op::Unreachable);
        }
        self.plan.handler = self.here();
        self.op(Op::Handled);
        // Where masks matter it takes long enough for others to come.
        let yields = if self.taste.masks { 8 } else { usize::from(self.rng.chance(30)) };
        for _ in 0..yields {
            self.op(Op::Load { nr: raw::__NR_sched_yield, args: [ZERO; 6] });
            self.op(Op::Trap(Call::InHandler));
        }
        self.op(Op::Load { nr: raw::__NR_rt_sigreturn, args: [ZERO; 6] });
        self.op(Op::Trap(Call::InHandler));
        self.op(Op::Unreachable);
    }

    fn root(&mut self) {
        self.plan.entry[0] = self.here();
        self.call(Call::Gettid, raw::__NR_gettid, &[]);
        self.op(Op::StoreResult(id_word(0)));
        self.mask(0, raw::SIG_BLOCK, mail::SET);
        for page in 0..SHARED_PAGES {
            self.op(Op::Add(SHARED + page * 0x1000, 0));
        }
        self.op(Op::Add(PRIVATE + 2 * NODES * 0x1000, 0));
        self.op(Op::Add(scratch(0), 0));
        self.op(Op::Add(buffer(0), 0));
        self.op(Op::Add(stack_top(0) - 8, 0));
        self.op(Op::Baseline);
        let mut pending = Vec::new();
        while self.left > 0 {
            self.actions(0, &mut pending);
            if !self.rng.chance(70) {
                break;
            }
        }
        // Whatever is left is adopted, and waited for, until there is nobody.
        self.call(Call::Close, raw::__NR_close_range, &[ZERO, Arg::Is(u32::MAX as usize), ZERO]);
        let again = self.here();
        self.wait(0, Whom::Any, raw::__WALL);
        self.op(Op::JumpIfResult(1, isize::MAX, again));
        self.op(Op::JumpIfResult(-4, -4, again));
        self.op(Op::AllReaped);
        let end = self.here();
        self.call(Call::Pause, raw::__NR_pause, &[]);
        self.op(Op::Jump(end));
        while let Some(node) = pending.pop() {
            self.node(node, &mut pending);
        }
    }

    /// The code of a node that was announced by its maker.
    fn node(&mut self, node: u8, pending: &mut Vec<u8>) {
        self.plan.entry[node as usize] = self.here();
        self.call(Call::Gettid, raw::__NR_gettid, &[]);
        self.op(Op::StoreResult(id_word(node)));
        for _ in 0..self.rng.range(0, 3) {
            self.actions(node, pending);
        }
        if self.taste.mail && self.taste.much && self.rng.chance(30) {
            self.await_letter(node, false);
        }
        if self.taste.execs && self.rng.chance(25) {
            self.exec(node);
            for _ in 0..self.rng.range(0, 2) {
                self.actions(node, pending);
            }
        }
        match self.rng.below(10) {
            0..4 => self.wait_all(node),
            4 if self.taste.signals => {
                self.kill(Whom::Node(node), SIGTERM);
            }
            5 if self.taste.signals => {
                self.kill(Whom::Node(node), 9);
            }
            _ => {}
        }
        let code = self.rng.below(64) as u8;
        if self.rng.chance(60) {
            self.call(Call::Exit { code }, raw::__NR_exit, &[Arg::Is(code.into())]);
        } else {
            self.call(Call::ExitGroup { code }, raw::__NR_exit_group, &[Arg::Is(code.into())]);
        }
        self.op(Op::Unreachable);
    }

    /// Executes a program, which goes on with what is planned for the node.
    fn exec(&mut self, me: u8) {
        let index = self.plan.executables.len();
        if index >= crate::image::MOST {
            return;
        }
        let path = scratch(me) + 0x400;
        self.op(Op::Store(path, u32::from_le_bytes(crate::image::name(index))));
        // Neither arguments nor environment.
        let none = scratch(me) + 0x500;
        let args = [Arg::Is(path), Arg::Is(none), Arg::Is(none)];
        self.call(Call::Exec, raw::__NR_execve, &args);
        // Without memory.
        self.call(Call::ExitGroup { code: 63 }, raw::__NR_exit_group, &[Arg::Is(63)]);
        self.op(Op::Unreachable);
        self.plan.executables.push(self.here());
        self.op(Op::Become(me));
    }

    fn home(&self, node: u8) -> u8 {
        self.plan.home[node as usize]
    }

    fn some_node(&mut self) -> u8 {
        let nodes = self.plan.entry.len();
        // The first process is spared most signals by the kernel; the others are more to the point.
        if nodes == 1 { 0 } else { self.rng.range(1, nodes - 1) as u8 }
    }

    fn actions(&mut self, me: u8, pending: &mut Vec<u8>) {
        for _ in 0..self.rng.range(1, 5) {
            self.action(me, pending);
        }
    }

    fn action(&mut self, me: u8, pending: &mut Vec<u8>) {
        // Some runs are about little else.
        if self.taste.mail && self.taste.much && self.rng.chance(50) {
            return self.mail(me);
        }
        match self.rng.below(27) {
            23..27 if self.taste.pidfds => self.pidfd(me),
            16..20 if self.taste.mail => self.mail(me),
            20..23 if self.taste.masks => self.masks(me),
            0..4 => self.child(me, pending),
            4 => self.wait_some(me),
            5 if self.taste.signals => {
                let target = self.some_node();
                let signal = self.signal();
                self.kill(Whom::Node(target), signal);
            }
            6 if self.taste.handlers || self.taste.autoreap => self.sigaction(me),
            7 if self.taste.groups => self.group(me),
            8 | 9 if self.taste.futexes => self.futex(me),
            10 if self.taste.pipes && self.pipes < PIPES as u8 => self.pipe(),
            10..13 if self.taste.pipes && self.pipes > 0 => self.pipe_use(me),
            13 if self.taste.sleeps => self.sleep(me),
            14 if self.taste.subreapers && self.rng.chance(30) => {
                let args = [Arg::Is(linux_raw_sys::prctl::PR_SET_CHILD_SUBREAPER as usize), Arg::Is(1)];
                self.call(Call::Subreaper, raw::__NR_prctl, &args);
            }
            15 if self.taste.signals && self.taste.threads => {
                let node = self.some_node();
                let signal = self.signal();
                let home = self.home(node);
                let args = [Arg::Word(id_word(home)), Arg::Word(id_word(node)), Arg::Is(signal.into())];
                self.call(Call::Tgkill { node, signal }, raw::__NR_tgkill, &args);
            }
            _ => self.call(Call::Yield, raw::__NR_sched_yield, &[]),
        }
    }

    fn signal(&mut self) -> u8 {
        if self.taste.stops && self.rng.chance(50) {
            return self.rng.pick(&[SIGSTOP, SIGCONT, SIGCONT]);
        }
        self.rng.pick(&[SIGUSR1, SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD, 9, 0])
    }

    fn kill(&mut self, whom: Whom, signal: u8) {
        let target = match whom {
            Whom::Any | Whom::OwnGroup => ZERO,
            Whom::Node(node) => Arg::Word(id_word(node)),
            Whom::GroupOf(node) => Arg::Minus(id_word(node)),
        };
        self.call(Call::Kill { whom, signal }, raw::__NR_kill, &[target, Arg::Is(signal.into())]);
    }

    /// Stores 32-bit words.
    fn words(&mut self, at: usize, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            self.op(Op::Store(at + i * 4, *word));
        }
    }

    fn set(&mut self, at: usize, set: u64) {
        self.words(at, &[set as u32, (set >> 32) as u32]);
    }

    fn mask(&mut self, me: u8, how: u32, set: u64) {
        let at = scratch(me) + 0x600;
        self.set(at, set);
        let args = [Arg::Is(how as usize), Arg::Is(at), ZERO, Arg::Is(8)];
        self.call(Call::Mask { how, set }, raw::__NR_rt_sigprocmask, &args);
    }

    /// Some of the signals that programs send each other.
    fn some_signals(&mut self) -> u64 {
        let some = self.rng.below(15) as u64 + 1;
        let signals = [SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD].into_iter().enumerate();
        signals.filter(|(i, _)| some & 1 << i != 0).fold(0, |set, (_, signal)| set | 1 << (signal - 1))
    }

    /// Blocks signals, has them back, looks at what is blocked and what waits, or waits for what comes.
    fn masks(&mut self, me: u8) {
        let set = self.some_signals();
        match self.rng.below(11) {
            9 | 10 => {
                let (node, signal) = (self.some_node(), self.rng.pick(&[SIGUSR1, SIGUSR2]));
                // One may come while the handler of the other runs.
                self.kill(Whom::Node(node), signal);
                self.kill(Whom::Node(node), SIGUSR1 + SIGUSR2 - signal);
            }
            0..3 => self.mask(me, raw::SIG_BLOCK, set),
            3 | 4 => self.mask(me, raw::SIG_UNBLOCK, set),
            5 => self.mask(me, raw::SIG_SETMASK, set | mail::SET),
            6 => {
                let at = scratch(me) + 0x600;
                self.set(at, 0);
                self.call(Call::AskMask, raw::__NR_rt_sigprocmask, &[ZERO, ZERO, Arg::Is(at), Arg::Is(8)]);
            }
            // The first process must come to its end.
            7 if me != 0 && self.rng.chance(50) => {
                let at = scratch(me) + 0x600;
                self.set(at, set | mail::SET);
                let call = Call::Sigsuspend { set: set | mail::SET };
                self.call(call, raw::__NR_rt_sigsuspend, &[Arg::Is(at), Arg::Is(8)]);
            }
            _ => self.sigpending(me),
        }
    }

    fn sigpending(&mut self, me: u8) {
        let at = scratch(me) + 0x608;
        self.set(at, 0);
        self.call(Call::Sigpending, raw::__NR_rt_sigpending, &[Arg::Is(at), Arg::Is(8)]);
    }

    /// Gets a descriptor of a process, or uses one that the node or its maker has got.
    fn pidfd(&mut self, me: u8) {
        let node = self.some_node();
        if self.rng.chance(40) {
            self.call(Call::PidfdOpen, raw::__NR_pidfd_open, &[Arg::Word(id_word(node)), ZERO]);
            self.op(Op::StoreResult(pidfd_word(me)));
        }
        let word = pidfd_word(self.rng.pick(&[me, me, self.plan.maker[me as usize]]));
        let fd = Arg::Word(word);
        match self.rng.below(6) {
            0 | 1 => {
                let signal = if self.taste.signals { self.signal() } else { 0 };
                let signal = if self.taste.mail && self.rng.chance(50) { mail::FIRST } else { signal };
                let args = [fd, Arg::Is(signal.into()), ZERO, ZERO];
                self.call(Call::PidfdSend { signal }, raw::__NR_pidfd_send_signal, &args);
            }
            2 | 3 => {
                let mut options = raw::WEXITED | self.rng.pick(&[raw::__WALL, 0, raw::__WALL | raw::WNOWAIT]);
                if self.rng.chance(40) {
                    options |= raw::WNOHANG;
                }
                let args = [Arg::Is(raw::P_PIDFD as usize), fd, Arg::Is(scratch(me)), Arg::Is(options as usize), ZERO];
                self.call(Call::PidfdWait { options }, raw::__NR_waitid, &args);
            }
            _ => {
                // The first process must come to its end.
                let timed = me == 0 || self.rng.chance(50);
                let at = scratch(me) + 0x640;
                self.op(Op::Copy(word, at));
                self.op(Op::Store(at + 4, 1));
                let time = if timed { Arg::Is(self.rng.below(3)) } else { Arg::Is(usize::MAX) };
                let args = [Arg::Is(at), Arg::Is(1), time];
                self.call(Call::PidfdPoll { timed }, raw::__NR_poll, &args);
            }
        }
    }

    /// Sends a few signals that are queued, or looks at what came.
    fn mail(&mut self, me: u8) {
        let node = self.some_node();
        let times = self.rng.pick(&[1, 1, 2, 4]);
        for _ in 0..times {
            self.letter(me, node);
        }
    }

    fn letter(&mut self, me: u8, node: u8) {
        let home = self.home(node);
        let signal = self.rng.range(mail::FIRST.into(), mail::LAST.into()) as u8;
        match self.rng.below(12) {
            0..5 => {
                let at = scratch(me) + 0x680;
                self.plan.values += 1;
                let (value, thread) = (self.plan.values, self.rng.chance(30));
                self.words(at, &[signal.into(), 0, -1i32 as u32, 0, 0, 0, value, 0]);
                let call = Call::Sigqueue { signal, value, thread };
                let (info, number) = (Arg::Is(at), Arg::Is(signal.into()));
                let (group, id) = (Arg::Word(id_word(home)), Arg::Word(id_word(node)));
                if thread {
                    self.call(call, raw::__NR_rt_tgsigqueueinfo, &[group, id, number, info]);
                } else {
                    self.call(call, raw::__NR_rt_sigqueueinfo, &[id, number, info]);
                }
            }
            5 => self.kill(Whom::Node(node), signal),
            6 => {
                let args = [Arg::Word(id_word(home)), Arg::Word(id_word(node)), Arg::Is(signal.into())];
                self.call(Call::Tgkill { node, signal }, raw::__NR_tgkill, &args);
            }
            7 => self.sigpending(me),
            // The first process must come to its end.
            _ => {
                let timed = me == 0 || self.rng.chance(60);
                self.await_letter(me, timed);
            }
        }
    }

    fn await_letter(&mut self, me: u8, timed: bool) {
        let some = (1 + self.rng.below(15) as u64) << (mail::FIRST - 1);
        let set = self.rng.pick(&[mail::SET, some]);
        let (at, info, time) = (scratch(me) + 0x610, scratch(me) + 0x700, scratch(me) + 0x300);
        self.set(at, set);
        self.words(info, &[0; 8]);
        let nanos = self.rng.pick(&[0, 1000, 100_000, 3_000_000]);
        self.words(time, &[0, 0, nanos, 0]);
        let limit = if timed { Arg::Is(time) } else { ZERO };
        let args = [Arg::Is(at), Arg::Is(info), limit, Arg::Is(8)];
        self.call(Call::Sigtimedwait { set, timed }, raw::__NR_rt_sigtimedwait, &args);
    }

    fn child(&mut self, me: u8, pending: &mut Vec<u8>) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let child = self.plan.entry.len() as u8;
        let (nr, flags, signal) = self.kind(me);
        let thread = flags & u64::from(raw::CLONE_THREAD) != 0;
        self.plan.entry.push(0);
        self.plan.maker.push(me);
        self.plan.home.push(if thread { self.home(me) } else { child });
        self.plan.flags.push(flags | u64::from(signal));
        self.plan.pidfd.push(false);
        let shares = flags & u64::from(raw::CLONE_VM) != 0;
        let mut flags = flags | u64::from(signal);
        let tid = if thread {
            // Written before the child runs, zeroed when it ends.
            flags |= u64::from(raw::CLONE_CHILD_CLEARTID | raw::CLONE_PARENT_SETTID);
            join_word(child)
        } else {
            flags |= u64::from(raw::CLONE_PARENT_SETTID);
            id_word(child)
        };
        if self.taste.pidfds && nr == raw::__NR_clone && self.rng.chance(50) {
            return self.clone3(me, child, flags, tid, pending);
        }
        let stack = if shares { stack_top(child) } else { 0 };
        let args = [Arg::Is(flags as usize), Arg::Is(stack), Arg::Is(tid), Arg::Is(tid), ZERO];
        let args = if nr == raw::__NR_clone { &args[..] } else { &[] };
        self.call(Call::Clone { child }, nr, args);
        self.made(me, child, thread, pending);
    }

    /// The same with clone3(2), which gives a descriptor of the child, too: what `flags` holds is the maker's wish and the exit signal.
    fn clone3(&mut self, me: u8, child: u8, flags: u64, tid: usize, pending: &mut Vec<u8>) {
        let thread = flags & u64::from(raw::CLONE_THREAD) != 0;
        let (mut flags, mut signal) = (flags & !0xff, flags & 0xff);
        let (mut pidfd, mut stack, mut size) = (0, 0, 0);
        if !thread && self.rng.chance(80) {
            flags |= u64::from(raw::CLONE_PIDFD);
            pidfd = pidfd_word(me);
            self.plan.pidfd[child as usize] = true;
        }
        if flags & u64::from(raw::CLONE_VM) != 0 {
            (stack, size) = (stack_top(child) - 0x2000, 0x2000);
        }
        if flags & u64::from(raw::CLONE_PARENT) != 0 {
            signal = 0;
        }
        let at = scratch(me) + 0x780;
        let record = [flags, pidfd as u64, tid as u64, tid as u64, signal, stack as u64, size, 0];
        for (i, value) in record.into_iter().enumerate() {
            self.set(at + i * 8, value);
        }
        self.call(Call::Clone { child }, raw::__NR_clone3, &[Arg::Is(at), Arg::Is(64)]);
        self.made(me, child, thread, pending);
    }

    /// Looks after a child that was made.
    fn made(&mut self, me: u8, child: u8, thread: bool, pending: &mut Vec<u8>) {
        pending.push(child);
        if thread && self.rng.chance(40) {
            self.join(me, child);
        } else if !thread && self.rng.chance(30) {
            let whom = self.rng.pick(&[Whom::Any, Whom::Node(child)]);
            self.wait(me, whom, raw::__WALL);
        }
    }

    /// The call, the flags and the exit signal of a new child.
    fn kind(&mut self, me: u8) -> (u32, u64, u32) {
        let vm = raw::CLONE_VM;
        if self.taste.threads && me != 0 && self.rng.chance(45) {
            let flags = vm | raw::CLONE_FS | raw::CLONE_FILES | raw::CLONE_SIGHAND | raw::CLONE_THREAD;
            return (raw::__NR_clone, flags.into(), 0);
        }
        // Who shares the first process's memory would leave pages in it, and the end would not be the start.
        if self.taste.vfork && me != 0 && self.rng.chance(30) {
            return (raw::__NR_clone, (vm | raw::CLONE_VFORK).into(), SIGCHLD.into());
        }
        if self.taste.odd_clones && me != 0 && self.rng.chance(50) {
            let mut flags = self.rng.pick(&[0, raw::CLONE_FILES, vm, vm | raw::CLONE_SIGHAND, raw::CLONE_FS]);
            if self.rng.chance(30) {
                flags |= raw::CLONE_PARENT;
            }
            let signal = self.rng.pick(&[0, SIGCHLD, SIGCHLD, SIGUSR1]);
            return (raw::__NR_clone, flags.into(), signal.into());
        }
        if self.rng.chance(20) {
            return (raw::__NR_fork, 0, SIGCHLD.into());
        }
        (raw::__NR_clone, 0, SIGCHLD.into())
    }

    /// Waits until the word of a thread is zero.
    fn join(&mut self, me: u8, child: u8) {
        let word = join_word(child);
        let again = self.here();
        let out = self.op(Op::JumpIfWord(word, 0, 0));
        let (call, value) = (Call::FutexWait { addr: word, value: 0, timed: false }, Arg::Word(word));
        let _ = me;
        self.call(call, raw::__NR_futex, &[Arg::Is(word), Arg::Is(raw::FUTEX_WAIT as usize), value]);
        self.op(Op::Jump(again));
        let end = self.here();
        self.plan.ops[out] = Op::JumpIfWord(word, 0, end);
    }

    fn wait(&mut self, me: u8, whom: Whom, options: u32) {
        let pid = match whom {
            Whom::Any => Arg::Is(usize::MAX),
            Whom::OwnGroup => ZERO,
            Whom::Node(node) => Arg::Word(id_word(node)),
            Whom::GroupOf(node) => Arg::Minus(id_word(node)),
        };
        let args = [pid, Arg::Is(scratch(me)), Arg::Is(options as usize), ZERO];
        self.call(Call::Wait { options }, raw::__NR_wait4, &args);
    }

    fn wait_some(&mut self, me: u8) {
        let node = self.some_node();
        let whom = self.rng.pick(&[Whom::Any, Whom::Any, Whom::Node(node), Whom::OwnGroup, Whom::GroupOf(node)]);
        let mut options = self.rng.pick(&[0, 0, raw::__WALL, raw::__WCLONE, raw::__WNOTHREAD, raw::__WALL]);
        if self.rng.chance(40) {
            options |= raw::WNOHANG;
        }
        if self.taste.stops && self.rng.chance(50) {
            options |= self.rng.pick(&[raw::WUNTRACED, raw::WCONTINUED, raw::WUNTRACED | raw::WCONTINUED]);
        }
        if self.rng.chance(70) || matches!(whom, Whom::OwnGroup) {
            return self.wait(me, whom, options);
        }
        options |= raw::WEXITED | if self.rng.chance(30) { raw::WNOWAIT } else { 0 };
        let (by, id) = match whom {
            Whom::Node(node) => (raw::P_PID, Arg::Word(id_word(node))),
            Whom::GroupOf(node) => (raw::P_PGID, Arg::Word(id_word(node))),
            _ => (raw::P_ALL, ZERO),
        };
        let args = [Arg::Is(by as usize), id, Arg::Is(scratch(me)), Arg::Is(options as usize), ZERO];
        self.call(Call::Waitid { options }, raw::__NR_waitid, &args);
    }

    /// Waits for every child, as shells and servers do.
    fn wait_all(&mut self, me: u8) {
        let again = self.here();
        self.wait(me, Whom::Any, raw::__WALL);
        self.op(Op::JumpIfResult(1, isize::MAX, again));
        self.op(Op::JumpIfResult(-4, -4, again));
    }

    fn sigaction(&mut self, me: u8) {
        let (mut signal, mut handler, mut flags) = (SIGUSR1, self.plan.handler, 0);
        if self.taste.handlers {
            self.plan.handlers = true;
            signal = self.rng.pick(&[SIGUSR1, SIGUSR2, SIGCHLD, SIGCONT]);
            flags |= self.rng.pick(&[0, raw::SA_RESTART as usize, raw::SA_NODEFER as usize]);
        }
        let mut nocldwait = false;
        if self.taste.autoreap && (!self.taste.handlers || self.rng.chance(30)) {
            self.plan.nocldwait = true;
            nocldwait = true;
            signal = SIGCHLD;
            handler = self.rng.below(2);
            flags = if handler == 1 { 0 } else { raw::SA_NOCLDWAIT as usize };
        }
        let blocks = if self.taste.masks && self.rng.chance(70) { self.some_signals() } else { 0 };
        let at = scratch(me) + 0x200;
        for (i, word) in [handler, flags, 0, blocks as usize].into_iter().enumerate() {
            self.op(Op::Store(at + i * 8, word as u32));
            self.op(Op::Store(at + i * 8 + 4, (word >> 32) as u32));
        }
        let args = [Arg::Is(signal.into()), Arg::Is(at), ZERO, Arg::Is(8)];
        let own = if flags & raw::SA_NODEFER as usize != 0 { 0 } else { 1 << (signal - 1) };
        self.call(Call::Sigaction { signal, handler, nocldwait, blocks: blocks | own }, raw::__NR_rt_sigaction, &args);
    }

    fn group(&mut self, me: u8) {
        let node = self.some_node();
        match self.rng.below(6) {
            0 | 1 => self.call(Call::Setpgid, raw::__NR_setpgid, &[ZERO, ZERO]),
            2 => self.call(Call::Setpgid, raw::__NR_setpgid, &[Arg::Word(id_word(node)), ZERO]),
            3 => self.call(Call::Setpgid, raw::__NR_setpgid, &[ZERO, Arg::Word(id_word(node))]),
            4 => self.wait(me, Whom::OwnGroup, raw::__WALL),
            _ if self.taste.signals => {
                let signal = self.signal();
                let whom = self.rng.pick(&[Whom::OwnGroup, Whom::GroupOf(node)]);
                self.kill(whom, signal);
            }
            _ => self.call(Call::Setsid, raw::__NR_setsid, &[]),
        }
    }

    fn futex(&mut self, me: u8) {
        let word = self.rng.below(4) as u8;
        let shared = self.rng.chance(60);
        let addr = if shared { shared_word(word) } else { private_word(word) };
        let flag = if !shared && self.rng.chance(50) { raw::FUTEX_PRIVATE_FLAG } else { 0 };
        let command = |command: u32| Arg::Is((command | flag) as usize);
        match self.rng.below(8) {
            // An event: set once, and all are told.
            0..3 => {
                self.op(Op::Store(addr, 1));
                let args = [Arg::Is(addr), command(raw::FUTEX_WAKE), Arg::Is(i32::MAX as usize)];
                self.call(Call::FutexWake { addr }, raw::__NR_futex, &args);
            }
            // The first process must come to its end, so it never waits for what nobody may do.
            3 | 4 if me != 0 => {
                let again = self.here();
                let out = self.op(Op::JumpUnlessWord(addr, 0, 0));
                self.call(
                    Call::FutexWait { addr, value: 0, timed: false },
                    raw::__NR_futex,
                    &[Arg::Is(addr), command(raw::FUTEX_WAIT), ZERO],
                );
                self.op(Op::Jump(again));
                let end = self.here();
                self.plan.ops[out] = Op::JumpUnlessWord(addr, 0, end);
            }
            3..7 => {
                let time = scratch(me) + 0x300;
                let nanos = self.rng.range(1000, 1_000_000);
                for (i, word) in [0, 0, nanos as u32, 0].into_iter().enumerate() {
                    self.op(Op::Store(time + i * 4, word));
                }
                self.call(
                    Call::FutexWait { addr, value: 0, timed: true },
                    raw::__NR_futex,
                    &[Arg::Is(addr), command(raw::FUTEX_WAIT), ZERO, Arg::Is(time)],
                );
            }
            _ => {
                let other = (word + 1) % 4;
                let to = if shared { shared_word(other) } else { private_word(other) };
                let args = [Arg::Is(addr), command(raw::FUTEX_REQUEUE), Arg::Is(1), Arg::Is(4), Arg::Is(to)];
                // Those that are moved sleep on a word that may be set already, so they are told, too.
                self.op(Op::Store(addr, 1));
                self.call(Call::Requeue, raw::__NR_futex, &args);
                for addr in [to, addr] {
                    let args = [Arg::Is(addr), command(raw::FUTEX_WAKE), Arg::Is(i32::MAX as usize)];
                    self.call(Call::FutexWake { addr }, raw::__NR_futex, &args);
                }
            }
        }
    }

    fn pipe(&mut self) {
        let pipe = self.pipes;
        self.pipes += 1;
        self.call(Call::Pipe { pipe }, raw::__NR_pipe2, &[Arg::Is(pipe_word(pipe, false)), ZERO]);
    }

    fn pipe_use(&mut self, me: u8) {
        let pipe = self.rng.below(self.pipes.into()) as u8;
        match self.rng.below(8) {
            0..3 if me != 0 => {
                // Sometimes more than a pipe holds.
                let times = if me != 0 && self.rng.chance(15) { 20 } else { 1 };
                for _ in 0..times {
                    let records = if times > 1 { 256 } else { self.rng.range(1, 256) as u16 };
                    let write = self.plan.writes as u16;
                    self.plan.writes += 1;
                    self.op(Op::Fill { node: me, write, records });
                    let args =
                        [Arg::Word(pipe_word(pipe, true)), Arg::Is(buffer(me)), Arg::Is(usize::from(records) * RECORD)];
                    self.call(Call::Write { pipe, write, records }, raw::__NR_write, &args);
                }
            }
            3..6 if me != 0 => {
                let len = self.rng.range(1, 256) * RECORD;
                let all = self.rng.chance(30);
                let again = self.here();
                let args = [Arg::Word(pipe_word(pipe, false)), Arg::Is(buffer(me)), Arg::Is(len)];
                self.call(Call::Read { pipe, len }, raw::__NR_read, &args);
                if all {
                    self.op(Op::JumpIfResult(1, isize::MAX, again));
                }
            }
            end => {
                self.plan.closes = true;
                self.call(Call::Close, raw::__NR_close, &[Arg::Word(pipe_word(pipe, end == 7))]);
            }
        }
    }

    fn sleep(&mut self, me: u8) {
        let time = scratch(me) + 0x300;
        let nanos = self.rng.range(1000, 3_000_000);
        for (i, word) in [0, 0, nanos as u32, 0].into_iter().enumerate() {
            self.op(Op::Store(time + i * 4, word));
        }
        self.call(Call::Sleep, raw::__NR_nanosleep, &[Arg::Is(time), ZERO]);
    }
}
