//! ioctl(2) on terminals (ioctl_tty(2)). What a request does for both ends of a pseudo-terminal is done here to the
//! terminal itself; the master's own requests are in [`crate::pty`]. Anything else is ENOTTY.
//!
//! A request that waits for output to be sent (TCSETSW, TCSETSF, TCSBRK) returns WouldBlock before it has done anything;
//! wait for [`base::Events::OUT`] and call again.

use crate::line::Report;
use crate::termios::{Input, Local, Special, Termios, Termios2, Winsize};
use crate::tty::{After, Tty};
use alloc::sync::Arc;
use base::{Capability, Errno, Error, Result};
use linux_raw_sys::general::{SIGTTOU, TCIFLUSH, TCIOFF, TCIOFLUSH, TCION, TCOFLUSH, TCOOFF, TCOON};
use linux_raw_sys::ioctl as raw;
use memory::user::UserPtr;
use vfs::Caller;

/// Which end of a terminal a request comes in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The terminal itself, opened for reading or not.
    Terminal { readable: bool },
    /// The master of a pseudo-terminal.
    Master,
}

/// When new settings take effect (tcsetattr(3)).
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Drained,
    DrainedAndFlushed,
}

pub(crate) fn ioctl(tty: &Arc<Tty>, end: End, caller: &Caller, request: u32, arg: usize) -> Result<usize> {
    // A process may ask the terminal only about its own session; the master may always ask.
    let own = matches!(end, End::Terminal { .. });
    match request {
        raw::TCGETS | raw::TCGETS2 => {
            let termios = *tty.lock().disc.termios();
            if request == raw::TCGETS { put(arg, &termios.base) } else { put(arg, &termios) }
        }
        raw::TCSETS => set(tty, caller, arg, false, When::Now),
        raw::TCSETSW => set(tty, caller, arg, false, When::Drained),
        raw::TCSETSF => set(tty, caller, arg, false, When::DrainedAndFlushed),
        raw::TCSETS2 => set(tty, caller, arg, true, When::Now),
        raw::TCSETSW2 => set(tty, caller, arg, true, When::Drained),
        raw::TCSETSF2 => set(tty, caller, arg, true, When::DrainedAndFlushed),
        raw::TIOCGWINSZ => {
            let winsize = tty.lock().winsize;
            put(arg, &winsize)
        }
        raw::TIOCSWINSZ => {
            tty.set_winsize(UserPtr::<Winsize>::from(arg).read()?);
            Ok(0)
        }
        raw::TIOCGPGRP => put(arg, &tty.foreground_for(caller, own)?),
        raw::TIOCSPGRP => {
            tty.check_background_spgrp(caller)?;
            let group = UserPtr::<i32>::from(arg).read()?;
            tty.set_foreground(caller, group).map(|()| 0)
        }
        raw::TIOCGSID => put(arg, &tty.session_for(caller, own)?),
        raw::TCFLSH if own => {
            tty.check_background(caller, SIGTTOU)?;
            flush(tty, arg)
        }
        raw::TCXONC if own => {
            tty.check_background(caller, SIGTTOU)?;
            flow(tty, arg)
        }
        raw::TCSBRK | raw::TCSBRKP => {
            // A break means nothing to these lines; what remains is that output is sent first.
            tty.check_background(caller, SIGTTOU)?;
            if tty.drained(&tty.lock()) { Ok(0) } else { Err(Error::WouldBlock) }
        }
        raw::TIOCEXCL => exclusive(tty, true),
        raw::TIOCNXCL => exclusive(tty, false),
        raw::TIOCGEXCL => {
            let exclusive = i32::from(tty.lock().exclusive);
            put(arg, &exclusive)
        }
        raw::TIOCGETD => put(arg, &0i32),
        raw::TIOCSETD => {
            tty.check_background(caller, SIGTTOU)?;
            // There is one discipline, N_TTY.
            if UserPtr::<i32>::from(arg).read()? == 0 { Ok(0) } else { Err(Errno::EINVAL.into()) }
        }
        raw::TIOCGDEV => put(arg, &(tty.device().encode() as u32)),
        _ => match end {
            End::Terminal { readable } => terminal_only(tty, caller, request, arg, readable),
            End::Master => Err(Errno::ENOTTY.into()),
        },
    }
}

/// What only the terminal itself answers, not the master.
fn terminal_only(tty: &Arc<Tty>, caller: &Caller, request: u32, arg: usize, readable: bool) -> Result<usize> {
    match request {
        raw::TIOCSCTTY => tty.set_controlling(caller, arg, readable).map(|()| 0),
        raw::TIOCNOTTY => tty.give_up(caller).map(|()| 0),
        raw::FIONREAD => {
            let waiting = tty.lock().disc.waiting() as i32;
            put(arg, &waiting)
        }
        raw::TIOCOUTQ => {
            let state = tty.lock();
            let unsent = (state.disc.pending().len() + tty.line().unsent()) as i32;
            drop(state);
            put(arg, &unsent)
        }
        raw::TIOCSTI => {
            // Typing for others is a way to take over their shells, so it takes privilege.
            if !caller.cred.has(Capability::SysAdmin) {
                return Err(Errno::EIO.into());
            }
            let byte = UserPtr::<u8>::from(arg).read()?;
            tty.input(&[byte]);
            Ok(0)
        }
        raw::TIOCVHANGUP => {
            if !caller.cred.has(Capability::SysAdmin) {
                return Err(Errno::EPERM.into());
            }
            tty.hang_up(false);
            Ok(0)
        }
        _ => Err(Errno::ENOTTY.into()),
    }
}

/// Writes the answer to user memory.
pub(crate) fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(arg: usize, value: &T) -> Result<usize> {
    UserPtr::<T>::from(arg).write(value)?;
    Ok(0)
}

/// TCSETS and its kin.
fn set(tty: &Tty, caller: &Caller, arg: usize, with_speeds: bool, when: When) -> Result<usize> {
    tty.check_background(caller, SIGTTOU)?;
    let mut after = After::default();
    let mut state = tty.lock();
    if when != When::Now && !tty.drained(&state) {
        return Err(Error::WouldBlock);
    }
    let old = *state.disc.termios();
    let mut new = old;
    if with_speeds {
        new.set2(UserPtr::<Termios2>::from(arg).read()?);
    } else {
        new.set(UserPtr::<Termios>::from(arg).read()?);
    }
    if when == When::DrainedAndFlushed {
        tty.flush_input(&mut state, &mut after);
    }
    if state.disc.set_termios(new) {
        tty.flow_changed(&mut state, &mut after);
    }
    tty.line().configure(&new);
    let (before, now) = (flow_by_keys(&old), flow_by_keys(&new));
    if before != now {
        tty.line().report(if now { Report::DO_STOP } else { Report::NO_STOP });
        after.wake();
    }
    // What there is may be readable under other rules, and a reader's time may be another.
    after.readable();
    if (old.local() ^ new.local()).contains(Local::ICANON) {
        tty.refill(&mut state, &mut after);
    }
    drop(state);
    tty.finish(after);
    Ok(0)
}

/// Whether ^S and ^Q themselves stop and start output, which is what packet mode reports.
fn flow_by_keys(termios: &Termios2) -> bool {
    termios.input().contains(Input::IXON) && termios.cc(Special::Stop) == 0x13 && termios.cc(Special::Start) == 0x11
}

/// TCFLSH (tcflush(3)). EINVAL.
fn flush(tty: &Tty, what: usize) -> Result<usize> {
    let what =
        u32::try_from(what).ok().filter(|what| [TCIFLUSH, TCOFLUSH, TCIOFLUSH].contains(what)).ok_or(Errno::EINVAL)?;
    let mut after = After::default();
    let mut state = tty.lock();
    if what != TCOFLUSH {
        tty.flush_input(&mut state, &mut after);
    }
    if what != TCIFLUSH {
        tty.flush_output(&mut state, &mut after);
    }
    drop(state);
    tty.finish(after);
    Ok(0)
}

/// TCXONC (tcflow(3)). EINVAL.
fn flow(tty: &Tty, what: usize) -> Result<usize> {
    let mut after = After::default();
    let mut state = tty.lock();
    match u32::try_from(what).unwrap_or(u32::MAX) {
        TCOOFF if !state.output_off => {
            state.output_off = true;
            tty.flow_changed(&mut state, &mut after);
        }
        TCOON if state.output_off => {
            state.output_off = false;
            state.disc.restart();
            tty.flow_changed(&mut state, &mut after);
        }
        TCOOFF | TCOON => {}
        direction @ (TCIOFF | TCION) => {
            let byte = state.disc.termios().cc(if direction == TCIOFF { Special::Stop } else { Special::Start });
            if byte != crate::termios::DISABLED {
                state.disc.pending_mut().push(&[byte]);
                tty.drain(&mut state, &mut after);
            }
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    drop(state);
    tty.finish(after);
    Ok(0)
}

fn exclusive(tty: &Tty, on: bool) -> Result<usize> {
    tty.lock().exclusive = on;
    Ok(0)
}
