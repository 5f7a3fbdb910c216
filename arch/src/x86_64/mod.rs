//! x86_64 PCs, as QEMU's q35 models them: PVH entry, ACPI, local APIC and IO-APIC, 16550 console.
//!
//! The address space of the kernel half, the same in every space and fixed at boot:
//!
//! | from | what |
//! | --- | --- |
//! | `0xffff_8800_0000_0000` | all of RAM (writable, not executable) |
//! | `0xffff_ffff_8000_0000` | the image, at 2 MiB above: text read-only, data not executable |
//! | `0xffff_ffff_c000_0000` | one area per CPU: kernel stack and interrupt stacks between unmapped pages |
//! | `0xffff_ffff_e000_0000` | device registers, uncached |

pub mod backtrace;
pub mod console;
pub mod cpu;
pub mod irq;
pub mod paging;
pub mod physmap;
pub mod power;
pub mod random;
pub mod time;
pub mod user;
pub mod usercopy;

mod acpi;
mod acpi_tables;
mod apic;
mod boot;
mod boot_cell;
mod calibrate;
mod cpuinfo;
mod features;
mod fpu;
mod frames;
mod idt;
mod ioapic;
mod kmap;
mod percpu;
mod pvh;
mod rtc;
mod smp;
mod trap;
mod xsave;
