//! What is kept for each frame of RAM: 16 bytes in one array, indexed by frame number.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32};

/// What a frame is used for. /proc/meminfo counts by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// In the free blocks or in a CPU's cache (or not RAM).
    Free = 0,
    /// Page tables.
    Table = 1,
    /// Private memory of programs.
    Anonymous = 2,
    /// Contents of files, and shared anonymous memory.
    File = 3,
    /// The kernel's heap.
    Heap = 4,
    /// Other memory of the kernel: buffers, stacks.
    Kernel = 5,
}

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = 6;

    pub(super) fn from_u8(kind: u8) -> Kind {
        match kind {
            1 => Kind::Table,
            2 => Kind::Anonymous,
            3 => Kind::File,
            4 => Kind::Heap,
            5 => Kind::Kernel,
            _ => Kind::Free,
        }
    }

    /// Whether a program decides how much there is of it, so that it must leave the reserve alone.
    pub(super) fn spares_reserve(self) -> bool {
        matches!(self, Kind::Table | Kind::Anonymous | Kind::File)
    }
}

/// One frame's record.
#[derive(Default)]
pub(crate) struct Meta {
    /// Owning handles, while the frame is in use as a [`super::Frame`].
    pub refs: AtomicU32,
    /// [`Kind`].
    pub kind: AtomicU8,
    /// For the first frame of a free block: 1 + its order. Otherwise 0. Written under the buddy's lock.
    pub free_order: AtomicU8,
    /// For a frame of the heap: its size class.
    pub class: AtomicU16,
    /// Links of the list that the frame is in: free blocks, or slabs with free objects. Frame numbers, 0 for
    /// none; protected by that list's lock.
    pub next: AtomicU32,
    pub prev: AtomicU32,
}
