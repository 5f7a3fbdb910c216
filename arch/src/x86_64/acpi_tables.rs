//! What the firmware's tables tell: CPUs, interrupt controllers, the power management ports. Everything read is
//! checked against its table's length; a table with a wrong sum is not used.
//!
//! Only bytes are looked at here, so that it is tested on any machine against tables that lie.

use crate::MAX_CPUS;

/// Bytes in the header of each table.
pub const HEADER: usize = 36;

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

/// The root pointer: where the lists of tables lie (ACPI 5.2.5.3).
pub struct Root {
    /// The list with 32-bit addresses.
    pub rsdt: u64,
    /// The list with 64-bit addresses.
    pub xsdt: Option<u64>,
}

impl Root {
    /// From its 36 bytes.
    pub fn new(bytes: &[u8]) -> Root {
        let root = Table(bytes);
        Root { rsdt: u64::from(root.u32(16)), xsdt: (root.u8(15) >= 2).then(|| root.u64(24)) }
    }
}

/// A table, its header included.
pub struct Table<'a>(&'a [u8]);

impl<'a> Table<'a> {
    /// The length that a table's header gives, if it may be one's.
    pub fn length(header: &[u8]) -> Option<usize> {
        const LONGEST: usize = 1 << 20;
        let len = Table(header).u32(4) as usize;
        (HEADER..LONGEST).contains(&len).then_some(len)
    }

    /// A whole table; `None` if its sum is wrong.
    pub fn new(bytes: &'a [u8]) -> Option<Table<'a>> {
        let sum = bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        (sum == 0).then_some(Table(bytes))
    }

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

    /// The physical addresses that a root table lists, each `width` bytes long.
    pub fn pointers(&self, width: usize) -> impl Iterator<Item = u64> {
        let listed = self.0.get(HEADER..).unwrap_or(&[]).len() / width;
        let at = move |index| HEADER + index * width;
        (0..listed).map(move |index| if width == 8 { self.u64(at(index)) } else { u64::from(self.u32(at(index))) })
    }

    /// The two sleep types in the package `\_S5` of a DSDT. The name is followed by PackageOp, a length, a count and
    /// integers (ACPI 20.2); the table need not be interpreted for that.
    pub fn find_s5(&self) -> Option<[u16; 2]> {
        const PACKAGE: u8 = 0x12;
        const BYTE_PREFIX: u8 = 0x0a;
        let name = self.0.windows(5).position(|window| window == [b'_', b'S', b'5', b'_', PACKAGE])?;
        let length_at = name + 5;
        let mut at = length_at + 2 + usize::from(self.u8(length_at) >> 6);
        let mut types = [0; 2];
        for slot in &mut types {
            if self.u8(at) == BYTE_PREFIX {
                at += 1;
            }
            *slot = u16::from(self.u8(at));
            at += 1;
        }
        Some(types)
    }
}

impl Machine {
    /// A machine with one CPU of this APIC number, and nothing told yet.
    pub fn new(boot_cpu: u32) -> Machine {
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
        machine.cpus[0] = boot_cpu;
        machine
    }

    /// Takes what a table tells. A FADT gives the address of the DSDT.
    pub fn read(&mut self, table: &Table) -> Option<u64> {
        match table.0 {
            [b'A', b'P', b'I', b'C', ..] => self.read_madt(table),
            [b'F', b'A', b'C', b'P', ..] => return Some(self.read_fadt(table)),
            _ => {}
        }
        None
    }

    fn add_cpu(&mut self, apic_id: u32, flags: u32) {
        if flags & 1 != 0 && apic_id != self.cpus[0] && self.cpus_len < MAX_CPUS {
            self.cpus[self.cpus_len] = apic_id;
            self.cpus_len += 1;
        }
    }

    /// ACPI 5.2.12.
    fn read_madt(&mut self, madt: &Table) {
        self.local_apic = u64::from(madt.u32(36));
        let mut at = 44;
        while madt.u8(at + 1) >= 2 {
            match madt.u8(at) {
                0 => self.add_cpu(u32::from(madt.u8(at + 3)), madt.u32(at + 4)),
                9 => self.add_cpu(madt.u32(at + 4), madt.u32(at + 8)),
                1 if self.io_apics_len < self.io_apics.len() => {
                    let io = IoApic { addr: madt.u32(at + 4), gsi_base: madt.u32(at + 8) };
                    self.io_apics[self.io_apics_len] = io;
                    self.io_apics_len += 1;
                }
                2 if self.overrides_len < self.overrides.len() => {
                    let flags = madt.u16(at + 8);
                    self.overrides[self.overrides_len] = Override {
                        irq: madt.u8(at + 3),
                        gsi: madt.u32(at + 4),
                        active_low: flags & 3 == 3,
                        level: flags >> 2 & 3 == 3,
                    };
                    self.overrides_len += 1;
                }
                5 => self.local_apic = madt.u64(at + 4),
                _ => {}
            }
            at += usize::from(madt.u8(at + 1));
        }
    }

    /// ACPI 5.2.9. Gives the address of the DSDT.
    fn read_fadt(&mut self, fadt: &Table) -> u64 {
        self.pm1_control = [fadt.u32(64) as u16, fadt.u32(68) as u16];
        self.pm_timer = fadt.u32(76) as u16;
        const RESET_SUPPORTED: u32 = 1 << 10;
        const IO_SPACE: u8 = 1;
        if fadt.u32(112) & RESET_SUPPORTED != 0 && fadt.u8(116) == IO_SPACE {
            self.reset = (fadt.u64(120) as u16, fadt.u8(128));
        }
        let extended = fadt.u64(140);
        if extended != 0 { extended } else { u64::from(fadt.u32(40)) }
    }
}
