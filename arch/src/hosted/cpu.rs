//! The processors.

use super::sim;
use core::fmt;

/// The number of the CPU that runs this, from 0.
pub fn id() -> usize {
    sim::cpu()
}

/// Starts every other CPU; each calls `main` with its number on its own stack, and this returns once
/// all of them run. Returns how many CPUs run, the caller included.
pub fn start_others(_main: fn(usize) -> !) -> usize {
    sim::with(|s| s.cpus)
}

/// The simulated machine fetches nothing ahead.
pub fn refetch() {}

/// Bits for AT_HWCAP as the machine's own manual defines them for user programs.
pub fn hwcap() -> usize {
    0
}

/// Bits for AT_HWCAP2.
pub fn hwcap2() -> usize {
    0
}

/// The platform's name for user programs ("x86_64", "aarch64").
pub const PLATFORM: &str = "x86_64";

/// Writes what is known of CPU `cpu`, in the lines that this machine's users expect of
/// /proc/cpuinfo.
pub fn describe(cpu: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    writeln!(out, "processor\t: {cpu}\nmodel name\t: simulated\n")
}

/// The lowest stack size in bytes that a signal frame needs here, for AT_MINSIGSTKSZ.
pub fn min_signal_stack() -> usize {
    2048
}
