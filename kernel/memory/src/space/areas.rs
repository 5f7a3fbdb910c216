//! The areas of a space in ascending order, and finding room between them.

use super::area::{Area, Flags};
use super::sorted::{Pos, Sorted};
use crate::frames::admit;
use base::Errno;

/// The most areas that a space may have (vm.max_map_count).
pub const MAX_AREAS: usize = 65_530;

/// How many areas are looked at from the top before the places where room is likely are tried.
const LOOK: usize = 64;

pub(super) struct Areas {
    map: Sorted,
    /// Pages in all areas, and in those that count against RLIMIT_DATA.
    pub pages: usize,
    pub data_pages: usize,
    pub locked_pages: usize,
    pub stack_pages: usize,
    pub exec_pages: usize,
    /// The lowest address that [`Areas::find_room`] gave: below it there is likely room.
    lowest: usize,
    /// Room that an area left behind.
    left: (usize, usize),
}

/// Writable private memory that is no stack (getrlimit(2), RLIMIT_DATA).
pub(super) fn is_data(flags: Flags) -> bool {
    flags.is_private_writable() && !flags.contains(Flags::GROWSDOWN)
}

impl Areas {
    pub fn new() -> Areas {
        Areas {
            map: Sorted::new(),
            pages: 0,
            data_pages: 0,
            locked_pages: 0,
            stack_pages: 0,
            exec_pages: 0,
            lowest: usize::MAX,
            left: (0, 0),
        }
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    fn count(&mut self, flags: Flags, pages: usize, add: bool) {
        let apply = |total: &mut usize| *total = if add { *total + pages } else { *total - pages };
        apply(&mut self.pages);
        if is_data(flags) {
            apply(&mut self.data_pages);
        }
        if flags.contains(Flags::LOCKED) {
            apply(&mut self.locked_pages);
        }
        if flags.contains(Flags::GROWSDOWN) {
            apply(&mut self.stack_pages);
        }
        if flags.contains(Flags::EXEC) {
            apply(&mut self.exec_pages);
        }
    }

    /// The area that `addr` lies in.
    #[inline]
    pub fn at(&self, addr: usize) -> Option<&Area> {
        self.map.upto(addr).map(|pos| self.map.get(pos)).filter(|area| addr < area.end)
    }

    /// The first area that ends above `addr`.
    pub fn at_or_after(&self, addr: usize) -> Option<&Area> {
        self.pos_at_or_after(addr).map(|pos| self.map.get(pos))
    }

    fn pos_at_or_after(&self, addr: usize) -> Option<Pos> {
        match self.map.upto(addr) {
            Some(pos) if addr < self.map.get(pos).end => Some(pos),
            Some(pos) => self.map.next(pos),
            None => self.map.first(),
        }
    }

    /// The last area that ends at or below `addr`.
    pub fn before(&self, addr: usize) -> Option<&Area> {
        self.map.below(addr).map(|pos| self.map.get(pos)).filter(|area| area.end <= addr)
    }

    /// All areas, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Area> {
        self.map.iter()
    }

    /// The areas that overlap `start..end`, ascending.
    pub fn over(&self, start: usize, end: usize) -> impl Iterator<Item = &Area> {
        let all = core::iter::successors(self.pos_at_or_after(start), |pos| self.map.next(*pos));
        all.map(|pos| self.map.get(pos)).take_while(move |area| area.start < end)
    }

    /// Whether areas cover all of `start..end`.
    pub fn covers(&self, start: usize, end: usize) -> bool {
        let mut at = start;
        for area in self.over(start, end) {
            if area.start > at {
                return false;
            }
            at = area.end;
        }
        at >= end
    }

    /// Whether nothing is in `start..end`.
    pub fn is_free(&self, start: usize, end: usize) -> bool {
        self.over(start, end).next().is_none()
    }

    /// Adds an area where nothing is, as one with its neighbours where they match.
    pub fn insert(&mut self, mut area: Area) {
        self.count(area.flags, area.pages(), true);
        let before = self.map.below(area.start);
        let after = match before {
            Some(pos) => self.map.next(pos),
            None => self.map.first(),
        };
        if let Some(after) = after.filter(|after| area.continues_in(self.map.get(*after))) {
            // `before` lies in front of it and keeps its place.
            area.end = self.map.remove(after).end;
        }
        match before {
            Some(pos) if self.map.get(pos).continues_in(&area) => self.map.get_mut(pos).end = area.end,
            _ => self.map.insert_after(before, area),
        }
    }

    /// Makes `at` the border of two areas if it lies inside one. ENOMEM if there would be too many.
    pub fn split(&mut self, at: usize) -> Result<(), Errno> {
        let full = self.map.len() >= MAX_AREAS;
        let Some(pos) = self.map.below(at) else { return Ok(()) };
        if self.map.get(pos).end <= at {
            return Ok(());
        }
        if full {
            return Err(Errno::ENOMEM);
        }
        admit(8192)?;
        let rest = self.map.get_mut(pos).split_off(at);
        self.map.insert_after(Some(pos), rest);
        Ok(())
    }

    /// Splits at both ends.
    pub fn isolate(&mut self, start: usize, end: usize) -> Result<(), Errno> {
        self.split(start)?;
        self.split(end)
    }

    /// Takes out the first area that begins in `start..end`.
    pub fn take_first(&mut self, start: usize, end: usize) -> Option<Area> {
        let pos = self.map.from(start).filter(|pos| self.map.get(*pos).start < end)?;
        let area = self.map.remove(pos);
        self.count(area.flags, area.pages(), false);
        Some(area)
    }

    /// Takes out the areas of `start..end`, which must not reach over its ends, and remembers the room.
    pub fn remove(&mut self, start: usize, end: usize) {
        while self.take_first(start, end).is_some() {}
        let (low, after) = self.around(start);
        self.left = (low, after.map_or(usize::MAX, Area::guarded_start).max(end));
    }

    /// Changes the flags of the areas of `start..end`, which must not reach over its ends, and merges them with their neighbours.
    pub fn change(&mut self, start: usize, end: usize, mut change: impl FnMut(Flags) -> Flags) {
        let mut at = start;
        while let Some(mut area) = self.take_first(at, end) {
            at = area.end;
            area.flags = change(area.flags);
            self.insert(area);
        }
        // The right neighbour may match now.
        if let Some(after) = self.take_first(end, end + 1) {
            self.insert(after);
        }
    }

    /// Moves the start of the area at `old` down to `new`.
    pub fn grow_down(&mut self, old: usize, new: usize) {
        if let Some(mut area) = self.take_first(old, old + 1) {
            area.start = new;
            self.insert(area);
        }
    }

    /// Finds `len` free bytes in `floor..top`, as high as can be told cheaply: the first fit from the top among the
    /// highest areas, else room that was left behind, else below everything that was ever given, else the first fit at
    /// all.
    pub fn find_room(&mut self, len: usize, floor: usize, top: usize) -> Option<usize> {
        let found = self
            .first_fit(len, floor, top, LOOK)
            .or_else(|| {
                let (low, high) = (self.left.0.max(floor), self.left.1.min(top));
                let start = high.checked_sub(len)?;
                (start >= low && self.is_room(start, start + len)).then_some(start)
            })
            .or_else(|| self.first_fit(len, floor, self.lowest.min(top), LOOK))
            .or_else(|| self.first_fit(len, floor, top, usize::MAX))?;
        self.lowest = self.lowest.min(found);
        Some(found)
    }

    fn is_room(&self, start: usize, end: usize) -> bool {
        self.is_free(start, end) && self.at_or_after(end).is_none_or(|area| area.guarded_start() >= end)
    }

    fn first_fit(&self, len: usize, floor: usize, top: usize, look: usize) -> Option<usize> {
        let mut at = self.map.below(top);
        let above = match at {
            Some(pos) if self.map.get(pos).end > top => Some(pos),
            Some(pos) => self.map.next(pos),
            None => self.map.first(),
        };
        let mut high = above.map_or(top, |pos| self.map.get(pos).guarded_start().min(top));
        for _ in 0..look {
            let Some(pos) = at else { break };
            let area = self.map.get(pos);
            let low = area.end.max(floor);
            if high >= low && high - low >= len {
                return Some(high - len);
            }
            high = high.min(area.guarded_start());
            if high < floor {
                return None;
            }
            at = self.map.prev(pos);
        }
        (at.is_none() && high >= floor && high - floor >= len).then(|| high - len)
    }

    /// The end of what lies below the free address `addr`, and what lies above.
    fn around(&self, addr: usize) -> (usize, Option<&Area>) {
        match self.map.below(addr) {
            Some(pos) => (self.map.get(pos).end, self.map.next(pos).map(|pos| self.map.get(pos))),
            None => (0, self.map.first().map(|pos| self.map.get(pos))),
        }
    }

    /// The range without areas around `start..end`, which must be free: its tables are needed by nobody.
    pub fn hole_around(&self, start: usize, end: usize) -> (usize, usize) {
        let (floor, after) = self.around(start);
        (floor, after.map_or(usize::MAX, |area| area.start.max(end)))
    }
}
