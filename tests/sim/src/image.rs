//! The files that simulated programs execute: ELF files without a byte of code, whose entry point is a place in the plan.

use crate::script::{PRIVATE, PRIVATE_PAGES, SHARED, SHARED_PAGES, STACK_PAGES, STACKS};
use base::Credentials;
use memory::io::Src;
use vfs::open::{self, Request};
use vfs::path::Walk;
use vfs::{Caller, FsContext, OpenFlags};

/// The most executables that have names.
pub const MOST: usize = 26 * 26;

/// Adds executable number `index`, which starts at operation `entry`.
pub fn install(fs: &FsContext, index: usize, entry: usize) {
    let cred = Credentials::root();
    let caller = Caller::kernel(&cred);
    let name = name(index);
    let request = Request { flags: OpenFlags::WRONLY | OpenFlags::CREAT, mode: 0o755, umask: 0 };
    let path = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(name.len())];
    let file = open::open(&Walk::new(&caller, fs, None), path, &request).expect("a new file");
    let image = image(entry);
    assert_eq!(file.write(&caller, &mut Src::kernel(&image)), Ok(image.len()));
}

/// The path of executable number `index`, with its terminating zero: one word.
pub fn name(index: usize) -> [u8; 4] {
    [b'/', b'a' + (index / 26) as u8, b'a' + (index % 26) as u8, 0]
}

/// An ELF file (elf(5)) whose segments are zeroes where every simulated program has its memory.
fn image(entry: usize) -> Vec<u8> {
    let segments = [(SHARED, SHARED_PAGES), (PRIVATE, PRIVATE_PAGES), (STACKS, STACK_PAGES)];
    let mut file = Vec::from(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: usize| file.extend((value as u64).to_le_bytes());
    half(&mut file, 2);
    half(&mut file, syscalls::abi::ELF_MACHINE);
    file.extend(1u32.to_le_bytes());
    for value in [entry, 64, 0] {
        word(&mut file, value);
    }
    file.extend(0u32.to_le_bytes());
    for value in [64, 56, segments.len() as u16, 0, 0, 0] {
        half(&mut file, value);
    }
    for (start, pages) in segments {
        file.extend(1u32.to_le_bytes());
        file.extend(6u32.to_le_bytes());
        for value in [0, start, start, 0, pages * 0x1000, 0x1000] {
            word(&mut file, value);
        }
    }
    file
}
