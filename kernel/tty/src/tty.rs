//! The terminal: a line discipline between a [`Line`] and those who have the terminal open, with its settings and its place in
//! job control.
//!
//! `state` is one spin lock over all of it. Under it the discipline runs and the line takes bytes. What must not happen under it
//! (signals, waking) is collected in [`After`] and done when it is released.
//!
//! ```text
//!   Line ── input() ──► backlog ──► Discipline ──► read()      TtyFile: one per open
//!     ▲                                 │ pending   write()
//!     └──────── output_ready() ◄────────┴─────────────┘
//! ```

use crate::job::Jobs;
use crate::ldisc::{Discipline, Signal};
use crate::line::{Line, Report};
use crate::queue::ByteQueue;
use crate::ranks;
use crate::termios::{Input, Local, Special, Termios2, Winsize};
use alloc::sync::Arc;
use base::{Error, Events, Result};
use executor::WaitQueue;
use executor::spin::{SpinGuard, SpinLock};
use linux_raw_sys::general::{SIGINT, SIGQUIT, SIGTSTP, SIGWINCH};
use memory::io::{Dst, Src};
use vfs::Device;
use vfs::file::{read_result, write_result};

/// The most received bytes that wait behind a full input queue.
const MAX_BACKLOG: usize = 64 * 1024;

/// Bytes of output that are processed in one go.
const CHUNK: usize = 512;

/// A terminal.
pub struct Tty {
    device: Device,
    pty: Option<u32>,
    jobs: Arc<dyn Jobs>,
    line: Arc<dyn Line>,
    queue: WaitQueue,
    state: SpinLock<State>,
}

/// What the lock of a terminal protects.
pub(crate) struct State {
    pub(crate) disc: Discipline,
    /// Received, but the input queue is full.
    backlog: ByteQueue,
    pub(crate) winsize: Winsize,
    /// The session that it is the controlling terminal of; 0: none.
    pub(crate) session: u32,
    /// The foreground process group; 0: none.
    pub(crate) foreground: u32,
    /// TIOCEXCL.
    pub(crate) exclusive: bool,
    /// Open files of this generation.
    pub(crate) opens: u32,
    /// Hangups so far; files opened before the last one are hung up.
    pub(crate) generation: u32,
    /// Output was stopped by TCXONC.
    pub(crate) output_off: bool,
    /// The sender was asked to pause (IXOFF).
    paused_sender: bool,
    /// When the last byte came in, if VTIME needs to know. Nanoseconds since boot.
    last_input: u64,
    /// The far end is there. (The master of a pseudo-terminal can go.)
    pub(crate) line_alive: bool,
}

/// What is left to be done when the lock is released.
#[derive(Default)]
pub(crate) struct After {
    interrupt: bool,
    quit: bool,
    suspend: bool,
    foreground: u32,
    events: Events,
    wake_line: bool,
}

impl After {
    /// The line is to be woken.
    pub(crate) fn wake(&mut self) {
        self.wake_line = true;
    }

    /// Readers are to look again.
    pub(crate) fn readable(&mut self) {
        self.events |= Events::IN | Events::RDNORM;
    }
}

impl State {
    /// Whether output is held back.
    pub(crate) fn stopped(&self) -> bool {
        self.output_off || self.disc.stopped()
    }
}

impl Tty {
    /// A terminal over `line`, set to `termios`; `pty` is its number if it is the slave of a pseudo-terminal.
    pub fn new(
        device: Device,
        pty: Option<u32>,
        termios: Termios2,
        line: Arc<dyn Line>,
        jobs: Arc<dyn Jobs>,
    ) -> Arc<Tty> {
        Arc::new(Tty {
            device,
            pty,
            jobs,
            line,
            queue: WaitQueue::new(),
            state: SpinLock::new(
                ranks::TTY,
                State {
                    disc: Discipline::new(termios),
                    backlog: ByteQueue::new(MAX_BACKLOG),
                    winsize: Winsize::default(),
                    session: 0,
                    foreground: 0,
                    exclusive: false,
                    opens: 0,
                    generation: 0,
                    output_off: false,
                    paused_sender: false,
                    last_input: 0,
                    line_alive: true,
                },
            ),
        })
    }

    /// The device number.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Its number if it is the slave of a pseudo-terminal.
    pub fn pty(&self) -> Option<u32> {
        self.pty
    }

    /// The session whose controlling terminal it is, 0 if none, and the foreground process group, 0 if none (/proc/PID/stat).
    pub fn session_and_foreground(&self) -> (u32, u32) {
        let state = self.lock();
        (state.session, state.foreground)
    }

    pub(crate) fn jobs(&self) -> &dyn Jobs {
        &*self.jobs
    }

    pub(crate) fn line(&self) -> &dyn Line {
        &*self.line
    }

    pub(crate) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    pub(crate) fn lock(&self) -> SpinGuard<'_, State> {
        self.state.lock()
    }

    /// Takes bytes that came in on the line, and returns how many: fewer when a reader is far behind (the line offers the rest again
    /// after [`Line::wake`], or loses it). Sends the signals that characters ask for to the foreground group.
    pub fn input(&self, bytes: &[u8]) -> usize {
        let mut after = After::default();
        let mut state = self.lock();
        if !state.line_alive {
            return 0;
        }
        let fed = if state.backlog.is_empty() { self.feed(&mut state, bytes, &mut after) } else { 0 };
        let taken = fed + state.backlog.push(&bytes[fed..]);
        self.pause_sender(&mut state);
        self.drain(&mut state, &mut after);
        drop(state);
        self.finish(after);
        taken
    }

    /// How many bytes [`Tty::input`] takes now, memory permitting.
    pub fn input_room(&self) -> usize {
        self.lock().backlog.room()
    }

    /// The line takes output again: sends what waited and wakes writers.
    pub fn output_ready(&self) {
        let mut after = After::default();
        let mut state = self.lock();
        self.drain(&mut state, &mut after);
        if state.disc.pending().is_empty() && !state.stopped() {
            after.events |= Events::OUT | Events::WRNORM;
        }
        drop(state);
        self.finish(after);
    }

    /// Runs bytes through the discipline; returns how many it took.
    fn feed(&self, state: &mut State, bytes: &[u8], after: &mut After) -> usize {
        if state.disc.time() != 0 {
            state.last_input = arch::time::now();
        }
        let was_stopped = state.disc.stopped();
        let mut taken = 0;
        loop {
            let got = state.disc.receive(&bytes[taken..]);
            taken += got.taken;
            if got.more {
                after.events |= Events::IN | Events::RDNORM;
            }
            if got.flush {
                self.line.flush();
                self.line.report(Report::FLUSH_READ | Report::FLUSH_WRITE);
                after.events |= Events::OUT | Events::WRNORM;
                after.wake_line = true;
            }
            // The echo of a signal is on its way before the next one throws away what is not.
            self.drain(state, after);
            let Some(signal) = got.signal else { break };
            after.foreground = state.foreground;
            match signal {
                Signal::Interrupt => after.interrupt = true,
                Signal::Quit => after.quit = true,
                Signal::Suspend => after.suspend = true,
            }
        }
        if was_stopped != state.disc.stopped() {
            self.flow_changed(state, after);
        }
        taken
    }

    /// Output was stopped or goes on.
    pub(crate) fn flow_changed(&self, state: &mut State, after: &mut After) {
        let stopped = state.stopped();
        self.line.report(if stopped { Report::STOP } else { Report::START });
        after.wake_line = true;
        if !stopped {
            self.drain(state, after);
            after.events |= Events::OUT | Events::WRNORM;
        }
    }

    /// Gives the line what waits for it.
    pub(crate) fn drain(&self, state: &mut State, after: &mut After) {
        while !state.stopped() && !state.disc.pending().is_empty() {
            let (bytes, _) = state.disc.pending().front(usize::MAX);
            let (given, taken) = (bytes.len(), self.line.write(bytes));
            state.disc.pending_mut().consume(taken);
            after.wake_line |= taken > 0;
            if taken < given {
                break;
            }
        }
    }

    /// IXOFF: asks the sender to pause, or to go on.
    fn pause_sender(&self, state: &mut State) {
        let termios = state.disc.termios();
        let pause = if !termios.input().contains(Input::IXOFF) {
            false
        } else if state.paused_sender {
            !(state.disc.nearly_empty() && state.backlog.is_empty())
        } else {
            state.disc.nearly_full()
        };
        if pause != state.paused_sender {
            let byte = termios.cc(if pause { Special::Stop } else { Special::Start });
            state.paused_sender = pause;
            state.disc.pending_mut().push(&[byte]);
        }
    }

    /// Does what had to wait until the lock was released.
    pub(crate) fn finish(&self, after: After) {
        for (due, signal) in [(after.interrupt, SIGINT), (after.quit, SIGQUIT), (after.suspend, SIGTSTP)] {
            if due && after.foreground != 0 {
                self.jobs.signal_group(after.foreground, signal);
            }
        }
        if !after.events.is_empty() {
            self.queue.notify_all(after.events.bits());
        }
        if after.wake_line {
            self.line.wake();
        }
    }

    /// Reads; job control has been checked. `patient` as for [`Discipline::readable`].
    pub(crate) fn read(&self, patient: bool, dst: &mut Dst) -> Result<usize> {
        if dst.is_full() {
            return Ok(0);
        }
        let mut after = After::default();
        let mut state = self.lock();
        let n = state.disc.readable(dst.remaining(), patient).ok_or(Error::WouldBlock)?;
        let (a, b) = state.disc.front(n);
        let mut moved = dst.put(a);
        if moved == a.len() {
            moved += dst.put(b);
        }
        if n > 0 && moved == 0 {
            return read_result(0, dst);
        }
        state.disc.consume(moved);
        if !state.backlog.is_empty() {
            self.refill(&mut state, &mut after);
        }
        if state.paused_sender {
            self.pause_sender(&mut state);
            self.drain(&mut state, &mut after);
        }
        drop(state);
        self.finish(after);
        Ok(moved)
    }

    /// Moves on what waited behind a full input queue.
    pub(crate) fn refill(&self, state: &mut State, after: &mut After) {
        let mut chunk = [0; CHUNK];
        loop {
            let (a, _) = state.backlog.front(CHUNK);
            let n = a.len();
            chunk[..n].copy_from_slice(a);
            let taken = self.feed(state, &chunk[..n], after);
            state.backlog.consume(taken);
            after.wake_line |= taken > 0;
            if taken < n || n == 0 {
                break;
            }
        }
    }

    /// Writes; job control has been checked.
    pub(crate) fn write(&self, src: &mut Src) -> Result<usize> {
        let mut after = After::default();
        let mut state = self.lock();
        self.drain(&mut state, &mut after);
        let mut chunk = [0; CHUNK];
        let mut moved = 0;
        while !state.stopped() && state.disc.pending().is_empty() && self.line.room() > 0 {
            let n = src.take(&mut chunk);
            if n == 0 {
                break;
            }
            moved += n;
            self.send(&mut state, &chunk[..n]);
        }
        after.wake_line |= moved > 0;
        drop(state);
        self.finish(after);
        if moved == 0 && src.fault().is_none() && src.remaining() > 0 {
            return Err(Error::WouldBlock);
        }
        write_result(moved, src)
    }

    /// Sends one chunk, processed. What the line refuses becomes pending.
    fn send(&self, state: &mut State, chunk: &[u8]) {
        let mut rest = chunk;
        // Text without special characters goes out as it is.
        let plain = if state.disc.posts_nothing() { rest.len() } else { state.disc.plain_run(rest) };
        if plain == rest.len() {
            return self.put(state, rest);
        }
        let mut stage = [0; 2 * CHUNK];
        let mut made = plain;
        stage[..plain].copy_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        loop {
            let (done, more) = state.disc.post(rest, &mut stage[made..]);
            self.put(state, &stage[..made + more]);
            made = 0;
            rest = &rest[done..];
            if rest.is_empty() {
                break;
            }
        }
    }

    /// Sends processed bytes, behind what is pending.
    fn put(&self, state: &mut State, bytes: &[u8]) {
        let sent = if state.disc.pending().is_empty() { self.line.write(bytes) } else { 0 };
        state.disc.pending_mut().push(&bytes[sent..]);
    }

    /// What poll(2) reports.
    pub(crate) fn ready(&self) -> Events {
        let state = self.lock();
        let mut events = Events::empty();
        if state.disc.has_input() {
            events |= Events::IN | Events::RDNORM;
        }
        if !state.stopped() && state.disc.pending().is_empty() && self.line.room() > 0 {
            events |= Events::OUT | Events::WRNORM;
        }
        events
    }

    /// Until when a read that began to wait at `since` waits, by VTIME.
    pub(crate) fn read_deadline(&self, since: u64) -> Option<u64> {
        const TENTH: u64 = base::time::NANOS_PER_SEC / 10;
        let state = self.lock();
        let time = u64::from(state.disc.time()) * TENTH;
        if time == 0 {
            None
        } else if !state.disc.time_between_bytes() {
            Some(since.saturating_add(time))
        } else if state.disc.has_bytes() {
            Some(since.max(state.last_input).saturating_add(time))
        } else {
            None
        }
    }

    /// Whether tcdrain(3) need not wait.
    pub(crate) fn drained(&self, state: &State) -> bool {
        !self.line.drains() || self.line.unsent() == 0 && state.disc.pending().is_empty()
    }

    /// TIOCSWINSZ: SIGWINCH goes to the foreground group if the size is another one.
    pub(crate) fn set_winsize(&self, winsize: Winsize) {
        let foreground = {
            let mut state = self.lock();
            if core::mem::replace(&mut state.winsize, winsize) == winsize { 0 } else { state.foreground }
        };
        if foreground != 0 {
            self.jobs.signal_group(foreground, SIGWINCH);
        }
    }

    /// Throws away input that has not been read.
    pub(crate) fn flush_input(&self, state: &mut State, after: &mut After) {
        state.disc.flush_input();
        state.backlog.clear();
        self.line.report(Report::FLUSH_READ);
        after.wake_line = true;
    }

    /// Throws away output that has not been sent.
    pub(crate) fn flush_output(&self, state: &mut State, after: &mut After) {
        state.disc.pending_mut().clear();
        self.line.flush();
        self.line.report(Report::FLUSH_WRITE);
        after.wake_line = true;
        after.events |= Events::OUT | Events::WRNORM;
    }

    /// The line was cut (vhangup(2)): whoever has the terminal open reads the end of file and gets EIO for everything else, and its
    /// session loses it. `exits`: because the session's leader exits. The terminal can be opened again.
    pub fn hang_up(&self, exits: bool) {
        // The signals first: a reader that is woken to see the end of file has its SIGHUP by then.
        self.hang_up_session(exits);
        self.cut(true);
    }

    /// As [`Tty::hang_up`], for good: the far end is gone.
    pub(crate) fn lose_line(&self) {
        self.hang_up_session(false);
        self.cut(false);
    }

    fn cut(&self, line_alive: bool) {
        let mut after = After::default();
        let mut state = self.lock();
        state.generation = state.generation.wrapping_add(1);
        state.opens = 0;
        state.exclusive = false;
        state.output_off = false;
        state.paused_sender = false;
        state.line_alive = line_alive;
        state.disc.restart();
        self.flush_input(&mut state, &mut after);
        self.flush_output(&mut state, &mut after);
        after.events = Events::all();
        drop(state);
        self.finish(after);
    }

    /// Whether output from the background is stopped too (TOSTOP).
    pub(crate) fn stops_background_output(&self) -> bool {
        self.lock().disc.termios().local().contains(Local::TOSTOP)
    }
}
