//! semop(2): operations on the semaphores of a set.

use super::{MAX_VALUE, Semaphore, Set, State, UndoList, zeroed};
use crate::line::{Ticket, bit};
use crate::{Caller, NOWAIT, now, perm};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Errno;
use core::future::Future;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct sembuf`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Op {
    /// Which semaphore.
    pub number: u16,
    /// What is added, or 0 to wait until the value is 0.
    pub change: i16,
    /// IPC_NOWAIT, SEM_UNDO.
    pub flags: u16,
}

/// SEM_UNDO: the change is taken back when the process ends.
const UNDO: u16 = 0x1000;

impl Op {
    fn undoes(&self) -> bool {
        self.flags & UNDO != 0
    }
}

/// The operations of one call. Few stay off the heap.
pub enum Operations {
    /// Up to two.
    Few([Op; 2], usize),
    /// More.
    Many(Vec<Op>),
}

impl Operations {
    /// Room for `count` of them. ENOMEM.
    pub fn new(count: usize) -> Result<Operations, Errno> {
        Ok(if count <= 2 { Operations::Few([Op::default(); 2], count) } else { Operations::Many(zeroed(count)?) })
    }

    /// All of them, to be filled in.
    pub fn slots(&mut self) -> &mut [Op] {
        match self {
            Operations::Few(few, count) => &mut few[..*count],
            Operations::Many(many) => many,
        }
    }

    fn get(&self) -> &[Op] {
        match self {
            Operations::Few(few, count) => &few[..*count],
            Operations::Many(many) => many,
        }
    }

    /// Whether any changes a value.
    fn alter(&self) -> bool {
        self.get().iter().any(|op| op.change != 0)
    }

    /// Whether any is to be undone.
    pub fn undo(&self) -> bool {
        self.get().iter().any(Op::undoes)
    }
}

/// The operations of a call on their way.
pub(super) struct Job {
    ops: Operations,
    /// The undo list, where an operation wants one.
    list: Option<u64>,
    process: u32,
    /// The operation that could not happen when it was tried last.
    pub(super) stuck: usize,
}

impl Job {
    /// The operation that it waits for.
    pub(super) fn awaited(&self) -> &Op {
        &self.ops.get()[self.stuck]
    }
}

/// The values of a set, and what ending processes are to take back.
pub(super) struct Values {
    pub(super) semaphores: Vec<Semaphore>,
    /// By undo list: what is added to each semaphore at its end.
    pub(super) adjustments: BTreeMap<u64, Vec<i16>>,
}

/// Why operations did not happen.
enum Obstacle {
    /// The operation with this index has to wait.
    Wait(usize),
    Fails(Errno),
}

impl Values {
    pub(super) fn new(semaphores: Vec<Semaphore>) -> Values {
        Values { semaphores, adjustments: BTreeMap::new() }
    }

    /// Does all that the job asks for, or nothing.
    fn attempt(&mut self, job: &Job) -> Result<(), Obstacle> {
        let ops = job.ops.get();
        for (i, op) in ops.iter().enumerate() {
            if let Err(failed) = self.apply(op, job.list) {
                for op in ops[..i].iter().rev() {
                    self.revert(op, job.list);
                }
                return Err(match failed {
                    Some(errno) => Obstacle::Fails(errno),
                    None if u32::from(op.flags) & NOWAIT != 0 => Obstacle::Fails(Errno::EAGAIN),
                    None => Obstacle::Wait(i),
                });
            }
        }
        for op in ops {
            self.semaphores[usize::from(op.number)].process = job.process;
        }
        Ok(())
    }

    /// One operation. `None` for one that has to wait, else ERANGE.
    fn apply(&mut self, op: &Op, list: Option<u64>) -> Result<(), Option<Errno>> {
        let semaphore = &mut self.semaphores[usize::from(op.number)];
        let value = semaphore.value + i32::from(op.change);
        if value < 0 || op.change == 0 && value != 0 {
            return Err(None);
        }
        if value > MAX_VALUE {
            return Err(Some(Errno::ERANGE));
        }
        if op.undoes()
            && let Some(adjustment) = adjustment(&mut self.adjustments, op, list)
        {
            *adjustment = adjustment.checked_sub(op.change).ok_or(Some(Errno::ERANGE))?;
        }
        semaphore.value = value;
        Ok(())
    }

    fn revert(&mut self, op: &Op, list: Option<u64>) {
        self.semaphores[usize::from(op.number)].value -= i32::from(op.change);
        if op.undoes()
            && let Some(adjustment) = adjustment(&mut self.adjustments, op, list)
        {
            *adjustment += op.change;
        }
    }

    /// Whether the job surely has to go on waiting, told at a glance.
    fn is_stuck(&self, job: &Job) -> bool {
        let op = job.awaited();
        let value = self.semaphores[usize::from(op.number)].value + i32::from(op.change);
        // With several operations the others may change what this one finds.
        job.ops.get().len() == 1 && if op.change == 0 { value != 0 } else { value < 0 }
    }
}

fn adjustment<'a>(all: &'a mut BTreeMap<u64, Vec<i16>>, op: &Op, list: Option<u64>) -> Option<&'a mut i16> {
    all.get_mut(&list?)?.get_mut(usize::from(op.number))
}

impl State {
    /// Carries out what has become possible. The bits of those whose jobs are done.
    pub(super) fn settle(&mut self) -> u32 {
        let mut wakes = 0;
        let mut at = 0;
        while let Some(job) = self.line.job(at) {
            let outcome =
                if self.values.is_stuck(job) { Err(Obstacle::Wait(job.stuck)) } else { self.values.attempt(job) };
            let alters = job.ops.alter();
            let result = match outcome {
                Err(Obstacle::Wait(stuck)) => {
                    job.stuck = stuck;
                    at += 1;
                    continue;
                }
                Err(Obstacle::Fails(errno)) => Err(errno),
                Ok(()) => Ok(()),
            };
            wakes |= self.line.finish(at, |_| result);
            if result.is_ok() {
                self.operated = now();
                if alters {
                    // Others, further ahead, may have waited for just this.
                    at = 0;
                }
            }
        }
        wakes
    }

    /// EIDRM once it is removed.
    pub(super) fn check(&self) -> Result<(), Errno> {
        if self.removed { Err(Errno::EIDRM) } else { Ok(()) }
    }
}

/// What comes of operations.
pub enum Outcome<'a> {
    /// They have happened.
    Done,
    /// They wait in the set's line.
    Waits(Sleeping<'a>),
}

/// A caller in the line of a set; dropping it takes the operations back as long as they have not happened.
pub struct Sleeping<'a> {
    set: &'a Set,
    ticket: Ticket,
}

impl Set {
    /// semop(2). With `wait` false a caller that would have to wait is not put into the line: WouldBlock is `None`.
    ///
    /// EIDRM, EFBIG for a semaphore that there is not, EACCES, EAGAIN for IPC_NOWAIT, ERANGE, ENOMEM.
    pub fn operate<'a>(
        self: &'a Arc<Set>,
        caller: &Caller,
        ops: Operations,
        list: Option<&UndoList>,
        wait: bool,
    ) -> Result<Option<Outcome<'a>>, Errno> {
        if ops.get().iter().any(|op| usize::from(op.number) >= self.count) {
            return Err(Errno::EFBIG);
        }
        let alters = ops.alter();
        let list = list.filter(|_| ops.undo());
        let mut job = Job { ops, list: list.map(UndoList::id), process: caller.process, stuck: 0 };
        let mut state = loop {
            let state = self.state.lock();
            state.check()?;
            state.perm.check(caller.cred, if alters { perm::WRITE } else { perm::READ })?;
            match list {
                Some(list) if !state.values.adjustments.contains_key(&list.id()) => {
                    drop(state);
                    list.enter(self)?;
                }
                _ => break state,
            }
        };
        match state.values.attempt(&job) {
            Ok(()) => {
                state.operated = now();
                let wakes = if alters { state.settle() } else { 0 };
                drop(state);
                self.wake(wakes);
                Ok(Some(Outcome::Done))
            }
            Err(Obstacle::Fails(errno)) => Err(errno),
            Err(Obstacle::Wait(_)) if !wait => Ok(None),
            Err(Obstacle::Wait(stuck)) => {
                job.stuck = stuck;
                state.line.reserve()?;
                let ticket = state.line.join(job);
                Ok(Some(Outcome::Waits(Sleeping { set: self, ticket })))
            }
        }
    }

    pub(super) fn wake(&self, bits: u32) {
        if bits != 0 {
            self.queue.notify_all(bits);
        }
    }
}

impl Sleeping<'_> {
    /// Waits until the operations have happened or cannot: EIDRM, EAGAIN, ERANGE.
    pub fn finished(&self) -> impl Future<Output = Result<(), Errno>> {
        self.set.queue.wait_until(bit(self.ticket), || self.set.state.lock().line.result(self.ticket))
    }

    /// Stops waiting. What came of the operations if they were done with meanwhile.
    pub fn give_up(&self) -> Option<Result<(), Errno>> {
        self.set.state.lock().line.leave(self.ticket)
    }
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}
