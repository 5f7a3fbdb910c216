//! Terminal settings as programs see them (termios(3), ioctl_tty(2)): the kernel's `struct termios`, `struct termios2`
//! and `struct winsize`, which are the same on x86_64 and aarch64, and the flags in them that the line discipline obeys.

use linux_raw_sys::general as raw;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use flags::{Input, Local, Output};

mod flags {
    #![allow(missing_docs, reason = "termios(3) documents them")]

    use bitflags::bitflags;
    use linux_raw_sys::general as raw;

    bitflags! {
        /// `c_iflag`: what becomes of input.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Input: u32 {
            const ISTRIP = raw::ISTRIP;
            const INLCR = raw::INLCR;
            const IGNCR = raw::IGNCR;
            const ICRNL = raw::ICRNL;
            const IUCLC = raw::IUCLC;
            const IXON = raw::IXON;
            const IXANY = raw::IXANY;
            const IXOFF = raw::IXOFF;
            const IMAXBEL = raw::IMAXBEL;
            const IUTF8 = raw::IUTF8;
            const PARMRK = raw::PARMRK;
            const _ = !0;
        }
    }

    bitflags! {
        /// `c_oflag`: what becomes of output.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Output: u32 {
            const OPOST = raw::OPOST;
            const OLCUC = raw::OLCUC;
            const ONLCR = raw::ONLCR;
            const OCRNL = raw::OCRNL;
            const ONOCR = raw::ONOCR;
            const ONLRET = raw::ONLRET;
            /// Both bits of the tab delay: tabs become spaces.
            const XTABS = raw::XTABS;
            const _ = !0;
        }
    }

    bitflags! {
        /// `c_lflag`: echo, editing and signals.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Local: u32 {
            const ISIG = raw::ISIG;
            const ICANON = raw::ICANON;
            const ECHO = raw::ECHO;
            const ECHOE = raw::ECHOE;
            const ECHOK = raw::ECHOK;
            const ECHONL = raw::ECHONL;
            const NOFLSH = raw::NOFLSH;
            const TOSTOP = raw::TOSTOP;
            const ECHOCTL = raw::ECHOCTL;
            const ECHOPRT = raw::ECHOPRT;
            const ECHOKE = raw::ECHOKE;
            const IEXTEN = raw::IEXTEN;
            const EXTPROC = raw::EXTPROC;
            const _ = !0;
        }
    }
}

/// A place in `c_cc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "termios(3) documents them")]
pub enum Special {
    Intr = raw::VINTR as u8,
    Quit = raw::VQUIT as u8,
    Erase = raw::VERASE as u8,
    Kill = raw::VKILL as u8,
    Eof = raw::VEOF as u8,
    Time = raw::VTIME as u8,
    Min = raw::VMIN as u8,
    Start = raw::VSTART as u8,
    Stop = raw::VSTOP as u8,
    Susp = raw::VSUSP as u8,
    Eol = raw::VEOL as u8,
    Reprint = raw::VREPRINT as u8,
    WordErase = raw::VWERASE as u8,
    LiteralNext = raw::VLNEXT as u8,
    Eol2 = raw::VEOL2 as u8,
}

/// The value of a `c_cc` entry that no character matches (`_POSIX_VDISABLE`).
pub const DISABLED: u8 = 0;

/// `struct termios`, as TCGETS and TCSETS pass it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "termios(3) documents them")]
pub struct Termios {
    pub iflag: u32,
    pub oflag: u32,
    pub cflag: u32,
    pub lflag: u32,
    pub line: u8,
    pub cc: [u8; raw::NCCS as usize],
}

/// `struct termios2`, as TCGETS2 and TCSETS2 pass it: with speeds in bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "ioctl_tty(2) documents them")]
pub struct Termios2 {
    pub base: Termios,
    pub ispeed: u32,
    pub ospeed: u32,
}

/// `struct winsize` (ioctl_tty(2)): the size of the window, in characters and in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "ioctl_tty(2) documents them")]
pub struct Winsize {
    pub row: u16,
    pub col: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

const _: () = assert!(size_of::<Termios>() == size_of::<raw::termios>());
const _: () = assert!(size_of::<Termios2>() == size_of::<raw::termios2>());
const _: () = assert!(size_of::<Winsize>() == size_of::<raw::winsize>());

/// The speeds that have a code of their own in `c_cflag`, by code; codes from 16 on are `BOTHER | 1` onwards.
const SPEEDS: [u32; 31] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800,
    500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000,
];

/// The speed that `code`, masked with CBAUD, stands for; `None` for BOTHER.
fn speed_of(code: u32) -> Option<u32> {
    match code & raw::CBAUD {
        raw::BOTHER => None,
        extended if extended & raw::BOTHER != 0 => {
            Some(SPEEDS.get((extended & 0xf) as usize + 15).copied().unwrap_or(0))
        }
        plain => Some(SPEEDS[plain as usize & 0xf]),
    }
}

/// The code of `speed`; BOTHER if it has none.
fn code_of(speed: u32) -> u32 {
    match SPEEDS.iter().position(|&known| known == speed) {
        Some(plain @ 0..16) => plain as u32,
        Some(extended) => raw::BOTHER | (extended as u32 - 15),
        None => raw::BOTHER,
    }
}

impl Termios2 {
    /// What a terminal is set to when it is first opened (as `stty sane` at 38400 bits per second).
    pub const SANE: Termios2 = {
        let mut cc = [DISABLED; raw::NCCS as usize];
        cc[Special::Intr as usize] = 0x03;
        cc[Special::Quit as usize] = 0x1c;
        cc[Special::Erase as usize] = 0x7f;
        cc[Special::Kill as usize] = 0x15;
        cc[Special::Eof as usize] = 0x04;
        cc[Special::Min as usize] = 1;
        cc[Special::Start as usize] = 0x11;
        cc[Special::Stop as usize] = 0x13;
        cc[Special::Susp as usize] = 0x1a;
        cc[Special::Reprint as usize] = 0x12;
        cc[raw::VDISCARD as usize] = 0x0f;
        cc[Special::WordErase as usize] = 0x17;
        cc[Special::LiteralNext as usize] = 0x16;
        Termios2 {
            base: Termios {
                iflag: raw::ICRNL | raw::IXON,
                oflag: raw::OPOST | raw::ONLCR,
                cflag: raw::B38400 | raw::CS8 | raw::CREAD | raw::HUPCL,
                lflag: raw::ISIG
                    | raw::ICANON
                    | raw::ECHO
                    | raw::ECHOE
                    | raw::ECHOK
                    | raw::ECHOCTL
                    | raw::ECHOKE
                    | raw::IEXTEN,
                line: 0,
                cc,
            },
            ispeed: 38400,
            ospeed: 38400,
        }
    };

    /// The settings of a new pseudo-terminal: the same, but it has no modem to hang up.
    pub const PTY: Termios2 = {
        let mut settings = Termios2::SANE;
        settings.base.cflag &= !raw::HUPCL;
        settings
    };

    /// The input flags.
    #[inline]
    pub fn input(&self) -> Input {
        Input::from_bits_retain(self.base.iflag)
    }

    /// The output flags.
    #[inline]
    pub fn output(&self) -> Output {
        Output::from_bits_retain(self.base.oflag)
    }

    /// The local flags.
    #[inline]
    pub fn local(&self) -> Local {
        Local::from_bits_retain(self.base.lflag)
    }

    /// The `c_cc` entry `special`.
    #[inline]
    pub fn cc(&self, special: Special) -> u8 {
        self.base.cc[special as usize]
    }

    /// Whether `byte` is the character that `special` is set to.
    #[inline]
    pub fn is(&self, special: Special, byte: u8) -> bool {
        byte != DISABLED && self.cc(special) == byte
    }

    /// Takes over what TCSETS gives: the speeds follow the codes in `c_cflag`.
    pub fn set(&mut self, new: Termios) {
        self.set2(Termios2 { base: new, ..*self });
    }

    /// Takes over what TCSETS2 gives: speed fields count where `c_cflag` says BOTHER, else the codes do.
    pub fn set2(&mut self, new: Termios2) {
        let (old_line, old_in, old_out) = (self.base.line, self.ispeed, self.ospeed);
        *self = new;
        // TIOCSETD alone changes the discipline.
        self.base.line = old_line;
        // Processing by the master itself is not offered.
        self.base.lflag &= !raw::EXTPROC;
        let cflag = new.base.cflag;
        self.ospeed = speed_of(cflag).unwrap_or(if new.ospeed != 0 { new.ospeed } else { old_out });
        self.ispeed = match (cflag >> raw::IBSHIFT) & raw::CBAUD {
            0 => self.ospeed,
            code => speed_of(code).unwrap_or(if new.ispeed != 0 { new.ispeed } else { old_in }),
        };
        if cflag & raw::CBAUD == raw::BOTHER {
            self.base.cflag = cflag & !raw::CBAUD | code_of(self.ospeed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_follow_their_codes() {
        let mut termios = Termios2::SANE;
        let mut new = termios.base;
        new.cflag = new.cflag & !raw::CBAUD | raw::B115200;
        termios.set(new);
        assert_eq!((termios.ispeed, termios.ospeed), (115200, 115200));
        new.cflag = new.cflag & !raw::CBAUD | raw::B4000000;
        termios.set(new);
        assert_eq!(termios.ospeed, 4000000);
    }

    #[test]
    fn a_speed_without_a_code_is_bother() {
        let mut termios = Termios2::SANE;
        let mut new = termios;
        new.base.cflag = new.base.cflag & !raw::CBAUD | raw::BOTHER;
        (new.ispeed, new.ospeed) = (12345, 12345);
        termios.set2(new);
        assert_eq!(termios.ospeed, 12345);
        assert_eq!(termios.base.cflag & raw::CBAUD, raw::BOTHER);
        new.ospeed = 9600;
        termios.set2(new);
        assert_eq!(termios.base.cflag & raw::CBAUD, raw::B9600);
    }

    #[test]
    fn the_discipline_is_not_changed_by_tcsets() {
        let mut termios = Termios2::SANE;
        let mut new = termios.base;
        new.line = 3;
        new.lflag |= raw::EXTPROC;
        termios.set(new);
        assert_eq!(termios.base.line, 0);
        assert!(!termios.local().contains(Local::EXTPROC));
    }
}
