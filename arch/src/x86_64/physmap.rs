//! All of RAM, mapped at one place for the kernel.

use crate::addr::PhysAddr;
use core::arch::asm;

const BASE: usize = 0xffff_8800_0000_0000;

/// Where the kernel reaches physical address `addr`. RAM only; the pointer is valid for the rest of the
/// RAM range that `addr` lies in. Whoever dereferences it answers for aliasing.
#[inline(always)]
pub fn to_ptr(addr: PhysAddr) -> *mut u8 {
    (BASE + addr.0 as usize) as *mut u8
}

/// The physical address behind a pointer that [`to_ptr`] gave.
#[inline(always)]
pub fn from_ptr(ptr: *const u8) -> PhysAddr {
    PhysAddr((ptr as usize - BASE) as u64)
}

/// Fills one page-aligned page with zeros, as fast as the machine can.
///
/// # Safety
/// The page belongs to the caller alone.
#[inline]
pub unsafe fn zero_page(page: PhysAddr) {
    // SAFETY: the caller owns the page and `to_ptr` maps all of it. DF is clear in kernel code.
    unsafe {
        asm!("rep stosq", inout("rdi") to_ptr(page) => _, inout("rcx") 512usize => _, in("rax") 0, options(nostack, preserves_flags));
    }
}

/// Copies one page-aligned page over another.
///
/// # Safety
/// `to` belongs to the caller alone, nobody writes to `from` meanwhile, and they differ.
#[inline]
pub unsafe fn copy_page(from: PhysAddr, to: PhysAddr) {
    // SAFETY: per the contract the ranges are distinct pages, readable and exclusively writable. DF is clear.
    unsafe {
        asm!(
            "rep movsq",
            inout("rsi") to_ptr(from) => _,
            inout("rdi") to_ptr(to) => _,
            inout("rcx") 512usize => _,
            options(nostack, preserves_flags),
        );
    }
}
