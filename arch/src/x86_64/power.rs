//! Turning the machine off.

use super::{acpi, time};
use x86_64::instructions::port::Port;

/// Turns the machine off.
pub fn off() -> ! {
    const SLEEP_ENABLE: u16 = 1 << 13;
    if let Some((machine, types)) = acpi::machine().and_then(|m| Some((m, m.sleep_off?))) {
        for (&port, kind) in machine.pm1_control.iter().zip(types) {
            if port != 0 {
                // SAFETY: a control register of the power management, with the values that the firmware names.
                unsafe { Port::<u16>::new(port).write((kind & 7) << 10 | SLEEP_ENABLE) };
            }
        }
        time::spin(100_000_000);
    }
    halt()
}

/// Restarts the machine.
pub fn restart() -> ! {
    let (port, value) = acpi::machine().map_or((0, 0), |machine| machine.reset);
    // Each way that a PC knows, the firmware's first (ACPI 4.8.3.6, chipset, keyboard controller).
    for (port, value) in [(port, value), (0xcf9, 0x02), (0xcf9, 0x06), (0x64, 0xfe)] {
        if port != 0 {
            // SAFETY: the write resets the machine.
            unsafe { Port::<u8>::new(port).write(value) };
            time::spin(10_000_000);
        }
    }
    // SAFETY: an empty interrupt table makes the next exception a triple fault, which resets the CPU.
    unsafe {
        let none = x86_64::structures::DescriptorTablePointer { limit: 0, base: x86_64::VirtAddr::zero() };
        x86_64::instructions::tables::lidt(&none);
        core::arch::asm!("ud2", options(noreturn));
    }
}

/// Stops this CPU for good, without turning the machine off.
pub fn halt() -> ! {
    loop {
        // SAFETY: nothing follows.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
