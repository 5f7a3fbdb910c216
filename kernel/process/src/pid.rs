//! Process and thread numbers.
//!
//! A number belongs to a [`Pid`], and a `Pid` lives as long as anything names it: a thread, a zombie, a
//! process group, a session, a pidfd, a waiter. The number is free again when the last of them is gone,
//! so no number is ever reused under somebody's hands. A `Pid` has one number per pid-namespace level;
//! today there is the initial namespace only.

use crate::{Process, Thread};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use base::{Errno, rank};
use executor::spin::SpinLock;

/// The default of `kernel.pid_max`: numbers stay below it.
pub const PID_MAX: u32 = 4_194_304;
/// After the numbers run around, allocation starts here, so that early daemons keep theirs to themselves.
const RESERVED: u32 = 300;

/// A number and what it names.
pub struct Pid {
    number: u32,
    links: SpinLock<Links>,
}

#[derive(Default)]
struct Links {
    thread: Weak<Thread>,
    process: Weak<Process>,
}

struct Table {
    pids: BTreeMap<u32, Weak<Pid>>,
    last: u32,
    limit: u32,
}

static TABLE: SpinLock<Table> = SpinLock::new(rank::PIDS, Table { pids: BTreeMap::new(), last: 0, limit: PID_MAX });

impl Pid {
    /// Takes a free number. EAGAIN when there is none.
    pub fn allocate() -> Result<Arc<Pid>, Errno> {
        let mut table = TABLE.lock();
        let number = table.free_number().ok_or(Errno::EAGAIN)?;
        table.last = number;
        Ok(table.enter(number))
    }

    /// Takes this number. EEXIST if anything names it.
    pub fn take(number: u32) -> Result<Arc<Pid>, Errno> {
        let mut table = TABLE.lock();
        if table.pids.contains_key(&number) { Err(Errno::EEXIST) } else { Ok(table.enter(number)) }
    }

    /// The number in the initial pid namespace.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The holder of a number, if anything still names it.
    pub fn find(number: u32) -> Option<Arc<Pid>> {
        TABLE.lock().pids.get(&number)?.upgrade()
    }

    /// The thread of this number, until it has exited and been released.
    pub fn thread(&self) -> Option<Arc<Thread>> {
        self.links.lock().thread.upgrade()
    }

    /// The process whose id this is, until it is reaped.
    pub fn process(&self) -> Option<Arc<Process>> {
        self.links.lock().process.upgrade()
    }

    /// The number names this thread from now on.
    pub(crate) fn set_thread(&self, thread: &Arc<Thread>) {
        self.links.lock().thread = Arc::downgrade(thread);
    }

    /// The number is the id of this process from now on.
    pub(crate) fn set_process(&self, process: &Arc<Process>) {
        self.links.lock().process = Arc::downgrade(process);
    }

    /// Makes the number name no thread and no process any more (it was reaped). The number itself stays
    /// taken while the `Pid` lives.
    pub(crate) fn release(&self) {
        *self.links.lock() = Links::default();
    }
}

impl Drop for Pid {
    fn drop(&mut self) {
        // The number cannot have been handed out again: it is in the table until here.
        TABLE.lock().pids.remove(&self.number);
    }
}

impl Table {
    /// A new holder of a free number.
    fn enter(&mut self, number: u32) -> Arc<Pid> {
        let pid = Arc::new(Pid { number, links: SpinLock::new(rank::PID, Links::default()) });
        self.pids.insert(number, Arc::downgrade(&pid));
        pid
    }

    fn free_number(&self) -> Option<u32> {
        let from = self.last + 1;
        // Mostly nothing is beyond the cursor.
        if from < self.limit && self.pids.last_key_value().is_none_or(|(&taken, _)| taken < from) {
            return Some(from);
        }
        let low = if from > RESERVED { RESERVED } else { 1 };
        self.free_between(from, self.limit).or_else(|| self.free_between(low, from))
    }

    /// The lowest free number in `from..to`. Taken numbers are mostly behind the cursor, so this
    /// passes over few.
    fn free_between(&self, from: u32, to: u32) -> Option<u32> {
        let mut candidate = from;
        for (&taken, _) in self.pids.range(from..to.max(from)) {
            if taken != candidate {
                break;
            }
            candidate += 1;
        }
        (candidate < to).then_some(candidate)
    }
}

/// The process with id `number`: a live one or a zombie.
pub fn find_process(number: u32) -> Option<Arc<Process>> {
    Pid::find(number)?.process()
}

/// The thread with id `number`, until it is released.
pub fn find_thread(number: u32) -> Option<Arc<Thread>> {
    Pid::find(number)?.thread()
}

/// All processes with an id of at least `from`, in ascending order. The table is looked into for each, and not held in
/// between. Who is born or reaped meanwhile may be among them, unless the caller holds the tree.
pub fn processes(mut from: u32) -> impl Iterator<Item = Arc<Process>> {
    let mut next_pid = move || {
        let table = TABLE.lock();
        // The last reference to a number must not go while the table is held, so it leaves this function.
        let pid = table.pids.range(from..).find_map(|(_, pid)| pid.upgrade())?;
        from = pid.number() + 1;
        Some(pid)
    };
    core::iter::from_fn(move || {
        loop {
            if let Some(process) = next_pid()?.process() {
                return Some(process);
            }
        }
    })
}

/// The number handed out last (`/proc/loadavg`).
pub fn last_number() -> u32 {
    TABLE.lock().last
}

/// `kernel.pid_max`.
pub fn limit() -> u32 {
    TABLE.lock().limit
}

/// Sets `kernel.pid_max`. EINVAL unless 301 to 4,194,304.
pub fn set_limit(limit: u32) -> Result<(), Errno> {
    if !(RESERVED + 1..=PID_MAX).contains(&limit) {
        return Err(Errno::EINVAL);
    }
    TABLE.lock().limit = limit;
    Ok(())
}
