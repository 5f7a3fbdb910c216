//! Archives made here, and archives that are none.

use super::*;
use crate::inode::FileType;
use crate::tests::World;
use alloc::format;
use proptest::prelude::*;

struct Entry<'a> {
    path: &'a str,
    mode: u32,
    ino: u32,
    nlink: u32,
    rdev: (u32, u32),
    body: &'a [u8],
}

fn entry<'a>(path: &'a str, mode: u32, body: &'a [u8]) -> Entry<'a> {
    Entry { path, mode, ino: 0, nlink: 1, rdev: (0, 0), body }
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    let trailer = entry("TRAILER!!!", 0, b"");
    for e in entries.iter().chain([&trailer]) {
        let fields = [
            e.ino,
            e.mode,
            10,
            20,
            e.nlink,
            1_000_000,
            e.body.len() as u32,
            0,
            0,
            e.rdev.0,
            e.rdev.1,
            e.path.len() as u32 + 1,
            0,
        ];
        out.extend_from_slice(b"070701");
        for field in fields {
            out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        out.extend_from_slice(e.path.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(e.body);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = alloc::vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3, b'n', 0];
    out.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(data, 6));
    out.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out
}

fn sample() -> Vec<u8> {
    let big = [b'z'; 100_001];
    let link = |path, body| Entry { ino: 5, nlink: 2, ..entry(path, 0o100600, body) };
    archive(&[
        entry(".", 0o40755, b""),
        entry("bin", 0o40750, b""),
        entry("bin/sh", 0o104755, b"#!x"),
        entry("sh", 0o120777, b"bin/sh"),
        entry("big", 0o100644, &big),
        Entry { rdev: (1, 3), ..entry("null", 0o20666, b"") },
        link("first", b""),
        link("second", b"shared"),
        entry("missing/file", 0o100644, b"lost"),
    ])
}

fn check(w: &World) {
    let sh = w.find("/bin/sh").unwrap().inode().metadata();
    assert_eq!((sh.mode, sh.uid, sh.gid, sh.size, sh.mtime.sec), (0o4755, 10, 20, 3, 1_000_000));
    let bin = w.find("/bin").unwrap().inode().metadata();
    assert_eq!((bin.mode, bin.mtime.sec), (0o750, 1_000_000));
    assert_eq!(w.real("/sh"), "/bin/sh");
    assert_eq!(w.read("/big").len(), 100_001);
    let null = w.find("/null").unwrap().inode().metadata();
    assert_eq!((null.kind, null.rdev.encode()), (FileType::CharDevice, 0x103));
    assert_eq!(w.read("/first"), b"shared");
    assert_eq!(w.find("/second").unwrap().inode().metadata().nlink, 2);
    assert!(w.find("/missing").is_err());
}

#[test]
fn a_plain_archive_is_unpacked() {
    let w = World::new();
    let summary = unpack(&w.root(), &sample()).unwrap();
    assert_eq!((summary.entries, summary.skipped, summary.bytes), (8, 1, 100_010));
    check(&w);
}

#[test]
fn a_compressed_archive_is_unpacked() {
    let w = World::new();
    unpack(&w.root(), &gzip(&sample())).unwrap();
    check(&w);
}

#[test]
fn archives_follow_each_other_with_zeros_between() {
    let w = World::new();
    let mut all = archive(&[entry("a", 0o100644, b"old"), entry("x", 0o40755, b"")]);
    all.extend_from_slice(&[0; 400]);
    all.extend_from_slice(&gzip(&archive(&[entry("a", 0o100644, b"n"), entry("x", 0o100644, b"file")])));
    all.extend_from_slice(&[0; 3]);
    all.extend_from_slice(&archive(&[entry("b", 0o100644, b"last")]));
    unpack(&w.root(), &all).unwrap();
    assert_eq!((w.read("/a"), w.read("/x"), w.read("/b")), (b"n".to_vec(), b"file".to_vec(), b"last".to_vec()));
}

#[test]
fn damage_is_told_with_its_place() {
    let w = World::new();
    let reason = |bytes: &[u8]| unpack(&w.root(), bytes).unwrap_err().reason;
    assert_eq!(reason(b"junk"), Reason::Magic);
    assert_eq!(reason(b"070701short"), Reason::Truncated);
    let good = archive(&[entry("a", 0o100644, b"content")]);
    assert_eq!(reason(&good[..115]), Reason::Truncated);
    let mut bad = good.clone();
    bad[10] = b'x';
    assert_eq!(reason(&bad), Reason::Field);
    let mut bad = gzip(&good);
    bad.truncate(40);
    assert_eq!(reason(&bad), Reason::Truncated);
    let mut huge = good;
    huge[54..62].copy_from_slice(b"ffffffff");
    assert_eq!(reason(&huge), Reason::Truncated);
}

#[test]
fn a_wrong_checksum_or_length_is_told() {
    let w = World::new();
    let good = gzip(&sample());
    for byte in 1..=8 {
        let mut bad = good.clone();
        let at = bad.len() - byte;
        bad[at] ^= 0x10;
        assert_eq!(unpack(&w.root(), &bad).unwrap_err().reason, Reason::Gzip, "{byte} from the end");
    }
    assert_eq!(unpack(&w.root(), &good[..good.len() - 1]).unwrap_err().reason, Reason::Truncated);
}

fn various() -> Vec<u8> {
    archive(&[
        entry("d", 0o40755, b""),
        entry("d/f", 0o100644, b"content"),
        entry("l", 0o120777, b"d"),
        Entry { ino: 1, nlink: 2, ..entry("h", 0o100644, b"x") },
    ])
}

#[test]
fn damaged_archives_never_panic() {
    let w = World::new();
    let damage = proptest::collection::vec((0usize..800, any::<u8>()), 1..5);
    let case = (damage, 1usize..3000, any::<bool>(), any::<bool>());
    proptest!(ProptestConfig::with_cases(1000), |((damage, cut, inside, zip) in case)| {
        let mut bytes = various();
        let spoil = |bytes: &mut Vec<u8>| {
            for (at, with) in &damage {
                let at = at % bytes.len();
                bytes[at] = *with;
            }
            bytes.truncate(cut);
        };
        // Damage before the compression reaches what lies behind it.
        if inside || !zip {
            spoil(&mut bytes);
        }
        if zip {
            bytes = gzip(&bytes);
        }
        if zip && !inside {
            spoil(&mut bytes);
        }
        match unpack(&w.root(), &bytes) {
            Ok(summary) => assert!(summary.bytes <= bytes.len() as u64),
            Err(failure) => assert!(failure.archive <= bytes.len()),
        }
    });
}

#[test]
fn absurd_fields_never_panic_and_take_no_more_than_the_archive_holds() {
    let value = prop_oneof![Just(0u32), Just(u32::MAX), Just(0x7fff_ffff), 0u32..5000, any::<u32>()];
    let case = proptest::collection::vec((0usize..4, 0usize..13, value), 1..4);
    let w = World::new();
    proptest!(ProptestConfig::with_cases(500), |(case in case)| {
        let mut bytes = various();
        let headers: Vec<usize> = (0..bytes.len() - 6).filter(|at| bytes[*at..].starts_with(b"070701")).collect();
        for (header, field, value) in case {
            let at = headers[header] + 6 + 8 * field;
            bytes[at..at + 8].copy_from_slice(format!("{value:08x}").as_bytes());
        }
        if let Ok(summary) = unpack(&w.root(), &bytes) {
            assert!(summary.bytes <= bytes.len() as u64);
        }
    });
}

#[test]
fn arbitrary_bytes_never_panic() {
    let w = World::new();
    let case = (proptest::collection::vec(any::<u8>(), 0..600), 0u8..3);
    proptest!(ProptestConfig::with_cases(500), |((mut bytes, head) in case)| {
        let magic: &[u8] = match head { 0 => b"", 1 => b"070701", _ => &[0x1f, 0x8b, 8] };
        bytes.splice(..0, magic.iter().copied());
        let _ = unpack(&w.root(), &bytes);
    });
}
