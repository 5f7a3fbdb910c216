//! What the checks know: what each program has asked for and been told. It is told of every system call just before
//! the kernel sees it and when the program sees its result, and it panics where the two do not go together. What processes are to each
//! other is the [`crate::model`]'s.
//!
//! Between its trap and its effect a call that does not wait is alone (one host thread plays all CPUs), so the order
//! of traps of such calls is the order of their effects.

use crate::mail::{self, Letter, Mail};
use crate::model::{ECHILD, Model, Seen, Which};
use crate::script::{Call, NODES, Plan, RECORD, decode, id_word, join_word, record};
use linux_raw_sys::general as raw;
use process::{pid, tree};
use std::sync::Arc;

const EAGAIN: isize = -11;
const ESRCH: isize = -3;
const EBADF: isize = -9;
const ENOMEM: isize = -12;
const EINVAL: isize = -22;
const EINTR: isize = -4;
const EPIPE: isize = -32;

/// A call that a node is in.
#[derive(Clone)]
pub struct InCall {
    pub call: Call,
    pub args: [usize; 6],
    /// What it has to give, where that was certain at once.
    expected: Option<isize>,
    /// A wait's children when it was called, and those of them that were zombies.
    children: Vec<u32>,
    zombies: Vec<u32>,
    /// The inode of the file that a read or a write is about. Its number may come to name another.
    pub ino: Option<u64>,
    /// The process that its pidfd names.
    pub pidfd: Option<u32>,
    /// There is a process of which it is to give a descriptor, or that was over already.
    opens: bool,
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
    pub model: Model,
    pub mail: Mail,
    ids: [u32; NODES],
    /// The number that each was born with.
    born: [u32; NODES],
    in_call: [Option<InCall>; NODES],
    writes: Vec<Write>,
    pub all_reaped: bool,
    pub calls: u64,
}

impl World {
    pub fn new(plan: Arc<Plan>) -> World {
        let writes = vec![Write::default(); plan.writes];
        let mut ids = [0; NODES];
        ids[0] = 1;
        let model = Model::new(plan.clone());
        World {
            plan,
            model,
            mail: Mail::default(),
            ids,
            born: ids,
            in_call: [const { None }; NODES],
            writes,
            all_reaped: false,
            calls: 0,
        }
    }

    pub fn id_of(&self, node: u8) -> u32 {
        self.ids[node as usize]
    }

    pub fn node_of(&self, id: u32) -> Option<u8> {
        if id == 0 {
            return None;
        }
        self.ids.iter().position(|known| *known == id).map(|node| node as u8)
    }

    /// The call that a node has not come back from.
    pub fn in_call(&self, node: u8) -> Option<&InCall> {
        self.in_call[node as usize].as_ref()
    }

    /// The kernel's process table is this now. `memory` reads a word of the memory of the thread that has run.
    pub fn meet(&mut self, seen: &Seen, memory: &dyn Fn(usize) -> u32) {
        let told = |node: u8| {
            let is_thread = self.plan.home[node as usize] != node;
            memory(if is_thread { join_word(node) } else { id_word(node) })
        };
        self.model.meet(seen, &told);
        for (old, new) in self.model.renamed.drain(..) {
            // Who led the process is dead.
            self.ids.iter_mut().filter(|id| **id == new).for_each(|id| *id = 0);
            self.ids.iter_mut().filter(|id| **id == old).for_each(|id| *id = new);
            self.mail.renamed(old, new);
        }
        for (node, id) in self.model.births.drain(..) {
            let known = &mut self.born[node as usize];
            assert!(*known == 0, "node {node} was {known} and is {id}");
            *known = id;
            self.ids[node as usize] = id;
        }
        self.mail.meet(seen, &self.model);
    }

    /// A node is about to trap; its first argument names the file with this inode, or its pidfd this process, if any.
    pub fn enters(&mut self, node: u8, call: Call, args: [usize; 6], ino: Option<u64>, pidfd: Option<u32>) {
        self.calls += 1;
        let id = self.ids[node as usize];
        self.begins_mail(id, call, args);
        let expected = match call {
            Call::PidfdSend { signal } => Some(self.send_by_pidfd(id, pidfd, signal)),
            _ => self.model.enters(id, call, args),
        };
        let mut now = InCall { call, args, expected, children: vec![], zombies: vec![], ino, pidfd, opens: false };
        now.opens = match call {
            Call::PidfdOpen => self.model.exists(args[0] as u32),
            _ => pidfd.is_some_and(|target| self.model.is_over(target)),
        };
        if let Some((which, options)) = self.wait_of(id, call, args, pidfd) {
            now.children = self.model.eligible(id, which, options);
            now.zombies =
                now.children.iter().copied().filter(|child| self.model.has_event(*child, raw::WEXITED)).collect();
        }
        if let Call::Write { write, .. } = call {
            self.writes[write as usize].entered = true;
        }
        self.in_call[node as usize] = Some(now);
    }

    /// Thread `id` sends a signal to the process that its pidfd names.
    fn send_by_pidfd(&mut self, id: u32, pidfd: Option<u32>, signal: u8) -> isize {
        let Some(target) = pidfd else { return EBADF };
        if mail::is(signal) {
            self.mail.sends(id, &[(target, 0)], Letter { signal, value: 0 }, &self.model);
        }
        self.model.send_by_pidfd(target, signal)
    }

    /// Thread `id` is about to make a call that may be about letters.
    fn begins_mail(&mut self, id: u32, call: Call, args: [usize; 6]) {
        let home = self.model.home_of(id);
        let [first, second, ..] = args.map(|arg| arg as i32);
        let letter = |signal, value| Letter { signal, value };
        match call {
            Call::Kill { signal, .. } if mail::is(signal) => {
                let owners: Vec<_> = self.model.targets(home, first).into_iter().map(|id| (id, 0)).collect();
                self.mail.sends(id, &owners, letter(signal, 0), &self.model);
            }
            Call::Sigqueue { signal, value, thread: false } if first > 0 => {
                let owners: Vec<_> = self.model.targets(home, first).into_iter().map(|id| (id, 0)).collect();
                self.mail.sends(id, &owners, letter(signal, value), &self.model);
            }
            Call::Tgkill { signal, .. } if mail::is(signal) => {
                self.mail.sends(id, &[(first as u32, second as u32)], letter(signal, 0), &self.model);
            }
            Call::Sigqueue { signal, value, thread: true } => {
                self.mail.sends(id, &[(first as u32, second as u32)], letter(signal, value), &self.model);
            }
            Call::Sigtimedwait { set, .. } => self.mail.waits(id, home, set),
            Call::Sigpending => self.mail.asks(id, home),
            _ => {}
        }
    }

    /// The call is over.
    fn ends_mail(&mut self, id: u32, call: Call, args: [usize; 6], result: isize, memory: &dyn Fn(usize) -> u32) {
        let home = self.model.home_of(id);
        match call {
            Call::Kill { .. } | Call::Tgkill { .. } | Call::Sigqueue { .. } | Call::PidfdSend { .. } => {
                self.mail.sent(id, result == 0, &self.model);
            }
            Call::Sigtimedwait { timed, .. } => match result {
                EAGAIN if timed => self.mail.waited(id, None),
                EINTR => self.mail.interrupted(id),
                signal if signal > 0 => {
                    let (number, code) = (memory(args[1]), memory(args[1] + 8) as i32);
                    assert_eq!(number as isize, signal, "the signal that {id} was told of, and its siginfo");
                    let value = if code == -1 { memory(args[1] + 24) } else { 0 };
                    assert!([-1, 0, -6].contains(&code), "{id} was given a signal of code {code}");
                    self.mail.waited(id, Some(Letter { signal: signal as u8, value }));
                }
                other => panic!("{id}: sigtimedwait gave {other}"),
            },
            Call::Sigpending => {
                assert_eq!(result, 0, "{id}: {call:?}");
                let set = long(memory, args[0]);
                self.mail.told(id, home, set);
                self.model.told_pending(id, set);
            }
            _ => {}
        }
    }

    /// What a call waits for, if it is a wait with arguments that make sense.
    fn wait_of(&self, id: u32, call: Call, args: [usize; 6], pidfd: Option<u32>) -> Option<(Which, u32)> {
        let which = match call {
            Call::Wait { .. } => match args[0] as i32 {
                -1 => Which::Any,
                0 => Which::Group(self.model.group_of(id)),
                group if group < 0 => Which::Group(group.unsigned_abs()),
                one => Which::One(one as u32),
            },
            Call::Waitid { .. } => match args[0] as u32 {
                raw::P_ALL => Which::Any,
                _ if args[1] == 0 => return None,
                raw::P_PGID => Which::Group(args[1] as u32),
                _ => Which::One(args[1] as u32),
            },
            Call::PidfdWait { .. } => Which::One(pidfd?),
            _ => return None,
        };
        let (Call::Wait { options } | Call::Waitid { options } | Call::PidfdWait { options }) = call else {
            return None;
        };
        Some((which, options))
    }

    /// A node is where the program starts that it has executed.
    pub fn executed(&mut self, node: u8) {
        if self.in_call[node as usize].take().is_some() {
            self.model.starts(self.ids[node as usize]);
        }
    }

    /// A handler of `signal` begins to run in a node.
    pub fn handler_begins(&mut self, node: u8, signal: u8) {
        self.model.handler_begins(self.ids[node as usize], signal);
    }

    /// It ends.
    pub fn handler_ends(&mut self, node: u8) {
        self.model.handler_ends(self.ids[node as usize]);
    }

    /// A node is in user mode again, where `call` is to have given `result`, and with it a descriptor of the process `named`. `memory`
    /// reads a word of its memory.
    pub fn returned(&mut self, node: u8, call: Call, result: isize, named: Option<u32>, memory: &dyn Fn(usize) -> u32) {
        let Some(entered) = self.in_call[node as usize].take() else { return };
        assert_eq!(entered.call, call, "node {node} comes back from a call that it did not make");
        let id = self.ids[node as usize];
        self.model.returned(id, call);
        if let Some(expected) = entered.expected {
            assert_eq!(result, expected, "node {node}: {call:?} {:x?}", entered.args);
        }
        self.ends_mail(id, call, entered.args, result, memory);
        let short = result == ENOMEM && self.plan.shortage != 0;
        if result == EINTR {
            assert!(self.plan.handlers, "node {node}: EINTR from {call:?}, and no signal has a handler");
            return;
        }
        match call {
            Call::Clone { child } => {
                self.tell_apart(child, result as u32);
                let born = self.born[child as usize];
                assert!(
                    result == born as isize && born != 0 || (result == EAGAIN || short) && born == 0,
                    "node {node}: {call:?} gave {result}, and the child is {born}"
                );
                let other = result > 0 && self.plan.pidfd[child as usize] && !self.plan.closes && named != Some(born);
                assert!(!other, "node {node}: {call:?} gave {result}, and a pidfd of {named:?}");
            }
            Call::PidfdOpen => {
                let asked = entered.args[0] as u32;
                match entered.opens {
                    true => {
                        let fits = result >= 0 && (named == Some(asked) || self.plan.closes);
                        assert!(fits, "node {node}: pidfd_open of {asked} gave {result}, of {named:?}");
                    }
                    false => assert!([EINVAL, ESRCH].contains(&result), "node {node}: {call:?} {asked} gave {result}"),
                }
            }
            Call::PidfdPoll { timed } => self.polled(node, &entered, timed, result, memory),
            Call::Exec if short => self.model.failed(id),
            Call::Exit { .. } | Call::ExitGroup { .. } | Call::Exec => {
                panic!("node {node} came back from {call:?}: {result}")
            }
            Call::Wait { options } => {
                let status = memory(entered.args[1]) as i32;
                self.waited(node, &entered, options | raw::WEXITED, result, status);
            }
            Call::PidfdWait { .. } if entered.pidfd.is_none() => {
                assert!([EBADF, EINVAL].contains(&result), "node {node}: {call:?} of no pidfd gave {result}");
            }
            Call::Waitid { options } | Call::PidfdWait { options } => {
                let at = entered.args[2];
                let (code, child, status) = (memory(at + 8) as i32, memory(at + 16), memory(at + 24) as i32);
                let status = match code {
                    1 => status << 8,
                    2 => status,
                    3 => status | 0x80,
                    5 => status << 8 | 0x7f,
                    6 => 0xffff,
                    _ => 0,
                };
                let result = if result == 0 { child as isize } else { result };
                self.waited(node, &entered, options, result, status);
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
            Call::AskMask => {
                assert_eq!(result, 0, "node {node}: {call:?}");
                self.model.told_mask(id, long(memory, entered.args[2]));
            }
            Call::Sigsuspend { .. } => panic!("node {node}: {call:?} gave {result}"),
            Call::Sleep | Call::Yield | Call::Mask { .. } => assert_eq!(result, 0, "node {node}: {call:?}"),
            Call::Pause => panic!("node {node}: pause gave {result}"),
            Call::Read { .. } => self.read(node, &entered, result, memory),
            Call::Write { records, .. } => {
                let all = usize::from(records) * RECORD;
                assert!(
                    result == all as isize
                        || result == EPIPE
                        || result == EBADF
                        || result == EINVAL && entered.pidfd.is_some()
                        || self.plan.shortage != 0,
                    "node {node}: a write of {all} gave {result}"
                );
            }
            _ => {}
        }
    }

    /// Two children that have the same place, and whose makers were not told of them yet when they were born, may have been taken for
    /// each other.
    fn tell_apart(&mut self, child: u8, id: u32) {
        let (one, other) = (child as usize, self.born.iter().position(|born| *born == id));
        if let Some(other) = other.filter(|other| *other != one && self.born[one] != 0) {
            self.born.swap(one, other);
            self.ids.swap(one, other);
        }
    }

    /// poll(2) of a pidfd: readable once the process is over, hung up once it is reaped.
    fn polled(&self, node: u8, entered: &InCall, timed: bool, result: isize, memory: &dyn Fn(usize) -> u32) {
        const POLLIN: u32 = 1;
        const POLLHUP: u32 = 0x10;
        const POLLNVAL: u32 = 0x20;
        let told = memory(entered.args[0] + 4) >> 16;
        match (result, entered.pidfd) {
            (0, _) => assert!(timed && !entered.opens, "node {node}: nothing, and {:?} was over", entered.pidfd),
            (1, Some(target)) => {
                let (over, reaped) = (self.model.is_over(target), !self.model.exists(target));
                let fits = told & POLLIN != 0 && over && (reaped || told & POLLHUP == 0) && told & POLLNVAL == 0;
                assert!(fits, "node {node}: {told:#x} of {target}, over: {over}, reaped: {reaped}");
            }
            // Another kind of file may have the number.
            (1, None) => {}
            _ => panic!("node {node}: poll gave {result}"),
        }
    }

    fn read(&mut self, node: u8, entered: &InCall, result: isize, memory: &dyn Fn(usize) -> u32) {
        if result < 0 {
            let fits = result == EBADF || result == EINVAL && entered.pidfd.is_some();
            assert!(fits, "node {node}: read gave {result}");
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

    fn waited(&mut self, node: u8, entered: &InCall, options: u32, result: isize, status: i32) {
        let id = self.ids[node as usize];
        match result {
            0 => {
                assert!(options & raw::WNOHANG != 0, "node {node}: a wait came back with nothing");
                let missed = self.still(id, entered, options, &entered.zombies);
                assert!(
                    missed.is_none() || options & raw::WEXITED == 0,
                    "node {node}: a wait came back with nothing, and {missed:?} is a zombie"
                );
            }
            ECHILD => {
                let missed = self.still(id, entered, options, &entered.children);
                assert!(missed.is_none(), "node {node}: ECHILD, and {missed:?} is its child");
            }
            child if child > 0 => self.model.told(id, child as u32, status, options & raw::WNOWAIT != 0),
            // waitid(2) by an id that is not known yet.
            EINVAL if matches!(entered.call, Call::Waitid { .. }) && entered.args[1] == 0 => {}
            other => panic!("node {node}: a wait gave {other}"),
        }
    }

    /// One of `children`, which a wait was about when it was called, that it is still about. Who changes the group may have been away
    /// in between.
    fn still(&self, id: u32, entered: &InCall, options: u32, children: &[u32]) -> Option<u32> {
        let (which, _) = self.wait_of(id, entered.call, entered.args, entered.pidfd)?;
        let now = self.model.eligible(id, which, options);
        children.iter().copied().find(|child| !matches!(which, Which::Group(_)) && now.contains(child))
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

/// A 64-bit word of a program's memory.
fn long(memory: &dyn Fn(usize) -> u32, at: usize) -> u64 {
    u64::from(memory(at)) | u64::from(memory(at + 4)) << 32
}
