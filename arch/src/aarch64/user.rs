//! The registers of a user program, and entering it.

use super::decode;
pub use super::fpu::{Fpu, leave};
use crate::trap::Trap;
use core::arch::asm;
use core::mem::offset_of;

/// No memory for the vector state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Condition flags, the part of PSTATE that a program may set freely.
const NZCV: u64 = 0xf << 28;
/// DIT, TCO, SSBS: bits that a program sets for itself and keeps, where the CPU has them.
const KEPT: u64 = 1 << 24 | 1 << 25 | 1 << 12;

/// X0 to X30, stack pointer, program counter and PSTATE.
pub const GENERAL: usize = 34;

/// The registers of one user thread, without its vector state. vectors.S knows the layout.
#[derive(Clone, Default)]
#[repr(C, align(16))]
pub struct Context {
    /// X0 to X30.
    pub x: [u64; 31],
    /// Stack pointer.
    pub sp: u64,
    /// Program counter.
    pub pc: u64,
    /// PSTATE as the CPU gave it or [`Context::set_general`] made it: always EL0, AArch64, nothing masked.
    pstate: u64,
    /// Thread pointer (TPIDR_EL0).
    tpidr: u64,
    /// X0 as it was at the last trap.
    orig_x0: u64,
    /// Where the kernel's stack and code go on at the next trap.
    resume: [u64; 2],
    /// ESR_EL1 of the last fault or exception.
    pub esr: u64,
    /// FAR_EL1 of the last fault.
    pub far: u64,
}

const _: () = {
    assert!(offset_of!(Context, x) == 0);
    assert!(offset_of!(Context, sp) == 248);
    assert!(offset_of!(Context, pc) == 256);
    assert!(offset_of!(Context, pstate) == 264);
    assert!(offset_of!(Context, orig_x0) == 280);
    assert!(offset_of!(Context, resume) == 288);
};

impl Context {
    /// A context that starts at `pc` with stack pointer `sp`; every other register is zero.
    pub fn new(pc: usize, sp: usize) -> Context {
        Context { pc: pc as u64, sp: sp as u64, ..Context::default() }
    }

    /// The program counter.
    pub fn pc(&self) -> usize {
        self.pc as usize
    }

    /// Sets the program counter. A value that the machine could not return to safely is let through here and
    /// becomes a fault of the program at the next [`enter`].
    pub fn set_pc(&mut self, pc: usize) {
        self.pc = pc as u64;
    }

    /// The stack pointer.
    pub fn sp(&self) -> usize {
        self.sp as usize
    }

    /// Sets the stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        self.sp = sp as u64;
    }

    /// The thread pointer (FS base, TPIDR_EL0).
    pub fn tls(&self) -> usize {
        self.tpidr as usize
    }

    /// Sets the thread pointer.
    pub fn set_tls(&mut self, tls: usize) {
        self.tpidr = tls as u64;
    }

    /// X0 to X30, stack pointer, program counter, and PSTATE in the format of SPSR_EL1.
    #[inline]
    pub fn general(&self) -> &[u64; GENERAL] {
        // SAFETY: the four fields lie next to each other in this order (asserted above), and nobody changes them meanwhile.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    /// Sets them as a signal frame gives them. Of PSTATE only the condition flags are taken; what the program had set for itself outside
    /// of it (DIT, SSBS) stays. A program counter that the machine could not return to safely is treated as in
    /// [`Context::set_pc`].
    #[inline]
    pub fn set_general(&mut self, general: &[u64; GENERAL]) {
        let kept = self.pstate & KEPT;
        // SAFETY: as in `general`; any values may be there until PSTATE is put right below.
        let mine = unsafe { &mut *core::ptr::from_mut(self).cast::<[u64; GENERAL]>() };
        // In pieces that are not worth a call.
        mine[..12].copy_from_slice(&general[..12]);
        mine[12..23].copy_from_slice(&general[12..23]);
        mine[23..].copy_from_slice(&general[23..]);
        self.pstate = kept | self.pstate & NZCV;
    }

    /// PSTATE, in the format of SPSR_EL1.
    pub fn pstate(&self) -> u64 {
        self.pstate
    }

    /// The number of the system call that [`Trap::Syscall`] announced.
    #[inline(always)]
    pub fn syscall_number(&self) -> usize {
        self.x[8] as usize
    }

    /// Its arguments.
    #[inline(always)]
    pub fn syscall_args(&self) -> [usize; 6] {
        let [a, b, c, d, e, f, ..] = self.x;
        [a, b, c, d, e, f].map(|x| x as usize)
    }

    /// Sets what the system call returns.
    #[inline(always)]
    pub fn set_syscall_result(&mut self, value: usize) {
        self.x[0] = value as u64;
    }

    /// What the system call is set to return.
    pub fn syscall_result(&self) -> usize {
        self.x[0] as usize
    }

    /// Goes back to the system call instruction so that entering issues the call once more: with number `nr`
    /// and the
    /// arguments it had. Valid from [`Trap::Syscall`] until the next [`enter`].
    pub fn rewind_syscall(&mut self, nr: usize) {
        self.x[8] = nr as u64;
        self.x[0] = self.orig_x0;
        self.pc = self.pc.wrapping_sub(4);
    }

    /// Sets up a call of the function at `pc` with up to three arguments and stack pointer `sp`, as a
    /// signal handler is called. `link` is the return address where the machine keeps it in a register
    /// (elsewhere the caller has put it on the stack). Flags are as the calling convention wants them.
    pub fn call(&mut self, pc: usize, sp: usize, args: [usize; 3], link: usize) {
        self.pc = pc as u64;
        self.sp = sp as u64;
        for (x, arg) in self.x.iter_mut().zip(args) {
            *x = arg as u64;
        }
        self.x[30] = link as u64;
        self.pstate &= KEPT | NZCV;
    }
}

/// Runs the program until its next trap. Restores the vector state if this CPU does not hold it. The
/// right address space must be active.
#[inline]
pub fn enter(context: &mut Context, fpu: &mut Fpu) -> Trap {
    loop {
        fpu.install();
        // SAFETY: `context` is exclusively ours, and PSTATE in it is always one of EL0 (the field is private).
        let reason = unsafe { run(context) };
        if reason >> 26 == decode::SVC {
            return Trap::Syscall;
        }
        if let Some(trap) = decode::trap(context, fpu, reason) {
            return trap;
        }
    }
}

/// Goes to EL0 and comes back with the syndrome of the trap, or one of the marks of vectors.S.
///
/// # Safety
/// The context's PSTATE returns to EL0.
#[inline(always)]
unsafe fn run(context: &mut Context) -> u64 {
    let reason;
    // SAFETY: interrupts are masked until ERET, so nothing uses SP_EL1 between the switch to the context and EL0; a
    // vector puts the stack pointer, X19 and X29 back and branches to label 2. All other registers are
    // declared as changed. The vector registers are not the compiler's in this target.
    unsafe {
        asm!(
            "stp x19, x29, [sp, #-16]!",
            "adr x30, 2f",
            "mov x9, sp",
            "stp x9, x30, [x0, #288]",
            "ldp x10, x11, [x0, #248]",
            "ldp x12, x13, [x0, #264]",
            "msr sp_el0, x10",
            "msr elr_el1, x11",
            "msr spsr_el1, x12",
            "msr tpidr_el0, x13",
            "mov sp, x0",
            "ldp x2, x3, [sp, #16]",
            "ldp x4, x5, [sp, #32]",
            "ldp x6, x7, [sp, #48]",
            "ldp x8, x9, [sp, #64]",
            "ldp x10, x11, [sp, #80]",
            "ldp x12, x13, [sp, #96]",
            "ldp x14, x15, [sp, #112]",
            "ldp x16, x17, [sp, #128]",
            "ldp x18, x19, [sp, #144]",
            "ldp x20, x21, [sp, #160]",
            "ldp x22, x23, [sp, #176]",
            "ldp x24, x25, [sp, #192]",
            "ldp x26, x27, [sp, #208]",
            "ldp x28, x29, [sp, #224]",
            "ldr x30, [sp, #240]",
            "ldp x0, x1, [sp, #0]",
            "eret",
            // Never run; keeps the CPU from running ahead past ERET.
            "dsb nsh",
            "isb",
            "2:",
            inout("x0") core::ptr::from_mut(context) => reason,
            out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
            out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _,
            out("x15") _, out("x16") _, out("x17") _, out("x18") _, out("x20") _, out("x21") _, out("x22") _,
            out("x23") _, out("x24") _, out("x25") _, out("x26") _, out("x27") _, out("x28") _, out("x30") _,
        );
    }
    reason
}
