//! Areas by ascending address, in short runs: finding one is two binary searches, its neighbours are next to it, and adding or
//! removing moves at most one run. What was found last is looked at first: calls look many times in the same place.

use super::area::Area;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Areas in a run at most.
const RUN: usize = 64;

/// Bits that the index of an area in its run takes.
const INDEX_BITS: u32 = 8;
const _: () = assert!(RUN <= 1 << INDEX_BITS);

/// Where an area is, until one is added or removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Pos {
    run: usize,
    index: usize,
}

/// The areas. No run is empty.
pub(super) struct Sorted {
    runs: Vec<Vec<Area>>,
    len: usize,
    /// Where the last search ended: the run above [`INDEX_BITS`], the index below. A guess, which readers may overwrite for each other.
    last: AtomicU32,
}

impl Sorted {
    pub fn new() -> Sorted {
        Sorted { runs: Vec::new(), len: 0, last: AtomicU32::new(0) }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, pos: Pos) -> &Area {
        &self.runs[pos.run][pos.index]
    }

    pub fn get_mut(&mut self, pos: Pos) -> &mut Area {
        &mut self.runs[pos.run][pos.index]
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Area> {
        self.runs.iter().flatten()
    }

    pub fn first(&self) -> Option<Pos> {
        (self.len > 0).then_some(Pos { run: 0, index: 0 })
    }

    /// The last area that starts at or below `addr`.
    #[inline]
    pub fn upto(&self, addr: usize) -> Option<Pos> {
        let last = self.last.load(Relaxed) as usize;
        let (run, index) = (last >> INDEX_BITS, last & ((1 << INDEX_BITS) - 1));
        // There, or the one before it.
        for index in [index, index.wrapping_sub(1)] {
            if self.is_upto(Pos { run, index }, addr) {
                return Some(Pos { run, index });
            }
        }
        self.search(addr)
    }

    #[inline]
    fn is_upto(&self, pos: Pos, addr: usize) -> bool {
        let Some(areas) = self.runs.get(pos.run) else { return false };
        areas.get(pos.index).is_some_and(|area| area.start <= addr)
            && match areas.get(pos.index + 1) {
                Some(next) => addr < next.start,
                None => pos.run + 1 == self.runs.len(),
            }
    }

    fn search(&self, addr: usize) -> Option<Pos> {
        let run = self.runs.partition_point(|run| run[0].start <= addr).checked_sub(1)?;
        let index = self.runs[run].partition_point(|area| area.start <= addr) - 1;
        self.last.store((run << INDEX_BITS | index) as u32, Relaxed);
        Some(Pos { run, index })
    }

    /// The last area that starts below `addr`.
    pub fn below(&self, addr: usize) -> Option<Pos> {
        self.upto(addr.checked_sub(1)?)
    }

    /// The first area that starts at or above `addr`.
    pub fn from(&self, addr: usize) -> Option<Pos> {
        match self.below(addr) {
            Some(pos) => self.next(pos),
            None => self.first(),
        }
    }

    pub fn next(&self, pos: Pos) -> Option<Pos> {
        if pos.index + 1 < self.runs[pos.run].len() {
            return Some(Pos { index: pos.index + 1, ..pos });
        }
        (pos.run + 1 < self.runs.len()).then_some(Pos { run: pos.run + 1, index: 0 })
    }

    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        if pos.index > 0 {
            return Some(Pos { index: pos.index - 1, ..pos });
        }
        let run = pos.run.checked_sub(1)?;
        Some(Pos { run, index: self.runs[run].len() - 1 })
    }

    /// Adds an area behind `after`, which is the last that starts below it (`None`: there is none).
    pub fn insert_after(&mut self, after: Option<Pos>, area: Area) {
        self.len += 1;
        let Some(Pos { run, index }) = after.or_else(|| self.runs.first().map(|_| Pos { run: 0, index: usize::MAX }))
        else {
            let mut run = Vec::with_capacity(4);
            run.push(area);
            return self.runs.push(run);
        };
        let index = index.wrapping_add(1);
        if self.runs[run].len() < RUN {
            return self.runs[run].insert(index, area);
        }
        let mut rest = Vec::with_capacity(RUN);
        rest.extend(self.runs[run].drain(RUN / 2..));
        match index.checked_sub(RUN / 2) {
            Some(index) => rest.insert(index, area),
            None => self.runs[run].insert(index, area),
        }
        self.runs.insert(run + 1, rest);
    }

    pub fn remove(&mut self, pos: Pos) -> Area {
        self.len -= 1;
        let area = self.runs[pos.run].remove(pos.index);
        if self.runs[pos.run].is_empty() {
            self.runs.remove(pos.run);
        }
        area
    }
}

#[cfg(test)]
mod tests {
    use super::super::Flags;
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn runs_are_an_ordered_set(ops in prop::collection::vec((0usize..500, 0u8..5), 1..1500)) {
            let (mut sorted, mut model) = (Sorted::new(), BTreeSet::new());
            for (start, op) in ops {
                let found = sorted.upto(start);
                prop_assert_eq!(found.map(|pos| sorted.get(pos).start), model.range(..=start).next_back().copied());
                let above = sorted.from(start);
                prop_assert_eq!(above.map(|pos| sorted.get(pos).start), model.range(start..).next().copied());
                if let Some(pos) = above {
                    let before = sorted.prev(pos).map(|pos| sorted.get(pos).start);
                    prop_assert_eq!(before, model.range(..start).next_back().copied());
                }
                let here = found.filter(|pos| sorted.get(*pos).start == start);
                match here {
                    Some(pos) if op == 0 => {
                        sorted.remove(pos);
                        model.remove(&start);
                    }
                    None if op > 0 => {
                        sorted.insert_after(found, Area { start, end: start + 1, flags: Flags::READ, backing: None });
                        model.insert(start);
                    }
                    _ => {}
                }
                prop_assert_eq!(sorted.len(), model.len());
            }
            prop_assert!(sorted.iter().map(|area| area.start).eq(model.iter().copied()));
            prop_assert!(sorted.iter().rev().map(|area| area.start).eq(model.iter().rev().copied()));
        }
    }
}
