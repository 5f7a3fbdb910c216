//! File locks: flock(2), and byte-range record locks (fcntl(2)), traditional and of open file descriptions.
//!
//! Locks of a file live in one record, found by device and inode number while there are any. Taking a lock never waits:
//! a conflict is [`Error::WouldBlock`], and the record's queue tells of every release.

use crate::description::Description;
use crate::ranks;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result};
use core::sync::atomic::{AtomicU64, Ordering};
use executor::WaitQueue;
use executor::spin::SpinLock;

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnerKey {
    /// A process, by its descriptor table's number: traditional record locks.
    Table(u64),
    /// An open file description, by its address while it exists: flock, and OFD locks.
    Description(usize),
}

impl OwnerKey {
    /// An open file description as an owner.
    pub fn description(description: &Description) -> OwnerKey {
        OwnerKey::Description(core::ptr::from_ref(description).addr())
    }
}

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// LOCK_SH, F_RDLCK.
    Shared,
    /// LOCK_EX, F_WRLCK.
    Exclusive,
}

/// A record lock, held or wanted: bytes `start` to `end`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who.
    pub owner: OwnerKey,
    /// The process that F_GETLK reports; 0 for an OFD lock, which shows as -1.
    pub process: u32,
    /// The kind.
    pub kind: Kind,
    /// The first byte.
    pub start: u64,
    /// The last byte; `i64::MAX` if the lock goes to the end, however far that moves.
    pub end: u64,
}

impl Record {
    fn overlaps(&self, other: &Record) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn conflicts(&self, other: &Record) -> bool {
        self.owner != other.owner
            && self.overlaps(other)
            && (self.kind == Kind::Exclusive || other.kind == Kind::Exclusive)
    }
}

/// The bytes that `l_start` (from `base`, the position that `l_whence` names) and `l_len` mean. EINVAL, EOVERFLOW.
pub fn range(base: u64, start: i64, len: i64) -> Result<(u64, u64)> {
    const LAST: u64 = i64::MAX as u64;
    let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
    let start = base.checked_add(start).ok_or(Errno::EOVERFLOW)?;
    let first = if len < 0 { start.checked_add(len).ok_or(Errno::EINVAL)? } else { start };
    let first = u64::try_from(first).map_err(|_| Errno::EINVAL)?;
    let last = match len {
        0 => LAST,
        1.. => start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)? as u64,
        // start + len was not negative, so start is at least 1.
        _ => start as u64 - 1,
    };
    Ok((first, last))
}

/// The locks of one file.
pub struct FileLocks {
    state: SpinLock<State>,
    queue: WaitQueue,
}

impl Default for FileLocks {
    fn default() -> FileLocks {
        FileLocks { state: SpinLock::new(ranks::LOCKS, State::default()), queue: WaitQueue::new() }
    }
}

#[derive(Default)]
struct State {
    flocks: Vec<(OwnerKey, Kind)>,
    /// Of one owner, disjoint.
    records: Vec<Record>,
}

type Key = (u64, u64);

/// The files that have locks.
static FILES: SpinLock<BTreeMap<Key, Arc<FileLocks>>> = SpinLock::new(ranks::LOCK_TABLE, BTreeMap::new());

fn key(description: &Description) -> Key {
    let m = description.metadata();
    (m.dev.encode(), m.ino)
}

/// The record of the file behind `description`; made if there is none.
pub fn of(description: &Description) -> Arc<FileLocks> {
    let key = key(description);
    FILES.lock().entry(key).or_default().clone()
}

fn existing(key: Key) -> Option<Arc<FileLocks>> {
    FILES.lock().get(&key).cloned()
}

/// Forgets the record of a file without locks that nobody waits for.
fn tidy(key: Key, locks: Arc<FileLocks>) {
    let mut files = FILES.lock();
    let idle = {
        let state = locks.state.lock();
        state.flocks.is_empty() && state.records.is_empty()
    };
    // The map's reference and ours: who waits, or is about to lock, has another.
    let gone = if idle && Arc::strong_count(&locks) == 2 { files.remove(&key) } else { None };
    drop(files);
    drop(gone);
}

impl FileLocks {
    /// Told (IN) of every release.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    fn released(&self) {
        self.queue.notify_all(Events::IN.bits());
    }
}

/// flock(2): takes a lock of `kind` for the description, in place of one that it has, or releases it. As on Linux, changing the
/// kind first gives up the old lock. [`Error::WouldBlock`]: await [`FileLocks::queue`] of [`of`]. ENOMEM.
pub fn flock(description: &Description, kind: Option<Kind>) -> Result<()> {
    let key = key(description);
    let owner = OwnerKey::description(description);
    let Some(kind) = kind else {
        release_flock(key, owner);
        return Ok(());
    };
    description.note_lock();
    let locks = of(description);
    let mut state = locks.state.lock();
    let held = state.flocks.iter().position(|(who, _)| *who == owner);
    if held.is_some_and(|at| state.flocks[at].1 == kind) {
        return Ok(());
    }
    if let Some(at) = held {
        state.flocks.swap_remove(at);
    }
    let conflict = state.flocks.iter().any(|(_, other)| kind == Kind::Exclusive || *other == Kind::Exclusive);
    let outcome = if conflict {
        Err(Error::WouldBlock)
    } else if state.flocks.try_reserve(1).is_err() {
        Err(Errno::ENOMEM.into())
    } else {
        state.flocks.push((owner, kind));
        Ok(())
    };
    drop(state);
    if held.is_some() {
        locks.released();
    }
    outcome
}

fn release_flock(key: Key, owner: OwnerKey) {
    let Some(locks) = existing(key) else { return };
    let mut state = locks.state.lock();
    let before = state.flocks.len();
    state.flocks.retain(|(who, _)| *who != owner);
    let released = state.flocks.len() != before;
    drop(state);
    if released {
        locks.released();
    }
    tidy(key, locks);
}

/// The first lock in the way of `wanted` (F_GETLK, F_OFD_GETLK).
pub fn conflict(description: &Description, wanted: &Record) -> Option<Record> {
    let key = key(description);
    let locks = existing(key)?;
    let found = locks.state.lock().records.iter().find(|held| held.conflicts(wanted)).copied();
    tidy(key, locks);
    found
}

/// F_SETLK and F_OFD_SETLK with a lock: EBADF without the access that the kind needs, ENOMEM;
/// [`Error::WouldBlock`] on conflict (EAGAIN).
pub fn set_record(description: &Description, wanted: &Record) -> Result<()> {
    check_access(description, wanted)?;
    let locks = of(description);
    try_set(&locks, wanted).map_err(|refused| match refused {
        Refused::By(_) => Error::WouldBlock,
        Refused::NoMemory => Errno::ENOMEM.into(),
    })
}

fn check_access(description: &Description, wanted: &Record) -> Result<()> {
    description.note_lock();
    match wanted.kind {
        Kind::Shared => description.check_readable(),
        Kind::Exclusive => description.check_writable(),
    }
}

enum Refused {
    By(OwnerKey),
    NoMemory,
}

fn try_set(locks: &FileLocks, wanted: &Record) -> Result<(), Refused> {
    let mut state = locks.state.lock();
    if let Some(held) = state.records.iter().find(|held| held.conflicts(wanted)) {
        return Err(Refused::By(held.owner));
    }
    // At most one lock is split in two, and one is added.
    state.records.try_reserve(2).map_err(|_| Refused::NoMemory)?;
    let changed = carve(&mut state.records, wanted);
    let mut merged = *wanted;
    state.records.retain(|held| {
        let joins = held.owner == merged.owner
            && held.kind == merged.kind
            && held.start <= merged.end.saturating_add(1)
            && merged.start <= held.end.saturating_add(1);
        if joins {
            merged.start = merged.start.min(held.start);
            merged.end = merged.end.max(held.end);
        }
        !joins
    });
    state.records.push(merged);
    drop(state);
    // An exclusive lock may have become a shared one.
    if changed {
        locks.released();
    }
    Ok(())
}

/// Takes the bytes of `cut` from its owner's locks; says whether there were any. The caller has reserved room for one more.
fn carve(records: &mut Vec<Record>, cut: &Record) -> bool {
    let mut changed = false;
    let mut tail = None;
    records.retain_mut(|held| {
        if held.owner != cut.owner || !held.overlaps(cut) {
            return true;
        }
        changed = true;
        let (left, right) = (held.start < cut.start, held.end > cut.end);
        if right {
            let rest = Record { start: cut.end + 1, ..*held };
            if !left {
                *held = rest;
                return true;
            }
            tail = Some(rest);
        }
        if left {
            held.end = cut.start - 1;
        }
        left
    });
    records.extend(tail);
    changed
}

/// F_UNLCK: releases `start` to `end`. ENOMEM (a lock would be split).
pub fn clear_record(description: &Description, owner: OwnerKey, start: u64, end: u64) -> Result<()> {
    let key = key(description);
    let Some(locks) = existing(key) else { return Ok(()) };
    let cut = Record { owner, process: 0, kind: Kind::Shared, start, end };
    let mut state = locks.state.lock();
    state.records.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    let changed = carve(&mut state.records, &cut);
    drop(state);
    if changed {
        locks.released();
    }
    tidy(key, locks);
    Ok(())
}

/// Releases every record lock of `owner` on the file behind `description`: a process closed a descriptor of it.
pub(crate) fn release_records(description: &Description, owner: OwnerKey) {
    release_owner(key(description), owner);
}

/// The last reference to a description that may have locks is gone.
pub(crate) fn release_description(description: &Description) {
    let key = key(description);
    let owner = OwnerKey::description(description);
    release_flock(key, owner);
    release_owner(key, owner);
}

fn release_owner(key: Key, owner: OwnerKey) {
    let Some(locks) = existing(key) else { return };
    let mut state = locks.state.lock();
    let before = state.records.len();
    state.records.retain(|held| held.owner != owner);
    let released = state.records.len() != before;
    drop(state);
    if released {
        locks.released();
    }
    tidy(key, locks);
}

/// Who waits for whom, by the number of the wait.
static WAITERS: SpinLock<BTreeMap<u64, (OwnerKey, OwnerKey)>> = SpinLock::new(ranks::LOCK_WAITERS, BTreeMap::new());
static NEXT_WAIT: AtomicU64 = AtomicU64::new(0);

/// A wait for a record lock (F_SETLKW). Dropping it gives up.
pub struct RecordWait {
    locks: Arc<FileLocks>,
    key: Key,
    wanted: Record,
    id: u64,
}

impl RecordWait {
    /// A wait for `wanted`. EBADF without the access that the kind needs.
    pub fn new(description: &Description, wanted: &Record) -> Result<RecordWait> {
        check_access(description, wanted)?;
        Ok(RecordWait {
            locks: of(description),
            key: key(description),
            wanted: *wanted,
            id: NEXT_WAIT.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Told (IN) when to try again.
    pub fn queue(&self) -> &WaitQueue {
        &self.locks.queue
    }

    /// Takes the lock: [`Error::WouldBlock`], ENOMEM, EDEADLK if who is in the way waits, in turn, for this owner.
    pub fn try_lock(&self) -> Result<()> {
        let refused = try_set(&self.locks, &self.wanted);
        let mut waiters = WAITERS.lock();
        match refused {
            Ok(()) => {
                waiters.remove(&self.id);
                Ok(())
            }
            Err(Refused::NoMemory) => Err(Errno::ENOMEM.into()),
            Err(Refused::By(holder)) => {
                let traditional = matches!(self.wanted.owner, OwnerKey::Table(_));
                if traditional && waits_for(&waiters, holder, self.wanted.owner) {
                    return Err(Errno::EDEADLK.into());
                }
                waiters.insert(self.id, (self.wanted.owner, holder));
                Err(Error::WouldBlock)
            }
        }
    }
}

/// Whether `from` waits for `to`, directly or through others. Chains are followed as far as there are waits.
fn waits_for(waiters: &BTreeMap<u64, (OwnerKey, OwnerKey)>, from: OwnerKey, to: OwnerKey) -> bool {
    let mut at = from;
    for _ in 0..=waiters.len() {
        match waiters.values().find(|(waiter, _)| *waiter == at) {
            Some((_, holder)) if *holder == to => return true,
            Some((_, holder)) => at = *holder,
            None => return false,
        }
    }
    false
}

impl Drop for RecordWait {
    fn drop(&mut self) {
        WAITERS.lock().remove(&self.id);
        let locks = core::mem::take(&mut self.locks);
        tidy(self.key, locks);
    }
}

#[cfg(test)]
mod tests;
