//! Turning the machine off: PSCI (Arm DEN 0022).

use super::devtree::Conduit;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use smccc::{Hvc, Smc, psci};

/// 0: no PSCI, 1: by HVC, 2: by SMC.
static CONDUIT: AtomicU8 = AtomicU8::new(0);

pub(super) fn init(conduit: Option<Conduit>) {
    let conduit = match conduit {
        None => 0,
        Some(Conduit::Hvc) => 1,
        Some(Conduit::Smc) => 2,
    };
    CONDUIT.store(conduit, Relaxed);
}

/// Starts the CPU `mpidr` at physical address `entry` with `argument` in X0. False if the firmware refuses.
pub(super) fn cpu_on(mpidr: u64, entry: u64, argument: u64) -> bool {
    match CONDUIT.load(Relaxed) {
        1 => psci::cpu_on::<Hvc>(mpidr, entry, argument).is_ok(),
        2 => psci::cpu_on::<Smc>(mpidr, entry, argument).is_ok(),
        _ => false,
    }
}

/// Turns the machine off.
pub fn off() -> ! {
    // The firmware does not come back from these unless it cannot do it.
    let _ = match CONDUIT.load(Relaxed) {
        1 => psci::system_off::<Hvc>(),
        2 => psci::system_off::<Smc>(),
        _ => Ok(()),
    };
    halt()
}

/// Restarts the machine.
pub fn restart() -> ! {
    let _ = match CONDUIT.load(Relaxed) {
        1 => psci::system_reset::<Hvc>(),
        2 => psci::system_reset::<Smc>(),
        _ => Ok(()),
    };
    halt()
}

/// Stops this CPU for good, without turning the machine off.
pub fn halt() -> ! {
    loop {
        aarch64_cpu::asm::wfi();
    }
}
