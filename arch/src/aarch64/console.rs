//! The serial console: bytes in, bytes out. A PL011 (Arm DDI 0183).
//!
//! The interrupt is level-triggered, and the driver behind it runs later. So when it comes, [`interrupt`]
//! masks what was asserted; reading
//! until nothing is left unmasks reception, [`enable_interrupts`] both. `MASK` says what is unmasked;
//! its lock is held only while it and the register change together.

use arm_pl011_uart::{
    DataBits, FifoLevel, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer,
};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};

/// The name of the console's port in /dev.
pub const NAME: &str = "ttyAMA0";

static REGISTERS: AtomicPtr<PL011Registers> = AtomicPtr::new(core::ptr::null_mut());
static IRQ: AtomicU32 = AtomicU32::new(0);
static MASK: AtomicU32 = AtomicU32::new(0);
static MASK_LOCK: AtomicBool = AtomicBool::new(false);
/// Whether the driver asked for reception.
static WANTED: AtomicBool = AtomicBool::new(false);

const RECEIVE: Interrupts = Interrupts::RXI.union(Interrupts::RTI);
const TRANSMIT: Interrupts = Interrupts::TXI;

/// A handle on the device; `None` where there is none.
fn uart() -> Option<Uart<'static>> {
    let registers = NonNull::new(REGISTERS.load(Relaxed))?;
    // SAFETY: the pointer is to the device's registers, mapped for good. Other handles may exist, but every
    // method used
    // here after `init` is one access to one register, or made under MASK_LOCK.
    Some(Uart::new(unsafe { UniqueMmioPointer::new(registers) }))
}

/// Takes over the device behind `registers`, whose interrupt is `irq`.
pub(super) fn init(registers: *mut u8, irq: u32) {
    IRQ.store(irq, Relaxed);
    REGISTERS.store(registers.cast(), Relaxed);
    if let Some(mut uart) = uart() {
        let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
        // 24 MHz is what QEMU and Arm's boards feed it; the rate that follows is always representable.
        let _ = uart.enable(line, 115_200, 24_000_000);
        uart.set_interrupt_fifo_levels(FifoLevel::Bytes4, FifoLevel::Bytes16);
        uart.set_interrupt_masks(Interrupts::empty());
    }
}

/// Changes the interrupt mask: first takes `off` away, then adds `on`.
fn change_mask(uart: &mut Uart<'static>, off: Interrupts, on: Interrupts) {
    while MASK_LOCK.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
        core::hint::spin_loop();
    }
    let old = Interrupts::from_bits_retain(MASK.load(Relaxed));
    let new = old.difference(off).union(on);
    if new != old {
        MASK.store(new.bits(), Relaxed);
        uart.set_interrupt_masks(new);
    }
    MASK_LOCK.store(false, Release);
}

/// If `irq` is the console's: quiets the device and says yes.
pub(super) fn interrupt(irq: u32) -> bool {
    if irq != IRQ.load(Relaxed) {
        return false;
    }
    let Some(mut uart) = uart() else { return false };
    let asserted = uart.masked_interrupt_status();
    change_mask(&mut uart, asserted, Interrupts::empty());
    true
}

/// Puts one byte out, waiting until the device takes it. For early messages and panics.
pub fn put_byte(byte: u8) {
    let Some(mut uart) = uart() else { return };
    while uart.is_tx_fifo_full() {
        core::hint::spin_loop();
    }
    uart.write_word(byte);
}

/// Hands bytes to the device while it takes them without waiting; returns how many it took.
pub fn try_write(bytes: &[u8]) -> usize {
    // Where there is no console, output goes nowhere.
    let Some(mut uart) = uart() else { return bytes.len() };
    for (taken, &byte) in bytes.iter().enumerate() {
        if uart.is_tx_fifo_full() {
            return taken;
        }
        uart.write_word(byte);
    }
    bytes.len()
}

/// Takes a received byte; `None` when there is none.
pub fn read_byte() -> Option<u8> {
    let mut uart = uart()?;
    loop {
        match uart.read_word() {
            Ok(Some(byte)) => return Some(byte),
            // A damaged byte is dropped.
            Err(_) => {}
            Ok(None) => {
                if WANTED.load(Relaxed) && MASK.load(Relaxed) & RECEIVE.bits() != RECEIVE.bits() {
                    change_mask(&mut uart, Interrupts::empty(), RECEIVE);
                }
                return None;
            }
        }
    }
}

/// Asks for [`super::irq::Irq::Console`] when a byte is received and, where `transmit`, also when the
/// device takes more bytes. To be called again after each such interrupt, once its cause is dealt with; the next one may
/// not come before that.
pub fn enable_interrupts(transmit: bool) {
    let Some(mut uart) = uart() else { return };
    WANTED.store(true, Relaxed);
    if transmit {
        change_mask(&mut uart, Interrupts::empty(), RECEIVE.union(TRANSMIT));
    } else {
        change_mask(&mut uart, TRANSMIT, RECEIVE);
    }
}
