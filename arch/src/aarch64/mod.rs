//! Arm machines of the QEMU `virt` kind and their like: arm64 boot protocol, device tree, GICv2 or GICv3, generic
//! timer, PSCI, PL011.
//!
//! The way in is boot.S, then [`boot`]. The way to user mode and back is [`user`] and vectors.S.
//! Kernel addresses: RAM linearly from [`physmap::BASE`], devices and kernel stacks in windows of [`tables`],
//! the image at its link address (link.ld).

pub mod backtrace;
mod boot;
pub mod console;
pub mod cpu;
mod decode;
mod devtree;
mod fault;
mod features;
mod fpu;
mod gic;
pub mod irq;
mod mem;
pub mod paging;
mod percpu;
pub mod physmap;
pub mod power;
pub mod random;
mod smp;
mod tables;
pub mod time;
pub mod user;
pub mod usercopy;
