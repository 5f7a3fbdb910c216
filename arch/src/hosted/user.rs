//! The registers of a user program, and entering it.

use super::sim;
use crate::addr::VirtAddr;
use crate::trap::{PageFault, Trap};
use alloc::sync::Arc;

/// A simulated user program: its code. What it remembers lives in [`Context`] and in user memory, so that
/// it can be forked as a real one can.
pub trait Program: Send + Sync {
    /// Runs until the next trap. A system call is put into `cx.nr` and `cx.args`.
    fn run(&self, cx: &mut Context) -> Trap;
}

/// The registers of one user thread, without its vector state.
#[derive(Clone, Default)]
pub struct Context {
    /// System call number.
    pub nr: usize,
    /// System call arguments.
    pub args: [usize; 6],
    /// The last system call's result.
    pub ret: usize,
    /// Where the script stands.
    pub pc: usize,
    /// Stack pointer.
    pub sp: usize,
    /// Thread pointer.
    pub tls: usize,
    /// Registers that the script may use as it likes.
    pub regs: [usize; 16],
    /// The code.
    pub program: Option<Arc<dyn Program>>,
}

impl Context {
    /// A context that starts at `pc` with stack pointer `sp`; every other register is zero.
    pub fn new(pc: usize, sp: usize) -> Context {
        Context { pc, sp, ..Context::default() }
    }

    /// The program counter.
    pub fn pc(&self) -> usize {
        self.pc
    }

    /// Sets the program counter. A value that the machine could not return to safely is let through here and
    /// becomes a fault of the program at the next [`enter`].
    pub fn set_pc(&mut self, pc: usize) {
        self.pc = pc;
    }

    /// The stack pointer.
    pub fn sp(&self) -> usize {
        self.sp
    }

    /// Sets the stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        self.sp = sp;
    }

    /// The thread pointer (FS base, TPIDR_EL0).
    pub fn tls(&self) -> usize {
        self.tls
    }

    /// Sets the thread pointer.
    pub fn set_tls(&mut self, tls: usize) {
        self.tls = tls;
    }

    /// The number of the system call that [`Trap::Syscall`] announced.
    pub fn syscall_number(&self) -> usize {
        self.nr
    }

    /// Its arguments.
    pub fn syscall_args(&self) -> [usize; 6] {
        self.args
    }

    /// Sets what the system call returns.
    pub fn set_syscall_result(&mut self, value: usize) {
        self.ret = value;
    }

    /// What the system call is set to return.
    pub fn syscall_result(&self) -> usize {
        self.ret
    }

    /// Goes back to the system call instruction so that entering issues the call once more: with number `nr` and the
    /// arguments it had. Valid from [`Trap::Syscall`] until the next [`enter`].
    pub fn rewind_syscall(&mut self, nr: usize) {
        self.nr = nr;
        self.pc -= 1;
    }

    /// Sets up a call of the function at `pc` with up to three arguments and stack pointer `sp`, as a
    /// signal handler is called. `link` is the return address where the machine keeps it in a register
    /// (elsewhere the caller has put it on the stack). Flags are as the calling convention wants them.
    pub fn call(&mut self, pc: usize, sp: usize, args: [usize; 3], link: usize) {
        let _ = link;
        self.pc = pc;
        self.sp = sp;
        self.regs[..3].copy_from_slice(&args);
    }
}

/// The floating-point and vector state of one user thread. Its registers live in the CPU while the
/// thread runs; [`Fpu::save`] brings them to memory.
#[derive(Default)]
pub struct Fpu(());

impl Fpu {
    /// The state in which a program starts. Allocates nothing yet.
    pub fn new() -> Fpu {
        Fpu(())
    }

    /// Brings the registers to memory if this thread's are in the CPU and may have changed. To be called when the
    /// thread leaves the CPU. Fails only if the machine needed memory for it and there is none.
    pub fn save(&mut self) -> Result<(), OutOfMemory> {
        Ok(())
    }

    /// A copy for a new thread; saves first.
    pub fn fork(&mut self) -> Result<Fpu, OutOfMemory> {
        Ok(Fpu(()))
    }

    /// Back to the state in which a program starts.
    pub fn reset(&mut self) {}

    /// Bytes that [`Fpu::write`] gives for the state as it is now.
    pub fn frame_size(&mut self) -> usize {
        0
    }

    /// Writes the state into a signal frame at `addr` of the active address space, in the format that the machine's users
    /// expect of it: [`Fpu::frame_size`] bytes (x86_64: from a multiple of 64 on, the XSAVE area in standard format with its
    /// software-reserved bytes; aarch64: FPSR, FPCR and 32 vector registers, as they follow the head of `struct
    /// fpsimd_context`). The handler starts with what the machine's ABI gives it: on x86_64 the state in which a program starts,
    /// on aarch64 the state as it is. On a fault nothing has changed but the frame.
    pub fn push(&mut self, _addr: VirtAddr) -> Result<(), PageFault> {
        Ok(())
    }

    /// Takes the state from a signal frame at `addr`. `Ok(false)` if the bytes there are no valid state or there is no memory for
    /// it; then it is the one in which a program starts. After a fault it is anything that a program may have; the call is to
    /// be made again.
    pub fn pop(&mut self, _addr: VirtAddr) -> Result<bool, PageFault> {
        Ok(true)
    }
}

/// No memory for the vector state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Brings the vector registers to memory if those of the thread that ran last on this CPU are in the CPU only: what
/// [`Fpu::save`] does, for whoever does not have the thread's `Fpu` at hand. (The state lives behind a
/// pointer of its own, known to the CPU until the `Fpu` is dropped.) To be called after every poll of a thread's future
/// that leaves it waiting.
pub fn leave() -> Result<(), OutOfMemory> {
    Ok(())
}

/// Runs the program until its next trap. Restores the vector state if this CPU does not hold it. The
/// right address space must be active.
pub fn enter(context: &mut Context, _fpu: &mut Fpu) -> Trap {
    if sim::irq_pending() {
        return Trap::Interrupt;
    }
    let Some(program) = context.program.clone().or_else(sim::executed_program) else {
        return Trap::Exception(crate::trap::Exception::IllegalInstruction);
    };
    program.run(context)
}
