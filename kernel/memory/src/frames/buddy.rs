//! Free blocks of 2^order frames, order 0 to 10, by the buddy scheme. Block lists are linked through the
//! frames' records, so that both taking and merging cost O(orders).

use super::meta::Meta;
use core::sync::atomic::Ordering::Relaxed;

/// The largest block is 2^`MAX_ORDER` frames: 4 MiB.
pub const MAX_ORDER: usize = 10;

/// The free blocks. Protected by the lock that it lies in; `meta` is the record array, `base` the frame number of its first
/// element. Frame number 0 means none.
pub(super) struct Buddy {
    heads: [u32; MAX_ORDER + 1],
    free: usize,
}

/// The array of records and the number of the first frame it describes.
#[derive(Clone, Copy)]
pub(super) struct Records {
    pub meta: &'static [Meta],
    pub base: u32,
}

impl Records {
    #[inline]
    pub fn get(&self, frame: u32) -> Option<&'static Meta> {
        self.meta.get(frame.wrapping_sub(self.base) as usize)
    }
}

impl Buddy {
    pub const fn new() -> Buddy {
        Buddy { heads: [0; MAX_ORDER + 1], free: 0 }
    }

    /// Free frames in all blocks.
    pub fn free_frames(&self) -> usize {
        self.free
    }

    fn push(&mut self, records: Records, frame: u32, order: usize) {
        let Some(meta) = records.get(frame) else { return };
        let head = self.heads[order];
        meta.free_order.store(order as u8 + 1, Relaxed);
        meta.next.store(head, Relaxed);
        meta.prev.store(0, Relaxed);
        if let Some(next) = records.get(head) {
            next.prev.store(frame, Relaxed);
        }
        self.heads[order] = frame;
    }

    fn unlink(&mut self, records: Records, frame: u32, order: usize) {
        let Some(meta) = records.get(frame) else { return };
        let (next, prev) = (meta.next.load(Relaxed), meta.prev.load(Relaxed));
        meta.free_order.store(0, Relaxed);
        match records.get(prev) {
            Some(before) if prev != 0 => before.next.store(next, Relaxed),
            _ => self.heads[order] = next,
        }
        if let Some(after) = records.get(next).filter(|_| next != 0) {
            after.prev.store(prev, Relaxed);
        }
    }

    /// Takes a block of 2^`order` frames, aligned to its size; gives its first frame's number.
    pub fn take(&mut self, records: Records, order: usize) -> Option<u32> {
        let found = (order..=MAX_ORDER).find(|order| self.heads[*order] != 0)?;
        let frame = self.heads[found];
        self.unlink(records, frame, found);
        for half in (order..found).rev() {
            self.push(records, frame + (1 << half), half);
        }
        self.free -= 1 << order;
        Some(frame)
    }

    /// Gives a block back and merges it with its free neighbours.
    pub fn give(&mut self, records: Records, frame: u32, order: usize) {
        self.free += 1 << order;
        let (mut frame, mut order) = (frame, order);
        while order < MAX_ORDER {
            let buddy = frame ^ 1 << order;
            let free = records.get(buddy).is_some_and(|m| usize::from(m.free_order.load(Relaxed)) == order + 1);
            if !free {
                break;
            }
            self.unlink(records, buddy, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.push(records, frame, order);
    }

    /// Gives back `count` frames from `frame` on, in blocks as large as their place allows.
    pub fn give_range(&mut self, records: Records, frame: u32, count: usize) {
        let (mut frame, mut left) = (frame, count);
        while left > 0 {
            let order = (frame.trailing_zeros() as usize).min(left.ilog2() as usize).min(MAX_ORDER);
            self.give(records, frame, order);
            frame += 1 << order;
            left -= 1 << order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn records(frames: u32) -> Records {
        let meta: Vec<Meta> = (0..frames).map(|_| Meta::default()).collect();
        Records { meta: Box::leak(meta.into_boxed_slice()), base: 256 }
    }

    #[test]
    fn halves_merge_again() {
        let records = records(1024);
        let mut buddy = Buddy::new();
        buddy.give_range(records, 256, 1024);
        let all: Vec<u32> = core::iter::from_fn(|| buddy.take(records, 0)).collect();
        assert_eq!(all.len(), 1024);
        assert_eq!(buddy.free_frames(), 0);
        for frame in all {
            buddy.give(records, frame, 0);
        }
        // 1,024 frames from number 256 on: 256 | 512 | 256.
        assert!(buddy.take(records, 9).is_some_and(|f| f == 512));
        assert!(buddy.take(records, 9).is_none());
        assert!(buddy.take(records, 8).is_some());
        assert!(buddy.take(records, 8).is_some());
        assert!(buddy.take(records, 0).is_none());
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_all_come_back(ops in prop::collection::vec((0usize..5, any::<prop::sample::Index>(), any::<bool>()), 1..200)) {
            let records = records(512);
            let mut buddy = Buddy::new();
            buddy.give_range(records, 256, 512);
            let mut held: Vec<(u32, usize)> = Vec::new();
            for (order, which, give) in ops {
                if give && !held.is_empty() {
                    let (frame, order) = held.swap_remove(which.index(held.len()));
                    buddy.give(records, frame, order);
                } else if let Some(frame) = buddy.take(records, order) {
                    prop_assert_eq!(frame % (1 << order), 0);
                    for (other, size) in &held {
                        prop_assert!(frame + (1 << order) <= *other || *other + (1 << size) <= frame);
                    }
                    held.push((frame, order));
                }
                let used: usize = held.iter().map(|(_, order)| 1 << order).sum();
                prop_assert_eq!(buddy.free_frames(), 512 - used);
            }
            for (frame, order) in held {
                buddy.give(records, frame, order);
            }
            prop_assert!(buddy.take(records, 8).is_some());
            prop_assert!(buddy.take(records, 8).is_some());
        }
    }
}
