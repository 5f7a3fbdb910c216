//! munmap(2), and taking pages out of a space.

use super::area::Area;
use super::gather::Gather;
use super::object::Mappings;
use super::table::{LEAF_SPAN, Tables, load};
use super::{Flags, Inner, STEPS, Space, range_end};
use crate::frames::{Frame, Kind};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::{Entry, USER_END};
use base::Errno;
use core::ptr;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::AcqRel;
use executor::Budget;

/// Addresses that are walked at a stretch.
const STRETCH: usize = 64 << 20;

/// Bytes that are changed without waiting at most.
pub(super) const AT_ONCE: usize = 64 * PAGE_SIZE;

/// Which pages of a range are taken out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those that belong to the mapped object, not copies that were made of them.
    OfObject,
}

impl Inner {
    /// Has the translations of what was gathered dropped, now or, if that takes waiting, before the space is used again; whether it is
    /// done.
    pub(super) fn settle(&mut self, mut gather: Gather) -> bool {
        let done = gather.try_flush();
        if !done {
            self.unsettled = Some(Box::new(gather));
        }
        done
    }

    /// Removes the tables that nobody needs now that `start..end` has no areas. Those of a small range are kept until another is
    /// unmapped: what comes next is often mapped in the same place.
    fn remove_tables(&mut self, start: usize, end: usize, gather: &mut Gather) {
        let leaf = |addr: usize| addr / LEAF_SPAN;
        let small = leaf(start) == leaf(end - 1);
        let before = core::mem::replace(&mut self.kept, small.then_some((start, end)));
        if !small {
            self.remove_tables_now(start, end, gather);
        }
        if let Some((start_before, end_before)) = before
            && !(small && leaf(start_before) == leaf(start))
            // Else an area in the same lowest table needs it, and will see to it.
            && self.areas.is_free(start_before, end_before)
        {
            self.remove_tables_now(start_before, end_before, gather);
        }
    }

    fn remove_tables_now(&mut self, start: usize, end: usize, gather: &mut Gather) {
        let (floor, ceiling) = self.areas.hole_around(start, end);
        self.tables.remove_tables(start, end, floor, ceiling, gather);
    }
}

impl Space {
    /// munmap(2). Waits for the space and for other CPUs. EINVAL for a bad range, ENOMEM if it would make
    /// too many areas.
    pub async fn unmap(&self, start: VirtAddr, len: usize) -> Result<(), Errno> {
        let end = range_end(start.0, len).filter(|_| start.is_page_aligned()).ok_or(Errno::EINVAL)?;
        let mut inner = self.write().await;
        self.unmap_locked(&mut inner, start.0, end).await
    }

    /// shmdt(2): unmaps what is left of the attachment that was made at `at`. Waits for the space and for other CPUs. EINVAL if there
    /// is none, ENOMEM.
    pub async fn detach(&self, at: VirtAddr) -> Result<(), Errno> {
        if !at.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.write().await;
        // Its beginning may be unmapped: what counts is where it would be.
        let begins = |area: &Area| (area.start as u64).checked_sub(area.backing.as_ref()?.offset);
        let ours = |area: &&Area| area.flags.contains(Flags::ATTACHED) && begins(area) == Some(at.0 as u64);
        let first = inner.areas.over(at.0, USER_END.0).find(ours).ok_or(Errno::EINVAL)?;
        let object = first.backing.as_ref().map(|backing| backing.object.clone()).ok_or(Errno::EINVAL)?;
        let end = at.0.saturating_add(usize::try_from(object.size()).unwrap_or(usize::MAX)).min(USER_END.0);
        let mut from = first.start;
        loop {
            let next = inner.areas.over(from, end).find(ours).map(|area| (area.start, area.end));
            let Some((start, stop)) = next else { return Ok(()) };
            let same = |area: &Area| area.backing.as_ref().is_some_and(|b| Arc::ptr_eq(&b.object, &object));
            if inner.areas.at(start).is_some_and(same) {
                self.unmap_locked(&mut inner, start, stop).await?;
            }
            from = stop;
        }
    }

    /// As [`Space::unmap`], without waiting, for a few pages. `None`: that is not enough, and nothing was done. `Ok(false)`: it is
    /// done, and [`Space::settle`] waits until it holds on all CPUs.
    pub fn try_unmap(&self, start: VirtAddr, len: usize) -> Option<Result<bool, Errno>> {
        let range = range_end(start.0, len).filter(|_| start.is_page_aligned());
        let Some(end) = range else { return Some(Err(Errno::EINVAL)) };
        if end - start.0 > AT_ONCE || !self.root.is_private() {
            return None;
        }
        let mut inner = self.try_write()?;
        Some(self.unmap_at_once(&mut inner, start.0, end))
    }

    /// What [`Space::try_unmap`] does once it has seen that the space is private.
    #[cfg(test)]
    pub(crate) fn unmap_unsettled(&self, start: usize, end: usize) -> Result<bool, Errno> {
        let mut inner = self.try_write().ok_or(Errno::EAGAIN)?;
        self.unmap_at_once(&mut inner, start, end)
    }

    fn unmap_at_once(&self, inner: &mut Inner, start: usize, end: usize) -> Result<bool, Errno> {
        if inner.areas.is_free(start, end) {
            return Ok(true);
        }
        inner.areas.isolate(start, end)?;
        let mut gather = Gather::new(&self.root);
        inner.tables.walk(start, end, |addr, slot| {
            self.take_out(addr, slot, Which::All, &mut gather);
            true
        });
        inner.areas.remove(start, end);
        inner.remove_tables(start, end, &mut gather);
        Ok(inner.settle(gather))
    }

    /// The same with the space held. A range that leaves user space is refused here, for whoever did not check it: beyond
    /// lie the kernel's tables.
    pub(super) async fn unmap_locked(&self, inner: &mut Inner, start: usize, end: usize) -> Result<(), Errno> {
        if end > USER_END.0 {
            return Err(Errno::EINVAL);
        }
        if inner.areas.is_free(start, end) {
            return Ok(());
        }
        inner.areas.isolate(start, end)?;
        let mut gather = Gather::new(&self.root);
        // The areas go last, so that giving up half-way leaves whole areas, of which some pages are as after MADV_DONTNEED.
        self.zap(&inner.tables, start, end, Which::All, &mut gather).await;
        inner.areas.remove(start, end);
        inner.remove_tables(start, end, &mut gather);
        gather.flush().await;
        Ok(())
    }

    /// Empties the entries of `start..end`. What `gather` holds at the end is still to be flushed.
    pub(super) async fn zap(&self, tables: &Tables, start: usize, end: usize, which: Which, gather: &mut Gather) {
        let mut budget = Budget::new(STEPS);
        let mut at = start;
        while at < end {
            let mut steps = 1;
            at = tables.walk(at, end.min(at.saturating_add(STRETCH)), |addr, slot| {
                if self.take_out(addr, slot, which, gather) {
                    steps += 1;
                }
                !gather.is_full()
            });
            if gather.is_full() {
                gather.flush().await;
            }
            budget.spend(steps).await;
        }
    }

    /// Empties an entry that is present, with the space held; whether it is of those that go.
    #[inline]
    fn take_out(&self, addr: usize, slot: &AtomicU64, which: Which, gather: &mut Gather) -> bool {
        let entry = load(slot);
        // SAFETY: the entry owns the frame, and the space is held alone.
        let kind = unsafe { Frame::borrow(entry.addr()) }.kind();
        if which == Which::OfObject && kind == Kind::Anonymous {
            return false;
        }
        let entry = Entry::from_bits(slot.swap(Entry::EMPTY.bits(), AcqRel));
        self.count(kind, -1);
        // SAFETY: the entry owned the frame and was just taken out.
        gather.add(addr, unsafe { Frame::from_addr(entry.addr()) });
        true
    }

    /// Unmaps everything; for a process that exits. No thread runs in the space any more. Waits for other CPUs.
    pub async fn clear(&self) {
        self.root.leave_others().await;
        let mut inner = self.write().await;
        let mut at = 0;
        let mut gather = Gather::new(&self.root);
        while let Some((start, end)) = inner.areas.at_or_after(at).map(|area| (area.start, area.end)) {
            self.zap(&inner.tables, start, end, Which::All, &mut gather).await;
            at = end;
        }
        inner.areas.remove(0, USER_END.0);
        inner.kept = None;
        inner.tables.remove_tables(0, USER_END.0, 0, usize::MAX, &mut gather);
        gather.flush().await;
    }

    /// Unmaps the pages `first..last` of the object that has `mappings`; with `private`, copies of them too.
    pub(super) async fn unmap_object(&self, mappings: &Mappings, first: u64, last: u64, private: bool) {
        let inner = self.write().await;
        let mut gather = Gather::new(&self.root);
        let mut at = 0;
        while let Some((area_end, range)) = inner.areas.at_or_after(at).map(|area| {
            let ours = area.backing.as_ref().is_some_and(|b| ptr::eq(b.object.mappings(), mappings));
            let start_page = area.object_page(area.start);
            let end_page = start_page + area.pages() as u64;
            let (from, to) = (first.max(start_page), last.min(end_page));
            let range = (ours && from < to).then(|| {
                let place = |page: u64| area.start + (page - start_page) as usize * PAGE_SIZE;
                let keep_copies = !private && !area.flags.contains(Flags::SHARED);
                (place(from), place(to), if keep_copies { Which::OfObject } else { Which::All })
            });
            (area.end, range)
        }) {
            if let Some((start, end, which)) = range {
                self.zap(&inner.tables, start, end, which, &mut gather).await;
            }
            at = area_end;
        }
        gather.flush().await;
    }

    /// The ranges of `start..end` that areas cover, with their flags. ENOMEM if there is no memory for the list.
    pub(super) fn pieces(inner: &Inner, start: usize, end: usize) -> Result<Vec<(usize, usize, Flags)>, Errno> {
        let mut pieces = Vec::new();
        for area in inner.areas.over(start, end) {
            pieces.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            pieces.push((area.start.max(start), area.end.min(end), area.flags));
        }
        Ok(pieces)
    }
}
