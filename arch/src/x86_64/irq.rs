//! Interrupts: which came in, and how one CPU calls another.
//!
//! An interrupt is taken in user mode, in [`wait`] or in [`poll`]; all that happens then is a mark in the CPU's own
//! record. [`service`] acknowledges and sorts the marks.

use super::{apic, console, percpu, time};
use core::arch::asm;
use core::sync::atomic::Ordering;

/// What an interrupt means to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Irq {
    /// The deadline of [`super::time::set_deadline`] has passed on this CPU.
    Timer,
    /// Another CPU called [`send_ipi`].
    Ipi,
    /// The console has bytes or room.
    Console,
    /// A device's line, numbered as the machine numbers it (GSI, SPI).
    Line(u32),
}

/// Acknowledges every pending interrupt of this CPU and calls `handle` for each. Must be called
/// after a [`crate::trap::Trap::Interrupt`] and after [`wait`].
pub fn service(mut handle: impl FnMut(Irq)) {
    let cpu = percpu::this();
    for (index, word) in (0u8..).zip(&cpu.pending) {
        let mut bits = word.replace(0);
        while bits != 0 {
            let vector = index * 64 + bits.trailing_zeros() as u8;
            bits &= bits - 1;
            dispatch(vector, &mut handle);
        }
    }
}

fn dispatch(vector: u8, handle: &mut impl FnMut(Irq)) {
    match vector {
        apic::SPURIOUS => (),
        apic::TIMER => {
            apic::end_of_interrupt();
            if time::deadline_passed() {
                handle(Irq::Timer);
            }
        }
        apic::IPI => {
            apic::end_of_interrupt();
            handle(Irq::Ipi);
        }
        apic::LINE_BASE..=apic::LINE_LAST => {
            apic::end_of_interrupt();
            let gsi = u32::from(vector - apic::LINE_BASE);
            if console::is_line(gsi) {
                console::quieten();
                handle(Irq::Console);
            } else {
                handle(Irq::Line(gsi));
            }
        }
        _ => apic::end_of_interrupt(),
    }
}

/// Whether an interrupt waits for [`service`].
fn is_pending() -> bool {
    percpu::this().pending.iter().any(|word| word.get() != 0)
}

/// Lets interrupts that are pending now be recorded for [`service`], without halting. For kernel work that
/// goes on long without entering user mode.
pub fn poll() {
    // SAFETY: the stubs for interrupts in kernel mode touch the record's marks only. (STI takes effect after the
    // instruction that follows it.)
    unsafe { asm!("sti", "nop", "cli") }
}

/// Halts this CPU until an interrupt is pending. `ready` is called with interrupts masked: when it says
/// true, the CPU does not halt. Unmasking and halting are one step, so a wake between the two is not
/// lost.
pub fn wait(ready: impl FnOnce() -> bool) {
    if is_pending() || ready() {
        return;
    }
    // SAFETY: as in `poll`; no interrupt is taken between STI and HLT.
    unsafe { asm!("sti", "hlt", "cli") }
}

/// Interrupts CPU `cpu` ([`Irq::Ipi`] there). Never waits.
pub fn send_ipi(cpu: usize) {
    apic::send_ipi(percpu::of(cpu).apic_id.load(Ordering::Relaxed));
}
