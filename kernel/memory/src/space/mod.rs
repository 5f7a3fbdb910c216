//! Address spaces.
//!
//! A space has one asynchronous lock over its areas and page tables. Faults take it for reading and work on different
//! pages, or race for one, through atomic entries; what changes areas takes it for writing. Under it come
//! the locks of objects and of the frame allocator. No spin lock of a space is held across an `.await`.
//!
//! Entries own a count of the frame they name. A frame that an entry let go is freed only once no CPU can reach it
//! (see [`crate::tlb`] and `gather`). An entry that allows nothing in an area that allows something is being replaced:
//! whoever meets it tries again.

mod access;
mod advise;
mod area;
mod areas;
mod brk;
mod dump;
mod fault;
mod fork;
mod gather;
mod info;
mod map;
mod object;
mod protect;
mod remap;
mod shared;
mod sorted;
mod supplied;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod unmap;

pub use advise::Advice;
pub use area::Flags;
pub use areas::MAX_AREAS;
pub use fault::FaultError;
pub use info::{AreaInfo, AreaUsage, Totals};
pub use map::{MapRequest, Place};
pub use object::{Identity, Mappings, Object, SharedAnonymous};
pub use remap::Remap;
pub use supplied::Supplied;

use crate::frames::{Kind, OutOfMemory};
use crate::ranks;
use crate::tlb::Root;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::USER_END;
use areas::Areas;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicIsize, AtomicU32};
use executor::spin::SpinLock;
use executor::{RwLock, WriteGuard};
use gather::Gather;
use table::Tables;

/// The lowest address that a program may map (vm.mmap_min_addr).
pub const MIN_ADDR: usize = 0x1_0000;

/// Pages that a long operation handles between two chances for others to run.
const STEPS: u32 = 512;

/// What a program may have, in bytes (getrlimit(2)); `usize::MAX` for no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// RLIMIT_AS.
    pub address_space: usize,
    /// RLIMIT_DATA.
    pub data: usize,
    /// RLIMIT_STACK.
    pub stack: usize,
    /// RLIMIT_MEMLOCK; `usize::MAX` also for CAP_IPC_LOCK.
    pub memlock: usize,
}

impl Limits {
    /// None at all.
    pub const NONE: Limits =
        Limits { address_space: usize::MAX, data: usize::MAX, stack: usize::MAX, memlock: usize::MAX };
}

/// Where the parts of a program lie. Execve decides it, random offsets included, so that a simulation can be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Mappings without a wish go below this address, highest first.
    pub mmap_top: VirtAddr,
    /// Where the heap of brk(2) begins.
    pub brk_start: VirtAddr,
    /// The initial stack pointer: the area that holds it is called `[stack]`.
    pub stack: VirtAddr,
}

impl Layout {
    /// Addresses for a program whose heap begins at `brk_start`: the stack ends `stack_offset` below the top, and mappings begin
    /// below the room for a stack of `stack_limit` (128 MiB to five sixths of all addresses), its gap, and
    /// `mmap_offset`. All are rounded to pages.
    pub fn new(brk_start: VirtAddr, stack_limit: usize, stack_offset: usize, mmap_offset: usize) -> Layout {
        let page = |bytes: usize| bytes & !(PAGE_SIZE - 1);
        let top = USER_END.0;
        let gap = stack_limit.saturating_add(area::GUARD_GAP + stack_offset).clamp(128 << 20, top / 6 * 5);
        Layout {
            mmap_top: VirtAddr(page(top - gap).saturating_sub(page(mmap_offset))),
            brk_start: VirtAddr(brk_start.0.next_multiple_of(PAGE_SIZE)),
            stack: VirtAddr(page(top - stack_offset)),
        }
    }
}

struct Inner {
    areas: Areas,
    tables: Tables,
    layout: Layout,
    brk: usize,
    /// A range without areas whose tables were kept, since what was unmapped is often mapped again. One lowest table at most
    /// lies over it.
    kept: Option<(usize, usize)>,
    /// There may be tables or pages where no area is.
    stray: bool,
    /// What a call that could not wait has left to be flushed. Until it is, no page is mapped and no area changed.
    unsettled: Option<Box<Gather>>,
    /// mlockall(2) with MCL_FUTURE.
    lock_future: bool,
    /// As of the last call that brought them; what a growing stack is held to.
    limits: Limits,
}

/// The area in which the last fault was, as far as a simple fault needs it.
#[derive(Clone, Copy)]
struct Recent {
    start: usize,
    end: usize,
    flags: Flags,
}

/// The memory of a process. Shared by its threads, and by those who borrow it for a moment (/proc).
pub struct Space {
    me: Weak<Space>,
    root: Arc<Root>,
    inner: RwLock<Inner>,
    /// Private anonymous areas only. Filled with the lock held for reading; cleared by who has it for writing.
    recent: SpinLock<Option<Recent>>,
    /// Mapped frames by kind.
    anonymous: AtomicIsize,
    file: AtomicIsize,
    /// What programs have said of it, which is nothing to the memory itself.
    marks: AtomicU32,
}

bitflags::bitflags! {
    /// What a program says of its address space for others to heed. A fork copies it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Marks: u32 {
        /// Others of the same identity may look into it (prctl(2) PR_SET_DUMPABLE).
        const DUMPABLE = 1;
        /// Registered for membarrier(2) MEMBARRIER_CMD_GLOBAL_EXPEDITED.
        const GLOBAL_BARRIERS = 2;
        /// Registered for membarrier(2) MEMBARRIER_CMD_PRIVATE_EXPEDITED.
        const PRIVATE_BARRIERS = 4;
        /// Registered for membarrier(2) MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE.
        const CORE_BARRIERS = 8;
        /// Registered for membarrier(2) MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ.
        const SEQUENCE_BARRIERS = 16;
    }
}

impl Space {
    /// An empty space.
    pub fn new(layout: Layout) -> Result<Arc<Space>, OutOfMemory> {
        let tables = Tables::new()?;
        Ok(Arc::new_cyclic(|me| Space {
            me: me.clone(),
            root: tables.root.clone(),
            inner: RwLock::new(Inner {
                areas: Areas::new(),
                tables,
                layout,
                brk: layout.brk_start.0,
                kept: None,
                stray: false,
                unsettled: None,
                lock_future: false,
                limits: Limits { stack: 8 << 20, ..Limits::NONE },
            }),
            recent: SpinLock::new(ranks::RECENT, None),
            anonymous: AtomicIsize::new(0),
            file: AtomicIsize::new(0),
            marks: AtomicU32::new(Marks::DUMPABLE.bits()),
        }))
    }

    /// What was said of it.
    pub fn marks(&self) -> Marks {
        Marks::from_bits_truncate(self.marks.load(Relaxed))
    }

    /// Says something of it, or takes it back.
    pub fn mark(&self, marks: Marks, on: bool) {
        if on {
            self.marks.fetch_or(marks.bits(), Relaxed);
        } else {
            self.marks.fetch_and(!marks.bits(), Relaxed);
        }
    }

    /// Waits until each CPU that runs in this space has passed a full memory barrier since the call (membarrier(2)).
    pub async fn barrier(&self) {
        self.root.barrier().await;
    }

    /// The same, and what those CPUs and the caller's execute from then on is what memory held before (MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE).
    pub async fn refetch(&self) {
        self.root.refetch().await;
    }

    /// Makes this the space that programs on the calling CPU run in and that user copies go to. Costs next to nothing where
    /// it is already.
    #[inline]
    pub fn activate(&self) {
        self.root.activate();
    }

    /// Tells the space from all others as long as it lives; for [`crate::tlb::is_settled`].
    #[inline]
    pub fn id(&self) -> usize {
        alloc::sync::Arc::as_ptr(&self.root).addr()
    }

    /// Frames that are mapped, for choosing whom to kill when memory is short.
    pub fn rss_pages(&self) -> usize {
        (self.anonymous.load(Relaxed) + self.file.load(Relaxed)).max(0) as usize
    }

    /// Sets what growing stacks are held to (setrlimit(2)). Calls that take limits set it as well. Waits for the space.
    pub async fn set_limits(&self, limits: &Limits) {
        self.write().await.limits = *limits;
    }

    async fn write(&self) -> WriteGuard<'_, Inner> {
        let mut inner = self.inner.write().await;
        *self.recent.lock() = None;
        if let Some(mut gather) = inner.unsettled.take() {
            gather.flush().await;
        }
        inner
    }

    /// As [`Space::write`], if that needs no waiting.
    fn try_write(&self) -> Option<WriteGuard<'_, Inner>> {
        let inner = self.inner.try_write().filter(|inner| inner.unsettled.is_none())?;
        *self.recent.lock() = None;
        Some(inner)
    }

    /// Waits until what a call that did not wait has changed holds on all CPUs.
    pub async fn settle(&self) {
        drop(self.write().await);
    }

    #[inline]
    fn count(&self, kind: Kind, by: isize) {
        let counter = if kind == Kind::Anonymous { &self.anonymous } else { &self.file };
        counter.fetch_add(by, Relaxed);
    }
}

impl Drop for Space {
    /// Tells the root, which may be active on a CPU for a while, where there are tables to be freed.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if !inner.stray {
            let areas = inner.areas.iter().map(|area| (area.start, area.end));
            self.root.set_extent(areas, inner.kept);
        }
    }
}

/// Rounds a length up to pages; `None` if it is zero or does not fit.
fn round_len(len: usize) -> Option<usize> {
    let rounded = len.checked_add(PAGE_SIZE - 1)? & !(PAGE_SIZE - 1);
    (rounded != 0).then_some(rounded)
}

/// The end of `len` bytes from `start`, rounded up to pages; `None` if that lies outside the user half.
fn range_end(start: usize, len: usize) -> Option<usize> {
    let end = start.checked_add(round_len(len)?)?;
    (end <= USER_END.0).then_some(end)
}
