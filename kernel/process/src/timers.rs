//! Timers that a program makes (timer_create(2)).
//!
//! A timer that has gone off and goes off again is set for its next time when its signal is taken, not before: one with
//! a period of a nanosecond costs its owner time, and nobody else. The times that passed in between are its overrun.
//!
//! The table of a process is locked before a timer. Timers of CPU clocks are looked at when a tick meets a thread of the process.

use crate::process::Process;
use crate::signal::{Fields, Siginfo, Signal, code, send};
use crate::thread::Thread;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use base::{Errno, rank};
use executor::spin::SpinLock;
use executor::{Expire, Timer};

/// The most timers that a process may have.
const MOST: usize = 4096;
/// A timer whose signal is ignored goes off no more often than this, in nanoseconds.
const IGNORED_PERIOD: u64 = 4_000_000;

/// What a timer counts.
pub enum Clock {
    /// Nanoseconds since boot.
    Monotonic,
    /// The wall clock, whose times its owner converts to nanoseconds since boot and back.
    Realtime,
    /// The CPU time of the process.
    Process,
    /// The CPU time of one thread.
    Thread(Weak<Thread>),
}

impl Clock {
    fn is_cpu(&self) -> bool {
        matches!(self, Clock::Process | Clock::Thread(_))
    }
}

/// Who is told, and how (`sigev_notify`).
pub enum Notice {
    /// Nobody: the timer is only asked.
    Nobody,
    /// The process.
    Process(Signal),
    /// One thread.
    Thread(Signal, Weak<Thread>),
}

#[derive(Default)]
struct State {
    /// When it goes off next, by its clock; 0 when it is not set.
    at: u64,
    /// Between that and the time after; 0 for once.
    every: u64,
    /// Its signal is on the way.
    sent: bool,
    /// The overrun of the signal that was taken last.
    overrun: i32,
}

/// A timer.
pub struct PosixTimer {
    id: i32,
    clock: Clock,
    notice: Notice,
    value: Option<usize>,
    process: Weak<Process>,
    timer: Timer,
    state: SpinLock<State>,
}

/// The timers of a process by their ids; few processes have any.
pub struct Timers(SpinLock<Option<Box<Table>>>);

#[derive(Default)]
struct Table {
    by_id: BTreeMap<i32, Arc<PosixTimer>>,
    next: i32,
}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers(SpinLock::new(rank::TIMERS, None))
    }

    /// The timer with an id. EINVAL.
    pub fn get(&self, id: i32) -> Result<Arc<PosixTimer>, Errno> {
        let table = self.0.lock();
        table.as_ref().and_then(|table| table.by_id.get(&id)).cloned().ok_or(Errno::EINVAL)
    }

    /// timer_delete(2). EINVAL.
    pub fn delete(&self, id: i32) -> Result<(), Errno> {
        let timer = self.0.lock().as_mut().and_then(|table| table.by_id.remove(&id)).ok_or(Errno::EINVAL)?;
        timer.timer.cancel();
        Ok(())
    }

    /// Deletes all (execve(2)).
    pub fn clear(&self) {
        drop(self.0.lock().take());
    }
}

impl Process {
    /// timer_create(2): a timer that is not set; its id. `value` is what the signal carries, its id if `None`. EAGAIN if
    /// there are too many.
    pub fn create_timer(self: &Arc<Process>, clock: Clock, notice: Notice, value: Option<usize>) -> Result<i32, Errno> {
        let mut table = self.timers.0.lock();
        let table = table.get_or_insert_default();
        if table.by_id.len() >= MOST {
            return Err(Errno::EAGAIN);
        }
        while table.by_id.contains_key(&table.next) {
            table.next = table.next.wrapping_add(1) & i32::MAX;
        }
        let id = table.next;
        table.next = id.wrapping_add(1) & i32::MAX;
        let timer = Arc::new_cyclic(|me: &Weak<PosixTimer>| PosixTimer {
            id,
            clock,
            notice,
            value,
            process: Arc::downgrade(self),
            timer: Timer::new(me.clone()),
            state: SpinLock::new(rank::ALARM, State::default()),
        });
        table.by_id.insert(id, timer);
        Ok(id)
    }

    /// A timer's signal is being taken: returns it with its overrun, and sets the timer for its next time.
    pub(crate) fn timer_taken(&self, id: i32, value: usize) -> Fields {
        let overrun = self.timers.get(id).map_or(0, |timer| timer.taken());
        Fields::Timer { id, overrun, value }
    }

    /// Sends the signals of timers of CPU time that are due.
    pub(crate) fn check_posix_timers(&self) {
        let mut from = 0;
        loop {
            let next = {
                let table = self.timers.0.lock();
                let Some(table) = &*table else { return };
                table.by_id.range(from..).next().map(|(id, timer)| (*id, timer.clone()))
            };
            let Some((id, timer)) = next else { return };
            if timer.clock.is_cpu() {
                timer.look();
            }
            let Some(after) = id.checked_add(1) else { return };
            from = after;
        }
    }
}

impl PosixTimer {
    /// Whether its times are of the wall clock.
    pub fn is_realtime(&self) -> bool {
        matches!(self.clock, Clock::Realtime)
    }

    /// What its clock shows.
    pub fn now(&self) -> u64 {
        match &self.clock {
            Clock::Monotonic | Clock::Realtime => arch::time::now(),
            Clock::Process => self.process.upgrade().map_or(0, |process| process.cpu_time()),
            Clock::Thread(thread) => thread.upgrade().map_or(0, |thread| thread.cpu_time()),
        }
    }

    /// What is left until it goes off (0 when it is not set), and its interval.
    pub fn get(&self) -> (u64, u64) {
        let now = self.now();
        let state = self.state.lock();
        let left = match (state.at, state.every) {
            (0, _) => 0,
            (at, _) if at > now => at - now,
            (_, 0) => 0,
            // Its signal waits, or was due this moment: the time after counts.
            (at, every) => every - (now - at) % every,
        };
        (left, state.every)
    }

    /// Sets it to go off when its clock shows `at`, 0 for never, and every `every` after that. Returns what it was.
    pub fn set(&self, at: u64, every: u64) -> (u64, u64) {
        let old = self.get();
        {
            let mut state = self.state.lock();
            self.timer.cancel();
            // A signal that is still on the way belongs to what was set before.
            *state = State { at, every, sent: false, overrun: 0 };
            self.arm(&state);
        }
        if self.clock.is_cpu() {
            self.look();
        }
        old
    }

    fn arm(&self, state: &State) {
        if state.at != 0 && !self.clock.is_cpu() {
            self.timer.arm(state.at);
        }
    }

    /// How many times it had gone off beside the one that the last signal told of.
    pub fn overrun(&self) -> i32 {
        self.state.lock().overrun
    }

    fn taken(&self) -> i32 {
        let now = self.now();
        let mut state = self.state.lock();
        if !core::mem::take(&mut state.sent) {
            return 0;
        }
        let missed = state.forward(now);
        state.overrun = i32::try_from(missed).unwrap_or(i32::MAX);
        self.arm(&state);
        state.overrun
    }

    /// Sends the signal if the time has come.
    fn look(&self) {
        let now = self.now();
        {
            let mut state = self.state.lock();
            if state.at == 0 || state.at > now || state.sent {
                return;
            }
            state.sent = true;
        }
        if self.send() {
            return;
        }
        // Nobody will take a signal: the timer goes on by itself.
        let mut state = self.state.lock();
        state.sent = false;
        state.forward(now);
        if state.at != 0 {
            state.at = state.at.max(now + IGNORED_PERIOD.min(state.every));
        }
        self.arm(&state);
    }

    /// Whether a signal is now pending.
    fn send(&self) -> bool {
        let Some(process) = self.process.upgrade() else { return false };
        let (signal, thread) = match &self.notice {
            Notice::Nobody => return false,
            Notice::Process(signal) => (*signal, None),
            Notice::Thread(signal, thread) => match thread.upgrade() {
                None => return false,
                thread => (*signal, thread),
            },
        };
        let value = self.value.unwrap_or(self.id as usize);
        let info = Siginfo { signal, code: code::TIMER, fields: Fields::Timer { id: self.id, overrun: 0, value } };
        let held = match &thread {
            None => process.shared.lock().threads.values().any(|thread| thread.holds_back(signal)),
            Some(thread) => thread.holds_back(signal),
        };
        if !held && process.actions().get(signal).ignores(signal) {
            return false;
        }
        match thread {
            None => send::to_process(&process, info),
            Some(thread) => send::to_thread(&thread, info),
        }
        .is_ok()
    }
}

impl State {
    /// Moves on past `now`; how many times that had passed were left out.
    fn forward(&mut self, now: u64) -> u64 {
        if self.every == 0 || self.at == 0 {
            self.at = 0;
            return 0;
        }
        let missed = now.saturating_sub(self.at) / self.every;
        self.at = self.at.saturating_add((missed + 1).saturating_mul(self.every));
        missed
    }
}

impl Expire for PosixTimer {
    fn expired(&self, _: u64) {
        self.look();
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn what_passed_before_the_signal_was_taken_is_the_overrun() {
        let mut state = State { at: 100, every: 10, ..State::default() };
        assert_eq!(state.forward(105), 0);
        assert_eq!(state.at, 110);
        assert_eq!(state.forward(139), 2, "at 120 and 130");
        assert_eq!(state.at, 140);
    }

    #[test]
    fn a_timer_without_interval_goes_off_once() {
        let mut state = State { at: 100, every: 0, ..State::default() };
        assert_eq!(state.forward(1000), 0);
        assert_eq!(state.at, 0);
    }
}
