//! Erasing and echoing (termios(3): ECHO, ECHOE, ECHOK, ECHONL, ECHOCTL, ECHOPRT, ECHOKE; ERASE, WERASE, KILL,
//! REPRINT).

use super::Discipline;
use crate::termios::{Input, Local, Special};

impl Discipline {
    /// Echoes a character as it is shown: control characters as a caret and a letter where ECHOCTL says so.
    pub(super) fn echo(&mut self, byte: u8) {
        if byte.is_ascii_control() && byte != b'\t' && self.termios.local().contains(Local::ECHOCTL) {
            self.pending.push(&[b'^', byte ^ 0x40]);
            self.column = self.column.wrapping_add(2);
        } else {
            self.echo_output(byte);
        }
    }

    /// Echoes a character through output processing.
    pub(super) fn echo_output(&mut self, byte: u8) {
        let mut stage = [0; 8];
        let (_, made) = self.post(&[byte], &mut stage);
        self.pending.push(&stage[..made]);
    }

    /// Sends bytes as they are, for their effect on the screen.
    pub(super) fn echo_raw(&mut self, bytes: &[u8]) {
        self.pending.push(bytes);
        for &byte in bytes {
            match byte {
                0x08 => self.column = self.column.saturating_sub(1),
                byte if !byte.is_ascii_control() => self.column = self.column.wrapping_add(1),
                _ => {}
            }
        }
    }

    /// Echoes a character of the line that is being edited.
    pub(super) fn echo_data(&mut self, byte: u8) {
        self.finish_erasing();
        if byte == b'\n' {
            return self.echo_output(byte);
        }
        if self.input.len() == self.ready {
            self.edit_column = self.column;
        }
        self.echo(byte);
    }

    /// Closes the `\.../` that ECHOPRT shows erased characters in.
    pub(super) fn finish_erasing(&mut self) {
        if core::mem::take(&mut self.erasing) {
            self.echo_raw(b"/");
        }
    }

    /// REPRINT: shows the line anew.
    pub(super) fn reprint(&mut self, byte: u8) {
        self.finish_erasing();
        self.echo(byte);
        self.echo_output(b'\n');
        self.edit_column = self.column;
        for index in self.ready..self.input.len() {
            if let Some(byte) = self.input.get(index) {
                self.echo(byte);
            }
        }
    }

    /// ERASE: the last character goes.
    pub(super) fn erase(&mut self) {
        if let Some(start) = self.last_character() {
            self.rub_out(start, true);
            self.erasing_is_over_at_start();
        }
    }

    /// WERASE: the last word goes, and what follows it.
    pub(super) fn erase_word(&mut self) {
        let mut in_word = false;
        while let Some(start) = self.last_character() {
            let byte = self.input.get(start).unwrap_or(b' ');
            if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 {
                in_word = true;
            } else if in_word {
                break;
            }
            self.rub_out(start, false);
        }
        self.erasing_is_over_at_start();
    }

    /// KILL: the line goes.
    pub(super) fn kill(&mut self) {
        if self.input.len() == self.ready {
            return;
        }
        let local = self.termios.local();
        if local.contains(Local::ECHO) && !local.contains(Local::ECHOK | Local::ECHOKE | Local::ECHOE) {
            self.input.truncate(self.ready);
            self.finish_erasing();
            self.echo(self.termios.cc(Special::Kill));
            if local.contains(Local::ECHOK) {
                self.echo_output(b'\n');
            }
            return;
        }
        while let Some(start) = self.last_character() {
            self.rub_out(start, false);
        }
        // What is left can only be the tail of a character that is not there whole.
        self.input.truncate(self.ready);
        self.erasing_is_over_at_start();
    }

    fn erasing_is_over_at_start(&mut self) {
        if self.input.len() == self.ready && self.termios.local().contains(Local::ECHO) {
            self.finish_erasing();
        }
    }

    /// Where the last character of the line being edited begins; `None` if there is none. With IUTF8 it may have several
    /// bytes.
    fn last_character(&self) -> Option<usize> {
        let mut start = self.input.len();
        loop {
            if start == self.ready {
                return None;
            }
            start -= 1;
            if !self.continues(self.input.get(start)?) {
                return Some(start);
            }
        }
    }

    /// Whether `byte` continues a UTF-8 character, where IUTF8 is set.
    #[inline]
    pub(super) fn continues(&self, byte: u8) -> bool {
        byte & 0xc0 == 0x80 && self.termios.input().contains(Input::IUTF8)
    }

    /// Removes the character that begins at `start`, the last one, and shows that it is gone.
    fn rub_out(&mut self, start: usize, single: bool) {
        let local = self.termios.local();
        let Some(byte) = self.input.get(start) else { return };
        if local.contains(Local::ECHO | Local::ECHOPRT) {
            if !core::mem::replace(&mut self.erasing, true) {
                self.echo_raw(b"\\");
            }
            self.echo(byte);
            for index in start + 1..self.input.len() {
                let more = self.input.get(index).unwrap_or_default();
                self.pending.push(&[more]);
            }
            self.input.truncate(start);
            return;
        }
        self.input.truncate(start);
        if !local.contains(Local::ECHO) {
        } else if single && !local.contains(Local::ECHOE) {
            self.echo(self.termios.cc(Special::Erase));
        } else if byte == b'\t' {
            self.rub_out_tab();
        } else {
            for _ in 0..self.width(byte) {
                self.echo_raw(b"\x08 \x08");
            }
        }
    }

    /// Columns that a character other than a tab takes when it is echoed.
    fn width(&self, byte: u8) -> u32 {
        match byte.is_ascii_control() {
            false => u32::from(!self.continues(byte)),
            true => 2 * u32::from(self.termios.local().contains(Local::ECHOCTL)),
        }
    }

    /// Moves back over a tab that was the last of the line: to the end of what stands before it, counted from the tab stop
    /// or the start of the line before that.
    fn rub_out_tab(&mut self) {
        let mut used = 0;
        let mut from = self.edit_column;
        for index in (self.ready..self.input.len()).rev() {
            match self.input.get(index) {
                Some(b'\t') => {
                    from = 0;
                    break;
                }
                Some(byte) => used += self.width(byte),
                None => {}
            }
        }
        let back = 8 - (from.wrapping_add(used) & 7);
        for _ in 0..back {
            self.echo_raw(b"\x08");
        }
    }
}
