//! The serial console: bytes in, bytes out.

use super::sim;

/// The name of the console's port in /dev.
pub const NAME: &str = "ttyS0";

/// Puts one byte out, waiting until the device takes it. For early messages and panics.
pub fn put_byte(byte: u8) {
    sim::with(|s| s.console_out.push(byte));
}

/// Hands bytes to the device while it takes them without waiting; returns how many it took.
pub fn try_write(bytes: &[u8]) -> usize {
    sim::with(|s| s.console_out.extend_from_slice(bytes));
    bytes.len()
}

/// Takes a received byte; `None` when there is none.
pub fn read_byte() -> Option<u8> {
    sim::with(|s| s.console_in.pop_front())
}

/// Asks for [`super::irq::Irq::Console`] when a byte is received and, where `transmit`, also when the
/// device takes more bytes. To be called again after each such interrupt, once its cause is dealt with; the next one may
/// not come before that.
pub fn enable_interrupts(_transmit: bool) {}
