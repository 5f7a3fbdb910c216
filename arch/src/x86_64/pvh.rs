//! The start info that a PVH loader passes (Xen's public/arch-x86/hvm/start_info.h).

use super::physmap;
use crate::addr::PhysAddr;
use crate::boot::PhysRange;

const MAGIC: u32 = 0x336e_c578;

/// A range of the memory map with its E820 type.
#[derive(Clone, Copy)]
pub struct MapEntry {
    pub start: u64,
    pub len: u64,
    pub kind: u32,
}

/// E820: usable RAM.
pub const RAM: u32 = 1;

/// The start info, read from below 1 GiB.
pub struct StartInfo {
    base: u64,
}

/// Reads a little-endian value at a physical address that the boot tables map.
fn read<T: Copy>(addr: u64) -> T {
    // SAFETY: callers read what the loader says it wrote, integers only; every bit pattern of them is valid.
    unsafe { physmap::to_ptr(PhysAddr(addr)).cast::<T>().read_unaligned() }
}

impl StartInfo {
    /// The start info at physical address `base`.
    ///
    /// # Panics
    /// If there is none: the image was not entered by the PVH protocol, or by one too old to give a memory map.
    pub fn new(base: u64) -> StartInfo {
        let (magic, version): (u32, u32) = (read(base), read(base + 4));
        assert!(magic == MAGIC && version >= 1, "the boot loader does not speak PVH version 1");
        StartInfo { base }
    }

    /// The first module, which is the initial file system.
    pub fn initrd(&self) -> Option<PhysRange> {
        let count: u32 = read(self.base + 12);
        let list: u64 = read(self.base + 16);
        (count > 0).then(|| PhysRange { start: PhysAddr(read(list)), len: read(list + 8) })
    }

    /// Copies the command line; returns its length.
    pub fn command_line(&self, out: &mut [u8]) -> usize {
        let line: u64 = read(self.base + 24);
        if line == 0 {
            return 0;
        }
        let mut len = 0;
        for slot in out {
            match read(line + len as u64) {
                0u8 => break,
                byte => *slot = byte,
            }
            len += 1;
        }
        len
    }

    /// Where the loader found ACPI's root pointer; 0 if it does not say.
    pub fn rsdp(&self) -> u64 {
        read(self.base + 32)
    }

    /// The memory map.
    pub fn memory_map(&self) -> impl Iterator<Item = MapEntry> + use<> {
        let map: u64 = read(self.base + 40);
        let count: u32 = read(self.base + 48);
        (0..u64::from(count)).map(move |i| {
            let at = map + i * 24;
            MapEntry { start: read(at), len: read(at + 8), kind: read(at + 16) }
        })
    }
}
