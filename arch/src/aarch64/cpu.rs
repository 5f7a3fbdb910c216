//! The processors.

use super::{features, percpu, smp, time};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// The number of the CPU that runs this, from 0.
#[inline(always)]
pub fn id() -> usize {
    percpu::current().id()
}

/// Starts every other CPU; each calls `main` with its number on its own stack, and this returns once
/// all of them run. Returns how many CPUs run, the caller included.
pub fn start_others(main: fn(usize) -> !) -> usize {
    smp::start_others(main)
}

/// Makes the CPU forget what it has fetched of the instructions that follow: they may have been changed by another CPU. For
/// a program that the return from an exception does (Arm ARM, D1.3.7), so there is nothing left to do.
pub fn refetch() {}

/// Bits for AT_HWCAP as the machine's own manual defines them for user programs.
pub fn hwcap() -> usize {
    features::hwcap() as usize
}

/// Bits for AT_HWCAP2.
pub fn hwcap2() -> usize {
    features::hwcap2() as usize
}

/// The platform's name for user programs ("x86_64", "aarch64").
pub const PLATFORM: &str = "aarch64";

/// Writes what is known of CPU `cpu`, in the lines that this machine's users expect of
/// /proc/cpuinfo.
pub fn describe(cpu: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    let midr = percpu::of(cpu).midr.load(Relaxed);
    // As Linux defines it for CPUs that wait by a timer: twice the frequency in MHz.
    let bogomips = time::frequency() / 5000;
    writeln!(out, "processor\t: {cpu}")?;
    writeln!(out, "BogoMIPS\t: {}.{:02}", bogomips / 100, bogomips % 100)?;
    write!(out, "Features\t:")?;
    for name in features::names() {
        write!(out, " {name}")?;
    }
    writeln!(out, "\nCPU implementer\t: {:#04x}", midr >> 24 & 0xff)?;
    writeln!(out, "CPU architecture: 8")?;
    writeln!(out, "CPU variant\t: {:#x}", midr >> 20 & 15)?;
    writeln!(out, "CPU part\t: {:#05x}", midr >> 4 & 0xfff)?;
    writeln!(out, "CPU revision\t: {}\n", midr & 15)
}

/// The lowest stack size in bytes that a signal frame needs here, for AT_MINSIGSTKSZ: siginfo, ucontext with
/// its 4 KiB of
/// reserved space, and the frame record.
pub fn min_signal_stack() -> usize {
    4720
}
