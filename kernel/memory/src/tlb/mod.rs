//! Which CPU uses which address space, and making sure that none uses a translation that is gone.
//!
//! A space's [`Root`] knows the CPUs where it is *active* (the hardware may walk its tables) and those where its cached
//! translations are *valid* though it may not be active. Whoever changes entries first clears the other CPUs' valid bits,
//! then reads the active mask; a CPU that switches in first sets its active bit, then reads its valid bit. All four are
//! sequentially consistent, so one of the two sees the other: the CPU is either asked by an interrupt to drop the
//! translation, or drops everything of the space by itself when it switches in.
//!
//! Requests lie in the CPU's mailbox (a spin lock) and are served by [`service`]. Who asks waits, with no spin lock held,
//! until each CPU's count of served requests has passed his. Where the machine's own flush reaches all
//! CPUs ([`FLUSH_IS_GLOBAL`]) there are no requests and nobody waits.
//!
//! A CPU keeps a space active after its last thread left, until another is activated; it owns the root meanwhile.

mod asid;
#[cfg(test)]
mod tests;

use crate::frames::{Frame, Kind, OutOfMemory};
use crate::machine::state;
use crate::ranks;
use crate::space::table;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use arch::paging::{self, FLUSH_IS_GLOBAL, USER_END};
use arch::{MAX_CPUS, cpu, irq};
use asid::Asids;
use base::PerCpu;
use base::percpu::Padded;
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, fence};
use executor::spin::SpinLock;
use executor::{ALL, WaitQueue};

/// More pages than this are dropped by dropping the whole space.
const PAGES_ONE_BY_ONE: usize = 32;

/// Requests that a mailbox keeps apart; more of them make one large one.
const LETTERS: usize = 4;

#[derive(Clone, Copy)]
enum What {
    Pages(VirtAddr, usize),
    Leave,
    /// Nothing but what [`service`] does anyway.
    Barrier,
    /// To forget what was fetched of instructions that have changed since.
    Refetch,
}

struct Mailbox {
    letters: [Option<(usize, What)>; LETTERS],
    /// More came than fit: drop everything of the active space.
    overflow: bool,
}

struct Cpu {
    /// The active space, owned; null for none. Only its CPU changes it.
    current: AtomicPtr<Root>,
    /// The context id in use here; zero after a new generation began.
    id: AtomicU64,
    pending: AtomicBool,
    /// The latest request made of this CPU, and the latest it has served.
    requested: AtomicU64,
    served: AtomicU64,
    mailbox: SpinLock<Mailbox>,
    queue: WaitQueue,
}

impl Cpu {
    const fn new() -> Cpu {
        Cpu {
            current: AtomicPtr::new(ptr::null_mut()),
            id: AtomicU64::new(0),
            pending: AtomicBool::new(false),
            requested: AtomicU64::new(0),
            served: AtomicU64::new(0),
            mailbox: SpinLock::new(ranks::MAILBOX, Mailbox { letters: [None; LETTERS], overflow: false }),
            queue: WaitQueue::new(),
        }
    }
}

/// The machine's translation state.
pub(crate) struct Tlb {
    asids: SpinLock<Asids>,
    generation: AtomicU64,
    requests: AtomicU64,
    cpus: PerCpu<Cpu>,
}

impl Tlb {
    pub const fn new() -> Tlb {
        Tlb {
            asids: SpinLock::new(ranks::ASIDS, Asids::new()),
            generation: AtomicU64::new(1),
            requests: AtomicU64::new(0),
            cpus: PerCpu::new([const { Padded(Cpu::new()) }; MAX_CPUS]),
        }
    }
}

/// The top of a page table, kept by its space and by each CPU where it is active. The tables and what they map are freed with it.
pub(crate) struct Root {
    table: PhysAddr,
    id: AtomicU64,
    active: AtomicU64,
    valid: AtomicU64,
    /// Frames whose release was given up half-way: they wait until no CPU can reach them.
    limbo: SpinLock<Vec<Frame>>,
    /// Where there are tables, ascending, once the space is gone.
    extent: SpinLock<Vec<(usize, usize)>>,
}

/// The whole user half.
const EVERYWHERE: [(usize, usize); 1] = [(0, USER_END.0)];

/// Gaps smaller than this are not worth a range of their own.
const NEAR: usize = 8 * PAGE_SIZE;

/// Ranges of an extent at most; a space with more is looked through as a whole.
const RANGES: usize = 32;

impl Root {
    pub fn new() -> Result<Arc<Root>, OutOfMemory> {
        let table = Frame::alloc_zeroed(Kind::Table)?.into_addr();
        // SAFETY: the frame was just taken, zeroed, and is nobody else's.
        unsafe { paging::init_root(table) };
        Ok(Arc::new(Root {
            table,
            id: AtomicU64::new(0),
            active: AtomicU64::new(0),
            valid: AtomicU64::new(0),
            limbo: SpinLock::new(ranks::RECENT, Vec::new()),
            extent: SpinLock::new(ranks::RECENT, Vec::new()),
        }))
    }

    /// Says that tables lie only over `ranges`, which ascend, and `also`. Without memory to note it all of it is looked through.
    pub fn set_extent(&self, ranges: impl Iterator<Item = (usize, usize)>, also: Option<(usize, usize)>) {
        let mut extent = self.extent.lock();
        if extent.try_reserve_exact(RANGES).is_err() {
            return;
        }
        for (start, end) in ranges {
            let len = extent.len();
            match extent.last_mut() {
                // Neighbours, and what is near, are one.
                Some(last) if start - last.1 < NEAR => last.1 = end,
                _ if len == RANGES - 1 => return extent.clear(),
                _ => extent.push((start, end)),
            }
        }
        if let Some((start, end)) = also {
            let at = extent.partition_point(|range| range.0 < start);
            extent.insert(at, (start, end));
        }
        if extent.is_empty() {
            extent.push((0, PAGE_SIZE));
        }
    }

    pub fn table(&self) -> PhysAddr {
        self.table
    }

    /// Keeps frames until nobody can reach them.
    pub fn defer(&self, frames: impl Iterator<Item = Frame>) {
        let mut limbo = self.limbo.lock();
        for frame in frames {
            if limbo.try_reserve(1).is_ok() {
                limbo.push(frame);
            } else {
                // Losing a frame is better than handing out one that a program can still reach.
                core::mem::forget(frame);
            }
        }
    }

    /// Whether this space is active on the calling CPU.
    fn is_here(&self) -> bool {
        ptr::eq(state().tlb.cpus.this().current.load(Relaxed), self)
    }

    fn asid(&self) -> u16 {
        asid::asid(self.id.load(Relaxed))
    }

    /// Makes this the active space of the calling CPU.
    #[inline]
    pub fn activate(self: &Arc<Root>) {
        if !self.is_here() {
            self.switch_in();
        }
    }

    fn switch_in(self: &Arc<Root>) {
        let tlb = &state().tlb;
        let cpu = tlb.cpus.this();
        let bit = 1 << cpu::id();
        let old = cpu.current.swap(Arc::into_raw(self.clone()).cast_mut(), Relaxed);
        self.active.fetch_or(bit, SeqCst);
        // What the program reads from here on it reads after the bit is seen (see [`Root::barrier`]).
        fence(SeqCst);
        let asid = self.choose_asid(tlb, cpu);
        let flush = match asid {
            // Number 0 is not this space's own.
            0 => true,
            _ if FLUSH_IS_GLOBAL => false,
            _ => {
                self.valid.load(SeqCst) & bit == 0 && {
                    self.valid.fetch_or(bit, SeqCst);
                    true
                }
            }
        };
        // SAFETY: the table was prepared by `init_root` and lives while `cpu.current` owns the root, which is until after
        // another was activated on this CPU.
        unsafe { paging::activate(self.table, asid, flush) };
        release(old, bit);
    }

    #[inline]
    fn choose_asid(&self, tlb: &'static Tlb, cpu: &Cpu) -> u16 {
        // Each CPU keeps the number that it uses across generations, and one must be free.
        if paging::asid_count() <= MAX_CPUS + 1 {
            return 0;
        }
        let id = self.id.load(Relaxed);
        let used = cpu.id.load(Relaxed);
        let fresh = id != 0 && id >> asid::ASID_BITS == tlb.generation.load(Relaxed);
        // The exchange fails if a new generation began since.
        if fresh && used != 0 && cpu.id.compare_exchange(used, id, SeqCst, Relaxed).is_ok() {
            return asid::asid(id);
        }
        self.renew_asid(tlb, cpu)
    }

    #[cold]
    #[inline(never)]
    fn renew_asid(&self, tlb: &'static Tlb, cpu: &Cpu) -> u16 {
        let mut asids = tlb.asids.lock();
        let old = self.id.load(Relaxed);
        let id = asids.renew(old, &tlb.generation, paging::asid_count(), |n| &state().tlb.cpus.of(n).id);
        if asid::asid(id) != asid::asid(old) {
            self.valid.store(0, SeqCst);
        }
        self.id.store(id, Relaxed);
        cpu.id.store(id, SeqCst);
        if asids.take_stale(cpu::id()) {
            paging::flush_all();
        }
        asid::asid(id)
    }

    /// Clears the valid bits of all CPUs but this one where the space is active here; then tells which others have it active.
    fn invalidate(&self) -> u64 {
        let own = if self.is_here() { 1u64 << cpu::id() } else { 0 };
        self.valid.fetch_and(own, SeqCst);
        self.active.load(SeqCst) & !(1 << cpu::id())
    }

    fn flush_here(&self, start: VirtAddr, pages: usize) {
        if !FLUSH_IS_GLOBAL && !self.is_here() {
            return;
        }
        if pages > PAGES_ONE_BY_ONE {
            return paging::flush_space(self.asid());
        }
        for page in 0..pages {
            paging::flush_page(self.asid(), VirtAddr(start.0 + page * PAGE_SIZE));
        }
    }

    /// Drops the translation of a page on this CPU only, after it came to allow more.
    pub fn flush_own(&self, addr: VirtAddr) {
        self.flush_here(addr, 1);
    }

    /// Drops the translations of `pages` pages from `start` on all CPUs, if that needs no waiting. False if it does; then nothing is
    /// promised.
    pub fn try_flush(&self, start: VirtAddr, pages: usize) -> bool {
        if !FLUSH_IS_GLOBAL && self.invalidate() != 0 {
            return false;
        }
        self.flush_here(start, pages);
        true
    }

    /// Whether [`Root::try_flush`] would succeed now.
    pub fn is_private(&self) -> bool {
        FLUSH_IS_GLOBAL || self.active.load(SeqCst) & !(1 << cpu::id()) == 0
    }

    /// Drops the translations of `pages` pages from `start` on all CPUs, after their entries were changed. Waits until all
    /// have done so.
    pub async fn flush(&self, start: VirtAddr, pages: usize) {
        self.flush_here(start, pages);
        if FLUSH_IS_GLOBAL {
            return;
        }
        let others = self.invalidate();
        if others != 0 {
            self.ask(others, What::Pages(start, pages)).await;
        }
    }

    /// Has all CPUs that the space is active on pass a full memory barrier. Waits until they have. A CPU that switches to the space
    /// after the active mask was read passes one then.
    pub async fn barrier(&self) {
        fence(SeqCst);
        let others = self.active.load(SeqCst) & !(1 << cpu::id());
        if others != 0 {
            self.ask(others, What::Barrier).await;
        }
        fence(SeqCst);
    }

    /// Has all CPUs that the space is active on pass a full memory barrier and fetch anew what they execute of it. Waits until they have.
    /// A CPU that switches to the space later does so by switching.
    pub async fn refetch(&self) {
        fence(SeqCst);
        let others = self.active.load(SeqCst) & !(1 << cpu::id());
        if others != 0 {
            self.ask(others, What::Refetch).await;
        }
        fence(SeqCst);
        // The waiting may have brought the caller to another CPU, which has done so, or switched.
        cpu::refetch();
    }

    /// Has all other CPUs let go of the space, where it is only still active. Waits until they have.
    pub async fn leave_others(&self) {
        let others = self.active.load(SeqCst) & !(1 << cpu::id());
        if others != 0 {
            self.ask(others, What::Leave).await;
        }
    }

    async fn ask(&self, cpus: u64, what: What) {
        ask(cpus, what, ptr::from_ref(self).addr()).await;
    }
}

/// Has other CPUs do something about the space whose root lies at `root`, and waits until they have.
async fn ask(cpus: u64, what: What, root: usize) {
    let tlb = &state().tlb;
    let (mut left, request) = post(tlb, cpus, what, root);
    while left != 0 {
        let cpu = tlb.cpus.of(left.trailing_zeros() as usize);
        cpu.queue.wait_until(ALL, || (cpu.served.load(Acquire) >= request).then_some(())).await;
        left &= left - 1;
    }
}

/// Puts a letter into each mailbox, and only then draws the number: a CPU that has served that number or a later one has
/// looked into its mailbox after the letter was there.
fn post(tlb: &Tlb, cpus: u64, what: What, root: usize) -> (u64, u64) {
    let each = |mut mask: u64| {
        core::iter::from_fn(move || {
            let cpu = (mask != 0).then(|| mask.trailing_zeros() as usize);
            mask &= mask.wrapping_sub(1);
            cpu
        })
    };
    for n in each(cpus) {
        let mut mailbox = tlb.cpus.of(n).mailbox.lock();
        match mailbox.letters.iter_mut().find(|letter| letter.is_none()) {
            Some(free) => *free = Some((root, what)),
            None => mailbox.overflow = true,
        }
    }
    let request = tlb.requests.fetch_add(1, SeqCst) + 1;
    for n in each(cpus) {
        let cpu = tlb.cpus.of(n);
        cpu.requested.fetch_max(request, SeqCst);
        cpu.pending.store(true, SeqCst);
        irq::send_ipi(n);
    }
    (cpus, request)
}

impl Drop for Root {
    fn drop(&mut self) {
        let extent = core::mem::take(self.extent.get_mut());
        let extent = if extent.is_empty() { &EVERYWHERE[..] } else { &extent[..] };
        // SAFETY: no CPU has the space active (each would own it), and the space is gone too, so nobody walks the tables.
        unsafe { table::free_all(self.table, extent) };
    }
}

/// The CPU with mask `bit` has put another space in the place of `old`.
fn release(old: *mut Root, bit: u64) {
    if old.is_null() {
        return;
    }
    // SAFETY: `current` held the pointer from `Arc::into_raw`, and the swap that gave it here took it out.
    let old = unsafe { Arc::from_raw(old) };
    old.active.fetch_and(!bit, SeqCst);
}

/// Makes no space active on this CPU. An idle CPU that is not in a hurry calls it, so that it is not asked to drop
/// translations that it does not need.
pub fn leave() {
    let cpu = state().tlb.cpus.this();
    let old = cpu.current.swap(ptr::null_mut(), Relaxed);
    if !old.is_null() {
        paging::deactivate();
        release(old, 1 << cpu::id());
    }
}

/// Has the CPUs of the mask `cpus` pass a full memory barrier, whatever they do. Waits until they have.
pub async fn barrier_on(cpus: u64) {
    fence(SeqCst);
    let others = cpus & !(1 << cpu::id());
    if others != 0 {
        ask(others, What::Barrier, 0).await;
    }
    fence(SeqCst);
}

/// Whether [`service`] has something to do. One load; to be checked before each return to a program.
#[inline]
pub fn pending() -> bool {
    state().tlb.cpus.this().pending.load(Relaxed)
}

/// Whether the space that [`Space::id`](crate::Space::id) gave `id` for is active on the calling CPU and [`service`] has nothing to do:
/// then activating it would change nothing. Two loads.
#[inline]
pub fn is_settled(id: usize) -> bool {
    let cpu = state().tlb.cpus.this();
    !cpu.pending.load(Relaxed) && cpu.current.load(Relaxed).addr() == id
}

/// Has the next [`is_settled`] on the calling CPU say no.
pub fn unsettle() {
    state().tlb.cpus.this().pending.store(true, Relaxed);
}

/// Does what other CPUs ask of this one. To be called on an interrupt of another CPU, and whenever [`pending`]. A space
/// that its last thread has left may be inactive afterwards.
pub fn service() {
    let cpu = state().tlb.cpus.this();
    if !cpu.pending.swap(false, SeqCst) {
        return;
    }
    fence(SeqCst);
    let request = cpu.requested.load(SeqCst);
    let (letters, overflow) = {
        let mut mailbox = cpu.mailbox.lock();
        let taken = (mailbox.letters, mailbox.overflow);
        (mailbox.letters, mailbox.overflow) = ([None; LETTERS], false);
        taken
    };
    let current = cpu.current.load(Relaxed);
    let mut leaving = false;
    if !current.is_null() {
        // SAFETY: `current` owns the root, and only this CPU, in code that is not running now, gives it up.
        let root = unsafe { &*current };
        // The space stays active while this runs, so whoever changes entries after this bit is set asks again. (Letters of
        // spaces that are not active here need nothing: their valid bits are clear.)
        root.valid.fetch_or(1 << cpu::id(), SeqCst);
        if overflow {
            root.flush_here(VirtAddr(0), usize::MAX);
            cpu::refetch();
        }
        for (_, what) in letters.iter().flatten().filter(|(addr, _)| *addr == current.addr()) {
            match *what {
                What::Pages(start, pages) => root.flush_here(start, pages),
                // Lost in an overflow it costs the one who asked some interrupts more, nothing else.
                What::Leave => leaving = true,
                What::Barrier => {}
                What::Refetch => cpu::refetch(),
            }
        }
    }
    if leaving {
        leave();
    }
    cpu.served.store(request, SeqCst);
    cpu.queue.notify_all(ALL);
}
