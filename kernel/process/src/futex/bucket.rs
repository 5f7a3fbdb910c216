//! A bucket of the table: a queue in small blocks.
//!
//! Any number of threads may wait for one word, or for words with one hash. In one piece a long queue would be one large
//! allocation, which fails where memory is in pieces or above the largest block that there is (65,536 waiters), would be
//! copied under the bucket's spin lock as it grows, and would stay as large when all have gone. What a bucket keeps when
//! it is empty is one block at most.

use alloc::collections::{TryReserveError, VecDeque};

/// How many entries make a block: a page of them.
const BLOCK: usize = 64;

/// The queue. Entries have places from 0 at its front; with few of them all is in `front`.
pub(super) struct Bucket<T> {
    front: VecDeque<T>,
    /// What comes after `front`; none of them is empty.
    rest: VecDeque<VecDeque<T>>,
    /// Room for the next block, where that has been reserved.
    spare: VecDeque<T>,
}

impl<T> Bucket<T> {
    pub const fn new() -> Bucket<T> {
        Bucket { front: VecDeque::new(), rest: VecDeque::new(), spare: VecDeque::new() }
    }

    /// Makes room for one more.
    #[inline]
    pub fn try_reserve(&mut self) -> Result<(), TryReserveError> {
        if self.rest.is_empty() && self.front.len() < BLOCK { self.front.try_reserve(1) } else { self.reserve_behind() }
    }

    #[cold]
    fn reserve_behind(&mut self) -> Result<(), TryReserveError> {
        match self.rest.back_mut() {
            // A block has its full size from the first.
            Some(last) if last.len() < BLOCK => Ok(()),
            _ => {
                self.rest.try_reserve(1)?;
                self.spare.try_reserve_exact(BLOCK)
            }
        }
    }

    /// Adds one behind all others, where [`Bucket::try_reserve`] has made room.
    #[inline]
    pub fn push_back(&mut self, entry: T) {
        if self.rest.is_empty() && self.front.len() < BLOCK {
            self.front.push_back(entry);
        } else {
            self.push_behind(entry);
        }
    }

    #[cold]
    fn push_behind(&mut self, entry: T) {
        match self.rest.back_mut() {
            Some(last) if last.len() < BLOCK => last.push_back(entry),
            _ => {
                let mut block = core::mem::take(&mut self.spare);
                block.push_back(entry);
                self.rest.push_back(block);
            }
        }
    }

    #[inline]
    pub fn pop_front(&mut self) -> Option<T> {
        let entry = self.front.pop_front();
        if self.front.is_empty() && !self.rest.is_empty() {
            self.advance();
        }
        entry
    }

    /// The next block comes to the front.
    #[cold]
    fn advance(&mut self) {
        if let Some(block) = self.rest.pop_front() {
            self.front = block;
        }
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
    }

    /// In which block (0 is `front`) a place is, and where in it.
    #[cold]
    fn locate(&self, at: usize) -> Option<(usize, usize)> {
        let mut left = at;
        for (number, block) in core::iter::once(&self.front).chain(&self.rest).enumerate() {
            if left < block.len() {
                return Some((number, left));
            }
            left -= block.len();
        }
        None
    }

    #[cold]
    pub fn remove(&mut self, at: usize) -> Option<T> {
        let (number, at) = self.locate(at)?;
        if number > 0 {
            let block = self.rest.get_mut(number - 1)?;
            let entry = block.remove(at);
            if block.is_empty() {
                self.rest.remove(number - 1);
            }
            return entry;
        }
        let entry = self.front.remove(at);
        if self.front.is_empty() {
            self.advance();
        }
        entry
    }

    #[inline]
    pub fn get(&self, at: usize) -> Option<&T> {
        match self.front.get(at) {
            None if !self.rest.is_empty() => self.get_behind(at),
            entry => entry,
        }
    }

    #[cold]
    fn get_behind(&self, at: usize) -> Option<&T> {
        let (number, at) = self.locate(at)?;
        self.rest.get(number.checked_sub(1)?)?.get(at)
    }

    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        match self.locate(at)? {
            (0, at) => self.front.get_mut(at),
            (number, at) => self.rest.get_mut(number - 1)?.get_mut(at),
        }
    }

    /// The place of the first one that `wanted` accepts.
    #[inline]
    pub fn position(&self, wanted: impl FnMut(&T) -> bool) -> Option<usize> {
        self.iter().position(wanted)
    }

    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.front.iter().chain(self.rest.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_long_queue_keeps_its_order_whatever_is_taken_out() {
        let (mut bucket, mut model) = (Bucket::new(), VecDeque::new());
        let mut seed = 7u64;
        for number in 0..4000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = (seed >> 33) as usize;
            // It grows for a while, and then shrinks.
            let remove = random.is_multiple_of(4) == (number < 2000);
            if !remove {
                bucket.try_reserve().unwrap();
                bucket.push_back(number);
                model.push_back(number);
            } else if random % 8 < 4 {
                assert_eq!(bucket.pop_front(), model.pop_front());
            } else if !model.is_empty() {
                let at = random / 8 % model.len();
                assert_eq!(bucket.get(at), model.get(at));
                *bucket.get_mut(at).unwrap() += 1;
                model[at] += 1;
                assert_eq!(bucket.remove(at), model.remove(at));
            }
            assert_eq!(bucket.iter().count(), model.len());
        }
        assert!(bucket.iter().eq(model.iter()));
        assert!(bucket.remove(model.len()).is_none());
    }

    #[test]
    fn an_empty_bucket_keeps_one_block() {
        let mut bucket = Bucket::new();
        (0..100_000).for_each(|number| {
            bucket.try_reserve().unwrap();
            bucket.push_back(number);
        });
        let all: Vec<_> = core::iter::from_fn(|| bucket.pop_front()).collect();
        assert!(all.iter().copied().eq(0..100_000));
        assert!(bucket.front.capacity() <= 2 * BLOCK && bucket.rest.capacity() == 0);
    }
}
