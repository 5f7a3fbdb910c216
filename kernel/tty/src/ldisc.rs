//! The line discipline N_TTY (termios(3)): what lies between the bytes of a line and those that a program reads and writes.
//!
//! Pure: it holds the settings, the input that waits to be read, and the output that the line has not taken
//! yet (echoes, above all), and it knows no locks, signals or time. The [`Tty`](crate::tty::Tty) holds it under its lock and
//! acts on what it returns.
//!
//! ```text
//!            receive                       take
//!  line  ──────────────►  input queue  ──────────►  program
//!            │  echo      ┌─────────┬──────────────┐
//!            ▼            │ lines   │ being edited │   canonical; else all of it is ready
//!         pending         └─────────┴──────────────┘
//!            │               ready ─►
//!  line ◄────┴──────────── post ◄─────────────────── program
//! ```
//!
//! The parts: here the queue of input and the read side, `input` what a received character does, `edit` erasing and
//! echoing, `output` post-processing.

mod edit;
mod input;
mod output;

pub use input::{Received, Signal};

use crate::queue::ByteQueue;
use crate::termios::{DISABLED, Local, Special, Termios2};
use alloc::collections::VecDeque;

/// The longest line, its end included (termios(3), "Canonical and noncanonical mode"), and the most input that waits.
pub const MAX_CANON: usize = 4096;

/// The most echoed output that waits for the line. What is echoed beyond is lost.
const MAX_PENDING: usize = 8192;

/// The end of a line in the input queue.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The position just behind the line, counted like [`Discipline::origin`].
    at: u32,
    /// It was ended by the EOF character, which is not part of it.
    eof: bool,
}

/// One terminal's line discipline.
#[derive(Debug)]
pub struct Discipline {
    termios: Termios2,
    input: ByteQueue,
    /// The ends of the lines in `input` that are complete, in canonical mode.
    ends: VecDeque<End>,
    /// How many of `ends` are EOF characters: they take part in the limit although they are no bytes.
    eofs: usize,
    /// The position of the oldest byte of `input`; wraps.
    origin: u32,
    /// Bytes of `input` that belong to complete lines. Without canonical mode all may be read and this is not used.
    ready: usize,
    /// The next character is literal (LNEXT).
    literal: bool,
    /// Erased characters are being echoed between `\` and `/` (ECHOPRT).
    erasing: bool,
    /// Output column, as far as it can be known.
    column: u32,
    /// The column where the line that is being edited begins.
    edit_column: u32,
    /// Output has been stopped by the STOP character.
    stopped: bool,
    /// Processed output that the line has not taken.
    pending: ByteQueue,
}

impl Default for Discipline {
    fn default() -> Self {
        Discipline::new(Termios2::SANE)
    }
}

impl Discipline {
    /// A discipline without any input.
    pub const fn new(termios: Termios2) -> Discipline {
        Discipline {
            termios,
            input: ByteQueue::new(MAX_CANON),
            ends: VecDeque::new(),
            eofs: 0,
            origin: 0,
            ready: 0,
            literal: false,
            erasing: false,
            column: 0,
            edit_column: 0,
            stopped: false,
            pending: ByteQueue::new(MAX_PENDING),
        }
    }

    /// The settings.
    #[inline]
    pub fn termios(&self) -> &Termios2 {
        &self.termios
    }

    /// Changes the settings. What has been received is kept: leaving canonical mode makes the line that is being edited readable,
    /// entering it makes what is there a line. True if output that IXON had stopped goes on.
    pub fn set_termios(&mut self, new: Termios2) -> bool {
        let was = self.termios.local();
        self.termios = new;
        if (was ^ new.local()).contains(Local::ICANON) {
            self.forget_lines();
            let end = End { at: self.origin.wrapping_add(self.input.len() as u32), eof: false };
            if self.canonical() && !self.input.is_empty() && self.ends.try_reserve(1).is_ok() {
                self.ends.push_back(end);
                self.ready = self.input.len();
            }
            self.literal = false;
            self.erasing = false;
        }
        let freed = self.stopped && !new.input().contains(crate::termios::Input::IXON);
        if freed {
            self.stopped = false;
        }
        freed
    }

    fn forget_lines(&mut self) {
        self.ends.clear();
        self.eofs = 0;
        self.ready = 0;
    }

    /// Whether input is handed over in lines.
    #[inline]
    pub fn canonical(&self) -> bool {
        self.termios.local().contains(Local::ICANON)
    }

    /// Whether the STOP character holds output.
    #[inline]
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Lets output go on after a STOP character.
    pub fn restart(&mut self) {
        self.stopped = false;
    }

    /// How many bytes a read of `wanted` bytes gets now. `None`: it has to wait. Zero is the end of file, or that VMIN
    /// and VTIME are both zero and there is nothing.
    ///
    /// `patient`: the caller waits for VMIN bytes. One that does not (O_NONBLOCK, or the time of VTIME is over) gets
    /// what there is.
    ///
    /// | VMIN | VTIME | patient read returns |
    /// |---|---|---|
    /// | 0 | 0 | at once, perhaps with nothing |
    /// | > 0 | 0 | with min(VMIN, wanted) bytes or more |
    /// | 0 | > 0 | with one byte or more; with nothing when the time since the call is over |
    /// | > 0 | > 0 | as VTIME = 0, or with what is there when the time since the last byte is over |
    pub fn readable(&self, wanted: usize, patient: bool) -> Option<usize> {
        if self.canonical() {
            let end = self.ends.front()?;
            return Some(wanted.min(end.at.wrapping_sub(self.origin) as usize));
        }
        let (min, time) = (usize::from(self.termios.cc(Special::Min)), self.termios.cc(Special::Time));
        let enough = if patient { min.clamp(1, wanted.max(1)) } else { 1 };
        match self.input.len() {
            0 if min == 0 && time == 0 => Some(0),
            have if have >= enough => Some(have.min(wanted)),
            _ => None,
        }
    }

    /// Whether poll(2) reports input: a line; without canonical mode VMIN bytes, or one where VTIME or VMIN = 0 makes a read
    /// return with fewer.
    pub fn has_input(&self) -> bool {
        if self.canonical() {
            return !self.ends.is_empty();
        }
        match (self.termios.cc(Special::Min), self.termios.cc(Special::Time)) {
            (min, 0) => self.input.len() >= usize::from(min.max(1)),
            _ => !self.input.is_empty(),
        }
    }

    /// FIONREAD: bytes that can be read without waiting, of all complete lines in canonical mode.
    pub fn waiting(&self) -> usize {
        if self.canonical() { self.ready } else { self.input.len() }
    }

    /// VTIME where it counts, in tenths of a second: zero in canonical mode.
    pub fn time(&self) -> u8 {
        if self.canonical() { 0 } else { self.termios.cc(Special::Time) }
    }

    /// Whether VTIME runs from the last byte (VMIN > 0) and not from the call.
    pub fn time_between_bytes(&self) -> bool {
        self.termios.cc(Special::Min) > 0
    }

    /// Whether a byte waits that VTIME may hand over without VMIN being reached.
    pub fn has_bytes(&self) -> bool {
        !self.input.is_empty()
    }

    /// The next `n` bytes of input, in two pieces; `n` from [`Discipline::readable`].
    pub fn front(&self, n: usize) -> (&[u8], &[u8]) {
        self.input.front(n)
    }

    /// Takes `n` bytes away that a reader has got. At the end of a line its end goes too, so that an EOF
    /// character is read as 0 bytes only if nothing came before it.
    pub fn consume(&mut self, n: usize) {
        self.input.consume(n);
        self.origin = self.origin.wrapping_add(n as u32);
        if let Some(end) = self.ends.front().copied() {
            self.ready = self.ready.saturating_sub(n);
            if end.at == self.origin {
                self.ends.pop_front();
                self.eofs -= usize::from(end.eof);
            }
        }
    }

    /// Throws away input that has not been read (TCIFLUSH).
    pub fn flush_input(&mut self) {
        self.input.clear();
        self.forget_lines();
        self.literal = false;
        self.erasing = false;
    }

    /// Processed output that waits for the line.
    pub fn pending(&self) -> &ByteQueue {
        &self.pending
    }

    /// As [`Discipline::pending`], to take from or to put back what the line refused.
    pub fn pending_mut(&mut self) -> &mut ByteQueue {
        &mut self.pending
    }

    /// Input that counts towards the limit.
    fn occupied(&self) -> usize {
        self.input.len() + self.eofs
    }

    /// Whether so much input waits that the sender should be asked to pause (IXOFF).
    pub fn nearly_full(&self) -> bool {
        self.occupied() > MAX_CANON - 128
    }

    /// Whether so little input is left that a paused sender may go on.
    pub fn nearly_empty(&self) -> bool {
        self.occupied() < 128
    }

    /// Whether `byte` is what `special` is set to.
    #[inline]
    fn is(&self, special: Special, byte: u8) -> bool {
        byte != DISABLED && self.termios.is(special, byte)
    }
}

#[cfg(test)]
mod tests;
