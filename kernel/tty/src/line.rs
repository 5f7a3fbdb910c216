//! The far end of a terminal: what takes its output, and where its input comes from.

use crate::termios::Termios2;
use bitflags::bitflags;

bitflags! {
    /// What packet mode tells the master of a pseudo-terminal (ioctl_tty(2), TIOCPKT); other lines need not care. Valued as TIOCPKT_*.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Report: u8 {
        /// The input queue was thrown away.
        const FLUSH_READ = 1;
        /// The output queue was thrown away.
        const FLUSH_WRITE = 2;
        /// Output has stopped.
        const STOP = 4;
        /// Output goes on.
        const START = 8;
        /// ^S and ^Q no longer stop and start.
        const NO_STOP = 16;
        /// ^S and ^Q stop and start.
        const DO_STOP = 32;
    }
}

/// The far end of a terminal: a serial port, the master of a pseudo-terminal.
///
/// What it receives it hands to [`Tty::input`](crate::tty::Tty::input), and when it can take output again after it refused some
/// it calls [`Tty::output_ready`](crate::tty::Tty::output_ready). All methods but [`Line::wake`] are called under the terminal's
/// lock ([`crate::ranks::TTY`]): they must not call the terminal, and locks that they take rank above it. None may wait.
pub trait Line: Send + Sync {
    /// Takes bytes to be sent, in order, as many as it can now; returns how many.
    fn write(&self, bytes: &[u8]) -> usize;

    /// How many bytes [`Line::write`] takes now, at least.
    fn room(&self) -> usize;

    /// Bytes taken but not sent yet (TIOCOUTQ).
    fn unsent(&self) -> usize {
        0
    }

    /// Whether tcdrain(3) waits until all is sent. (Nobody waits for the reader of a pseudo-terminal.)
    fn drains(&self) -> bool {
        true
    }

    /// Throws away what has been taken but has not reached the other side.
    fn flush(&self) {}

    /// Notes what happened, for packet mode.
    fn report(&self, _report: Report) {}

    /// The settings were changed: speed, character size, parity.
    fn configure(&self, _termios: &Termios2) {}

    /// The first opening (true), or the last close (false) of the terminal.
    fn opened(&self, _open: bool) {}

    /// Something was written, flushed, reported, or more input would be taken. Called without locks.
    fn wake(&self) {}
}
