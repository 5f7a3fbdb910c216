//! Answering page faults.

use super::area::{Area, Flags};
use super::table::load;
use super::{Inner, Recent, Space};
use crate::boxed::try_pin;
use crate::frames::{Frame, Kind, OutOfMemory};
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::{self, Entry, Perm, USER_END};
use arch::trap::{Access, PageFault};
use base::{Errno, Error};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// Why an access cannot be made good (sigaction(2) for the codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultError {
    /// Nothing is mapped there: SIGSEGV with SEGV_MAPERR.
    NoMapping,
    /// The mapping does not allow it: SIGSEGV with SEGV_ACCERR.
    BadPermission,
    /// Behind the end of what is mapped: SIGBUS with BUS_ADRERR.
    BeyondObject,
    /// No memory.
    OutOfMemory,
}

impl From<OutOfMemory> for FaultError {
    fn from(_: OutOfMemory) -> FaultError {
        FaultError::OutOfMemory
    }
}

/// Pages around a touched page of an object that are mapped along with it if they cost nothing.
const AROUND: usize = 16;

pub(super) fn object_error(error: Error) -> FaultError {
    match error {
        Error::Errno(Errno::ENOMEM) => FaultError::OutOfMemory,
        _ => FaultError::BeyondObject,
    }
}

impl Space {
    /// Makes the access that faulted possible. May wait for the space's lock and for other CPUs.
    pub async fn fault(&self, fault: PageFault) -> Result<(), FaultError> {
        match self.try_fault(fault) {
            Some(result) => result,
            // On the heap, since waiting here is rare and every call that touches user memory awaits this.
            None => try_pin(|| self.fault_waiting(fault))?.await,
        }
    }

    async fn fault_waiting(&self, fault: PageFault) -> Result<(), FaultError> {
        let answer = self.resolve(&*self.inner.read().await, fault);
        if let Some(result) = answer {
            return result;
        }
        let mut inner = self.write().await;
        self.grow_stack(&mut inner, fault.addr.0)?;
        if let Some(result) = self.resolve(&inner, fault) {
            return result;
        }
        self.copy_with_others(&inner, fault.addr.0 & !(PAGE_SIZE - 1)).await
    }

    /// As [`Space::fault`], without waiting; `None` if that is not enough. The common cases are.
    #[inline]
    pub fn try_fault(&self, fault: PageFault) -> Option<Result<(), FaultError>> {
        let inner = self.inner.try_read()?;
        self.resolve(&inner, fault)
    }

    /// `None`: the space is needed alone, to grow a stack or to wait for other CPUs.
    fn resolve(&self, inner: &Inner, fault: PageFault) -> Option<Result<(), FaultError>> {
        if inner.unsettled.is_some() {
            return None;
        }
        let page = fault.addr.0 & !(PAGE_SIZE - 1);
        let recent = *self.recent.lock();
        if let Some(recent) = recent.filter(|recent| recent.start <= page && page < recent.end) {
            return self.resolve_in(inner, recent.flags, None, page, fault.access);
        }
        if fault.addr >= USER_END {
            return Some(Err(FaultError::NoMapping));
        }
        let Some(area) = inner.areas.at_or_after(page) else { return Some(Err(FaultError::NoMapping)) };
        if page < area.start {
            return if area.flags.contains(Flags::GROWSDOWN) { None } else { Some(Err(FaultError::NoMapping)) };
        }
        if area.backing.is_some() {
            return self.resolve_in(inner, area.flags, Some(area), page, fault.access);
        }
        *self.recent.lock() = Some(Recent { start: area.start, end: area.end, flags: area.flags });
        self.resolve_in(inner, area.flags, None, page, fault.access)
    }

    /// `area` is given where an object backs it.
    #[inline]
    fn resolve_in(
        &self,
        inner: &Inner,
        flags: Flags,
        area: Option<&Area>,
        page: usize,
        access: Access,
    ) -> Option<Result<(), FaultError>> {
        let perm = flags.perm();
        let needed = match access {
            Access::Read => Perm::READ,
            Access::Write => Perm::WRITE,
            Access::Execute => Perm::EXEC,
        };
        if !perm.contains(needed) {
            return Some(Err(FaultError::BadPermission));
        }
        let slot = match inner.tables.entry(page) {
            Ok(slot) => slot,
            Err(OutOfMemory) => return Some(Err(FaultError::OutOfMemory)),
        };
        let entry = load(slot);
        if !entry.is_present() {
            return Some(match area {
                None => self.add_anonymous(slot, perm),
                Some(area) => self.add_from_object(inner, area, slot, page, access),
            });
        }
        self.change_present(flags, area, slot, entry, page, needed)
    }

    #[inline]
    fn add_anonymous(&self, slot: &AtomicU64, perm: Perm) -> Result<(), FaultError> {
        let frame = Frame::alloc_zeroed(Kind::Anonymous)?;
        self.install(slot, frame, perm, Kind::Anonymous);
        Ok(())
    }

    /// Puts a frame into an empty entry. If another was faster, the frame goes: its page is there, which is all
    /// that counts.
    #[inline]
    fn install(&self, slot: &AtomicU64, frame: Frame, perm: Perm, kind: Kind) {
        let new = Entry::touched_page(frame.addr(), perm);
        if slot.compare_exchange(Entry::EMPTY.bits(), new.bits(), AcqRel, Acquire).is_ok() {
            frame.into_addr();
            self.count(kind, 1);
            paging::entry_added();
        }
    }

    fn add_from_object(
        &self,
        inner: &Inner,
        area: &Area,
        slot: &AtomicU64,
        page: usize,
        access: Access,
    ) -> Result<(), FaultError> {
        let Some(backing) = &area.backing else { return Err(FaultError::NoMapping) };
        let object = &*backing.object;
        let index = area.object_page(page);
        if index >= object.size().div_ceil(PAGE_SIZE as u64) {
            return Err(FaultError::BeyondObject);
        }
        let perm = area.flags.perm();
        let shared = area.flags.contains(Flags::SHARED);
        let (frame, perm, kind) = match (access, shared) {
            (Access::Write, true) => (object.page_mut(index).map_err(object_error)?, perm, Kind::File),
            (Access::Write, false) => {
                let original = object.page(index).map_err(object_error)?;
                (Frame::alloc_copy(&original, Kind::Anonymous)?, perm, Kind::Anonymous)
            }
            // Without stores, so that the first one is noticed.
            _ => (object.page(index).map_err(object_error)?, perm - Perm::WRITE, Kind::File),
        };
        if perm.contains(Perm::EXEC) {
            paging::sync_code(frame.addr());
        }
        self.install(slot, frame, perm, kind);
        if access != Access::Write {
            self.add_neighbours(inner, area, page);
        }
        Ok(())
    }

    /// Maps the pages around `page` that the object has at hand.
    fn add_neighbours(&self, inner: &Inner, area: &Area, page: usize) {
        let Some(backing) = &area.backing else { return };
        let window = page & !(AROUND * PAGE_SIZE - 1);
        let end = (window + AROUND * PAGE_SIZE).min(area.end);
        let pages = backing.object.size().div_ceil(PAGE_SIZE as u64);
        let perm = area.flags.perm() - Perm::WRITE;
        for addr in (window.max(area.start)..end).step_by(PAGE_SIZE) {
            let index = area.object_page(addr);
            let Some(slot) = inner.tables.find(addr) else { return };
            if index >= pages || load(slot).is_present() {
                continue;
            }
            let Some(frame) = backing.object.cached_page(index) else { continue };
            if perm.contains(Perm::EXEC) {
                paging::sync_code(frame.addr());
            }
            self.install(slot, frame, perm, Kind::File);
        }
    }

    /// The page is there, but its entry did not allow the access.
    fn change_present(
        &self,
        flags: Flags,
        area: Option<&Area>,
        slot: &AtomicU64,
        entry: Entry,
        page: usize,
        needed: Perm,
    ) -> Option<Result<(), FaultError>> {
        if entry.perm().contains(needed) {
            // This CPU knows an older entry, or another thread was faster.
            self.root.flush_own(VirtAddr(page));
            return Some(Ok(()));
        }
        if entry.perm().is_empty() {
            return Some(Ok(()));
        }
        let mut new = entry.with_perm(flags.perm() - Perm::WRITE);
        if needed == Perm::WRITE {
            // SAFETY: the entry owns the frame, and the lock on the space keeps the entry from being taken out. (Another fault may
            // replace it, but then the exchange below fails, and what was read here is not used.)
            let frame = unsafe { Frame::borrow(entry.addr()) };
            if flags.contains(Flags::SHARED) {
                match self.writable_page(area, page) {
                    Ok(same) if same == *frame => {}
                    Ok(_) => return None,
                    Err(error) => return Some(Err(error)),
                }
            } else if frame.kind() != Kind::Anonymous || frame.owners() != 1 {
                return self.copy(slot, entry, flags.perm(), page);
            }
            new = Entry::touched_page(entry.addr(), flags.perm());
        }
        if slot.compare_exchange(entry.bits(), new.bits(), AcqRel, Acquire).is_ok() {
            self.root.flush_own(VirtAddr(page));
        }
        Some(Ok(()))
    }

    fn writable_page(&self, area: Option<&Area>, page: usize) -> Result<Frame, FaultError> {
        let area = area.ok_or(FaultError::NoMapping)?;
        let backing = area.backing.as_ref().ok_or(FaultError::NoMapping)?;
        backing.object.page_mut(area.object_page(page)).map_err(object_error)
    }

    /// Gives a private mapping its own copy, if no other CPU has to be waited for.
    fn copy(&self, slot: &AtomicU64, entry: Entry, perm: Perm, page: usize) -> Option<Result<(), FaultError>> {
        if !self.root.is_private() {
            return None;
        }
        // SAFETY: as in `change_present`. A frame that a racing fault lets go is at worst copied for nothing.
        let old = unsafe { Frame::borrow(entry.addr()) };
        let old_kind = old.kind();
        let new = match Frame::alloc_copy(&old, Kind::Anonymous) {
            Ok(new) => new,
            Err(OutOfMemory) => return Some(Err(FaultError::OutOfMemory)),
        };
        // The page is nobody's between the old frame and the new, as Arm wants it (break before make), and so that no CPU
        // reads the old one after another wrote the new one.
        let nobody = entry.with_perm(Perm::empty());
        if slot.compare_exchange(entry.bits(), nobody.bits(), AcqRel, Acquire).is_err() {
            return Some(Ok(()));
        }
        if !self.root.try_flush(VirtAddr(page), 1) {
            slot.store(entry.bits(), Release);
            return None;
        }
        self.replace(slot, entry, old_kind, new, perm);
        Some(Ok(()))
    }

    fn replace(&self, slot: &AtomicU64, old: Entry, old_kind: Kind, new: Frame, perm: Perm) {
        if perm.contains(Perm::EXEC) {
            paging::sync_code(new.addr());
        }
        slot.store(Entry::touched_page(new.into_addr(), perm).bits(), Release);
        paging::entry_added();
        if old_kind != Kind::Anonymous {
            self.count(old_kind, -1);
            self.count(Kind::Anonymous, 1);
        }
        // SAFETY: the entry owned the frame, was taken out by the one who calls this, and no CPU can reach it any more.
        drop(unsafe { Frame::from_addr(old.addr()) });
    }

    /// Gives a mapping another frame than it has, with the space alone and waiting for other CPUs.
    async fn copy_with_others(&self, inner: &Inner, page: usize) -> Result<(), FaultError> {
        let area = inner.areas.at(page).ok_or(FaultError::NoMapping)?;
        let Some(slot) = inner.tables.find(page) else { return Ok(()) };
        let entry = load(slot);
        if !entry.is_present() {
            return Ok(());
        }
        // SAFETY: the entry owns the frame, and nobody else changes entries while the space is held alone.
        let old = unsafe { Frame::borrow(entry.addr()) };
        let old_kind = old.kind();
        let shared = area.flags.contains(Flags::SHARED);
        let new =
            if shared { self.writable_page(Some(area), page)? } else { Frame::alloc_copy(&old, Kind::Anonymous)? };
        let nobody = entry.with_perm(Perm::empty());
        slot.swap(nobody.bits(), AcqRel);
        let undo = Restore { slot, entry };
        self.root.flush(VirtAddr(page), 1).await;
        core::mem::forget(undo);
        if shared {
            slot.store(Entry::touched_page(new.into_addr(), area.flags.perm()).bits(), Release);
            paging::entry_added();
            // SAFETY: as in `replace`.
            drop(unsafe { Frame::from_addr(entry.addr()) });
        } else {
            self.replace(slot, entry, old_kind, new, area.flags.perm());
        }
        Ok(())
    }

    /// Lets the stack above `addr` grow down to it: within the limit, and with the gap kept to what lies below.
    fn grow_stack(&self, inner: &mut Inner, addr: usize) -> Result<(), FaultError> {
        let page = addr & !(PAGE_SIZE - 1);
        let area = inner.areas.at_or_after(page).ok_or(FaultError::NoMapping)?;
        let (start, end, flags) = (area.start, area.end, area.flags);
        if page >= start {
            return Ok(());
        }
        let grown = (start - page) / PAGE_SIZE;
        let limits = inner.limits;
        let fits = flags.contains(Flags::GROWSDOWN)
            && page >= super::MIN_ADDR
            && end - page <= limits.stack
            && inner.areas.pages + grown <= limits.address_space / PAGE_SIZE;
        // What allows nothing may come close: programs make their own guards of it.
        let gap_kept = inner.areas.before(start).is_none_or(|below| {
            let gap = if (below.flags & Flags::PROT).is_empty() { 0 } else { super::area::GUARD_GAP };
            page.checked_sub(below.end).is_some_and(|room| room >= gap)
        });
        if !fits || !gap_kept {
            return Err(FaultError::NoMapping);
        }
        inner.areas.grow_down(start, page);
        Ok(())
    }
}

/// Puts an entry back if the wait for other CPUs is given up.
struct Restore<'a> {
    slot: &'a AtomicU64,
    entry: Entry,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.slot.store(self.entry.bits(), Release);
    }
}
