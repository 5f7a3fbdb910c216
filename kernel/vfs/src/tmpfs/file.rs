//! Reading, writing, resizing and mapping the regular files of a tmpfs.

use super::memfd::{SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SHRINK, SEAL_WRITE};
use super::node::{Node, Regular};
use super::pages::Pages;
use crate::clock;
use crate::file::{Caller, Extent, File, read_result, write_result};
use crate::inode::{FileType, Inode, Metadata};
use crate::mount::{FileSystem, Location};
use alloc::sync::Arc;
use arch::addr::{PAGE_SHIFT, PAGE_SIZE};
use base::{Errno, Error, Result};
use core::any::Any;
use core::fmt;
use core::sync::atomic::Ordering;
use memory::Frame;
use memory::io::{Dst, Src};
use memory::space::{Identity, Mappings, Object};

/// The largest size of a file.
const MAX_SIZE: u64 = i64::MAX as u64;

const PAGE: u64 = PAGE_SIZE as u64;

mod mode {
    pub const KEEP_SIZE: u32 = 0x01;
    pub const PUNCH_HOLE: u32 = 0x02;
    pub const ZERO_RANGE: u32 = 0x10;
}

impl Node {
    /// The regular file that this is: EISDIR, EINVAL.
    fn data(&self) -> Result<&Regular> {
        let errno = if self.file_type() == FileType::Directory { Errno::EISDIR } else { Errno::EINVAL };
        self.regular().ok_or(errno.into())
    }

    /// The page `index`, made if it is a hole. ENOSPC, ENOMEM.
    fn page_for(&self, pages: &mut Pages, index: u64) -> Result<Frame> {
        if let Some(frame) = pages.get(index) {
            return Ok(frame.clone());
        }
        self.fs.pages.charge(1)?;
        match Pages::zeroed() {
            Ok(frame) => {
                pages.insert(index, frame.clone());
                Ok(frame)
            }
            Err(error) => {
                self.fs.pages.release(1);
                Err(error)
            }
        }
    }

    /// Frees the pages from `start` to before `end`.
    fn free_pages(&self, regular: &Regular, start: u64, end: u64) {
        let mut pages = regular.pages.lock();
        let before = pages.count;
        let taken = pages.take(start, end);
        let freed = before - pages.count;
        drop(pages);
        self.fs.pages.release(freed);
        drop(taken);
    }

    pub(super) fn set_size(&self, size: u64) -> Result<()> {
        let regular = self.data()?;
        if size > MAX_SIZE {
            return Err(Errno::EFBIG.into());
        }
        let _writing = regular.writing.lock();
        let mut pages = regular.pages.lock();
        let old = pages.size;
        if size < old && pages.seals & SEAL_SHRINK != 0 || size > old && pages.seals & SEAL_GROW != 0 {
            return Err(Errno::EPERM.into());
        }
        pages.size = size;
        if size < old {
            pages.zero(size, size.next_multiple_of(PAGE));
        }
        drop(pages);
        if size < old {
            self.free_pages(regular, size.div_ceil(PAGE), u64::MAX);
        }
        self.changed(clock::now());
        Ok(())
    }

    /// Writes at `pos`; the writing lock is held.
    fn write_locked(&self, regular: &Regular, caller: &Caller, pos: u64, src: &mut Src) -> Result<usize> {
        if src.remaining() == 0 {
            return Ok(0);
        }
        if pos >= MAX_SIZE {
            return Err(Errno::EFBIG.into());
        }
        src.limit(usize::try_from(MAX_SIZE - pos).unwrap_or(usize::MAX));
        let mut at = pos;
        let mut failed: Option<Error> = None;
        while src.remaining() > 0 && src.fault().is_none() {
            let mut pages = regular.pages.lock();
            if pages.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
                failed = Some(Errno::EPERM.into());
                break;
            }
            let offset = (at % PAGE) as usize;
            let mut want = (PAGE_SIZE - offset).min(src.remaining());
            if pages.seals & SEAL_GROW != 0 {
                want = want.min(usize::try_from(pages.size.saturating_sub(at)).unwrap_or(usize::MAX));
                if want == 0 {
                    failed = Some(Errno::EPERM.into());
                    break;
                }
            }
            let frame = match self.page_for(&mut pages, at >> PAGE_SHIFT) {
                Ok(frame) => frame,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let n = frame.take(offset, want, src);
            at += n as u64;
            pages.size = pages.size.max(at);
        }
        let n = (at - pos) as usize;
        if n > 0 {
            self.written(caller);
            return Ok(n);
        }
        match failed {
            Some(error) => Err(error),
            None => write_result(0, src),
        }
    }
}

impl File for Node {
    fn read(&self, _: &Caller, pos: u64, dst: &mut Dst) -> Result<usize> {
        let regular = self.data()?;
        let mut at = pos;
        while !dst.is_full() && dst.fault().is_none() {
            let pages = regular.pages.lock();
            if at >= pages.size {
                break;
            }
            let offset = (at % PAGE) as usize;
            let left = usize::try_from(pages.size - at).unwrap_or(usize::MAX);
            let want = (PAGE_SIZE - offset).min(left).min(dst.remaining());
            let frame = pages.get(at >> PAGE_SHIFT).cloned();
            drop(pages);
            let n = match frame {
                Some(frame) => frame.put(offset, want, dst),
                None => dst.zero(want),
            };
            at += n as u64;
        }
        read_result(at.saturating_sub(pos) as usize, dst)
    }

    fn write(&self, caller: &Caller, pos: u64, src: &mut Src) -> Result<usize> {
        let regular = self.data()?;
        let _writing = regular.writing.lock();
        self.write_locked(regular, caller, pos, src)
    }

    fn append(&self, caller: &Caller, src: &mut Src) -> Result<(usize, u64)> {
        let regular = self.data()?;
        let _writing = regular.writing.lock();
        let end = regular.pages.lock().size;
        let n = self.write_locked(regular, caller, end, src)?;
        Ok((n, end + n as u64))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Result<u64> {
        Ok(self.data()?.pages.lock().size)
    }

    fn metadata(&self) -> Metadata {
        Inode::metadata(self)
    }

    fn seek_extent(&self, pos: u64, what: Extent) -> Result<u64> {
        let pages = self.data()?.pages.lock();
        if pos >= pages.size {
            return Err(Errno::ENXIO.into());
        }
        let end = pages.size.div_ceil(PAGE);
        let data = what == Extent::Data;
        match pages.find(pos >> PAGE_SHIFT, end, data) {
            Some(index) => Ok((index << PAGE_SHIFT).clamp(pos, pages.size)),
            None if data => Err(Errno::ENXIO.into()),
            None => Ok(pages.size),
        }
    }

    fn sync(&self, _: bool) -> Result<()> {
        Ok(())
    }

    fn fallocate(&self, how: u32, offset: u64, len: u64) -> Result<()> {
        let regular = self.data()?;
        let known = mode::KEEP_SIZE | mode::PUNCH_HOLE | mode::ZERO_RANGE;
        let punch = how & mode::PUNCH_HOLE != 0;
        let zero = how & mode::ZERO_RANGE != 0;
        if how & !known != 0 || punch && (zero || how & mode::KEEP_SIZE == 0) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if len == 0 {
            return Err(Errno::EINVAL.into());
        }
        let end = offset.checked_add(len).filter(|end| *end <= MAX_SIZE).ok_or(Errno::EFBIG)?;
        let _writing = regular.writing.lock();
        let (old, seals) = {
            let pages = regular.pages.lock();
            (pages.size, pages.seals)
        };
        if (punch || zero) && seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM.into());
        }
        let grows = how & mode::KEEP_SIZE == 0 && end > old;
        if grows && seals & SEAL_GROW != 0 {
            return Err(Errno::EPERM.into());
        }
        if punch || zero {
            self.erase(regular, offset, end);
        }
        if !punch {
            self.fill(regular, offset >> PAGE_SHIFT, end.div_ceil(PAGE))?;
        }
        if grows {
            regular.pages.lock().size = end;
        }
        self.changed(clock::now());
        Ok(())
    }

    fn mmap(&self, at: Option<&Location>, writable: bool) -> Result<Arc<dyn Object>> {
        let regular = self.data()?;
        if writable && regular.pages.lock().seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM.into());
        }
        if writable {
            regular.writable_maps.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Arc::new(Mapped { node: self.arc()?, at: at.cloned(), writable }))
    }

    fn mappings(&self) -> Option<&Mappings> {
        Inode::mappings(self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl Node {
    /// Makes the bytes from `start` to before `end` zero, by freeing whole pages.
    fn erase(&self, regular: &Regular, start: u64, end: u64) {
        let (first, last) = (start.div_ceil(PAGE), end >> PAGE_SHIFT);
        let pages = regular.pages.lock();
        if first > last {
            pages.zero(start, end);
            return;
        }
        pages.zero(start, first << PAGE_SHIFT);
        pages.zero(last << PAGE_SHIFT, end);
        drop(pages);
        self.free_pages(regular, first, last);
    }

    /// Makes pages of all holes from page `start` to before `end`: all, or none. ENOSPC, ENOMEM.
    fn fill(&self, regular: &Regular, start: u64, end: u64) -> Result<()> {
        let (free, have) = (self.fs.pages.free(), regular.pages.lock().count);
        if end - start > free.saturating_add(have) {
            return Err(Errno::ENOSPC.into());
        }
        for index in start..end {
            let mut pages = regular.pages.lock();
            if pages.get(index).is_some() {
                continue;
            }
            let made = self.page_for(&mut pages, index);
            drop(pages);
            if let Err(error) = made {
                // Only what lies behind the end may go again: what was there before must stay.
                let size = regular.pages.lock().size.div_ceil(PAGE);
                self.free_pages(regular, start.max(size), index);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// A regular file as one open file maps it.
struct Mapped {
    node: Arc<Node>,
    at: Option<Location>,
    writable: bool,
}

impl Mapped {
    fn regular(&self) -> Result<&Regular> {
        self.node.data()
    }
}

impl Object for Mapped {
    fn page(&self, index: u64) -> Result<Frame> {
        let mut pages = self.regular()?.pages.lock();
        if index >= pages.size.div_ceil(PAGE) {
            return Err(Errno::EFAULT.into());
        }
        self.node.page_for(&mut pages, index)
    }

    fn page_mut(&self, index: u64) -> Result<Frame> {
        let frame = self.page(index)?;
        self.node.changed(clock::now());
        Ok(frame)
    }

    fn cached_page(&self, index: u64) -> Option<Frame> {
        self.node.regular()?.pages.lock().get(index).cloned()
    }

    fn size(&self) -> u64 {
        self.node.regular().map_or(0, |regular| regular.pages.lock().size)
    }

    fn mappings(&self) -> &Mappings {
        match self.node.regular() {
            Some(regular) => &regular.mappings,
            // Only regular files become mapped; nobody ever maps through this one.
            None => &NOBODY,
        }
    }

    fn identity(&self) -> Identity {
        let device = self.node.fs.device();
        Identity { major: device.major, minor: device.minor, inode: self.node.ino() }
    }

    fn name(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(at) = &self.at else { return Ok(()) };
        crate::mount::write_escaped(&at.describe_from_top(), b"\n", out)
    }

    fn punch(&self, start: u64, end: u64) -> Result<()> {
        self.node.erase(self.regular()?, start << PAGE_SHIFT, end << PAGE_SHIFT);
        Ok(())
    }
}

static NOBODY: Mappings = Mappings::new();

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.writable
            && let Some(regular) = self.node.regular()
        {
            regular.writable_maps.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
