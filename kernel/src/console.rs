//! The console's device side: a queue of bytes on their way out, and interrupts that drain it.
//!
//! The terminal on top is `tty`'s; the log and panics write past it.

use alloc::collections::VecDeque;
use base::rank;
use core::sync::atomic::{AtomicBool, Ordering};
use executor::spin::SpinLock;

/// Bytes that wait for the device at most, beside what the log adds.
const CAPACITY: usize = 16 * 1024;

static QUEUE: SpinLock<VecDeque<u8>> = SpinLock::new(rank::CONSOLE, VecDeque::new());

/// Whether the device was asked to say when it takes more.
static TRANSMITTING: AtomicBool = AtomicBool::new(false);

/// What the terminal does when bytes came in or the queue has room.
pub trait Listener: Send + Sync {
    /// Bytes were received.
    fn received(&self, bytes: &[u8]);
    /// The queue has room again.
    fn drained(&self);
}

static LISTENER: SpinLock<Option<&'static dyn Listener>> = SpinLock::new(rank::RANDOM, None);

/// Connects the terminal and lets the device interrupt.
pub fn connect(listener: &'static dyn Listener) {
    *LISTENER.lock() = Some(listener);
    arch::console::enable_interrupts(false);
}

/// Queues as many bytes as there is room for and returns how many.
pub fn write(bytes: &[u8]) -> usize {
    let mut queue = QUEUE.lock();
    let taken = bytes.len().min(CAPACITY.saturating_sub(queue.len()));
    queue.extend(&bytes[..taken]);
    pump(&mut queue);
    taken
}

/// Queues all bytes, whatever waits already (the log, whose lines are few).
pub fn write_all(bytes: &[u8]) {
    let mut queue = QUEUE.lock();
    queue.extend(bytes);
    pump(&mut queue);
}

/// How many bytes may be queued now.
pub fn room() -> usize {
    CAPACITY.saturating_sub(QUEUE.lock().len())
}

/// How many bytes wait.
pub fn queued() -> usize {
    QUEUE.lock().len()
}

/// Gives the device what it takes; asks for an interrupt if something is left.
fn pump(queue: &mut VecDeque<u8>) {
    while let (chunk @ [_, ..], _) = queue.as_slices() {
        let taken = arch::console::try_write(chunk);
        if taken == 0 {
            break;
        }
        queue.drain(..taken);
    }
    let more = !queue.is_empty();
    if more != TRANSMITTING.load(Ordering::Relaxed) {
        TRANSMITTING.store(more, Ordering::Relaxed);
        arch::console::enable_interrupts(more);
    }
}

/// The device interrupted: bytes have come in, or it takes more.
pub fn interrupt() {
    let listener = *LISTENER.lock();
    let mut bytes = [0; 64];
    let mut len = 0;
    while let Some(byte) = arch::console::read_byte() {
        bytes[len] = byte;
        len += 1;
        if len == bytes.len() {
            deliver(listener, &bytes);
            len = 0;
        }
    }
    deliver(listener, &bytes[..len]);
    let mut queue = QUEUE.lock();
    let was_full = queue.len() > CAPACITY / 2;
    pump(&mut queue);
    let drained = was_full && queue.len() <= CAPACITY / 2 || queue.is_empty();
    drop(queue);
    if let Some(listener) = listener
        && drained
    {
        listener.drained();
    }
}

fn deliver(listener: Option<&'static dyn Listener>, bytes: &[u8]) {
    if let Some(listener) = listener
        && !bytes.is_empty()
    {
        listener.received(bytes);
    }
}

/// Writes past all queues and locks, waiting for the device: the machine is dying.
pub fn write_urgently(bytes: &[u8]) {
    for &byte in bytes {
        if byte == b'\n' {
            arch::console::put_byte(b'\r');
        }
        arch::console::put_byte(byte);
    }
}

/// Sends out what is queued, waiting for the device, as far as nobody holds the queue: before power-off.
pub fn flush() {
    if let Some(mut queue) = QUEUE.try_lock() {
        for byte in queue.drain(..) {
            arch::console::put_byte(byte);
        }
    }
}
