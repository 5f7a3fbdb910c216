//! mmap(2).

use super::area::Area;
use super::areas::{self, MAX_AREAS};
use super::object::{Backing, Object, SharedAnonymous};
use super::{Flags, Inner, Limits, MIN_ADDR, Space, range_end, round_len};
use crate::frames::{admit, total_bytes};
use alloc::sync::Arc;
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::USER_END;
use arch::trap::{Access, PageFault};
use base::Errno;

/// Where a mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere; at this address if it is free and not null.
    Hint(VirtAddr),
    /// Here, in the place of what is there (MAP_FIXED).
    Fixed(VirtAddr),
    /// Here; EEXIST if something is there (MAP_FIXED_NOREPLACE).
    Free(VirtAddr),
}

/// What mmap(2) is asked for.
pub struct MapRequest {
    /// Where.
    pub place: Place,
    /// How many bytes; rounded up to pages.
    pub len: usize,
    /// Protection, what protection may become, and behaviour.
    pub flags: Flags,
    /// What to map, and from which offset in bytes (a multiple of the page size). `None`: anonymous memory.
    pub object: Option<(Arc<dyn Object>, u64)>,
    /// Map all pages now (MAP_POPULATE).
    pub populate: bool,
}

impl MapRequest {
    /// Private anonymous memory that may be given any protection later.
    pub fn anonymous(place: Place, len: usize, prot: Flags) -> MapRequest {
        MapRequest { place, len, flags: prot | Flags::MAY, object: None, populate: false }
    }

    /// The length in whole pages. EINVAL, ENOMEM, EOVERFLOW.
    #[inline]
    fn check(&self) -> Result<usize, Errno> {
        let len = round_len(self.len).ok_or(if self.len == 0 { Errno::EINVAL } else { Errno::ENOMEM })?;
        if let Some((_, offset)) = &self.object {
            if offset % PAGE_SIZE as u64 != 0 {
                return Err(Errno::EINVAL);
            }
            offset.checked_add(len as u64).filter(|end| *end <= i64::MAX as u64).ok_or(Errno::EOVERFLOW)?;
        }
        Ok(len)
    }
}

impl Space {
    /// mmap(2): gives the address. Waits for the space, and for other CPUs if something is replaced.
    ///
    /// EINVAL for a bad length, address or offset, EEXIST, EOVERFLOW for an offset that is too large, EPERM for an address below
    /// [`MIN_ADDR`], ENOMEM where a limit is reached or there is no room, EAGAIN where what must be locked may not be.
    pub async fn map(&self, request: MapRequest, limits: &Limits) -> Result<VirtAddr, Errno> {
        let len = request.check()?;
        let mut flags = request.flags;
        let mut inner = self.write().await;
        inner.limits = *limits;
        if inner.lock_future && (flags & Flags::PROT) != Flags::empty() {
            flags |= Flags::LOCKED;
        }
        let (start, replace) = choose(&mut inner, request.place, len)?;
        let end = start + len;
        check_limits(&inner, start, end, flags, limits)?;
        if replace {
            self.unmap_locked(&mut inner, start, end).await?;
        }
        self.add(&mut inner, start, end, flags, request.object);
        drop(inner);
        if request.populate || flags.contains(Flags::LOCKED) {
            // As mmap(2) says: the mapping stands even if this fails.
            let _ = self.populate(start, end, flags.contains(Flags::WRITE) && !flags.contains(Flags::SHARED)).await;
        }
        Ok(VirtAddr(start))
    }

    /// As [`Space::map`], without waiting, where nothing is replaced. `None`: that is not enough, and nothing was done.
    pub fn try_map(&self, request: MapRequest, limits: &Limits) -> Option<Result<VirtAddr, Errno>> {
        if request.populate || request.flags.contains(Flags::LOCKED) {
            return None;
        }
        let mut inner = self.try_write().filter(|inner| !inner.lock_future)?;
        self.map_at_once(&mut inner, request, limits).transpose()
    }

    /// `Ok(None)`: something is to be replaced.
    fn map_at_once(&self, inner: &mut Inner, request: MapRequest, limits: &Limits) -> Result<Option<VirtAddr>, Errno> {
        let len = request.check()?;
        inner.limits = *limits;
        let (start, replace) = choose(inner, request.place, len)?;
        let end = start + len;
        if replace && !inner.areas.is_free(start, end) {
            return Ok(None);
        }
        check_limits(inner, start, end, request.flags, limits)?;
        self.add(inner, start, end, request.flags, request.object);
        Ok(Some(VirtAddr(start)))
    }

    /// Adds an area where nothing is.
    #[inline]
    fn add(&self, inner: &mut Inner, start: usize, end: usize, flags: Flags, object: Option<(Arc<dyn Object>, u64)>) {
        let backing = match object {
            Some((object, offset)) => Some(Backing::new(object, offset, &self.me)),
            None if flags.contains(Flags::SHARED) => Some(Backing::new(Arc::new(SharedAnonymous::new()), 0, &self.me)),
            None => None,
        };
        inner.areas.insert(Area { start, end, flags, backing });
    }

    /// Touches the pages of `start..end`, to be written if `write`. Stops at the first that cannot be.
    pub(super) async fn populate(&self, start: usize, end: usize, write: bool) -> Result<(), super::FaultError> {
        let access = if write { Access::Write } else { Access::Read };
        let mut budget = executor::Budget::new(64);
        for page in (start..end).step_by(PAGE_SIZE) {
            if !self.is_mapped_for(page, write).await {
                self.fault(PageFault { addr: VirtAddr(page), access }).await?;
            }
            budget.spend(1).await;
        }
        Ok(())
    }
}

/// The address for a mapping, and whether something is to be replaced there.
fn choose(inner: &mut Inner, place: Place, len: usize) -> Result<(usize, bool), Errno> {
    match place {
        Place::Fixed(at) | Place::Free(at) => {
            if !at.is_page_aligned() {
                return Err(Errno::EINVAL);
            }
            let end = range_end(at.0, len).ok_or(Errno::ENOMEM)?;
            if at.0 < MIN_ADDR {
                return Err(Errno::EPERM);
            }
            if matches!(place, Place::Free(_)) && !inner.areas.is_free(at.0, end) {
                return Err(Errno::EEXIST);
            }
            Ok((at.0, true))
        }
        Place::Hint(at) => {
            let at = at.0 & !(PAGE_SIZE - 1);
            if at >= MIN_ADDR
                && let Some(end) = range_end(at, len)
                && inner.areas.is_free(at, end)
                && inner.areas.at_or_after(end).is_none_or(|next| next.guarded_start() >= end)
            {
                return Ok((at, false));
            }
            Ok((find_room(inner, len)?, false))
        }
    }
}

/// Room below where mappings begin, or above where there is none.
pub(super) fn find_room(inner: &mut Inner, len: usize) -> Result<usize, Errno> {
    let top = inner.layout.mmap_top.0;
    let room = inner.areas.find_room(len, MIN_ADDR, top);
    room.or_else(|| inner.areas.find_room(len, top, USER_END.0)).ok_or(Errno::ENOMEM)
}

fn check_limits(inner: &Inner, start: usize, end: usize, flags: Flags, limits: &Limits) -> Result<(), Errno> {
    let replaced: usize = inner.areas.over(start, end).map(|a| (a.end.min(end) - a.start.max(start)) / PAGE_SIZE).sum();
    let pages = (end - start) / PAGE_SIZE;
    check_growth(inner, pages, replaced, flags, limits)?;
    if inner.areas.len() >= MAX_AREAS {
        return Err(Errno::ENOMEM);
    }
    Ok(admit(8192)?)
}

/// Whether `pages` more with `flags` are allowed, `replaced` of which take the place of others.
pub(super) fn check_growth(
    inner: &Inner,
    pages: usize,
    replaced: usize,
    flags: Flags,
    limits: &Limits,
) -> Result<(), Errno> {
    let areas = &inner.areas;
    if areas.pages + pages - replaced.min(pages) > limits.address_space / PAGE_SIZE {
        return Err(Errno::ENOMEM);
    }
    if areas::is_data(flags) && areas.data_pages + pages > limits.data / PAGE_SIZE {
        return Err(Errno::ENOMEM);
    }
    if flags.contains(Flags::LOCKED) && areas.locked_pages + pages > limits.memlock / PAGE_SIZE {
        return Err(Errno::EAGAIN);
    }
    // What could never be had at all is refused at once, as by Linux's heuristic overcommit.
    if flags.is_private_writable() && !flags.contains(Flags::NORESERVE) && pages > total_bytes() / PAGE_SIZE {
        return Err(Errno::ENOMEM);
    }
    Ok(())
}
