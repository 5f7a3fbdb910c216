//! A queue of bytes with a limit, which takes memory when it is first used.

use alloc::collections::VecDeque;

/// Bytes in the order in which they came, never more than the limit it was made with.
#[derive(Debug)]
pub struct ByteQueue {
    bytes: VecDeque<u8>,
    limit: usize,
}

impl ByteQueue {
    /// An empty queue that will hold at most `limit` bytes.
    pub const fn new(limit: usize) -> ByteQueue {
        ByteQueue { bytes: VecDeque::new(), limit }
    }

    /// Bytes in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that it still takes, memory permitting.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit - self.bytes.len()
    }

    /// Appends as much of `bytes` as there is room and memory for; returns how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        if self.bytes.try_reserve(n).is_err() {
            return 0;
        }
        self.bytes.extend(&bytes[..n]);
        n
    }

    /// The oldest `n` bytes (or all there are), in two pieces.
    pub fn front(&self, n: usize) -> (&[u8], &[u8]) {
        let (a, b) = self.bytes.as_slices();
        let first = n.min(a.len());
        (&a[..first], &b[..(n - first).min(b.len())])
    }

    /// The byte `index` places behind the oldest.
    #[inline]
    pub fn get(&self, index: usize) -> Option<u8> {
        self.bytes.get(index).copied()
    }

    /// Drops the oldest `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.bytes.drain(..n.min(self.bytes.len()));
    }

    /// Keeps the oldest `n` bytes only.
    pub fn truncate(&mut self, n: usize) {
        self.bytes.truncate(n);
    }

    /// Drops everything, and the memory too.
    pub fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_its_limit_across_the_wrap() {
        let mut queue = ByteQueue::new(8);
        assert_eq!(queue.push(b"abcdef"), 6);
        queue.consume(4);
        assert_eq!(queue.push(b"0123456789"), 6);
        let (a, b) = queue.front(7);
        assert_eq!([a, b].concat(), b"ef01234");
        assert_eq!(queue.room(), 0);
        queue.truncate(1);
        assert_eq!(queue.front(9).0, b"e");
    }
}
