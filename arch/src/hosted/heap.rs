//! The simulated kernel's heap: the host's, with a count of what is in use, so that a simulation can tell whether
//! everything was given back.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::alloc::System;

/// A global allocator that counts. A simulator makes it its program's.
pub struct CountingHeap;

static BYTES: AtomicI64 = AtomicI64::new(0);
static BLOCKS: AtomicI64 = AtomicI64::new(0);

std::thread_local! {
    /// How many more blocks this host thread gets; negative for any number.
    static LEFT: Cell<i64> = const { Cell::new(-1) };
}

/// Gives this host thread `blocks` more blocks inside `f` and then no memory, to see what the kernel makes of it.
pub fn with_few_blocks<T>(blocks: u32, f: impl FnOnce() -> T) -> T {
    LEFT.set(blocks.into());
    let result = f();
    LEFT.set(-1);
    result
}

/// Whether this host thread gets another block.
fn grants() -> bool {
    match LEFT.get() {
        0 => false,
        left => {
            LEFT.set(left - i64::from(left > 0));
            true
        }
    }
}

/// How much of the heap is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Bytes, as they were asked for.
    pub bytes: i64,
    /// Blocks.
    pub blocks: i64,
}

/// How much of the heap is in use now; zero where [`CountingHeap`] is not the allocator.
pub fn in_use() -> InUse {
    InUse { bytes: BYTES.load(Relaxed), blocks: BLOCKS.load(Relaxed) }
}

/// Counts a block, if there is one.
fn counted(layout: Layout, block: *mut u8) -> *mut u8 {
    if !block.is_null() {
        BYTES.fetch_add(layout.size() as i64, Relaxed);
        BLOCKS.fetch_add(1, Relaxed);
    }
    block
}

// SAFETY: every call goes to the system's allocator as it is; the counts touch no memory of it.
unsafe impl GlobalAlloc for CountingHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grants() {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the same.
        counted(layout, unsafe { System.alloc(layout) })
    }

    // Not by `alloc` and a fill, as the trait would: the host gives fresh pages zeroed, and most of the simulated RAM is never used.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !grants() {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the same.
        counted(layout, unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as i64, Relaxed);
        BLOCKS.fetch_sub(1, Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(block, layout) }
    }
}
