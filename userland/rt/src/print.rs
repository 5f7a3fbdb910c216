//! Printing without a heap: a line is formatted into a buffer on the stack and written with as few calls as it takes.

use core::fmt::{self, Write};

use crate::sys;

/// A formatter that gathers text and writes it to one descriptor.
pub struct Out {
    fd: i32,
    used: usize,
    buffer: [u8; 512],
}

impl Out {
    /// A formatter for `fd` with nothing gathered yet.
    pub fn new(fd: i32) -> Out {
        Out { fd, used: 0, buffer: [0; 512] }
    }

    /// Writes what was gathered. An error is dropped: there is nowhere to say it.
    pub fn flush(&mut self) {
        let _ = sys::write_all(self.fd, &self.buffer[..self.used]);
        self.used = 0;
    }
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == self.buffer.len() {
                self.flush();
            }
            self.buffer[self.used] = byte;
            self.used += 1;
        }
        Ok(())
    }
}

/// Formats to a descriptor; the macros' common part.
pub fn print(fd: i32, text: fmt::Arguments) {
    let mut out = Out::new(fd);
    let _ = out.write_fmt(text);
    out.flush();
}

/// Prints to standard output.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::print::print(1, format_args!($($arg)*)) };
}

/// Prints a line to standard output.
#[macro_export]
macro_rules! println {
    () => { $crate::print::print(1, format_args!("\n")) };
    ($($arg:tt)*) => { $crate::print::print(1, format_args!("{}\n", format_args!($($arg)*))) };
}

/// Prints a line to standard error.
#[macro_export]
macro_rules! eprintln {
    ($($arg:tt)*) => { $crate::print::print(2, format_args!("{}\n", format_args!($($arg)*))) };
}
