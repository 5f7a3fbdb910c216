//! mremap(2).

use super::area::Area;
use super::areas::MAX_AREAS;
use super::gather::Gather;
use super::table::load;
use super::{Flags, Inner, Limits, MIN_ADDR, STEPS, Space, map, range_end, round_len};
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::Entry;
use base::Errno;
use core::sync::atomic::Ordering::{AcqRel, Release};
use executor::Budget;

/// How mremap(2) may go about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remap {
    /// The mapping may move (MREMAP_MAYMOVE).
    pub may_move: bool,
    /// It moves here, in the place of what is there (MREMAP_FIXED).
    pub fixed: Option<VirtAddr>,
    /// The old range stays mapped, empty (MREMAP_DONTUNMAP).
    pub keep_old: bool,
}

impl Space {
    /// mremap(2): gives the address of the mapping. Waits for the space and for other CPUs.
    ///
    /// EINVAL for bad ranges or combinations, EFAULT where the old range is not one mapping, ENOMEM where there is no room
    /// or a limit is reached, EAGAIN where locked memory may not grow.
    pub async fn remap(
        &self,
        old: VirtAddr,
        old_len: usize,
        new_len: usize,
        how: Remap,
        limits: &Limits,
    ) -> Result<VirtAddr, Errno> {
        let new_len = round_len(new_len).ok_or(Errno::EINVAL)?;
        let duplicate = old_len == 0;
        let old_len = old_len.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::EINVAL)?;
        let (start, old_end) = (old.0, old.0.checked_add(old_len).ok_or(Errno::EINVAL)?);
        let bad = !old.is_page_aligned()
            || (how.fixed.is_some() || how.keep_old) && !how.may_move
            || how.keep_old && old_len != new_len;
        if bad {
            return Err(Errno::EINVAL);
        }
        if let Some(to) = how.fixed {
            let end = range_end(to.0, new_len).filter(|_| to.is_page_aligned()).ok_or(Errno::EINVAL)?;
            if to.0 < old_end && start < end {
                return Err(Errno::EINVAL);
            }
            if to.0 < MIN_ADDR {
                return Err(Errno::EPERM);
            }
        }
        let mut inner = self.write().await;
        inner.limits = *limits;
        let area = inner.areas.at(start).ok_or(Errno::EFAULT)?;
        let (flags, area_end, special) = (area.flags, area.end, area.flags.contains(Flags::SPECIAL));
        if duplicate && (!flags.contains(Flags::SHARED) || !how.may_move) || special && new_len != old_len {
            return Err(Errno::EINVAL);
        }
        if !duplicate && old_len > new_len && how.fixed.is_none() {
            self.unmap_locked(&mut inner, start + new_len, old_end).await?;
            return Ok(old);
        }
        if !duplicate && old_end > area_end {
            return Err(Errno::EFAULT);
        }
        let grows = if duplicate || how.keep_old { new_len } else { new_len.saturating_sub(old_len) };
        map::check_growth(&inner, grows / PAGE_SIZE, 0, flags, limits)?;
        if how.fixed.is_none() && !how.keep_old && !duplicate {
            if new_len == old_len {
                return Ok(old);
            }
            if old_end == area_end && grow_in_place(&mut inner, start, old_end, new_len) {
                drop(inner);
                if flags.contains(Flags::LOCKED) {
                    // The mapping stands even if there is no memory for all of it now.
                    let _ = self.populate(old_end, start + new_len, flags.is_private_writable()).await;
                }
                return Ok(old);
            }
            if !how.may_move {
                return Err(Errno::ENOMEM);
            }
        }
        let to = match how.fixed {
            Some(to) => {
                self.unmap_locked(&mut inner, to.0, to.0 + new_len).await?;
                to.0
            }
            None => map::find_room(&mut inner, new_len)?,
        };
        // Splitting the old range and adding the new one takes up to three areas more.
        if inner.areas.len() + 3 > MAX_AREAS {
            return Err(Errno::ENOMEM);
        }
        let old_len = if old_len > new_len {
            self.unmap_locked(&mut inner, start + new_len, old_end).await?;
            new_len
        } else {
            old_len
        };
        self.move_area(&mut inner, start, old_len, to, new_len, how.keep_old || duplicate).await?;
        drop(inner);
        if flags.contains(Flags::LOCKED) {
            // As above.
            let _ = self.populate(to, to + new_len, flags.is_private_writable()).await;
        }
        Ok(VirtAddr(to))
    }

    async fn move_area(
        &self,
        inner: &mut Inner,
        start: usize,
        old_len: usize,
        to: usize,
        new_len: usize,
        keep_old: bool,
    ) -> Result<(), Errno> {
        let area = inner.areas.at(start).ok_or(Errno::EFAULT)?;
        let skipped = (start - area.start) as u64;
        let backing = area.backing.as_ref().map(|b| b.at(b.offset + skipped));
        let flags = area.flags;
        inner.areas.isolate(start, start + old_len)?;
        // Tables first, so that nothing can fail once pages move.
        let mut failed = false;
        inner.tables.walk(start, start + old_len, |addr, _| {
            failed = inner.tables.entry(to + (addr - start)).is_err();
            !failed
        });
        if failed {
            inner.stray = true;
            return Err(Errno::ENOMEM);
        }
        // The new area first: giving up half-way leaves two areas that have some of the pages each.
        inner.areas.insert(Area { start: to, end: to + new_len, flags, backing });
        let mut gather = Gather::new(&self.root);
        let mut budget = Budget::new(STEPS);
        let mut at = start;
        while at < start + old_len {
            let mut steps = 0;
            at = inner.tables.walk(at, start + old_len, |addr, slot| {
                let Some(target) = inner.tables.find(to + (addr - start)) else { return true };
                let entry = slot.swap(Entry::EMPTY.bits(), AcqRel);
                target.store(entry, Release);
                gather.touch(addr);
                steps += 1;
                steps < STEPS
            });
            budget.spend(steps).await;
        }
        if !keep_old {
            // The new area may have become one with the old.
            inner.areas.isolate(start, start + old_len)?;
            inner.areas.remove(start, start + old_len);
            let (floor, ceiling) = inner.areas.hole_around(start, start + old_len);
            inner.tables.remove_tables(start, start + old_len, floor, ceiling, &mut gather);
        }
        arch::paging::entry_added();
        gather.flush().await;
        Ok(())
    }

    /// Whether the page is there for a read, or for a write.
    pub(super) async fn is_mapped_for(&self, page: usize, write: bool) -> bool {
        let inner = self.inner.read().await;
        let needed = if write { arch::paging::Perm::WRITE } else { arch::paging::Perm::READ };
        inner.tables.find(page).map(load).is_some_and(|e| e.is_present() && e.perm().contains(needed))
    }
}

fn grow_in_place(inner: &mut Inner, start: usize, old_end: usize, new_len: usize) -> bool {
    let Some(new_end) = range_end(start, new_len) else { return false };
    if !inner.areas.is_free(old_end, new_end)
        || inner.areas.at_or_after(new_end).is_some_and(|next| next.guarded_start() < new_end)
    {
        return false;
    }
    let Some(area) = inner.areas.at(start) else { return false };
    let grown = (old_end - area.start) as u64;
    let more = Area {
        start: old_end,
        end: new_end,
        flags: area.flags,
        backing: area.backing.as_ref().map(|b| b.at(b.offset + grown)),
    };
    inner.areas.insert(more);
    true
}
