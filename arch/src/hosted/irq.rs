//! Interrupts: which came in, and how one CPU calls another.

use super::sim;

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
    while let Some(irq) = sim::take_irq() {
        handle(irq);
    }
}

/// Lets interrupts that are pending now be recorded for [`service`], without halting. For kernel work that
/// goes on long without entering user mode.
pub fn poll() {}

/// Halts this CPU until an interrupt is pending. `ready` is called with interrupts masked: when it says
/// true, the CPU does not halt. Unmasking and halting are one step, so a wake between the two is not
/// lost.
pub fn wait(ready: impl FnOnce() -> bool) {
    let _ = ready();
}

/// Interrupts CPU `cpu` ([`Irq::Ipi`] there). Never waits.
pub fn send_ipi(cpu: usize) {
    sim::send_ipi(cpu);
}
