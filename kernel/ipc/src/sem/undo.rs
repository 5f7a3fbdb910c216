//! What a process takes back at its end (SEM_UNDO). The amounts lie in the sets; a list only knows which.

use super::{MAX_VALUE, Set, zeroed};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, rank};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use executor::spin::SpinLock;

/// An undo list. Threads that were made with CLONE_SYSVSEM share one; it is carried out when the last of them leaves it.
pub struct UndoList {
    id: u64,
    sets: SpinLock<Vec<Weak<Set>>>,
}

impl Default for UndoList {
    fn default() -> UndoList {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        UndoList { id: NEXT.fetch_add(1, Relaxed), sets: SpinLock::new(rank::IPC_OBJECT, Vec::new()) }
    }
}

impl UndoList {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Tells it from the lists of four thousand million others, which is enough for who looks at it from outside; never 0.
    pub fn name(&self) -> u32 {
        (self.id % u64::from(u32::MAX)) as u32 + 1
    }

    /// Gets a row of adjustments in a set. ENOMEM, EIDRM.
    pub(super) fn enter(&self, set: &Arc<Set>) -> Result<(), Errno> {
        let mut row = Some(zeroed(set.count)?);
        {
            let mut sets = self.sets.lock();
            sets.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let mut gone = Vec::new();
            if sets.iter().any(|known| known.strong_count() == 0) {
                let all = core::mem::take(&mut *sets);
                (*sets, gone) = all.into_iter().partition(|known| known.strong_count() > 0);
            }
            if !sets.iter().any(|known| known.as_ptr() == Arc::as_ptr(set)) {
                sets.push(Arc::downgrade(set));
            }
            drop(sets);
            drop(gone);
        }
        let mut state = set.state.lock();
        state.check()?;
        if let Some(row) = row.take_if(|_| !state.values.adjustments.contains_key(&self.id)) {
            state.values.adjustments.insert(self.id, row);
        }
        Ok(())
    }

    /// A thread of `process` no longer shares `list`: the last one carries it out.
    pub fn leave(list: Arc<UndoList>, process: u32) {
        let Some(list) = Arc::into_inner(list) else { return };
        let sets = core::mem::take(&mut *list.sets.lock());
        for set in sets.iter().filter_map(Weak::upgrade) {
            set.take_back(list.id, process);
        }
    }
}

impl Set {
    /// Adds what a list has noted. A value stays between 0 and the largest.
    fn take_back(&self, list: u64, process: u32) {
        let mut state = self.state.lock();
        let Some(row) = state.values.adjustments.remove(&list) else { return };
        if state.removed {
            return;
        }
        for (semaphore, change) in state.values.semaphores.iter_mut().zip(&row).filter(|(_, change)| **change != 0) {
            semaphore.value = (semaphore.value + i32::from(*change)).clamp(0, MAX_VALUE);
            semaphore.process = process;
        }
        let wakes = state.settle();
        drop(state);
        self.wake(wakes);
    }
}
