//! The process table as credentials(7), wait(2), kill(2), setpgid(2) and signal(7) have it: a sequential model that shares
//! nothing with the kernel but the numbers it hands out.
//!
//! [`Model::enters`] does what a call does that cannot wait, and says what it has to give. What happens by itself, the birth
//! and the end of threads, stops, the reaping of zombies, is seen in the kernel's own table ([`Seen`]): [`Model::meet`] finds out
//! which steps lead there, panics where one is not allowed, follows their consequences, and wants both tables to be
//! equal then. Between two meetings one thread has run, in one poll.

use crate::mail::{self, Letter};
use crate::script::{Call, Plan};
use linux_raw_sys::general as raw;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const ECHILD: isize = -10;
const EPERM: isize = -1;
const ESRCH: isize = -3;
const EACCES: isize = -13;
const EINVAL: isize = -22;

const SIGHUP: u8 = 1;
const SIGKILL: u8 = 9;
const SIGPIPE: u8 = 13;
const SIGCHLD: u8 = 17;
const SIGCONT: u8 = 18;
/// SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU.
const STOPS: u64 = 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22;
/// What does nothing where it has its default action: SIGCHLD, SIGCONT, SIGURG, SIGWINCH.
const HARMLESS: u64 = 1 << SIGCHLD | 1 << SIGCONT | 1 << 23 | 1 << 28;

/// A process's place among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub parent: u32,
    /// The thread of the parent that it belongs to.
    pub thread: u32,
    pub group: u32,
    pub session: u32,
    /// 0 for none.
    pub exit_signal: u8,
    pub subreaper: bool,
    pub did_exec: bool,
    /// The wait status, once it is a zombie.
    pub zombie: Option<i32>,
    /// The live threads.
    pub threads: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Running,
    /// Some thread still runs.
    Stopping(u8),
    Stopped(u8),
}

/// What the kernel has of a process.
#[derive(Clone, Debug)]
pub struct SeenProcess {
    pub place: Place,
    pub stop: Stop,
    /// A wait has told of the stop.
    pub told: bool,
    /// It went on, and no wait has told of it.
    pub continued: bool,
    /// What it exits with, once something decided that for all its threads.
    pub decided: Option<i32>,
    /// The letters in its queue (0), and in those of its threads, where there are any.
    pub mail: BTreeMap<u32, Vec<Letter>>,
}

/// The kernel's process table.
pub type Seen = BTreeMap<u32, SeenProcess>;

#[derive(Clone, Debug)]
struct Process {
    place: Place,
    stop: Stop,
    told: bool,
    continued: bool,
    /// Signals that were sent and may have an effect yet, one bit each.
    sent: u64,
    /// Those of them that were sent to the process, and deadly to it, while all its threads blocked them.
    held: u64,
    /// The status that it exits with, once something decided that for all its threads.
    decided: Option<i32>,
    /// It dies of a signal that a thread has taken; which one shows in its status.
    signalled: bool,
    /// Where its signal actions are, which others may share.
    actions: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Actions {
    handled: u64,
    ignored: u64,
    nocldwait: bool,
    /// What is blocked while a handler runs.
    blocks: [u64; 32],
}

/// A thread: where it is.
#[derive(Clone, Copy, Debug)]
struct Thread {
    process: u32,
    /// It is in a call that makes this node.
    makes: Option<u8>,
    /// It is in exit(2) with this code.
    exits: Option<u8>,
    /// It is in execve(2).
    execs: bool,
    /// The signals that it blocks while no handler runs, one bit each, and the mask that it is about to have, or has for a while.
    mask: u64,
    changing: Option<u64>,
    /// What the handlers block that run in it.
    handlers: Handlers,
}

/// What the handlers block that a thread is in, one in the other.
#[derive(Clone, Copy, Debug, Default)]
struct Handlers {
    count: usize,
    blocks: [u64; 8],
}

impl Thread {
    /// A thread of `process` that blocks `mask`.
    fn new(process: u32, mask: u64) -> Thread {
        let handlers = Handlers::default();
        Thread { process, makes: None, exits: None, execs: false, mask, changing: None, handlers }
    }

    /// Whether it blocks the signal of a bit; `None` where that cannot be known. Handlers whose beginning was not seen yet, as others have
    /// run first, may block more.
    fn blocks(&self, bit: u64) -> Option<bool> {
        let handlers = &self.handlers;
        let seen = handlers.blocks.iter().take(handlers.count).any(|blocks| blocks & bit != 0);
        let (old, new) = (self.mask & bit != 0, self.changing.unwrap_or(self.mask) & bit != 0);
        if seen || old && new { Some(true) } else { (old == new).then_some(false) }
    }
}

/// A child that a wait took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    parent: u32,
    status: i32,
    claimed: bool,
}

pub struct Model {
    plan: Arc<Plan>,
    processes: BTreeMap<u32, Process>,
    threads: BTreeMap<u32, Thread>,
    actions: Vec<Actions>,
    /// Reaped children, by number. Numbers are not used twice in a run.
    reaped: BTreeMap<u32, Taken>,
    /// Stops and continuations that waits took.
    events: Vec<(u32, Taken)>,
    /// Threads that have taken over their process's number, since they were last asked for: the old number and the new.
    pub renamed: Vec<(u32, u32)>,
    /// Births since they were last asked for: the node, and the number it was given.
    pub births: Vec<(u8, u32)>,
    /// Somebody died, or is to die, who may have been in the middle of something.
    pub violent: bool,
}

/// Which children a wait is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Any,
    One(u32),
    Group(u32),
}

impl Model {
    pub fn new(plan: Arc<Plan>) -> Model {
        let threads = BTreeSet::from([1]);
        let place = Place {
            parent: 0,
            thread: 0,
            group: 1,
            session: 1,
            exit_signal: 0,
            subreaper: false,
            did_exec: false,
            zombie: None,
            threads,
        };
        let first = Process {
            place,
            stop: Stop::Running,
            told: false,
            continued: false,
            sent: 0,
            held: 0,
            decided: None,
            signalled: false,
            actions: 0,
        };
        Model {
            plan,
            processes: BTreeMap::from([(1, first)]),
            threads: BTreeMap::from([(1, Thread::new(1, 0))]),
            actions: vec![Actions::default()],
            reaped: BTreeMap::new(),
            events: Vec::new(),
            births: Vec::new(),
            renamed: Vec::new(),
            violent: false,
        }
    }

    /// Handlers mask signals while they run, and which runs cannot be seen from here: then what a signal does is known only
    /// when it has done it.
    fn is_exact(&self) -> bool {
        !self.plan.handlers
    }

    fn process_of(&mut self, thread: u32) -> &mut Process {
        let process = self.threads[&thread].process;
        self.processes.get_mut(&process).expect("a thread has a process")
    }

    pub fn group_of(&self, thread: u32) -> u32 {
        self.processes[&self.threads[&thread].process].place.group
    }

    /// Thread `id` makes a system call. Returns the result that it must have, where that is certain by now.
    pub fn enters(&mut self, id: u32, call: Call, args: [usize; 6]) -> Option<isize> {
        let home = self.threads.get(&id).unwrap_or_else(|| panic!("thread {id} is dead and makes {call:?}")).process;
        let [first, second, third, ..] = args.map(|arg| arg as i32);
        match call {
            Call::Clone { child } => self.threads.get_mut(&id).expect("it lives").makes = Some(child),
            Call::Exec => self.threads.get_mut(&id).expect("it lives").execs = true,
            Call::Exit { code } => {
                self.threads.get_mut(&id).expect("it lives").exits = Some(code);
                // The last to call it gives the process its status.
                let threads = &self.processes[&home].place.threads;
                if threads.iter().all(|id| self.threads[id].exits.is_some()) {
                    self.process_of(id).decided.get_or_insert(i32::from(code) << 8);
                }
            }
            Call::ExitGroup { code } => {
                self.process_of(id).decided.get_or_insert(i32::from(code) << 8);
                self.violent = true;
            }
            Call::Kill { signal, .. } => return Some(self.kill(home, first, signal)),
            Call::Tgkill { .. } => return Some(self.tgkill(first, second, third as u8)),
            Call::Sigqueue { thread: true, .. } => return Some(self.tgkill(first, second, third as u8)),
            // Neither 0 nor a negative number names a process here.
            Call::Sigqueue { signal, .. } if first > 0 => return Some(self.kill(home, first, signal)),
            Call::Sigqueue { .. } => return Some(ESRCH),
            Call::Setpgid => return Some(self.setpgid(home, first, second)),
            Call::Setsid => return Some(self.setsid(home)),
            Call::Subreaper => {
                self.process_of(id).place.subreaper = true;
                return Some(0);
            }
            Call::Mask { how, set } => {
                let thread = self.threads.get_mut(&id).expect("it lives");
                thread.changing = Some(match how {
                    raw::SIG_BLOCK => thread.mask | set << 1,
                    raw::SIG_UNBLOCK => thread.mask & !(set << 1),
                    _ => set << 1,
                });
            }
            Call::Sigsuspend { set } => self.threads.get_mut(&id).expect("it lives").changing = Some(set << 1),
            Call::Sigaction { signal, handler, nocldwait, blocks } => {
                self.sigaction(home, signal, handler, nocldwait, blocks << 1);
                return Some(0);
            }
            // Whether somebody still reads is the pipe's to know.
            Call::Write { .. } => self.process_of(id).sent |= 1 << SIGPIPE,
            Call::Gettid => return Some(id as isize),
            _ => {}
        }
        None
    }

    /// The call is over.
    pub fn returned(&mut self, id: u32, call: Call) {
        let Some(thread) = self.threads.get_mut(&id) else { panic!("thread {id} is dead and comes back from a call") };
        thread.makes = None;
        let (home, old, new) = (thread.process, thread.mask, thread.changing.take());
        if let (Call::Mask { .. }, Some(new)) = (call, new) {
            thread.mask = new;
            let process = &self.processes[&home];
            let missed = process.held & old & !new;
            assert!(
                missed == 0 || process.decided.is_some() || process.signalled || !self.is_exact(),
                "thread {id} has unblocked {missed:#x}, of which its process {home} had to die"
            );
        }
    }

    /// Thread `id` was told of its mask.
    pub fn told_mask(&self, id: u32, mask: u64) {
        assert_eq!(mask << 1, self.threads[&id].mask, "the mask of thread {id}");
    }

    /// Thread `id` was told what is pending and blocked.
    pub fn told_pending(&self, id: u32, set: u64) {
        let (thread, set) = (&self.threads[&id], set << 1 & !(mail::SET << 1));
        let process = &self.processes[&thread.process];
        // What does nothing is held back where it is blocked.
        let wrong = set & !(thread.mask & (process.sent | HARMLESS));
        assert!(wrong == 0, "thread {id} was told that {wrong:#x} are pending, mask {:#x}: {process:?}", thread.mask);
        let missed = process.held & thread.mask & !set;
        assert!(missed == 0 || !self.is_exact(), "thread {id} was not told that {missed:#x} are pending: {process:?}");
    }

    /// A handler of `signal` begins to run in thread `id`.
    pub fn handler_begins(&mut self, id: u32, signal: u8) {
        let thread = &self.threads[&id];
        let (process, bit) = (&self.processes[&thread.process], 1 << signal);
        assert!(thread.blocks(bit) != Some(true), "thread {id} blocks {signal}, and its handler begins");
        let handlers = &mut self.threads.get_mut(&id).expect("as above").handlers;
        if let Some(blocks) = handlers.blocks.get_mut(handlers.count) {
            *blocks = self.actions[process.actions].blocks[usize::from(signal)];
        }
        handlers.count += 1;
    }

    /// The innermost handler that runs in thread `id` ends.
    pub fn handler_ends(&mut self, id: u32) {
        self.threads.get_mut(&id).expect("it runs").handlers.count -= 1;
    }

    fn sigaction(&mut self, process: u32, signal: u8, handler: usize, nocldwait: bool, blocks: u64) {
        let actions = &mut self.actions[self.processes[&process].actions];
        let bit = 1 << signal;
        (actions.handled, actions.ignored) = (actions.handled & !bit, actions.ignored & !bit);
        match handler {
            0 => {}
            1 => actions.ignored |= bit,
            _ => actions.handled |= bit,
        }
        actions.blocks[usize::from(signal)] = blocks;
        if signal == SIGCHLD {
            actions.nocldwait = nocldwait && handler != 1;
        }
        let (ignored, shared) = (self.ignored(process), self.processes[&process].actions);
        for process in self.processes.values_mut().filter(|process| process.actions == shared) {
            process.sent &= !ignored;
        }
    }

    /// The signals that have no effect on a process, one bit each.
    fn ignored(&self, process: u32) -> u64 {
        let actions = self.actions[self.processes[&process].actions];
        (HARMLESS | actions.ignored) & !actions.handled
    }

    /// The process of thread `id`.
    pub fn home_of(&self, id: u32) -> u32 {
        self.threads[&id].process
    }

    /// Whether a process has live threads.
    pub fn has_threads(&self, id: u32) -> bool {
        self.processes.get(&id).is_some_and(|process| !process.place.threads.is_empty())
    }

    /// Whether a process has this live thread.
    pub fn has_thread(&self, process: u32, id: u32) -> bool {
        self.threads.get(&id).is_some_and(|thread| thread.process == process)
    }

    /// Whether this thread lives.
    pub fn lives(&self, id: u32) -> bool {
        self.threads.contains_key(&id)
    }

    /// Whether there is such a process, which may be a zombie.
    pub fn exists(&self, process: u32) -> bool {
        self.processes.contains_key(&process)
    }

    /// Whether a process that there was has come to its end.
    pub fn is_over(&self, process: u32) -> bool {
        self.processes.get(&process).is_none_or(|process| process.place.zombie.is_some())
    }

    /// A signal is sent to the process that a pidfd names, which may be reaped.
    pub fn send_by_pidfd(&mut self, target: u32, signal: u8) -> isize {
        if !self.exists(target) {
            return ESRCH;
        }
        self.send(target, signal);
        0
    }

    /// Whether signals are queued for a process: not once its end is certain.
    pub fn takes_signals(&self, id: u32) -> bool {
        let process = self.processes.get(&id);
        process
            .is_some_and(|process| process.decided.is_none() && !process.signalled && !process.place.threads.is_empty())
    }

    /// The processes that kill(2) by `sender` reaches.
    pub fn targets(&self, sender: u32, target: i32) -> Vec<u32> {
        match target {
            0 => self.members(self.processes[&sender].place.group),
            -1 => self.processes.keys().copied().filter(|id| *id != 1 && *id != sender).collect(),
            group if group < 0 => self.members(group.unsigned_abs()),
            id => {
                let process = self.threads.get(&(id as u32)).map(|thread| thread.process);
                process.or(self.processes.contains_key(&(id as u32)).then_some(id as u32)).into_iter().collect()
            }
        }
    }

    fn kill(&mut self, sender: u32, target: i32, signal: u8) -> isize {
        let targets = self.targets(sender, target);
        if targets.is_empty() {
            return ESRCH;
        }
        for target in targets {
            self.send(target, signal);
        }
        0
    }

    fn tgkill(&mut self, group: i32, thread: i32, signal: u8) -> isize {
        if group <= 0 || thread <= 0 {
            return EINVAL;
        }
        match self.threads.get(&(thread as u32)) {
            Some(found) if found.process == group as u32 => self.send_to(group as u32, Some(thread as u32), signal),
            // A leader is there until it is reaped.
            None if group == thread && self.processes.contains_key(&(group as u32)) => {}
            _ => return ESRCH,
        }
        0
    }

    fn members(&self, group: u32) -> Vec<u32> {
        let members = self.processes.iter().filter(|(_, process)| process.place.group == group);
        members.map(|(id, _)| *id).collect()
    }

    /// A signal is sent to a process.
    fn send(&mut self, target: u32, signal: u8) {
        self.send_to(target, None, signal);
    }

    /// Whether a thread of a process takes the signal of a bit (the one that is named, if one is): all block it, one does not, or that cannot
    /// be known.
    fn is_taken(&self, process: u32, named: Option<u32>, bit: u64) -> Option<bool> {
        let threads = &self.processes[&process].place.threads;
        let mut asked = threads.iter().filter(|id| named.is_none_or(|named| named == **id));
        let all_block = asked.clone().all(|id| self.threads[id].blocks(bit) == Some(true));
        if all_block {
            return Some(false);
        }
        asked.any(|id| self.threads[id].blocks(bit) == Some(false)).then_some(true)
    }

    /// A signal is sent to a process, or to one thread of it.
    fn send_to(&mut self, target: u32, thread: Option<u32>, signal: u8) {
        if mail::is(signal) {
            return;
        }
        let ignored = self.ignored(target);
        let (exact, handled) = (self.is_exact(), self.actions[self.processes[&target].actions].handled);
        let process = self.processes.get_mut(&target).expect("it was found");
        if signal == 0 || process.place.zombie.is_some() {
            return;
        }
        let bit = 1 << signal;
        if bit & STOPS != 0 {
            process.sent &= !(1 << SIGCONT);
        }
        if signal == SIGCONT {
            process.sent &= !STOPS;
            if process.stop != Stop::Running {
                process.continued = matches!(process.stop, Stop::Stopped(_));
                process.stop = Stop::Running;
                let parent = process.place.parent;
                self.tell_of_change(parent);
            }
        }
        let process = self.processes.get_mut(&target).expect("it was found");
        if process.decided.is_some() || ignored & bit != 0 {
            return;
        }
        self.violent = true;
        if signal == SIGKILL {
            if target != 1 {
                process.decided = Some(SIGKILL.into());
                process.stop = Stop::Running;
            }
            return;
        }
        process.sent |= bit;
        let deadly = bit & (STOPS | handled) == 0 && target != 1;
        let taken = if exact && deadly { self.is_taken(target, thread, bit) } else { None };
        let process = self.processes.get_mut(&target).expect("it was found");
        match taken {
            Some(true) if process.stop == Stop::Running => process.decided = Some(signal.into()),
            Some(false) if thread.is_none() => process.held |= bit,
            _ => {}
        }
    }

    /// A child of `parent` stopped or went on.
    fn tell_of_change(&mut self, parent: u32) {
        if self.processes.contains_key(&parent) {
            self.send(parent, SIGCHLD);
        }
    }

    fn setpgid(&mut self, caller: u32, target: i32, group: i32) -> isize {
        if group < 0 {
            return EINVAL;
        }
        let target = if target == 0 { caller } else { target as u32 };
        let Some(process) = self.processes.get(&target) else {
            return if self.threads.contains_key(&target) { EINVAL } else { ESRCH };
        };
        let session = process.place.session;
        if target != caller {
            if process.place.parent != caller {
                return ESRCH;
            }
            if session != self.processes[&caller].place.session {
                return EPERM;
            }
            if process.place.did_exec {
                return EACCES;
            }
        }
        if session == target {
            return EPERM;
        }
        let group = if group == 0 { target } else { group as u32 };
        let there = self.processes.values().any(|other| other.place.group == group && other.place.session == session);
        if group != target && !there {
            return EPERM;
        }
        self.processes.get_mut(&target).expect("as above").place.group = group;
        0
    }

    fn setsid(&mut self, caller: u32) -> isize {
        if !self.members(caller).is_empty() {
            return EPERM;
        }
        let place = &mut self.processes.get_mut(&caller).expect("it lives").place;
        (place.group, place.session) = (caller, caller);
        caller as isize
    }

    /// Follows the kernel to where it is. `told` reads the word where the maker of a node is told of the node's number.
    pub fn meet(&mut self, seen: &Seen, told: &dyn Fn(u8) -> u32) {
        self.executions(seen);
        self.births(seen, told);
        self.decisions(seen);
        self.stops(seen);
        self.deaths(seen);
        self.reaps(seen);
        self.decisions(seen);
        assert!(self.processes.keys().eq(seen.keys()), "processes: {:?}, not {:?}", seen.keys(), self.processes.keys());
        for (id, process) in &mut self.processes {
            let theirs = &seen[id];
            if !theirs.place.threads.is_empty() {
                assert_eq!(theirs.decided, process.decided, "what process {id} ends with (kernel, model): {process:?}");
            }
            assert_eq!(theirs.place, process.place, "the place of process {id} (kernel, model)");
            // What was decided ends a stop, now or when a thread comes by; and who is dying is not told of.
            if process.decided.is_none() && !process.signalled && process.place.zombie.is_none() {
                assert_eq!(theirs.stop, process.stop, "the stop of process {id} (kernel, model): {process:?}");
            }
            process.told = theirs.told;
        }
    }

    /// A thread that executes a program, and is the only one left, takes over the number of its process; then the children are all
    /// its own.
    fn executions(&mut self, seen: &Seen) {
        let executing: Vec<_> =
            self.threads.iter().filter(|(_, thread)| thread.execs).map(|(id, thread)| (*id, thread.process)).collect();
        for (id, home) in executing {
            let Some(theirs) = seen.get(&home) else { continue };
            let place = &mut self.processes.get_mut(&home).expect("a thread has a process").place;
            let takes_over = place.threads == BTreeSet::from([id]) && theirs.place.threads == BTreeSet::from([home]);
            if id != home && takes_over {
                place.threads = theirs.place.threads.clone();
                let thread = self.threads.remove(&id).expect("as above");
                self.threads.insert(home, thread);
                self.renamed.push((id, home));
            }
            // Its children come with it, once the program is replaced.
            for (child, process) in self.processes.iter_mut().filter(|(_, child)| child.place.parent == home) {
                if seen.get(child).is_some_and(|theirs| theirs.place.thread == home) {
                    process.place.thread = home;
                }
            }
            if theirs.place.did_exec && !self.processes[&home].place.did_exec {
                self.executed(home);
            }
        }
    }

    /// Thread `id` has not executed a program.
    pub fn failed(&mut self, id: u32) {
        self.threads.get_mut(&id).expect("it came back").execs = false;
    }

    /// The program that thread `id` has executed starts.
    pub fn starts(&mut self, id: u32) {
        if self.threads[&id].execs {
            self.executed(self.threads[&id].process);
        }
    }

    /// Process `home` has executed a program.
    fn executed(&mut self, home: u32) {
        let process = self.processes.get_mut(&home).expect("it executes");
        process.place.did_exec = true;
        let old = self.actions[process.actions];
        self.actions.push(Actions { ignored: old.ignored, ..Actions::default() });
        process.actions = self.actions.len() - 1;
        for child in self.processes.values_mut().filter(|child| child.place.parent == home) {
            child.place.thread = home;
        }
        if let Some(thread) = self.threads.get_mut(&home) {
            thread.execs = false;
        }
    }

    fn births(&mut self, seen: &Seen, told: &dyn Fn(u8) -> u32) {
        for (home, process) in seen {
            for id in
                process.place.threads.iter().filter(|id| !self.threads.contains_key(id)).copied().collect::<Vec<_>>()
            {
                self.birth(id, *home, seen, told);
            }
        }
    }

    /// The kernel has a thread `id` in process `home`: somebody must be in the call that makes it.
    fn birth(&mut self, id: u32, home: u32, seen: &Seen, told: &dyn Fn(u8) -> u32) {
        let place = &seen[&home].place;
        let mut makers: Vec<_> =
            self.threads.iter().filter_map(|(maker, thread)| Some((*maker, thread.makes?))).collect();
        // The maker's page may not be there yet, and fork(2) tells nobody.
        makers.sort_by_key(|(_, node)| told(*node) != id);
        for (maker, node) in &makers {
            let (mut process, shares) = self.child_of(*maker, *node, id);
            let mut expected = process.place.clone();
            expected.threads.clone_from(&place.threads);
            // The maker may have died in the same poll, for want of memory to store the number in: it has left the child to another,
            // as its death, which is looked at next, has to find out.
            let maker_lives = seen.values().any(|process| process.place.threads.contains(maker));
            if !maker_lives {
                (expected.parent, expected.thread, expected.exit_signal) =
                    (place.parent, place.thread, place.exit_signal);
            }
            if expected != *place || (home == id) == self.is_thread(*node) || ![0, id].contains(&told(*node)) {
                continue;
            }
            assert!(process.decided.is_none(), "thread {id} was born into, or of, process {home}, which is to die");
            if !shares && home == id {
                self.actions.push(self.actions[process.actions]);
                process.actions = self.actions.len() - 1;
            }
            self.processes.insert(home, process);
            self.threads.insert(id, Thread::new(home, self.threads[maker].mask));
            self.threads.get_mut(maker).expect("as above").makes = None;
            self.births.push((*node, id));
            return;
        }
        let told: Vec<_> = makers.iter().map(|(_, node)| told(*node)).collect();
        panic!(
            "thread {id} of process {home} was born, {place:?}; these make children: {makers:?}, who were told of {told:?}"
        );
    }

    /// What process the node that `maker` makes is in, and whether it shares its maker's signal actions.
    fn child_of(&self, maker: u32, node: u8, id: u32) -> (Process, bool) {
        let flags = self.plan.flags[node as usize];
        let has = |flag: u32| flags & u64::from(flag) != 0;
        let mut process = self.processes[&self.threads[&maker].process].clone();
        if self.is_thread(node) {
            process.place.threads.insert(id);
            return (process, true);
        }
        let made = self.threads[&maker].process;
        if !has(raw::CLONE_PARENT) {
            process.place.parent = made;
            process.place.thread = maker;
            process.place.exit_signal = (flags & 0xff) as u8;
        }
        (process.place.subreaper, process.place.did_exec) = (false, false);
        process.place.threads = BTreeSet::from([id]);
        (process.stop, process.told, process.continued) = (Stop::Running, false, false);
        (process.sent, process.held) = (0, 0);
        (process, has(raw::CLONE_SIGHAND))
    }

    fn is_thread(&self, node: u8) -> bool {
        self.plan.flags[node as usize] & u64::from(raw::CLONE_THREAD) != 0
    }

    fn deaths(&mut self, seen: &Seen) {
        let lives = |id: &u32, thread: &Thread| {
            seen.get(&thread.process).is_some_and(|process| process.place.threads.contains(id))
        };
        let gone: Vec<_> =
            self.threads.iter().filter(|(id, thread)| !lives(id, thread)).map(|(id, thread)| (*id, *thread)).collect();
        assert!(gone.len() <= 1, "several threads died in one poll: {gone:?}");
        for (id, thread) in gone {
            self.death(id, thread, seen);
        }
    }

    fn death(&mut self, id: u32, thread: Thread, seen: &Seen) {
        let home = thread.process;
        let replaced =
            self.processes[&home].place.threads.iter().any(|other| *other != id && self.threads[other].execs);
        let shortage = self.killed_for_memory();
        let process = self.processes.get_mut(&home).expect("a thread has a process");
        if process.decided.is_none() && thread.exits.is_none() && !replaced {
            process.sent |= shortage;
            let deadly = process.sent & !STOPS;
            assert!(deadly != 0 || process.signalled, "thread {id} of process {home} died of nothing");
            process.signalled = true;
        }
        process.place.threads.remove(&id);
        self.threads.remove(&id);
        if !process.place.threads.is_empty() {
            return self.leave_to_siblings(id, home, seen);
        }
        let own = thread.exits.map(|code| i32::from(code) << 8);
        let theirs = seen.get(&home).and_then(|process| process.place.zombie);
        let status = match (process.decided, process.signalled) {
            (Some(status), _) => status,
            (None, false) => own.expect("it exits"),
            // Which of several signals came first is for the kernel to say.
            (None, true) => theirs.unwrap_or(process.sent.trailing_zeros() as i32),
        };
        if process.decided.is_none() && process.signalled {
            let signal = status & 0x7f;
            assert!(
                process.sent & !STOPS & 1 << signal != 0,
                "{home} ended with {status:#x}, and was sent {:#x}",
                process.sent
            );
        }
        self.exit(home, status, seen);
    }

    /// The children of a thread are now those of another thread of its process.
    fn leave_to_siblings(&mut self, id: u32, home: u32, seen: &Seen) {
        let heirs = self.processes[&home].place.threads.clone();
        for (child, process) in &mut self.processes {
            let place = &mut process.place;
            if place.parent == home && place.thread == id {
                place.thread = heir(&heirs, *child, seen);
            }
        }
    }

    /// The last thread of a process has gone.
    fn exit(&mut self, dead: u32, status: i32, seen: &Seen) {
        let adopter = self.adopter(dead);
        let heirs = self.processes[&adopter].place.threads.clone();
        let (own, session, parent) = {
            let place = &self.processes[&dead].place;
            (place.group, place.session, place.parent)
        };
        let mut groups = BTreeSet::new();
        let mut zombies = Vec::new();
        for (id, child) in self.processes.iter_mut().filter(|(_, child)| child.place.parent == dead) {
            child.place.parent = adopter;
            child.place.thread = heir(&heirs, *id, seen);
            child.place.exit_signal = SIGCHLD;
            if child.place.group != own && child.place.session == session {
                groups.insert(child.place.group);
            }
            if child.place.zombie.is_some() {
                zombies.push(*id);
            }
        }
        if let Some(parent) = self.processes.get(&parent)
            && parent.place.group != own
            && parent.place.session == session
        {
            groups.insert(own);
        }
        for group in groups {
            self.rescue(group, dead);
        }
        for zombie in zombies {
            self.announce(zombie);
        }
        self.processes.get_mut(&dead).expect("as above").place.zombie = Some(status);
        self.announce(dead);
    }

    /// Who adopts the children of a process: the nearest ancestor that is a subreaper, or the first process.
    fn adopter(&self, dead: u32) -> u32 {
        let mut id = self.processes[&dead].place.parent;
        while id > 1 {
            let place = &self.processes[&id].place;
            if place.subreaper && place.zombie.is_none() {
                return id;
            }
            id = place.parent;
        }
        1
    }

    /// The exit of `dead` has orphaned a group, perhaps: then its members do not stay stopped.
    fn rescue(&mut self, group: u32, dead: u32) {
        let members = self.members(group);
        let ties = |id: &u32| {
            let place = &self.processes[id].place;
            let Some(parent) = self.processes.get(&place.parent) else { return false };
            *id != dead
                && place.zombie.is_none()
                && place.parent != 1
                && parent.place.group != group
                && parent.place.session == place.session
        };
        let stopped =
            |id: &u32| matches!(self.processes[id].stop, Stop::Stopped(_)) && self.processes[id].decided.is_none();
        if !members.iter().any(ties) && members.iter().any(stopped) {
            for signal in [SIGHUP, SIGCONT] {
                members.iter().for_each(|id| self.send(*id, signal));
            }
        }
    }

    /// The parent of a zombie is told; one that does not want to know has it reaped.
    fn announce(&mut self, zombie: u32) {
        let place = self.processes[&zombie].place.clone();
        let Some(parent) = self.processes.get(&place.parent) else { return };
        let actions = self.actions[parent.actions];
        let ignored = actions.ignored & 1 << SIGCHLD != 0;
        if place.exit_signal != 0 && !(place.exit_signal == SIGCHLD && ignored) {
            self.send(place.parent, place.exit_signal);
        }
        if place.exit_signal == SIGCHLD && (ignored || actions.nocldwait) {
            self.processes.remove(&zombie);
        }
    }

    /// Zombies that are gone were taken by a wait of their parent.
    fn reaps(&mut self, seen: &Seen) {
        let gone: Vec<_> = self.processes.keys().copied().filter(|id| !seen.contains_key(id)).collect();
        assert!(gone.len() <= 1, "several processes went in one poll: {gone:?}");
        for id in gone {
            let place = self.processes.remove(&id).expect("as above").place;
            let Some(status) = place.zombie else { panic!("process {id} was reaped, and is no zombie: {place:?}") };
            self.reaped.insert(id, Taken { parent: place.parent, status, claimed: false });
        }
        // Stops and continuations are told once.
        for (id, process) in &mut self.processes {
            let theirs = &seen[id];
            let parent = process.place.parent;
            if let (Stop::Stopped(signal), false, true) = (process.stop, process.told, theirs.told) {
                let status = i32::from(signal) << 8 | 0x7f;
                self.events.push((*id, Taken { parent, status, claimed: false }));
            }
            if process.continued && !theirs.continued && process.stop == Stop::Running {
                self.events.push((*id, Taken { parent, status: 0xffff, claimed: false }));
            }
            process.continued = theirs.continued;
        }
    }

    /// A thread that takes a deadly signal decides for all, and may take a while to die.
    fn decisions(&mut self, seen: &Seen) {
        let shortage = self.killed_for_memory();
        let ids: Vec<_> = self.processes.keys().copied().collect();
        for id in ids {
            let Some(theirs) = seen.get(&id).filter(|theirs| !theirs.place.threads.is_empty()) else { continue };
            let process = &self.processes[&id];
            if process.decided.is_none()
                && let Some(status) = theirs.decided.filter(|status| *status < 64)
                && (process.sent & !STOPS | shortage) & 1 << status != 0
            {
                assert!(self.is_taken(id, None, 1 << status) != Some(false), "{id} dies of {status}, which is blocked");
                let process = self.processes.get_mut(&id).expect("as above");
                process.decided = theirs.decided;
                self.violent = true;
            }
        }
    }

    /// SIGKILL, where anybody may be killed for memory.
    fn killed_for_memory(&self) -> u64 {
        if self.plan.shortage == 0 { 0 } else { 1 << SIGKILL }
    }

    fn stops(&mut self, seen: &Seen) {
        let ids: Vec<_> = self.processes.keys().copied().collect();
        for id in ids {
            let Some(theirs) = seen.get(&id) else { continue };
            let process = self.processes.get_mut(&id).expect("as above");
            if process.stop == theirs.stop || process.decided.is_some() {
                continue;
            }
            match (process.stop, theirs.stop) {
                (Stop::Running, Stop::Stopping(signal) | Stop::Stopped(signal)) => {
                    if process.sent & STOPS & 1 << signal == 0 {
                        continue;
                    }
                    process.sent &= !(1 << signal);
                    process.continued = false;
                }
                (Stop::Stopping(old), Stop::Stopped(signal)) if old == signal => {}
                // It goes on by what is found out later, or not at all.
                _ => continue,
            }
            process.stop = theirs.stop;
            process.told = false;
            let parent = process.place.parent;
            if matches!(theirs.stop, Stop::Stopped(_)) {
                self.tell_of_change(parent);
            }
        }
    }

    /// The children that a wait of thread `waiter` is about.
    pub fn eligible(&self, waiter: u32, which: Which, options: u32) -> Vec<u32> {
        let home = self.threads[&waiter].process;
        let fits = |id: u32, place: &Place| {
            let named = match which {
                Which::Any => true,
                Which::One(one) => one == id,
                Which::Group(group) => group == place.group,
            };
            let own = options & raw::__WNOTHREAD == 0 || place.thread == waiter;
            let kind = options & raw::__WALL != 0 || (place.exit_signal != SIGCHLD) == (options & raw::__WCLONE != 0);
            place.parent == home && named && own && kind
        };
        self.processes.iter().filter(|(id, process)| fits(**id, &process.place)).map(|(id, _)| *id).collect()
    }

    /// Whether there is something to tell of a child.
    pub fn has_event(&self, child: u32, options: u32) -> bool {
        let process = &self.processes[&child];
        if process.place.zombie.is_some() {
            return options & raw::WEXITED != 0;
        }
        let stopped = matches!(process.stop, Stop::Stopped(_)) && !process.told && process.decided.is_none();
        stopped && options & raw::WUNTRACED != 0 || process.continued && options & raw::WCONTINUED != 0
    }

    /// A wait of `waiter` has told of `child`. With `stays`, it only looked.
    pub fn told(&mut self, waiter: u32, child: u32, status: i32, stays: bool) {
        let home = self.threads[&waiter].process;
        if status & 0xff == 0x7f || status == 0xffff {
            let event = self
                .events
                .iter_mut()
                .find(|(id, taken)| *id == child && taken.status == status && taken.parent == home && !taken.claimed);
            match event {
                Some((_, taken)) => taken.claimed = true,
                None => {
                    assert!(stays, "{waiter} was told that {child} stopped or went on ({status:#x}), and nobody else")
                }
            }
            return;
        }
        if let Some(process) = self.processes.get(&child) {
            assert!(stays, "{waiter} was told of the end of {child}, and it is still there");
            assert_eq!(process.place.zombie, Some(status), "{waiter} was told of the end of {child}");
            return;
        }
        let Some(taken) = self.reaped.get_mut(&child) else { panic!("{waiter} was told of {child}, which never was") };
        assert_eq!((taken.parent, taken.status), (home, status), "{waiter} was told of the end of {child}");
        // With WNOWAIT it had its look, and then somebody else took it.
        assert!(stays || !taken.claimed, "{waiter} was told of the end of {child}, and so was another");
        taken.claimed |= !stays;
    }

    /// The machine's operator kills everybody.
    pub fn killed(&mut self, id: u32) {
        self.send(id, SIGKILL);
    }
}

/// One of `heirs`, which the kernel has chosen.
fn heir(heirs: &BTreeSet<u32>, child: u32, seen: &Seen) -> u32 {
    let chosen = seen.get(&child).map_or(0, |process| process.place.thread);
    if heirs.contains(&chosen) { chosen } else { heirs.first().copied().unwrap_or(0) }
}
