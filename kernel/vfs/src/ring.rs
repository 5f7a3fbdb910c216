//! A ring of bytes that grows to a limit as it is used.

use alloc::vec::Vec;
use arch::addr::PAGE_SIZE;
use base::{Errno, Result};
use memory::io::{Dst, Src};

/// The first allocation, in bytes.
const SMALLEST: usize = 256;

/// Bytes in order of arrival. An empty ring that was never used has no memory.
#[derive(Default)]
pub struct Ring {
    /// Its length is zero or a power of two.
    buf: Vec<u8>,
    head: usize,
    len: usize,
}

impl Ring {
    /// An empty ring.
    pub const fn new() -> Ring {
        Ring { buf: Vec::new(), head: 0, len: 0 }
    }

    /// Bytes in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for `n` more bytes. ENOMEM.
    #[inline]
    pub fn reserve(&mut self, n: usize) -> Result<()> {
        if self.buf.len() - self.len >= n {
            return Ok(());
        }
        self.grow(self.len + n)
    }

    #[cold]
    fn grow(&mut self, wanted: usize) -> Result<()> {
        let size = wanted.max(SMALLEST).checked_next_power_of_two().ok_or(Errno::ENOMEM)?;
        // What programs leave in pipes is not for the kernel's reserve, but a page each.
        if size > PAGE_SIZE {
            memory::admit(size).map_err(|_| Errno::ENOMEM)?;
        }
        let mut new = Vec::new();
        new.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        let (a, b) = self.pieces(self.len);
        new.extend_from_slice(a);
        new.extend_from_slice(b);
        new.resize(size, 0);
        self.buf = new;
        self.head = 0;
        Ok(())
    }

    /// The first `n` bytes, in at most two pieces. `n` is at most the length.
    fn pieces(&self, n: usize) -> (&[u8], &[u8]) {
        let first = n.min(self.buf.len() - self.head);
        (&self.buf[self.head..self.head + first], &self.buf[..n - first])
    }

    /// Takes up to `n` bytes, for which there is room ([`Ring::reserve`]), from `src`; gives how many came.
    #[inline]
    pub fn fill(&mut self, src: &mut Src, n: usize) -> usize {
        let n = n.min(self.buf.len() - self.len);
        if n == 0 {
            return 0;
        }
        let tail = (self.head + self.len) & (self.buf.len() - 1);
        if let Some(piece) = self.buf.get_mut(tail..tail + n) {
            let moved = src.take(piece);
            self.len += moved;
            return moved;
        }
        self.fill_around(src, n, tail)
    }

    /// As [`Ring::fill`], from `tail` past the end of the memory.
    #[cold]
    fn fill_around(&mut self, src: &mut Src, n: usize, tail: usize) -> usize {
        let first = n.min(self.buf.len() - tail);
        let mut moved = src.take(&mut self.buf[tail..tail + first]);
        if moved == first && n > first {
            moved += src.take(&mut self.buf[..n - first]);
        }
        self.len += moved;
        moved
    }

    /// Takes back the last `n` bytes that were filled in.
    pub fn unfill(&mut self, n: usize) {
        self.len -= n.min(self.len);
    }

    /// Moves up to `n` bytes to `dst`; gives how many went.
    #[inline]
    pub fn drain(&mut self, dst: &mut Dst, n: usize) -> usize {
        let n = n.min(self.len);
        if let Some(piece) = self.buf.get(self.head..self.head + n) {
            let moved = dst.put(piece);
            self.skip(moved);
            return moved;
        }
        self.drain_around(dst, n)
    }

    /// As [`Ring::drain`], past the end of the memory.
    #[cold]
    fn drain_around(&mut self, dst: &mut Dst, n: usize) -> usize {
        let (a, b) = self.pieces(n);
        let mut moved = dst.put(a);
        if moved == a.len() && !b.is_empty() {
            moved += dst.put(b);
        }
        self.skip(moved);
        moved
    }

    /// Forgets the first `n` bytes.
    #[inline]
    pub fn skip(&mut self, n: usize) {
        let n = n.min(self.len);
        self.len -= n;
        self.head = if self.len == 0 { 0 } else { (self.head + n) & (self.buf.len() - 1) };
    }

    /// Puts bytes in front of the first one. There is room for them ([`Ring::reserve`]).
    pub fn put_back(&mut self, bytes: &[u8]) {
        let n = bytes.len().min(self.buf.len() - self.len);
        if n == 0 {
            return;
        }
        let (size, bytes) = (self.buf.len(), &bytes[..n]);
        self.head = (self.head + size - n) & (size - 1);
        let first = n.min(size - self.head);
        self.buf[self.head..self.head + first].copy_from_slice(&bytes[..first]);
        self.buf[..n - first].copy_from_slice(&bytes[first..]);
        self.len += n;
    }

    /// Forgets everything, and gives its memory back.
    pub fn clear(&mut self) {
        *self = Ring::new();
    }
}
