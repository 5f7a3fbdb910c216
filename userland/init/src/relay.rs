//! Command mode: runs one command and relays its three streams over the console as frames.
//!
//! Input is taken only against credit, because a serial line has no flow control: the host may send what was granted,
//! which is less than a terminal's input buffer. What arrived and did not fit into the command's pipe yet waits in
//! `Input`. SIGCHLD is turned into a byte in a pipe, so that one `poll` waits for everything.

use core::sync::atomic::{AtomicI32, Ordering};

use rt::raw::general::*;
use rt::raw::ioctl::{TCGETS, TCSETS};
use rt::sys::{self, Errno};
use rt::{eprintln, signal};

use crate::command::Command;
use crate::frame::{self, Decoder};

const CONSOLE: i32 = 0;
/// How much input may be under way or waiting.
const WINDOW: usize = 2048;

static CHILD_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_child(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    // A full pipe already says what there is to say.
    let _ = sys::write(CHILD_PIPE.load(Ordering::Relaxed), &[0]);
}

/// Runs the command to its end and reports its status.
pub fn run(command: &Command) {
    set_raw();
    let status = match relay(command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("init: cannot start a command: errno {}", error.0);
            125
        }
    };
    frame::send(CONSOLE, frame::STATUS, &[status as u8]);
}

fn relay(command: &Command) -> sys::Result<i32> {
    let children = sys::pipe(O_CLOEXEC | O_NONBLOCK)?;
    CHILD_PIPE.store(children[1], Ordering::Relaxed);
    signal::handle(SIGCHLD, on_child, SA_RESTART)?;
    signal::set_action(SIGPIPE, &signal::Action { handler: 1, ..Default::default() })?;
    let [input, output, errors] = [sys::pipe(O_CLOEXEC)?, sys::pipe(O_CLOEXEC)?, sys::pipe(O_CLOEXEC)?];

    let child = match sys::fork()? {
        0 => {
            let _ = signal::set_action(SIGPIPE, &signal::Action::default());
            let _ = sys::setsid();
            for (from, to) in [(input[0], 0), (output[1], 1), (errors[1], 2)] {
                let _ = sys::dup3(from, to, 0);
            }
            command.exec()
        }
        child => child,
    };
    for fd in [input[0], output[1], errors[1]] {
        sys::close(fd)?;
    }
    for fd in [input[1], output[0], errors[0]] {
        set_nonblocking(fd)?;
    }

    let mut input = Input { pipe: input[1], pending: [0; WINDOW], start: 0, end: 0, granted: 0, at_end: false };
    let mut decoder = Decoder::new();
    let mut streams = [(output[0], frame::OUT), (errors[0], frame::ERR)];
    loop {
        input.grant();
        let mut waits = [
            pollfd { fd: CONSOLE, events: POLLIN as i16, revents: 0 },
            pollfd { fd: children[0], events: POLLIN as i16, revents: 0 },
            pollfd { fd: if input.has_pending() { input.pipe } else { -1 }, events: POLLOUT as i16, revents: 0 },
            pollfd { fd: streams[0].0, events: POLLIN as i16, revents: 0 },
            pollfd { fd: streams[1].0, events: POLLIN as i16, revents: 0 },
        ];
        match sys::poll(&mut waits, -1) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if waits[0].revents != 0 {
            input.take(&mut decoder);
        }
        if waits[2].revents != 0 {
            input.feed();
        }
        for (stream, wait) in streams.iter_mut().zip(&waits[3..]) {
            if wait.revents != 0 {
                forward(stream, 1);
            }
        }
        if waits[1].revents != 0
            && let Some(status) = reap(children[0], child)
        {
            // What the command wrote before it ended still sits in the pipes, 64 KiB at most in each.
            for stream in &mut streams {
                forward(stream, 64 * 1024 / frame::PAYLOAD);
            }
            return Ok(status);
        }
    }
}

/// Sends up to `most` frames of what a stream holds; closes it at its end.
fn forward(stream: &mut (i32, u8), most: usize) {
    for _ in 0..most {
        let mut buffer = [0u8; frame::PAYLOAD];
        match sys::read(stream.0, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok(0) | Err(_) => {
                let _ = sys::close(stream.0);
                stream.0 = -1;
                return;
            }
            Ok(count) => frame::send(CONSOLE, stream.1, &buffer[..count]),
        }
    }
}

/// Reaps whoever has ended; gives the command's status if it is among them.
fn reap(pipe: i32, command: i32) -> Option<i32> {
    let mut drain = [0u8; 64];
    while matches!(sys::read(pipe, &mut drain), Ok(1..)) {}
    let mut found = None;
    while let Ok((pid, status)) = sys::wait4(-1, WNOHANG) {
        if pid == 0 {
            break;
        }
        if pid == command {
            found = Some(sys::shell_status(status));
        }
    }
    found
}

/// The command's standard input on its way from the console.
struct Input {
    pipe: i32,
    pending: [u8; WINDOW],
    start: usize,
    end: usize,
    granted: usize,
    at_end: bool,
}

impl Input {
    fn has_pending(&self) -> bool {
        self.start < self.end
    }

    /// Grants what fits, in few and large pieces.
    fn grant(&mut self) {
        if !self.has_pending() && self.granted == 0 && !self.at_end {
            self.granted = WINDOW;
            frame::send(CONSOLE, frame::CREDIT, &(WINDOW as u16).to_le_bytes());
        }
    }

    /// Reads what the console has and keeps the input in it.
    fn take(&mut self, decoder: &mut Decoder) {
        let mut line = [0u8; 1024];
        let Ok(count) = sys::read(CONSOLE, &mut line) else {
            return;
        };
        for &byte in &line[..count] {
            let Some((frame::INPUT, payload)) = decoder.push(byte) else {
                continue;
            };
            if payload.is_empty() {
                self.at_end = true;
            }
            if self.pipe >= 0 {
                if !self.has_pending() {
                    (self.start, self.end) = (0, 0);
                }
                // Credit is given only when nothing is pending, so what was granted always fits.
                let room = payload.len().min(WINDOW - self.end);
                self.pending[self.end..self.end + room].copy_from_slice(&payload[..room]);
                self.end += room;
            }
            self.granted = self.granted.saturating_sub(payload.len());
        }
        self.feed();
    }

    /// Writes what the pipe takes; at the end of input, or when nobody reads any more, closes it.
    fn feed(&mut self) {
        while self.has_pending() && self.pipe >= 0 {
            match sys::write(self.pipe, &self.pending[self.start..self.end]) {
                Ok(count) => self.start += count,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.close(),
            }
        }
        if self.at_end {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.pipe >= 0 {
            let _ = sys::close(self.pipe);
            self.pipe = -1;
        }
        (self.start, self.end) = (0, 0);
    }
}

fn set_nonblocking(fd: i32) -> sys::Result<()> {
    // SAFETY: F_SETFL takes a number.
    sys::check(unsafe { rt::syscall3(__NR_fcntl as usize, fd as usize, F_SETFL as usize, O_NONBLOCK as usize) })
        .map(|_| ())
}

/// No echo, no line editing, no signals, no translation: the console carries bytes.
fn set_raw() {
    // SAFETY: a structure of integers, for which nought is a value.
    let mut line: termios = unsafe { core::mem::zeroed() };
    // SAFETY: TCGETS and TCSETS take a pointer to the kernel's termios.
    unsafe {
        if sys::ioctl(CONSOLE, TCGETS, &raw mut line as usize).is_err() {
            return;
        }
        line.c_iflag = 0;
        line.c_oflag = 0;
        line.c_lflag = 0;
        line.c_cc[VMIN as usize] = 1;
        line.c_cc[VTIME as usize] = 0;
        let _ = sys::ioctl(CONSOLE, TCSETS, &raw const line as usize);
    }
}
