//! What each CPU keeps for itself, reached through TPIDR_EL1.
//!
//! Only the CPU itself writes its record, apart from the fields that the boot CPU fills in before it
//! starts the others. So relaxed atomics are enough everywhere; they compile to plain loads and stores.

use super::fpu::FpuCpu;
use crate::MAX_CPUS;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One CPU's record.
#[repr(C, align(128))]
pub struct PerCpu {
    id: AtomicU64,
    /// Where the stack begins that vectors.S takes when the CPU has left its own.
    emergency: AtomicU64,
    /// Whose vector registers the CPU holds.
    pub fpu: FpuCpu,
    /// MPIDR_EL1 without its flags: how the GIC and PSCI call this CPU.
    pub mpidr: AtomicU64,
    /// MIDR_EL1, once the CPU runs.
    pub midr: AtomicU64,
    /// GICv2: the bit of this CPU in target lists, once the CPU runs.
    pub gic_target: AtomicU64,
}

static CPUS: [PerCpu; MAX_CPUS] = [const {
    PerCpu {
        id: AtomicU64::new(0),
        emergency: AtomicU64::new(0),
        fpu: FpuCpu::new(),
        mpidr: AtomicU64::new(0),
        midr: AtomicU64::new(0),
        gic_target: AtomicU64::new(0),
    }
}; MAX_CPUS];

impl PerCpu {
    /// Gives the CPU another emergency stack, which ends at `top`.
    pub fn set_emergency(&self, top: usize) {
        self.emergency.store(top as u64, Relaxed);
    }

    /// The CPU's number.
    #[inline(always)]
    pub fn id(&self) -> usize {
        self.id.load(Relaxed) as usize
    }
}

/// Where vectors.S finds the emergency stack.
pub const EMERGENCY: usize = core::mem::offset_of!(PerCpu, emergency);

/// The record of CPU `cpu`.
pub fn of(cpu: usize) -> &'static PerCpu {
    &CPUS[cpu]
}

/// Makes `cpu` the number of the CPU that runs this, and `emergency` the end of its emergency stack. The caller must not
/// use [`current`] itself, nor anything that may be inlined into it and does: the compiler may read the register first.
pub fn install(cpu: usize, emergency: usize) {
    let record = of(cpu);
    record.id.store(cpu as u64, Relaxed);
    record.set_emergency(emergency);
    // SAFETY: TPIDR_EL1 is used for nothing but this pointer.
    unsafe {
        asm!("msr tpidr_el1, {}", in(reg) core::ptr::from_ref(record).expose_provenance(), options(nostack, nomem))
    };
}

/// The record of the CPU that runs this.
#[inline(always)]
pub fn current() -> &'static PerCpu {
    let record: *const PerCpu;
    // SAFETY: `install` ran before anything else on this CPU, so the register holds a reference to a static. A
    // stack
    // never moves to another CPU, so the value may be reused within a function.
    unsafe { asm!("mrs {}, tpidr_el1", out(reg) record, options(nostack, nomem, pure, preserves_flags)) };
    // SAFETY: as above: it points to a static.
    unsafe { &*record }
}
