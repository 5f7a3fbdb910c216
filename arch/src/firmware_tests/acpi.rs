//! ACPI tables as firmware writes them, and as no firmware should.

use super::acpi_tables::{HEADER, Machine, Root, Table};
use crate::MAX_CPUS;
use alloc::vec;
use alloc::vec::Vec;
use proptest::collection::vec as bytes;
use proptest::prelude::*;

/// A table with the right length and sum.
fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = signature.to_vec();
    out.extend(((HEADER + body.len()) as u32).to_le_bytes());
    out.resize(HEADER, 0);
    out.extend(body);
    out[9] = out.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    out
}

fn madt(entries: &[&[u8]]) -> Vec<u8> {
    let mut body = 0xfee0_1000u32.to_le_bytes().to_vec();
    body.extend([0; 4]);
    body.extend(entries.concat());
    table(b"APIC", &body)
}

fn bounds(machine: &Machine) {
    assert!((1..=MAX_CPUS).contains(&machine.cpus_len));
    assert!(machine.io_apics_len <= machine.io_apics.len());
    assert!(machine.overrides_len <= machine.overrides.len());
}

#[test]
fn cpus_and_interrupt_controllers_are_found() {
    let bytes =
        madt(&[&[0, 8, 0, 0, 1, 0, 0, 0], &[0, 8, 1, 7, 1, 0, 0, 0], &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 8, 0, 0, 0]]);
    let mut machine = Machine::new(0);
    assert!(machine.read(&Table::new(&bytes).unwrap()).is_none());
    assert_eq!(machine.cpus[..machine.cpus_len], [0, 7]);
    assert_eq!((machine.local_apic, machine.io_apics_len), (0xfee0_1000, 1));
    assert_eq!((machine.io_apics[0].addr, machine.io_apics[0].gsi_base), (0xfec0_0000, 8));
}

#[test]
fn an_interrupt_that_goes_elsewhere_is_found() {
    let mut machine = Machine::new(0);
    machine.read(&Table::new(&madt(&[&[2, 10, 0, 9, 20, 0, 0, 0, 0x0f, 0]])).unwrap());
    let found = &machine.overrides[0];
    assert_eq!((found.irq, found.gsi, found.active_low, found.level), (9, 20, true, true));
}

#[test]
fn ports_and_the_next_table_are_found() {
    let mut body = vec![0; 148 - HEADER];
    body[40 - HEADER..44 - HEADER].copy_from_slice(&0x7fe_0000u32.to_le_bytes());
    body[64 - HEADER..66 - HEADER].copy_from_slice(&[4, 6]);
    body[76 - HEADER..78 - HEADER].copy_from_slice(&[8, 6]);
    body[113 - HEADER] = 4;
    body[116 - HEADER] = 1;
    body[120 - HEADER..122 - HEADER].copy_from_slice(&[0xf9, 0x0c]);
    body[128 - HEADER] = 6;
    let mut machine = Machine::new(0);
    assert_eq!(machine.read(&Table::new(&table(b"FACP", &body)).unwrap()), Some(0x7fe_0000));
    assert_eq!((machine.pm1_control, machine.pm_timer, machine.reset), ([0x604, 0], 0x608, (0xcf9, 6)));
    assert!(machine.sleep_off.is_none());
}

#[test]
fn the_lists_of_tables_are_found() {
    let mut root = *b"RSD PTR \0QEMU  \x02abcd....efghijkl....";
    assert_eq!(Root::new(&root).rsdt, u64::from(u32::from_le_bytes(*b"abcd")));
    assert_eq!(Root::new(&root).xsdt, Some(u64::from_le_bytes(*b"efghijkl")));
    root[15] = 0;
    assert!(Root::new(&root).xsdt.is_none());
}

#[test]
fn the_sleep_type_for_off_is_found() {
    let bytes = table(b"DSDT", b"\x08_S5_\x12\x06\x04\x0a\x05\x00\x00\x00");
    assert_eq!(Table::new(&bytes).unwrap().find_s5(), Some([5, 0]));
}

#[test]
fn a_table_with_a_wrong_sum_is_not_used() {
    let mut bytes = madt(&[]);
    bytes[40] ^= 1;
    assert!(Table::new(&bytes).is_none());
}

#[test]
fn more_cpus_than_there_is_room_for_are_left_out() {
    let entries: Vec<[u8; 8]> = (0..=255).map(|id| [0, 8, 0, id, 1, 0, 0, 0]).collect();
    let entries: Vec<&[u8]> = entries.iter().map(|entry| &entry[..]).collect();
    let mut machine = Machine::new(3);
    machine.read(&Table::new(&madt(&entries)).unwrap());
    assert_eq!(machine.cpus_len, MAX_CPUS);
}

proptest! {
    #[test]
    fn any_table_is_read_within_its_bounds(
        kind in prop_oneof![Just(b"APIC"), Just(b"FACP"), Just(b"DSDT"), Just(b"XSDT")],
        body in bytes(prop_oneof![0u8..14, any::<u8>()], 0..400),
    ) {
        let bytes = table(kind, &body);
        let found = Table::new(&bytes).unwrap();
        let mut machine = Machine::new(0);
        machine.read(&found);
        bounds(&machine);
        found.find_s5();
        assert!(found.pointers(8).count() <= body.len() / 8 && found.pointers(4).count() <= body.len() / 4);
    }

    #[test]
    fn any_bytes_are_a_table_or_none(bytes in bytes(any::<u8>(), 0..60)) {
        assert!(Table::length(&bytes).is_none_or(|len| (HEADER..1 << 20).contains(&len)));
        Root::new(&bytes);
        if let Some(found) = Table::new(&bytes) {
            Machine::new(0).read(&found);
            assert!(found.pointers(8).count() <= bytes.len());
        }
    }
}
