//! What an exception syndrome (ESR_EL1) means.

use super::fpu::Fpu;
use super::user::Context;
use crate::addr::VirtAddr;
use crate::trap::{Access, Exception, PageFault, Trap};
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{FAR_EL1, Readable};
use core::arch::asm;

/// Exception class of SVC in AArch64 state.
pub const SVC: u64 = 0x15;
const FP_ACCESS: u64 = 0x07;
const FETCH_ABORT: u64 = 0x20;
const PC_ALIGNMENT: u64 = 0x22;
const DATA_ABORT: u64 = 0x24;
const SP_ALIGNMENT: u64 = 0x26;
const FP_EXCEPTION: u64 = 0x2c;
const BREAKPOINT: u64 = 0x30;
const STEP: u64 = 0x32;
const WATCHPOINT: u64 = 0x34;
const BRK: u64 = 0x3c;

/// Marks of vectors.S for interrupts and for SError.
const INTERRUPT: u64 = u64::MAX;
const SYSTEM_ERROR: u64 = u64::MAX - 1;

/// The trap behind `reason`, which is no system call; `None` if the program just goes on. Not inlined, so that
/// `enter` stays small where it is.
#[inline(never)]
pub fn trap(context: &mut Context, fpu: &mut Fpu, reason: u64) -> Option<Trap> {
    match reason {
        INTERRUPT => return Some(Trap::Interrupt),
        SYSTEM_ERROR => super::fault::system_error(context.pc),
        _ => {}
    }
    let class = reason >> 26 & 0x3f;
    if class == FP_ACCESS {
        fpu.access();
        return None;
    }
    context.esr = reason & 0xffff_ffff;
    Some(match class {
        DATA_ABORT | FETCH_ABORT => return abort(context, class),
        PC_ALIGNMENT => Trap::Exception(Exception::Alignment(VirtAddr(context.pc as usize))),
        SP_ALIGNMENT => Trap::Exception(Exception::Alignment(VirtAddr(context.sp as usize))),
        FP_EXCEPTION => Trap::Exception(Exception::FloatingPoint(fp_bits(context.esr))),
        BREAKPOINT | STEP | WATCHPOINT => Trap::Exception(Exception::Debug),
        BRK => Trap::Exception(Exception::Breakpoint),
        _ => Trap::Exception(Exception::IllegalInstruction),
    })
}

/// An access that the MMU refused.
fn abort(context: &mut Context, class: u64) -> Option<Trap> {
    let far = FAR_EL1.get();
    context.far = far;
    let addr = VirtAddr(untag(far) as usize);
    let write = context.esr >> 6 & 1 != 0;
    let cache_maintenance = context.esr >> 8 & 1 != 0;
    let access = match (class, write, cache_maintenance) {
        (FETCH_ABORT, ..) => Access::Execute,
        (_, true, false) => Access::Write,
        _ => Access::Read,
    };
    match context.esr & 0x3f {
        // Address size, translation, access flag, permission; each with its level.
        0x00..=0x0f => Some(Trap::PageFault(PageFault { addr, access })),
        0x30 => {
            // Two cached translations collide: drop them all and try again.
            // SAFETY: only caches are touched.
            unsafe { asm!("tlbi vmalle1", options(nostack)) };
            barrier::dsb(barrier::NSH);
            barrier::isb(barrier::SY);
            None
        }
        // Misaligned, or memory that answered with an error or cannot do atomic accesses. No program can mend
        // any of them.
        _ => Some(Trap::Exception(Exception::Alignment(addr))),
    }
}

/// The address without the tag that user addresses may carry in their top byte (TCR_EL1.TBI0).
fn untag(addr: u64) -> u64 {
    if addr >> 55 & 1 == 0 { addr & (1 << 56) - 1 } else { addr }
}

/// IOF, DZF, OFF, UFF, IXF, IDF in the order that [`Exception::FloatingPoint`] has.
fn fp_bits(esr: u64) -> u32 {
    let bit = |from: u32, to: u32| (esr as u32 >> from & 1) << to;
    bit(0, 0) | bit(7, 1) | bit(1, 2) | bit(2, 3) | bit(3, 4) | bit(4, 5)
}
