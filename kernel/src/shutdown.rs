//! Ending: power-off, restart, halt (reboot(2)), and panics.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Turns the machine off.
pub fn power_off() -> ! {
    last_words("Power down");
    arch::power::off()
}

/// Restarts the machine.
pub fn restart() -> ! {
    last_words("Restarting system");
    arch::power::restart()
}

/// Stops without turning off.
pub fn halt() -> ! {
    last_words("System halted");
    arch::power::halt()
}

/// Says how the machine ends, whatever the command line lets through: who watches the console must not take the end
/// for a failure.
fn last_words(text: &str) {
    crate::log::add(0, alloc::format!("reboot: {text}"));
    crate::console::flush();
}

/// Seconds from a panic to a restart: 0 never, negative at once (`panic=`).
static PANIC_TIMEOUT: AtomicI64 = AtomicI64::new(0);
static PANICKING: AtomicBool = AtomicBool::new(false);

/// Sets what happens after a panic.
pub fn set_panic_timeout(seconds: i64) {
    PANIC_TIMEOUT.store(seconds, Ordering::Relaxed);
}

/// Prints straight to the device.
struct Urgent;

impl Write for Urgent {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        crate::console::write_urgently(text.as_bytes());
        Ok(())
    }
}

/// Tells why the kernel cannot go on, and from where, and ends as the command line says. The first panic is told; one
/// inside it ends the machine at once.
pub fn panic(reason: &dyn core::fmt::Display) -> ! {
    if PANICKING.swap(true, Ordering::SeqCst) {
        arch::power::halt();
    }
    crate::console::flush();
    // The device cannot fail, and nobody is left to be told.
    let _ = writeln!(Urgent, "\nKernel panic - not syncing: {reason}");
    let _ = writeln!(Urgent, "cpu {}, {} ns after boot", arch::cpu::id(), arch::time::now());
    let mut number = 0;
    arch::backtrace::walk(|address| {
        let _ = writeln!(Urgent, "  #{number} {address:#x}");
        number += 1;
    });
    let _ = writeln!(Urgent, "---[ end Kernel panic ]---");
    match PANIC_TIMEOUT.load(Ordering::Relaxed) {
        0 => arch::power::halt(),
        seconds => {
            let until = arch::time::now() + seconds.max(0) as u64 * 1_000_000_000;
            while arch::time::now() < until {}
            arch::power::restart()
        }
    }
}
