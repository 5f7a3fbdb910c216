//! What the machine hands over at boot, and how the image is entered.

use crate::addr::PhysAddr;

/// The largest number of usable memory ranges that are kept.
pub const MAX_RANGES: usize = 64;

/// A range of physical memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhysRange {
    /// First byte.
    pub start: PhysAddr,
    /// Length in bytes.
    pub len: u64,
}

/// What the machine told about itself before the kernel proper starts. Made once by the back end
/// on the boot CPU; the kernel reads it and keeps what it needs.
pub struct BootInfo {
    /// RAM that is free for the kernel's use: without the kernel's image, its boot data, the
    /// initial file system and firmware tables. Page aligned, ascending, disjoint. The first
    /// `ranges_len` entries count.
    pub ranges: [PhysRange; MAX_RANGES],
    /// Number of valid entries in `ranges`.
    pub ranges_len: usize,
    /// All RAM in bytes, including what is not in `ranges`.
    pub ram_bytes: u64,
    /// The highest physical address of RAM plus one: frames are numbered up to here.
    pub ram_end: PhysAddr,
    /// The lowest physical address of RAM.
    pub ram_start: PhysAddr,
    /// The command line, without a terminating zero.
    pub command_line: &'static [u8],
    /// The initial file system archive, if the loader gave one. Not part of `ranges`.
    pub initrd: Option<PhysRange>,
    /// CPUs that can be started, the boot CPU included (at least 1, at most [`crate::MAX_CPUS`]).
    pub cpus: usize,
}

impl BootInfo {
    /// The usable memory ranges.
    pub fn ranges(&self) -> &[PhysRange] {
        &self.ranges[..self.ranges_len]
    }
}

/// Names the function that the boot CPU calls once memory is mapped, the console prints and traps
/// are taken: `arch::entry!(path::to::function)` in the image, where the function is
/// `fn(&'static BootInfo) -> !`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn __pollux_main(info: &'static $crate::boot::BootInfo) -> ! {
            $main(info)
        }
    };
}
