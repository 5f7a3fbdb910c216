//! The kernel's half of the address space. Built once by the boot CPU; nothing changes it later, so nothing
//! locks it.
//!
//! ```text
//! 0xffff_0000_0000_0000  all RAM, data; the image's text and constants read-only
//! 0xffff_fe80_0000_0000  devices
//! 0xffff_ff00_0000_0000  kernel stacks, each above a gap of the same size, with an emergency stack in the middle of it
//! 0xffff_ffff_8000_0000  the image: text, constants, data
//! ```

use super::physmap;
use crate::MAX_CPUS;
use crate::addr::{PAGE_SIZE, PhysAddr};
use crate::boot::PhysRange;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Binary logarithm of the size of a kernel stack. The same bit of an address tells stack from gap.
pub const STACK_SHIFT: u32 = 16;
const STACK_SIZE: usize = 1 << STACK_SHIFT;
/// Distance between the ends of two CPUs' stacks.
pub const STACK_STRIDE: usize = 2 * STACK_SIZE;
/// The stack that tells of the overflow of the other. It lies in the gap, so what goes wrong on it counts as an
/// overflow too, and starts it afresh.
const EMERGENCY_SIZE: usize = 4 * PAGE_SIZE;
const STACKS: usize = 0xffff_ff00_0000_0000;
const DEVICES: usize = 0xffff_fe80_0000_0000;

const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 2;
const ADDR: u64 = 0xffff_ffff_f000;
/// Accessed, inner shareable, normal memory, not for users.
const NORMAL: u64 = VALID | 1 << 10 | 3 << 8;
/// Accessed, device nGnRE (attribute 1).
const DEVICE: u64 = VALID | 1 << 10 | 1 << 2 | NO_EXEC;
const READ_ONLY: u64 = 1 << 7;
const NO_USER_EXEC: u64 = 1 << 54;
const NO_EXEC: u64 = 1 << 53 | NO_USER_EXEC;

const TEXT: u64 = NORMAL | READ_ONLY | NO_USER_EXEC;
const CONSTANTS: u64 = NORMAL | READ_ONLY | NO_EXEC;
const DATA: u64 = NORMAL | NO_EXEC;

/// CPUs that have stacks.
static STACKS_MAPPED: AtomicUsize = AtomicUsize::new(0);
static DEVICES_END: AtomicUsize = AtomicUsize::new(DEVICES);
static ROOT: AtomicU64 = AtomicU64::new(0);
static IMAGE_PHYS: AtomicU64 = AtomicU64::new(0);

// SAFETY: the linker script defines them; only their addresses are used.
unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
    static id_l1: [AtomicU64; 512];
    static switch_tables_body: u8;
    fn switch_tables(root: u64, body: u64);
}

/// Pages of RAM that boot code takes before the kernel's allocator exists.
pub struct Early {
    /// The next free page.
    pub next: PhysAddr,
    /// One past the last page that may be taken.
    pub end: PhysAddr,
}

impl Early {
    /// A zeroed page.
    ///
    /// # Panics
    /// If the boot memory is used up: the machine is too small to boot.
    pub fn page(&mut self) -> PhysAddr {
        let page = self.next;
        assert!(page < self.end, "not enough memory to boot");
        self.next = page + PAGE_SIZE as u64;
        // SAFETY: nobody else has the page, and boot.S or the final tables map it.
        unsafe { physmap::zero_page(page) };
        page
    }
}

fn table_at(table: PhysAddr) -> &'static [AtomicU64; 512] {
    // SAFETY: tables come from Early::page, which gives mapped, zeroed, page-aligned memory that is never freed.
    unsafe { &*physmap::to_ptr(table).cast() }
}

/// Maps `len` bytes at `virt` to `phys`, with the largest blocks that fit. Everything is page-aligned.
fn map(early: &mut Early, mut virt: usize, mut phys: PhysAddr, len: u64, bits: u64) {
    let end = phys + len;
    while phys < end {
        let mut table = PhysAddr(ROOT.load(Relaxed));
        let mut shift = 39;
        loop {
            let size = 1u64 << shift;
            let entry = &table_at(table)[virt >> shift & 511];
            let fits = (virt as u64 | phys.0) & (size - 1) == 0 && end - phys >= size;
            if shift == 12 || shift <= 30 && fits && entry.load(Relaxed) == 0 {
                let page = if shift == 12 { TABLE_OR_PAGE } else { 0 };
                entry.store(phys.0 | bits | page, Relaxed);
                virt += size as usize;
                phys = phys + size;
                break;
            }
            if entry.load(Relaxed) == 0 {
                entry.store(early.page().0 | VALID | TABLE_OR_PAGE, Relaxed);
            }
            table = PhysAddr(entry.load(Relaxed) & ADDR);
            shift -= 9;
        }
    }
}

/// The physical address of something in the image.
pub fn image_phys<T>(item: *const T) -> PhysAddr {
    let offset = item.addr() - (&raw const __image_start).addr();
    PhysAddr(IMAGE_PHYS.load(Relaxed) + offset as u64)
}

/// Remembers where the image lies. Comes before everything else here.
pub fn set_image_phys(image: PhysAddr) {
    IMAGE_PHYS.store(image.0, Relaxed);
}

/// The RAM that the image takes, rounded up to pages.
pub fn image_range() -> PhysRange {
    let start = image_phys(&raw const __image_start);
    PhysRange { start, len: image_phys(&raw const __image_end) - start }
}

/// Builds the final tables for `ram` and `cpus` stacks and switches to them.
pub fn build(early: &mut Early, ram: &[PhysRange], cpus: usize) {
    ROOT.store(early.page().0, Relaxed);
    let image = &raw const __image_start;
    let (text, constants, data, end) = (
        image_phys(image),
        image_phys(&raw const __text_end),
        image_phys(&raw const __rodata_end),
        image_phys(&raw const __image_end),
    );
    for (from, to, bits) in [(text, constants, TEXT), (constants, data, CONSTANTS), (data, end, DATA)] {
        map(early, image.addr() + (from - text) as usize, from, to - from, bits);
    }
    for range in ram {
        let range_end = range.start + range.len;
        // The image's read-only part must not be writable at its other address.
        for (from, to, bits) in [
            (range.start, text.min(range_end), DATA),
            (text.max(range.start), data.min(range_end), CONSTANTS),
            (data.max(range.start), range_end, DATA),
        ] {
            if from < to {
                map(early, physmap::BASE + from.0 as usize, from, to - from, bits);
            }
        }
    }
    for cpu in 0..cpus.min(MAX_CPUS) {
        for stack in stacks(cpu) {
            for virt in stack.step_by(PAGE_SIZE) {
                let page = early.page();
                map(early, virt, page, PAGE_SIZE as u64, DATA);
            }
        }
    }
    STACKS_MAPPED.store(cpus.min(MAX_CPUS), Relaxed);
    let body = image_phys(&raw const switch_tables_body);
    // SAFETY: both tables map the image, the stack in use and all RAM touched so far alike; the body is in the
    // identity map.
    unsafe { switch_tables(ROOT.load(Relaxed), body.0) };
    // SAFETY: boot.S made this table; the identity map has a single entry there.
    let identity = unsafe { &id_l1 };
    for entry in identity {
        let bits = entry.load(Relaxed);
        if bits != 0 {
            entry.store(bits | READ_ONLY | NO_USER_EXEC, Relaxed);
        }
    }
}

/// Maps a device's registers; boot time only.
pub fn map_device(early: &mut Early, phys: PhysAddr, len: u64) -> *mut u8 {
    let start = phys.page_floor();
    let len = (phys.page_offset() as u64 + len).next_multiple_of(PAGE_SIZE as u64);
    let virt = DEVICES_END.fetch_add(len as usize + PAGE_SIZE, Relaxed);
    map(early, virt, start, len, DEVICE);
    // SAFETY: a barrier; the entries are seen by the next access.
    unsafe { core::arch::asm!("dsb ishst", "isb", options(nostack)) };
    (virt + phys.page_offset()) as *mut u8
}

/// The kernel's top table.
pub fn root() -> PhysAddr {
    PhysAddr(ROOT.load(Relaxed))
}

/// A top table for the user half that maps nothing. Used while no user space is current.
pub fn empty_root() -> PhysAddr {
    image_phys(&raw const EMPTY)
}

/// One page of zeros.
#[repr(align(4096))]
struct EmptyTable(#[expect(dead_code, reason = "only the hardware reads it")] [u64; 512]);
static EMPTY: EmptyTable = EmptyTable([0; 512]);

/// One past the stack of CPU `cpu`.
pub fn stack_top(cpu: usize) -> usize {
    STACKS + (cpu + 1) * STACK_STRIDE
}

/// One past the emergency stack of CPU `cpu`.
pub fn emergency_top(cpu: usize) -> usize {
    stack_top(cpu) - STACK_SIZE - (STACK_SIZE - EMERGENCY_SIZE) / 2
}

/// The stacks of CPU `cpu`.
fn stacks(cpu: usize) -> [Range<usize>; 2] {
    let (kernel, emergency) = (stack_top(cpu), emergency_top(cpu));
    [kernel - STACK_SIZE..kernel, emergency - EMERGENCY_SIZE..emergency]
}

/// The stack that `addr` lies in; empty if in none.
pub fn stack_around(addr: usize) -> Range<usize> {
    let cpu = addr.wrapping_sub(STACKS) / STACK_STRIDE;
    if cpu >= STACKS_MAPPED.load(Relaxed) {
        return 0..0;
    }
    stacks(cpu).into_iter().find(|stack| stack.contains(&addr)).unwrap_or(0..0)
}
