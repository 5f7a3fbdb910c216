//! The interrupt controller, GICv2 or GICv3 (Arm IHI 0048, IHI 0069).
//!
//! The distributor is set up by the boot CPU before others run and is written later only through registers where
//! each bit stands for itself, so nothing locks it. Everything else is private to each CPU.

use super::devtree::Gic;
use super::percpu;
use super::tables::{self, Early};
use aarch64_cpu::asm::barrier;
use arm_gic::gicv2::GicV2;
use arm_gic::gicv2::registers::{Gicc, Gicd as GicdV2};
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicRedistributorIterator, SgiTarget, SgiTargetGroup};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering::Relaxed};

/// The software-generated interrupt by which CPUs call each other.
pub const IPI: u32 = 1;
/// INTIDs from here on mean that nothing is pending.
const SPECIAL: u32 = 1020;

/// 0 (none), 2 or 3.
static VERSION: AtomicU8 = AtomicU8::new(0);
static GICD: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// GICv2: the CPU interface; GICv3: the first redistributor.
static SECOND: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static TIMER_IRQ: AtomicU32 = AtomicU32::new(0);

// GICv2 registers that are used with every interrupt, from the start of their block.
const GICC_IAR: usize = 0x0c;
const GICC_EOIR: usize = 0x10;
const GICD_ICENABLER: usize = 0x180;
const GICD_ITARGETSR: usize = 0x800;
const GICD_SGIR: usize = 0xf00;
/// The part of GICC_IAR that is the INTID; the rest says who sent an SGI and goes back with it.
const IAR_INTID: u32 = 0x3ff;

fn register(base: &AtomicPtr<u8>, offset: usize) -> *mut u32 {
    base.load(Relaxed).wrapping_add(offset).cast()
}

/// The v2 driver, for set-up.
fn v2() -> GicV2<'static> {
    // SAFETY: both blocks are mapped for good. Set-up is done by one CPU at a time (`init`, then `init_cpu` in
    // the order in
    // which CPUs start), and later accesses write registers that have no state in common.
    unsafe { GicV2::new(GICD.load(Relaxed).cast::<GicdV2>(), SECOND.load(Relaxed).cast::<Gicc>()) }
}

/// The v3 distributor; `None` if there is no controller.
fn v3() -> Option<GicDistributor<'static>> {
    let gicd = NonNull::new(GICD.load(Relaxed).cast::<Gicd>())?;
    // SAFETY: as in `v2`.
    Some(GicDistributor::new(unsafe { UniqueMmioPointer::new(gicd) }))
}

/// Maps the controller and sets up what CPUs share.
pub fn init(early: &mut Early, gic: Option<Gic>, timer_irq: u32) {
    TIMER_IRQ.store(timer_irq, Relaxed);
    let (version, first, second) = match gic {
        None => return,
        Some(Gic::V2 { gicd, gicc }) => (2, gicd, gicc),
        Some(Gic::V3 { gicd, gicr }) => (3, gicd, gicr),
    };
    GICD.store(tables::map_device(early, first.start, first.len), Relaxed);
    SECOND.store(tables::map_device(early, second.start, second.len), Relaxed);
    VERSION.store(version, Relaxed);
    if version == 3
        && let Some(mut gicd) = v3()
    {
        gicd.enable_all_interrupts(false);
        gicd.configure_default_settings();
    }
}

/// Sets up what belongs to the CPU that runs this, with its timer and IPI enabled.
pub fn init_cpu() {
    let timer = TIMER_IRQ.load(Relaxed);
    match VERSION.load(Relaxed) {
        2 => {
            let mut gic = v2();
            gic.setup();
            // SAFETY: a mapped register, banked for each CPU; reads as the bit of the reader.
            let target = unsafe { register(&GICD, GICD_ITARGETSR).read_volatile() } & 0xff;
            percpu::current().gic_target.store(target.into(), Relaxed);
            for irq in [timer, IPI] {
                if let Some(id) = private(irq) {
                    // SGIs are always enabled on some controllers; an error says nothing new.
                    let _ = gic.enable_interrupt(id, true);
                }
            }
        }
        3 => init_cpu_v3(timer),
        _ => {}
    }
}

fn init_cpu_v3(timer: u32) {
    GicCpuInterface::enable_system_register_el1();
    let mpidr = percpu::current().mpidr.load(Relaxed);
    let Some(base) = NonNull::new(SECOND.load(Relaxed).cast::<GicrSgi>()) else { return };
    // SAFETY: the device tree gives the whole region, mapped for good; each CPU touches its own block but for the
    // read-only GICR_TYPER by which it finds it.
    let Ok(blocks) = (unsafe { GicRedistributorIterator::new(base) }) else { return };
    for mut block in blocks {
        if block.typer().core_mpidr() != mpidr {
            continue;
        }
        // Fails if the CPU is awake already.
        let _ = block.mark_core_awake();
        block.configure_default_settings();
        for irq in [timer, IPI] {
            if let Some(id) = private(irq) {
                let _ = block.enable_interrupt(id, true);
            }
        }
    }
    GicCpuInterface::set_priority_mask(0xff);
    GicCpuInterface::enable_group1(true);
}

fn private(irq: u32) -> Option<IntId> {
    match irq {
        0..16 => Some(IntId::sgi(irq)),
        16..32 => Some(IntId::ppi(irq - 16)),
        _ => None,
    }
}

/// Enables a device's interrupt and routes it to the CPU that runs this (the boot CPU).
pub fn enable(irq: u32) {
    if !(32..SPECIAL).contains(&irq) {
        return;
    }
    let id = IntId::spi(irq - 32);
    match VERSION.load(Relaxed) {
        2 => {
            let target = percpu::current().gic_target.load(Relaxed) as u8;
            let register = GICD.load(Relaxed).wrapping_add(GICD_ITARGETSR + irq as usize);
            // SAFETY: a mapped register that may be accessed by bytes.
            unsafe { register.write_volatile(target) };
            let _ = v2().enable_interrupt(id, true);
        }
        3 => {
            if let Some(mut gicd) = v3() {
                let _ = gicd.set_routing(id, Some(percpu::current().mpidr.load(Relaxed)));
                let _ = gicd.enable_interrupt(id, true);
            }
        }
        _ => {}
    }
}

/// Disables a device's interrupt that nobody asked for.
pub fn disable(irq: u32) {
    match VERSION.load(Relaxed) {
        // SAFETY: a mapped register in which writing zeros changes nothing.
        2 => unsafe {
            register(&GICD, GICD_ICENABLER + irq as usize / 32 * 4).write_volatile(1 << (irq % 32));
        },
        3 if (32..SPECIAL).contains(&irq) => {
            if let Some(mut gicd) = v3() {
                let _ = gicd.enable_interrupt(IntId::spi(irq - 32), false);
            }
        }
        _ => {}
    }
}

/// Acknowledges the most urgent pending interrupt, lets `quiet` make its source stop asserting it, and ends
/// it. Returns
/// its INTID; `None` if nothing is pending.
#[inline]
pub fn take(quiet: impl FnOnce(u32)) -> Option<u32> {
    match VERSION.load(Relaxed) {
        2 => {
            // SAFETY: mapped registers, banked for each CPU.
            let iar = unsafe { register(&SECOND, GICC_IAR).read_volatile() };
            let irq = iar & IAR_INTID;
            if irq >= SPECIAL {
                return None;
            }
            quiet(irq);
            // SAFETY: as above; the interrupt was acknowledged.
            unsafe { register(&SECOND, GICC_EOIR).write_volatile(iar) };
            Some(irq)
        }
        3 => {
            let id = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)?;
            let irq = u32::from(id);
            quiet(irq);
            GicCpuInterface::end_interrupt(id, InterruptGroup::Group1);
            Some(irq)
        }
        _ => None,
    }
}

/// The timer's INTID.
pub fn timer_irq() -> u32 {
    TIMER_IRQ.load(Relaxed)
}

/// Raises [`IPI`] on CPU `cpu`.
pub fn send_ipi(cpu: usize) {
    let target = percpu::of(cpu);
    // What was written before is seen by who is called.
    barrier::dsb(barrier::ISHST);
    match VERSION.load(Relaxed) {
        2 => {
            let mask = target.gic_target.load(Relaxed) as u32;
            // SAFETY: a mapped register; every write is one complete request.
            unsafe { register(&GICD, GICD_SGIR).write_volatile(mask << 16 | IPI) };
        }
        3 => {
            let mpidr = target.mpidr.load(Relaxed);
            let affinity = |shift: u32| (mpidr >> shift) as u8;
            let target = SgiTarget::List {
                affinity3: affinity(32),
                affinity2: affinity(16),
                affinity1: affinity(8),
                target_list: 1 << (affinity(0) & 15),
            };
            // Fails only for an INTID that is no SGI.
            let _ = GicCpuInterface::send_sgi(IntId::sgi(IPI), target, SgiTargetGroup::CurrentGroup1);
            barrier::isb(barrier::SY);
        }
        _ => {}
    }
}
