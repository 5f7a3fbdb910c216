//! The interrupt descriptor table, one for all CPUs: every vector leads to its stub in trap.S.

use super::percpu::{IST_DOUBLE_FAULT, IST_MACHINE_CHECK, IST_NMI};
use core::cell::UnsafeCell;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

/// A gate: two words as the manual (Intel SDM vol. 3, 6.14.1) lays them out.
type Gate = [u64; 2];

#[repr(C, align(4096))]
struct Table(UnsafeCell<[Gate; 256]>);

// SAFETY: written only by `init`, on the boot CPU before others run; then only read, by hardware.
unsafe impl Sync for Table {}

static IDT: Table = Table(UnsafeCell::new([[0; 2]; 256]));

unsafe extern "C" {
    static trap_stubs: [u8; 256 * 16];
}

const PRESENT_INTERRUPT_GATE: u64 = 0x8e00 << 32;
const FROM_USER: u64 = 0x6000 << 32;

/// Fills the table.
///
/// # Safety
/// Called once, on the boot CPU, before any interrupt is taken.
pub unsafe fn init() {
    let stubs = &raw const trap_stubs as u64;
    // SAFETY: per the contract nobody else uses the table.
    let table = unsafe { &mut *IDT.0.get() };
    for (vector, gate) in table.iter_mut().enumerate() {
        let stub = stubs + vector as u64 * 16;
        let stack = match vector {
            2 => u64::from(IST_NMI) + 1,
            8 => u64::from(IST_DOUBLE_FAULT) + 1,
            18 => u64::from(IST_MACHINE_CHECK) + 1,
            _ => 0,
        };
        // INT3 and INTO are instructions that a program may use.
        let privilege = if matches!(vector, 3 | 4) { FROM_USER } else { 0 };
        let low = stub & 0xffff
            | u64::from(super::percpu::KERNEL_CS) << 16
            | stack << 32
            | PRESENT_INTERRUPT_GATE
            | privilege
            | (stub >> 16 & 0xffff) << 48;
        *gate = [low, stub >> 32];
    }
}

/// Makes the calling CPU use the table.
///
/// # Safety
/// [`init`] ran, and the CPU's own record and interrupt stacks are set up.
pub unsafe fn load() {
    let pointer = DescriptorTablePointer {
        limit: (256 * size_of::<Gate>() - 1) as u16,
        base: x86_64::VirtAddr::new(IDT.0.get() as u64),
    };
    // SAFETY: the table is static and every gate leads to a stub.
    unsafe { lidt(&pointer) }
}
