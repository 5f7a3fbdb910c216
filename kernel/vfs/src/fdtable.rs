//! The descriptor table of a process (`CLONE_FILES` shares one).
//!
//! One spin lock protects the table. Looking a descriptor up is lock, index, clone, unlock. The lowest free number is
//! found through two levels of bitmap words, from a hint below which nothing is free.
//! Descriptions are dropped outside the lock.

use crate::description::Description;
use crate::{locks, ranks};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Error, Result};
use core::ops::{Index, IndexMut, RangeInclusive};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use executor::spin::SpinLock;

/// The largest value that RLIMIT_NOFILE may have (/proc/sys/fs/nr_open).
pub const NR_OPEN: u32 = 1 << 20;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

const WORD: usize = u64::BITS as usize;

/// Numbers that a small table has room for: most programs open fewer.
const SMALL: usize = 16;

/// Words of bits, of which the first takes no memory of its own.
#[derive(Default)]
struct Words {
    first: u64,
    more: Vec<u64>,
}

impl Words {
    fn len(&self) -> usize {
        1 + self.more.len()
    }

    fn get(&self, at: usize) -> Option<u64> {
        if at == 0 { Some(self.first) } else { self.more.get(at - 1).copied() }
    }

    fn reserve(&mut self, len: usize) -> Result<()> {
        let more = len.saturating_sub(self.len());
        Ok(self.more.try_reserve_exact(more).map_err(|_| Errno::ENOMEM)?)
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = u64> {
        core::iter::once(self.first).chain(self.more.iter().copied())
    }

    /// The first bit that is set in `start..end`.
    fn next(&self, start: usize, end: usize) -> Option<usize> {
        let mut mask = !0 << (start % WORD);
        for word in start / WORD..end.div_ceil(WORD).min(self.len()) {
            let bits = self[word] & mask;
            if bits != 0 {
                return Some(word * WORD + bits.trailing_zeros() as usize).filter(|bit| *bit < end);
            }
            mask = !0;
        }
        None
    }
}

impl Index<usize> for Words {
    type Output = u64;
    fn index(&self, at: usize) -> &u64 {
        if at == 0 { &self.first } else { &self.more[at - 1] }
    }
}

impl IndexMut<usize> for Words {
    fn index_mut(&mut self, at: usize) -> &mut u64 {
        if at == 0 { &mut self.first } else { &mut self.more[at - 1] }
    }
}

/// A descriptor table.
pub struct FdTable {
    /// Tells this table from all others that ever were.
    id: u64,
    slots: SpinLock<Slots>,
    /// Whether a record lock was ever taken through this table: closing then looks for some to release.
    record_locks: AtomicBool,
}

#[derive(Default)]
struct Slots {
    /// By number. A number in use without a description is reserved.
    open: Vec<Option<Arc<Description>>>,
    /// A bit for each number in use.
    used: Words,
    /// A bit for each word of `used` that has no zero.
    full: Words,
    /// A bit for each number that execve closes.
    cloexec: Words,
    /// Nothing below is free.
    hint: usize,
}

impl Slots {
    /// The lowest free number from `min` on; the end of the table if there is none in it.
    fn lowest_free(&self, min: usize) -> usize {
        let start = min.max(self.hint);
        let (mut word, bit) = (start / WORD, start % WORD);
        if let Some(used) = self.used.get(word) {
            let free = !used & (!0 << bit);
            if free != 0 {
                return word * WORD + free.trailing_zeros() as usize;
            }
            word += 1;
        } else {
            return start;
        }
        let mut group = word / WORD;
        let mut mask = !0u64 << (word % WORD);
        while let Some(full) = self.full.get(group) {
            let free = !full & mask;
            if free != 0 {
                let word = group * WORD + free.trailing_zeros() as usize;
                return match self.used.get(word) {
                    Some(used) => word * WORD + (!used).trailing_zeros() as usize,
                    None => self.used.len() * WORD,
                };
            }
            mask = !0;
            group += 1;
        }
        self.used.len() * WORD
    }

    /// Makes room for number `fd`. ENOMEM.
    fn grow(&mut self, fd: usize) -> Result<()> {
        if fd < self.open.len() {
            return Ok(());
        }
        let len = match fd {
            ..SMALL => SMALL,
            _ => (fd + 1).next_multiple_of(WORD).max(self.open.len().saturating_mul(2)).min(NR_OPEN as usize),
        };
        let words = len.div_ceil(WORD);
        let groups = words.div_ceil(WORD);
        self.open.try_reserve_exact(len - self.open.len()).map_err(|_| Errno::ENOMEM)?;
        if words == 1 {
            self.open.resize(len, None);
            return Ok(());
        }
        self.used.reserve(words)?;
        self.cloexec.reserve(words)?;
        self.full.reserve(groups)?;
        self.open.resize(len, None);
        self.used.more.resize(words - 1, 0);
        self.cloexec.more.resize(words - 1, 0);
        self.full.more.resize(groups - 1, 0);
        Ok(())
    }

    fn is_used(&self, fd: usize) -> bool {
        self.used.get(fd / WORD).is_some_and(|word| word >> (fd % WORD) & 1 != 0)
    }

    /// Marks `fd`, for which there is room, as in use.
    fn mark(&mut self, fd: usize, cloexec: bool) {
        let (word, bit) = (fd / WORD, 1u64 << (fd % WORD));
        self.used[word] |= bit;
        if self.used[word] == !0 {
            self.full[word / WORD] |= 1 << (word % WORD);
        }
        self.set_cloexec(fd, cloexec);
    }

    fn set_cloexec(&mut self, fd: usize, on: bool) {
        let (word, bit) = (fd / WORD, 1u64 << (fd % WORD));
        if on {
            self.cloexec[word] |= bit;
        } else {
            self.cloexec[word] &= !bit;
        }
    }

    /// Frees `fd`; gives what was open there.
    fn clear(&mut self, fd: usize) -> Option<Arc<Description>> {
        let (word, bit) = (fd / WORD, 1u64 << (fd % WORD));
        self.used[word] &= !bit;
        self.cloexec[word] &= !bit;
        self.full[word / WORD] &= !(1 << (word % WORD));
        self.hint = self.hint.min(fd);
        self.open[fd].take()
    }

    fn take_lowest(&mut self, min: usize, limit: usize, cloexec: bool) -> Result<usize> {
        let fd = self.lowest_free(min);
        if fd >= limit.min(NR_OPEN as usize) {
            return Err(Errno::EMFILE.into());
        }
        self.grow(fd)?;
        self.mark(fd, cloexec);
        if min <= self.hint {
            self.hint = fd + 1;
        }
        Ok(fd)
    }
}

impl Default for FdTable {
    fn default() -> FdTable {
        FdTable::new()
    }
}

impl FdTable {
    /// An empty table.
    pub fn new() -> FdTable {
        FdTable {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            slots: SpinLock::new(ranks::FD_TABLE, Slots::default()),
            record_locks: AtomicBool::new(false),
        }
    }

    /// What is open as `fd`. EBADF.
    #[inline]
    pub fn get(&self, fd: u32) -> Result<Arc<Description>> {
        let slots = self.slots.lock();
        match slots.open.get(fd as usize) {
            Some(Some(description)) => Ok(description.clone()),
            _ => Err(Errno::EBADF.into()),
        }
    }

    /// Opens `description` as the lowest free number that is at least `min` and below `limit` (RLIMIT_NOFILE). EMFILE, ENOMEM.
    pub fn open_from(&self, description: Arc<Description>, min: u32, limit: u64, cloexec: bool) -> Result<u32> {
        let mut slots = self.slots.lock();
        match slots.take_lowest(min as usize, limit_of(limit), cloexec) {
            Ok(fd) => {
                slots.open[fd] = Some(description);
                Ok(fd as u32)
            }
            Err(error) => {
                drop(slots);
                drop(description);
                Err(error)
            }
        }
    }

    /// Opens `description` as the lowest free number below `limit`.
    pub fn open(&self, description: Arc<Description>, limit: u64, cloexec: bool) -> Result<u32> {
        self.open_from(description, 0, limit, cloexec)
    }

    /// Takes the lowest free number without opening anything there yet, so that a call that cannot be undone does not
    /// fail afterwards. [`FdTable::fill`] or [`FdTable::release`] must follow.
    pub fn reserve(&self, limit: u64, cloexec: bool) -> Result<u32> {
        self.slots.lock().take_lowest(0, limit_of(limit), cloexec).map(|fd| fd as u32)
    }

    /// Opens `description` as the reserved number `fd`.
    pub fn fill(&self, fd: u32, description: Arc<Description>) {
        let mut slots = self.slots.lock();
        let old = match slots.open.get_mut(fd as usize) {
            Some(slot) => slot.replace(description),
            None => Some(description),
        };
        drop(slots);
        drop(old);
    }

    /// Gives the reserved number `fd` back.
    pub fn release(&self, fd: u32) {
        let mut slots = self.slots.lock();
        let reserved = slots.is_used(fd as usize) && slots.open[fd as usize].is_none();
        let old = if reserved { slots.clear(fd as usize) } else { None };
        drop(slots);
        drop(old);
    }

    /// dup2(2), dup3(2) for different numbers: opens what `from` is as `to`, closing what was there.
    /// EBADF (`from`, or `to` not below `limit`), EBUSY (`to` is about to be opened), ENOMEM.
    pub fn dup_to(&self, from: u32, to: u32, limit: u64, cloexec: bool) -> Result<u32> {
        let at = to as usize;
        if at >= limit_of(limit) {
            return Err(Errno::EBADF.into());
        }
        let mut slots = self.slots.lock();
        let Some(Some(description)) = slots.open.get(from as usize) else { return Err(Errno::EBADF.into()) };
        let description = description.clone();
        let outcome = slots.grow(at).and_then(|()| {
            if slots.is_used(at) && slots.open[at].is_none() { Err(Errno::EBUSY.into()) } else { Ok(()) }
        });
        if let Err(error) = outcome {
            drop(slots);
            return Err(error);
        }
        slots.mark(at, cloexec);
        let old = slots.open[at].replace(description);
        drop(slots);
        if let Some(old) = old {
            self.closed(old);
        }
        Ok(to)
    }

    /// F_DUPFD, and dup(2) with `min` 0. EBADF, EINVAL (`min` not below `limit`), EMFILE.
    pub fn dup_from(&self, from: u32, min: u32, limit: u64, cloexec: bool) -> Result<u32> {
        let description = self.get(from)?;
        if min as usize >= limit_of(limit) {
            return Err(Errno::EINVAL.into());
        }
        self.open_from(description, min, limit, cloexec)
    }

    /// close(2). EBADF; [`Error::WouldBlock`] if it may have to wait: see [`take_last`](FdTable::take_last).
    pub fn close(&self, fd: u32) -> Result<()> {
        let mut slots = self.slots.lock();
        let Some(Some(slot)) = slots.open.get(fd as usize) else { return Err(Errno::EBADF.into()) };
        if is_last_and_lingers(slot) {
            return Err(Error::WouldBlock);
        }
        let old = slots.clear(fd as usize);
        drop(slots);
        if let Some(old) = old {
            self.closed(old);
        }
        Ok(())
    }

    /// Takes the number away from a file that may have to wait before it is closed, which dropping what this returns does. `None` if
    /// it need not, and `fd` stays. EBADF.
    pub fn take_last(&self, fd: u32) -> Result<Option<Arc<Description>>> {
        let mut slots = self.slots.lock();
        let Some(Some(slot)) = slots.open.get(fd as usize) else { return Err(Errno::EBADF.into()) };
        if !is_last_and_lingers(slot) {
            return Ok(None);
        }
        Ok(slots.clear(fd as usize))
    }

    /// close_range(2) without its flags: closes every number in `range`.
    pub fn close_range(&self, range: RangeInclusive<u32>) {
        let (mut fd, last) = (*range.start() as usize, *range.end() as usize);
        loop {
            let closed = {
                let mut slots = self.slots.lock();
                let end = slots.open.len().min(last.saturating_add(1));
                let Some(found) = slots.used.next(fd, end) else { return };
                fd = found + 1;
                // A number that is only reserved belongs to the call that is about to open it.
                if slots.open[found].is_some() { slots.clear(found) } else { None }
            };
            if let Some(closed) = closed {
                self.closed(closed);
            }
        }
    }

    /// Whether execve closes `fd` (F_GETFD). EBADF.
    pub fn cloexec(&self, fd: u32) -> Result<bool> {
        let slots = self.slots.lock();
        match slots.open.get(fd as usize) {
            Some(Some(_)) => Ok(slots.cloexec[fd as usize / WORD] >> (fd as usize % WORD) & 1 != 0),
            _ => Err(Errno::EBADF.into()),
        }
    }

    /// Sets whether execve closes `fd` (F_SETFD, FIOCLEX). EBADF.
    pub fn set_cloexec(&self, fd: u32, on: bool) -> Result<()> {
        let mut slots = self.slots.lock();
        match slots.open.get(fd as usize) {
            Some(Some(_)) => {
                slots.set_cloexec(fd as usize, on);
                Ok(())
            }
            _ => Err(Errno::EBADF.into()),
        }
    }

    /// Makes execve close every number in `range` that is open (CLOSE_RANGE_CLOEXEC).
    pub fn set_cloexec_range(&self, range: RangeInclusive<u32>) {
        let mut slots = self.slots.lock();
        let end = slots.open.len().min((*range.end() as usize).saturating_add(1));
        for fd in *range.start() as usize..end {
            if slots.is_used(fd) {
                slots.set_cloexec(fd, true);
            }
        }
    }

    /// Closes what execve closes.
    pub fn close_on_exec(&self) {
        let mut word = 0;
        loop {
            let closed = {
                let mut slots = self.slots.lock();
                loop {
                    match slots.cloexec.get(word) {
                        None => return,
                        Some(0) => word += 1,
                        Some(bits) => {
                            let fd = word * WORD + bits.trailing_zeros() as usize;
                            break slots.clear(fd);
                        }
                    }
                }
            };
            if let Some(closed) = closed {
                self.closed(closed);
            }
        }
    }

    /// A copy, for a child without `CLONE_FILES`. ENOMEM.
    pub fn fork(&self) -> Result<Arc<FdTable>> {
        let mut table = Arc::new(FdTable::new());
        // Nobody else has it yet.
        let Some(copy) = Arc::get_mut(&mut table).map(|table| table.slots.get_mut()) else { return Ok(table) };
        let slots = self.slots.lock();
        let words = slots.used.len();
        if let Some(last) = (0..words).rev().find(|word| slots.used[*word] != 0) {
            copy.grow(last * WORD + slots.used[last].ilog2() as usize)?;
            for word in 0..=last {
                let (mut bits, mut open) = (slots.used[word], 0);
                while bits != 0 {
                    let fd = word * WORD + bits.trailing_zeros() as usize;
                    // A number that is only reserved belongs to a call of the parent's.
                    if let Some(description) = &slots.open[fd] {
                        copy.open[fd] = Some(description.clone());
                        open |= bits & bits.wrapping_neg();
                    }
                    bits &= bits - 1;
                }
                copy.used[word] = open;
                copy.cloexec[word] = slots.cloexec[word] & open;
                if open == !0 {
                    copy.full[word / WORD] |= 1 << (word % WORD);
                }
            }
        }
        drop(slots);
        Ok(table)
    }

    /// Calls `f` with every open number from `from` on, until it says false. For /proc/PID/fd. `f` runs without the
    /// lock.
    pub fn each(&self, from: u32, mut f: impl FnMut(u32, &Arc<Description>) -> bool) {
        let mut fd = from as usize;
        loop {
            let found = {
                let slots = self.slots.lock();
                (fd..slots.open.len()).find_map(|fd| slots.open[fd].clone().map(|description| (fd, description)))
            };
            let Some((at, description)) = found else { return };
            if !f(at as u32, &description) {
                return;
            }
            fd = at + 1;
        }
    }

    /// How many numbers are in use.
    pub fn count(&self) -> usize {
        self.slots.lock().used.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many numbers the table has room for (FDSize in /proc/PID/status).
    pub fn capacity(&self) -> usize {
        self.slots.lock().open.len()
    }

    /// This table as the owner of record locks.
    pub fn lock_owner(&self) -> locks::OwnerKey {
        locks::OwnerKey::Table(self.id)
    }

    /// A record lock is about to be taken for this table.
    pub fn note_record_lock(&self) {
        self.record_locks.store(true, Ordering::Relaxed);
    }

    /// A number that led to `description` is closed: its process's record locks on the file go (fcntl(2)), whatever
    /// other descriptors there are.
    fn closed(&self, description: Arc<Description>) {
        if self.record_locks.load(Ordering::Relaxed) {
            locks::release_records(&description, self.lock_owner());
        }
        drop(description);
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        for description in core::mem::take(&mut self.slots.get_mut().open).into_iter().flatten() {
            self.closed(description);
        }
    }
}

/// Whether to close it may have to wait: nobody else has it.
fn is_last_and_lingers(description: &Arc<Description>) -> bool {
    description.file().lingers() && Arc::strong_count(description) == 1
}

fn limit_of(limit: u64) -> usize {
    limit.min(u64::from(NR_OPEN)) as usize
}

#[cfg(test)]
mod tests;
