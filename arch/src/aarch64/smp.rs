//! Starting the other CPUs by PSCI.

use super::{gic, percpu, power, tables, time};
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{MIDR_EL1, Readable};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

/// What a starting CPU reads with its MMU off; boot.S knows the layout.
#[repr(C, align(64))]
struct SecondaryBoot {
    tables: AtomicU64,
    first_stack_top: AtomicU64,
    stack_stride: AtomicU64,
}

#[unsafe(no_mangle)]
static SECONDARY_BOOT: SecondaryBoot =
    SecondaryBoot { tables: AtomicU64::new(0), first_stack_top: AtomicU64::new(0), stack_stride: AtomicU64::new(0) };

/// The function that started CPUs run, as an address.
static MAIN: AtomicUsize = AtomicUsize::new(0);
/// CPUs that run.
static RUNNING: AtomicUsize = AtomicUsize::new(1);
/// CPUs that the machine has.
static PRESENT: AtomicUsize = AtomicUsize::new(1);

/// How long a CPU may take to appear.
const PATIENCE_NS: u64 = 5_000_000_000;

// SAFETY: boot.S defines it; only its address is used.
unsafe extern "C" {
    static secondary_start: u8;
}

/// Fills in what starting CPUs read, and what this module needs of the boot CPU.
pub fn prepare(cpus: usize) {
    PRESENT.store(cpus, Relaxed);
    percpu::of(0).midr.store(MIDR_EL1.get(), Relaxed);
    SECONDARY_BOOT.tables.store(tables::root().0, Relaxed);
    SECONDARY_BOOT.first_stack_top.store(tables::stack_top(0) as u64, Relaxed);
    SECONDARY_BOOT.stack_stride.store(tables::STACK_STRIDE as u64, Relaxed);
    // SAFETY: cleans one line to memory, since it is read past the caches, and orders that.
    unsafe { asm!("dc cvac, {}", "dsb sy", in(reg) &SECONDARY_BOOT, options(nostack)) };
}

/// Starts every other CPU, one after the other, on `main`. Returns how many run.
pub fn start_others(main: fn(usize) -> !) -> usize {
    MAIN.store(main as usize, Release);
    let entry = tables::image_phys(&raw const secondary_start).0;
    let present = PRESENT.load(Relaxed);
    for cpu in 1..present {
        let mpidr = percpu::of(cpu).mpidr.load(Relaxed);
        let before = RUNNING.load(Acquire);
        // Numbers have no gaps, so the first CPU that does not come ends it.
        if !power::cpu_on(mpidr, entry, cpu as u64) {
            break;
        }
        let deadline = time::now() + PATIENCE_NS;
        while RUNNING.load(Acquire) == before {
            if time::now() > deadline {
                return before;
            }
            core::hint::spin_loop();
        }
    }
    RUNNING.load(Acquire)
}

#[unsafe(no_mangle)]
extern "C" fn boot_secondary(cpu: usize) -> ! {
    percpu::install(cpu, tables::emergency_top(cpu));
    run_secondary(cpu)
}

/// Not inlined: `percpu::current` may be read early within a function, but not before it.
#[inline(never)]
fn run_secondary(cpu: usize) -> ! {
    super::paging::deactivate();
    percpu::current().midr.store(MIDR_EL1.get(), Relaxed);
    gic::init_cpu();
    time::init_cpu();
    let main = MAIN.load(Acquire);
    barrier::isb(barrier::SY);
    // SAFETY: `start_others` stored a function of this type before it started this CPU.
    let main = unsafe { core::mem::transmute::<usize, fn(usize) -> !>(main) };
    RUNNING.fetch_add(1, Release);
    main(cpu)
}
