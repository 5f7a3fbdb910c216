//! Semaphore sets (semget(2), semop(2), semctl(2)).
//!
//! The operations of one call happen together or not at all. A caller whose operations cannot happen stands in the set's
//! line; whoever changes a value carries out those that have become possible, in the order of the line.

mod control;
mod ops;
mod undo;

pub use control::{Status, Totals};
pub use ops::{Op, Operations, Outcome, Sleeping};
pub use undo::UndoList;

use crate::line::Line;
use crate::perm::Permissions;
use crate::registry::{Object, Registry};
use crate::{Caller, limits, now};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, rank};
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use executor::WaitQueue;
use executor::spin::SpinLock;
use ops::{Job, Values};

/// The largest value of a semaphore (SEMVMX).
pub const MAX_VALUE: i32 = 32_767;

/// All sets.
pub static SETS: Registry<Set> = Registry::new();

/// Semaphores in all sets.
static SEMAPHORES: AtomicU64 = AtomicU64::new(0);

/// A semaphore.
#[derive(Clone, Copy, Default)]
struct Semaphore {
    value: i32,
    /// The process that changed it last.
    process: u32,
}

/// A semaphore set.
pub struct Set {
    id: AtomicI32,
    count: usize,
    state: SpinLock<State>,
    queue: WaitQueue,
}

struct State {
    perm: Permissions,
    values: Values,
    line: Line<Job, Result<(), Errno>>,
    operated: i64,
    changed: i64,
    removed: bool,
}

/// semget(2): the id. EINVAL for a count that is not possible, or larger than that of the set that is there; ENOSPC; and as
/// for every registry.
pub fn get(caller: &Caller, key: i32, count: i32, flags: u32) -> Result<i32, Errno> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    if count as u64 > limits::SEMMSL.get() {
        return Err(Errno::EINVAL);
    }
    let fits = |set: &Set| if count > set.count { Err(Errno::EINVAL) } else { Ok(()) };
    let make = || Set::new(Permissions::new(key, flags, caller.cred), count);
    SETS.get(caller, key, flags, &limits::SEMMNI, fits, make)
}

impl Set {
    fn new(perm: Permissions, count: usize) -> Result<Arc<Set>, Errno> {
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        let within = |all: u64| Some(all + count as u64).filter(|all| *all <= limits::SEMMNS.get());
        SEMAPHORES.fetch_update(Relaxed, Relaxed, within).map_err(|_| Errno::ENOSPC)?;
        // Counted out by the drop of what follows, or here.
        let semaphores = zeroed(count).inspect_err(|_| {
            SEMAPHORES.fetch_sub(count as u64, Relaxed);
        })?;
        Ok(Arc::new(Set {
            id: AtomicI32::new(0),
            count,
            state: SpinLock::new(
                rank::IPC_OBJECT,
                State {
                    perm,
                    values: Values::new(semaphores),
                    line: Line::new(),
                    operated: 0,
                    changed: now(),
                    removed: false,
                },
            ),
            queue: WaitQueue::new(),
        }))
    }

    /// Its id.
    pub fn id(&self) -> i32 {
        self.id.load(Relaxed)
    }

    /// How many semaphores it has.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        SEMAPHORES.fetch_sub(self.count as u64, Relaxed);
    }
}

impl Object for Set {
    fn permissions(&self) -> Permissions {
        self.state.lock().perm
    }

    fn set_id(&self, id: i32) {
        self.id.store(id, Relaxed);
    }
}

/// As many default values as a program has chosen. ENOMEM.
fn zeroed<T: Clone + Default>(count: usize) -> Result<Vec<T>, Errno> {
    memory::admit(count * size_of::<T>()).map_err(|_| Errno::ENOMEM)?;
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    values.resize(count, T::default());
    Ok(values)
}
