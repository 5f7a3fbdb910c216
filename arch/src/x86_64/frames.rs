//! The memory map while the machine boots, and taking pages from it for what the back end itself needs. Only the
//! boot CPU uses it; what is left goes to the kernel.

use crate::addr::{PAGE_SIZE, PhysAddr};
use crate::boot::{MAX_RANGES, PhysRange};

/// The boot tables map the first GiB only.
const REACHABLE: u64 = 1 << 30;
/// Low memory is left alone by the allocator: firmware and the start of other CPUs use it.
const LOWEST: u64 = 1 << 20;

/// Free ranges, ascending and disjoint.
pub struct FreeMap {
    ranges: [PhysRange; MAX_RANGES],
    len: usize,
}

fn end(range: &PhysRange) -> u64 {
    range.start.0 + range.len
}

impl FreeMap {
    /// Nothing.
    pub const fn new() -> FreeMap {
        FreeMap { ranges: [PhysRange { start: PhysAddr(0), len: 0 }; MAX_RANGES], len: 0 }
    }

    /// Adds the whole pages within a range. What does not fit the table is left unused.
    pub fn add(&mut self, start: u64, range_end: u64) {
        let page = PAGE_SIZE as u64;
        let (start, range_end) = (start.next_multiple_of(page), range_end & !(page - 1));
        if start >= range_end || self.len == MAX_RANGES {
            return;
        }
        let at = self.ranges[..self.len].partition_point(|range| range.start.0 < start);
        self.ranges.copy_within(at..self.len, at + 1);
        self.ranges[at] = PhysRange { start: PhysAddr(start), len: range_end - start };
        self.len += 1;
    }

    /// Takes every page out that the range touches.
    pub fn remove(&mut self, start: u64, range_end: u64) {
        let page = PAGE_SIZE as u64;
        let (start, range_end) = (start & !(page - 1), range_end.next_multiple_of(page));
        let old = core::mem::replace(self, FreeMap::new());
        for range in &old.ranges[..old.len] {
            self.add(range.start.0, end(range).min(start).max(range.start.0));
            self.add(range.start.0.max(range_end).min(end(range)), end(range));
        }
    }

    /// Takes `pages` contiguous pages that the boot tables map, zeroed.
    ///
    /// # Panics
    /// If there are none: the machine is too small to boot.
    pub fn take(&mut self, pages: usize) -> PhysAddr {
        let bytes = (pages * PAGE_SIZE) as u64;
        let found = self.ranges[..self.len]
            .iter_mut()
            .find(|range| range.start.0 >= LOWEST && range.len > bytes && range.start.0 + bytes <= REACHABLE);
        let Some(range) = found else { panic!("not enough memory to boot") };
        let start = range.start;
        range.start = start + bytes;
        range.len -= bytes;
        // SAFETY: the pages were free and are now the caller's; the physical map reaches them.
        unsafe { super::physmap::to_ptr(start).write_bytes(0, bytes as usize) };
        start
    }

    /// The ranges, for `BootInfo`.
    pub fn into_ranges(self) -> ([PhysRange; MAX_RANGES], usize) {
        (self.ranges, self.len)
    }
}
