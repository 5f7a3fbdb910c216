//! madvise(2), mincore(2), msync(2).

use super::gather::Gather;
use super::table::load;
use super::unmap::Which;
use super::{FaultError, Flags, Inner, Space, range_end};
use arch::addr::{PAGE_SIZE, VirtAddr};
use base::{Errno, Error};

/// What madvise(2) is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "madvise(2) documents them")]
pub enum Advice {
    Normal,
    Random,
    Sequential,
    WillNeed,
    DontNeed,
    Free,
    Remove,
    DontFork,
    DoFork,
    HugePage,
    NoHugePage,
    DontDump,
    DoDump,
    WipeOnFork,
    KeepOnFork,
    Cold,
    PageOut,
    PopulateRead,
    PopulateWrite,
    DontNeedLocked,
}

impl Advice {
    /// From the number of MADV_; `None` (EINVAL) if it is not known.
    pub fn from_raw(advice: u32) -> Option<Advice> {
        Some(match advice {
            0 => Advice::Normal,
            1 => Advice::Random,
            2 => Advice::Sequential,
            3 => Advice::WillNeed,
            4 => Advice::DontNeed,
            8 => Advice::Free,
            9 => Advice::Remove,
            10 => Advice::DontFork,
            11 => Advice::DoFork,
            14 => Advice::HugePage,
            15 => Advice::NoHugePage,
            16 => Advice::DontDump,
            17 => Advice::DoDump,
            18 => Advice::WipeOnFork,
            19 => Advice::KeepOnFork,
            20 => Advice::Cold,
            21 => Advice::PageOut,
            22 => Advice::PopulateRead,
            23 => Advice::PopulateWrite,
            24 => Advice::DontNeedLocked,
            _ => return None,
        })
    }

    /// The flags that an area has afterwards.
    fn apply(self, flags: Flags) -> Flags {
        match self {
            Advice::Normal => flags - (Flags::RANDOM | Flags::SEQUENTIAL),
            Advice::Random => (flags - Flags::SEQUENTIAL) | Flags::RANDOM,
            Advice::Sequential => (flags - Flags::RANDOM) | Flags::SEQUENTIAL,
            Advice::DontFork => flags | Flags::DONTFORK,
            Advice::DoFork => flags - Flags::DONTFORK,
            Advice::HugePage => (flags - Flags::NOHUGEPAGE) | Flags::HUGEPAGE,
            Advice::NoHugePage => (flags - Flags::HUGEPAGE) | Flags::NOHUGEPAGE,
            Advice::DontDump => flags | Flags::DONTDUMP,
            Advice::DoDump => flags - Flags::DONTDUMP,
            Advice::WipeOnFork => flags | Flags::WIPEONFORK,
            Advice::KeepOnFork => flags - Flags::WIPEONFORK,
            _ => flags,
        }
    }
}

impl Space {
    /// madvise(2). Waits for the space, and for other CPUs where pages go. EINVAL for a bad range or where the advice
    /// does not suit the mapping, ENOMEM where part of the range is not mapped (the rest is done), EFAULT where pages that are to
    /// be there cannot be.
    pub async fn advise(&self, start: VirtAddr, len: usize, advice: Advice) -> Result<(), Errno> {
        if !start.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let (start, end) = (start.0, range_end(start.0, len).ok_or(Errno::EINVAL)?);
        match advice {
            Advice::DontNeed | Advice::DontNeedLocked | Advice::Free => self.discard(start, end, advice).await,
            Advice::Remove => self.punch(start, end).await,
            Advice::PopulateRead | Advice::PopulateWrite => {
                if !self.inner.read().await.areas.covers(start, end) {
                    return Err(Errno::ENOMEM);
                }
                self.populate(start, end, advice == Advice::PopulateWrite).await.map_err(|error| match error {
                    FaultError::OutOfMemory | FaultError::NoMapping => Errno::ENOMEM,
                    FaultError::BadPermission => Errno::EINVAL,
                    FaultError::BeyondObject => Errno::EFAULT,
                })
            }
            // Everything is in memory and stays there: there is no swap, and files live in memory.
            Advice::WillNeed | Advice::Cold | Advice::PageOut => covered(&*self.inner.read().await, start, end),
            _ => self.change_behaviour(start, end, advice).await,
        }
    }

    async fn change_behaviour(&self, start: usize, end: usize, advice: Advice) -> Result<(), Errno> {
        let mut inner = self.write().await;
        let wipes_object = advice == Advice::WipeOnFork
            && inner.areas.over(start, end).any(|a| a.backing.is_some() || a.flags.contains(Flags::SHARED));
        let is_special =
            advice == Advice::DoFork && inner.areas.over(start, end).any(|a| a.flags.contains(Flags::SPECIAL));
        if wipes_object || is_special {
            return Err(Errno::EINVAL);
        }
        inner.areas.isolate(start, end)?;
        inner.areas.change(start, end, |flags| advice.apply(flags));
        covered(&inner, start, end)
    }

    /// MADV_FREE frees at once, which it may.
    async fn discard(&self, start: usize, end: usize, advice: Advice) -> Result<(), Errno> {
        let inner = self.write().await;
        let pieces = Space::pieces(&inner, start, end)?;
        let mut gather = Gather::new(&self.root);
        let mut result = Ok(());
        for (start, end, flags) in pieces {
            let locked = flags.contains(Flags::LOCKED) && advice != Advice::DontNeedLocked;
            let not_free = advice == Advice::Free
                && inner.areas.at(start).is_some_and(|a| a.backing.is_some() || flags.contains(Flags::SHARED));
            if locked || not_free || flags.contains(Flags::SPECIAL) {
                result = Err(Errno::EINVAL);
                break;
            }
            self.zap(&inner.tables, start, end, Which::All, &mut gather).await;
        }
        gather.flush().await;
        result?;
        covered(&inner, start, end)
    }

    /// MADV_REMOVE: frees the pages of the object behind shared, writable mappings.
    async fn punch(&self, start: usize, end: usize) -> Result<(), Errno> {
        let mut at = start;
        while at < end {
            let (object, first, last, next) = {
                let inner = self.inner.read().await;
                let area = inner.areas.at(at).ok_or(Errno::ENOMEM)?;
                if area.flags.contains(Flags::LOCKED) {
                    return Err(Errno::EINVAL);
                }
                if !area.flags.contains(Flags::SHARED | Flags::MAY_WRITE) {
                    return Err(Errno::EACCES);
                }
                let backing = area.backing.as_ref().ok_or(Errno::EINVAL)?;
                let next = area.end.min(end);
                let first = area.object_page(at);
                (backing.object.clone(), first, first + ((next - at) / PAGE_SIZE) as u64, next)
            };
            object.punch(first, last).map_err(|error| match error {
                Error::Errno(errno) => errno,
                _ => Errno::EINVAL,
            })?;
            object.mappings().unmap(first, last, false).await;
            at = next;
        }
        Ok(())
    }

    /// mincore(2): sets a byte of `out` for each page from `start` on to 1 if it is in memory. EINVAL for a bad address, ENOMEM where
    /// nothing is mapped. Waits for the space.
    pub async fn resident(&self, start: VirtAddr, out: &mut [u8]) -> Result<(), Errno> {
        if !start.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        let end = range_end(start.0, out.len().checked_mul(PAGE_SIZE).ok_or(Errno::ENOMEM)?).ok_or(Errno::ENOMEM)?;
        let inner = self.inner.read().await;
        if !inner.areas.covers(start.0, end) {
            return Err(Errno::ENOMEM);
        }
        for (byte, page) in out.iter_mut().zip((start.0..end).step_by(PAGE_SIZE)) {
            let mapped = inner.tables.find(page).is_some_and(|slot| load(slot).is_present());
            let cached = || {
                let area = inner.areas.at(page)?;
                area.backing.as_ref()?.object.cached_page(area.object_page(page))
            };
            *byte = u8::from(mapped || cached().is_some());
        }
        Ok(())
    }

    /// msync(2). There is nothing to write back to, so only the range is checked: EINVAL for a bad address, EBUSY for
    /// MS_INVALIDATE (`invalidate`) on locked pages, ENOMEM where nothing is mapped. Waits for the space.
    pub async fn sync(&self, start: VirtAddr, len: usize, invalidate: bool) -> Result<(), Errno> {
        if !start.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let end = range_end(start.0, len).ok_or(Errno::ENOMEM)?;
        let inner = self.inner.read().await;
        if invalidate && inner.areas.over(start.0, end).any(|area| area.flags.contains(Flags::LOCKED)) {
            return Err(Errno::EBUSY);
        }
        covered(&inner, start.0, end)
    }
}

fn covered(inner: &Inner, start: usize, end: usize) -> Result<(), Errno> {
    if inner.areas.covers(start, end) { Ok(()) } else { Err(Errno::ENOMEM) }
}
