//! Device trees as QEMU makes them, and damaged ones.

use super::devtree::{Conduit, Gic, Machine};
use crate::MAX_CPUS;
use crate::boot::MAX_RANGES;
use alloc::vec::Vec;
use proptest::collection::vec;
use proptest::prelude::*;

/// A flattened device tree in the making (Devicetree Specification 0.4, chapter 5).
#[derive(Default)]
struct Blob {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Blob {
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn node(&mut self, name: &str, inside: impl FnOnce(&mut Blob)) {
        self.word(1);
        self.bytes(&[name.as_bytes(), b"\0"].concat());
        inside(self);
        self.word(2);
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        self.word(3);
        self.word(value.len() as u32);
        self.word(self.strings.len() as u32);
        self.bytes(value);
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
    }

    fn words(&mut self, name: &str, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.property(name, &bytes);
    }

    fn finish(mut self) -> Vec<u8> {
        self.word(9);
        let (structure, strings) = (self.structure.len() as u32, self.strings.len() as u32);
        let at = 40 + 32;
        let total = at + structure + strings;
        let header = [0xd00d_feed, total, at, at + structure, 40, 17, 16, 0, strings, structure];
        let mut out: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        for word in [0x4000_0000u64, 0x1000, 0, 0] {
            out.extend(word.to_be_bytes());
        }
        out.extend(self.structure);
        out.extend(self.strings);
        out
    }
}

fn sample() -> Vec<u8> {
    let mut blob = Blob::default();
    blob.node("", |root| {
        root.words("#address-cells", &[2]);
        root.words("#size-cells", &[2]);
        root.node("memory@40000000", |node| {
            node.property("device_type", b"memory\0");
            node.words("reg", &[0, 0x4000_0000, 0, 0x1000_0000]);
        });
        root.node("cpus", |cpus| {
            cpus.words("#address-cells", &[1]);
            cpus.words("#size-cells", &[0]);
            for cpu in 0..2 {
                cpus.node(["cpu@0", "cpu@1"][cpu as usize], |node| node.words("reg", &[cpu]));
            }
        });
        root.node("psci", |node| {
            node.property("compatible", b"arm,psci-1.0\0");
            node.property("method", b"hvc\0");
        });
        root.node("intc@8000000", |node| {
            node.property("compatible", b"arm,gic-v3\0");
            node.words("reg", &[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000]);
        });
        root.node("pl011@9000000", |node| {
            node.property("compatible", b"arm,pl011\0arm,primecell\0");
            node.words("reg", &[0, 0x900_0000, 0, 0x1000]);
            node.words("interrupts", &[0, 1, 4]);
        });
        root.node("chosen", |node| {
            node.property("bootargs", b"console=ttyAMA0\0");
            node.words("linux,initrd-start", &[0x4800_0000]);
            node.words("linux,initrd-end", &[0x4900_0000]);
        });
    });
    blob.finish()
}

#[test]
fn the_machine_is_read() {
    let tree = sample();
    let machine = Machine::read(&tree).unwrap();
    assert_eq!(machine.memory.as_slice().len(), 1);
    assert_eq!((machine.cpus_len, machine.cpus[1]), (2, 1));
    assert!(machine.psci == Some(Conduit::Hvc));
    let Some(Gic::V3 { gicd, gicr }) = machine.gic else { panic!("no interrupt controller") };
    assert_eq!((gicd.start.0, gicr.start.0), (0x800_0000, 0x80a_0000));
    assert_eq!(machine.uart.map(|(range, irq)| (range.start.0, irq)), Some((0x900_0000, 33)));
    assert_eq!(machine.command_line, b"console=ttyAMA0");
    assert_eq!(machine.initrd.unwrap().len, 0x100_0000);
}

#[test]
fn the_older_interrupt_controller_is_read() {
    let mut blob = Blob::default();
    blob.node("", |root| {
        root.words("#address-cells", &[2]);
        root.words("#size-cells", &[2]);
        root.node("intc@8000000", |node| {
            node.property("compatible", b"arm,cortex-a15-gic\0");
            node.words("reg", &[0, 0x800_0000, 0, 0x1_0000, 0, 0x801_0000, 0, 0x1_0000]);
        });
    });
    let tree = blob.finish();
    let Some(Gic::V2 { gicd, gicc }) = Machine::read(&tree).unwrap().gic else { panic!("no interrupt controller") };
    assert_eq!((gicd.start.0, gicc.start.0), (0x800_0000, 0x801_0000));
}

/// Memory that would run past the last address is memory up to it.
#[test]
fn a_range_past_the_last_address_is_cut() {
    let mut blob = Blob::default();
    blob.node("", |root| {
        root.words("#address-cells", &[2]);
        root.words("#size-cells", &[2]);
        root.node("memory@0", |node| node.words("reg", &[u32::MAX, 0, 1, 0]));
    });
    let tree = blob.finish();
    let machine = Machine::read(&tree).unwrap();
    let [range] = machine.memory.as_slice() else { panic!("one range was given") };
    assert_eq!((range.start.0, range.len), (0xffff_ffff_0000_0000, 0xffff_ffff));
}

/// Reads what may be no tree; what comes out is within its bounds.
fn holds(bytes: &[u8]) {
    let Some(machine) = Machine::read(bytes) else { return };
    assert!(machine.cpus_len <= MAX_CPUS && machine.memory.as_slice().len() <= MAX_RANGES);
    assert!(machine.initrd.is_none_or(|range| range.start.0.checked_add(range.len).is_some()));
    for range in machine.memory.as_slice().iter().chain(machine.reserved.as_slice()) {
        assert!(range.start.0.checked_add(range.len).is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_damaged_tree_is_read_within_its_bounds(damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>(), whole in any::<bool>()) {
        let mut tree = sample();
        for (at, byte) in damage {
            let at = at.index(tree.len());
            tree[at] = byte;
        }
        if !whole {
            tree.truncate(cut.index(tree.len()));
        }
        holds(&tree);
    }

    #[test]
    fn a_tree_with_absurd_words_is_read_within_its_bounds(damage in vec((any::<prop::sample::Index>(), word()), 1..6)) {
        let mut tree = sample();
        for (at, word) in damage {
            let at = at.index(tree.len() / 4) * 4;
            tree[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        holds(&tree);
    }

    #[test]
    fn arbitrary_bytes_are_a_tree_or_none(bytes in vec(any::<u8>(), 0..300)) {
        holds(&bytes);
    }
}

fn word() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..10, Just(u32::MAX), Just(1 << 31), any::<u32>()]
}
