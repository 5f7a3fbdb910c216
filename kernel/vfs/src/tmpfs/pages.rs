//! The content of a regular file: its size and its pages, in groups of 64.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use arch::addr::{PAGE_SHIFT, PAGE_SIZE};
use base::{Errno, Result};
use memory::{Frame, Kind};

const GROUP: u64 = 64;

type Group = [Option<Frame>; GROUP as usize];

/// Size and pages. Absent pages are holes and read as zeros. Bytes behind the end in the last page are zero.
#[derive(Default)]
pub(super) struct Pages {
    pub size: u64,
    groups: BTreeMap<u64, Box<Group>>,
    /// Pages that are there.
    pub count: u64,
    /// Seals of a memfd (F_ADD_SEALS).
    pub seals: u32,
}

impl Pages {
    /// No pages, with these seals.
    pub fn sealed(seals: u32) -> Pages {
        Pages { seals, ..Pages::default() }
    }

    /// The page `index`, if it is there.
    pub fn get(&self, index: u64) -> Option<&Frame> {
        self.groups.get(&(index / GROUP))?[(index % GROUP) as usize].as_ref()
    }

    /// Puts `frame` at `index`, where there is a hole.
    pub fn insert(&mut self, index: u64, frame: Frame) {
        let group = self.groups.entry(index / GROUP).or_insert_with(|| Box::new([const { None }; GROUP as usize]));
        if group[(index % GROUP) as usize].replace(frame).is_none() {
            self.count += 1;
        }
    }

    /// A page of zeros, not put anywhere yet. ENOMEM.
    pub fn zeroed() -> Result<Frame> {
        memory::admit(size_of::<Group>()).map_err(|_| Errno::ENOMEM)?;
        Ok(Frame::alloc_zeroed(Kind::File)?)
    }

    /// Takes the pages from `start` to before `end` out; to be dropped without a lock.
    #[expect(clippy::vec_box, reason = "whole groups are handed over as they are, not copied")]
    pub fn take(&mut self, start: u64, end: u64) -> Vec<Box<Group>> {
        let mut taken = Vec::new();
        if start >= end {
            return taken;
        }
        let whole: Vec<u64> = self.groups.range(start / GROUP..=(end - 1) / GROUP).map(|(group, _)| *group).collect();
        for group in whole {
            let first = group * GROUP;
            let covered = start <= first && end - first >= GROUP;
            if covered {
                taken.extend(self.groups.remove(&group));
                continue;
            }
            let Some(pages) = self.groups.get_mut(&group) else { continue };
            let mut part: Box<Group> = Box::new([const { None }; GROUP as usize]);
            for i in 0..GROUP {
                if (start..end).contains(&(first + i)) {
                    part[i as usize] = pages[i as usize].take();
                }
            }
            if pages.iter().all(Option::is_none) {
                self.groups.remove(&group);
            }
            taken.push(part);
        }
        self.count -= taken.iter().flat_map(|group| group.iter()).flatten().count() as u64;
        taken
    }

    /// Zeros the bytes from `start` to before `end` of pages that are there.
    pub fn zero(&self, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            let offset = (at % PAGE_SIZE as u64) as usize;
            let len = (PAGE_SIZE - offset).min(usize::try_from(end - at).unwrap_or(usize::MAX));
            if let Some(frame) = self.get(at >> PAGE_SHIFT) {
                frame.zero(offset, len);
            }
            at += len as u64;
        }
    }

    /// The first page from `index` to before `end` that is there (`data`), or that is not.
    pub fn find(&self, index: u64, end: u64, data: bool) -> Option<u64> {
        let mut at = index;
        while at < end {
            match self.groups.get(&(at / GROUP)) {
                Some(group) => {
                    if group[(at % GROUP) as usize].is_some() == data {
                        return Some(at);
                    }
                    at += 1;
                }
                None if !data => return Some(at),
                None => at = *self.groups.range(at / GROUP..).next()?.0 * GROUP,
            }
        }
        None
    }
}
