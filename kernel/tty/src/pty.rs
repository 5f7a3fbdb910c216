//! Pseudo-terminals (pty(7)): a terminal whose far end is another file, the master.
//!
//! A [`PtyLine`] holds what the slave has written and the master has not read yet; what the master writes goes straight to the
//! terminal's input. When the master is closed the slave is hung up for good. When the last slave is closed the master
//! reads EIO, until one is opened again.

use crate::devpts::{PtsNode, Ptys};
use crate::file::Opening;
use crate::ioctl::{self, End, put};
use crate::line::{Line, Report};
use crate::queue::ByteQueue;
use crate::ranks;
use crate::tty::{After, Tty};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result};
use core::any::Any;
use core::sync::atomic::Ordering;
use executor::WaitQueue;
use executor::spin::SpinLock;
use linux_raw_sys::general::{TCIFLUSH, TCIOFLUSH, TCOFLUSH};
use linux_raw_sys::ioctl as raw;
use memory::io::{Dst, Src};
use memory::user::UserPtr;
use vfs::file::{read_result, write_result};
use vfs::{Caller, Device, File, FileType, Metadata, OpenFlags};

/// The most output of the slave that waits for the master.
const MAX_OUTPUT: usize = 64 * 1024;

/// The most output that has reached the master although it has not read it: the slave's flush cannot take it back.
const DELIVERED: usize = 4095;

/// Bytes that the master hands over in one go.
const CHUNK: usize = 512;

/// The master's side of a pseudo-terminal, as the terminal sees it.
pub struct PtyLine {
    state: SpinLock<LineState>,
    queue: WaitQueue,
}

struct LineState {
    output: ByteQueue,
    /// Output was refused, so the slave must be told when there is room.
    refused: bool,
    /// TIOCPKT.
    packet: bool,
    /// What packet mode has to report.
    report: Report,
    /// The slave was open and is not any more.
    slave_closed: bool,
}

impl PtyLine {
    pub(crate) fn new() -> PtyLine {
        let state = LineState {
            output: ByteQueue::new(MAX_OUTPUT),
            refused: false,
            packet: false,
            report: Report::empty(),
            slave_closed: false,
        };
        PtyLine { state: SpinLock::new(ranks::LINE, state), queue: WaitQueue::new() }
    }
}

impl Line for PtyLine {
    fn write(&self, bytes: &[u8]) -> usize {
        let mut state = self.state.lock();
        let taken = state.output.push(bytes);
        state.refused |= taken < bytes.len();
        taken
    }

    fn room(&self) -> usize {
        self.state.lock().output.room()
    }

    fn drains(&self) -> bool {
        false
    }

    fn flush(&self) {
        self.state.lock().output.truncate(DELIVERED);
    }

    fn report(&self, report: Report) {
        let mut state = self.state.lock();
        if state.packet {
            // Each of these takes back its opposite.
            for (new, old) in [
                (Report::STOP, Report::START),
                (Report::START, Report::STOP),
                (Report::NO_STOP, Report::DO_STOP),
                (Report::DO_STOP, Report::NO_STOP),
            ] {
                if report.contains(new) {
                    state.report.remove(old);
                }
            }
            state.report |= report;
        }
    }

    fn opened(&self, open: bool) {
        self.state.lock().slave_closed = !open;
    }

    fn wake(&self) {
        self.queue.notify_all(Events::all().bits());
    }
}

/// The open master of a pseudo-terminal.
pub struct Master {
    node: Arc<PtsNode>,
    line: Arc<PtyLine>,
    ptys: Arc<Ptys>,
}

impl Master {
    pub(crate) fn new(node: Arc<PtsNode>, line: Arc<PtyLine>, ptys: Arc<Ptys>) -> Master {
        Master { node, line, ptys }
    }

    /// The terminal on the other side.
    pub fn tty(&self) -> &Arc<Tty> {
        self.node.tty()
    }

    /// TIOCGPTPEER: opens the other side without looking up its name, even where it is locked, with the flags of open(2). The result
    /// is to get a descriptor. EIO.
    pub fn open_peer(&self, caller: &Caller, flags: OpenFlags) -> Result<Arc<dyn File>> {
        let opening = Opening { flags, may_control: true, survives_hangup: false, node: Some(self.node.clone()) };
        self.tty().open(caller, opening)
    }

    /// TCFLSH as the master means it: its input is the slave's output.
    fn flush(&self, what: usize) -> Result<usize> {
        let what = u32::try_from(what)
            .ok()
            .filter(|what| [TCIFLUSH, TCOFLUSH, TCIOFLUSH].contains(what))
            .ok_or(Errno::EINVAL)?;
        let mut after = After::default();
        let mut state = self.tty().lock();
        if what != TCOFLUSH {
            self.tty().flush_output(&mut state, &mut after);
            self.line.state.lock().output.clear();
        }
        if what != TCIFLUSH {
            self.tty().flush_input(&mut state, &mut after);
        }
        drop(state);
        self.tty().finish(after);
        Ok(0)
    }
}

impl File for Master {
    fn read(&self, _caller: &Caller, _pos: u64, dst: &mut Dst) -> Result<usize> {
        if dst.is_full() {
            return Ok(0);
        }
        let mut state = self.line.state.lock();
        let mut moved = 0;
        if state.packet && !state.report.is_empty() {
            moved = dst.put(&[state.report.bits()]);
            if moved > 0 {
                state.report = Report::empty();
            }
            return read_result(moved, dst);
        }
        if state.output.is_empty() {
            return Err(if state.slave_closed { Errno::EIO.into() } else { Error::WouldBlock });
        }
        let mut head = 0;
        if state.packet {
            head = dst.put(&[0]);
        }
        if !state.packet || head > 0 {
            let (a, b) = state.output.front(dst.remaining());
            moved = dst.put(a);
            if moved == a.len() {
                moved += dst.put(b);
            }
        }
        let tell = state.refused || state.output.room() == 0;
        state.output.consume(moved);
        state.refused &= moved == 0;
        drop(state);
        if tell && moved > 0 {
            self.tty().output_ready();
        }
        read_result(head + moved, dst)
    }

    fn write(&self, _caller: &Caller, _pos: u64, src: &mut Src) -> Result<usize> {
        let mut chunk = [0; CHUNK];
        let mut moved = 0;
        loop {
            let n = src.take(&mut chunk);
            if n == 0 {
                break;
            }
            let taken = self.tty().input(&chunk[..n]);
            moved += taken;
            if taken < n {
                src.rewind(n - taken);
                break;
            }
        }
        if moved == 0 && src.fault().is_none() && src.remaining() > 0 {
            return Err(Error::WouldBlock);
        }
        write_result(moved, src)
    }

    fn poll(&self, _caller: &Caller) -> Events {
        let mut events = Events::empty();
        if self.tty().input_room() > 0 {
            events |= Events::OUT | Events::WRNORM;
        }
        let state = self.line.state.lock();
        let report = state.packet && !state.report.is_empty();
        if report {
            events |= Events::PRI;
        }
        if report || !state.output.is_empty() {
            events |= Events::IN | Events::RDNORM;
        }
        if state.slave_closed {
            events |= Events::HUP;
        }
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.line.queue)
    }

    fn metadata(&self) -> Metadata {
        let mut m = Metadata::new(Device::default(), 1, FileType::CharDevice, 0o666, vfs::clock::now());
        m.rdev = Device::new(5, 2);
        m
    }

    fn label(&self) -> Vec<u8> {
        b"/dev/ptmx".to_vec()
    }

    fn show_info(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        writeln!(out, "tty-index:\t{}", self.node.index())
    }

    fn ioctl(&self, caller: &Caller, request: u32, arg: usize) -> Result<usize> {
        match request {
            raw::TIOCGPTN => put(arg, &self.node.index()),
            raw::TIOCSPTLCK => {
                let lock = UserPtr::<i32>::from(arg).read()? != 0;
                self.node.locked().store(lock, Ordering::Relaxed);
                Ok(0)
            }
            raw::TIOCGPTLCK => put(arg, &i32::from(self.node.locked().load(Ordering::Relaxed))),
            raw::TIOCPKT => {
                let packet = UserPtr::<i32>::from(arg).read()? != 0;
                let mut state = self.line.state.lock();
                if packet && !state.packet {
                    state.report = Report::empty();
                }
                state.packet = packet;
                Ok(0)
            }
            raw::TIOCGPKT => {
                let packet = i32::from(self.line.state.lock().packet);
                put(arg, &packet)
            }
            raw::TIOCSIG => {
                // Only the signals that the terminal makes itself are let through, as on Linux.
                use linux_raw_sys::general::{SIGINT, SIGQUIT, SIGTSTP};
                let signal = arg as u32;
                if ![SIGINT, SIGQUIT, SIGTSTP].contains(&signal) {
                    return Err(Errno::EINVAL.into());
                }
                let (_, foreground) = self.tty().session_and_foreground();
                if foreground != 0 {
                    self.tty().jobs().signal_group(foreground, signal);
                }
                Ok(0)
            }
            raw::FIONREAD => {
                let waiting = self.line.state.lock().output.len() as i32;
                put(arg, &waiting)
            }
            raw::TIOCOUTQ => put(arg, &0i32),
            raw::TCFLSH => self.flush(arg),
            _ => ioctl::ioctl(self.tty(), End::Master, caller, request, arg),
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn close(&self) {
        self.ptys.remove(self.node.index());
        self.tty().lose_line();
    }
}
