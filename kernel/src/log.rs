//! The kernel log: the last lines are kept for dmesg(1), and those urgent enough go to the console.
//!
//! A line looks as Linux's do: `[    1.234567] text`. Levels are syslog's: 3 error, 4 warning, 6 information, 7 debug.

use alloc::collections::VecDeque;
use base::rank;
use core::fmt::Write;
use core::sync::atomic::{AtomicU8, Ordering};
use executor::WaitQueue;
use executor::spin::SpinLock;

/// Bytes of text that are kept.
pub const CAPACITY: usize = 128 * 1024;

/// One kept line.
#[derive(Clone)]
pub struct Record {
    /// Its number since boot.
    pub sequence: u64,
    /// Syslog level, 0 to 7.
    pub level: u8,
    /// Nanoseconds since boot.
    pub time: u64,
    /// The text, without time or newline.
    pub text: alloc::string::String,
}

struct Records {
    lines: VecDeque<Record>,
    bytes: usize,
    next: u64,
}

static RECORDS: SpinLock<Records> = SpinLock::new(rank::LOG, Records { lines: VecDeque::new(), bytes: 0, next: 0 });

/// Woken when a line is added.
pub static ADDED: WaitQueue = WaitQueue::new();

/// Lines with a level below this go to the console.
static CONSOLE_LEVEL: AtomicU8 = AtomicU8::new(7);

struct Kernel;

impl log::Log for Kernel {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Error => 3,
            log::Level::Warn => 4,
            log::Level::Info => 6,
            log::Level::Debug | log::Level::Trace => 7,
        };
        let mut text = alloc::string::String::new();
        if write!(text, "{}", record.args()).is_ok() {
            add(level, text);
        }
    }

    fn flush(&self) {}
}

/// Takes the messages of the `log` macros from now on.
pub fn init() {
    static KERNEL: Kernel = Kernel;
    if log::set_logger(&KERNEL).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// Sets which lines go to the console: those with a level below `level`.
pub fn set_console_level(level: u8) {
    CONSOLE_LEVEL.store(level, Ordering::Relaxed);
}

/// Which lines go to the console: those with a level below this.
pub fn console_level() -> u8 {
    CONSOLE_LEVEL.load(Ordering::Relaxed)
}

/// Adds a line.
pub fn add(level: u8, text: alloc::string::String) {
    let time = arch::time::now();
    if level < console_level() {
        let mut line = alloc::string::String::new();
        if write!(line, "{}{}\r\n", Stamp(time), text).is_ok() {
            crate::console::write_all(line.as_bytes());
        }
    }
    let mut records = RECORDS.lock();
    let sequence = records.next;
    records.next += 1;
    records.bytes += text.len();
    records.lines.push_back(Record { sequence, level, time, text });
    while records.bytes > CAPACITY {
        let Some(old) = records.lines.pop_front() else { break };
        records.bytes -= old.text.len();
    }
    drop(records);
    ADDED.notify_all(executor::ALL);
}

/// The first kept line with at least this number.
pub fn from(sequence: u64) -> Option<Record> {
    let records = RECORDS.lock();
    let first = records.lines.front()?.sequence;
    records.lines.get(sequence.saturating_sub(first) as usize).cloned()
}

/// The last lines as text, as many whole ones as fit into `room` bytes.
pub fn tail(room: usize) -> alloc::vec::Vec<u8> {
    let lines: alloc::vec::Vec<Record> = RECORDS.lock().lines.iter().cloned().collect();
    let mut out = alloc::collections::VecDeque::new();
    for record in lines.iter().rev() {
        let mut line = alloc::string::String::new();
        let written = writeln!(line, "<{}>{}{}", record.level, Stamp(record.time), record.text);
        if written.is_err() || out.len() + line.len() > room {
            break;
        }
        for byte in line.bytes().rev() {
            out.push_front(byte);
        }
    }
    out.into()
}

/// The time in front of a line.
pub struct Stamp(pub u64);

impl core::fmt::Display for Stamp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "[{:5}.{:06}] ", self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000)
    }
}
