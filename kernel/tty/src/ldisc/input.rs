//! What a received character does (termios(3): `c_iflag`, the special characters, ISIG, ICANON).

use super::{Discipline, End, MAX_CANON};
use crate::termios::{Input, Local, Special};

/// A signal that a character asks for, for the foreground process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTSTP.
    Suspend,
}

/// What came of received bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes used up. Fewer than given: after a signal (go on with the rest), or because the queue is full (go on when a
    /// reader has made room).
    pub taken: usize,
    /// The last byte used asks for this signal.
    pub signal: Option<Signal>,
    /// The signal threw away the output that the line may still hold.
    pub flush: bool,
    /// There is more to read than before.
    pub more: bool,
}

impl Discipline {
    /// Takes bytes that came in on the line. Ends early at a character that makes a signal.
    pub fn receive(&mut self, bytes: &[u8]) -> Received {
        if self.unprocessed() {
            let taken = self.input.push(&bytes[..bytes.len().min(self.free())]);
            return Received { taken, more: taken > 0, ..Received::default() };
        }
        let (lines, len) = (self.ends.len(), self.input.len());
        let mut outcome = Received::default();
        for &byte in bytes {
            // A full queue takes nothing more, unless it is a single line that has yet to end.
            if self.free() == 0 && !(self.canonical() && self.ends.is_empty()) {
                break;
            }
            outcome.taken += 1;
            outcome.signal = self.receive_byte(byte);
            if outcome.signal.is_some() {
                outcome.flush = !self.termios.local().contains(Local::NOFLSH);
                break;
            }
        }
        outcome.more = if self.canonical() { self.ends.len() > lines } else { self.input.len() > len };
        outcome
    }

    /// Whether every byte goes to the reader as it is.
    fn unprocessed(&self) -> bool {
        let input =
            Input::ISTRIP | Input::INLCR | Input::IGNCR | Input::ICRNL | Input::IUCLC | Input::IXON | Input::PARMRK;
        !self.literal
            && !self.stopped
            && !self.termios.input().intersects(input)
            && !self.termios.local().intersects(Local::ICANON | Local::ECHO | Local::ISIG)
    }

    /// Bytes that the queue takes; the last place is kept for the end of a line.
    fn free(&self) -> usize {
        (MAX_CANON - 1).saturating_sub(self.occupied())
    }

    fn receive_byte(&mut self, mut byte: u8) -> Option<Signal> {
        let (input, local) = (self.termios.input(), self.termios.local());
        if input.contains(Input::ISTRIP) {
            byte &= 0x7f;
        }
        if input.contains(Input::IUCLC) && local.contains(Local::IEXTEN) {
            byte = byte.to_ascii_lowercase();
        }
        if core::mem::take(&mut self.literal) {
            self.data(byte);
            return None;
        }
        if input.contains(Input::IXON) {
            // Where both are the same character it switches.
            if self.is(Special::Start, byte) && (self.stopped || !self.is(Special::Stop, byte)) {
                self.stopped = false;
                return None;
            }
            if self.is(Special::Stop, byte) {
                self.stopped = true;
                return None;
            }
        }
        if local.contains(Local::ISIG)
            && let Some(signal) = self.signal_of(byte)
        {
            self.interrupted(byte);
            return Some(signal);
        }
        if input.contains(Input::IXON | Input::IXANY) {
            self.stopped = false;
        }
        match byte {
            b'\r' if input.contains(Input::IGNCR) => return None,
            b'\r' if input.contains(Input::ICRNL) => byte = b'\n',
            b'\n' if input.contains(Input::INLCR) => byte = b'\r',
            _ => {}
        }
        if !(local.contains(Local::ICANON) && self.line_control(byte)) {
            self.data(byte);
        }
        None
    }

    fn signal_of(&self, byte: u8) -> Option<Signal> {
        if self.is(Special::Intr, byte) {
            Some(Signal::Interrupt)
        } else if self.is(Special::Quit, byte) {
            Some(Signal::Quit)
        } else if self.is(Special::Susp, byte) {
            Some(Signal::Suspend)
        } else {
            None
        }
    }

    /// A character made a signal: both queues are emptied (unless NOFLSH), output goes on, and the character is echoed.
    fn interrupted(&mut self, byte: u8) {
        if !self.termios.local().contains(Local::NOFLSH) {
            self.flush_input();
            self.pending.clear();
        }
        if self.termios.input().contains(Input::IXON) {
            self.stopped = false;
        }
        if self.termios.local().contains(Local::ECHO) {
            self.echo(byte);
        }
    }

    /// The characters that have a meaning in canonical mode only. False: it is data.
    fn line_control(&mut self, byte: u8) -> bool {
        let local = self.termios.local();
        let extended = local.contains(Local::IEXTEN);
        let echo = local.contains(Local::ECHO);
        if self.is(Special::Erase, byte) {
            self.erase();
        } else if self.is(Special::Kill, byte) {
            self.kill();
        } else if extended && self.is(Special::WordErase, byte) {
            self.erase_word();
        } else if extended && self.is(Special::LiteralNext, byte) {
            self.literal = true;
            if echo {
                self.finish_erasing();
                if local.contains(Local::ECHOCTL) {
                    // The caret stands where the literal character will.
                    self.echo_raw(b"^\x08");
                }
            }
        } else if extended && echo && self.is(Special::Reprint, byte) {
            self.reprint(byte);
        } else if byte == b'\n' {
            if local.intersects(Local::ECHO | Local::ECHONL) {
                self.finish_erasing();
                self.echo_output(b'\n');
            }
            self.end_line(Some(byte));
        } else if self.is(Special::Eof, byte) {
            self.end_line(None);
        } else if self.is(Special::Eol, byte) || extended && self.is(Special::Eol2, byte) {
            if echo {
                self.echo_data(byte);
            }
            self.end_line(Some(byte));
        } else {
            return false;
        }
        true
    }

    /// The line is complete: with the character `end` as its last, or by EOF.
    fn end_line(&mut self, end: Option<u8>) {
        self.erasing = false;
        if self.ends.try_reserve(1).is_err() {
            return;
        }
        if let Some(byte) = end {
            self.input.push(&[byte]);
        }
        self.ready = self.input.len();
        self.eofs += usize::from(end.is_none());
        self.ends.push_back(End { at: self.origin.wrapping_add(self.ready as u32), eof: end.is_none() });
    }

    /// A character for the reader. A line that is as long as it may be loses it.
    fn data(&mut self, byte: u8) {
        let doubled = byte == 0xff && self.termios.input().contains(Input::PARMRK);
        let fits = self.free() > usize::from(doubled);
        if self.termios.local().contains(Local::ECHO) {
            if !fits && self.termios.input().contains(Input::IMAXBEL) {
                self.echo_raw(b"\x07");
            } else {
                self.echo_data(byte);
            }
        }
        if fits {
            // PARMRK marks errors by 0xff, so a real one comes twice.
            self.input.push(if doubled { &[0xff, 0xff] } else { core::slice::from_ref(&byte) });
        }
    }
}
