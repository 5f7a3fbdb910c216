//! Walking page tables.
//!
//! A [`Tables`] lies inside its space's lock. Reading it is enough to look entries up, to change them (each is an atomic
//! word, which the hardware changes too) and to add tables, since an absent table is added by compare-and-exchange.
//! Removing a table needs the lock for writing, so no walker meets a table that is gone.

use super::gather::Gather;
use crate::frames::{Frame, Kind, OutOfMemory};
use crate::tlb::Root;
use alloc::sync::Arc;
use arch::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};
use arch::paging::{Entry, LEVELS, USER_END};
use arch::physmap;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// Entries of a table.
const ENTRIES: usize = 512;
/// Bytes that one lowest table maps: 2 MiB.
pub(super) const LEAF_SPAN: usize = PAGE_SIZE * ENTRIES;

type Table = [AtomicU64; ENTRIES];

/// Bytes that one entry of a table of `level` maps.
const fn entry_span(level: usize) -> usize {
    1 << (PAGE_SHIFT as usize + 9 * level)
}

#[inline(always)]
const fn index(addr: usize, level: usize) -> usize {
    addr >> (PAGE_SHIFT as usize + 9 * level) & (ENTRIES - 1)
}

/// # Safety
/// `addr` is a page-table frame that outlives the result.
#[inline(always)]
unsafe fn table<'a>(addr: PhysAddr) -> &'a Table {
    // SAFETY: a table frame is 512 aligned words, which software and hardware change only atomically.
    unsafe { &*physmap::to_ptr(addr).cast::<Table>() }
}

/// A space's page tables.
pub(super) struct Tables {
    pub root: Arc<Root>,
}

#[inline(always)]
pub(super) fn load(slot: &AtomicU64) -> Entry {
    Entry::from_bits(slot.load(Acquire))
}

impl Tables {
    pub fn new() -> Result<Tables, OutOfMemory> {
        Ok(Tables { root: Root::new()? })
    }

    fn top(&self) -> &Table {
        // SAFETY: the root lives while `self` owns it.
        unsafe { table(self.root.table()) }
    }

    /// The lowest table for `addr` if it is there; otherwise how many bytes the absent entry spans.
    #[inline]
    fn leaf(&self, addr: usize) -> Result<&Table, usize> {
        let mut here = self.top();
        for level in (1..LEVELS).rev() {
            let entry = load(&here[index(addr, level)]);
            if !entry.is_present() {
                return Err(entry_span(level));
            }
            // SAFETY: tables are removed only through `&mut self`.
            here = unsafe { table(entry.addr()) };
        }
        Ok(here)
    }

    /// The entry of the page at `addr`, if its table is there.
    #[inline]
    pub fn find(&self, addr: usize) -> Option<&AtomicU64> {
        Some(&self.leaf(addr).ok()?[index(addr, 0)])
    }

    /// The entry of the page at `addr`; adds tables where they are missing.
    #[inline]
    pub fn entry(&self, addr: usize) -> Result<&AtomicU64, OutOfMemory> {
        Ok(&self.leaf_or_new(addr)?[index(addr, 0)])
    }

    #[inline]
    fn leaf_or_new(&self, addr: usize) -> Result<&Table, OutOfMemory> {
        let mut here = self.top();
        for level in (1..LEVELS).rev() {
            let slot = &here[index(addr, level)];
            let mut entry = load(slot);
            if !entry.is_present() {
                entry = add_table(slot)?;
            }
            // SAFETY: as in `leaf`.
            here = unsafe { table(entry.addr()) };
        }
        Ok(here)
    }

    /// Calls `each` for every page of `start..end` whose entry is present, ascending. Skips what has no tables.
    /// Stops where `each` says false, and gives the address to go on at.
    pub fn walk(&self, start: usize, end: usize, mut each: impl FnMut(usize, &AtomicU64) -> bool) -> usize {
        let mut addr = start;
        while addr < end {
            match self.leaf(addr) {
                Err(span) => addr = (addr & !(span - 1)).saturating_add(span),
                Ok(leaf) => {
                    let stop = end.min((addr & !(LEAF_SPAN - 1)) + LEAF_SPAN);
                    while addr < stop {
                        let slot = &leaf[index(addr, 0)];
                        if load(slot).is_present() && !each(addr, slot) {
                            return addr + PAGE_SIZE;
                        }
                        addr += PAGE_SIZE;
                    }
                }
            }
        }
        end
    }

    /// Removes the tables over `start..end` that map nothing outside of `floor..ceiling`, where no area is, and hands them to
    /// `gather`. Entries of pages in there must be empty.
    pub fn remove_tables(&mut self, start: usize, end: usize, floor: usize, ceiling: usize, gather: &mut Gather) {
        let hole = Hole { start, end: end.min(USER_END.0), floor, ceiling };
        remove_below(self.top(), LEVELS - 1, 0, &hole, gather);
    }
}

struct Hole {
    start: usize,
    end: usize,
    floor: usize,
    ceiling: usize,
}

fn add_table(slot: &AtomicU64) -> Result<Entry, OutOfMemory> {
    let new = Entry::table(Frame::alloc_zeroed(Kind::Table)?.into_addr());
    match slot.compare_exchange(Entry::EMPTY.bits(), new.bits(), AcqRel, Acquire) {
        Ok(_) => {
            arch::paging::entry_added();
            Ok(new)
        }
        Err(other) => {
            // SAFETY: `into_addr` gave the address above and the entry did not get in.
            drop(unsafe { Frame::from_addr(new.addr()) });
            Ok(Entry::from_bits(other))
        }
    }
}

fn remove_below(here: &Table, level: usize, base: usize, hole: &Hole, gather: &mut Gather) {
    let span = entry_span(level);
    let first = hole.start.saturating_sub(base) / span;
    for (i, slot) in here.iter().enumerate().skip(first) {
        let start = base + i * span;
        if start >= hole.end {
            break;
        }
        let entry = load(slot);
        if !entry.is_present() {
            continue;
        }
        if level > 1 {
            // SAFETY: the caller has the tables to itself, so what an entry names is there.
            remove_below(unsafe { table(entry.addr()) }, level - 1, start, hole, gather);
        }
        if start >= hole.floor && start + span <= hole.ceiling {
            slot.store(Entry::EMPTY.bits(), Release);
            // SAFETY: the entry owned the table, whose own entries are empty or were just emptied, and is gone.
            gather.add(start, unsafe { Frame::from_addr(entry.addr()) });
        }
    }
}

/// Frees a whole tree of tables with the frames that it maps. All of them lie over `extent`, which ascends.
///
/// # Safety
/// No CPU has it active, nobody else knows it, and `root` came from [`Frame::into_addr`].
pub(crate) unsafe fn free_all(root: PhysAddr, extent: &[(usize, usize)]) {
    // SAFETY: the tree is the caller's.
    unsafe { free_below(root, LEVELS - 1, 0, extent) }
}

/// # Safety
/// As for [`free_all`]. The table begins at address `base`.
unsafe fn free_below(addr: PhysAddr, level: usize, base: usize, extent: &[(usize, usize)]) {
    let span = entry_span(level);
    let mut next = 0;
    for (i, &(start, end)) in extent.iter().enumerate() {
        // Two ranges may share an entry, whose table then is freed with what both have in it.
        let first = (start.saturating_sub(base) / span).max(next);
        let last = (end.saturating_sub(base)).div_ceil(span).min(ENTRIES);
        if end <= base || first >= last {
            continue;
        }
        next = last;
        // SAFETY: the table belongs to the caller, as does all that it names; each entry is taken back once.
        unsafe { free_range(&table(addr)[first..last], level, base + first * span, &extent[i..]) };
    }
    // SAFETY: as above.
    drop(unsafe { Frame::from_addr(addr) });
}

/// # Safety
/// As for [`free_all`]. The first of `slots` begins at address `base`.
unsafe fn free_range(slots: &[AtomicU64], level: usize, base: usize, extent: &[(usize, usize)]) {
    // Many entries are empty, and looking through them is most of what ending a small process costs. An empty entry has no
    // bit set.
    for (g, group) in slots.chunks(8).enumerate() {
        if group.iter().fold(0, |bits, slot| bits | slot.load(Acquire)) == 0 {
            continue;
        }
        for (i, entry) in group.iter().map(load).enumerate().filter(|(_, entry)| entry.is_present()) {
            // SAFETY: the caller owns what the entry names; it is taken back once.
            unsafe {
                if level > 0 {
                    free_below(entry.addr(), level - 1, base + (g * 8 + i) * entry_span(level), extent);
                } else {
                    drop(Frame::from_addr(entry.addr()));
                }
            }
        }
    }
}
