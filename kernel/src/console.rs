//! The console's device side: a queue of bytes on their way out, and the driver.
//!
//! An interrupt only wakes the driver, which is a future like any other. Writers hand the device what it takes at once by
//! themselves, under the queue's lock; what is left goes out as the device interrupts.
//!
//! The terminal on top is `tty`'s; the log and panics write past it.

use alloc::collections::VecDeque;
use base::rank;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;
use executor::spin::SpinLock;
use futures_util::task::AtomicWaker;

/// Bytes that wait for the device at most, beside what the log adds.
const CAPACITY: usize = 16 * 1024;

static QUEUE: SpinLock<VecDeque<u8>> = SpinLock::new(rank::CONSOLE, VecDeque::new());

/// Whether the device was asked to say when it takes more.
static TRANSMITTING: AtomicBool = AtomicBool::new(false);

/// Whether the device has interrupted since the driver last looked. It looks once at its start.
static RANG: AtomicBool = AtomicBool::new(true);
static DRIVER: AtomicWaker = AtomicWaker::new();

/// What the terminal does when bytes came in or the queue has room.
pub trait Listener: Send + Sync {
    /// Bytes were received.
    fn received(&self, bytes: &[u8]);
    /// The queue has room again.
    fn drained(&self);
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

/// The device has interrupted, and does not again before its driver has run: it is told.
pub fn interrupt() {
    RANG.store(true, Ordering::Release);
    DRIVER.wake();
}

/// The driver, one task of the kernel's own: hands on what was received and sends what waits, whenever the device
/// interrupts. Switches its interrupts on.
pub async fn drive(listener: &'static dyn Listener) {
    loop {
        poll_fn(|cx| {
            DRIVER.register(cx.waker());
            if RANG.swap(false, Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        receive(listener).await;
        transmit(listener);
    }
}

/// Takes what was received, and gives way now and then to whoever is more urgent than a fast typist.
async fn receive(listener: &dyn Listener) {
    let mut bytes = [0; 64];
    loop {
        let mut len = 0;
        while let Some(place) = bytes.get_mut(len)
            && let Some(byte) = arch::console::read_byte()
        {
            *place = byte;
            len += 1;
        }
        if len > 0 {
            listener.received(&bytes[..len]);
        }
        if len < bytes.len() {
            return;
        }
        executor::yield_now().await;
    }
}

/// Sends what the device takes, and lets it interrupt again.
fn transmit(listener: &dyn Listener) {
    let mut queue = QUEUE.lock();
    let was_full = queue.len() > CAPACITY / 2;
    pump(&mut queue);
    arch::console::enable_interrupts(TRANSMITTING.load(Ordering::Relaxed));
    let drained = was_full && queue.len() <= CAPACITY / 2 || queue.is_empty();
    drop(queue);
    if drained {
        listener.drained();
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
