//! Post-processing of output (termios(3): `c_oflag`). Most output is runs of plain characters, which are looked at once and
//! copied whole.

use super::Discipline;
use crate::termios::{Input, Output};

impl Discipline {
    /// Processes `src` into `stage`; returns how many bytes of `src` are done and how many of `stage` are filled.
    /// `stage` must hold at least 8 bytes, the most that one character becomes.
    pub fn post(&mut self, src: &[u8], stage: &mut [u8]) -> (usize, usize) {
        if !self.termios.output().contains(Output::OPOST) {
            let n = src.len().min(stage.len());
            stage[..n].copy_from_slice(&src[..n]);
            return (n, n);
        }
        let (mut done, mut made) = (0, 0);
        while done < src.len() && made < stage.len() {
            let limit = (src.len() - done).min(stage.len() - made);
            let run = self.plain_run(&src[done..done + limit]);
            stage[made..made + run].copy_from_slice(&src[done..done + run]);
            done += run;
            made += run;
            if run == limit {
                continue;
            }
            match self.post_special(src[done], &mut stage[made..]) {
                Some(n) => {
                    done += 1;
                    made += n;
                }
                None => break,
            }
        }
        (done, made)
    }

    /// Whether output goes to the line as it is.
    #[inline]
    pub fn posts_nothing(&self) -> bool {
        !self.termios.output().contains(Output::OPOST)
    }

    /// The length of the run at the start of `bytes` that output processing leaves alone; counts its columns.
    pub fn plain_run(&mut self, bytes: &[u8]) -> usize {
        let run = if self.termios.output().contains(Output::OLCUC) {
            bytes.iter().position(|&byte| byte < b' ' || byte == 0x7f || byte.is_ascii_lowercase())
        } else {
            bytes.iter().position(|&byte| byte < b' ' || byte == 0x7f)
        };
        let run = run.unwrap_or(bytes.len());
        let columns = if self.termios.input().contains(Input::IUTF8) {
            bytes[..run].iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
        } else {
            run
        };
        self.column = self.column.wrapping_add(columns as u32);
        run
    }

    /// One character that may become something else. `None`: it does not fit `out`.
    fn post_special(&mut self, byte: u8, out: &mut [u8]) -> Option<usize> {
        let flags = self.termios.output();
        let mut single = byte;
        match byte {
            b'\n' => {
                if flags.contains(Output::ONLCR) {
                    out.get_mut(..2)?.copy_from_slice(b"\r\n");
                    self.column = 0;
                    return Some(2);
                }
                if flags.contains(Output::ONLRET) {
                    self.column = 0;
                }
            }
            b'\r' => {
                if flags.contains(Output::ONOCR) && self.column == 0 {
                    return Some(0);
                }
                if flags.contains(Output::OCRNL) {
                    single = b'\n';
                }
                if !flags.contains(Output::OCRNL) || flags.contains(Output::ONLRET) {
                    self.column = 0;
                }
            }
            b'\t' => {
                let spaces = 8 - (self.column & 7);
                if flags.contains(Output::XTABS) {
                    out.get_mut(..spaces as usize)?.fill(b' ');
                    self.column = self.column.wrapping_add(spaces);
                    return Some(spaces as usize);
                }
                self.column = self.column.wrapping_add(spaces);
            }
            0x08 => self.column = self.column.saturating_sub(1),
            b'a'..=b'z' => {
                single = byte.to_ascii_uppercase();
                self.column = self.column.wrapping_add(1);
            }
            _ => {}
        }
        *out.first_mut()? = single;
        Some(1)
    }
}
