//! Data on its way into or out of a file: [`Dst`] takes what a read gives, [`Src`] gives what a write takes.
//!
//! Behind each is either user memory (one range, or the ranges of an I/O vector) or a buffer of the
//! kernel. Neither ever waits. A copy stops at the first byte of user memory that is absent; the fault
//! is remembered and nothing moves until [`Dst::take_fault`] hands it to whoever can resolve it. Then the
//! operation is called once more and goes on where it stopped.

use arch::addr::VirtAddr;
use arch::trap::{Access, PageFault};
use arch::usercopy;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct iovec` (readv(2)): one range of user memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoVec {
    /// First byte.
    pub base: usize,
    /// Length in bytes.
    pub len: usize,
}

/// The most that one read or write transfers (read(2)): larger requests are cut to it.
pub const MAX_TRANSFER: usize = 0x7fff_f000;

/// User memory as a sequence of bytes, with a position.
#[derive(Clone, Copy, Debug)]
enum Ranges<'a> {
    /// One range, by its first byte.
    One(VirtAddr),
    /// Several, one after another, with the entry that holds the current position and the position in it.
    Many { all: &'a [IoVec], index: usize, offset: usize },
}

impl Ranges<'_> {
    /// Where `done` bytes from the start lie, and how many of at most `want` bytes follow there in one
    /// piece.
    #[inline]
    fn piece(&self, done: usize, want: usize) -> (VirtAddr, usize) {
        match *self {
            Ranges::One(base) => (VirtAddr(base.0.wrapping_add(done)), want),
            Ranges::Many { all, index, offset } => match all.get(index) {
                Some(vec) => (VirtAddr(vec.base.wrapping_add(offset)), want.min(vec.len - offset)),
                None => (VirtAddr(0), 0),
            },
        }
    }

    /// Moves the position on by `n` bytes, past entries that are used up.
    #[inline]
    fn advance(&mut self, n: usize) {
        if let Ranges::Many { all, index, offset } = self {
            *offset += n;
            while let Some(vec) = all.get(*index)
                && *offset >= vec.len
            {
                *offset -= vec.len;
                *index += 1;
            }
        }
    }

    /// Moves the position to `done` bytes from the start.
    fn seek(&mut self, done: usize) {
        if let Ranges::Many { index, offset, .. } = self {
            (*index, *offset) = (0, 0);
        }
        self.advance(done);
    }
}

fn total(vecs: &[IoVec]) -> usize {
    vecs.iter().fold(0usize, |sum, vec| sum.saturating_add(vec.len)).min(MAX_TRANSFER)
}

fn many(all: &[IoVec]) -> Ranges<'_> {
    let mut ranges = Ranges::Many { all, index: 0, offset: 0 };
    ranges.advance(0);
    ranges
}

enum To<'a> {
    User(Ranges<'a>),
    Kernel(&'a mut [u8]),
}

/// Where a read puts its bytes.
pub struct Dst<'a> {
    to: To<'a>,
    done: usize,
    len: usize,
    fault: Option<PageFault>,
}

impl<'a> Dst<'a> {
    /// `len` bytes of user memory from `addr`, cut to [`MAX_TRANSFER`]. Any address may be given: what the program may not
    /// write faults.
    pub fn user(addr: VirtAddr, len: usize) -> Dst<'static> {
        Dst { to: To::User(Ranges::One(addr)), done: 0, len: len.min(MAX_TRANSFER), fault: None }
    }

    /// The ranges `vecs` of user memory one after another, together cut to [`MAX_TRANSFER`].
    pub fn user_vec(vecs: &'a [IoVec]) -> Dst<'a> {
        Dst { to: To::User(many(vecs)), done: 0, len: total(vecs), fault: None }
    }

    /// A buffer of the kernel.
    pub fn kernel(buf: &'a mut [u8]) -> Dst<'a> {
        let len = buf.len();
        Dst { to: To::Kernel(buf), done: 0, len, fault: None }
    }

    /// Copies as much of `bytes` as fits and as there is memory for, and returns how much that was. Less than
    /// `bytes.len()` means that the destination is full or that it faulted.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        // The common case apart: all of it to one range of user memory.
        if let To::User(Ranges::One(base)) = self.to
            && bytes.len() <= self.len - self.done
            && self.fault.is_none()
            && usercopy::write(VirtAddr(base.0.wrapping_add(self.done)), bytes).is_ok()
        {
            self.done += bytes.len();
            return bytes.len();
        }
        self.put_pieces(bytes)
    }

    #[inline(never)]
    fn put_pieces(&mut self, bytes: &[u8]) -> usize {
        self.each(bytes.len(), |to, at, n| match to {
            Piece::User(addr) => usercopy::write(addr, &bytes[at..at + n]),
            Piece::Kernel(buf) => {
                buf.copy_from_slice(&bytes[at..at + n]);
                Ok(())
            }
        })
    }

    /// As [`Dst::put`] with `n` zero bytes.
    pub fn zero(&mut self, n: usize) -> usize {
        self.each(n, |to, _, n| match to {
            Piece::User(addr) => usercopy::zero(addr, n),
            Piece::Kernel(buf) => {
                buf.fill(0);
                Ok(())
            }
        })
    }

    /// Hands out the next `want` bytes piece by piece to `copy`, with the offset from the start of this call.
    #[inline]
    fn each(
        &mut self,
        want: usize,
        mut copy: impl FnMut(Piece<'_>, usize, usize) -> Result<(), (PageFault, usize)>,
    ) -> usize {
        let want = want.min(self.remaining());
        let mut moved = 0;
        while moved < want && self.fault.is_none() {
            let (n, outcome) = match &mut self.to {
                To::User(ranges) => {
                    let (addr, n) = ranges.piece(self.done, want - moved);
                    (n, copy(Piece::User(addr), moved, n))
                }
                To::Kernel(buf) => {
                    let n = want - moved;
                    (n, copy(Piece::Kernel(&mut buf[self.done..self.done + n]), moved, n))
                }
            };
            let n = match outcome {
                Ok(()) => n,
                Err((fault, n)) => {
                    self.fault = Some(fault);
                    n
                }
            };
            if let To::User(ranges) = &mut self.to {
                ranges.advance(n);
            }
            self.done += n;
            moved += n;
        }
        moved
    }

    /// Moves past `n` bytes, or to the end, and leaves them as they are.
    pub fn skip(&mut self, n: usize) {
        let n = n.min(self.remaining());
        self.done += n;
        if let To::User(ranges) = &mut self.to {
            ranges.advance(n);
        }
    }

    /// Goes back over the last `n` bytes, or to the start if there were fewer, so that the next put replaces them.
    pub fn rewind(&mut self, n: usize) {
        self.done -= n.min(self.done);
        let done = self.done;
        if let To::User(ranges) = &mut self.to {
            ranges.seek(done);
        }
    }

    /// Bytes that have been put so far.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Bytes that still fit.
    pub fn remaining(&self) -> usize {
        self.len - self.done
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.remaining() == 0
    }

    /// Lets at most `n` more bytes in, as at a limit of the file.
    pub fn limit(&mut self, n: usize) {
        self.len = self.len.min(self.done.saturating_add(n));
    }

    /// The fault that stopped the last copy, if one did.
    pub fn fault(&self) -> Option<PageFault> {
        self.fault
    }

    /// Takes the fault out, so that copying goes on. For whoever resolves it.
    pub fn take_fault(&mut self) -> Option<PageFault> {
        self.fault.take()
    }
}

enum Piece<'a> {
    User(VirtAddr),
    Kernel(&'a mut [u8]),
}

#[derive(Clone, Copy)]
enum From<'a> {
    User(Ranges<'a>),
    Kernel(&'a [u8]),
}

/// Where a write gets its bytes.
pub struct Src<'a> {
    from: From<'a>,
    done: usize,
    len: usize,
    fault: Option<PageFault>,
}

impl<'a> Src<'a> {
    /// `len` bytes of user memory from `addr`, cut to [`MAX_TRANSFER`].
    pub fn user(addr: VirtAddr, len: usize) -> Src<'static> {
        Src { from: From::User(Ranges::One(addr)), done: 0, len: len.min(MAX_TRANSFER), fault: None }
    }

    /// The ranges `vecs` of user memory one after another, together cut to [`MAX_TRANSFER`].
    pub fn user_vec(vecs: &'a [IoVec]) -> Src<'a> {
        Src { from: From::User(many(vecs)), done: 0, len: total(vecs), fault: None }
    }

    /// A buffer of the kernel.
    pub fn kernel(buf: &'a [u8]) -> Src<'a> {
        Src { from: From::Kernel(buf), done: 0, len: buf.len(), fault: None }
    }

    /// Copies as much as there is into `buf` and returns how much that was. Less than `buf.len()` means that the source
    /// is at its end or that it faulted.
    #[inline]
    pub fn take(&mut self, buf: &mut [u8]) -> usize {
        // The common case apart, as in `Dst::put`.
        if let From::User(Ranges::One(base)) = self.from
            && buf.len() <= self.len - self.done
            && self.fault.is_none()
            && usercopy::read(VirtAddr(base.0.wrapping_add(self.done)), buf).is_ok()
        {
            self.done += buf.len();
            return buf.len();
        }
        self.take_pieces(buf)
    }

    #[inline(never)]
    fn take_pieces(&mut self, buf: &mut [u8]) -> usize {
        let want = buf.len().min(self.remaining());
        let mut moved = 0;
        while moved < want && self.fault.is_none() {
            let n = match &mut self.from {
                From::User(ranges) => {
                    let (addr, n) = ranges.piece(self.done, want - moved);
                    let n = match usercopy::read(addr, &mut buf[moved..moved + n]) {
                        Ok(()) => n,
                        Err((fault, n)) => {
                            self.fault = Some(fault);
                            n
                        }
                    };
                    ranges.advance(n);
                    n
                }
                From::Kernel(bytes) => {
                    let n = want - moved;
                    buf[moved..moved + n].copy_from_slice(&bytes[self.done..self.done + n]);
                    n
                }
            };
            self.done += n;
            moved += n;
        }
        moved
    }

    /// As [`Src::take`], without moving on.
    pub fn peek(&mut self, buf: &mut [u8]) -> usize {
        let n = self.take(buf);
        self.rewind(n);
        n
    }

    /// Moves past `n` bytes, or to the end, without looking at them.
    pub fn skip(&mut self, n: usize) {
        let n = n.min(self.remaining());
        self.done += n;
        if let From::User(ranges) = &mut self.from {
            ranges.advance(n);
        }
    }

    /// Gives back the last `n` bytes that were taken, or all of them if there were fewer, so that the next take gives them again.
    pub fn rewind(&mut self, n: usize) {
        self.done -= n.min(self.done);
        let done = self.done;
        if let From::User(ranges) = &mut self.from {
            ranges.seek(done);
        }
    }

    /// Bytes that have been taken so far.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.len - self.done
    }

    /// Gives at most `n` more bytes, as at a limit of the file.
    pub fn limit(&mut self, n: usize) {
        self.len = self.len.min(self.done.saturating_add(n));
    }

    /// The fault that stopped the last copy, if one did.
    pub fn fault(&self) -> Option<PageFault> {
        self.fault
    }

    /// Takes the fault out, so that copying goes on. For whoever resolves it.
    pub fn take_fault(&mut self) -> Option<PageFault> {
        self.fault.take()
    }

    /// Makes sure that the next byte is there, so that an operation that cannot be undone does not
    /// start in vain: looks at one byte. False if it faulted.
    pub fn probe(&mut self) -> bool {
        self.remaining() == 0 || self.peek(&mut [0]) == 1
    }
}

/// A fault on reading at `addr`.
pub(crate) fn read_fault(addr: VirtAddr) -> PageFault {
    PageFault { addr, access: Access::Read }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_destination_takes_what_fits() {
        let mut buf = [0xff; 5];
        let mut dst = Dst::kernel(&mut buf);
        assert_eq!(dst.put(b"abc"), 3);
        assert_eq!(dst.zero(1), 1);
        assert_eq!(dst.put(b"xyz"), 1);
        assert!(dst.is_full());
        assert_eq!(dst.put(b"q"), 0);
        assert_eq!(dst.fault(), None);
        assert_eq!(&buf, b"abc\0x");
    }

    #[test]
    fn a_kernel_source_can_be_rewound() {
        let mut src = Src::kernel(b"hello");
        let mut buf = [0; 3];
        assert_eq!(src.take(&mut buf), 3);
        src.rewind(2);
        assert_eq!(src.take(&mut buf), 3);
        assert_eq!(&buf, b"ell");
        src.skip(10);
        assert_eq!(src.remaining(), 0);
        assert_eq!(src.done(), 5);
    }

    #[test]
    fn a_vector_is_walked_past_empty_entries() {
        let vecs = [
            IoVec { base: 0x1000, len: 0 },
            IoVec { base: 0x2000, len: 2 },
            IoVec { base: 0x3000, len: 0 },
            IoVec { base: 0x4000, len: 3 },
        ];
        let mut ranges = many(&vecs);
        assert_eq!(ranges.piece(0, 10), (VirtAddr(0x2000), 2));
        ranges.advance(2);
        assert_eq!(ranges.piece(2, 10), (VirtAddr(0x4000), 3));
        ranges.seek(1);
        assert_eq!(ranges.piece(1, 10), (VirtAddr(0x2001), 1));
        ranges.seek(5);
        assert_eq!(ranges.piece(5, 10).1, 0);
        assert_eq!(Dst::user_vec(&vecs).remaining(), 5);
    }

    #[test]
    fn a_fault_stops_the_copy_and_is_remembered() {
        arch::sim::boot(1, 1 << 20, [0; 32]);
        let mut dst = Dst::user(VirtAddr(0x5000), 8);
        assert_eq!(dst.put(b"data"), 0);
        assert_eq!(dst.take_fault().map(|fault| fault.addr), Some(VirtAddr(0x5000)));
        let mut src = Src::user(VirtAddr(0x6010), 8);
        assert_eq!(src.take(&mut [0; 4]), 0);
        assert_eq!(src.fault(), Some(read_fault(VirtAddr(0x6010))));
        assert_eq!(src.done(), 0);
    }
}
