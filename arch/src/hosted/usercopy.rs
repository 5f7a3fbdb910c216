//! Access to user memory of the active address space. Nothing here sleeps or allocates: an access stops at
//! the first byte that is absent or not allowed, and says where. Any address may be passed.

use super::sim;
use crate::addr::VirtAddr;
use crate::trap::{Access, PageFault};
use core::mem::MaybeUninit;

/// Copies `dst.len()` bytes from user memory. On a fault, `Err` gives the fault and how many bytes were copied before it.
pub fn read(src: VirtAddr, dst: &mut [u8]) -> Result<(), (PageFault, usize)> {
    // SAFETY: the two types are alike, and `read_new` only writes bytes that are initialised.
    read_new(src, unsafe { &mut *(core::ptr::from_mut(dst) as *mut [MaybeUninit<u8>]) })
}

/// As [`read`], into memory that nothing was written to before. On success all of it is.
pub fn read_new(src: VirtAddr, dst: &mut [MaybeUninit<u8>]) -> Result<(), (PageFault, usize)> {
    sim::user_copy(src, dst.len(), Access::Read, |ptr, at, len| {
        // SAFETY: the simulation has one host thread; `ptr` is good for `len` bytes of RAM that no reference covers.
        unsafe { core::ptr::copy_nonoverlapping(ptr, dst[at..].as_mut_ptr().cast(), len) }
    })
}

/// Copies `src` to user memory. On a fault, `Err` gives the fault and how many bytes were copied before it.
pub fn write(dst: VirtAddr, src: &[u8]) -> Result<(), (PageFault, usize)> {
    sim::user_copy(dst, src.len(), Access::Write, |ptr, at, len| {
        // SAFETY: as in `read`.
        unsafe { core::ptr::copy_nonoverlapping(src[at..].as_ptr(), ptr, len) }
    })
}

/// Writes `len` zero bytes to user memory.
pub fn zero(dst: VirtAddr, len: usize) -> Result<(), (PageFault, usize)> {
    sim::user_copy(dst, len, Access::Write, |ptr, _, len| {
        // SAFETY: as in `read`.
        unsafe { ptr.write_bytes(0, len) }
    })
}

/// Copies up to and including the first zero byte, at most `dst.len()` bytes. Returns the number of bytes
/// before the zero, or `dst.len()` if there is none.
pub fn read_string(src: VirtAddr, dst: &mut [u8]) -> Result<usize, PageFault> {
    for (i, byte) in dst.iter_mut().enumerate() {
        let fault = PageFault { addr: src, access: Access::Read };
        let addr = src.checked_add(i).ok_or(fault)?;
        read(addr, core::slice::from_mut(byte)).map_err(|(fault, _)| fault)?;
        if *byte == 0 {
            return Ok(i);
        }
    }
    Ok(dst.len())
}

/// Loads a 32-bit word atomically. `addr` must be aligned to 4.
pub fn load_u32(addr: VirtAddr) -> Result<u32, PageFault> {
    let mut word = [0; 4];
    read(addr, &mut word).map_err(|(fault, _)| fault)?;
    Ok(u32::from_ne_bytes(word))
}

/// Compares and exchanges a 32-bit word atomically (sequentially consistent); returns the value found. `addr` must be
/// aligned to 4. The page must be writable.
pub fn compare_exchange_u32(addr: VirtAddr, current: u32, new: u32) -> Result<u32, PageFault> {
    let mut found = 0;
    sim::user_copy(addr, 4, Access::Write, |ptr, _, _| {
        // SAFETY: one host thread; an aligned word does not cross a page, so `ptr` is good for it.
        unsafe {
            found = ptr.cast::<u32>().read_unaligned();
            if found == current {
                ptr.cast::<u32>().write_unaligned(new);
            }
        }
    })
    .map_err(|(fault, _)| fault)?;
    Ok(found)
}
