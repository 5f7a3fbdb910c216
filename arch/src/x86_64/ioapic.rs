//! The IO-APICs, which lead device lines to CPUs. Registers are reached through an index, so the boot CPU alone
//! uses them (every line goes there).

use super::acpi_tables::Machine;
use super::apic::{LINE_BASE, LINE_LAST};
use super::frames::FreeMap;
use super::{acpi, kmap, percpu};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

const MAX: usize = 8;
const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

static REGISTERS: [AtomicPtr<u32>; MAX] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX];
/// Lines of each.
static LINES: [AtomicU32; MAX] = [const { AtomicU32::new(0) }; MAX];

fn read(base: *mut u32, index: u32) -> u32 {
    // SAFETY: `base` is a mapped IO-APIC: index register at 0, data at 16.
    unsafe {
        base.write_volatile(index);
        base.add(4).read_volatile()
    }
}

fn write(base: *mut u32, index: u32, value: u32) {
    // SAFETY: as in `read`.
    unsafe {
        base.write_volatile(index);
        base.add(4).write_volatile(value);
    }
}

/// Maps all of them and masks every line.
///
/// # Safety
/// Called once by the boot CPU.
pub unsafe fn init(free: &mut FreeMap, machine: &Machine) {
    for (i, io) in machine.io_apics[..machine.io_apics_len].iter().enumerate() {
        let base = kmap::map_device(free, u64::from(io.addr));
        let lines = (read(base, 1) >> 16 & 0xff) + 1;
        REGISTERS[i].store(base, Ordering::Relaxed);
        LINES[i].store(lines, Ordering::Relaxed);
        for line in 0..lines {
            write(base, 0x10 + 2 * line, MASKED);
        }
    }
}

/// Leads an ISA interrupt to the boot CPU; returns its GSI. `None` if no controller has it.
pub fn enable_isa(irq: u8) -> Option<u32> {
    let machine = acpi::machine()?;
    let over = machine.overrides[..machine.overrides_len].iter().find(|over| over.irq == irq);
    let (gsi, low, level) = over.map_or((u32::from(irq), false, false), |o| (o.gsi, o.active_low, o.level));
    let flags = if low { ACTIVE_LOW } else { 0 } | if level { LEVEL } else { 0 };
    for (i, io) in machine.io_apics[..machine.io_apics_len].iter().enumerate() {
        let (base, lines) = (REGISTERS[i].load(Ordering::Relaxed), LINES[i].load(Ordering::Relaxed));
        if base.is_null() || !(io.gsi_base..io.gsi_base + lines).contains(&gsi) {
            continue;
        }
        let vector = u8::try_from(gsi).ok()?.checked_add(LINE_BASE).filter(|&vector| vector <= LINE_LAST)?;
        let index = 0x10 + 2 * (gsi - io.gsi_base);
        let target = percpu::of(0).apic_id.load(Ordering::Relaxed);
        write(base, index + 1, target << 24);
        write(base, index, u32::from(vector) | flags);
        return Some(gsi);
    }
    None
}
