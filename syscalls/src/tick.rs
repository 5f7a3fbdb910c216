//! What a tick means to the thread that it meets: its share of user and system time, and its timers of CPU time.
//!
//! Interrupts are taken in user mode only, so a tick that came while the kernel worked for the thread waits at the
//! way out and is seen at the very instruction that the thread goes back to: the one behind its system call, or the one
//! that faulted. That is how the two are told apart.

use crate::abi;
use arch::MAX_CPUS;
use arch::addr::VirtAddr;
use base::PerCpu;
use base::percpu::Padded;
use core::sync::atomic::{AtomicUsize, Ordering};
use executor::Class;
use memory::user::UserPtr;
use process::Current;
use process::times::Mode;

/// Where the program that last faulted on each CPU goes on. Written by that CPU only.
static FAULTED: PerCpu<AtomicUsize> = PerCpu::new([const { Padded(AtomicUsize::new(0)) }; MAX_CPUS]);

/// The program faulted at `pc`.
#[inline]
pub fn note_fault(pc: usize) {
    FAULTED.this().store(pc, Ordering::Relaxed);
}

/// A tick has met the running thread.
#[cold]
pub fn met(current: &Current) {
    let mode = mode(current.cx.pc());
    let class = current.thread.sched_params().class;
    kernel::tick::charge(mode, matches!(class, Class::Fair { nice: 1.. } | Class::Batch { nice: 1.. } | Class::Idle));
    current.thread.times.count_tick(mode);
    current.thread.process.check_cpu_timers();
}

/// What the CPU was doing when the tick came, if the program has now been stopped at `pc`.
fn mode(pc: usize) -> Mode {
    let faulted = FAULTED.this().swap(0, Ordering::Relaxed);
    let before = VirtAddr(pc.wrapping_sub(abi::SYSCALL_INSTRUCTION.len()));
    // An absent page has not just been executed.
    let behind_call = UserPtr::new(before)
        .read()
        .is_ok_and(|code: [u8; abi::SYSCALL_INSTRUCTION.len()]| code == abi::SYSCALL_INSTRUCTION);
    if behind_call || faulted == pc { Mode::System } else { Mode::User }
}
