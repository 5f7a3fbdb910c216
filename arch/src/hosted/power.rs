//! Turning the machine off.

/// Turns the machine off.
pub fn off() -> ! {
    panic!("the simulated machine was turned off")
}

/// Restarts the machine.
pub fn restart() -> ! {
    panic!("the simulated machine was restarted")
}

/// Stops this CPU for good, without turning the machine off.
pub fn halt() -> ! {
    panic!("the simulated machine was halted")
}
