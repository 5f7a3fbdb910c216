//! Access to user memory of the active address space. Nothing here sleeps or allocates: an access stops at
//! the first byte that is absent or not allowed, and says where. Any address may be passed.
//!
//! Each instruction that touches user memory has an entry in the table of fixups; a fault there goes on at a label
//! that reports it. SMAP is lifted around these instructions only.

use super::features::{Features, has};
use super::paging::USER_END;
use super::percpu;
use super::trap::NOT_A_PAGE;
use super::user::page_fault;
use super::xsave;
use crate::addr::VirtAddr;
use crate::trap::{Access, PageFault};
use core::arch::asm;
use core::mem::MaybeUninit;

/// One instruction that lifts SMAP; found and replaced at boot where the CPU has none.
macro_rules! stac {
    () => {
        "771: stac\n.pushsection .smap_sites,\"a\"\n.quad 771b\n.popsection"
    };
}

/// The one that puts it back.
macro_rules! clac {
    () => {
        "772: clac\n.pushsection .smap_sites,\"a\"\n.quad 772b\n.popsection"
    };
}

/// The entry in the table of fixups for the instruction at local label `$at`.
macro_rules! fixup {
    ($at:literal, $to:literal) => {
        concat!(".pushsection .fixups,\"a\"\n.quad ", $at, "b, ", $to, "\n.popsection")
    };
}

/// What happens when the instruction at label 2 faults: `failed` becomes 1, and label 3 is next.
macro_rules! set_failed {
    () => {
        concat!(
            ".pushsection .text.fixup,\"ax\"\n4: mov {failed:e}, 1\njmp 3b\n.popsection\n",
            ".pushsection .fixups,\"a\"\n.quad 2b, 4b\n.popsection"
        )
    };
}

/// The fault that the last fixup was for.
#[cold]
fn last_fault() -> PageFault {
    let cpu = percpu::this();
    page_fault(cpu.fault_addr.get(), cpu.fault_code.get())
}

/// How many of `len` bytes at `addr` are user addresses at all; the fault if that is not all of them.
#[inline(always)]
fn reach(addr: VirtAddr, len: usize, access: Access) -> Result<(), (PageFault, usize)> {
    if len <= USER_END.0 && addr.0 <= USER_END.0 - len {
        return Ok(());
    }
    Err((PageFault { addr, access }, USER_END.0.saturating_sub(addr.0)))
}

/// Copies `len` bytes; returns how many were not copied. One of the two ranges is user memory.
///
/// # Safety
/// The range that is not user memory is valid for the copy; the other lies below `USER_END`.
#[inline]
unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) -> usize {
    let left: usize;
    // SAFETY: per the contract. A fault in the copy by words goes on with the copy by bytes, which stops at the very
    // byte; RCX then holds what is left. DF is clear in kernel code.
    unsafe {
        asm!(
            stac!(),
            "mov {tail:e}, ecx",
            "shr rcx, 3",
            "and {tail:e}, 7",
            "2: rep movsq",
            "mov ecx, {tail:e}",
            "3: rep movsb",
            "5:",
            clac!(),
            ".pushsection .text.fixup,\"ax\"",
            "4: lea rcx, [rcx*8 + {tail}]",
            stac!(),
            "jmp 3b",
            ".popsection",
            fixup!("2", "4b"),
            fixup!("3", "5b"),
            tail = out(reg) _,
            inout("rcx") len => left,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack),
        );
    }
    left
}

macro_rules! word {
    ($load:ident, $store:ident, $type:ty, $class:ident, $modifier:literal) => {
        /// Loads a word from user memory.
        ///
        /// # Safety
        /// The address lies below `USER_END`.
        #[inline(always)]
        unsafe fn $load(src: VirtAddr) -> Option<$type> {
            let value: $type;
            let failed: u32;
            // SAFETY: below USER_END, and a fault does nothing but set `failed`.
            unsafe {
                asm!(
                    stac!(),
                    concat!("2: mov {value", $modifier, "}, [{src}]"),
                    "3:",
                    clac!(),
                    set_failed!(),
                    src = in(reg) src.0,
                    value = out($class) value,
                    failed = inout(reg) 0u32 => failed,
                    options(nostack, readonly),
                );
            }
            (failed == 0).then_some(value)
        }

        /// Stores a word to user memory; whether it could.
        ///
        /// # Safety
        /// The address lies below `USER_END`.
        #[inline(always)]
        unsafe fn $store(dst: VirtAddr, value: $type) -> bool {
            // SAFETY: a fault goes to the label.
            unsafe {
                asm!(
                    stac!(),
                    concat!("2: mov [{dst}], {value", $modifier, "}"),
                    clac!(),
                    fixup!("2", "{fault}"),
                    dst = in(reg) dst.0,
                    value = in($class) value,
                    fault = label { return false },
                    options(nostack),
                );
            }
            true
        }
    };
}
word!(load8, store8, u8, reg_byte, "");
word!(load32, store32, u32, reg, ":e");
word!(load64, store64, u64, reg, "");

/// Copies `dst.len()` bytes from user memory. On a fault, `Err` gives the fault and how many bytes were copied before it.
#[inline]
pub fn read(src: VirtAddr, dst: &mut [u8]) -> Result<(), (PageFault, usize)> {
    // SAFETY: the two types are alike, and `read_new` only writes bytes that are initialised.
    read_new(src, unsafe { &mut *(core::ptr::from_mut(dst) as *mut [MaybeUninit<u8>]) })
}

/// As [`read`], into memory that nothing was written to before. On success all of it is.
#[inline]
pub fn read_new(src: VirtAddr, dst: &mut [MaybeUninit<u8>]) -> Result<(), (PageFault, usize)> {
    let to = dst.as_mut_ptr().cast::<u8>();
    let within = reach(src, dst.len(), Access::Read);
    if within.is_ok() {
        // SAFETY: below USER_END, and `to` is good for so many bytes.
        let done = unsafe {
            match dst.len() {
                1 => load8(src).map(|value| to.write(value)).is_some(),
                4 => load32(src).map(|value| to.cast::<u32>().write_unaligned(value)).is_some(),
                8 => load64(src).map(|value| to.cast::<u64>().write_unaligned(value)).is_some(),
                _ => false,
            }
        };
        if done {
            return Ok(());
        }
    }
    let len = within.map_or_else(|(_, len)| len, |()| dst.len());
    // SAFETY: `dst` is valid for `len` bytes, which is at most its length; the source is below USER_END.
    let left = unsafe { copy(to, src.0 as *const u8, len) };
    if left > 0 { Err((last_fault(), len - left)) } else { at_end(within, src) }
}

/// Copies `src` to user memory. On a fault, `Err` gives the fault and how many bytes were copied before it.
#[inline]
pub fn write(dst: VirtAddr, src: &[u8]) -> Result<(), (PageFault, usize)> {
    let within = reach(dst, src.len(), Access::Write);
    if within.is_ok() {
        // SAFETY: below USER_END.
        let done = unsafe {
            match *src {
                [value] => store8(dst, value),
                [a, b, c, d] => store32(dst, u32::from_ne_bytes([a, b, c, d])),
                [a, b, c, d, e, f, g, h] => store64(dst, u64::from_ne_bytes([a, b, c, d, e, f, g, h])),
                _ => false,
            }
        };
        if done {
            return Ok(());
        }
    }
    let len = within.map_or_else(|(_, len)| len, |()| src.len());
    // SAFETY: `src` is valid for `len` bytes, which is at most its length; the target is below USER_END.
    let left = unsafe { copy(dst.0 as *mut u8, src.as_ptr(), len) };
    if left > 0 { Err((last_fault(), len - left)) } else { at_end(within, dst) }
}

/// Where a copy stopped that ran into the end of user memory, not into an absent page.
fn at_end(within: Result<(), (PageFault, usize)>, start: VirtAddr) -> Result<(), (PageFault, usize)> {
    within.map_err(|(fault, done)| (PageFault { addr: VirtAddr(start.0.wrapping_add(done)), ..fault }, done))
}

/// Writes `len` zero bytes to user memory.
pub fn zero(dst: VirtAddr, len: usize) -> Result<(), (PageFault, usize)> {
    let within = reach(dst, len, Access::Write);
    let len = within.map_or_else(|(_, len)| len, |()| len);
    let left: usize;
    // SAFETY: the target is below USER_END; for the rest as in `copy`.
    unsafe {
        asm!(
            stac!(),
            "mov {tail:e}, ecx",
            "shr rcx, 3",
            "and {tail:e}, 7",
            "2: rep stosq",
            "mov ecx, {tail:e}",
            "3: rep stosb",
            "5:",
            clac!(),
            ".pushsection .text.fixup,\"ax\"",
            "4: lea rcx, [rcx*8 + {tail}]",
            stac!(),
            "jmp 3b",
            ".popsection",
            fixup!("2", "4b"),
            fixup!("3", "5b"),
            tail = out(reg) _,
            inout("rcx") len => left,
            inout("rdi") dst.0 => _,
            in("rax") 0,
            options(nostack),
        );
    }
    if left > 0 { Err((last_fault(), len - left)) } else { at_end(within, dst) }
}

/// Copies up to and including the first zero byte, at most `dst.len()` bytes. Returns the number of bytes
/// before the zero, or `dst.len()` if there is none.
pub fn read_string(src: VirtAddr, dst: &mut [u8]) -> Result<usize, PageFault> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut done = 0;
    while done < dst.len() {
        let at = VirtAddr(src.0.wrapping_add(done));
        reach(at, 1, Access::Read).map_err(|(fault, _)| fault)?;
        // A word that is aligned lies in one page; it is there if its first byte is.
        if at.0.is_multiple_of(8) && dst.len() - done >= 8 {
            // SAFETY: USER_END is a multiple of 8, so the word lies below it.
            let word = unsafe { load64(at) }.ok_or_else(last_fault)?;
            dst[done..done + 8].copy_from_slice(&word.to_ne_bytes());
            let zeros = word.wrapping_sub(LOW) & !word & HIGH;
            if zeros != 0 {
                return Ok(done + zeros.trailing_zeros() as usize / 8);
            }
            done += 8;
        } else {
            // SAFETY: below USER_END.
            let byte = unsafe { load8(at) }.ok_or_else(last_fault)?;
            dst[done] = byte;
            if byte == 0 {
                return Ok(done);
            }
            done += 1;
        }
    }
    Ok(dst.len())
}

/// Stores all vector registers to `dst`: by XSAVE in standard format where the CPU has it, else by FXSAVE. The
/// description inside and the header are the caller's to write. They must be open to use; `dst` is a multiple of 64.
pub(super) fn save_vectors(dst: VirtAddr) -> Result<(), PageFault> {
    reach(dst, xsave::frame_bytes(), Access::Write).map_err(|(fault, _)| fault)?;
    // SAFETY: below USER_END, and a fault does nothing but go to the label. The size is that of all components that are
    // switched on.
    unsafe {
        if has(Features::XSAVE) {
            asm!(
                stac!(), "2: xsave64 [{dst}]", clac!(), fixup!("2", "{fault}"),
                dst = in(reg) dst.0, in("eax") u32::MAX, in("edx") u32::MAX,
                fault = label { return Err(last_fault()) },
                options(nostack),
            );
        } else {
            asm!(
                stac!(), "2: fxsave64 [{dst}]", clac!(), fixup!("2", "{fault}"),
                dst = in(reg) dst.0, fault = label { return Err(last_fault()) },
                options(nostack),
            );
        }
    }
    Ok(())
}

/// Loads vector registers from `src`: of `components` by XRSTOR in standard format, the legacy ones by FXRSTOR if there are
/// none. They must be open to use. `Ok(false)` if the CPU refuses the contents. After that or a fault any of them
/// may have been loaded.
pub(super) fn load_vectors(src: VirtAddr, components: u64) -> Result<bool, PageFault> {
    reach(src, xsave::frame_bytes(), Access::Read).map_err(|(fault, _)| fault)?;
    // SAFETY: below USER_END, and a fault does nothing but go to the label. Whatever is loaded belongs to the program: the
    // components are those that programs may use, and the CPU checks the contents.
    unsafe {
        if components != 0 {
            asm!(
                stac!(), "2: xrstor64 [{src}]", clac!(), fixup!("2", "{fault}"),
                src = in(reg) src.0, in("eax") components as u32, in("edx") (components >> 32) as u32,
                fault = label { return refused() },
                options(nostack, readonly),
            );
        } else {
            asm!(
                stac!(), "2: fxrstor64 [{src}]", clac!(), fixup!("2", "{fault}"),
                src = in(reg) src.0, fault = label { return refused() },
                options(nostack, readonly),
            );
        }
    }
    Ok(true)
}

/// Why loading vector registers failed.
#[cold]
fn refused() -> Result<bool, PageFault> {
    if percpu::this().fault_code.get() == NOT_A_PAGE { Ok(false) } else { Err(last_fault()) }
}

/// Loads a 32-bit word atomically. `addr` must be aligned to 4.
#[inline]
pub fn load_u32(addr: VirtAddr) -> Result<u32, PageFault> {
    reach(addr, 4, Access::Read).map_err(|(fault, _)| fault)?;
    // SAFETY: below USER_END. An aligned load is atomic.
    unsafe { load32(addr) }.ok_or_else(last_fault)
}

/// Compares and exchanges a 32-bit word atomically (sequentially consistent); returns the value found. `addr` must be
/// aligned to 4. The page must be writable.
pub fn compare_exchange_u32(addr: VirtAddr, current: u32, new: u32) -> Result<u32, PageFault> {
    reach(addr, 4, Access::Write).map_err(|(fault, _)| fault)?;
    let (found, failed): (u32, u32);
    // SAFETY: below USER_END, and a fault does nothing but set `failed`.
    unsafe {
        asm!(
            stac!(),
            "2: lock cmpxchg [{addr}], {new:e}",
            "3:",
            clac!(),
            set_failed!(),
            addr = in(reg) addr.0,
            new = in(reg) new,
            inout("eax") current => found,
            failed = inout(reg) 0u32 => failed,
            options(nostack),
        );
    }
    if failed == 0 { Ok(found) } else { Err(last_fault()) }
}
