//! Starting the other CPUs, one after the other: INIT, start-up, and a trampoline in low memory (boot.S).

use super::acpi_tables::Machine;
use super::{acpi, apic, features, idt, kmap, percpu, physmap, time};
use crate::addr::PhysAddr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Where the trampoline goes; boot.S is assembled for it, and the memory below 64 KiB is kept free.
const TRAMPOLINE: u64 = 0x8000;
/// How long a CPU may take to come up.
const PATIENCE_NS: u64 = 100_000_000;

/// What the CPU being started finds: the kernel's tables, its stack and its number.
#[unsafe(no_mangle)]
static AP_CR3: AtomicU64 = AtomicU64::new(0);
#[unsafe(no_mangle)]
static AP_STACK: AtomicUsize = AtomicUsize::new(0);
#[unsafe(no_mangle)]
static AP_NUMBER: AtomicUsize = AtomicUsize::new(0);
static MAIN: AtomicUsize = AtomicUsize::new(0);
/// How many CPUs run.
static ONLINE: AtomicUsize = AtomicUsize::new(1);

// SAFETY: boot.S defines them around the trampoline, whose bytes are copied.
unsafe extern "C" {
    static ap_trampoline: u8;
    static ap_trampoline_end: u8;
}

/// Puts the trampoline in its place.
///
/// # Safety
/// Called once by the boot CPU, with the kernel's tables active.
pub unsafe fn init(machine: &Machine) {
    if machine.cpus_len == 1 {
        return;
    }
    let start = &raw const ap_trampoline;
    let len = &raw const ap_trampoline_end as usize - start as usize;
    // SAFETY: the trampoline is shorter than a page; the page is in the low memory that is not handed out.
    unsafe { physmap::to_ptr(PhysAddr(TRAMPOLINE)).copy_from_nonoverlapping(start, len) };
}

/// See `cpu::start_others`.
pub fn start_others(main: fn(usize) -> !) -> usize {
    let Some(machine) = acpi::machine() else { return 1 };
    MAIN.store(main as usize, Ordering::Relaxed);
    AP_CR3.store(kmap::root().0, Ordering::Relaxed);
    for cpu in 1..machine.cpus_len {
        AP_STACK.store(kmap::stack_tops(cpu).0, Ordering::Relaxed);
        AP_NUMBER.store(cpu, Ordering::Release);
        if !start(cpu, machine.cpus[cpu]) {
            // Numbers are given without gaps, and a CPU that wakes late would take the place of the next.
            break;
        }
        ONLINE.fetch_add(1, Ordering::Relaxed);
    }
    online()
}

/// How many CPUs run.
pub fn online() -> usize {
    ONLINE.load(Ordering::Relaxed)
}

fn start(cpu: usize, apic_id: u32) -> bool {
    let is_online = || percpu::of(cpu).online.load(Ordering::Acquire);
    apic::send_init(apic_id);
    time::spin(10_000);
    let begin = time::now();
    // The second start-up is for CPUs that missed the first; one that runs ignores it.
    for patience in [1_000_000, PATIENCE_NS] {
        apic::send_startup(apic_id, (TRAMPOLINE >> 12) as u8);
        while time::now() - begin < patience {
            if is_online() {
                return true;
            }
            core::hint::spin_loop();
        }
    }
    false
}

/// Called by boot.S on the CPU's own stack.
///
/// # Safety
/// Once on each CPU, with interrupts masked and the kernel's tables active.
#[unsafe(no_mangle)]
unsafe extern "C" fn ap_entry(cpu: usize) -> ! {
    // SAFETY: this is CPU `cpu`, with interrupts masked, on the kernel's tables; the boot CPU did the rest.
    let main = unsafe {
        percpu::init(cpu);
        percpu::set_ist(kmap::stack_tops(cpu).1);
        idt::load();
        kmap::activate();
        features::enable();
        apic::init_cpu();
        core::mem::transmute::<usize, fn(usize) -> !>(MAIN.load(Ordering::Relaxed))
    };
    percpu::set_online();
    main(cpu)
}
