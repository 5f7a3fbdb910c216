//! The registers of a user program, and entering it.

use super::percpu;
use crate::addr::VirtAddr;
use crate::trap::{Access, Exception, PageFault, Trap};
use core::arch::asm;
use core::mem::offset_of;

pub use super::fpu::{Fpu, OutOfMemory, leave};

/// How many general registers there are, with program counter and flags.
pub const REGS: usize = 18;

/// The registers of one user thread, without its vector state.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct Context {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbp: u64,
    rbx: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rax: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    /// Vector of the last exception or interrupt, or one of the `KIND_` values.
    pub(super) kind: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
    pub(super) fs_base: u64,
    pub(super) orig_rax: u64,
    cr2: u64,
    last_error: u32,
    last_vector: u32,
}

/// A system call; only the registers that it may change have changed, so SYSRET leads back.
pub const KIND_SYSCALL: u64 = 0x100;
/// The vector of the exception that a use of the vector registers raises while CR0.TS is set.
const NO_DEVICE: u64 = 7;
/// All registers must be restored.
const KIND_FULL: u64 = 0x101;
/// The program counter is one that the machine cannot return to.
pub const KIND_BAD_PC: u64 = 0x102;

macro_rules! offsets {
    ($($name:ident = $field:ident),*) => {
        $(pub(super) const $name: usize = offset_of!(Context, $field);)*
    };
}
offsets!(
    R15 = r15,
    R14 = r14,
    R13 = r13,
    R12 = r12,
    RBP = rbp,
    RBX = rbx,
    R10 = r10,
    R9 = r9,
    R8 = r8,
    RAX = rax,
    RDX = rdx,
    RSI = rsi,
    RDI = rdi,
    RIP = rip,
    RFLAGS = rflags,
    RSP = rsp
);

/// The end of what the hardware pushes, where the TSS points.
pub(super) const FRAME_END: usize = offset_of!(Context, ss) + 8;
const _: () = assert!(FRAME_END.is_multiple_of(16));

/// Flags that a program may choose: CF PF AF ZF SF TF DF OF NT RF AC ID.
pub(super) const USER_FLAGS: u64 = 0x25_4dd5;
/// Flags that are always set in user mode: IF, and bit 1.
pub(super) const FIXED_FLAGS: u64 = 0x202;

impl Default for Context {
    fn default() -> Context {
        Context::new(0, 0)
    }
}

impl Context {
    /// A context that starts at `pc` with stack pointer `sp`; every other register is zero.
    pub fn new(pc: usize, sp: usize) -> Context {
        Context {
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            rbp: 0,
            rbx: 0,
            r11: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rax: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            kind: KIND_FULL,
            error: 0,
            rip: pc as u64,
            cs: u64::from(percpu::USER_CS),
            rflags: FIXED_FLAGS,
            rsp: sp as u64,
            ss: u64::from(percpu::USER_SS),
            fs_base: 0,
            orig_rax: u64::MAX,
            cr2: 0,
            last_error: 0,
            last_vector: 0,
        }
    }

    /// The program counter.
    pub fn pc(&self) -> usize {
        self.rip as usize
    }

    /// Sets the program counter. A value that the machine could not return to safely is let through here and
    /// becomes a fault of the program at the next [`enter`].
    pub fn set_pc(&mut self, pc: usize) {
        self.rip = pc as u64;
        self.kind = KIND_FULL;
    }

    /// The stack pointer.
    pub fn sp(&self) -> usize {
        self.rsp as usize
    }

    /// Sets the stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        self.rsp = sp as u64;
    }

    /// The thread pointer (FS base, TPIDR_EL0).
    pub fn tls(&self) -> usize {
        self.fs_base as usize
    }

    /// Sets the thread pointer. Bits above the user half are dropped: the machine does not take every
    /// 64-bit value. (The system call refuses such addresses before.)
    pub fn set_tls(&mut self, tls: usize) {
        self.fs_base = tls as u64 & ((1 << 47) - 1);
    }

    /// The number of the system call that [`Trap::Syscall`] announced.
    pub fn syscall_number(&self) -> usize {
        self.orig_rax as usize
    }

    /// Its arguments.
    pub fn syscall_args(&self) -> [usize; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9].map(|value| value as usize)
    }

    /// Sets what the system call returns.
    pub fn set_syscall_result(&mut self, value: usize) {
        self.rax = value as u64;
    }

    /// What the system call is set to return.
    pub fn syscall_result(&self) -> usize {
        self.rax as usize
    }

    /// Goes back to the system call instruction so that entering issues the call once more: with number `nr` and the
    /// arguments it had. Valid from [`Trap::Syscall`] until the next [`enter`].
    pub fn rewind_syscall(&mut self, nr: usize) {
        self.rax = nr as u64;
        // The SYSCALL instruction is two bytes long.
        self.rip = self.rip.wrapping_sub(2);
    }

    /// Sets up a call of the function at `pc` with up to three arguments and stack pointer `sp`, as a
    /// signal handler is called. `link` is the return address where the machine keeps it in a register
    /// (elsewhere the caller has put it on the stack). Flags are as the calling convention wants them.
    pub fn call(&mut self, pc: usize, sp: usize, args: [usize; 3], link: usize) {
        let _ = link;
        let [rdi, rsi, rdx] = args.map(|arg| arg as u64);
        (self.rdi, self.rsi, self.rdx, self.rax) = (rdi, rsi, rdx, 0);
        self.rsp = sp as u64;
        // The ABI wants DF clear; TF and RF belong to the code that was left.
        self.rflags &= !0x1_0500;
        self.set_pc(pc);
    }

    /// Stores all general registers: R8 to R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, RFLAGS.
    #[inline]
    pub fn store_regs(&self, to: &mut [u64; REGS]) {
        // After SYSCALL these two hold what the instruction put there; the entry code does not store them twice.
        let syscall = self.kind == KIND_SYSCALL;
        to[0] = self.r8;
        to[1] = self.r9;
        to[2] = self.r10;
        to[3] = if syscall { self.rflags } else { self.r11 };
        to[4] = self.r12;
        to[5] = self.r13;
        to[6] = self.r14;
        to[7] = self.r15;
        to[8] = self.rdi;
        to[9] = self.rsi;
        to[10] = self.rbp;
        to[11] = self.rbx;
        to[12] = self.rdx;
        to[13] = self.rax;
        to[14] = if syscall { self.rip } else { self.rcx };
        to[15] = self.rsp;
        to[16] = self.rip;
        to[17] = self.rflags;
    }

    /// Sets all general registers, in the order of [`Context::store_regs`]. Flags that a program may not choose are put right;
    /// a program counter that the machine could not return to becomes a fault at the next [`enter`].
    #[inline]
    pub fn set_regs(&mut self, regs: &[u64; REGS]) {
        self.r8 = regs[0];
        self.r9 = regs[1];
        self.r10 = regs[2];
        self.r11 = regs[3];
        self.r12 = regs[4];
        self.r13 = regs[5];
        self.r14 = regs[6];
        self.r15 = regs[7];
        self.rdi = regs[8];
        self.rsi = regs[9];
        self.rbp = regs[10];
        self.rbx = regs[11];
        self.rdx = regs[12];
        self.rax = regs[13];
        self.rcx = regs[14];
        self.rsp = regs[15];
        self.rip = regs[16];
        self.rflags = regs[17] & USER_FLAGS | FIXED_FLAGS;
        self.kind = KIND_FULL;
    }

    /// Sets the flags; those that a program may not choose are put right.
    pub fn set_user_flags(&mut self, rflags: u64) {
        self.rflags = rflags & USER_FLAGS | FIXED_FLAGS;
        self.kind = KIND_FULL;
    }

    /// The number in RAX when the last system call was made, as `orig_rax` in a signal frame or register set; all
    /// ones before the first.
    pub fn orig_rax(&self) -> u64 {
        self.orig_rax
    }

    /// Code and stack segment selectors, as a signal frame shows them.
    pub fn segments(&self) -> (u16, u16) {
        (self.cs as u16, self.ss as u16)
    }

    /// The last exception: vector, error code and, of the last page fault, the address; as a signal frame shows
    /// them (`trapno`, `err`, `cr2`).
    pub fn last_trap(&self) -> (u64, u64, u64) {
        (u64::from(self.last_vector), u64::from(self.last_error), self.cr2)
    }
}

/// Runs the program until its next trap. Restores the vector state if this CPU does not hold it. The
/// right address space must be active.
#[inline]
pub fn enter(context: &mut Context, fpu: &mut Fpu) -> Trap {
    loop {
        fpu.make_current();
        // SAFETY: the routine saves what the calling convention makes it keep in RBX and RBP around it and the rest is
        // declared as lost. It writes to the context only, which this borrow owns, and to this CPU's record. User mode
        // cannot touch kernel memory. The vector registers are the program's; kernel code has no use for them.
        unsafe {
            asm!(
                "push rbx",
                "push rbp",
                "call gs:[{enter}]",
                "pop rbp",
                "pop rbx",
                enter = const offset_of!(percpu::PerCpu, enter),
                inout("rdi") core::ptr::from_mut(context) => _,
                out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("r8") _, out("r9") _,
                out("r10") _, out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            );
        }
        if context.kind == KIND_SYSCALL {
            return Trap::Syscall;
        }
        // The first use of the vector registers is between the program and this module.
        if context.kind != NO_DEVICE || !fpu.open() {
            return decode(context);
        }
    }
}

/// What any trap but a system call means.
fn decode(context: &mut Context) -> Trap {
    let vector = context.kind;
    if vector == KIND_BAD_PC {
        context.kind = KIND_FULL;
        // What the machine reports for a jump there, if it were to let one through.
        (context.last_vector, context.last_error) = (13, 0);
        return Trap::PageFault(PageFault { addr: VirtAddr(context.rip as usize), access: Access::Execute });
    }
    if vector >= 32 {
        percpu::this().record(vector as u8);
        return Trap::Interrupt;
    }
    (context.last_vector, context.last_error) = (vector as u32, context.error as u32);
    let exception = match vector {
        0 => Exception::IntegerDivide,
        1 => Exception::Debug,
        3 => Exception::Breakpoint,
        4 => Exception::IntegerOverflow,
        5 => Exception::BoundRange,
        6 | 7 => Exception::IllegalInstruction,
        12 => Exception::StackSegment,
        14 => {
            context.cr2 = x86_64::registers::control::Cr2::read_raw();
            return Trap::PageFault(page_fault(context.cr2 as usize, context.error));
        }
        16 => Exception::FloatingPoint(super::xsave::pending_x87()),
        17 => Exception::Alignment(VirtAddr(0)),
        19 => Exception::FloatingPoint(super::xsave::pending_simd()),
        _ => Exception::GeneralProtection,
    };
    Trap::Exception(exception)
}

/// A page fault from the address and the error code that the machine reports.
pub(super) fn page_fault(addr: usize, error: u64) -> PageFault {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    let access = match error {
        e if e & FETCH != 0 => Access::Execute,
        e if e & WRITE != 0 => Access::Write,
        _ => Access::Read,
    };
    PageFault { addr: VirtAddr(addr), access }
}
