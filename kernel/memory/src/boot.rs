//! What the boot loader left in memory beside the kernel.

use arch::boot::PhysRange;

/// Calls `read` with the contents of a range of RAM that the loader filled and that is not among the free ranges: the
/// initial file system.
pub fn with_boot_range<T>(range: PhysRange, read: impl FnOnce(&[u8]) -> T) -> T {
    let ptr = arch::physmap::to_ptr(range.start);
    // SAFETY: the loader filled the range, which lies in one piece of RAM that the physical map covers. It is not part of
    // the free ranges, so no frame in it was ever handed out and nobody writes to it.
    read(unsafe { core::slice::from_raw_parts(ptr, range.len as usize) })
}
