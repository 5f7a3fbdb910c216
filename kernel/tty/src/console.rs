//! The terminals that have fixed names: the serial port's own (/dev/ttyS0, /dev/ttyAMA0), the system console
//! (/dev/console), which is that same terminal, and each process's own (/dev/tty).
//!
//! The kernel makes the port's [`Tty`] over a [`Line`](crate::line::Line) of its driver and opens it by these functions.

use crate::file::Opening;
use crate::job::Jobs;
use crate::line::Line;
use crate::termios::{Termios2, Winsize};
use crate::tty::Tty;
use alloc::sync::Arc;
use base::{Errno, Result};
use linux_raw_sys::general::{B115200, CBAUD};
use vfs::{Caller, Device, File, OpenFlags};

/// Device number of /dev/tty.
pub const TTY: Device = Device::new(5, 0);
/// Device number of /dev/console.
pub const CONSOLE: Device = Device::new(5, 1);
/// Device number of the first serial port: ttyS0 on x86_64.
pub const TTYS0: Device = Device::new(4, 64);
/// Device number of the first serial port: ttyAMA0 on aarch64.
pub const TTYAMA0: Device = Device::new(204, 64);

/// The terminal of a serial port, at 115200 bits per second, 24 lines of 80 characters until told otherwise.
pub fn serial(device: Device, line: Arc<dyn Line>, jobs: Arc<dyn Jobs>) -> Arc<Tty> {
    let mut termios = Termios2::SANE;
    termios.base.cflag = termios.base.cflag & !CBAUD | B115200;
    (termios.ispeed, termios.ospeed) = (115200, 115200);
    let tty = Tty::new(device, None, termios, line, jobs);
    tty.set_winsize(Winsize { row: 24, col: 80, xpixel: 0, ypixel: 0 });
    tty
}

/// open(2) of the port's own name. EBUSY (TIOCEXCL).
pub fn open_serial(tty: &Arc<Tty>, caller: &Caller, flags: OpenFlags) -> Result<Arc<dyn File>> {
    tty.open(caller, Opening { flags, may_control: true, survives_hangup: false, node: None })
}

/// open(2) of /dev/console. It never becomes a controlling terminal by that (TIOCSCTTY makes it one), and no hangup reaches it.
pub fn open_console(tty: &Arc<Tty>, caller: &Caller, flags: OpenFlags) -> Result<Arc<dyn File>> {
    tty.open(caller, Opening { flags, may_control: false, survives_hangup: true, node: None })
}

/// open(2) of /dev/tty: the caller's controlling terminal. ENXIO without one.
pub fn open_current(jobs: &dyn Jobs, caller: &Caller, flags: OpenFlags) -> Result<Arc<dyn File>> {
    let tty = jobs.terminal(caller.process).ok_or(Errno::ENXIO)?;
    tty.open(caller, Opening { flags, may_control: false, survives_hangup: false, node: None })
}
