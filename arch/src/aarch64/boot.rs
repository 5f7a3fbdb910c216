//! From boot.S to the kernel's main function: reads the device tree, maps memory, brings up console,
//! interrupts and clock, and tells the kernel what is there.

use super::devtree::{Machine, Ranges};
use super::tables::{self, Early};
use super::{console, features, gic, percpu, physmap, power, random, smp, time};
use crate::MAX_CPUS;
use crate::addr::{PAGE_SIZE, PhysAddr};
use crate::boot::{BootInfo, MAX_RANGES, PhysRange};
use aarch64_cpu::registers::{MPIDR_EL1, Readable};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::Relaxed;

global_asm!(include_str!("boot.S"), options(raw));

// SAFETY: the image defines it with this signature (`arch::entry!` checks that), and it may be called once memory is as boot.S
// leaves it, which is before any Rust runs: so it is safe.
unsafe extern "Rust" {
    safe fn __pollux_main(info: &'static BootInfo) -> !;
}

// SAFETY: boot.S defines it; only its address is used.
unsafe extern "C" {
    static boot_stack_top: u8;
}

/// What a device tree begins with.
const FDT_MAGIC: u32 = 0xd00d_feed;
/// The largest device tree that the boot protocol allows.
const FDT_MAX: u32 = 2 << 20;
/// MPIDR_EL1 without the bits that are no affinity.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// The boot information; written once, before anything reads it.
struct InfoCell(UnsafeCell<MaybeUninit<BootInfo>>);
// SAFETY: only `boot_primary` writes it, alone, before other CPUs and the kernel run.
unsafe impl Sync for InfoCell {}
static INFO: InfoCell = InfoCell(UnsafeCell::new(MaybeUninit::uninit()));

#[unsafe(no_mangle)]
extern "C" fn boot_primary(tree: PhysAddr, image: PhysAddr) -> ! {
    // Until there are tables, there is no other stack than the one in use.
    percpu::install(0, (&raw const boot_stack_top).addr());
    boot_machine(tree, image)
}

/// Not inlined: `percpu::current` may be read early within a function, but not before it.
#[inline(never)]
fn boot_machine(tree: PhysAddr, image: PhysAddr) -> ! {
    tables::set_image_phys(image);
    features::detect();
    let (tree_range, bytes) = tree_bytes(tree);
    let Some(machine) = Machine::read(bytes) else { power::halt() };

    let mut taken = machine.reserved;
    taken.push(tables::image_range());
    if let Some(range) = machine.initrd {
        taken.push(page_cover(range));
    }
    let kept = taken;
    taken.push(page_cover(tree_range));
    let mut early = boot_memory(&subtract(&machine.memory, taken), image);
    let first = early.next;

    let cpus = order_cpus(&machine);
    tables::build(&mut early, machine.memory.as_slice(), cpus);
    percpu::current().set_emergency(tables::emergency_top(0));
    super::paging::deactivate();
    if let Some((range, irq)) = machine.uart {
        console::init(tables::map_device(&mut early, range.start, range.len), irq);
    }
    power::init(machine.psci);
    time::init(machine.rtc.map(|range| tables::map_device(&mut early, range.start, range.len)));
    gic::init(&mut early, machine.gic, machine.timer_irq);
    gic::init_cpu();
    if let Some((_, irq)) = machine.uart {
        gic::enable(irq);
    }
    random::init(&machine.seeds);

    let command_line = keep(&mut early, machine.command_line);
    let mut used = kept;
    used.push(PhysRange { start: first, len: early.next - first });
    let free = subtract(&machine.memory, used);
    let memory = machine.memory.as_slice();
    let mut ranges = [PhysRange::default(); MAX_RANGES];
    ranges[..free.as_slice().len()].copy_from_slice(free.as_slice());
    let info = BootInfo {
        ranges,
        ranges_len: free.as_slice().len(),
        ram_bytes: memory.iter().map(|range| range.len).sum(),
        ram_end: memory.last().map_or(PhysAddr(0), |range| range.start + range.len),
        ram_start: memory.first().map_or(PhysAddr(0), |range| range.start),
        command_line,
        initrd: machine.initrd,
        cpus,
    };
    // SAFETY: see InfoCell.
    let info = unsafe { (*INFO.0.get()).write(info) };
    smp::prepare(cpus);
    // SAFETY: the stack of CPU 0 is mapped and unused; nothing of the boot stack is needed any more.
    unsafe {
        asm!(
            "mov sp, {stack}",
            "mov x29, xzr",
            "mov x30, xzr",
            "b {main}",
            stack = in(reg) tables::stack_top(0),
            main = sym start_kernel,
            in("x0") info,
            options(noreturn)
        )
    }
}

extern "C" fn start_kernel(info: &'static BootInfo) -> ! {
    __pollux_main(info)
}

/// The device tree, through the first mapping of boot.S. Halts if there is none.
fn tree_bytes(tree: PhysAddr) -> (PhysRange, &'static [u8]) {
    let header = physmap::to_ptr(tree).cast::<[u32; 2]>();
    if !tree.0.is_multiple_of(8) {
        power::halt();
    }
    // SAFETY: boot.S mapped the gigabyte in which the loader put the tree.
    let [magic, size] = unsafe { header.read() }.map(u32::from_be);
    let in_gigabyte = (tree.0 & (1 << 30) - 1) + u64::from(size) <= 1 << 30;
    if magic != FDT_MAGIC || size > FDT_MAX || !in_gigabyte {
        power::halt();
    }
    // SAFETY: as above; nobody writes to the tree.
    let bytes = unsafe { core::slice::from_raw_parts(header.cast(), size as usize) };
    (PhysRange { start: tree, len: size.into() }, bytes)
}

/// The largest free range that boot.S has mapped (the gigabyte of the image).
fn boot_memory(free: &Ranges, image: PhysAddr) -> Early {
    let gigabyte = image.0 & !((1 << 30) - 1);
    let mut best = Early { next: PhysAddr(0), end: PhysAddr(0) };
    for range in free.as_slice() {
        let next = PhysAddr(range.start.0.max(gigabyte));
        let end = PhysAddr((range.start + range.len).0.min(gigabyte + (1 << 30)));
        if next < end && end - next > best.end - best.next {
            best = Early { next, end };
        }
    }
    best
}

/// Fills in the CPUs' affinities, the boot CPU first. Returns their number.
fn order_cpus(machine: &Machine<'_>) -> usize {
    let boot = MPIDR_EL1.get() & AFFINITY;
    percpu::of(0).mpidr.store(boot, Relaxed);
    let mut cpus = 1;
    if machine.psci.is_some() {
        for &mpidr in &machine.cpus[..machine.cpus_len] {
            if mpidr != boot && cpus < MAX_CPUS {
                percpu::of(cpus).mpidr.store(mpidr, Relaxed);
                cpus += 1;
            }
        }
    }
    cpus
}

/// A copy of `bytes` in boot memory.
fn keep(early: &mut Early, bytes: &[u8]) -> &'static [u8] {
    if bytes.is_empty() {
        return b"";
    }
    let start = early.page();
    for _ in 1..bytes.len().div_ceil(PAGE_SIZE) {
        early.page();
    }
    // SAFETY: the pages follow one another, are mapped, and belong to nobody else.
    unsafe {
        let copy = core::slice::from_raw_parts_mut(physmap::to_ptr(start), bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

/// The whole pages that `range` touches.
fn page_cover(range: PhysRange) -> PhysRange {
    let start = range.start.page_floor();
    let end = (range.start + range.len).page_ceil().unwrap_or(range.start);
    PhysRange { start, len: end - start }
}

/// The whole pages of `memory` (ascending) that nothing in `taken` touches.
fn subtract(memory: &Ranges, mut taken: Ranges) -> Ranges {
    taken.sort();
    let mut free = Ranges::new();
    for range in memory.as_slice() {
        let end = (range.start + range.len).page_floor();
        let mut at = range.start.page_ceil().unwrap_or(end);
        for hole in taken.as_slice().iter().copied().map(page_cover) {
            if hole.start > at && at < end {
                free.push(PhysRange { start: at, len: hole.start.min(end) - at });
            }
            at = at.max(hole.start + hole.len);
        }
        if at < end {
            free.push(PhysRange { start: at, len: end - at });
        }
    }
    free
}
