//! One area of an address space: a range of pages that allow the same and are backed by the same.

use super::object::Backing;
use alloc::sync::{Arc, Weak};
use arch::addr::PAGE_SIZE;
use arch::paging::Perm;
use bitflags::bitflags;

bitflags! {
    /// What an area allows and how it behaves.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// Loads are allowed (PROT_READ).
        const READ = 1;
        /// Stores are allowed (PROT_WRITE).
        const WRITE = 1 << 1;
        /// Fetches are allowed (PROT_EXEC).
        const EXEC = 1 << 2;
        /// mprotect(2) may allow loads.
        const MAY_READ = 1 << 4;
        /// mprotect(2) may allow stores.
        const MAY_WRITE = 1 << 5;
        /// mprotect(2) may allow fetches.
        const MAY_EXEC = 1 << 6;
        /// Stores are seen by all who map the object (MAP_SHARED).
        const SHARED = 1 << 8;
        /// Grows downwards at a touch below it (MAP_GROWSDOWN).
        const GROWSDOWN = 1 << 9;
        /// Its memory is not counted when it is mapped (MAP_NORESERVE).
        const NORESERVE = 1 << 10;
        /// Kept in memory (mlock(2)).
        const LOCKED = 1 << 11;
        /// Not inherited by fork(2) (MADV_DONTFORK).
        const DONTFORK = 1 << 12;
        /// Full of zeros in a forked child (MADV_WIPEONFORK).
        const WIPEONFORK = 1 << 13;
        /// MADV_HUGEPAGE was given.
        const HUGEPAGE = 1 << 14;
        /// MADV_NOHUGEPAGE was given.
        const NOHUGEPAGE = 1 << 15;
        /// Not in a core dump (MADV_DONTDUMP).
        const DONTDUMP = 1 << 16;
        /// MADV_SEQUENTIAL was given.
        const SEQUENTIAL = 1 << 17;
        /// MADV_RANDOM was given.
        const RANDOM = 1 << 18;
        /// The kernel's own: programs cannot change it (the signal trampoline).
        const SPECIAL = 1 << 19;
        /// Made by shmat(2), for shmdt(2) to find.
        const ATTACHED = 1 << 20;
    }
}

impl Flags {
    /// All three of READ, WRITE, EXEC.
    pub const PROT: Flags = Flags::READ.union(Flags::WRITE).union(Flags::EXEC);
    /// All three of MAY_READ, MAY_WRITE, MAY_EXEC.
    pub const MAY: Flags = Flags::MAY_READ.union(Flags::MAY_WRITE).union(Flags::MAY_EXEC);

    /// What page table entries may allow. A machine cannot allow stores without loads, and x86 no fetches without
    /// loads, so one of the two lets loads through.
    #[inline]
    pub(super) fn perm(self) -> Perm {
        let perm = Perm::from_bits_truncate(self.bits() as u8);
        if perm.is_empty() { perm } else { perm | Perm::READ }
    }

    #[inline]
    pub(super) fn is_private_writable(self) -> bool {
        self.contains(Flags::WRITE) && !self.contains(Flags::SHARED)
    }
}

/// The areas of a space are disjoint. `start` is also the key under which a space keeps the area.
pub(super) struct Area {
    pub start: usize,
    pub end: usize,
    pub flags: Flags,
    /// `None` for private anonymous memory.
    pub backing: Option<Backing>,
}

/// Pages that must stay free below a growing stack (stack_guard_gap).
pub(super) const GUARD_GAP: usize = 256 * PAGE_SIZE;

impl Area {
    pub fn pages(&self) -> usize {
        (self.end - self.start) / PAGE_SIZE
    }

    /// Whether there can be pages in it that are not the object's.
    pub fn may_hold_own_pages(&self) -> bool {
        self.backing.is_none() || !self.flags.contains(Flags::SHARED) && self.flags.contains(Flags::MAY_WRITE)
    }

    /// The number of the object's page behind `addr`.
    pub fn object_page(&self, addr: usize) -> u64 {
        let offset = self.backing.as_ref().map_or(0, |b| b.offset);
        (offset + (addr - self.start) as u64) / PAGE_SIZE as u64
    }

    /// The lowest address that others must not use.
    pub fn guarded_start(&self) -> usize {
        if self.flags.contains(Flags::GROWSDOWN) { self.start.saturating_sub(GUARD_GAP) } else { self.start }
    }

    /// Whether `next` could be the rest of this area.
    pub fn continues_in(&self, next: &Area) -> bool {
        self.end == next.start
            && self.flags == next.flags
            && match (&self.backing, &next.backing) {
                (None, None) => true,
                (Some(a), Some(b)) => {
                    Arc::ptr_eq(&a.object, &b.object) && a.offset + (self.end - self.start) as u64 == b.offset
                }
                _ => false,
            }
    }

    /// Cuts the part from `at` on off. `at` lies inside.
    pub fn split_off(&mut self, at: usize) -> Area {
        let skipped = (at - self.start) as u64;
        let backing = self.backing.as_ref().map(|b| b.at(b.offset + skipped));
        let rest = Area { start: at, end: self.end, flags: self.flags, backing };
        self.end = at;
        rest
    }

    /// The same area for another space.
    pub fn copy_for(&self, space: &Weak<super::Space>) -> Area {
        let backing = self.backing.as_ref().map(|b| b.for_space(space));
        Area { start: self.start, end: self.end, flags: self.flags, backing }
    }
}
