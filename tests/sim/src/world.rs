//! What the checks know: what each program has asked for and been told. It is told of every system call just before
//! the kernel sees it and when the program sees its result, and it panics where the two do not go together.
//!
//! Between its trap and its effect a call that does not wait is alone (one host thread plays all CPUs), so the order
//! of traps of such calls is the order of their effects.

use crate::script::{Call, NODES, Plan, RECORD, Whom, decode, record};
use linux_raw_sys::general as raw;
use process::{pid, tree};
use std::sync::Arc;

const SIGKILL: u8 = 9;
const SIGPIPE: u8 = 13;
/// Bits for SIGSTOP, SIGTSTP, SIGTTIN and SIGTTOU.
const STOPS: u64 = 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22;
const ECHILD: isize = -10;
const EINVAL: isize = -22;
const EINTR: isize = -4;
const EPIPE: isize = -32;
const ESRCH: isize = -3;

/// A call that a node is in.
#[derive(Clone, Copy)]
pub struct InCall {
    pub call: Call,
    pub args: [usize; 6],
    since: u64,
}

/// A process, by the node that leads it.
#[derive(Clone, Copy, Default)]
struct Process {
    /// Signals that may have been sent to it, one bit each.
    signals: u64,
    /// The first thing that ends the process at once: its wait status.
    decided: Option<i32>,
    /// Its leader has exited.
    leader_exits: bool,
    /// What its threads exited with, one bit for each code: the last of them gives the status.
    exits: [u64; 4],
    reaped: Option<u64>,
    /// When its maker was told of it.
    announced: Option<u64>,
}

/// A write to a pipe.
#[derive(Clone, Copy, Default)]
struct Write {
    entered: bool,
    /// The records that were read, one bit each.
    read: [u64; 4],
}

pub struct World {
    pub plan: Arc<Plan>,
    processes: [Process; NODES],
    ids: [u32; NODES],
    in_call: [Option<InCall>; NODES],
    writes: Vec<Write>,
    step: u64,
    pub all_reaped: bool,
    pub calls: u64,
}

impl World {
    pub fn new(plan: Arc<Plan>) -> World {
        let writes = vec![Write::default(); plan.writes];
        let mut processes = [Process::default(); NODES];
        // The exit signal of some child: any ancestor may get it.
        if plan.flags.iter().any(|flags| flags & 0xff == 10) {
            processes.iter_mut().for_each(|process| process.signals |= 1 << 10);
        }
        World { plan, processes, ids: [0; NODES], in_call: [None; NODES], writes, step: 1, all_reaped: false, calls: 0 }
    }

    fn home(&self, node: u8) -> u8 {
        self.plan.home[node as usize]
    }

    fn process(&mut self, node: u8) -> &mut Process {
        let home = self.home(node);
        &mut self.processes[home as usize]
    }

    pub fn node_of(&self, id: u32) -> Option<u8> {
        if id == 0 {
            return None;
        }
        self.ids.iter().position(|known| *known == id).map(|node| node as u8)
    }

    /// The call that a node has not come back from.
    pub fn in_call(&self, node: u8) -> Option<InCall> {
        self.in_call[node as usize]
    }

    /// The node whose process was to be the parent of this node's.
    fn parent(&self, node: u8) -> u8 {
        let maker = self.home(self.plan.maker[node as usize]);
        if self.plan.flags[node as usize] & u64::from(raw::CLONE_PARENT) != 0 { self.parent(maker) } else { maker }
    }

    fn learn(&mut self, node: u8, id: u32) {
        let known = &mut self.ids[node as usize];
        assert!(*known == 0 || *known == id, "node {node} was {known} and is {id}");
        *known = id;
        let first = self.node_of(id);
        assert_eq!(first, Some(node), "two nodes have the id {id}");
    }

    /// A node is about to trap.
    pub fn enters(&mut self, node: u8, call: Call, args: [usize; 6]) {
        self.calls += 1;
        self.step += 1;
        self.in_call[node as usize] = Some(InCall { call, args, since: self.step });
        match call {
            Call::Exit { code } => {
                let leads = self.home(node) == node;
                let process = self.process(node);
                process.leader_exits |= leads;
                process.exits[usize::from(code) / 64] |= 1 << (code % 64);
            }
            Call::ExitGroup { code } => {
                self.process(node).decided.get_or_insert(i32::from(code) << 8);
            }
            // Its id may be in memory before anybody has told of it.
            Call::Kill { signal, whom: Whom::Node(target) } if args[0] as i32 > 0 => self.signalled(target, signal),
            Call::Kill { signal, .. } => self.sends(node, args[0] as i32, signal),
            Call::Tgkill { signal, node } if args[0] != 0 && args[1] != 0 => self.signalled(node, signal),
            Call::Write { write, .. } => {
                self.writes[write as usize].entered = true;
                self.signalled(node, SIGPIPE);
            }
            _ => {}
        }
    }

    fn signalled(&mut self, target: u8, signal: u8) {
        let is_init = self.home(target) == 0;
        let process = self.process(target);
        process.signals |= 1 << signal;
        if signal == SIGKILL && !is_init {
            process.decided.get_or_insert(SIGKILL.into());
        }
    }

    fn sends(&mut self, sender: u8, target: i32, signal: u8) {
        if target > 0 {
            if let Some(node) = self.node_of(target as u32) {
                self.signalled(node, signal);
            }
            return;
        }
        let members = {
            let tree = tree::lock();
            let own = pid::find_thread(self.ids[sender as usize]).map(|thread| tree::group_of(&tree, &thread.process));
            let group = if target == 0 { own.unwrap_or(0) } else { target.unsigned_abs() };
            tree::find_group(&tree, group).map_or(Vec::new(), |group| group.members(&tree).collect())
        };
        for member in members {
            match self.node_of(member.id()) {
                Some(node) => self.signalled(node, signal),
                None => self.unknown_signalled(signal),
            }
        }
    }

    /// The simulator kills a process. One whose id is not known yet may be any of those that are not.
    pub fn killed(&mut self, id: u32) {
        match self.node_of(id) {
            Some(node) => self.signalled(node, SIGKILL),
            None => self.unknown_signalled(SIGKILL),
        }
    }

    fn unknown_signalled(&mut self, signal: u8) {
        for node in 1..self.plan.home.len() {
            if self.ids[node] == 0 {
                self.processes[node].signals |= 1 << signal;
            }
        }
    }

    /// A node sees the result of its call. `memory` reads a word of its memory.
    pub fn returned(&mut self, node: u8, call: Call, result: isize, memory: &dyn Fn(usize) -> u32) {
        self.step += 1;
        let Some(entered) = self.in_call[node as usize].take() else { panic!("node {node} was in no call") };
        assert_eq!(entered.call, call, "node {node} comes back from a call that it did not make");
        if result == EINTR {
            assert!(self.plan.handlers, "node {node}: EINTR from {call:?}, and no signal has a handler");
            return;
        }
        match call {
            Call::Gettid => self.learn(node, result as u32),
            Call::Clone { child } => {
                assert!(result > 0 || result == -11, "node {node}: {call:?} gave {result}");
                if result > 0 {
                    self.learn(child, result as u32);
                    self.processes[child as usize].announced = Some(self.step);
                }
            }
            Call::Exit { .. } | Call::ExitGroup { .. } => panic!("node {node} came back from exit"),
            Call::Wait { options, .. } => {
                let status = memory(entered.args[1]) as i32;
                self.waited(node, &entered, options, result, status, false);
            }
            Call::Waitid { options, .. } => {
                let at = entered.args[2];
                let (code, id, status) = (memory(at + 8) as i32, memory(at + 16), memory(at + 24) as i32);
                let status = match code {
                    1 => status << 8,
                    2 => status,
                    3 => status | 0x80,
                    5 => status << 8 | 0x7f,
                    6 => 0xffff,
                    _ => 0,
                };
                let result = if result == 0 { id as isize } else { result };
                self.waited(node, &entered, options, result, status, options & raw::WNOWAIT != 0);
            }
            Call::Kill { .. } if entered.args[0] as i32 > 0 => {
                let target = self.node_of(entered.args[0] as u32);
                if result == 0
                    && let Some(target) = target
                    && self.home(target) == target
                {
                    let process = &self.processes[target as usize];
                    assert!(
                        process.reaped.is_none_or(|at| at > entered.since),
                        "node {node} signalled {}, which was reaped",
                        entered.args[0]
                    );
                }
                assert!(result == 0 || result == ESRCH, "node {node}: kill gave {result}");
            }
            Call::FutexWait { timed, .. } => {
                assert!(
                    result == 0 || result == -11 || timed && result == -110,
                    "node {node}: a futex wait gave {result}"
                );
            }
            Call::FutexWake { .. } | Call::Requeue => {
                assert!(result >= 0, "node {node}: {call:?} gave {result}")
            }
            Call::Sleep | Call::Yield | Call::Sigaction { .. } | Call::Subreaper => {
                assert_eq!(result, 0, "node {node}: {call:?}");
            }
            Call::Pause => panic!("node {node}: pause gave {result}"),
            Call::Read { .. } => self.read(node, &entered, result, memory),
            Call::Write { records, .. } => {
                let all = usize::from(records) * RECORD;
                assert!(
                    result == all as isize || result == EPIPE || result == -9,
                    "node {node}: a write of {all} gave {result}"
                );
            }
            _ => {}
        }
    }

    fn read(&mut self, node: u8, entered: &InCall, result: isize, memory: &dyn Fn(usize) -> u32) {
        if result < 0 {
            assert_eq!(result, -9, "node {node}: read gave {result}");
            return;
        }
        assert!((result as usize).is_multiple_of(RECORD), "node {node} read {result} bytes: writes are atomic");
        for at in (0..result as usize).step_by(RECORD) {
            let mut bytes = [0; RECORD];
            for i in 0..4 {
                bytes[4 * i..4 * i + 4].copy_from_slice(&memory(entered.args[1] + at + 4 * i).to_ne_bytes());
            }
            let Some((write, number)) = decode(&bytes) else { panic!("node {node} read what nobody wrote: {bytes:?}") };
            debug_assert_eq!(record(write, number), bytes);
            let write = &mut self.writes[write as usize];
            assert!(write.entered, "node {node} read what was not written yet");
            let (word, bit) = (usize::from(number) / 64, 1 << (number % 64));
            assert!(write.read[word] & bit == 0, "node {node} read a record for the second time");
            write.read[word] |= bit;
        }
    }

    fn waited(&mut self, node: u8, entered: &InCall, options: u32, result: isize, status: i32, stays: bool) {
        let me = self.home(node);
        match result {
            0 => assert!(options & raw::WNOHANG != 0, "node {node}: a wait came back with nothing"),
            ECHILD => self.no_child(node, me, entered, options),
            id if id > 0 => self.child(node, entered, id as u32, status, stays),
            // waitid(2) by an id that is not known yet.
            EINVAL if matches!(entered.call, Call::Waitid { .. }) && entered.args[1] == 0 => {}
            other => panic!("node {node}: a wait gave {other}"),
        }
    }

    /// ECHILD: then no child may match that was there all the while.
    fn no_child(&self, node: u8, me: u8, entered: &InCall, options: u32) {
        let by_any = matches!(entered.call, Call::Wait { .. }) && entered.args[0] as i32 == -1;
        if !by_any || options & raw::__WALL == 0 || options & raw::__WNOTHREAD != 0 || self.plan.nocldwait {
            return;
        }
        for child in 1..self.plan.home.len() as u8 {
            let process = &self.processes[child as usize];
            let mine = self.home(child) == child
                && self.parent(child) == me
                && self.home(self.plan.maker[child as usize]) == me;
            let before = process.announced.is_some_and(|at| at < entered.since);
            let other_waits = (0..self.plan.home.len() as u8).any(|other| {
                other != node
                    && self.home(other) == me
                    && matches!(self.in_call(other), Some(InCall { call: Call::Wait { .. } | Call::Waitid { .. }, .. }))
            });
            assert!(
                !mine || !before || process.reaped.is_some() || other_waits,
                "node {node}: ECHILD, but node {child} ({}) was never waited for",
                self.ids[child as usize]
            );
        }
    }

    fn child(&mut self, node: u8, entered: &InCall, id: u32, status: i32, stays: bool) {
        let me = self.home(node);
        let adopts = me == 0 || self.plan.subreapers;
        let Some(child) = self.node_of(id) else {
            // Born and dead before anybody was told: only its maker's process or who adopts can see it.
            let in_flight = (0..NODES as u8).any(|other| {
                (other as usize) < self.plan.home.len()
                    && matches!(self.in_call(other), Some(InCall { call: Call::Clone { .. }, .. }))
            });
            assert!(in_flight || adopts, "node {node} waited for {id}, which nobody made");
            return;
        };
        assert_eq!(self.home(child), child, "node {node} waited for {id}, which is a thread");
        let parent = self.parent(child);
        let orphaned = adopts && {
            let parent = &self.processes[parent as usize];
            parent.decided.is_some() || parent.leader_exits || parent.signals != 0
        };
        assert!(parent == me || orphaned, "node {node} waited for {id}, a child of node {parent}");
        let step = self.step;
        // An exit may orphan a group that has a stopped member: all its members get SIGHUP and SIGCONT.
        let may_be_hung_up = self.processes.iter().any(|process| process.signals & STOPS != 0);
        let process = &mut self.processes[child as usize];
        // A sibling may have reaped it after this thread had its look with WNOWAIT.
        assert!(
            process.reaped.is_none_or(|at| stays && at > entered.since),
            "node {node} waited for {id}, which was reaped before"
        );
        if status == 0xffff {
            assert!(process.signals & 1 << 18 != 0 || may_be_hung_up, "{id} went on, and nobody sent SIGCONT");
            return;
        }
        if status & 0xff == 0x7f {
            assert!(process.signals & 1 << (status >> 8) != 0, "{id} stopped, and nobody sent signal {}", status >> 8);
            return;
        }
        if !stays {
            process.reaped = Some(step);
        }
        let signal = status & 0x7f;
        let code = (status >> 8 & 0xff) as usize;
        let exited = signal == 0 && process.exits[code / 64] >> (code % 64) & 1 != 0;
        let right = if process.decided == Some(status) || exited {
            true
        } else {
            signal != 0 && (process.signals & 1 << signal != 0 || signal == 1 && may_be_hung_up)
        };
        // What was decided at once beats what single threads did.
        let beaten = process.decided.is_some() && process.decided != Some(status) && signal == 0 && !exited;
        assert!(
            right && !beaten,
            "{id} (node {child}) ended with {status:#x}; decided {:x?}, threads exited with {:x?}, signals {:#x}",
            process.decided,
            process.exits,
            process.signals
        );
    }

    /// The first process was told that it has no children.
    pub fn root_is_alone(&mut self) {
        self.all_reaped = true;
        assert_eq!(tree::lock().processes, 1, "the first process has no children, and others exist");
        for node in 1..self.plan.home.len() {
            let id = self.ids[node];
            if id != 0 {
                assert!(pid::find_process(id).is_none(), "{id} (node {node}) exists, and the first process is alone");
                assert!(
                    pid::find_thread(id).is_none(),
                    "thread {id} (node {node}) exists, and the first process is alone"
                );
            }
        }
    }
}

impl World {
    /// Whether a thread may have died between changing a word and telling of it.
    pub fn somebody_died_violently(&self) -> bool {
        self.processes.iter().any(|process| process.decided.is_some() || process.signals != 0)
    }
}
