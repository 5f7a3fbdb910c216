//! The processors.

use super::features::{Features, cpuid, has};
use super::percpu::PerCpu;
use super::smp;
use core::arch::asm;
use core::fmt;
use core::mem::offset_of;

/// The number of the CPU that runs this, from 0.
#[inline(always)]
pub fn id() -> usize {
    let id: u32;
    // SAFETY: GS points at the CPU's record. A task does not change its CPU while it is polled, so one value holds
    // for a whole function.
    unsafe {
        asm!(
            "mov {:e}, gs:[{}]",
            out(reg) id,
            const offset_of!(PerCpu, id),
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    id as usize
}

/// Starts every other CPU; each calls `main` with its number on its own stack, and this returns once
/// all of them run. Returns how many CPUs run, the caller included.
pub fn start_others(main: fn(usize) -> !) -> usize {
    smp::start_others(main)
}

/// Makes the CPU forget what it has fetched of the instructions that follow: they may have been changed by another CPU
/// (Intel SDM, volume 3, 9.3). An interrupt does so when it returns, but a system call does not.
pub fn refetch() {
    let _ = super::features::cpuid(0, 0);
}

/// Bits for AT_HWCAP as the machine's own manual defines them for user programs.
pub fn hwcap() -> usize {
    cpuid(1, 0).edx as usize
}

/// Bits for AT_HWCAP2.
pub fn hwcap2() -> usize {
    const FSGSBASE: usize = 1 << 1;
    if has(Features::FSGSBASE) { FSGSBASE } else { 0 }
}

/// The platform's name for user programs ("x86_64", "aarch64").
pub const PLATFORM: &str = "x86_64";

/// Writes what is known of CPU `cpu`, in the lines that this machine's users expect of
/// /proc/cpuinfo.
pub fn describe(cpu: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    super::cpuinfo::describe(cpu, out)
}

/// The lowest stack size in bytes that a signal frame needs here, for AT_MINSIGSTKSZ.
pub fn min_signal_stack() -> usize {
    // The vector state and up to 63 bytes to align it, then what Linux's frame holds besides: the return address,
    // `ucontext_t` of the kernel (304 bytes), `siginfo_t` (128), and the red zone.
    super::xsave::frame_bytes() + 64 + 8 + 304 + 128 + 128
}
