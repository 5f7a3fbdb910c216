//! The inbox's bounded queue, which is there once its CPU has started.
#![allow(unsafe_code)] // A pointer that is set once.

use crate::fifo::Ready;
use crate::inbox::Ring;
use alloc::boxed::Box;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use crossbeam_queue::ArrayQueue;

const SLOTS: usize = 256;

pub(crate) struct LateRing(AtomicPtr<ArrayQueue<Ready>>);

impl LateRing {
    pub const fn new() -> LateRing {
        LateRing(AtomicPtr::new(ptr::null_mut()))
    }

    /// Allocates the queue. The first call counts.
    pub fn open(&self) {
        if self.get().is_some() {
            return;
        }
        let ring = Box::into_raw(Box::new(ArrayQueue::new(SLOTS)));
        if self.0.compare_exchange(ptr::null_mut(), ring, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: `ring` came from `Box::into_raw` above and was not published.
            drop(unsafe { Box::from_raw(ring) });
        }
    }

    #[inline]
    fn get(&self) -> Option<&ArrayQueue<Ready>> {
        // SAFETY: the pointer is null or a queue that `open` published with Release and that is
        // freed only by Drop, which has the only reference.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}

impl Ring<Ready> for LateRing {
    #[inline]
    fn push(&self, task: Ready) -> Result<(), Ready> {
        match self.get() {
            Some(ring) => ring.push(task),
            None => Err(task),
        }
    }
    #[inline]
    fn pop(&self) -> Option<Ready> {
        self.get()?.pop()
    }
}

impl Drop for LateRing {
    fn drop(&mut self) {
        let ring = *self.0.get_mut();
        if !ring.is_null() {
            // SAFETY: the pointer came from `Box::into_raw` in `open`; nobody else has a reference.
            drop(unsafe { Box::from_raw(ring) });
        }
    }
}
