//! Interrupts: which came in, and how one CPU calls another.

use super::{console, gic, time};
use aarch64_cpu::asm::{barrier, wfi};

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

/// The INTID of SPI 0.
const SPI_FIRST: u32 = 32;

/// Acknowledges every pending interrupt of this CPU and calls `handle` for each. Must be called
/// after a [`crate::trap::Trap::Interrupt`] and after [`wait`].
pub fn service(mut handle: impl FnMut(Irq)) {
    loop {
        let mut what = None;
        let taken = gic::take(|irq| {
            what = if irq == gic::timer_irq() {
                time::quiet();
                Some(Irq::Timer)
            } else if irq == gic::IPI {
                Some(Irq::Ipi)
            } else if console::interrupt(irq) {
                Some(Irq::Console)
            } else if irq >= SPI_FIRST {
                // Its driver runs later; until then a level would come back for ever.
                gic::disable(irq);
                Some(Irq::Line(irq - SPI_FIRST))
            } else {
                None
            };
        });
        if taken.is_none() {
            return;
        }
        if let Some(irq) = what {
            handle(irq);
        }
    }
}

/// Lets interrupts that are pending now be recorded for [`service`], without halting. For kernel work that
/// goes on long without entering user mode. Nothing to do here: they wait in the interrupt controller.
pub fn poll() {}

/// Halts this CPU until an interrupt is pending. `ready` is called with interrupts masked: when it says
/// true, the CPU does not halt. Unmasking and halting are one step, so a wake between the two is not
/// lost.
pub fn wait(ready: impl FnOnce() -> bool) {
    if ready() {
        return;
    }
    // WFI ends at once if an interrupt is pending, masked or not.
    barrier::dsb(barrier::SY);
    wfi();
}

/// Interrupts CPU `cpu` ([`Irq::Ipi`] there). Never waits.
pub fn send_ipi(cpu: usize) {
    gic::send_ipi(cpu);
}
