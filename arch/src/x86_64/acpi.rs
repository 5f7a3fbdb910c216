//! Finds the firmware's tables in memory; [`super::acpi_tables`] reads them.

use super::acpi_tables::{HEADER, Machine, Root, Table};
use super::boot_cell::BootCell;
use super::frames::FreeMap;
use super::{kmap, physmap};
use crate::addr::PhysAddr;
use core::ops::Range;

/// Where a table may lie: the physical map reaches no further, and at 0 there is none.
const ADDRESSES: Range<u64> = 1..1 << 46;

static MACHINE: BootCell<Machine> = BootCell::new();

/// What [`init`] found; `None` before it.
pub fn machine() -> Option<&'static Machine> {
    MACHINE.get()
}

/// Physical memory as bytes.
fn bytes(free: &mut FreeMap, phys: u64, len: usize) -> &'static [u8] {
    kmap::map_firmware(free, phys, len as u64);
    // SAFETY: now mapped; firmware tables are not written to, and memory of theirs is not handed out, being no RAM to
    // the memory map.
    unsafe { core::slice::from_raw_parts(physmap::to_ptr(PhysAddr(phys)), len) }
}

/// The table at `phys`; `None` if there is none, or one that is damaged or too large to be one.
fn table(free: &mut FreeMap, phys: u64) -> Option<Table<'static>> {
    if !ADDRESSES.contains(&phys) {
        return None;
    }
    let len = Table::length(bytes(free, phys, HEADER))?;
    Table::new(bytes(free, phys, len))
}

/// Finds the root pointer where the loader does not give it (ACPI 5.2.5.1).
fn scan_for_rsdp(free: &mut FreeMap) -> u64 {
    let area = bytes(free, 0xe_0000, 0x2_0000);
    area.chunks(16).position(|chunk| chunk.starts_with(b"RSD PTR ")).map_or(0, |at| 0xe_0000 + at as u64 * 16)
}

/// Reads the tables.
///
/// # Safety
/// Called once by the boot CPU, with the kernel's tables active.
pub unsafe fn init(free: &mut FreeMap, rsdp: u64) -> &'static Machine {
    let mut machine = Machine::new(super::apic::initial_id());
    let rsdp = if rsdp != 0 { rsdp } else { scan_for_rsdp(free) };
    if ADDRESSES.contains(&rsdp) {
        let root = Root::new(bytes(free, rsdp, HEADER));
        let list = match root.xsdt.and_then(|phys| table(free, phys)) {
            Some(list) => Some((list, 8)),
            None => table(free, root.rsdt).map(|list| (list, 4)),
        };
        if let Some((list, width)) = list {
            for phys in list.pointers(width) {
                let Some(found) = table(free, phys) else { continue };
                if let Some(dsdt) = machine.read(&found) {
                    machine.sleep_off = table(free, dsdt).and_then(|dsdt| dsdt.find_s5());
                }
            }
        }
    }
    // SAFETY: per the contract.
    unsafe { MACHINE.set(machine) };
    match MACHINE.get() {
        Some(machine) => machine,
        None => unreachable!("the cell was just filled"),
    }
}
