//! x86_64: start, system calls, thread start and signal return.

use core::arch::{asm, global_asm};

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call rt_main",
    "ud2",
    // fn rt_clone(flags, stack, ptid, ctid, tls, entry, argument on the stack) -> tid.
    // The child starts on its own stack, calls entry(argument) and leaves by the exit system call.
    ".globl rt_clone",
    "rt_clone:",
    "mov r10, rcx",
    "mov rax, [rsp + 8]",
    "sub rsi, 16",
    "mov [rsi], r9",
    "mov [rsi + 8], rax",
    "mov eax, 56",
    "syscall",
    "test rax, rax",
    "jz 2f",
    "ret",
    "2: xor ebp, ebp",
    "pop rax",
    "pop rdi",
    "and rsp, -16",
    "call rax",
    "mov edi, eax",
    "mov eax, 60",
    "syscall",
    "ud2",
    ".globl rt_sigreturn",
    "rt_sigreturn:",
    "mov eax, 15",
    "syscall",
    "ud2",
);

macro_rules! syscalls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $reg:tt),*);)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The arguments are what the call of that number takes, and what it does to this process's memory is sound.
        #[inline(always)]
        pub unsafe fn $name(number: usize $(, $arg: usize)*) -> isize {
            let result: isize;
            // SAFETY: the caller answers for the call; the kernel changes rax, rcx and r11 and nothing else.
            unsafe {
                asm!("syscall", inlateout("rax") number as isize => result, $(in($reg) $arg,)*
                     lateout("rcx") _, lateout("r11") _, options(nostack));
            }
            result
        }
    )*};
}

syscalls! {
    /// A system call without arguments.
    syscall0();
    /// A system call with one argument.
    syscall1(a: "rdi");
    /// A system call with two arguments.
    syscall2(a: "rdi", b: "rsi");
    /// A system call with three arguments.
    syscall3(a: "rdi", b: "rsi", c: "rdx");
    /// A system call with four arguments.
    syscall4(a: "rdi", b: "rsi", c: "rdx", d: "r10");
    /// A system call with five arguments.
    syscall5(a: "rdi", b: "rsi", c: "rdx", d: "r10", e: "r8");
    /// A system call with six arguments.
    syscall6(a: "rdi", b: "rsi", c: "rdx", d: "r10", e: "r8", f: "r9");
}

/// The machine's counter since power-on in nanoseconds, if it runs at 1 GHz as in a machine that counts instructions.
pub fn counter_ns() -> u64 {
    // SAFETY: reads a register.
    unsafe { core::arch::x86_64::_rdtsc() }
}
