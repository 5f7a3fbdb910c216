//! What the kernel needs of a machine, and nothing of Linux.
//!
//! Three back ends offer the same modules: x86_64 and aarch64 for real machines,
//! and `hosted`, where the machine is a simulation inside a process of the development
//! machine. The kernel is written once against the items re-exported here.
//!
//! Two conventions carry everything else:
//!
//! * **Kernel mode runs with interrupts masked.** An interrupt is taken only in user mode, where
//!   it ends [`user::enter`], or in [`irq::wait`], where the CPU halts. [`irq::service`] then hands
//!   the pending interrupts to one function. No code of the kernel is ever interrupted, so no lock
//!   needs to mask.
//! * **Each CPU has one kernel stack.** [`user::enter`] is an ordinary call on it that returns at
//!   the next trap.
#![cfg_attr(target_os = "none", no_std)]
#![warn(missing_docs)]

extern crate alloc;

pub mod addr;
pub mod boot;
pub mod trap;

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
#[path = "x86_64/mod.rs"]
mod imp;

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
#[path = "aarch64/mod.rs"]
mod imp;

#[cfg(not(target_os = "none"))]
#[path = "hosted/mod.rs"]
mod imp;

#[cfg(not(target_os = "none"))]
pub use imp::sim;
pub use imp::{backtrace, console, cpu, irq, paging, physmap, power, random, time, user, usercopy};

/// The largest number of CPUs that a machine may have.
pub const MAX_CPUS: usize = 64;

/// What the firmware and the loader hand over is read by code that no machine is needed for.
#[cfg(test)]
mod firmware_tests {
    #[path = "../x86_64/acpi_tables.rs"]
    mod acpi_tables;
    #[path = "../aarch64/devtree.rs"]
    mod devtree;
    #[path = "../x86_64/pvh.rs"]
    mod pvh;

    mod acpi;
    mod start_info;
    mod tree;
}
