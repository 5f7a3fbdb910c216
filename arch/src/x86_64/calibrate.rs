//! How fast the time stamp counter and the local APIC's timer run: as the CPU says, else measured against the
//! power management timer or the 8254.

use super::acpi_tables::Machine;
use super::features::{Features, cpuid, has};
use super::{apic, time};
use x86_64::instructions::port::Port;

/// The power management timer's clock.
const PM_HZ: u64 = 3_579_545;
/// How long to measure, in its ticks: about 3 ms. Longer is more exact and makes booting slower.
const PM_TICKS: u32 = 10_738;
const PIT_HZ: u64 = 1_193_182;
const PIT_TICKS: u16 = 3_579;

/// A reading of all clocks at one moment.
#[derive(Clone, Copy)]
struct Sample {
    reference: u32,
    tsc: u64,
    apic: u32,
}

/// The reading of several that took the shortest, so that nothing came between.
fn sample(mut reference: impl FnMut() -> u32) -> Sample {
    let mut best = (u64::MAX, Sample { reference: 0, tsc: 0, apic: 0 });
    for _ in 0..6 {
        let before = time::tsc();
        let reference = reference();
        let apic = apic::count();
        let after = time::tsc();
        if after.wrapping_sub(before) < best.0 {
            best = (after.wrapping_sub(before), Sample { reference, tsc: before, apic });
        }
    }
    best.1
}

/// Ticks of the reference, of the TSC and of the APIC timer in one span.
fn measure_by_pm_timer(port: u16) -> (u64, u64, u64) {
    let mut port = Port::<u32>::new(port);
    // SAFETY: reading the timer changes nothing. It has 24 bits at least.
    let mut pm = || unsafe { port.read() } & 0xff_ffff;
    let start = sample(&mut pm);
    while pm().wrapping_sub(start.reference) & 0xff_ffff < PM_TICKS {
        core::hint::spin_loop();
    }
    let end = sample(&mut pm);
    let reference = end.reference.wrapping_sub(start.reference) & 0xff_ffff;
    (u64::from(reference), end.tsc - start.tsc, u64::from(start.apic - end.apic))
}

/// By channel 2 of the 8254, whose output can be read.
fn measure_by_pit() -> (u64, u64, u64) {
    let (mut gate, mut mode, mut data) = (Port::<u8>::new(0x61), Port::<u8>::new(0x43), Port::<u8>::new(0x42));
    // SAFETY: channel 2 drives the speaker only, which stays off.
    unsafe {
        let old = gate.read();
        gate.write(old & !2 | 1);
        mode.write(0xb0); // channel 2, both bytes, count down once
        data.write(PIT_TICKS as u8);
        data.write((PIT_TICKS >> 8) as u8);
        let (tsc, apic) = (time::tsc(), apic::count());
        while gate.read() & 0x20 == 0 {
            core::hint::spin_loop();
        }
        let spans = (time::tsc() - tsc, u64::from(apic - apic::count()));
        gate.write(old);
        (u64::from(PIT_TICKS), spans.0, spans.1)
    }
}

/// The TSC's frequency where the CPU or the hypervisor tells, in Hz; 0 if not.
fn told_by_cpuid() -> u64 {
    const HYPERVISOR: u32 = 1 << 31;
    let leaf = cpuid(0x15, 0);
    let hz = match (leaf.eax, leaf.ebx) {
        (0, _) | (_, 0) => 0,
        (below, above) => u64::from(leaf.ecx) * u64::from(above) / u64::from(below),
    };
    if hz == 0 && cpuid(1, 0).ecx & HYPERVISOR != 0 && cpuid(0x4000_0000, 0).eax >= 0x4000_0010 {
        return u64::from(cpuid(0x4000_0010, 0).eax) * 1000;
    }
    hz
}

/// Finds both frequencies and starts the clock.
pub fn init(machine: &Machine) {
    let told = told_by_cpuid();
    if told > 1_000_000 && has(Features::TSC_DEADLINE) {
        time::start(told, 0);
        return;
    }
    apic::set_count(u32::MAX);
    let ((reference, tsc, apic), hz) =
        if machine.pm_timer != 0 { (measure_by_pm_timer(machine.pm_timer), PM_HZ) } else { (measure_by_pit(), PIT_HZ) };
    apic::set_count(0);
    let per_second = |ticks: u64| (u128::from(ticks) * u128::from(hz) / u128::from(reference.max(1))) as u64;
    let tsc_hz = if told > 1_000_000 { told } else { per_second(tsc) };
    time::start(tsc_hz.max(1_000_000), per_second(apic).max(1000));
}
