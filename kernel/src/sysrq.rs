//! What `/proc/sysrq-trigger` does (proc(5); Documentation/admin-guide/sysrq.rst of Linux): ends the machine for one who
//! can do nothing else, or wants to see what a crash leaves behind.

use crate::shutdown;

/// Carries out the command that a letter stands for. Any other letter has the commands listed in the log, as on Linux.
pub fn handle(letter: u8) {
    match letter {
        b'b' => {
            ::log::info!("sysrq: Resetting");
            shutdown::restart()
        }
        b'c' => {
            ::log::info!("sysrq: Trigger a crash");
            shutdown::panic(&"sysrq triggered crash")
        }
        b'o' => {
            ::log::info!("sysrq: Power Off");
            shutdown::power_off()
        }
        _ => ::log::info!("sysrq: HELP : reboot(b) crash(c) poweroff(o)"),
    }
}
