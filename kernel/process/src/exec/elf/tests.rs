//! Files that are programs nearly, and files that are none.

use super::*;
use alloc::vec;
use base::Error;
use proptest::collection::vec as bytes;
use proptest::prelude::*;

const MACHINE: u16 = 62;

/// Where the fields of the ELF header lie that programs get wrong, and how long they are.
const FIELDS: [(usize, usize); 10] =
    [(4, 1), (5, 1), (16, 2), (18, 2), (20, 4), (24, 8), (32, 8), (52, 2), (54, 2), (56, 2)];

fn phdr(kind: u32, [offset, vaddr, filesz, memsz]: [u64; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(kind.to_le_bytes());
    out.extend(7u32.to_le_bytes());
    for field in [offset, vaddr, vaddr, filesz, memsz, 4096] {
        out.extend(field.to_le_bytes());
    }
    out
}

/// A position-independent program with an interpreter.
fn program(segments: &[(u32, [u64; 4])]) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [3, MACHINE] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    for word in [0x1000u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64, 56, segments.len() as u16, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for (kind, fields) in segments {
        file.extend(phdr(*kind, *fields));
    }
    file.resize(0x2000, 0);
    file[0x1800..0x1808].copy_from_slice(b"/lib/ld\0");
    file
}

fn sample() -> Vec<u8> {
    program(&[
        (PT_INTERP, [0x1800, 0x1800, 8, 8]),
        (PT_LOAD, [0, 0, 0x1900, 0x1900]),
        (PT_LOAD, [0x1900, 0x2900, 0x100, 0x5000]),
        (PT_GNU_STACK, [0; 4]),
    ])
}

fn read(file: &[u8]) -> impl Fn(u64, &mut [u8]) -> Result<usize> {
    |offset, buf| {
        let rest = usize::try_from(offset).ok().and_then(|at| file.get(at..)).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

fn parse(file: &[u8]) -> Result<Elf> {
    Elf::parse(&file[..file.len().min(256)], MACHINE, Errno::ENOEXEC, read(file))
}

/// What must hold of any file: the error is one of exec's, and what was understood lies in user space.
fn holds(file: &[u8]) {
    let elf = match parse(file) {
        Ok(elf) => elf,
        Err(error) => return assert_eq!(error, Error::Errno(Errno::ENOEXEC)),
    };
    assert!((1..=MAX_HEADERS).contains(&elf.header_count()));
    match elf.interpreter(read(file)) {
        Ok(name) => assert!(name.is_none_or(|name| !name.is_empty() && name.len() < PATH_MAX as usize)),
        Err(error) => assert!([Errno::ENOEXEC, Errno::EINVAL].map(Error::Errno).contains(&error)),
    }
    for segment in elf.loads() {
        assert!(segment.p_vaddr + segment.p_memsz <= USER_END.0 as u64);
        assert!(segment.p_filesz <= segment.p_memsz);
        assert!(segment.p_offset.checked_add(segment.p_filesz).is_some());
    }
    match elf.extent() {
        Ok((low, high)) => assert!(low <= high && high <= USER_END.0 && low % PAGE_SIZE == 0),
        Err(error) => assert!(error == Error::Errno(Errno::ENOEXEC) && elf.loads().next().is_none()),
    }
    for bias in [0, 0x5555_5555_4000, usize::MAX] {
        let _ = (elf.header_address(bias), elf.entry(bias), elf.executable_stack(), elf.is_fixed());
    }
}

#[test]
fn a_program_is_understood() {
    let file = sample();
    let elf = parse(&file).unwrap();
    assert_eq!(elf.interpreter(read(&file)).unwrap().as_deref(), Some(&b"/lib/ld"[..]));
    assert_eq!(elf.extent().unwrap(), (0, 0x7900));
    assert_eq!((elf.header_address(0x1000), elf.entry(0x1000)), (0x1040, 0x2000));
    assert!(elf.executable_stack() && !elf.is_fixed());
}

#[test]
fn the_largest_alignment_counts_that_is_one() {
    let alignment = |aligns: [u64; 2]| {
        let mut file = sample();
        for (segment, align) in [1, 2].into_iter().zip(aligns) {
            let at = 64 + segment * 56 + 48;
            file[at..at + 8].copy_from_slice(&align.to_le_bytes());
        }
        parse(&file).unwrap().alignment()
    };
    assert_eq!(alignment([0, 1]), PAGE_SIZE);
    assert_eq!(alignment([0x1000, 0x20_0000]), 0x20_0000);
    assert_eq!(alignment([0x1_0000, 0x30_0000]), 0x1_0000);
    assert_eq!(alignment([u64::MAX, 1 << 63]), 1 << 63);
}

#[test]
fn a_file_that_is_cut_short_is_enoexec() {
    let file = sample();
    for len in 0..64 + 4 * 56 {
        assert!(parse(&file[..len]).is_err_and(|error| error == Error::Errno(Errno::ENOEXEC)), "{len}");
    }
}

#[test]
fn a_segment_outside_user_space_is_enoexec() {
    for fields in [[0, !4095, 0, 0x1000], [0, USER_END.0 as u64, 0, 0x1000], [0, 0, 0, u64::MAX]] {
        assert!(parse(&program(&[(PT_LOAD, fields)])).is_err(), "{fields:x?}");
    }
    let too_far = [!4095, 0, 0x1000, 0x1000];
    assert!(parse(&program(&[(PT_LOAD, too_far)])).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_program_with_damage_is_an_error_or_lies_in_user_space(
        damage in bytes((0usize..64 + 4 * 56, any::<u8>()), 1..6),
        len in prop_oneof![Just(0x2000usize), 0usize..0x2000],
    ) {
        let mut file = sample();
        for (at, byte) in damage {
            file[at] = byte;
        }
        file.truncate(len);
        holds(&file);
    }

    #[test]
    fn a_program_with_absurd_fields_is_an_error_or_lies_in_user_space(
        fields in bytes((0usize..10, absurd()), 0..3),
        segments in bytes((0u32..8, [absurd(), absurd(), absurd(), absurd()]), 0..80),
    ) {
        let mut file = program(&segments);
        for (field, value) in fields {
            let (at, len) = FIELDS[field];
            file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        holds(&file);
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_lie_in_user_space(mut file in bytes(any::<u8>(), 0..1000), head in 0usize..65) {
        let sample = sample();
        let head = head.min(file.len());
        file[..head].copy_from_slice(&sample[..head]);
        holds(&file);
    }
}

/// Numbers about which sums overflow.
fn absurd() -> impl Strategy<Value = u64> {
    let end = USER_END.0 as u64;
    let near = prop_oneof![Just(0), Just(end), Just(u64::MAX), Just(1 << 63), Just(0x1800), Just(0x5555_5555_4000)];
    prop_oneof![(near, -0x1001i64..0x1001).prop_map(|(base, off)| base.wrapping_add_signed(off)), any::<u64>()]
}
