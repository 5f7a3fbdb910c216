//! All of RAM, mapped at one place for the kernel.

use super::sim;
use crate::addr::PhysAddr;

/// Where the kernel reaches physical address `addr`. RAM only; the pointer is valid for the rest of the
/// RAM range that `addr` lies in. Whoever dereferences it answers for aliasing.
pub fn to_ptr(addr: PhysAddr) -> *mut u8 {
    sim::ram_ptr(addr)
}

/// The physical address behind a pointer that [`to_ptr`] gave.
pub fn from_ptr(ptr: *const u8) -> PhysAddr {
    sim::ram_addr(ptr)
}

/// Fills one page-aligned page with zeros, as fast as the machine can.
///
/// # Safety
/// The page belongs to the caller alone.
pub unsafe fn zero_page(page: PhysAddr) {
    // SAFETY: the caller owns the page and `to_ptr` maps all of it.
    unsafe { to_ptr(page).write_bytes(0, crate::addr::PAGE_SIZE) }
}

/// Copies one page-aligned page over another.
///
/// # Safety
/// `to` belongs to the caller alone, nobody writes to `from` meanwhile, and they differ.
pub unsafe fn copy_page(from: PhysAddr, to: PhysAddr) {
    // SAFETY: per the contract the ranges are distinct pages, readable and exclusively writable.
    unsafe { to_ptr(to).copy_from_nonoverlapping(to_ptr(from), crate::addr::PAGE_SIZE) }
}
