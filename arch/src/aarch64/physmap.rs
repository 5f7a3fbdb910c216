//! All of RAM, mapped at one place for the kernel.

use crate::addr::{PAGE_SIZE, PhysAddr};
use core::arch::{asm, global_asm};

/// Where physical address 0 would be. Only RAM is mapped.
pub(super) const BASE: usize = 0xffff_0000_0000_0000;

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

// SAFETY: the assembly defines both with these arguments; they write one page and read one.
unsafe extern "C" {
    fn page_zero(page: *mut u8);
    fn page_copy(to: *mut u8, from: *const u8);
}

/// Fills one page-aligned page with zeros, as fast as the machine can.
///
/// # Safety
/// The page belongs to the caller alone.
#[inline]
pub unsafe fn zero_page(page: PhysAddr) {
    // SAFETY: the caller owns the page and `to_ptr` maps all of it.
    unsafe { page_zero(to_ptr(page)) }
}

/// Copies one page-aligned page over another.
///
/// # Safety
/// `to` belongs to the caller alone, nobody writes to `from` meanwhile, and they differ.
#[inline]
pub unsafe fn copy_page(from: PhysAddr, to: PhysAddr) {
    // SAFETY: per the contract the ranges are distinct pages, readable and exclusively writable.
    unsafe { page_copy(to_ptr(to), to_ptr(from)) }
}

/// Makes stores to `page` visible to instruction fetches of all CPUs.
pub(super) fn sync_code(page: PhysAddr) {
    let ctr: usize;
    // SAFETY: only reads a register.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    let start = to_ptr(page) as usize;
    let end = start + PAGE_SIZE;
    let line = |field: usize| 4 << (ctr >> field & 15);
    // IDC: data caches need no cleaning to the point of unification.
    if ctr >> 28 & 1 == 0 {
        for at in (start..end).step_by(line(16)) {
            // SAFETY: the line lies in mapped RAM; cleaning changes no data.
            unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
        }
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    // DIC: instruction caches need no invalidation. Where they do, the lines may be tagged by another virtual
    // address, that of the program; all of them go.
    if ctr >> 29 & 1 == 0 {
        // SAFETY: only drops cached instructions.
        unsafe { asm!("ic ialluis", "dsb ish", options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

global_asm!(
    r#"
.text
// page_zero(page: x0). DC ZVA where allowed and its block (4 << DCZID words) fits eight times into a page.
.balign 32
.global page_zero
page_zero:
    mrs     x2, dczid_el0
    add     x1, x0, #4096
    cmp     w2, #7                      // DZP (bit 4) set makes it larger, too
    b.hi    3f
    mov     w3, #4
    lsl     x3, x3, x2
2:  dc      zva, x0
    add     x0, x0, x3
    dc      zva, x0
    add     x0, x0, x3
    dc      zva, x0
    add     x0, x0, x3
    dc      zva, x0
    add     x0, x0, x3
    dc      zva, x0
    add     x0, x0, x3
    dc      zva, x0
    add     x0, x0, x3
    dc      zva, x0
    add     x0, x0, x3
    dc      zva, x0
    add     x0, x0, x3
    cmp     x0, x1
    b.ne    2b
    ret
3:  stp     xzr, xzr, [x0]
    stp     xzr, xzr, [x0, #16]
    stp     xzr, xzr, [x0, #32]
    stp     xzr, xzr, [x0, #48]
    stp     xzr, xzr, [x0, #64]
    stp     xzr, xzr, [x0, #80]
    stp     xzr, xzr, [x0, #96]
    stp     xzr, xzr, [x0, #112]
    add     x0, x0, #128
    cmp     x0, x1
    b.ne    3b
    ret

// page_copy(to: x0, from: x1)
.balign 32
.global page_copy
page_copy:
    add     x2, x1, #4096
1:
.irp at, 0, 32, 64, 96, 128, 160, 192, 224
    ldp     x3, x4, [x1, #\at]
    ldp     x5, x6, [x1, #\at + 16]
    stp     x3, x4, [x0, #\at]
    stp     x5, x6, [x0, #\at + 16]
.endr
    add     x1, x1, #256
    add     x0, x0, #256
    cmp     x1, x2
    b.ne    1b
    ret
"#,
    options(raw)
);
