//! The handle on one frame.

use super::{Kind, OutOfMemory};
use crate::io::{Dst, Src};
use crate::machine::state;
use arch::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};
use arch::physmap;
use core::num::NonZeroU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use core::{fmt, mem};

/// One owner of a frame of RAM. `clone` makes another owner of the same frame; it is free once
/// the last is dropped.
///
/// Its bytes may be mapped into programs that change them at any time, so they are only copied, never lent.
#[derive(PartialEq, Eq)]
pub struct Frame(NonZeroU32);

impl Frame {
    /// A frame with undefined contents. Never waits.
    #[inline]
    pub fn alloc(kind: Kind) -> Result<Frame, OutOfMemory> {
        let number = state().frames.take(kind)?;
        NonZeroU32::new(number).map(Frame).ok_or(OutOfMemory)
    }

    /// A frame full of zeros. Never waits.
    #[inline]
    pub fn alloc_zeroed(kind: Kind) -> Result<Frame, OutOfMemory> {
        let frame = Frame::alloc(kind)?;
        // SAFETY: the frame was just taken and nobody else knows it.
        unsafe { physmap::zero_page(frame.addr()) };
        Ok(frame)
    }

    /// A frame with the bytes of `from`. Never waits.
    pub fn alloc_copy(from: &Frame, kind: Kind) -> Result<Frame, OutOfMemory> {
        let frame = Frame::alloc(kind)?;
        // SAFETY: the new frame was just taken, so it differs from `from` and nobody else writes it. A program that writes
        // to `from` meanwhile races with itself: either byte is right.
        unsafe { physmap::copy_page(from.addr(), frame.addr()) };
        Ok(frame)
    }

    /// Where it is.
    #[inline]
    pub fn addr(&self) -> PhysAddr {
        PhysAddr(u64::from(self.0.get()) << PAGE_SHIFT)
    }

    /// What it is used for.
    pub fn kind(&self) -> Kind {
        state().frames.meta(self.0.get()).map_or(Kind::Free, |m| Kind::from_u8(m.kind.load(Relaxed)))
    }

    /// How many owners it has. A lone owner who lends the frame to nobody stays alone.
    #[inline]
    pub fn owners(&self) -> u32 {
        state().frames.meta(self.0.get()).map_or(0, |m| m.refs.load(Acquire))
    }

    /// Gives the ownership to a page table entry.
    #[inline]
    pub(crate) fn into_addr(self) -> PhysAddr {
        let addr = self.addr();
        mem::forget(self);
        addr
    }

    /// Takes back what [`Frame::into_addr`] gave.
    ///
    /// # Safety
    /// `addr` came from `into_addr`, and this is the only time that it is taken back.
    #[inline]
    pub(crate) unsafe fn from_addr(addr: PhysAddr) -> Frame {
        // SAFETY: `into_addr` shifts a non-zero number of at most 32 bits by as much.
        Frame(unsafe { NonZeroU32::new_unchecked((addr.0 >> PAGE_SHIFT) as u32) })
    }

    /// A look at a frame that a page table entry owns, without becoming an owner.
    ///
    /// # Safety
    /// `addr` came from `into_addr`, and its owner outlives the result.
    #[inline]
    pub(crate) unsafe fn borrow(addr: PhysAddr) -> mem::ManuallyDrop<Frame> {
        // SAFETY: the contract gives a valid address; the result is not dropped, so the owner stays the owner.
        mem::ManuallyDrop::new(unsafe { Frame::from_addr(addr) })
    }

    fn part(offset: usize, len: usize) -> (usize, usize) {
        let offset = offset.min(PAGE_SIZE);
        (offset, len.min(PAGE_SIZE - offset))
    }

    /// Copies bytes from `offset` on into `buf`, up to the end of the frame. Returns how many.
    pub fn read(&self, offset: usize, buf: &mut [u8]) -> usize {
        let (offset, len) = Frame::part(offset, buf.len());
        // SAFETY: `part` keeps source and length inside the frame, which this handle keeps alive; `buf` is the
        // caller's own and not in any frame that is handed out.
        unsafe { buf.as_mut_ptr().copy_from_nonoverlapping(physmap::to_ptr(self.addr()).add(offset), len) };
        len
    }

    /// Copies `bytes` to `offset`, up to the end of the frame. Returns how many.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> usize {
        let (offset, len) = Frame::part(offset, bytes.len());
        // SAFETY: as in `read`, the other way round. Two writers at once leave one's byte or the other's, as two
        // programs that share the page would.
        unsafe { physmap::to_ptr(self.addr()).add(offset).copy_from_nonoverlapping(bytes.as_ptr(), len) };
        len
    }

    /// Fills `len` bytes from `offset` on with zeros, up to the end of the frame.
    pub fn zero(&self, offset: usize, len: usize) {
        let (offset, len) = Frame::part(offset, len);
        // SAFETY: as in `write`.
        unsafe { physmap::to_ptr(self.addr()).add(offset).write_bytes(0, len) };
    }

    /// Puts `len` bytes from `offset` on into `dst` without a buffer between. Returns how many it took.
    pub fn put(&self, offset: usize, len: usize, dst: &mut Dst) -> usize {
        let (offset, len) = Frame::part(offset, len);
        // SAFETY: the range is inside the frame, which this handle keeps alive. The slice is only copied from (by machine
        // code that assumes nothing of its contents) and does not leave this call; a program that writes to the
        // page meanwhile decides only which bytes are copied.
        let bytes = unsafe { core::slice::from_raw_parts(physmap::to_ptr(self.addr()).add(offset), len) };
        dst.put(bytes)
    }

    /// Takes up to `len` bytes from `src` to `offset` without a buffer between. Returns how many came.
    pub fn take(&self, offset: usize, len: usize, src: &mut Src) -> usize {
        let (offset, len) = Frame::part(offset, len);
        // SAFETY: as in `put`; the bytes are only copied to.
        let bytes = unsafe { core::slice::from_raw_parts_mut(physmap::to_ptr(self.addr()).add(offset), len) };
        src.take(bytes)
    }
}

impl Clone for Frame {
    #[inline]
    fn clone(&self) -> Frame {
        state().frames.share(self.0.get());
        Frame(self.0)
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        state().frames.release(self.0.get());
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:?})", self.addr())
    }
}
