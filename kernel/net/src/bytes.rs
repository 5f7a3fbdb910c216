//! A queue of bytes that takes memory as it is used: nothing when new, and little again after a burst.

use alloc::vec::Vec;
use arch::addr::PAGE_SIZE;
use base::{Errno, Result};
use memory::io::{Dst, Src};

/// The first memory of a queue: enough for a request of a few hundred bytes.
const SMALLEST: usize = 512;

/// A ring of bytes. The capacity is zero or a power of two.
#[derive(Default)]
pub struct ByteQueue {
    buf: Vec<u8>,
    head: usize,
    len: usize,
    /// The most that it held since it was last empty.
    peak: usize,
}

impl ByteQueue {
    /// An empty queue.
    pub const fn new() -> ByteQueue {
        ByteQueue { buf: Vec::new(), head: 0, len: 0, peak: 0 }
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

    /// Makes room for `extra` more bytes. ENOBUFS without memory for it.
    #[inline]
    pub fn reserve(&mut self, extra: usize) -> Result<()> {
        if self.buf.len() - self.len >= extra { Ok(()) } else { self.grow(extra) }
    }

    #[cold]
    fn grow(&mut self, extra: usize) -> Result<()> {
        let want = self.len.checked_add(extra).and_then(usize::checked_next_power_of_two).ok_or(Errno::ENOBUFS)?;
        // What programs leave in sockets is not for the kernel's reserve, but a page each.
        if want > PAGE_SIZE {
            memory::admit(want).map_err(|_| Errno::ENOBUFS)?;
        }
        let mut buf = Vec::new();
        buf.try_reserve_exact(want.max(SMALLEST)).map_err(|_| Errno::ENOBUFS)?;
        let (first, second) = self.slices(0, self.len);
        buf.extend_from_slice(first);
        buf.extend_from_slice(second);
        buf.resize(want.max(SMALLEST), 0);
        self.buf = buf;
        self.head = 0;
        Ok(())
    }

    /// `len` bytes from `skip` on, in two pieces.
    #[inline]
    fn slices(&self, skip: usize, len: usize) -> (&[u8], &[u8]) {
        let capacity = self.buf.len();
        if capacity == 0 {
            return (&[], &[]);
        }
        let from = (self.head + skip) & (capacity - 1);
        let first = len.min(capacity - from);
        (&self.buf[from..from + first], &self.buf[..len - first])
    }

    /// Takes up to `max` bytes from `src`, as many as there is memory for, and returns how many came: fewer if `src`
    /// ended or faulted. ENOBUFS if there is no memory even for the first.
    #[inline]
    pub fn fill(&mut self, src: &mut Src, max: usize) -> Result<usize> {
        let want = src.remaining().min(max);
        self.reserve(want)?;
        let capacity = self.buf.len();
        let mut moved = 0;
        while moved < want {
            let at = (self.head + self.len) & (capacity - 1);
            let piece = (want - moved).min(capacity - at);
            let n = src.take(&mut self.buf[at..at + piece]);
            self.len += n;
            moved += n;
            if n < piece {
                break;
            }
        }
        self.peak = self.peak.max(self.len);
        Ok(moved)
    }

    /// Appends all of `bytes`, or nothing (ENOBUFS).
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.fill(&mut Src::kernel(bytes), bytes.len()).map(drop)
    }

    /// Copies up to `max` bytes, from `skip` on, to `dst` and leaves them in. Returns how many `dst` took.
    #[inline]
    pub fn peek(&self, dst: &mut Dst, skip: usize, max: usize) -> usize {
        let len = max.min(self.len.saturating_sub(skip));
        let (first, second) = self.slices(skip, len);
        let mut n = dst.put(first);
        if n == first.len() && !second.is_empty() {
            n += dst.put(second);
        }
        n
    }

    /// Moves up to `max` bytes to `dst` and returns how many it took.
    #[inline]
    pub fn drain(&mut self, dst: &mut Dst, max: usize) -> usize {
        let n = self.peek(dst, 0, max);
        self.consume(n);
        n
    }

    /// The bytes at the front that lie in one piece.
    pub fn front(&self) -> &[u8] {
        self.slices(0, self.len).0
    }

    /// Drops `n` bytes from the front, or all if there are fewer.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.len);
        self.len -= n;
        if self.len > 0 {
            self.head = (self.head + n) & (self.buf.len() - 1);
        } else {
            self.head = 0;
            // A burst's memory goes back once the queue carries little again.
            if self.buf.len() > SMALLEST && self.peak < self.buf.len() / 8 {
                self.buf = Vec::new();
            }
            self.peak = 0;
        }
    }

    /// Drops all but the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Empties it and gives its memory back.
    pub fn clear(&mut self) {
        *self = ByteQueue::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::machine;

    #[test]
    fn bytes_come_out_in_order_across_growth_and_wrap() {
        machine();
        let mut queue = ByteQueue::new();
        let (mut next_in, mut next_out, mut seed) = (0u8, 0u8, 1u32);
        for _ in 0..2000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (seed >> 16) as usize % 700;
            let bytes: Vec<u8> = (0..n).map(|i| next_in.wrapping_add(i as u8)).collect();
            queue.push(&bytes).unwrap();
            next_in = next_in.wrapping_add(n as u8);
            let mut out = vec![0; (seed >> 8) as usize % 900];
            let n = queue.drain(&mut Dst::kernel(&mut out), usize::MAX);
            for byte in &out[..n] {
                assert_eq!(*byte, next_out);
                next_out = next_out.wrapping_add(1);
            }
        }
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        machine();
        let mut queue = ByteQueue::new();
        queue.push(&[1; 100_000]).unwrap();
        queue.consume(100_000);
        queue.push(&[1; 10]).unwrap();
        queue.consume(10);
        assert_eq!(queue.buf.capacity(), 0);
    }
}
