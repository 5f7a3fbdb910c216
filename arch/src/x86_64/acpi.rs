//! What the firmware's tables tell: CPUs, interrupt controllers, the power management ports. Everything read is
//! checked against its table's length; a table with a wrong sum is not used.

use super::boot_cell::BootCell;
use super::frames::FreeMap;
use super::{kmap, physmap};
use crate::MAX_CPUS;
use crate::addr::PhysAddr;

/// An IO-APIC.
#[derive(Clone, Copy, Default)]
pub struct IoApic {
    pub addr: u32,
    pub gsi_base: u32,
}

/// Where an ISA interrupt goes if not to the GSI of its number.
#[derive(Clone, Copy, Default)]
pub struct Override {
    pub irq: u8,
    pub gsi: u32,
    pub active_low: bool,
    pub level: bool,
}

/// What a PC's tables told.
pub struct Machine {
    /// The CPUs' APIC numbers, the boot CPU's first.
    pub cpus: [u32; MAX_CPUS],
    pub cpus_len: usize,
    pub local_apic: u64,
    pub io_apics: [IoApic; 8],
    pub io_apics_len: usize,
    pub overrides: [Override; 16],
    pub overrides_len: usize,
    /// The power management timer's port; 0 if there is none.
    pub pm_timer: u16,
    /// The PM1 control ports; 0 for none.
    pub pm1_control: [u16; 2],
    /// What to write into their sleep types to turn the machine off.
    pub sleep_off: Option<[u16; 2]>,
    /// The port and value that restart the machine; port 0 for none.
    pub reset: (u16, u8),
}

static MACHINE: BootCell<Machine> = BootCell::new();

/// What [`init`] found; `None` before it.
pub fn machine() -> Option<&'static Machine> {
    MACHINE.get()
}

/// A table, its header included.
struct Table(&'static [u8]);

impl Table {
    fn u8(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.u8(at), self.u8(at + 1)])
    }
    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }
    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }
}

/// Physical memory as bytes.
fn bytes(free: &mut FreeMap, phys: u64, len: usize) -> &'static [u8] {
    kmap::map_firmware(free, phys, len as u64);
    // SAFETY: now mapped; firmware tables are not written to, and memory of theirs is not handed out, being no RAM to
    // the memory map.
    unsafe { core::slice::from_raw_parts(physmap::to_ptr(PhysAddr(phys)), len) }
}

fn table(free: &mut FreeMap, phys: u64) -> Option<Table> {
    const HEADER: usize = 36;
    const LONGEST: usize = 1 << 20;
    if phys == 0 {
        return None;
    }
    let len = Table(bytes(free, phys, HEADER)).u32(4) as usize;
    if !(HEADER..LONGEST).contains(&len) {
        return None;
    }
    let all = bytes(free, phys, len);
    let sum = all.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
    (sum == 0).then_some(Table(all))
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
    let mut machine = Machine {
        cpus: [0; MAX_CPUS],
        cpus_len: 1,
        local_apic: 0xfee0_0000,
        io_apics: [IoApic::default(); 8],
        io_apics_len: 0,
        overrides: [Override::default(); 16],
        overrides_len: 0,
        pm_timer: 0,
        pm1_control: [0; 2],
        sleep_off: None,
        reset: (0, 0),
    };
    machine.cpus[0] = super::apic::initial_id();
    let rsdp = if rsdp != 0 { rsdp } else { scan_for_rsdp(free) };
    if rsdp != 0 {
        let root = Table(bytes(free, rsdp, 36));
        let xsdt = if root.u8(15) >= 2 { table(free, root.u64(24)) } else { None };
        let (list, width) = match xsdt {
            Some(list) => (Some(list), 8),
            None => (table(free, u64::from(root.u32(16))), 4),
        };
        if let Some(list) = list {
            for at in (36..list.0.len() / width * width).step_by(width) {
                let phys = if width == 8 { list.u64(at) } else { u64::from(list.u32(at)) };
                match table(free, phys) {
                    Some(madt) if madt.0.starts_with(b"APIC") => read_madt(&madt, &mut machine),
                    Some(fadt) if fadt.0.starts_with(b"FACP") => read_fadt(free, &fadt, &mut machine),
                    _ => {}
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

fn add_cpu(machine: &mut Machine, apic_id: u32, flags: u32) {
    if flags & 1 != 0 && apic_id != machine.cpus[0] && machine.cpus_len < MAX_CPUS {
        machine.cpus[machine.cpus_len] = apic_id;
        machine.cpus_len += 1;
    }
}

/// ACPI 5.2.12.
fn read_madt(madt: &Table, machine: &mut Machine) {
    machine.local_apic = u64::from(madt.u32(36));
    let mut at = 44;
    while madt.u8(at + 1) >= 2 {
        match madt.u8(at) {
            0 => add_cpu(machine, u32::from(madt.u8(at + 3)), madt.u32(at + 4)),
            9 => add_cpu(machine, madt.u32(at + 4), madt.u32(at + 8)),
            1 if machine.io_apics_len < machine.io_apics.len() => {
                let io = IoApic { addr: madt.u32(at + 4), gsi_base: madt.u32(at + 8) };
                machine.io_apics[machine.io_apics_len] = io;
                machine.io_apics_len += 1;
            }
            2 if machine.overrides_len < machine.overrides.len() => {
                let flags = madt.u16(at + 8);
                machine.overrides[machine.overrides_len] = Override {
                    irq: madt.u8(at + 3),
                    gsi: madt.u32(at + 4),
                    active_low: flags & 3 == 3,
                    level: flags >> 2 & 3 == 3,
                };
                machine.overrides_len += 1;
            }
            5 => machine.local_apic = madt.u64(at + 4),
            _ => {}
        }
        at += usize::from(madt.u8(at + 1));
    }
}

/// ACPI 5.2.9.
fn read_fadt(free: &mut FreeMap, fadt: &Table, machine: &mut Machine) {
    machine.pm1_control = [fadt.u32(64) as u16, fadt.u32(68) as u16];
    machine.pm_timer = fadt.u32(76) as u16;
    const RESET_SUPPORTED: u32 = 1 << 10;
    const IO_SPACE: u8 = 1;
    if fadt.u32(112) & RESET_SUPPORTED != 0 && fadt.u8(116) == IO_SPACE {
        machine.reset = (fadt.u64(120) as u16, fadt.u8(128));
    }
    let extended = fadt.u64(140);
    let dsdt = if extended != 0 { extended } else { u64::from(fadt.u32(40)) };
    machine.sleep_off = table(free, dsdt).and_then(|dsdt| find_s5(&dsdt));
}

/// The two sleep types in the package `\_S5`. The name is followed by PackageOp, a length, a count and integers
/// (ACPI 20.2); the tables need not be interpreted for that.
fn find_s5(dsdt: &Table) -> Option<[u16; 2]> {
    const PACKAGE: u8 = 0x12;
    const BYTE_PREFIX: u8 = 0x0a;
    let name = dsdt.0.windows(5).position(|window| window == [b'_', b'S', b'5', b'_', PACKAGE])?;
    let length_at = name + 5;
    let mut at = length_at + 2 + usize::from(dsdt.u8(length_at) >> 6);
    let mut types = [0; 2];
    for slot in &mut types {
        if dsdt.u8(at) == BYTE_PREFIX {
            at += 1;
        }
        *slot = u16::from(dsdt.u8(at));
        at += 1;
    }
    Some(types)
}
