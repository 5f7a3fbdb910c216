//! The start info that a PVH loader passes (Xen's public/arch-x86/hvm/start_info.h).
//!
//! It is read through a function that gives bytes of physical memory, so that it is tested on any machine against
//! a loader that lies.

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

/// No range reaches beyond: it is what a physical address can have.
const ADDRESSES: u64 = 1 << 52;

/// The start info. `R` fills a buffer from a physical address.
pub struct StartInfo<R> {
    base: u64,
    read: R,
}

impl<R: Fn(u64, &mut [u8])> StartInfo<R> {
    /// The start info at physical address `base`; `None` if there is none: the image was not entered by the PVH
    /// protocol, or by one too old to give a memory map.
    pub fn new(base: u64, read: R) -> Option<StartInfo<R>> {
        let info = StartInfo { base, read };
        (info.u32(base) == MAGIC && info.u32(base + 4) >= 1).then_some(info)
    }

    fn bytes<const N: usize>(&self, addr: u64) -> [u8; N] {
        let mut bytes = [0; N];
        (self.read)(addr, &mut bytes);
        bytes
    }

    fn u32(&self, addr: u64) -> u32 {
        u32::from_le_bytes(self.bytes(addr))
    }

    fn u64(&self, addr: u64) -> u64 {
        u64::from_le_bytes(self.bytes(addr))
    }

    /// The first module, which is the initial file system.
    pub fn initrd(&self) -> Option<PhysRange> {
        if self.u32(self.base + 12) == 0 {
            return None;
        }
        let list = self.u64(self.base + 16);
        let (start, len) = within(self.u64(list), self.u64(list.wrapping_add(8)));
        Some(PhysRange { start: PhysAddr(start), len })
    }

    /// Copies the command line; returns its length.
    pub fn command_line(&self, out: &mut [u8]) -> usize {
        let line = self.u64(self.base + 24);
        if line == 0 {
            return 0;
        }
        let mut len = 0;
        for slot in out {
            match self.bytes(line.wrapping_add(len as u64)) {
                [0] => break,
                [byte] => *slot = byte,
            }
            len += 1;
        }
        len
    }

    /// Where the loader found ACPI's root pointer; 0 if it does not say.
    pub fn rsdp(&self) -> u64 {
        self.u64(self.base + 32)
    }

    /// The memory map, of which no more than `MOST` entries are read.
    pub fn memory_map(&self) -> impl Iterator<Item = MapEntry> {
        const MOST: u32 = 4096;
        let map = self.u64(self.base + 40);
        let count = self.u32(self.base + 48).min(MOST);
        (0..u64::from(count)).map(move |i| {
            let at = map.wrapping_add(i * 24);
            let (start, len) = within(self.u64(at), self.u64(at.wrapping_add(8)));
            MapEntry { start, len, kind: self.u32(at.wrapping_add(16)) }
        })
    }
}

/// The part of a range that physical addresses reach.
fn within(start: u64, len: u64) -> (u64, u64) {
    let start = start.min(ADDRESSES);
    (start, len.min(ADDRESSES - start))
}
