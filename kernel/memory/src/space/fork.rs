//! fork(2): a copy of a space in which pages are shared until one side writes.

use super::table::load;
use super::{Flags, Inner, STEPS, Space};
use crate::frames::Frame;
use alloc::sync::Arc;
use arch::addr::VirtAddr;
use arch::paging::{Entry, Perm};
use base::Errno;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use executor::Budget;

impl Space {
    /// A copy for a child. Private pages lose their write permission on both sides and are copied at the next store;
    /// what objects back and nobody can change for himself is looked up again when it is touched. Waits for the space and for other CPUs. ENOMEM.
    pub async fn fork(&self) -> Result<Arc<Space>, Errno> {
        let parent = self.write().await;
        crate::admit(parent.areas.len() * 256 + 4096)?;
        let child = Space::new(parent.layout).map_err(Errno::from)?;
        child.marks.store(self.marks.load(Relaxed), Relaxed);
        // Nobody else knows the child yet.
        let mut copy = child.inner.try_write().ok_or(Errno::ENOMEM)?;
        copy.brk = parent.brk;
        copy.limits = parent.limits;
        // Until each area is there with its pages.
        copy.stray = true;
        let mut budget = Budget::new(STEPS);
        let mut lowered = false;
        let mut result = Ok(());
        for area in parent.areas.iter() {
            if area.flags.contains(Flags::DONTFORK) {
                continue;
            }
            let mut area_copy = area.copy_for(&child.me);
            area_copy.flags -= Flags::LOCKED;
            if area.may_hold_own_pages() && !area.flags.contains(Flags::WIPEONFORK) {
                let mut at = area.start;
                while at < area.end && result.is_ok() {
                    match child.share_pages(&parent, &copy, at, area.end) {
                        Ok((next, steps, any_lowered)) => {
                            at = next;
                            lowered |= any_lowered;
                            budget.spend(1 + steps).await;
                        }
                        Err(error) => result = Err(error),
                    }
                }
            }
            // After its pages: a child that is given up half-way frees them with its tables.
            copy.areas.insert(area_copy);
            if result.is_err() {
                break;
            }
        }
        copy.stray = false;
        drop(copy);
        if lowered {
            // The parent must not write where it no longer may; until then the child must not run.
            self.root.flush(VirtAddr(0), usize::MAX).await;
        }
        // Faults of other threads wait until here, so none makes a page writable before the flush.
        drop(parent);
        result.map(|()| child)
    }

    /// Copies present entries of `start..end` into this space, the child, a limited number at a time. Gives where to go on, the
    /// pages done, and whether the parent lost write permission anywhere.
    fn share_pages(&self, parent: &Inner, copy: &Inner, start: usize, end: usize) -> Result<(usize, u32, bool), Errno> {
        let (mut pages, mut lowered, mut failed) = (0, false, false);
        let next = parent.tables.walk(start, end, |addr, slot| {
            let Ok(to) = copy.tables.entry(addr) else {
                failed = true;
                return false;
            };
            let mut entry = load(slot);
            while entry.perm().contains(Perm::WRITE) {
                let less = entry.with_perm(entry.perm() - Perm::WRITE);
                match slot.compare_exchange(entry.bits(), less.bits(), AcqRel, Acquire) {
                    Ok(_) => {
                        entry = less;
                        lowered = true;
                    }
                    Err(bits) => entry = Entry::from_bits(bits),
                }
            }
            // SAFETY: the entry owns the frame, and the space is held alone.
            let frame = Frame::clone(&*unsafe { Frame::borrow(entry.addr()) });
            self.count(frame.kind(), 1);
            to.store(entry.bits(), Release);
            frame.into_addr();
            pages += 1;
            pages < STEPS
        });
        if failed { Err(Errno::ENOMEM) } else { Ok((next, pages, lowered)) }
    }

    /// Frames mapped by kind: private, and of objects.
    pub(super) fn mapped(&self) -> (usize, usize) {
        (self.anonymous.load(Relaxed).max(0) as usize, self.file.load(Relaxed).max(0) as usize)
    }
}
