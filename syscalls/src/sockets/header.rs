//! How addresses and messages lie in a program's memory (`struct sockaddr`, `struct msghdr`).

use arch::addr::VirtAddr;
use base::{Errno, Result};
use core::ops::Deref;
use memory::io::{Dst, MAX_TRANSFER, Src};
use memory::user::{IoVecs, UserPtr, check_range};
use net::Address;
use net::address::MAX_LEN;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An address as its bytes.
pub struct RawAddress {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Deref for RawAddress {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Copies an address of `len` bytes. EINVAL if it is longer than any, or negative.
pub fn read_address(at: VirtAddr, len: i32) -> Result<RawAddress> {
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_LEN).ok_or(Errno::EINVAL)?;
    let mut raw = RawAddress { bytes: [0; MAX_LEN], len };
    UserPtr::<u8>::new(at).read_slice(&mut raw.bytes[..len])?;
    Ok(raw)
}

/// Stores as much of an address as fits into what `len` says, and its real length there. No address has length 0.
/// EINVAL if `len` is negative. What has been stored before a fault is stored again, the same.
pub fn store_address(address: Option<&Address>, at: VirtAddr, len: UserPtr<i32>) -> Result<()> {
    let mut raw = [0; MAX_LEN];
    let real = address.map_or(0, |address| address.encode(&mut raw));
    let room = usize::try_from(len.read()?).map_err(|_| Errno::EINVAL)?;
    UserPtr::<u8>::new(at).write_slice(&raw[..room.min(real)])?;
    len.write(&(real as i32))?;
    Ok(())
}

/// `struct msghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MsgHdr {
    /// Where the address lies or goes; null for none.
    pub name: usize,
    /// Its length.
    pub name_len: i32,
    pad: u32,
    iov: usize,
    iov_len: usize,
    /// Where control messages lie or go; null for none.
    pub control: usize,
    /// Bytes there.
    pub control_len: usize,
    flags: u32,
    pad_end: u32,
}

/// Bytes from one element of sendmmsg's and recvmmsg's vector to the next: the header, and the length at its end.
pub const MMSG_STRIDE: usize = size_of::<MsgHdr>() + 8;

/// Where a message header lies.
#[derive(Clone, Copy)]
pub struct HeaderPtr(pub VirtAddr);

impl HeaderPtr {
    fn at<T>(self, offset: usize) -> UserPtr<T> {
        UserPtr::new(VirtAddr(self.0.0.wrapping_add(offset)))
    }

    /// The header. EINVAL if the length of its address is negative; no address has no length.
    pub fn read(self) -> Result<MsgHdr> {
        let mut header: MsgHdr = self.at(0).read()?;
        if header.name == 0 {
            header.name_len = 0;
        }
        if header.name_len < 0 { Err(Errno::EINVAL.into()) } else { Ok(header) }
    }

    /// Its `msg_namelen`.
    pub fn name_len(self) -> UserPtr<i32> {
        self.at(core::mem::offset_of!(MsgHdr, name_len))
    }

    /// Its `msg_controllen`.
    pub fn control_len(self) -> UserPtr<usize> {
        self.at(core::mem::offset_of!(MsgHdr, control_len))
    }

    /// Its `msg_flags`.
    pub fn flags(self) -> UserPtr<u32> {
        self.at(core::mem::offset_of!(MsgHdr, flags))
    }

    /// The `msg_len` behind it, in a vector of sendmmsg or recvmmsg.
    pub fn count(self) -> UserPtr<u32> {
        self.at(size_of::<MsgHdr>())
    }

    /// The header `index` elements further in such a vector.
    pub fn element(self, index: usize) -> HeaderPtr {
        HeaderPtr(VirtAddr(self.0.0.wrapping_add(index * MMSG_STRIDE)))
    }
}

/// The memory that a message's bytes come from or go to.
pub enum Memory {
    /// One range.
    One(VirtAddr, usize),
    /// Those of an I/O vector.
    Many(IoVecs),
}

impl Memory {
    /// One range. EFAULT outside of what programs may have.
    #[inline]
    pub fn one(at: VirtAddr, len: usize) -> Result<Memory> {
        let len = len.min(MAX_TRANSFER);
        check_range(at, len)?;
        Ok(Memory::One(at, len))
    }

    /// The ranges of a header. EMSGSIZE for too many, EINVAL, EFAULT.
    pub fn many(header: &MsgHdr) -> Result<Memory> {
        if header.iov_len > memory::user::IOV_MAX {
            return Err(Errno::EMSGSIZE.into());
        }
        Ok(Memory::Many(IoVecs::read(UserPtr::from(header.iov), header.iov_len)?))
    }

    /// All bytes after the first `done`, to be read.
    #[inline]
    pub fn src(&self, done: usize) -> Src<'_> {
        match self {
            Memory::One(at, len) => Src::user(VirtAddr(at.0.wrapping_add(done)), len - done.min(*len)),
            Memory::Many(vecs) => {
                let mut src = Src::user_vec(vecs);
                src.skip(done);
                src
            }
        }
    }

    /// All bytes after the first `done`, to be written.
    #[inline]
    pub fn dst(&self, done: usize) -> Dst<'_> {
        match self {
            Memory::One(at, len) => Dst::user(VirtAddr(at.0.wrapping_add(done)), len - done.min(*len)),
            Memory::Many(vecs) => {
                let mut dst = Dst::user_vec(vecs);
                dst.skip(done);
                dst
            }
        }
    }
}
