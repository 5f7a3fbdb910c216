//! Physical memory in frames of one page.
//!
//! Free memory lies in blocks (`buddy`), in front of which each CPU keeps some single frames.
//! A frame in use has a count of owners in its record; [`Frame`] is one owner. A CPU's cache has a
//! spin lock that only that CPU takes, unless memory is so short that another empties it.

mod buddy;
mod frame;
mod meta;

pub use buddy::MAX_ORDER;
pub use frame::Frame;
pub use meta::Kind;
pub(crate) use meta::Meta;

use crate::machine::state;
use crate::ranks;
use arch::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr};
use arch::boot::BootInfo;
use arch::{MAX_CPUS, physmap};
use base::percpu::Padded;
use base::{Errno, Error, PerCpu};
use buddy::{Buddy, Records};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicIsize, AtomicPtr, AtomicU32, AtomicUsize};
use executor::spin::SpinLock;

/// There is no free memory (ENOMEM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl From<OutOfMemory> for Errno {
    fn from(_: OutOfMemory) -> Errno {
        Errno::ENOMEM
    }
}

impl From<OutOfMemory> for Error {
    fn from(_: OutOfMemory) -> Error {
        Error::Errno(Errno::ENOMEM)
    }
}

/// Frames that a CPU keeps at most, and how many it takes or gives back at a time.
const CACHE: usize = 64;
const BATCH: usize = 32;

/// Whether the simulator wants a request for memory to fail.
#[inline(always)]
fn is_refused() -> bool {
    #[cfg(not(target_os = "none"))]
    return arch::sim::strikes(arch::sim::Chance::Memory);
    #[cfg(target_os = "none")]
    false
}

struct Cache {
    frames: [u32; CACHE],
    len: usize,
}

struct Local {
    cache: SpinLock<Cache>,
    /// Frames in use by kind, counted where they were taken or freed: only the sum over all CPUs means something.
    used: [AtomicIsize; Kind::COUNT],
}

impl Local {
    const fn new() -> Local {
        Local {
            cache: SpinLock::new(ranks::CACHE, Cache { frames: [0; CACHE], len: 0 }),
            used: [const { AtomicIsize::new(0) }; Kind::COUNT],
        }
    }

    /// Only this CPU writes its counters, so a load and a store will do.
    #[inline]
    fn count(&self, kind: Kind, by: isize) {
        let used = &self.used[kind as usize];
        used.store(used.load(Relaxed).wrapping_add(by), Relaxed);
    }
}

/// All frames of the machine.
pub(crate) struct Frames {
    meta: AtomicPtr<Meta>,
    meta_len: AtomicUsize,
    base: AtomicU32,
    /// Frames that were handed over at boot, without the records.
    managed: AtomicUsize,
    ram_bytes: AtomicUsize,
    /// What allocations on behalf of programs leave free.
    reserve: AtomicUsize,
    /// The reserve has been used since somebody looked.
    pressed: AtomicBool,
    buddy: SpinLock<Buddy>,
    local: PerCpu<Local>,
}

impl Frames {
    pub const fn new() -> Frames {
        Frames {
            meta: AtomicPtr::new(core::ptr::null_mut()),
            meta_len: AtomicUsize::new(0),
            base: AtomicU32::new(0),
            managed: AtomicUsize::new(0),
            ram_bytes: AtomicUsize::new(0),
            reserve: AtomicUsize::new(0),
            pressed: AtomicBool::new(false),
            buddy: SpinLock::new(ranks::BUDDY, Buddy::new()),
            local: PerCpu::new([const { Padded(Local::new()) }; MAX_CPUS]),
        }
    }

    #[inline]
    fn records(&self) -> Records {
        let meta = self.meta.load(Relaxed);
        if meta.is_null() {
            return Records { meta: &[], base: 0 };
        }
        // SAFETY: `init` stored the pointer to `meta_len` valid records, which live for ever and hold only atomics. It
        // runs before other CPUs start, so Relaxed loads see both.
        let meta = unsafe { core::slice::from_raw_parts(meta, self.meta_len.load(Relaxed)) };
        Records { meta, base: self.base.load(Relaxed) }
    }

    /// The record of frame number `frame`; `None` if it is not RAM.
    #[inline]
    pub fn meta(&self, frame: u32) -> Option<&'static Meta> {
        self.records().get(frame)
    }

    fn init(&self, info: &BootInfo) {
        let base = (info.ram_start.0 >> PAGE_SHIFT) as u32;
        let frames = (info.ram_end.0 >> PAGE_SHIFT) as usize - base as usize;
        let bytes = (frames * size_of::<Meta>()).next_multiple_of(PAGE_SIZE);
        // Without a range for the records there is no memory, and every allocation says so.
        let Some(home) = info.ranges().iter().position(|range| range.len >= bytes as u64) else { return };
        let meta = physmap::to_ptr(info.ranges()[home].start);
        // SAFETY: the range is free RAM that nothing uses yet and at least `bytes` long; all zeros is a valid `Meta`, and
        // pages are aligned enough for it.
        unsafe { meta.write_bytes(0, bytes) };
        self.base.store(base, Relaxed);
        self.meta_len.store(frames, Relaxed);
        self.meta.store(meta.cast(), Relaxed);
        let records = self.records();
        let mut buddy = self.buddy.lock();
        for (i, range) in info.ranges().iter().enumerate() {
            let skip = if i == home { bytes as u64 } else { 0 };
            let mut first = (range.start.0 + skip) >> PAGE_SHIFT;
            let end = (range.start.0 + range.len) >> PAGE_SHIFT;
            // Number 0 stands for no frame.
            first = first.max(1);
            if end > first {
                buddy.give_range(records, first as u32, (end - first) as usize);
            }
        }
        let managed = buddy.free_frames();
        self.managed.store(managed, Relaxed);
        self.ram_bytes.store(info.ram_bytes as usize, Relaxed);
        // A sixty-fourth of memory, 512 KiB to 32 MiB.
        self.reserve.store((managed / 64).clamp(128, 8192), Relaxed);
    }

    /// Takes a single frame, with one owner.
    #[inline]
    pub(crate) fn take(&self, kind: Kind) -> Result<u32, OutOfMemory> {
        if kind.spares_reserve() && is_refused() {
            return Err(OutOfMemory);
        }
        let local = self.local.this();
        let frame = {
            let mut cache = local.cache.lock();
            if cache.len == 0 {
                drop(cache);
                self.refill(local, kind)?
            } else {
                cache.len -= 1;
                let len = cache.len;
                cache.frames[len % CACHE]
            }
        };
        self.claim(local, frame, kind);
        Ok(frame)
    }

    #[inline]
    fn claim(&self, local: &Local, frame: u32, kind: Kind) {
        if let Some(meta) = self.meta(frame) {
            meta.refs.store(1, Relaxed);
            meta.kind.store(kind as u8, Relaxed);
        }
        local.count(kind, 1);
    }

    /// Fills this CPU's cache and takes one frame besides.
    #[cold]
    fn refill(&self, local: &Local, kind: Kind) -> Result<u32, OutOfMemory> {
        let records = self.records();
        let reserve = self.reserve.load(Relaxed);
        let spared = if kind.spares_reserve() { reserve } else { 0 };
        for attempt in 0..2 {
            if attempt == 1 {
                self.collect();
            }
            let mut cache = local.cache.lock();
            let mut buddy = self.buddy.lock();
            if buddy.free_frames() <= spared {
                continue;
            }
            let Some(frame) = buddy.take(records, 0) else { continue };
            // Ascending, so that frames that are taken one after another lie one after another.
            while cache.len < BATCH && buddy.free_frames() > reserve {
                let Some(more) = buddy.take(records, 0) else { break };
                let len = cache.len;
                cache.frames[len] = more;
                cache.len += 1;
            }
            if buddy.free_frames() < reserve {
                self.press();
            }
            let len = cache.len;
            cache.frames[..len].reverse();
            return Ok(frame);
        }
        Err(OutOfMemory)
    }

    /// The reserve is being used: the thread that this CPU runs will see to it before it goes back to its program.
    fn press(&self) {
        self.pressed.store(true, Relaxed);
        executor::disturb();
    }

    /// Gives all CPUs' cached frames back to the free blocks.
    fn collect(&self) {
        let records = self.records();
        for local in self.local.iter() {
            let mut cache = local.cache.lock();
            let mut buddy = self.buddy.lock();
            for i in 0..cache.len {
                buddy.give(records, cache.frames[i], 0);
            }
            cache.len = 0;
        }
    }

    /// Frees a single frame that has no owner any more.
    #[inline]
    pub(crate) fn give(&self, frame: u32) {
        let local = self.local.this();
        if let Some(meta) = self.meta(frame) {
            local.count(Kind::from_u8(meta.kind.load(Relaxed)), -1);
            meta.kind.store(Kind::Free as u8, Relaxed);
        }
        let mut cache = local.cache.lock();
        if cache.len == CACHE {
            self.spill(&mut cache);
        }
        let len = cache.len;
        cache.frames[len % CACHE] = frame;
        cache.len += 1;
    }

    #[cold]
    fn spill(&self, cache: &mut Cache) {
        let records = self.records();
        let mut buddy = self.buddy.lock();
        // The oldest go: what was freed last is likely still in the processor's cache.
        for frame in &cache.frames[..BATCH] {
            buddy.give(records, *frame, 0);
        }
        cache.frames.copy_within(BATCH.., 0);
        cache.len -= BATCH;
    }

    /// Takes `count` neighbouring frames for the kernel. They have no [`Frame`] and are given back by
    /// [`Frames::give_run`].
    pub(crate) fn take_run(&self, count: usize, kind: Kind) -> Result<u32, OutOfMemory> {
        let order = count.next_power_of_two().ilog2() as usize;
        if count == 0 || order > MAX_ORDER {
            return Err(OutOfMemory);
        }
        let records = self.records();
        let reserve = self.reserve.load(Relaxed);
        let take = || {
            let mut buddy = self.buddy.lock();
            let frame = buddy.take(records, order)?;
            Some((frame, buddy.free_frames() < reserve))
        };
        let taken = take().or_else(|| {
            self.collect();
            take()
        });
        let (frame, pressed) = taken.ok_or(OutOfMemory)?;
        if pressed {
            self.press();
        }
        if count < 1 << order {
            self.buddy.lock().give_range(records, frame + count as u32, (1 << order) - count);
        }
        for frame in frame..frame + count as u32 {
            if let Some(meta) = self.meta(frame) {
                meta.kind.store(kind as u8, Relaxed);
            }
        }
        self.local.this().count(kind, count as isize);
        Ok(frame)
    }

    /// Gives back what [`Frames::take_run`] gave (or a part of it).
    pub(crate) fn give_run(&self, frame: u32, count: usize) {
        let Some(meta) = self.meta(frame) else { return };
        self.local.this().count(Kind::from_u8(meta.kind.load(Relaxed)), -(count as isize));
        for frame in frame..frame + count as u32 {
            if let Some(meta) = self.meta(frame) {
                meta.kind.store(Kind::Free as u8, Relaxed);
            }
        }
        self.buddy.lock().give_range(self.records(), frame, count);
    }

    /// One owner more.
    #[inline]
    fn share(&self, frame: u32) {
        if let Some(meta) = self.meta(frame) {
            meta.refs.fetch_add(1, Relaxed);
        }
    }

    /// One owner less.
    #[inline]
    fn release(&self, frame: u32) {
        let Some(meta) = self.meta(frame) else { return };
        // A sole owner cannot gain company, so most frees need no read-modify-write. Acquire: what other owners did
        // with the frame happens before it is used anew.
        if meta.refs.load(Acquire) == 1 || meta.refs.fetch_sub(1, Release) == 1 {
            meta.refs.load(Acquire);
            meta.refs.store(0, Relaxed);
            self.give(frame);
        }
    }

    fn used(&self, kind: Kind) -> usize {
        let sum: isize = self.local.iter().map(|local| local.used[kind as usize].load(Relaxed)).sum();
        sum.max(0) as usize
    }

    fn free(&self) -> usize {
        let cached: usize = self.local.iter().map(|local| local.cache.lock().len).sum();
        cached + self.buddy.lock().free_frames()
    }
}

/// Takes over the machine's free memory. To be called once, by the boot CPU, before anything allocates.
pub fn init(info: &'static BootInfo) {
    #[cfg(not(target_os = "none"))]
    crate::machine::reset();
    state().frames.init(info);
}

/// How memory is used, in frames of [`PAGE_SIZE`] bytes, for /proc/meminfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Memory that can be used at all (without the image and the frames' records).
    pub total: usize,
    /// Memory in nobody's use.
    pub free: usize,
    /// Page tables.
    pub tables: usize,
    /// Private memory of programs.
    pub anonymous: usize,
    /// Contents of files and shared anonymous memory.
    pub file: usize,
    /// The kernel's heap.
    pub heap: usize,
    /// Other memory of the kernel.
    pub kernel: usize,
    /// What programs cannot have.
    pub reserve: usize,
}

/// How memory is used now.
pub fn stats() -> Stats {
    let frames = &state().frames;
    Stats {
        total: frames.managed.load(Relaxed),
        free: frames.free(),
        tables: frames.used(Kind::Table),
        anonymous: frames.used(Kind::Anonymous),
        file: frames.used(Kind::File),
        heap: frames.used(Kind::Heap),
        kernel: frames.used(Kind::Kernel),
        reserve: frames.reserve.load(Relaxed),
    }
}

/// To be asked before a program makes the kernel allocate about `bytes` for a new object: ENOMEM if that would
/// reach into the reserve, from which small allocations of the kernel are served that cannot fail.
pub fn admit(bytes: usize) -> Result<(), OutOfMemory> {
    if is_refused() {
        return Err(OutOfMemory);
    }
    let frames = &state().frames;
    let needed = frames.reserve.load(Relaxed) + bytes.div_ceil(PAGE_SIZE);
    // The blocks alone are looked at first; the caches count only when these are nearly used up.
    if frames.buddy.lock().free_frames() > needed || frames.free() > needed {
        return Ok(());
    }
    Err(OutOfMemory)
}

/// Whether the kernel lives on its reserve: somebody has to give memory back before programs go on.
pub fn is_pressed() -> bool {
    let frames = &state().frames;
    if !frames.pressed.load(Relaxed) {
        return false;
    }
    let pressed = frames.free() < frames.reserve.load(Relaxed);
    if !pressed {
        frames.pressed.store(false, Relaxed);
    }
    pressed
}

/// Bytes of RAM that can be used.
pub fn total_bytes() -> usize {
    state().frames.managed.load(Relaxed) << PAGE_SHIFT
}

/// Gives the kernel's memory between `start` and `end` to the allocator: the initial file system once it is
/// unpacked.
///
/// # Safety
/// The range is page-aligned RAM that was in none of the boot ranges, and nothing uses it any more.
pub unsafe fn donate(start: PhysAddr, len: u64) {
    let frames = &state().frames;
    let (first, count) = ((start.0 >> PAGE_SHIFT) as u32, (len >> PAGE_SHIFT) as usize);
    if frames.meta(first).is_some() && count > 0 && frames.meta(first + count as u32 - 1).is_some() {
        frames.buddy.lock().give_range(frames.records(), first, count);
        frames.managed.fetch_add(count, Relaxed);
    }
}

#[cfg(test)]
mod tests;
