//! Frames that were unmapped and may go only when no CPU can reach them any more.

use crate::frames::Frame;
use crate::tlb::Root;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::addr::{PAGE_SIZE, VirtAddr};

const INLINE: usize = 16;
/// Frames that are gathered at most before translations are dropped.
const MOST: usize = 1024;

/// Collects unmapped frames; [`Gather::flush`] drops the translations, waits for the other CPUs, and lets them go. What is
/// still gathered when this is dropped is kept until the space is gone.
pub(crate) struct Gather {
    root: Arc<Root>,
    few: [Option<Frame>; INLINE],
    few_len: usize,
    many: Vec<Frame>,
    /// The pages whose translations have to go; empty if `start > end`.
    start: usize,
    end: usize,
}

impl Gather {
    pub fn new(root: &Arc<Root>) -> Gather {
        Gather {
            root: root.clone(),
            few: [const { None }; INLINE],
            few_len: 0,
            many: Vec::new(),
            start: usize::MAX,
            end: 0,
        }
    }

    /// The entry at `addr` was changed.
    pub fn touch(&mut self, addr: usize) {
        self.start = self.start.min(addr);
        self.end = self.end.max(addr + PAGE_SIZE);
    }

    /// The entry at `addr` that owned `frame` is gone.
    pub fn add(&mut self, addr: usize, frame: Frame) {
        self.touch(addr);
        if self.few_len < INLINE {
            self.few[self.few_len] = Some(frame);
            self.few_len += 1;
        } else if self.many.try_reserve(1).is_ok() {
            self.many.push(frame);
        } else {
            self.root.defer(core::iter::once(frame));
        }
    }

    /// Whether it is time for [`Gather::flush`].
    pub fn is_full(&self) -> bool {
        self.many.len() >= MOST
    }

    /// Makes all CPUs drop the translations, then lets the frames go.
    pub async fn flush(&mut self) {
        if let Some((start, pages)) = self.range() {
            self.root.flush(start, pages).await;
        }
        self.release();
    }

    /// As [`Gather::flush`], without waiting; false if that is not enough, and then all is still to be done.
    pub fn try_flush(&mut self) -> bool {
        let done = self.range().is_none_or(|(start, pages)| self.root.try_flush(start, pages));
        if done {
            self.release();
        }
        done
    }

    fn range(&self) -> Option<(VirtAddr, usize)> {
        (self.start < self.end).then(|| (VirtAddr(self.start), (self.end - self.start) / PAGE_SIZE))
    }

    /// Lets the frames go, which nobody can reach any more.
    fn release(&mut self) {
        (self.start, self.end) = (usize::MAX, 0);
        for frame in &mut self.few[..self.few_len] {
            *frame = None;
        }
        self.few_len = 0;
        self.many.clear();
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        if self.start < self.end {
            let few = self.few.iter_mut().filter_map(Option::take);
            self.root.defer(few.chain(self.many.drain(..)));
        }
    }
}
