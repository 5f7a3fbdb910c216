//! What the device tree says about the machine (Devicetree Specification 0.4 and the Linux bindings it
//! refers to). Read once, at boot.

use crate::MAX_CPUS;
use crate::addr::PhysAddr;
use crate::boot::{MAX_RANGES, PhysRange};
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};

/// A short list of memory ranges; what does not fit is left out.
#[derive(Clone, Copy)]
pub struct Ranges {
    items: [PhysRange; MAX_RANGES],
    len: usize,
}

impl Ranges {
    /// No ranges.
    pub const fn new() -> Ranges {
        Ranges { items: [PhysRange { start: PhysAddr(0), len: 0 }; MAX_RANGES], len: 0 }
    }

    /// Adds a range if it is not empty. False if there is no room for it.
    pub fn push(&mut self, range: PhysRange) -> bool {
        if range.len == 0 {
            return true;
        }
        let Some(slot) = self.items.get_mut(self.len) else { return false };
        *slot = range;
        self.len += 1;
        true
    }

    /// The ranges.
    pub fn as_slice(&self) -> &[PhysRange] {
        &self.items[..self.len]
    }

    /// Orders them by address.
    pub fn sort(&mut self) {
        self.items[..self.len].sort_unstable_by_key(|range| range.start);
    }
}

/// The interrupt controller.
#[derive(Clone, Copy)]
pub enum Gic {
    /// Version 2: distributor and CPU interface.
    V2 { gicd: PhysRange, gicc: PhysRange },
    /// Version 3 or 4: distributor and redistributors.
    V3 { gicd: PhysRange, gicr: PhysRange },
}

/// How PSCI is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Conduit {
    Hvc,
    Smc,
}

/// The machine. Slices point into the device tree.
pub struct Machine<'a> {
    pub memory: Ranges,
    pub reserved: Ranges,
    pub command_line: &'a [u8],
    pub initrd: Option<PhysRange>,
    /// MPIDR affinity of each CPU that can be started, in the tree's order.
    pub cpus: [u64; MAX_CPUS],
    pub cpus_len: usize,
    pub psci: Option<Conduit>,
    pub gic: Option<Gic>,
    /// PL011 registers and its interrupt.
    pub uart: Option<(PhysRange, u32)>,
    /// PL031 registers.
    pub rtc: Option<PhysRange>,
    /// The virtual timer's interrupt.
    pub timer_irq: u32,
    /// `/chosen/rng-seed` and `/chosen/kaslr-seed`.
    pub seeds: [&'a [u8]; 2],
}

/// INTID of the virtual timer where the tree does not say (Arm BSA).
const TIMER_DEFAULT: u32 = 27;

impl<'a> Machine<'a> {
    /// Reads the tree; `None` if the bytes are none.
    pub fn read(bytes: &'a [u8]) -> Option<Machine<'a>> {
        let fdt = Fdt::new(bytes).ok()?;
        let mut machine = Machine {
            memory: Ranges::new(),
            reserved: Ranges::new(),
            command_line: b"",
            initrd: None,
            cpus: [0; MAX_CPUS],
            cpus_len: 0,
            psci: None,
            gic: None,
            uart: None,
            rtc: None,
            timer_irq: TIMER_DEFAULT,
            seeds: [b"", b""],
        };
        for reservation in fdt.memory_reservations() {
            machine.reserved.push(range(reservation.address(), reservation.size()));
        }
        for node in fdt.root().children() {
            machine.node(node);
            // Devices behind a bus without translation (`simple-bus`).
            if node.is_compatible("simple-bus") {
                node.children().for_each(|child| machine.device(child));
            }
        }
        machine.memory.sort();
        Some(machine)
    }

    fn node(&mut self, node: FdtNode<'a>) {
        match node.name_without_address() {
            "memory" => regs(node).for_each(|range| {
                self.memory.push(range);
            }),
            "reserved-memory" => {
                for range in node.children().flat_map(regs) {
                    self.reserved.push(range);
                }
            }
            "cpus" => node.children().for_each(|cpu| self.cpu(cpu)),
            "chosen" => self.chosen(node),
            _ => self.device(node),
        }
    }

    fn cpu(&mut self, node: FdtNode<'a>) {
        if node.name_without_address() != "cpu" {
            return;
        }
        let Some(Ok(mut reg)) = node.reg().transpose() else { return };
        let Some(Ok(mpidr)) = reg.next().map(|reg| reg.address::<u64>()) else { return };
        if let Some(slot) = self.cpus.get_mut(self.cpus_len) {
            *slot = mpidr;
            self.cpus_len += 1;
        }
    }

    fn chosen(&mut self, node: FdtNode<'a>) {
        let value = |name| value(node, name);
        let line = value("bootargs");
        self.command_line = line.strip_suffix(b"\0").unwrap_or(line);
        self.seeds = [value("rng-seed"), value("kaslr-seed")];
        let start = integer(value("linux,initrd-start"));
        let end = integer(value("linux,initrd-end"));
        self.initrd = (start < end).then(|| PhysRange { start: PhysAddr(start), len: end - start });
    }

    fn device(&mut self, node: FdtNode<'a>) {
        let is = |name| node.is_compatible(name);
        if is("arm,psci-1.0") || is("arm,psci-0.2") {
            self.psci = Some(if value(node, "method") == b"smc\0" { Conduit::Smc } else { Conduit::Hvc });
        } else if is("arm,gic-v3") {
            let mut regs = regs(node);
            if let (Some(gicd), Some(gicr)) = (regs.next(), regs.next()) {
                self.gic = Some(Gic::V3 { gicd, gicr });
            }
        } else if is("arm,cortex-a15-gic") || is("arm,gic-400") || is("arm,cortex-a9-gic") {
            let mut regs = regs(node);
            if let (Some(gicd), Some(gicc)) = (regs.next(), regs.next()) {
                self.gic = Some(Gic::V2 { gicd, gicc });
            }
        } else if is("arm,pl011") && self.uart.is_none() {
            if let (Some(range), Some(irq)) = (regs(node).next(), interrupt(node, 0)) {
                self.uart = Some((range, irq));
            }
        } else if is("arm,pl031") {
            self.rtc = regs(node).next();
        } else if is("arm,armv8-timer") {
            // Secure, non-secure, virtual, hypervisor.
            self.timer_irq = interrupt(node, 2).unwrap_or(TIMER_DEFAULT);
        }
    }
}

/// The register ranges of a node.
fn regs(node: FdtNode<'_>) -> impl Iterator<Item = PhysRange> {
    node.reg().ok().flatten().into_iter().flatten().filter_map(|reg| Some(range(reg.address().ok()?, reg.size().ok()?)))
}

/// The `len` bytes from `start`, cut at the end of the address space: nothing that reads a range has to
/// think of one that wraps.
fn range(start: u64, len: u64) -> PhysRange {
    PhysRange { start: PhysAddr(start), len: len.min(u64::MAX - start) }
}

/// The INTID of a node's interrupt number `index` in the three-cell form of the Arm GIC.
fn interrupt(node: FdtNode<'_>, index: usize) -> Option<u32> {
    let (words, _) = value(node, "interrupts").as_chunks::<4>();
    let kind = u32::from_be_bytes(*words.get(3 * index)?);
    let number = u32::from_be_bytes(*words.get(3 * index + 1)?);
    match kind {
        0 => number.checked_add(32),
        1 => number.checked_add(16),
        _ => None,
    }
}

/// The bytes of a property; none if there is none.
fn value<'a>(node: FdtNode<'a>, name: &str) -> &'a [u8] {
    node.property(name).and_then(|property| property.value_as().ok()).unwrap_or(b"")
}

/// A big-endian number of four or eight bytes; 0 if it is neither.
fn integer(bytes: &[u8]) -> u64 {
    if let Ok(word) = bytes.try_into() {
        return u32::from_be_bytes(word).into();
    }
    bytes.try_into().map_or(0, u64::from_be_bytes)
}
