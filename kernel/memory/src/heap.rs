//! The kernel heap.
//!
//! Objects of up to 2 KiB come from slabs: frames cut into objects of one size class. Each CPU keeps a list of free
//! objects per class, which it alone touches, so that allocating and freeing are a pop and a push; objects freed on
//! another CPU than they came from simply change lists. Lists are filled from and emptied into the slabs under a lock
//! per class, and a slab whose objects are all back gives its frame back. Larger requests are whole frames.

use crate::frames::{Kind, Meta, OutOfMemory};
use crate::machine::state;
use crate::ranks;
use arch::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};
use arch::{MAX_CPUS, physmap};
use base::PerCpu;
use base::percpu::Padded;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::Relaxed;
use executor::spin::SpinLock;

/// Sizes of objects. Each is a multiple of 16.
const SIZES: [usize; 18] = [16, 32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 512, 576, 672, 816, 1024, 1360, 2048];
const LARGEST: usize = SIZES[SIZES.len() - 1];

/// The class of a size in units of 16 bytes.
const CLASS_OF: [u8; LARGEST / 16 + 1] = classes(16);

/// The alignment of a line of the cache, which some objects want. A slab begins with its page, so a class whose size is a
/// multiple of this has it.
const LINE: usize = 64;

/// The class of a size in units of a line, for objects that begin with one.
const LINED_CLASS_OF: [u8; LARGEST / LINE + 1] = classes(LINE);

/// For each size in units of `align`, the first class that is large enough and keeps to `align`.
const fn classes<const N: usize>(align: usize) -> [u8; N] {
    let mut table = [0; N];
    let (mut units, mut class) = (0, 0);
    while units < N {
        while units * align > SIZES[class] || !SIZES[class].is_multiple_of(align) {
            class += 1;
        }
        table[units] = class as u8;
        units += 1;
    }
    table
}

/// How many free objects of a class a CPU keeps at most: about two pages full.
const fn limit(class: usize) -> usize {
    let n = 2 * PAGE_SIZE / SIZES[class];
    if n > 64 { 64 } else { n }
}

/// A free object holds the next one of its list.
#[derive(Clone, Copy)]
struct Object(*mut Object);

/// One CPU's free objects of one class.
struct List {
    head: Cell<*mut Object>,
    len: Cell<usize>,
}

struct Local([List; SIZES.len()]);

// SAFETY: CPU n touches only element n of the heap's `PerCpu` (through `this`), kernel mode is never interrupted, and
// nothing here calls out while a list is changed. So no `Cell` is used by two CPUs or twice at once.
unsafe impl Sync for Local {}

/// The slabs of a class that have free objects: the first frame of a list linked through the frames' records.
struct Slabs {
    head: u32,
}

/// The heap's state.
pub(crate) struct Heap {
    local: PerCpu<Local>,
    slabs: [SpinLock<Slabs>; SIZES.len()],
}

/// What a slab's record says in `refs`: objects that are out, and where the first free one is.
#[derive(Clone, Copy)]
struct SlabState {
    out: u16,
    /// Offset in units of 16 bytes plus one; zero for none.
    first: u16,
}

impl SlabState {
    fn load(meta: &Meta) -> SlabState {
        let bits = meta.refs.load(Relaxed);
        SlabState { out: (bits >> 16) as u16, first: bits as u16 }
    }

    fn store(self, meta: &Meta) {
        meta.refs.store(u32::from(self.out) << 16 | u32::from(self.first), Relaxed);
    }
}

fn page_ptr(frame: u32) -> *mut u8 {
    physmap::to_ptr(PhysAddr(u64::from(frame) << PAGE_SHIFT))
}

fn frame_of(ptr: *const u8) -> u32 {
    (physmap::from_ptr(ptr).0 >> PAGE_SHIFT) as u32
}

/// The class that serves `layout`; `None` if it is large.
#[inline(always)]
fn class_of(layout: &Layout) -> Option<usize> {
    let class = match layout.align() {
        ..=16 => CLASS_OF.get(layout.size().div_ceil(16)),
        17..=LINE => LINED_CLASS_OF.get(layout.size().div_ceil(LINE)),
        // A class that is a power of two is aligned to its own size.
        align => CLASS_OF.get(layout.size().max(align).next_power_of_two() / 16),
    };
    class.map(|class| usize::from(*class))
}

impl Heap {
    pub const fn new() -> Heap {
        Heap {
            local: PerCpu::new(
                [const {
                    Padded(Local([const { List { head: Cell::new(ptr::null_mut()), len: Cell::new(0) } }; SIZES.len()]))
                }; MAX_CPUS],
            ),
            slabs: [const { SpinLock::new(ranks::SLABS, Slabs { head: 0 }) }; SIZES.len()],
        }
    }

    #[inline]
    fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(&layout) else { return alloc_large(layout) };
        let list = &self.local.this().0[class];
        let head = list.head.get();
        if head.is_null() {
            return self.refill(class, list);
        }
        // SAFETY: objects on a list are free, and each holds a valid link.
        list.head.set(unsafe { (*head).0 });
        list.len.set(list.len.get() - 1);
        head.cast()
    }

    /// # Safety
    /// `ptr` came from `alloc` with the same layout and is not used any more.
    #[inline]
    unsafe fn free(&self, ptr: *mut u8, layout: Layout) {
        let Some(class) = class_of(&layout) else {
            let pages = layout.size().div_ceil(PAGE_SIZE);
            return state().frames.give_run(frame_of(ptr), pages);
        };
        let list = &self.local.this().0[class];
        let object = ptr.cast::<Object>();
        // SAFETY: the object is the caller's to give, at least 16 bytes long and aligned to 16.
        unsafe { object.write(Object(list.head.get())) };
        list.head.set(object);
        list.len.set(list.len.get() + 1);
        if list.len.get() > limit(class) {
            self.spill(class, list, limit(class) / 2);
        }
    }

    /// Fills a list to half its limit and takes one object besides.
    #[cold]
    fn refill(&self, class: usize, list: &List) -> *mut u8 {
        let mut slabs = self.slabs[class].lock();
        let wanted = limit(class) / 2 + 1;
        let mut taken = 0;
        while taken < wanted {
            if slabs.head == 0 && (taken > 0 || slabs.grow(class).is_err()) {
                break;
            }
            let frame = slabs.head;
            let Some(meta) = state().frames.meta(frame) else { break };
            let mut slab = SlabState::load(meta);
            while slab.first != 0 && taken < wanted {
                let object = page_ptr(frame).wrapping_add((usize::from(slab.first) - 1) * 16).cast::<Object>();
                // SAFETY: `first` names a free object of this slab; its link is null or another free one. It goes to this
                // CPU's list, which has the same kind of links.
                unsafe {
                    let next = (*object).0;
                    slab.first = offset_code(next);
                    object.write(Object(list.head.get()));
                }
                list.head.set(object);
                slab.out += 1;
                taken += 1;
            }
            slab.store(meta);
            if slab.first == 0 {
                slabs.unlink(frame);
            }
        }
        if taken == 0 {
            return ptr::null_mut();
        }
        list.len.set(taken - 1);
        let head = list.head.get();
        // SAFETY: at least one object was put on the list.
        list.head.set(unsafe { (*head).0 });
        head.cast()
    }

    /// Gives objects of a list back to their slabs until `keep` are left.
    #[cold]
    fn spill(&self, class: usize, list: &List, keep: usize) {
        let mut slabs = self.slabs[class].lock();
        while list.len.get() > keep {
            let object = list.head.get();
            // SAFETY: the list has more than `keep` objects, so its head is one.
            list.head.set(unsafe { (*object).0 });
            list.len.set(list.len.get() - 1);
            slabs.put(object);
        }
    }

    /// Gives this CPU's free objects back to the slabs, and so empty slabs back to the frames.
    pub fn trim(&self) {
        for (class, list) in self.local.this().0.iter().enumerate() {
            self.spill(class, list, 0);
        }
    }
}

fn offset_code(object: *mut Object) -> u16 {
    if object.is_null() { 0 } else { (physmap::from_ptr(object.cast()).page_offset() / 16 + 1) as u16 }
}

impl Slabs {
    /// Cuts a new frame into objects.
    fn grow(&mut self, class: usize) -> Result<(), OutOfMemory> {
        let frames = &state().frames;
        let frame = frames.take(Kind::Heap)?;
        let meta = frames.meta(frame).ok_or(OutOfMemory)?;
        let page = page_ptr(frame);
        let mut next = ptr::null_mut::<Object>();
        for i in (0..PAGE_SIZE / SIZES[class]).rev() {
            let object = page.wrapping_add(i * SIZES[class]).cast::<Object>();
            // SAFETY: the frame was just taken; the object lies inside it, aligned to 16.
            unsafe { object.write(Object(next)) };
            next = object;
        }
        meta.class.store(class as u16, Relaxed);
        SlabState { out: 0, first: offset_code(next) }.store(meta);
        self.link(frame);
        Ok(())
    }

    fn put(&mut self, object: *mut Object) {
        let frame = frame_of(object.cast());
        let Some(meta) = state().frames.meta(frame) else { return };
        let mut slab = SlabState::load(meta);
        let was_full = slab.first == 0;
        let next = match slab.first {
            0 => ptr::null_mut(),
            first => page_ptr(frame).wrapping_add((usize::from(first) - 1) * 16).cast(),
        };
        // SAFETY: the object is free and no list has it any more.
        unsafe { object.write(Object(next)) };
        slab.first = offset_code(object);
        slab.out -= 1;
        slab.store(meta);
        if was_full {
            self.link(frame);
        }
        if slab.out == 0 {
            self.unlink(frame);
            state().frames.give(frame);
        }
    }

    fn link(&mut self, frame: u32) {
        let frames = &state().frames;
        let Some(meta) = frames.meta(frame) else { return };
        meta.next.store(self.head, Relaxed);
        meta.prev.store(0, Relaxed);
        if let Some(next) = frames.meta(self.head).filter(|_| self.head != 0) {
            next.prev.store(frame, Relaxed);
        }
        self.head = frame;
    }

    fn unlink(&mut self, frame: u32) {
        let frames = &state().frames;
        let Some(meta) = frames.meta(frame) else { return };
        let (next, prev) = (meta.next.load(Relaxed), meta.prev.load(Relaxed));
        match frames.meta(prev) {
            Some(before) if prev != 0 => before.next.store(next, Relaxed),
            _ => self.head = next,
        }
        if let Some(after) = frames.meta(next).filter(|_| next != 0) {
            after.prev.store(prev, Relaxed);
        }
    }
}

#[cold]
fn alloc_large(layout: Layout) -> *mut u8 {
    // Blocks of 2^n frames are aligned to their size, so a larger alignment asks for a larger block.
    if layout.align() > PAGE_SIZE && layout.align() > layout.size() {
        return ptr::null_mut();
    }
    match state().frames.take_run(layout.size().div_ceil(PAGE_SIZE), Kind::Heap) {
        Ok(frame) => page_ptr(frame),
        Err(OutOfMemory) => ptr::null_mut(),
    }
}

/// The kernel's global allocator: `#[global_allocator] static HEAP: KernelHeap = KernelHeap;` in the image.
/// [`crate::frames::init`] must have run before anything is allocated.
pub struct KernelHeap;

// SAFETY: `alloc` hands out each free object or run of frames once until it comes back through `dealloc`; objects are as
// large and as aligned as their class, which `class_of` chooses for the layout in both directions.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        state().heap.alloc(layout)
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is `free`'s.
        unsafe { state().heap.free(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        let same = match (class_of(&layout), class_of(&new)) {
            (Some(old), Some(new)) => old == new,
            (None, None) => layout.size().div_ceil(PAGE_SIZE) == size.div_ceil(PAGE_SIZE),
            _ => false,
        };
        if same {
            return ptr;
        }
        let Some(to) = NonNull::new(state().heap.alloc(new)) else { return ptr::null_mut() };
        // SAFETY: the old block holds `layout.size()` bytes and the new one `size`; they are distinct. The old one is
        // freed once, with its layout.
        unsafe {
            to.as_ptr().copy_from_nonoverlapping(ptr, layout.size().min(size));
            state().heap.free(ptr, layout);
        }
        to.as_ptr()
    }
}

/// Gives free objects that this CPU keeps back to the frames where that empties a slab.
pub fn trim() {
    state().heap.trim();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{init, stats};
    use alloc::vec::Vec;
    use arch::sim;

    fn machine() {
        init(sim::boot(4, 16 << 20, [1; 32]));
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn objects_are_aligned_and_do_not_overlap() {
        machine();
        let mut held: Vec<(usize, Layout)> = Vec::new();
        for size in (1..5000).step_by(61) {
            for align in [1, 8, 16, 64, 256, 4096] {
                let layout = layout(size, align);
                let ptr = state().heap.alloc(layout);
                assert!(!ptr.is_null());
                assert_eq!(ptr as usize % align, 0);
                // SAFETY: just allocated with this size.
                unsafe { ptr.write_bytes(held.len() as u8, size) };
                held.push((ptr as usize, layout));
            }
        }
        for (i, (ptr, layout)) in held.iter().enumerate() {
            // SAFETY: allocated above, not freed yet, and initialised.
            let bytes = unsafe { core::slice::from_raw_parts(*ptr as *const u8, layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == i as u8));
        }
        for (ptr, layout) in held {
            // SAFETY: allocated above with this layout.
            unsafe { KernelHeap.dealloc(ptr as *mut u8, layout) };
        }
        trim();
        assert_eq!(stats().heap, 0);
    }

    #[test]
    fn a_million_objects_leave_the_frames_where_they_were() {
        machine();
        let before = stats();
        let mut held = Vec::new();
        for i in 0..1_000_000usize {
            let layout = layout(16 + i * 7 % 900, 8);
            sim::set_cpu(i % 4);
            held.push((state().heap.alloc(layout), layout));
            if held.len() > 500 {
                let (ptr, layout) = held.swap_remove(i % 500);
                sim::set_cpu(i / 3 % 4);
                // SAFETY: allocated above with this layout.
                unsafe { KernelHeap.dealloc(ptr, layout) };
            }
        }
        for (ptr, layout) in held {
            // SAFETY: allocated above with this layout.
            unsafe { KernelHeap.dealloc(ptr, layout) };
        }
        for cpu in 0..4 {
            sim::set_cpu(cpu);
            trim();
        }
        assert_eq!(stats(), before);
    }

    #[test]
    fn growing_keeps_the_contents() {
        machine();
        // SAFETY: each pointer is used with the layout it was allocated with.
        unsafe {
            let mut ptr = KernelHeap.alloc(layout(10, 1));
            ptr.copy_from(b"0123456789".as_ptr(), 10);
            let mut size = 10;
            for new in [16, 100, 3000, 4000, 70_000, 20] {
                ptr = KernelHeap.realloc(ptr, layout(size, 1), new);
                assert_eq!(core::slice::from_raw_parts(ptr, 10), b"0123456789");
                size = new;
            }
            KernelHeap.dealloc(ptr, layout(size, 1));
        }
        trim();
        assert_eq!(stats().heap, 0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        machine();
        assert!(state().heap.alloc(layout(64 << 20, 8)).is_null());
        assert!(state().heap.alloc(layout(5 << 20, 8)).is_null());
    }
}
