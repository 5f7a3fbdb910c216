//! The objects of one kind, by id and by key.
//!
//! An id is an index and, above it, a number that changes whenever the index is given again, so that an id outlives its
//! object without ever meaning another soon.

use crate::limits::{Limit, MOST};
use crate::perm::Permissions;
use crate::{CREATE, Caller, EXCLUSIVE, PRIVATE};
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, rank};
use executor::spin::SpinLock;

/// Bits of an id that are the index.
const INDEX_BITS: u32 = MOST.ilog2();

/// What a registry holds.
pub trait Object {
    /// Who may use it, and its key.
    fn permissions(&self) -> Permissions;

    /// It has its id now.
    fn set_id(&self, id: i32);
}

/// How a call names an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ById {
    /// By its id.
    Id(i32),
    /// By its index, as `*_STAT` does.
    Index(i32),
}

enum Entry<T> {
    Free,
    /// Until it is removed.
    Held(Arc<T>),
    /// Removed, and still there for those who use it.
    Dying(Weak<T>),
}

struct Slot<T> {
    /// Counts the objects that had this index.
    sequence: u16,
    entry: Entry<T>,
}

struct Ids<T> {
    slots: Vec<Slot<T>>,
    keys: BTreeMap<i32, usize>,
    used: usize,
    /// No index below is free.
    first_free: usize,
}

/// The objects of one kind.
pub struct Registry<T>(SpinLock<Ids<T>>);

impl<T> Entry<T> {
    fn get(&self) -> Option<Arc<T>> {
        match self {
            Entry::Free => None,
            Entry::Held(object) => Some(object.clone()),
            Entry::Dying(object) => object.upgrade(),
        }
    }
}

fn split(id: i32) -> (usize, u16) {
    (id as usize & (MOST - 1), (id as u32 >> INDEX_BITS) as u16)
}

impl<T: Object> Registry<T> {
    pub(crate) const fn new() -> Registry<T> {
        let ids = Ids { slots: Vec::new(), keys: BTreeMap::new(), used: 0, first_free: 0 };
        Registry(SpinLock::new(rank::IPC_REGISTRY, ids))
    }

    /// semget(2), msgget(2), shmget(2): the id of the object with this key, or of a new one. `fits` says whether an object that
    /// there is will do. ENOENT, EEXIST, EACCES, ENOSPC, ENOMEM, and what `make` and `fits` give.
    pub(crate) fn get(
        &self,
        caller: &Caller,
        key: i32,
        flags: u32,
        limit: &Limit,
        fits: impl Fn(&T) -> Result<(), Errno>,
        make: impl FnOnce() -> Result<Arc<T>, Errno>,
    ) -> Result<i32, Errno> {
        // Their number is limited, their memory is not.
        let make = || {
            memory::admit(1024).map_err(|_| Errno::ENOMEM)?;
            make()
        };
        let mut new = None;
        if key == PRIVATE {
            new = Some(make()?);
        } else if self.find_key(key).is_none() {
            if flags & CREATE == 0 {
                return Err(Errno::ENOENT);
            }
            new = Some(make()?);
        }
        if let Some(new) = new
            && let Some(id) = self.insert(key, &new, limit)?
        {
            return Ok(id);
        }
        // There is one, or another was faster to make it.
        if flags & (CREATE | EXCLUSIVE) == CREATE | EXCLUSIVE {
            return Err(Errno::EEXIST);
        }
        let (id, object) = self.find_key(key).ok_or(Errno::ENOENT)?;
        fits(&object)?;
        object.permissions().check(caller.cred, flags)?;
        Ok(id)
    }

    fn find_key(&self, key: i32) -> Option<(i32, Arc<T>)> {
        let ids = self.0.lock();
        let index = *ids.keys.get(&key)?;
        let slot = &ids.slots[index];
        Some((id_of(index, slot.sequence), slot.entry.get()?))
    }

    /// Gives a new object an id; `None` if its key is taken. ENOSPC, ENOMEM.
    fn insert(&self, key: i32, object: &Arc<T>, limit: &Limit) -> Result<Option<i32>, Errno> {
        let mut ids = self.0.lock();
        if key != PRIVATE && ids.keys.contains_key(&key) {
            return Ok(None);
        }
        if ids.used as u64 >= limit.get() || ids.used >= MOST {
            return Err(Errno::ENOSPC);
        }
        let from = ids.first_free;
        let free = ids.slots[from..].iter().position(|slot| matches!(slot.entry, Entry::Free));
        let index = free.map_or(ids.slots.len(), |at| from + at);
        if index == ids.slots.len() {
            ids.slots.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            ids.slots.push(Slot { sequence: 0, entry: Entry::Free });
        }
        ids.first_free = index + 1;
        ids.used += 1;
        if key != PRIVATE {
            ids.keys.insert(key, index);
        }
        let slot = &mut ids.slots[index];
        slot.entry = Entry::Held(object.clone());
        let id = id_of(index, slot.sequence);
        object.set_id(id);
        Ok(Some(id))
    }

    /// The object that a call names. EINVAL if there is none, EIDRM for an id whose index has been given again.
    pub fn find(&self, which: ById) -> Result<Arc<T>, Errno> {
        let (index, sequence) = match which {
            ById::Id(id) if id >= 0 => (split(id).0, Some(split(id).1)),
            ById::Index(index) if index >= 0 => (index as usize & (MOST - 1), None),
            _ => return Err(Errno::EINVAL),
        };
        let ids = self.0.lock();
        let slot = ids.slots.get(index).ok_or(Errno::EINVAL)?;
        let object = slot.entry.get().ok_or(Errno::EINVAL)?;
        if sequence.is_some_and(|sequence| sequence != slot.sequence) {
            drop(ids);
            return Err(Errno::EIDRM);
        }
        Ok(object)
    }

    /// Takes an object out that was removed; `false` if another was faster.
    pub(crate) fn remove(&self, id: i32, object: &Arc<T>) -> bool {
        let mut ids = self.0.lock();
        let (index, _) = split(id);
        match ids.slots.get(index) {
            Some(Slot { entry: Entry::Held(held), .. }) if Arc::ptr_eq(held, object) => {}
            _ => return false,
        }
        ids.forget_key(object.permissions().key, index);
        let entry = ids.free(index);
        drop(ids);
        // The caller has another reference, so nothing ends here.
        drop(entry);
        true
    }

    /// An object that was removed and that somebody uses goes with its last user, who calls [`Registry::gone`]. Its key names
    /// it no more.
    pub(crate) fn remove_when_unused(&self, id: i32, key: i32, object: &Arc<T>) {
        let mut ids = self.0.lock();
        let (index, _) = split(id);
        if let Some(slot) = ids.slots.get_mut(index)
            && matches!(&slot.entry, Entry::Held(held) if Arc::ptr_eq(held, object))
        {
            let held = core::mem::replace(&mut slot.entry, Entry::Dying(Arc::downgrade(object)));
            ids.forget_key(key, index);
            drop(ids);
            drop(held);
        }
    }

    /// The object with this id, which was dying, is dropped.
    pub(crate) fn gone(&self, id: i32) {
        let mut ids = self.0.lock();
        let (index, sequence) = split(id);
        let dying = |slot: &Slot<T>| slot.sequence == sequence && matches!(slot.entry, Entry::Dying(_));
        if ids.slots.get(index).is_some_and(dying) {
            let entry = ids.free(index);
            drop(ids);
            drop(entry);
        }
    }

    /// Up to 32 objects from `index` on, each with its id.
    pub(crate) fn from(&self, index: usize) -> Vec<(i32, Arc<T>)> {
        const BATCH: usize = 32;
        let mut found = Vec::with_capacity(BATCH);
        let ids = self.0.lock();
        for (index, slot) in ids.slots.iter().enumerate().skip(index) {
            if let Some(object) = slot.entry.get() {
                found.push((id_of(index, slot.sequence), object));
                if found.len() == BATCH {
                    break;
                }
            }
        }
        drop(ids);
        found
    }

    /// How many there are, and the highest index in use (0 without any).
    pub fn usage(&self) -> (usize, usize) {
        let ids = self.0.lock();
        let highest = ids.slots.iter().rposition(|slot| !matches!(slot.entry, Entry::Free));
        (ids.used, highest.unwrap_or(0))
    }
}

impl<T> Ids<T> {
    fn forget_key(&mut self, key: i32, index: usize) {
        if self.keys.get(&key) == Some(&index) {
            self.keys.remove(&key);
        }
    }

    fn free(&mut self, index: usize) -> Entry<T> {
        self.used -= 1;
        self.first_free = self.first_free.min(index);
        let slot = &mut self.slots[index];
        slot.sequence = (slot.sequence + 1) & (u16::MAX >> 1);
        core::mem::replace(&mut slot.entry, Entry::Free)
    }
}

fn id_of(index: usize, sequence: u16) -> i32 {
    (u32::from(sequence) << INDEX_BITS | index as u32) as i32
}

/// The index part of an id.
pub(crate) fn index_of(id: i32) -> usize {
    split(id).0
}
