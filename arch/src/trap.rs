//! Why a user context came back to the kernel.

use crate::addr::VirtAddr;

/// What the program was doing when an access failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store, or a read-modify-write.
    Write,
    /// An instruction fetch.
    Execute,
}

/// A failed access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// The address that was touched (not rounded to its page).
    pub addr: VirtAddr,
    /// What was tried.
    pub access: Access,
}

/// An exception that a program raised and that no page could satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// Integer division by zero or overflow of the quotient.
    IntegerDivide,
    /// x86 `into`-like overflow trap.
    IntegerOverflow,
    /// x86 `bound` range exceeded.
    BoundRange,
    /// A floating-point exception; the bits are IEEE 754 flags in the order invalid 1,
    /// denormal 2, divide-by-zero 4, overflow 8, underflow 16, inexact 32.
    FloatingPoint(u32),
    /// An instruction that does not exist, or not at this privilege where the machine reports
    /// both alike.
    IllegalInstruction,
    /// A privileged instruction or a protection violation without an address (x86 #GP).
    GeneralProtection,
    /// A stack-segment fault or a non-canonical stack access (x86 #SS).
    StackSegment,
    /// A misaligned access that the machine refuses.
    Alignment(VirtAddr),
    /// A breakpoint instruction; the program counter is past it on x86_64, on it on aarch64.
    Breakpoint,
    /// A single step or a hardware breakpoint.
    Debug,
}

/// Why [`crate::user::enter`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// The program asks for a system call; number and arguments are in the context.
    Syscall,
    /// A page was absent or its permission did not allow the access.
    PageFault(PageFault),
    /// Any other exception.
    Exception(Exception),
    /// An interrupt came in; it waits in [`crate::irq::service`].
    Interrupt,
}
