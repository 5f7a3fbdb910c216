//! Exceptions in kernel mode: the fault of a user copy is corrected, all else is the kernel's own fault.
//! The assembly of the way into user mode and back is joined in here.

use super::percpu::{self, PerCpu};
use super::user::{self, Context};
use core::arch::global_asm;
use core::mem::offset_of;
use x86_64::registers::control::Cr2;

/// What the stubs leave on the kernel's stack.
#[repr(C)]
pub struct Frame {
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
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Alignment check, and with SMAP the licence to touch user pages.
const RFLAGS_AC: u64 = 1 << 18;

global_asm!(
    include_str!("trap.S"),
    END = const user::FRAME_END,
    FS = const offset_of!(Context, fs_base),
    ORIG_RAX = const offset_of!(Context, orig_rax),
    KIND = const offset_of!(Context, kind),
    RIP = const user::RIP,
    RFLAGS = const user::RFLAGS,
    RSP = const user::RSP,
    RAX = const user::RAX,
    RDX = const user::RDX,
    RSI = const user::RSI,
    RDI = const user::RDI,
    R8 = const user::R8,
    R9 = const user::R9,
    R10 = const user::R10,
    RBX = const user::RBX,
    RBP = const user::RBP,
    R12 = const user::R12,
    R13 = const user::R13,
    R14 = const user::R14,
    R15 = const user::R15,
    SYSCALL = const user::KIND_SYSCALL,
    BAD_PC = const user::KIND_BAD_PC,
    USER_FLAGS = const user::USER_FLAGS,
    FIXED_FLAGS = const user::FIXED_FLAGS,
    KERNEL_RSP = const offset_of!(PerCpu, kernel_rsp),
    USER_RSP = const offset_of!(PerCpu, user_rsp),
    RSP0 = const percpu::RSP0,
    PENDING = const offset_of!(PerCpu, pending),
    FSGSBASE = const offset_of!(PerCpu, fsgsbase),
);

/// Stands in the place of a page fault's error code where an access was refused for another reason.
pub(super) const NOT_A_PAGE: u64 = u64::MAX;

/// An instruction that may fault on a user address, and where to go on if it does. Made by the assembly of
/// `usercopy`.
#[repr(C)]
struct Fixup {
    at: u64,
    resume: u64,
}

// SAFETY: the linker script defines both, around the table of `Fixup`s that the assembly fills; only their addresses are used.
unsafe extern "C" {
    static __fixups_start: [Fixup; 0];
    static __fixups_end: [Fixup; 0];
}

fn fixup(rip: u64) -> Option<u64> {
    let start = (&raw const __fixups_start).cast::<Fixup>();
    let bytes = (&raw const __fixups_end) as usize - start as usize;
    // SAFETY: the linker script lays the table between the two symbols; nobody writes to it.
    let table = unsafe { core::slice::from_raw_parts(start, bytes / size_of::<Fixup>()) };
    table.iter().find(|f| f.at == rip).map(|f| f.resume)
}

/// Called by the stubs for every exception in kernel mode, and for NMI, double fault and machine check in any.
#[unsafe(no_mangle)]
extern "C" fn kernel_exception(frame: &mut Frame) {
    let addr = Cr2::read_raw() as usize;
    match frame.vector {
        // Nobody sends one on purpose; a stray one must not hurt.
        2 => return,
        14 if addr < super::paging::USER_END.0 => {
            if let Some(resume) = fixup(frame.rip) {
                let cpu = percpu::this();
                cpu.fault_addr.set(addr);
                cpu.fault_code.set(frame.error);
                frame.rip = resume;
                frame.rflags &= !RFLAGS_AC;
                return;
            }
        }
        // Vector state of a program that is not one.
        13 => {
            if let Some(resume) = fixup(frame.rip) {
                percpu::this().fault_code.set(NOT_A_PAGE);
                frame.rip = resume;
                frame.rflags &= !RFLAGS_AC;
                return;
            }
        }
        _ => {}
    }
    panic!(
        "exception {} in kernel mode, error {:#x}, cr2 {addr:#x}\n\
         rip {:#018x} cs {:#x} rflags {:#x} rsp {:#018x} ss {:#x}\n\
         rax {:#018x} rbx {:#018x} rcx {:#018x} rdx {:#018x}\n\
         rsi {:#018x} rdi {:#018x} rbp {:#018x} r8  {:#018x}\n\
         r9  {:#018x} r10 {:#018x} r11 {:#018x} r12 {:#018x}\n\
         r13 {:#018x} r14 {:#018x} r15 {:#018x}",
        frame.vector,
        frame.error,
        frame.rip,
        frame.cs,
        frame.rflags,
        frame.rsp,
        frame.ss,
        frame.rax,
        frame.rbx,
        frame.rcx,
        frame.rdx,
        frame.rsi,
        frame.rdi,
        frame.rbp,
        frame.r8,
        frame.r9,
        frame.r10,
        frame.r11,
        frame.r12,
        frame.r13,
        frame.r14,
        frame.r15,
    );
}
