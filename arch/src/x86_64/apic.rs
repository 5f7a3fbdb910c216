//! The local interrupt controller of each CPU: by x2APIC registers where the CPU has them, else by memory.
//! A CPU touches only its own.

use super::acpi_tables::Machine;
use super::features::{Features, cpuid, has};
use super::frames::FreeMap;
use super::kmap;
use core::sync::atomic::{AtomicPtr, Ordering};
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

/// Vectors. Device lines start at `LINE_BASE`, one for each GSI.
pub const LINE_BASE: u8 = 0x30;
/// The last vector that a device line may have.
pub const LINE_LAST: u8 = 0xdf;
/// The CPU's timer.
pub const TIMER: u8 = 0xe0;
/// A call from another CPU.
pub const IPI: u8 = 0xe1;
/// What the controller reports when an interrupt went away; not to be acknowledged.
pub const SPURIOUS: u8 = 0xff;

/// Registers by their number in the memory form, divided by 16 (SDM vol. 3, table 11-6).
#[derive(Clone, Copy)]
enum Register {
    Id = 0x02,
    TaskPriority = 0x08,
    EndOfInterrupt = 0x0b,
    Spurious = 0x0f,
    Command = 0x30,
    CommandHigh = 0x31,
    Timer = 0x32,
    LocalInt0 = 0x35,
    LocalInt1 = 0x36,
    Error = 0x37,
    InitialCount = 0x38,
    CurrentCount = 0x39,
    Divide = 0x3e,
}

const MSR_APIC_BASE: u32 = 0x1b;
const MSR_TSC_DEADLINE: u32 = 0x6e0;
const MSR_X2APIC: u32 = 0x800;
const MASKED: u32 = 1 << 16;
const DEADLINE_MODE: u32 = 2 << 17;
const NMI_DELIVERY: u32 = 4 << 8;
const PENDING: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;

static REGISTERS: AtomicPtr<u32> = AtomicPtr::new(core::ptr::null_mut());

fn read(register: Register) -> u32 {
    if has(Features::X2APIC) {
        // SAFETY: the CPU is in x2APIC mode, and the register exists there.
        return unsafe { Msr::new(MSR_X2APIC + register as u32).read() as u32 };
    }
    // SAFETY: `init` mapped the registers, 4 of them words in every 16.
    unsafe { REGISTERS.load(Ordering::Relaxed).add(register as usize * 4).read_volatile() }
}

fn write(register: Register, value: u32) {
    // SAFETY: as in `read`; the callers' values are what the manual asks for.
    unsafe {
        if has(Features::X2APIC) {
            Msr::new(MSR_X2APIC + register as u32).write(u64::from(value));
        } else {
            REGISTERS.load(Ordering::Relaxed).add(register as usize * 4).write_volatile(value);
        }
    }
}

/// The number of the calling CPU, before its controller is set up.
pub fn initial_id() -> u32 {
    cpuid(1, 0).ebx >> 24
}

/// Maps the registers and silences the old controllers.
///
/// # Safety
/// Called once by the boot CPU.
pub unsafe fn init(free: &mut FreeMap, machine: &Machine) {
    if !has(Features::X2APIC) {
        REGISTERS.store(kmap::map_device(free, machine.local_apic), Ordering::Relaxed);
    }
    // Both 8259s: all lines masked.
    for port in [0x21, 0xa1] {
        // SAFETY: the mask registers of a PC's two controllers.
        unsafe { Port::<u8>::new(port).write(0xff) };
    }
}

/// Switches on the calling CPU's controller.
///
/// # Safety
/// [`init`] ran; the interrupt table is loaded.
pub unsafe fn init_cpu() {
    const ENABLE: u64 = 1 << 11;
    const X2APIC_MODE: u64 = 1 << 10;
    let mode = if has(Features::X2APIC) { ENABLE | X2APIC_MODE } else { ENABLE };
    // SAFETY: leaves the base as it is; the mode is one that the CPU has.
    unsafe {
        let mut base = Msr::new(MSR_APIC_BASE);
        let value = base.read();
        base.write(value | mode);
    }
    write(Register::TaskPriority, 0);
    write(Register::LocalInt0, MASKED);
    write(Register::LocalInt1, NMI_DELIVERY);
    write(Register::Error, MASKED);
    write(Register::Divide, 0b1011); // by 1
    let mode = if has(Features::TSC_DEADLINE) { DEADLINE_MODE } else { 0 };
    write(Register::Timer, mode | u32::from(TIMER));
    write(Register::Spurious, 0x100 | u32::from(SPURIOUS));
    let id = read(Register::Id);
    let id = if has(Features::X2APIC) { id } else { id >> 24 };
    super::percpu::this().apic_id.store(id, Ordering::Relaxed);
}

/// Acknowledges the interrupt that came in last.
#[inline]
pub fn end_of_interrupt() {
    write(Register::EndOfInterrupt, 0);
}

/// Makes the timer fire after `ticks` of its own clock; 0 stops it.
#[inline]
pub fn set_count(ticks: u32) {
    write(Register::InitialCount, ticks);
}

/// What is left of the count.
pub fn count() -> u32 {
    read(Register::CurrentCount)
}

/// Makes the timer fire when the time stamp counter reaches `tsc`; 0 stops it. Only with TSC_DEADLINE.
pub fn set_tsc_deadline(tsc: u64) {
    // SAFETY: the CPU has the register.
    unsafe { Msr::new(MSR_TSC_DEADLINE).write(tsc) }
}

fn command(apic_id: u32, value: u32) {
    if has(Features::X2APIC) {
        // Writes to the registers are not ordered with earlier stores by themselves, which the other CPU is to see.
        // SAFETY: a fence, and one 64-bit register that holds both halves.
        unsafe {
            core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags));
            Msr::new(MSR_X2APIC + Register::Command as u32).write(u64::from(apic_id) << 32 | u64::from(value));
        }
        return;
    }
    while read(Register::Command) & PENDING != 0 {
        core::hint::spin_loop();
    }
    write(Register::CommandHigh, apic_id << 24);
    write(Register::Command, value);
}

/// Interrupts the CPU whose controller has number `apic_id`.
pub fn send_ipi(apic_id: u32) {
    command(apic_id, ASSERT | u32::from(IPI));
}

/// Resets it.
pub fn send_init(apic_id: u32) {
    command(apic_id, ASSERT | 5 << 8);
}

/// Starts it in real mode at the page `page` of low memory.
pub fn send_startup(apic_id: u32, page: u8) {
    command(apic_id, ASSERT | 6 << 8 | u32::from(page));
}
