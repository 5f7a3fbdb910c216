//! The serial console: bytes in, bytes out. A 16550 at COM1, 115200 8N1.
//!
//! Its registers are single ports, each access whole; the kernel's console lock decides who writes. The
//! interrupt line is edge-triggered: `irq` switches the device's interrupts off when one has come, and
//! [`enable_interrupts`] on again, so that whatever is left then makes a new edge.

use super::ioapic;
use core::sync::atomic::{AtomicU32, Ordering};
use x86_64::instructions::port::Port;

/// The name of the console's port in /dev.
pub const NAME: &str = "ttyS0";

const COM1: u16 = 0x3f8;
const COM1_IRQ: u8 = 4;
/// Registers, relative to the base.
const DATA: u16 = 0;
const ENABLE: u16 = 1;
const FIFO: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const STATUS: u16 = 5;

const STATUS_RECEIVED: u8 = 1;
const STATUS_ROOM: u8 = 0x20;
const ENABLE_RECEIVE: u8 = 1;
const ENABLE_TRANSMIT: u8 = 2;
const FIFO_LEN: usize = 16;

/// The GSI of the line, once it is connected; all ones before.
static LINE: AtomicU32 = AtomicU32::new(u32::MAX);

fn read(register: u16) -> u8 {
    // SAFETY: a register of the 16550; reading it touches no memory.
    unsafe { Port::<u8>::new(COM1 + register).read() }
}

fn write(register: u16, value: u8) {
    // SAFETY: as in `read`.
    unsafe { Port::<u8>::new(COM1 + register).write(value) }
}

/// Sets the device up.
pub(super) fn init() {
    write(ENABLE, 0);
    write(LINE_CONTROL, 0x80); // the divisor's turn
    write(DATA, 1);
    write(ENABLE, 0);
    write(LINE_CONTROL, 0x03); // 8 bits, no parity, 1 stop bit
    write(FIFO, 0xc7); // on, cleared, interrupt at 14 bytes
    write(MODEM_CONTROL, 0x0b); // DTR, RTS, OUT2 (which lets interrupts through)
}

/// Puts one byte out, waiting until the device takes it. For early messages and panics.
pub fn put_byte(byte: u8) {
    while read(STATUS) & STATUS_ROOM == 0 {
        core::hint::spin_loop();
    }
    write(DATA, byte);
}

/// Hands bytes to the device while it takes them without waiting; returns how many it took.
pub fn try_write(bytes: &[u8]) -> usize {
    if read(STATUS) & STATUS_ROOM == 0 {
        return 0;
    }
    let len = bytes.len().min(FIFO_LEN);
    for &byte in &bytes[..len] {
        write(DATA, byte);
    }
    len
}

/// Takes a received byte; `None` when there is none.
pub fn read_byte() -> Option<u8> {
    (read(STATUS) & STATUS_RECEIVED != 0).then(|| read(DATA))
}

/// Asks for [`super::irq::Irq::Console`] when a byte is received and, where `transmit`, also when the
/// device takes more bytes. To be called again after each such interrupt, once its cause is dealt with; the next one may
/// not come before that.
pub fn enable_interrupts(transmit: bool) {
    if LINE.load(Ordering::Relaxed) == u32::MAX {
        LINE.store(ioapic::enable_isa(COM1_IRQ).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
    write(ENABLE, ENABLE_RECEIVE | if transmit { ENABLE_TRANSMIT } else { 0 });
}

/// Whether `gsi` is the console's line.
pub(super) fn is_line(gsi: u32) -> bool {
    gsi == LINE.load(Ordering::Relaxed)
}

/// Switches the device's interrupts off until [`enable_interrupts`].
pub(super) fn quieten() {
    write(ENABLE, 0);
}
