//! Trace points: what each CPU did when, for a person who wonders why.
//!
//! They are there only with the feature `trace`; without it [`point`] is nothing, and costs nothing. Each CPU notes
//! into a ring of its own, which holds its last [`LEN`] records, until somebody reads them: that ends the recording,
//! so that looking does not push out what is looked for.

use crate::sched::Entity;

/// What happened. The comment says what the record's argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A task was made.
    Spawn,
    /// A task became runnable.
    Wake,
    /// The CPU begins to poll the task.
    Begin,
    /// The poll is over.
    End,
    /// The task goes to another CPU: its number.
    Migrate,
    /// The running task enters user mode.
    Enter,
    /// It comes back: what it wants, the kind in the upper half.
    Trap,
    /// The running task is the thread of this id.
    Thread,
    /// The running task's program is called this: the first eight bytes.
    Name,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds of the platform's clock.
    pub time: u64,
    /// The task; 0 for none. A number may come again once its task is over.
    pub task: u64,
    /// What the point says of it.
    pub argument: u64,
    /// What happened.
    pub point: Point,
}

/// How many records each CPU keeps.
pub const LEN: usize = 16 * 1024;

/// Whether trace points are there.
pub const ON: bool = cfg!(feature = "trace");

/// Notes that the running task has come to a point.
#[inline(always)]
pub fn point(point: Point, argument: u64) {
    #[cfg(feature = "trace")]
    rings::note(point, None, argument);
    #[cfg(not(feature = "trace"))]
    let _ = (point, argument);
}

/// Notes that a task has.
#[inline(always)]
pub(crate) fn about(entity: &Entity, point: Point, argument: u64) {
    #[cfg(feature = "trace")]
    rings::note(point, Some(entity), argument);
    #[cfg(not(feature = "trace"))]
    let _ = (entity, point, argument);
}

#[cfg(feature = "trace")]
pub(crate) use rings::open;
#[cfg(feature = "trace")]
pub use rings::read;

#[cfg(feature = "trace")]
mod rings {
    use super::{LEN, Point, Record};
    use crate::sched::Entity;
    use crate::spin::{Rank, SpinLock};
    use crate::{MAX_CPUS, cpu, platform};
    use alloc::vec::Vec;
    use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

    struct Ring {
        /// As many as there was memory for.
        records: Vec<Record>,
        /// How many were ever noted.
        noted: usize,
    }

    static RINGS: [SpinLock<Ring>; MAX_CPUS] =
        [const { SpinLock::new(Rank::TRACE, Ring { records: Vec::new(), noted: 0 }) }; MAX_CPUS];

    /// Ends when somebody reads.
    static RECORDING: AtomicBool = AtomicBool::new(true);

    /// Makes room for this CPU's records.
    pub(crate) fn open() {
        let mut records = Vec::new();
        if records.try_reserve_exact(LEN).is_ok() {
            RINGS[platform::cpu_id()].lock().records = records;
        }
    }

    pub fn note(point: Point, entity: Option<&Entity>, argument: u64) {
        if !RECORDING.load(Relaxed) {
            return;
        }
        let number = |entity: &Entity| core::ptr::from_ref(entity).addr() as u64;
        let task = entity.map(number).or_else(|| cpu::with_current(number)).unwrap_or(0);
        let record = Record { time: platform::now(), task, argument, point };
        let mut ring = RINGS[platform::cpu_id()].lock();
        let room = ring.records.capacity().min(LEN);
        if ring.records.len() < room {
            ring.records.push(record);
        } else if room > 0 {
            let at = ring.noted % room;
            ring.records[at] = record;
        }
        ring.noted += 1;
    }

    /// Ends the recording and gives a CPU's records to `each`, the oldest first.
    pub fn read<E>(cpu: usize, mut each: impl FnMut(&Record) -> Result<(), E>) -> Result<(), E> {
        RECORDING.store(false, Relaxed);
        let ring = RINGS[cpu].lock();
        let len = ring.records.len().max(1);
        let oldest = if ring.noted > len { ring.noted % len } else { 0 };
        let (late, early) = ring.records.split_at(oldest.min(ring.records.len()));
        early.iter().chain(late).try_for_each(&mut each)
    }
}
