//! mprotect(2), and locking in memory (mlock(2)).

use super::gather::Gather;
use super::table::load;
use super::unmap::AT_ONCE;
use super::{Flags, Inner, Limits, STEPS, Space, map, range_end};
use crate::frames::{Frame, Kind};
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::{Perm, USER_END};
use base::Errno;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire};
use executor::Budget;

impl Space {
    /// mprotect(2). `prot` is of READ, WRITE, EXEC; with `grows_down`, from the start of the stack area on (PROT_GROWSDOWN).
    /// Waits for the space and for other CPUs. EINVAL for a bad range, ENOMEM where nothing is mapped or there would be too many areas,
    /// EACCES where the object forbids it.
    pub async fn protect(
        &self,
        start: VirtAddr,
        len: usize,
        prot: Flags,
        grows_down: bool,
        limits: &Limits,
    ) -> Result<(), Errno> {
        if !start.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let end = range_end(start.0, len).ok_or(Errno::ENOMEM)?;
        let mut start = start.0;
        let mut inner = self.write().await;
        if grows_down {
            let area = inner.areas.at(start).ok_or(Errno::ENOMEM)?;
            if !area.flags.contains(Flags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
            start = area.start;
        }
        check(&inner, start, end, prot, limits)?;
        inner.areas.isolate(start, end)?;
        let pieces = Space::pieces(&inner, start, end)?;
        inner.areas.change(start, end, |flags| (flags - Flags::PROT) | prot);
        let mut gather = Gather::new(&self.root);
        for (start, end, old) in pieces {
            let new = (old - Flags::PROT) | prot;
            if old.perm() != new.perm() {
                self.protect_pages(&inner, start, end, new, &mut gather).await;
            }
        }
        gather.flush().await;
        Ok(())
    }

    /// As [`Space::protect`] without `grows_down`, and without waiting, for a few pages of one area. `None` and `Ok(false)` are as for
    /// [`Space::try_unmap`].
    pub fn try_protect(
        &self,
        start: VirtAddr,
        len: usize,
        prot: Flags,
        limits: &Limits,
    ) -> Option<Result<bool, Errno>> {
        let (start, end) = (start.0, range_end(start.0, len).filter(|_| start.is_page_aligned())?);
        if end - start > AT_ONCE || !self.root.is_private() {
            return None;
        }
        let mut inner = self.try_write()?;
        let old = inner.areas.at(start).filter(|area| end <= area.end)?.flags;
        Some(self.protect_at_once(&mut inner, start, end, old, prot, limits))
    }

    fn protect_at_once(
        &self,
        inner: &mut Inner,
        start: usize,
        end: usize,
        old: Flags,
        prot: Flags,
        limits: &Limits,
    ) -> Result<bool, Errno> {
        check(inner, start, end, prot, limits)?;
        inner.areas.isolate(start, end)?;
        inner.areas.change(start, end, |flags| (flags - Flags::PROT) | prot);
        let new = (old - Flags::PROT) | prot;
        let mut gather = Gather::new(&self.root);
        if old.perm() != new.perm() {
            inner.tables.walk(start, end, |addr, slot| {
                protect_entry(addr, slot, new, &mut gather);
                true
            });
        }
        Ok(inner.settle(gather))
    }

    /// Makes the entries of `start..end` allow what `flags` say, stores only where no copy has to be made first.
    async fn protect_pages(&self, inner: &Inner, start: usize, end: usize, flags: Flags, gather: &mut Gather) {
        let mut budget = Budget::new(STEPS);
        let mut at = start;
        while at < end {
            at = inner.tables.walk(at, end.min(at.saturating_add(super::table::LEAF_SPAN)), |addr, slot| {
                protect_entry(addr, slot, flags, gather);
                true
            });
            budget.spend(64).await;
        }
    }

    /// mlock(2), and mlock2(2) with MLOCK_ONFAULT where not `populate`. ENOMEM where nothing is mapped or the limit is reached,
    /// EINVAL for a bad range. There is no swap, so it only counts, and maps what is not there yet.
    pub async fn lock(&self, start: VirtAddr, len: usize, populate: bool, limits: &Limits) -> Result<(), Errno> {
        let (start, end) = lock_range(start, len)?;
        if start == end {
            return Ok(());
        }
        let mut inner = self.write().await;
        let fresh: usize = inner
            .areas
            .over(start, end)
            .filter(|area| !area.flags.contains(Flags::LOCKED))
            .map(|area| (area.end.min(end) - area.start.max(start)) / PAGE_SIZE)
            .sum();
        if inner.areas.locked_pages + fresh > limits.memlock / PAGE_SIZE || !inner.areas.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        set_locked(&mut inner, start, end, true)?;
        let pieces = Space::pieces(&inner, start, end)?;
        drop(inner);
        if populate {
            self.populate_pieces(pieces).await?;
        }
        Ok(())
    }

    async fn populate_pieces(&self, pieces: alloc::vec::Vec<(usize, usize, Flags)>) -> Result<(), Errno> {
        for (start, end, flags) in pieces {
            if (flags & Flags::PROT).is_empty() {
                continue;
            }
            self.populate(start, end, flags.is_private_writable()).await.map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }

    /// munlock(2). ENOMEM where nothing is mapped, EINVAL for a bad range.
    pub async fn unlock(&self, start: VirtAddr, len: usize) -> Result<(), Errno> {
        let (start, end) = lock_range(start, len)?;
        let mut inner = self.write().await;
        if !inner.areas.covers(start, end) {
            return Err(Errno::ENOMEM);
        }
        set_locked(&mut inner, start, end, false)
    }

    /// mlockall(2): what is mapped `now`, what will be mapped in `future`; `populate` unless MCL_ONFAULT. ENOMEM where
    /// the limit is reached.
    pub async fn lock_all(&self, now: bool, future: bool, populate: bool, limits: &Limits) -> Result<(), Errno> {
        let mut inner = self.write().await;
        if now && inner.areas.pages > limits.memlock / PAGE_SIZE {
            return Err(Errno::ENOMEM);
        }
        inner.lock_future = future;
        if !now {
            return Ok(());
        }
        inner.areas.change(0, USER_END.0, |flags| flags | Flags::LOCKED);
        let pieces = Space::pieces(&inner, 0, USER_END.0)?;
        drop(inner);
        if populate {
            // As mlockall(2) has it, pages that cannot be had are no error.
            let _ = self.populate_pieces(pieces).await;
        }
        Ok(())
    }

    /// munlockall(2).
    pub async fn unlock_all(&self) {
        let mut inner = self.write().await;
        inner.lock_future = false;
        inner.areas.change(0, USER_END.0, |flags| flags - Flags::LOCKED);
    }
}

fn check(inner: &Inner, start: usize, end: usize, prot: Flags, limits: &Limits) -> Result<(), Errno> {
    if !inner.areas.covers(start, end) {
        return Err(Errno::ENOMEM);
    }
    let mut more_data = 0;
    for area in inner.areas.over(start, end) {
        let allowed = Flags::from_bits_truncate((area.flags & Flags::MAY).bits() >> 4);
        if area.flags.contains(Flags::SPECIAL) || !allowed.contains(prot) {
            return Err(Errno::EACCES);
        }
        let new = (area.flags - Flags::PROT) | prot;
        if super::areas::is_data(new) && !super::areas::is_data(area.flags) {
            more_data += (area.end.min(end) - area.start.max(start)) / PAGE_SIZE;
        }
    }
    if more_data > 0 {
        map::check_growth(inner, more_data, more_data, Flags::WRITE | Flags::NORESERVE, limits)?;
    }
    Ok(())
}

/// Makes an entry that is present allow what `flags` say, with the space held.
#[inline]
fn protect_entry(addr: usize, slot: &AtomicU64, flags: Flags, gather: &mut Gather) {
    let mut entry = load(slot);
    loop {
        // SAFETY: the entry owns the frame, and the space is held alone.
        let frame = unsafe { Frame::borrow(entry.addr()) };
        let own = !flags.contains(Flags::SHARED) && frame.kind() == Kind::Anonymous && frame.owners() == 1;
        let perm = if own || entry.perm().contains(Perm::WRITE) { flags.perm() } else { flags.perm() - Perm::WRITE };
        // The hardware may mark the entry meanwhile.
        match slot.compare_exchange(entry.bits(), entry.with_perm(perm).bits(), AcqRel, Acquire) {
            Ok(_) => {
                if !perm.contains(entry.perm()) {
                    gather.touch(addr);
                }
                if perm.contains(Perm::EXEC) && !entry.perm().contains(Perm::EXEC) {
                    arch::paging::sync_code(entry.addr());
                }
                return;
            }
            Err(bits) => entry = arch::paging::Entry::from_bits(bits),
        }
    }
}

fn lock_range(start: VirtAddr, len: usize) -> Result<(usize, usize), Errno> {
    let first = start.page_floor().0;
    let bytes = len.checked_add(start.page_offset()).ok_or(Errno::EINVAL)?;
    if bytes == 0 || len == 0 {
        return Ok((first, first));
    }
    Ok((first, range_end(first, bytes).ok_or(Errno::ENOMEM)?))
}

fn set_locked(inner: &mut Inner, start: usize, end: usize, locked: bool) -> Result<(), Errno> {
    inner.areas.isolate(start, end)?;
    inner.areas.change(start, end, |flags| if locked { flags | Flags::LOCKED } else { flags - Flags::LOCKED });
    Ok(())
}
