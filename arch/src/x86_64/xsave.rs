//! The formats in which vector state lies in memory: FXSAVE, XSAVE in standard form, XSAVEC in compacted form
//! (SDM vol. 1, chapter 13), and what of it is switched on.

use super::boot_cell::BootCell;
use super::features::{Features, cpuid, has};
use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// No memory for the vector state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Bytes that FXSAVE writes, the first part of every format.
pub const LEGACY: usize = 512;
pub const HEADER: usize = 64;
pub const MXCSR_AT: usize = 24;
/// MXCSR as a program starts: all exceptions masked.
const MXCSR: u32 = 0x1f80;
/// State components that are offered: x87, SSE, AVX, AVX-512 (three).
pub const COMPONENTS: u64 = 0b1110_0111;
pub const X87_SSE: u64 = 0b11;
pub const AVX512: u64 = 0b1110_0000;

/// Where Linux's signal frames describe the format inside the FXSAVE area: `struct _fpx_sw_bytes`.
pub const SW_AT: usize = 464;
pub const MAGIC1: u32 = 0x4650_5853;
pub const MAGIC2: u32 = 0x4650_5845;

/// The components that the kernel switched on; 0 without XSAVE.
pub static ENABLED: AtomicU64 = AtomicU64::new(0);
/// Bytes of the standard format with all of them.
pub static STANDARD_SIZE: AtomicU32 = AtomicU32::new(0);

/// What the CPU does not write of a signal frame: the description of the format, and behind it the header, of which it sets
/// some bits.
static DESCRIPTION: BootCell<[u8; LEGACY + HEADER - SW_AT]> = BootCell::new();

/// That description; empty without XSAVE.
pub fn description() -> &'static [u8] {
    DESCRIPTION.get().map_or(&[], |bytes| bytes.as_slice())
}

#[repr(C, align(64))]
pub struct Image(pub [u8; LEGACY + HEADER]);

/// The state in which a program starts.
pub static INITIAL: Image = {
    let mut image = [0; LEGACY + HEADER];
    image[0] = 0x7f; // FCW: all exceptions masked, 64-bit precision
    image[1] = 0x03;
    image[MXCSR_AT] = MXCSR as u8;
    image[MXCSR_AT + 1] = (MXCSR >> 8) as u8;
    Image(image)
};

/// Memory for a saved state that has room for `components`, aligned to 64.
pub struct Area {
    pub ptr: NonNull<u8>,
    pub components: u64,
    size: usize,
}

// SAFETY: an area owns its memory.
unsafe impl Send for Area {}
// SAFETY: it is changed through `&mut` only.
unsafe impl Sync for Area {}

impl Area {
    fn layout(size: usize) -> Option<Layout> {
        Layout::from_size_align(size, 64).ok()
    }

    /// Room for `components`, for [`Area::save`] to fill.
    pub fn new(components: u64) -> Result<Area, OutOfMemory> {
        let size = size_for(components);
        let layout = Area::layout(size).ok_or(OutOfMemory)?;
        // SAFETY: the size is at least that of the legacy part, and with XSAVE that of the header as well. FXSAVE writes all that
        // FXRSTOR reads. XSAVE and its kin add to the header, which therefore is zero first, and XRSTOR reads nothing of a component
        // that the header does not name, but for MXCSR (SDM vol. 1, 13.7 to 13.10).
        let ptr = unsafe {
            let ptr = NonNull::new(alloc(layout)).ok_or(OutOfMemory)?;
            if has(Features::XSAVE) {
                ptr.add(MXCSR_AT).cast::<u32>().write(MXCSR);
                ptr.add(LEGACY).write_bytes(0, HEADER);
            }
            ptr
        };
        Ok(Area { ptr, components, size })
    }

    /// Another with the same in it.
    pub fn copy(&self) -> Result<Area, OutOfMemory> {
        let layout = Area::layout(self.size).ok_or(OutOfMemory)?;
        // SAFETY: both have the size. What was never written is copied without being looked at.
        let ptr = unsafe {
            let ptr = NonNull::new(alloc(layout)).ok_or(OutOfMemory)?;
            ptr.copy_from_nonoverlapping(self.ptr, self.size);
            ptr
        };
        Ok(Area { ptr, components: self.components, size: self.size })
    }

    /// Brings the CPU's registers here, which are open to programs. All components that are in use have room.
    #[inline(always)]
    pub fn save(&mut self) {
        let (ptr, mask) = (self.ptr.as_ptr(), self.components as u32);
        // SAFETY: the area has room for the components in `mask`, all of them enabled, in the format that the
        // instruction writes; components outside it are not in use, so that their bits in the header stay 0.
        unsafe {
            if compacted() {
                asm!("xsavec64 [{}]", in(reg) ptr, in("eax") mask, in("edx") 0, options(nostack));
            } else if has(Features::XSAVEOPT) {
                asm!("xsaveopt64 [{}]", in(reg) ptr, in("eax") mask, in("edx") 0, options(nostack));
            } else if has(Features::XSAVE) {
                asm!("xsave64 [{}]", in(reg) ptr, in("eax") mask, in("edx") 0, options(nostack));
            } else {
                asm!("fxsave64 [{}]", in(reg) ptr, options(nostack));
            }
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if let Some(layout) = Area::layout(self.size) {
            // SAFETY: allocated with the same layout.
            unsafe { dealloc(self.ptr.as_ptr(), layout) }
        }
    }
}

pub fn compacted() -> bool {
    has(Features::XSAVEC)
}

/// What CPUID says of each component: its size, from bit 32 its standard offset, in bit 63 whether the compacted format
/// aligns it to 64. Kept, since under a hypervisor each CPUID is an exit. The same on every CPU.
static LAYOUTS: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];
const ALIGNED: u64 = 1 << 63;

/// Size and standard offset of component `i` >= 2, and whether the compacted format aligns it to 64.
pub fn component(i: u32) -> (usize, usize, bool) {
    let layout = LAYOUTS[i as usize % LAYOUTS.len()].load(Ordering::Relaxed);
    (layout as u32 as usize, ((layout & !ALIGNED) >> 32) as usize, layout & ALIGNED != 0)
}

/// The components of `set` that are not in the legacy part, in order.
pub fn beyond_legacy(set: u64) -> impl Iterator<Item = u32> {
    let mut left = set & COMPONENTS & !X87_SSE;
    core::iter::from_fn(move || {
        let i = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (i < 64).then_some(i)
    })
}

/// Where component `i` starts in an area for `components`.
pub fn offset(components: u64, i: u32) -> usize {
    if !compacted() {
        return component(i).1;
    }
    let mut at = LEGACY + HEADER;
    for j in beyond_legacy(components & ((1 << i) - 1)) {
        let (size, _, aligned) = component(j);
        at = if aligned { at.next_multiple_of(64) } else { at } + size;
    }
    if component(i).2 { at.next_multiple_of(64) } else { at }
}

pub fn size_for(components: u64) -> usize {
    match ENABLED.load(Ordering::Relaxed) {
        0 => LEGACY,
        _ if components & !X87_SSE == 0 => LEGACY + HEADER,
        _ => {
            let last = 63 - components.leading_zeros();
            offset(components, last) + component(last).0
        }
    }
}

/// The components that the registers hold something in.
pub fn in_use() -> u64 {
    let enabled = ENABLED.load(Ordering::Relaxed);
    if !has(Features::XGETBV1) {
        return enabled;
    }
    let low: u32;
    // SAFETY: the CPU has XGETBV with ECX = 1. All enabled components are below 32.
    unsafe { asm!("xgetbv", in("ecx") 1, out("eax") low, out("edx") _, options(nomem, nostack, preserves_flags)) };
    // XMM registers in their first state do not say that MXCSR is.
    u64::from(low) & enabled | X87_SSE
}

/// Switches the components on. First on the boot CPU, while it is alone.
///
/// # Safety
/// CR4.OSXSAVE is set if the CPU has XSAVE.
pub unsafe fn enable() {
    if !has(Features::XSAVE) {
        return;
    }
    let mut enabled = u64::from(cpuid(0xd, 0).eax) & COMPONENTS;
    if enabled & AVX512 != AVX512 {
        enabled &= !AVX512;
    }
    // SAFETY: the CPU supports these components, and those that need each other are there together.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") enabled as u32, in("edx") 0, options(nomem, nostack)) };
    ENABLED.store(enabled, Ordering::Relaxed);
    let size = cpuid(0xd, 0).ebx;
    STANDARD_SIZE.store(size, Ordering::Relaxed);
    if DESCRIPTION.get().is_none() {
        let mut bytes = [0; LEGACY + HEADER - SW_AT];
        bytes[..4].copy_from_slice(&MAGIC1.to_le_bytes());
        bytes[4..8].copy_from_slice(&(size + 4).to_le_bytes());
        bytes[8..16].copy_from_slice(&enabled.to_le_bytes());
        bytes[16..20].copy_from_slice(&size.to_le_bytes());
        // SAFETY: the first call is the boot CPU's, before the others run.
        unsafe { DESCRIPTION.set(bytes) };
    }
    for i in beyond_legacy(enabled) {
        let leaf = cpuid(0xd, i);
        let aligned = if leaf.ecx & 2 != 0 { ALIGNED } else { 0 };
        LAYOUTS[i as usize].store(u64::from(leaf.eax) | u64::from(leaf.ebx) << 32 | aligned, Ordering::Relaxed);
    }
}

/// Unmasked x87 exceptions that are pending, as IEEE 754 bits.
pub fn pending_x87() -> u32 {
    let (mut control, mut status) = (0u16, 0u16);
    // SAFETY: two stores that do not wait for and do not raise floating-point exceptions.
    unsafe {
        asm!("fnstcw [{}]", in(reg) &mut control, options(nostack, preserves_flags));
        asm!("fnstsw [{}]", in(reg) &mut status, options(nostack, preserves_flags));
    }
    u32::from(status & !control & 0x3f)
}

/// The same for SSE.
pub fn pending_simd() -> u32 {
    let mut mxcsr = 0u32;
    // SAFETY: a store.
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut mxcsr, options(nostack, preserves_flags)) };
    mxcsr & !(mxcsr >> 7) & 0x3f
}

/// Bytes of the state in a signal frame.
pub fn frame_bytes() -> usize {
    match STANDARD_SIZE.load(Ordering::Relaxed) {
        0 => LEGACY,
        size => size as usize + size_of_val(&MAGIC2),
    }
}
