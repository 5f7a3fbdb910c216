//! Start infos as a PVH loader passes them, and as none should.

use super::pvh::{RAM, StartInfo};
use alloc::vec::Vec;
use proptest::collection::vec;
use proptest::prelude::*;

/// A loader's memory, from address 0; there are zeros behind it.
fn memory(bytes: &[u8]) -> impl Fn(u64, &mut [u8]) {
    |addr, out| {
        let rest = usize::try_from(addr).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
    }
}

fn image(fields: [u64; 5], count: u32, rest: &[u8]) -> Vec<u8> {
    let [modules, list, line, rsdp, map] = fields;
    let mut out = Vec::new();
    for word in [0x336e_c578, 1, 0, modules as u32] {
        out.extend(word.to_le_bytes());
    }
    for word in [list, line, rsdp, map] {
        out.extend(word.to_le_bytes());
    }
    out.extend(count.to_le_bytes());
    out.extend([0; 12]);
    out.extend(rest);
    out
}

#[test]
fn what_the_loader_passed_is_found() {
    let mut rest: Vec<u8> = [0x10_0000u64, 0x2000, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    rest.extend([0x1000u64, 0x9000, 1].iter().flat_map(|word| word.to_le_bytes()));
    rest.extend(b"quiet\0");
    let bytes = image([1, 64, 64 + 32 + 24, 7, 64 + 32], 1, &rest);
    let info = StartInfo::new(0, memory(&bytes)).unwrap();
    let mut line = [0; 99];
    let len = info.command_line(&mut line);
    assert_eq!(&line[..len], b"quiet");
    assert_eq!(info.initrd().map(|range| (range.start.0, range.len)), Some((0x10_0000, 0x2000)));
    assert_eq!(info.rsdp(), 7);
    let map: Vec<_> = info.memory_map().map(|entry| (entry.start, entry.len, entry.kind)).collect();
    assert_eq!(map, [(0x1000, 0x9000, RAM)]);
}

#[test]
fn another_protocol_is_told() {
    assert!(StartInfo::new(0, memory(b"no start info at all")).is_none());
    assert!(StartInfo::new(!7, memory(b"")).is_none());
}

proptest! {
    #[test]
    fn what_a_lying_loader_says_stays_within_physical_addresses(
        fields in proptest::array::uniform5(address()),
        count in prop_oneof![0u32..20, any::<u32>()],
        rest in vec(any::<u8>(), 0..400),
    ) {
        let bytes = image(fields, count, &rest);
        let info = StartInfo::new(0, memory(&bytes)).unwrap();
        let mut line = [0; 64];
        assert!(info.command_line(&mut line) <= line.len());
        assert!(info.initrd().is_none_or(|range| range.start.0.checked_add(range.len).is_some()));
        assert!(info.memory_map().all(|entry| entry.start + entry.len <= 1 << 52));
        assert!(info.memory_map().count() <= 4096);
        info.rsdp();
    }
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..500, any::<u64>(), (0u64..40).prop_map(|below| u64::MAX - below)]
}
