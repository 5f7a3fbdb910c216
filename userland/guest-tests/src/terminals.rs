//! Pseudo-terminals: their settings, and what flushing leaves (pty(7), termios(3)).

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::raw::ioctl::*;
use rt::sys::{self, Errno};

use crate::{Outcome, check, tests};

tests! {
    a_new_pseudo_terminal_has_no_modem_to_hang_up,
    an_interrupt_leaves_the_output_that_has_arrived,
    an_interrupt_throws_away_what_was_typed_with_it,
}

/// A new master, and its slave as a terminal that nobody controls.
fn pair() -> Result<(i32, i32), Errno> {
    let master = sys::open(c"/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC, 0)?;
    // SAFETY: a number is passed, and open flags.
    unsafe {
        sys::ioctl(master, TIOCSPTLCK, &raw const ZERO as usize)?;
        let slave = sys::ioctl(master, TIOCGPTPEER, (O_RDWR | O_NOCTTY | O_CLOEXEC) as usize)?;
        Ok((master, slave as i32))
    }
}

static ZERO: i32 = 0;

/// Waits until the descriptor can be read.
fn readable(fd: i32) -> Result<bool, Errno> {
    let mut fds = [pollfd { fd, events: POLLIN as i16, revents: 0 }];
    Ok(sys::poll(&mut fds, 5000)? == 1)
}

/// Reads until so many bytes have come.
fn read_exactly(fd: i32, bytes: &mut [u8]) -> Result<(), Errno> {
    let mut len = 0;
    while len < bytes.len() {
        match sys::read(fd, &mut bytes[len..])? {
            0 => return Err(Errno(EIO)),
            n => len += n,
        }
    }
    Ok(())
}

fn a_new_pseudo_terminal_has_no_modem_to_hang_up() -> Outcome {
    let (_master, slave) = pair()?;
    let mut settings = [0u32; 32];
    // SAFETY: larger than the structure, whose third word is `c_cflag`.
    unsafe { sys::ioctl(slave, TCGETS, settings.as_mut_ptr() as usize)? };
    check!(settings[2] & HUPCL == 0);
    check!(settings[2] & CREAD != 0);
    Ok(())
}

fn an_interrupt_leaves_the_output_that_has_arrived() -> Outcome {
    let (master, slave) = pair()?;
    sys::write_all(slave, b"output")?;
    check!(readable(master)?);
    sys::write_all(master, b"\x03")?;
    let mut seen = [0; 8];
    read_exactly(master, &mut seen)?;
    check!(&seen == b"output^C");
    Ok(())
}

fn an_interrupt_throws_away_what_was_typed_with_it() -> Outcome {
    let (master, slave) = pair()?;
    sys::write_all(master, b"lost\x03kept\n")?;
    let mut line = [0; 16];
    let len = sys::read(slave, &mut line)?;
    check!(&line[..len] == b"kept\n");
    let mut echo = [0; 8];
    read_exactly(master, &mut echo)?;
    check!(&echo == b"^Ckept\r\n");
    Ok(())
}
