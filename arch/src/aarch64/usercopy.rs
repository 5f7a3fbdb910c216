//! Access to user memory of the active address space. Nothing here sleeps or allocates: an access stops at
//! the first byte that is absent or not allowed, and says where. Any address may be passed.
//!
//! Copies become part of their callers, where most have a length that the compiler knows.

use super::features;
use super::paging::USER_END;
use crate::addr::VirtAddr;
use crate::trap::{Access, PageFault};
use core::arch::{asm, global_asm};
use core::mem::MaybeUninit;

global_asm!(include_str!("usercopy.S"), options(raw));

/// Two registers.
#[repr(C)]
struct Pair(u64, u64);

// SAFETY: usercopy.S defines them with these arguments and results, in registers as the C convention has them.
unsafe extern "C" {
    fn usercopy_read(to: *mut u8, from: usize, len: usize) -> usize;
    fn usercopy_write(from: *const u8, to: usize, len: usize) -> usize;
    fn usercopy_zero(unused: usize, to: usize, len: usize) -> usize;
    fn usercopy_string(to: *mut u8, from: usize, len: usize) -> Pair;
    fn usercopy_load(unused: usize, from: usize) -> Pair;
    fn usercopy_save_vectors(pan: u32, to: usize) -> Pair;
    fn usercopy_load_vectors(pan: u32, from: usize) -> Pair;
    fn usercopy_exchange(new: u32, at: usize, current: u32, pan: u32) -> Pair;
}

/// How many of `len` bytes from `addr` lie in the user half.
#[inline(always)]
fn in_range(addr: VirtAddr, len: usize) -> usize {
    if len <= USER_END.0 && addr.0 <= USER_END.0 - len { len } else { in_range_slowly(addr, len) }
}

#[cold]
fn in_range_slowly(addr: VirtAddr, len: usize) -> usize {
    len.min(USER_END.0.saturating_sub(addr.0))
}

/// The result of a copy of `len` bytes, of which the loop was given `tried` and left out `left`.
#[inline(always)]
fn outcome(addr: VirtAddr, access: Access, len: usize, tried: usize, left: usize) -> Result<(), (PageFault, usize)> {
    let done = tried - left;
    if done == len {
        return Ok(());
    }
    Err((PageFault { addr: VirtAddr(addr.0.wrapping_add(done)), access }, done))
}

/// The line in the table of fixups for the instruction at label 2.
macro_rules! fixup {
    ($to:literal) => {
        concat!(".pushsection .fixup_table,\"a\"\n.quad 2b, 2b + 4, ", $to, "\n.popsection")
    };
}

macro_rules! word {
    ($load:ident, $ldtr:literal, $store:ident, $sttr:literal, $type:ty, $modifier:literal) => {
        /// Loads a word from user memory; `None` if it could not.
        #[inline(always)]
        fn $load(src: VirtAddr) -> Option<$type> {
            if in_range(src, size_of::<$type>()) < size_of::<$type>() {
                return None;
            }
            let (value, failed): ($type, u32);
            // SAFETY: the hardware checks the access as one of the program, and a fault does nothing but set `failed`.
            unsafe {
                asm!(
                    concat!("2: ", $ldtr, " {value", $modifier, "}, [{src}]"),
                    "3:",
                    ".pushsection .text.fixup,\"ax\"",
                    "4: mov {failed:w}, #1",
                    "b 3b",
                    ".popsection",
                    fixup!("4b"),
                    src = in(reg) src.0,
                    value = out(reg) value,
                    failed = inout(reg) 0u32 => failed,
                    options(nostack, readonly, preserves_flags),
                );
            }
            (failed == 0).then_some(value)
        }

        /// Stores a word to user memory; whether it could.
        #[inline(always)]
        fn $store(dst: VirtAddr, value: $type) -> bool {
            if in_range(dst, size_of::<$type>()) < size_of::<$type>() {
                return false;
            }
            // SAFETY: as for the load; a fault goes to the label.
            unsafe {
                asm!(
                    concat!("2: ", $sttr, " {value", $modifier, "}, [{dst}]"),
                    fixup!("{fault}"),
                    dst = in(reg) dst.0,
                    value = in(reg) value,
                    fault = label { return false },
                    options(nostack, preserves_flags),
                );
            }
            true
        }
    };
}
word!(load8, "ldtrb", store8, "sttrb", u8, ":w");
word!(load32, "ldtr", store32, "sttr", u32, ":w");
word!(load64, "ldtr", store64, "sttr", u64, "");

/// Loads two words, `None` if it could not.
#[inline(always)]
fn load128(src: VirtAddr) -> Option<u128> {
    let (low, high) = (load64(src)?, load64(VirtAddr(src.0 + 8))?);
    Some(u128::from(low) | u128::from(high) << 64)
}

/// Stores two words; whether it could. If not, the first may have been stored.
#[inline(always)]
fn store128(dst: VirtAddr, value: u128) -> bool {
    store64(dst, value as u64) && store64(VirtAddr(dst.0 + 8), (value >> 64) as u64)
}

/// Copies `dst.len()` bytes from user memory. On a fault, `Err` gives the fault and how many bytes were copied
/// before it.
#[inline(always)]
pub fn read(src: VirtAddr, dst: &mut [u8]) -> Result<(), (PageFault, usize)> {
    // SAFETY: the two types are alike, and `read_new` only writes bytes that are initialised.
    read_new(src, unsafe { &mut *(core::ptr::from_mut(dst) as *mut [MaybeUninit<u8>]) })
}

/// As [`read`], into memory that nothing was written to before. On success all of it is.
#[inline(always)]
pub fn read_new(src: VirtAddr, dst: &mut [MaybeUninit<u8>]) -> Result<(), (PageFault, usize)> {
    let to = dst.as_mut_ptr().cast::<u8>();
    // SAFETY: `to` is good for so many bytes.
    let done = unsafe {
        match dst.len() {
            1 => load8(src).map(|value| to.write(value)).is_some(),
            4 => load32(src).map(|value| to.cast::<u32>().write_unaligned(value)).is_some(),
            8 => load64(src).map(|value| to.cast::<u64>().write_unaligned(value)).is_some(),
            16 => load128(src).map(|value| to.cast::<u128>().write_unaligned(value)).is_some(),
            _ => false,
        }
    };
    if done {
        return Ok(());
    }
    let tried = in_range(src, dst.len());
    // SAFETY: `dst` is good for `tried` bytes; the user side is checked by the hardware, and its faults have
    // fixups.
    let left = unsafe { usercopy_read(to, src.0, tried) };
    outcome(src, Access::Read, dst.len(), tried, left)
}

/// Copies `src` to user memory. On a fault, `Err` gives the fault and how many bytes were copied before it.
#[inline(always)]
pub fn write(dst: VirtAddr, src: &[u8]) -> Result<(), (PageFault, usize)> {
    let done = match *src {
        [value] => store8(dst, value),
        [a, b, c, d] => store32(dst, u32::from_ne_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => store64(dst, u64::from_ne_bytes([a, b, c, d, e, f, g, h])),
        _ => <[u8; 16]>::try_from(src).is_ok_and(|bytes| store128(dst, u128::from_ne_bytes(bytes))),
    };
    if done {
        return Ok(());
    }
    let tried = in_range(dst, src.len());
    // SAFETY: as in `read`.
    let left = unsafe { usercopy_write(src.as_ptr(), dst.0, tried) };
    outcome(dst, Access::Write, src.len(), tried, left)
}

/// Writes `len` zero bytes to user memory.
#[inline]
pub fn zero(dst: VirtAddr, len: usize) -> Result<(), (PageFault, usize)> {
    let tried = in_range(dst, len);
    // SAFETY: as in `read`; no kernel memory is touched.
    let left = unsafe { usercopy_zero(0, dst.0, tried) };
    outcome(dst, Access::Write, len, tried, left)
}

/// Copies up to and including the first zero byte, at most `dst.len()` bytes. Returns the number of bytes
/// before the zero, or `dst.len()` if there is none.
pub fn read_string(src: VirtAddr, dst: &mut [u8]) -> Result<usize, PageFault> {
    let tried = in_range(src, dst.len());
    // SAFETY: as in `read`; the loop writes `tried` bytes at most.
    let Pair(done, faulted) = unsafe { usercopy_string(dst.as_mut_ptr(), src.0, tried) };
    let done = done as usize;
    if faulted != 0 || done == tried && tried < dst.len() {
        return Err(PageFault { addr: VirtAddr(src.0.wrapping_add(done)), access: Access::Read });
    }
    Ok(done)
}

/// Loads a 32-bit word atomically. `addr` must be aligned to 4.
pub fn load_u32(addr: VirtAddr) -> Result<u32, PageFault> {
    let fault = PageFault { addr, access: Access::Read };
    if in_range(addr, 4) < 4 {
        return Err(fault);
    }
    // SAFETY: as in `read`; no kernel memory is touched.
    let Pair(word, faulted) = unsafe { usercopy_load(0, addr.0) };
    if faulted == 0 { Ok(word as u32) } else { Err(fault) }
}

/// Compares and exchanges a 32-bit word atomically (sequentially consistent); returns the value found. `addr`
/// must be
/// aligned to 4. The page must be writable.
pub fn compare_exchange_u32(addr: VirtAddr, current: u32, new: u32) -> Result<u32, PageFault> {
    let fault = PageFault { addr, access: Access::Write };
    // A misaligned exclusive would be a fault that no page can satisfy.
    if in_range(addr, 4) < 4 || addr.0 & 3 != 0 {
        return Err(fault);
    }
    // SAFETY: the word lies in the user half, where every mapping is the program's; faults have fixups.
    let Pair(found, faulted) = unsafe { usercopy_exchange(new, addr.0, current, features::has_pan().into()) };
    if faulted == 0 { Ok(found as u32) } else { Err(fault) }
}

/// Bytes that [`save_vectors`] stores: FPSR, FPCR and 32 registers of 16 bytes.
pub(super) const VECTORS: usize = 8 + 32 * 16;

/// Stores FPSR, FPCR and the vector registers of this CPU to `dst`.
pub(super) fn save_vectors(dst: VirtAddr) -> Result<(), PageFault> {
    move_vectors(usercopy_save_vectors, dst, Access::Write)
}

/// Loads them from `src`. The CPU ignores bits of FPSR and FPCR that it does not have. After a fault any of the vector registers may
/// have been loaded.
pub(super) fn load_vectors(src: VirtAddr) -> Result<(), PageFault> {
    move_vectors(usercopy_load_vectors, src, Access::Read)
}

#[inline(always)]
fn move_vectors(by: unsafe extern "C" fn(u32, usize) -> Pair, addr: VirtAddr, access: Access) -> Result<(), PageFault> {
    let within = in_range(addr, VECTORS);
    if within < VECTORS {
        return Err(PageFault { addr: VirtAddr(addr.0.wrapping_add(within)), access });
    }
    // SAFETY: all of it lies in the user half, where every mapping is the program's, and faults have fixups. Nothing in the kernel
    // uses vector registers, so what they hold is the program's to change.
    let Pair(at, faulted) = unsafe { by(features::has_pan().into(), addr.0) };
    if faulted == 0 { Ok(()) } else { Err(PageFault { addr: VirtAddr(at as usize), access }) }
}
