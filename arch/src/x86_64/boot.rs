//! From the loader to the kernel: what the boot CPU does, in order.

use super::boot_cell::BootCell;
use super::frames::FreeMap;
use super::{acpi, apic, calibrate, console, features, idt, ioapic, kmap, percpu, physmap, pvh, rtc, smp, time};
use crate::addr::PhysAddr;
use crate::boot::BootInfo;
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

global_asm!(include_str!("boot.S"), options(att_syntax));

// SAFETY: the image defines it with this signature (`arch::entry!` checks that).
unsafe extern "Rust" {
    fn __pollux_main(info: &'static BootInfo) -> !;
}

/// Below this, memory is not handed to the kernel: the firmware's first page, and the trampoline.
const LOW_RESERVED: u64 = 0x1_0000;
const COMMAND_LINE_MAX: usize = 4096;

struct CommandLine(UnsafeCell<[u8; COMMAND_LINE_MAX]>);

// SAFETY: written by the boot CPU before anyone reads it.
unsafe impl Sync for CommandLine {}

static COMMAND_LINE: CommandLine = CommandLine(UnsafeCell::new([0; COMMAND_LINE_MAX]));
static INFO: BootCell<BootInfo> = BootCell::new();

/// Reads memory that the loader's data lie in: the first gigabyte, which the boot tables map. Elsewhere there are zeros.
fn read_boot_memory(addr: u64, out: &mut [u8]) {
    const MAPPED: u64 = 1 << 30;
    if addr.checked_add(out.len() as u64).is_some_and(|end| end <= MAPPED) {
        let from = physmap::to_ptr(PhysAddr(addr));
        // SAFETY: mapped, as was just checked, and RAM or read-only memory of which any bytes are a value. Only the
        // boot CPU runs, and `out` is its own.
        unsafe { from.copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) };
    }
}

/// Called by boot.S on the boot stack with the physical address of the start info.
///
/// # Safety
/// Once, by the boot CPU, with interrupts masked and the boot tables active.
#[unsafe(no_mangle)]
unsafe extern "C" fn boot_entry(start_info: u64) -> ! {
    // SAFETY: this is the boot CPU, alone, with interrupts masked, on the boot tables; each step finds done what
    // it asks for.
    unsafe {
        percpu::init(0);
        idt::init();
        idt::load();
        console::init();
        features::detect();
        features::patch_smap_sites();
    }
    let Some(start) = pvh::StartInfo::new(start_info, read_boot_memory) else {
        panic!("the boot loader does not speak PVH version 1")
    };
    // SAFETY: nobody has a reference to the buffer yet.
    let line = unsafe { &mut *COMMAND_LINE.0.get() };
    let line_len = start.command_line(line);
    let initrd = start.initrd();

    let mut free = FreeMap::new();
    let (mut ram_bytes, mut ram_start, mut ram_end) = (0, u64::MAX, 0);
    for entry in start.memory_map().filter(|entry| entry.kind == pvh::RAM) {
        free.add(entry.start, entry.start + entry.len);
        ram_bytes += entry.len;
        ram_start = ram_start.min(entry.start);
        ram_end = ram_end.max(entry.start + entry.len);
    }
    let (image_start, image_end) = kmap::image();
    free.remove(0, LOW_RESERVED);
    free.remove(image_start, image_end);
    if let Some(range) = initrd {
        free.remove(range.start.0, range.start.0 + range.len);
    }
    // The loader's own data lies in memory that its map calls usable: all of it is read before memory is taken.
    let rsdp = start.rsdp();
    let mut entries = [pvh::MapEntry { start: 0, len: 0, kind: 0 }; 128];
    let mut count = 0;
    for (slot, entry) in entries.iter_mut().zip(start.memory_map()) {
        *slot = entry;
        count += 1;
    }

    // SAFETY: as above.
    let cpus = unsafe {
        kmap::init(&mut free, entries[..count].iter().copied());
        features::enable();
        let machine = acpi::init(&mut free, rsdp);
        for cpu in 0..machine.cpus_len {
            kmap::map_stacks(&mut free, cpu);
        }
        apic::init(&mut free, machine);
        ioapic::init(&mut free, machine);
        apic::init_cpu();
        calibrate::init(machine);
        time::set_wall_clock(rtc::read());
        smp::init(machine);
        machine.cpus_len
    };
    let (ranges, ranges_len) = free.into_ranges();
    let info = BootInfo {
        ranges,
        ranges_len,
        ram_bytes,
        ram_end: PhysAddr(ram_end),
        ram_start: PhysAddr(ram_start),
        command_line: &line[..line_len],
        initrd,
        cpus,
    };
    let (stack, interrupt_stacks) = kmap::stack_tops(0);
    percpu::set_ist(interrupt_stacks);
    percpu::set_online();
    // SAFETY: only this CPU runs. The stack is mapped, and nothing of the boot stack is used after the switch.
    unsafe {
        INFO.set(info);
        asm!("mov rsp, {}", "xor ebp, ebp", "call {}", "ud2", in(reg) stack, sym on_own_stack, options(noreturn));
    }
}

extern "C" fn on_own_stack() -> ! {
    let Some(info) = INFO.get() else { super::power::halt() };
    // SAFETY: `crate::entry!` defines the function with this type.
    unsafe { __pollux_main(info) }
}
