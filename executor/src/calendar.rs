//! The fair part of a run queue: a calendar of virtual deadlines.
//!
//! Virtual time is divided into buckets, of which the next 256 are kept in a ring, each a FIFO. A
//! task is put `offset(nice)` buckets after the present one and the first non-empty bucket goes
//! next; the present moves there. In steady state a task so has a turn every `offset` buckets,
//! which makes its share inverse to its offset, and tasks of equal nice go in FIFO order. A sleeper
//! earns no credit. All operations are O(1).

use crate::fifo::{Fifo, Ready};
use crate::sched::{BUCKETS, Entity};

const WORDS: usize = BUCKETS / 64;
const _: () = assert!(BUCKETS == 1 << u8::BITS);

pub(crate) struct Calendar {
    /// The bucket of the present. A byte goes round where the ring does.
    now: u8,
    /// Which buckets are not empty.
    filled: [u64; WORDS],
    buckets: [Fifo; BUCKETS],
}

impl Calendar {
    pub const fn new() -> Calendar {
        Calendar { now: 0, filled: [0; WORDS], buckets: [const { Fifo::new() }; BUCKETS] }
    }

    #[inline]
    pub fn push(&mut self, task: Ready, offset: u64) {
        let bucket = usize::from(self.now.wrapping_add(offset as u8));
        self.buckets[bucket].push_back(task);
        self.filled[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Before everything else.
    #[inline]
    pub fn push_first(&mut self, task: Ready) {
        let now = usize::from(self.now);
        self.buckets[now].push_front(task);
        self.filled[now / 64] |= 1 << (now % 64);
    }

    /// The first non-empty bucket at or after the present.
    #[inline]
    fn first(&self, from: u8) -> Option<u8> {
        let word = usize::from(from) / 64;
        let here = self.filled[word] >> (from % 64);
        if here != 0 {
            return Some(from + here.trailing_zeros() as u8);
        }
        // The last round is the start of the first word again, behind the present.
        for step in 1..=WORDS {
            let word = (word + step) % WORDS;
            if self.filled[word] != 0 {
                return Some((word * 64) as u8 + self.filled[word].trailing_zeros() as u8);
            }
        }
        None
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Ready> {
        let bucket = self.first(self.now)?;
        self.now = bucket;
        let task = self.buckets[usize::from(bucket)].pop_front();
        self.tidy(bucket.into());
        task
    }

    #[inline]
    fn tidy(&mut self, bucket: usize) {
        if self.buckets[bucket].is_empty() {
            self.filled[bucket / 64] &= !(1 << (bucket % 64));
        }
    }

    /// Takes out the next task that `wanted` accepts, without moving the present. Looks at no more than `looks` tasks.
    pub fn take(&mut self, mut looks: u32, wanted: impl Fn(&Entity) -> bool) -> Option<Ready> {
        let mut from = self.now;
        let mut left = BUCKETS;
        while let Some(bucket) = self.first(from) {
            if let Some(task) = self.buckets[usize::from(bucket)].take_first(&mut looks, &wanted) {
                self.tidy(bucket.into());
                return Some(task);
            }
            let step = usize::from(bucket.wrapping_sub(from)) + 1;
            if looks == 0 || step >= left {
                return None;
            }
            left -= step;
            from = bucket.wrapping_add(1);
        }
        None
    }
}
