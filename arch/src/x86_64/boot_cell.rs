//! A value that the boot CPU finds out once and everybody reads afterwards.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// Empty until [`BootCell::set`], unchanged after it.
pub struct BootCell<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    set: AtomicBool,
}

// SAFETY: the value is written before `set` is published and never after, so sharing it is sharing `&T`.
unsafe impl<T: Send + Sync> Sync for BootCell<T> {}

impl<T> BootCell<T> {
    /// An empty cell.
    pub const fn new() -> BootCell<T> {
        BootCell { value: UnsafeCell::new(MaybeUninit::uninit()), set: AtomicBool::new(false) }
    }

    /// Fills the cell.
    ///
    /// # Safety
    /// Called once for this cell, while only the boot CPU runs.
    pub unsafe fn set(&self, value: T) -> &T {
        // SAFETY: nobody has a reference to the value yet (`get` gave none), and nobody else writes.
        let filled = unsafe { (*self.value.get()).write(value) };
        self.set.store(true, Ordering::Release);
        filled
    }

    /// The value, once there is one.
    pub fn get(&self) -> Option<&T> {
        // SAFETY: `set` was published after the value was written, and the value does not change any more.
        self.set.load(Ordering::Acquire).then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }
}
