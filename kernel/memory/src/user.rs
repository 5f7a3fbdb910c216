//! Typed pointers to user memory of the active address space.
//!
//! Nothing here waits: what is absent comes back as [`base::Error::Fault`], which the caller resolves and then
//! calls again. A type may cross if it implements zerocopy's marker traits, which its derives check:
//! [`FromBytes`] to be read (any bytes are a valid value), [`IntoBytes`] to be written (no padding that could
//! carry out what the kernel's stack held).

use crate::io::{IoVec, read_fault};
use alloc::vec::Vec;
use arch::addr::VirtAddr;
use arch::paging::USER_END;
use arch::trap::PageFault;
use arch::usercopy;
use base::{Errno, Result};
use core::marker::PhantomData;
use core::mem::{MaybeUninit, size_of};
use core::{fmt, slice};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The longest path in bytes, its terminating zero included (limits.h).
pub const PATH_MAX: usize = 4096;

/// The most entries that one I/O vector may have (readv(2)).
pub const IOV_MAX: usize = 1024;

/// The address of a `T` in user memory, as a program gave it. It may be anything: it is checked when
/// it is used.
#[repr(transparent)]
pub struct UserPtr<T> {
    addr: VirtAddr,
    of: PhantomData<fn(T) -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for UserPtr<T> {}

impl<T> PartialEq for UserPtr<T> {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr
    }
}

impl<T> Eq for UserPtr<T> {}

impl<T> fmt::Debug for UserPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)
    }
}

impl<T> From<usize> for UserPtr<T> {
    fn from(addr: usize) -> Self {
        UserPtr::new(VirtAddr(addr))
    }
}

impl<T> UserPtr<T> {
    /// A pointer to what lies at `addr`.
    pub const fn new(addr: VirtAddr) -> Self {
        UserPtr { addr, of: PhantomData }
    }

    /// The address.
    pub const fn addr(self) -> VirtAddr {
        self.addr
    }

    /// Whether it is the null pointer.
    pub const fn is_null(self) -> bool {
        self.addr.0 == 0
    }

    /// The pointer, or `None` if it is null: for arguments that may be left out.
    pub const fn optional(self) -> Option<Self> {
        if self.is_null() { None } else { Some(self) }
    }

    /// The address `index` elements further on. Wraps; what does not belong to the program faults when it is used.
    pub const fn add(self, index: usize) -> Self {
        UserPtr::new(VirtAddr(self.addr.0.wrapping_add(index.wrapping_mul(size_of::<T>()))))
    }

    /// The address `bytes` bytes further on, as another type.
    pub const fn field<U>(self, bytes: usize) -> UserPtr<U> {
        UserPtr::new(VirtAddr(self.addr.0.wrapping_add(bytes)))
    }

    /// The same address as another type.
    pub const fn cast<U>(self) -> UserPtr<U> {
        UserPtr::new(self.addr)
    }
}

impl<T: FromBytes> UserPtr<T> {
    /// Copies the value out of user memory. It need not be aligned.
    #[inline]
    pub fn read(self) -> Result<T, PageFault> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the bytes belong to `value`, which is not touched otherwise while the slice lives.
        let bytes = unsafe { slice::from_raw_parts_mut(value.as_mut_ptr().cast::<MaybeUninit<u8>>(), size_of::<T>()) };
        usercopy::read_new(self.addr, bytes).map_err(|(fault, _)| fault)?;
        // SAFETY: all bytes are initialised now and `FromBytes` says that any bytes are a valid `T`.
        Ok(unsafe { value.assume_init() })
    }

    /// As [`UserPtr::read`], into `place`: a large value is not moved once more.
    #[inline]
    pub fn read_into(self, place: &mut MaybeUninit<T>) -> Result<&T, PageFault> {
        // SAFETY: the bytes belong to `place`, which is not touched otherwise while the slice lives.
        let bytes = unsafe { slice::from_raw_parts_mut(place.as_mut_ptr().cast::<MaybeUninit<u8>>(), size_of::<T>()) };
        usercopy::read_new(self.addr, bytes).map_err(|(fault, _)| fault)?;
        // SAFETY: as in `read`.
        Ok(unsafe { place.assume_init_ref() })
    }

    /// Copies `len` values from here on. `len` must have been held to a limit that suits kernel memory; ENOMEM if
    /// even so there is no room.
    pub fn read_vec(self, len: usize) -> Result<Vec<T>>
    where
        T: IntoBytes,
    {
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        values.resize_with(len, T::new_zeroed);
        self.read_slice(&mut values)?;
        Ok(values)
    }

    /// Fills `values` from here on.
    pub fn read_slice(self, values: &mut [T]) -> Result<(), PageFault>
    where
        T: IntoBytes,
    {
        usercopy::read(self.addr, values.as_mut_bytes()).map_err(|(fault, _)| fault)
    }
}

impl<T: IntoBytes + Immutable> UserPtr<T> {
    /// Copies `value` to user memory. It need not be aligned.
    #[inline]
    pub fn write(self, value: &T) -> Result<(), PageFault> {
        usercopy::write(self.addr, value.as_bytes()).map_err(|(fault, _)| fault)
    }

    /// Copies `values` to user memory from here on.
    pub fn write_slice(self, values: &[T]) -> Result<(), PageFault> {
        usercopy::write(self.addr, values.as_bytes()).map_err(|(fault, _)| fault)
    }
}

impl<T> UserPtr<T> {
    /// Fills the place of `count` values with zero bytes.
    pub fn zero(self, count: usize) -> Result<(), PageFault> {
        usercopy::zero(self.addr, count * size_of::<T>()).map_err(|(fault, _)| fault)
    }
}

impl UserPtr<u32> {
    /// Loads the word atomically, as futex(2) does. EINVAL if it is not aligned.
    pub fn load(self) -> Result<u32> {
        Ok(usercopy::load_u32(self.aligned()?)?)
    }

    /// Compares and exchanges the word atomically, sequentially consistent; gives the value found. EINVAL if it is
    /// not aligned.
    pub fn compare_exchange(self, current: u32, new: u32) -> Result<u32> {
        Ok(usercopy::compare_exchange_u32(self.aligned()?, current, new)?)
    }

    fn aligned(self) -> Result<VirtAddr> {
        if self.addr.0.is_multiple_of(4) { Ok(self.addr) } else { Err(Errno::EINVAL.into()) }
    }
}

/// The address of a string in user memory that ends with a zero byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserStr(pub VirtAddr);

impl From<usize> for UserStr {
    fn from(addr: usize) -> Self {
        UserStr(VirtAddr(addr))
    }
}

impl UserStr {
    /// Whether the pointer is null.
    pub const fn is_null(self) -> bool {
        self.0.0 == 0
    }

    /// Copies the string into `buf` and gives it without its zero byte; `None` if it does not end within `buf`.
    pub fn read(self, buf: &mut [u8]) -> Result<Option<&[u8]>, PageFault> {
        let len = usercopy::read_string(self.0, buf)?;
        Ok(if len < buf.len() { Some(&buf[..len]) } else { None })
    }

    /// Copies a path: ENAMETOOLONG if with its zero byte it does not fit [`PATH_MAX`].
    pub fn read_path(self) -> Result<PathBuf> {
        let mut short = [0; PathBuf::INLINE];
        let len = usercopy::read_string(self.0, &mut short)?;
        if len < short.len() {
            return Ok(PathBuf::Short { bytes: short, len: len as u8 });
        }
        let mut long = Vec::new();
        long.try_reserve_exact(PATH_MAX).map_err(|_| Errno::ENOMEM)?;
        long.resize(PATH_MAX, 0);
        let len = usercopy::read_string(self.0, &mut long)?;
        if len == PATH_MAX {
            return Err(Errno::ENAMETOOLONG.into());
        }
        long.truncate(len);
        Ok(PathBuf::Long(long))
    }

    /// Copies a string of at most `max` bytes, its zero byte not counted; `too_long` if there is no zero by then.
    pub fn read_vec(self, max: usize, too_long: Errno) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut piece = [0; 256];
        loop {
            let want = piece.len().min(max + 1 - bytes.len());
            let from = self.0.checked_add(bytes.len()).ok_or(read_fault(self.0))?;
            let len = usercopy::read_string(from, &mut piece[..want])?;
            bytes.try_reserve(len).map_err(|_| Errno::ENOMEM)?;
            bytes.extend_from_slice(&piece[..len]);
            if len < want {
                return Ok(bytes);
            }
            if bytes.len() > max {
                return Err(too_long.into());
            }
        }
    }
}

/// A path as a program gave it, without its zero byte. Short ones stay off the heap.
#[derive(Clone)]
#[allow(missing_docs, reason = "read through deref")]
pub enum PathBuf {
    Short { bytes: [u8; PathBuf::INLINE], len: u8 },
    Long(Vec<u8>),
}

impl PathBuf {
    const INLINE: usize = 127;
}

impl core::ops::Deref for PathBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            PathBuf::Short { bytes, len } => &bytes[..usize::from(*len)],
            PathBuf::Long(bytes) => bytes,
        }
    }
}

/// An I/O vector copied from user memory and checked. Short ones stay off the heap.
pub struct IoVecs {
    few: [IoVec; IoVecs::INLINE],
    many: Vec<IoVec>,
    len: usize,
}

impl IoVecs {
    const INLINE: usize = 8;

    /// Copies `count` entries: EINVAL if there are more than [`IOV_MAX`] or their lengths add up to more than a signed size
    /// holds, EFAULT if an entry reaches outside the program's half of the addresses.
    pub fn read(ptr: UserPtr<IoVec>, count: usize) -> Result<IoVecs> {
        if count > IOV_MAX {
            return Err(Errno::EINVAL.into());
        }
        let mut vecs = IoVecs { few: [IoVec::default(); IoVecs::INLINE], many: Vec::new(), len: count };
        if count > IoVecs::INLINE {
            vecs.many = ptr.read_vec(count)?;
        } else {
            ptr.read_slice(&mut vecs.few[..count])?;
        }
        let mut sum = 0usize;
        for vec in vecs.iter() {
            sum = sum.checked_add(vec.len).filter(|sum| *sum <= isize::MAX as usize).ok_or(Errno::EINVAL)?;
            check_range(VirtAddr(vec.base), vec.len)?;
        }
        Ok(vecs)
    }
}

impl core::ops::Deref for IoVecs {
    type Target = [IoVec];
    fn deref(&self) -> &[IoVec] {
        if self.len > IoVecs::INLINE { &self.many } else { &self.few[..self.len] }
    }
}

/// EFAULT if `len` bytes from `addr` reach outside the addresses that programs may have. What lies inside may still be
/// unmapped.
pub fn check_range(addr: VirtAddr, len: usize) -> Result<()> {
    match addr.0.checked_add(len) {
        Some(end) if end <= USER_END.0 => Ok(()),
        _ => Err(Errno::EFAULT.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_further_on_is_its_size_further_on() {
        let ptr = UserPtr::<u64>::from(0x1000);
        assert_eq!(ptr.add(3).addr(), VirtAddr(0x1018));
        assert_eq!(ptr.field::<u32>(4).addr(), VirtAddr(0x1004));
        assert!(UserPtr::<u8>::from(0).optional().is_none());
    }

    #[test]
    fn ranges_outside_the_user_half_are_faults() {
        assert_eq!(check_range(VirtAddr(USER_END.0 - 8), 8), Ok(()));
        assert_eq!(check_range(VirtAddr(USER_END.0 - 8), 9), Err(Errno::EFAULT.into()));
        assert_eq!(check_range(VirtAddr(8), usize::MAX), Err(Errno::EFAULT.into()));
    }

    #[test]
    fn absent_memory_is_a_fault_at_its_address() {
        arch::sim::boot(1, 1 << 20, [0; 32]);
        let fault = UserPtr::<u64>::from(0x4000).read().unwrap_err();
        assert_eq!(fault, read_fault(VirtAddr(0x4000)));
        assert!(matches!(UserStr::from(0x4000).read_path(), Err(base::Error::Fault(_))));
        assert_eq!(UserPtr::<u32>::from(2).load(), Err(Errno::EINVAL.into()));
    }

    #[test]
    fn vectors_are_held_to_the_limit_of_entries() {
        assert!(matches!(IoVecs::read(UserPtr::from(0), IOV_MAX + 1), Err(base::Error::Errno(Errno::EINVAL))));
    }
}
