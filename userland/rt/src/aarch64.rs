//! aarch64: start, system calls, thread start and signal return.

use core::arch::{asm, global_asm};

global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl rt_main",
    "brk #1",
    // fn rt_clone(flags, stack, ptid, ctid, tls, entry, argument) -> tid.
    // The kernel takes tls before ctid here. The child starts on its own stack, calls entry(argument) and leaves by
    // the exit system call.
    ".globl rt_clone",
    "rt_clone:",
    "and x1, x1, #-16",
    "stp x5, x6, [x1, #-16]!",
    "mov x9, x3",
    "mov x3, x4",
    "mov x4, x9",
    "mov x8, #220",
    "svc #0",
    "cbz x0, 2f",
    "ret",
    "2: mov x29, xzr",
    "mov x30, xzr",
    "ldp x1, x0, [sp], #16",
    "blr x1",
    "mov x8, #93",
    "svc #0",
    "brk #1",
    ".globl rt_sigreturn",
    "rt_sigreturn:",
    "mov x8, #139",
    "svc #0",
    "brk #1",
);

macro_rules! syscalls {
    ($($(#[$doc:meta])* $name:ident($first:ident $(, $arg:ident: $reg:tt)*);)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The arguments are what the call of that number takes, and what it does to this process's memory is sound.
        #[inline(always)]
        pub unsafe fn $name(number: usize, $first: usize $(, $arg: usize)*) -> isize {
            let result: isize;
            // SAFETY: the caller answers for the call; the kernel changes x0 and nothing else.
            unsafe {
                asm!("svc #0", inlateout("x0") $first as isize => result, $(in($reg) $arg,)* in("x8") number,
                     options(nostack));
            }
            result
        }
    )*};
}

/// A system call without arguments.
///
/// # Safety
/// What the call of that number does to this process's memory is sound.
#[inline(always)]
pub unsafe fn syscall0(number: usize) -> isize {
    // SAFETY: passed on to the caller; the argument is not looked at.
    unsafe { syscall1(number, 0) }
}

syscalls! {
    /// A system call with one argument.
    syscall1(a);
    /// A system call with two arguments.
    syscall2(a, b: "x1");
    /// A system call with three arguments.
    syscall3(a, b: "x1", c: "x2");
    /// A system call with four arguments.
    syscall4(a, b: "x1", c: "x2", d: "x3");
    /// A system call with five arguments.
    syscall5(a, b: "x1", c: "x2", d: "x3", e: "x4");
    /// A system call with six arguments.
    syscall6(a, b: "x1", c: "x2", d: "x3", e: "x4", f: "x5");
}

/// The machine's counter since power-on in nanoseconds.
pub fn counter_ns() -> u64 {
    let (count, frequency): (u64, u64);
    // SAFETY: reads registers that a kernel leaves open to programs.
    unsafe { asm!("mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) count, out(reg) frequency, options(nostack)) };
    (u128::from(count) * 1_000_000_000 / u128::from(frequency)) as u64
}
