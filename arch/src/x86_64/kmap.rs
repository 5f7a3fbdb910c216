//! The kernel's own page tables: made at boot by the boot CPU, and never changed once others run. Every user space
//! shares their upper half.

use super::frames::FreeMap;
use super::percpu::IST_STACKS;
use super::physmap;
use super::pvh::{MapEntry, RAM};
use crate::addr::{PAGE_SIZE, PhysAddr};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

/// Where the image's physical address 0 would be.
pub const IMAGE_BASE: usize = 0xffff_ffff_8000_0000;
/// The areas of the CPUs.
const STACKS_BASE: usize = 0xffff_ffff_c000_0000;
const STACKS_STRIDE: usize = 0x4_0000;
const STACK_PAGES: usize = 16;
const IST_PAGES: usize = 2;
/// Device registers.
const MMIO_BASE: usize = 0xffff_ffff_e000_0000;
const MMIO_PAGES: usize = 16;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const WRITE_THROUGH: u64 = 8;
const UNCACHED: u64 = 16;
const ACCESSED_DIRTY: u64 = 0x60;
const LARGE: u64 = 0x80;
const GLOBAL: u64 = 0x100;
const NO_EXECUTE: u64 = 1 << 63;
const ADDR: u64 = 0x000f_ffff_ffff_f000;

const DATA: u64 = PRESENT | WRITABLE | ACCESSED_DIRTY | GLOBAL | NO_EXECUTE;
const CONST: u64 = PRESENT | ACCESSED_DIRTY | GLOBAL | NO_EXECUTE;
const TEXT: u64 = PRESENT | ACCESSED_DIRTY | GLOBAL;
const DEVICE: u64 = DATA | UNCACHED | WRITE_THROUGH;

static ROOT: AtomicU64 = AtomicU64::new(0);
/// How many entries of the top-level table the physical map takes.
static PHYSMAP_SLOTS: AtomicU64 = AtomicU64::new(1);
/// CPUs that have stacks.
static STACKS_MAPPED: AtomicU64 = AtomicU64::new(0);

// SAFETY: the linker script defines them; only their addresses are used.
unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

/// The physical range of the image.
pub fn image() -> (u64, u64) {
    let phys = |symbol: *const u8| (symbol as usize - IMAGE_BASE) as u64;
    (phys(&raw const __image_start), phys(&raw const __image_end))
}

/// The kernel's top-level table.
pub fn root() -> PhysAddr {
    PhysAddr(ROOT.load(Ordering::Relaxed))
}

/// Enters a mapping of one page of 4 KiB (`level` 0), 2 MiB (1) or 1 GiB (2).
fn map(free: &mut FreeMap, virt: usize, phys: u64, level: u32, flags: u64) {
    let mut table = root();
    for depth in (level..4).rev() {
        let index = virt >> (12 + 9 * depth) & 511;
        let slot = physmap::to_ptr(table + index as u64 * 8).cast::<u64>();
        // SAFETY: the tables belong to this module, and only the boot CPU changes them. `slot` lies in one.
        unsafe {
            if depth == level {
                slot.write(phys | flags | if level > 0 { LARGE } else { 0 });
            } else if slot.read() & PRESENT == 0 {
                slot.write(free.take(1).0 | PRESENT | WRITABLE | ACCESSED_DIRTY);
            }
            table = PhysAddr(slot.read() & ADDR);
        }
    }
}

/// Maps all of RAM and what shares its large pages.
fn map_ram(free: &mut FreeMap, start: u64, end: u64) {
    const MID: u64 = 2 << 20;
    const GIB: u64 = 1 << 30;
    PHYSMAP_SLOTS.fetch_max(end.div_ceil(1 << 39), Ordering::Relaxed);
    let use_gib = super::features::has(super::features::Features::GIB_PAGES);
    let (mut at, end) = (start & !(MID - 1), end.next_multiple_of(MID));
    while at < end {
        let virt = physmap::to_ptr(PhysAddr(at)) as usize;
        if use_gib && at % GIB == 0 && end - at >= GIB {
            map(free, virt, at, 2, DATA);
            at += GIB;
        } else {
            map(free, virt, at, 1, DATA);
            at += MID;
        }
    }
}

/// Makes the tables and the mappings of RAM and of the image, and switches to them.
///
/// # Safety
/// Called once by the boot CPU, on the boot tables.
pub unsafe fn init(free: &mut FreeMap, memory: impl Iterator<Item = MapEntry>) {
    ROOT.store(free.take(1).0, Ordering::Relaxed);
    for entry in memory.filter(|entry| entry.kind == RAM) {
        map_ram(free, entry.start, entry.start + entry.len);
    }
    let parts = [
        (&raw const __image_start, &raw const __text_end, TEXT),
        (&raw const __text_end, &raw const __rodata_end, CONST),
        (&raw const __rodata_end, &raw const __image_end, DATA),
    ];
    for (start, end, flags) in parts {
        for virt in (start as usize..end as usize).step_by(PAGE_SIZE) {
            map(free, virt, (virt - IMAGE_BASE) as u64, 0, flags);
        }
    }
    // The tables of the other parts exist from the start, so that user spaces may copy the top level.
    for base in [STACKS_BASE, MMIO_BASE] {
        map(free, base, 0, 0, 0);
    }
    // SAFETY: the new tables map the image, RAM and thus the stack in use at the same addresses.
    unsafe { activate() }
}

/// Switches the calling CPU to the kernel's tables.
///
/// # Safety
/// [`init`] made them, and all that the CPU uses is mapped by them.
pub unsafe fn activate() {
    // SAFETY: per the contract.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) root().0, options(nostack, preserves_flags)) };
    super::percpu::this().cr3.set(root().0);
}

/// The ends of a CPU's stacks: the kernel's, and those for interrupts.
pub fn stack_tops(cpu: usize) -> (usize, [usize; IST_STACKS]) {
    let kernel = STACKS_BASE + cpu * STACKS_STRIDE + (1 + STACK_PAGES) * PAGE_SIZE;
    (kernel, core::array::from_fn(|i| kernel + (i + 1) * (1 + IST_PAGES) * PAGE_SIZE))
}

/// The stacks of CPU `cpu`: the kernel's, and those for interrupts.
fn stacks(cpu: usize) -> impl Iterator<Item = Range<usize>> {
    let (kernel, interrupts) = stack_tops(cpu);
    let sizes = core::iter::once((kernel, STACK_PAGES)).chain(interrupts.map(|top| (top, IST_PAGES)));
    sizes.map(|(top, pages)| top - pages * PAGE_SIZE..top)
}

/// Maps the stacks of CPU `cpu`, with an unmapped page below each.
pub fn map_stacks(free: &mut FreeMap, cpu: usize) {
    for stack in stacks(cpu) {
        let frames = free.take(stack.len() / PAGE_SIZE);
        for virt in stack.clone().step_by(PAGE_SIZE) {
            map(free, virt, frames.0 + (virt - stack.start) as u64, 0, DATA);
        }
    }
    STACKS_MAPPED.fetch_max(cpu as u64 + 1, Ordering::Relaxed);
}

/// The stack that `addr` lies in; empty if in none.
pub fn stack_around(addr: usize) -> Range<usize> {
    let cpu = addr.wrapping_sub(STACKS_BASE) / STACKS_STRIDE;
    if cpu as u64 >= STACKS_MAPPED.load(Ordering::Relaxed) {
        return 0..0;
    }
    stacks(cpu).find(|stack| stack.contains(&addr)).unwrap_or(0..0)
}

/// Maps one page of device registers; the pointer is to `phys`.
///
/// # Panics
/// If there are more than a PC can have of what is asked for.
pub fn map_device(free: &mut FreeMap, phys: u64) -> *mut u32 {
    static USED: AtomicU64 = AtomicU64::new(0);
    let page = USED.fetch_add(1, Ordering::Relaxed) as usize;
    assert!(page < MMIO_PAGES, "too many interrupt controllers");
    let virt = MMIO_BASE + page * PAGE_SIZE;
    map(free, virt, phys & ADDR, 0, DEVICE);
    (virt + (phys as usize & (PAGE_SIZE - 1))) as *mut u32
}

/// Makes firmware tables reachable in the physical map, where RAM's large pages do not reach them already.
pub fn map_firmware(free: &mut FreeMap, phys: u64, len: u64) {
    const MID: u64 = 2 << 20;
    let mut at = phys & !(MID - 1);
    while at < phys.saturating_add(len) {
        if !is_mapped(at) {
            map(free, physmap::to_ptr(PhysAddr(at)) as usize, at, 1, CONST);
        }
        at += MID;
    }
}

fn is_mapped(phys: u64) -> bool {
    let virt = physmap::to_ptr(PhysAddr(phys)) as usize;
    let mut table = root();
    for depth in (1..4).rev() {
        let index = virt >> (12 + 9 * depth) & 511;
        // SAFETY: a slot of one of the kernel's tables.
        let entry = unsafe { physmap::to_ptr(table + index as u64 * 8).cast::<u64>().read() };
        if entry & PRESENT == 0 || entry & LARGE != 0 {
            return entry & PRESENT != 0;
        }
        table = PhysAddr(entry & ADDR);
    }
    true
}

/// The entries of the top-level table that the kernel uses: those of the physical map, and the last.
pub fn upper_slots() -> impl Iterator<Item = usize> {
    const FIRST: usize = 272;
    let ram = PHYSMAP_SLOTS.load(Ordering::Relaxed) as usize;
    (FIRST..FIRST + ram).chain(core::iter::once(511))
}
