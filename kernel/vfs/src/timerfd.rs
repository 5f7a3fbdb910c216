//! timerfd_create(2): a timer that is read and polled.
//!
//! One that goes off again and again is set for its next time when it is read; how often it has gone off by then
//! is computed. So a timer that nobody reads costs nothing, however short its period.

use crate::file::{Caller, DATA, File};
use crate::ranks;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result};
use executor::spin::SpinLock;
use executor::{Expire, Timer, WaitQueue};
use memory::io::Dst;

/// Times in nanoseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// When it goes off, or went off first since it was read; 0 when it is not set.
    at: u64,
    /// Between that and the time after; 0 for once.
    every: u64,
}

impl State {
    /// How often it has gone off since it was read.
    fn count(&self, now: u64) -> u64 {
        match (self.at, self.every) {
            (0, _) => 0,
            (at, _) if at > now => 0,
            (_, 0) => 1,
            (at, every) => (now - at) / every + 1,
        }
    }

    /// What is left until it goes off again; 0 when it does not.
    fn left(&self, now: u64) -> u64 {
        match (self.at, self.every) {
            (0, _) => 0,
            (at, _) if at > now => at - now,
            (_, 0) => 0,
            (at, every) => every - (now - at) % every,
        }
    }

    /// Takes the count and moves on.
    fn take(&mut self, now: u64) -> u64 {
        let count = self.count(now);
        if count > 0 {
            self.at = if self.every == 0 { 0 } else { self.at.saturating_add(count.saturating_mul(self.every)) };
        }
        count
    }
}

/// A timerfd.
pub struct TimerFd {
    clock: u32,
    state: SpinLock<State>,
    timer: Timer,
    queue: WaitQueue,
}

impl TimerFd {
    /// A timer that is not set. `clock` is the number of its clock, which its maker converts to and from.
    pub fn new(clock: u32) -> Arc<TimerFd> {
        Arc::new_cyclic(|me: &Weak<TimerFd>| TimerFd {
            clock,
            state: SpinLock::new(ranks::PIPE, State::default()),
            timer: Timer::new(me.clone()),
            queue: WaitQueue::new(),
        })
    }

    /// The number of its clock.
    pub fn clock(&self) -> u32 {
        self.clock
    }

    /// What is left until it goes off (0 when it is not set), and its interval.
    pub fn get(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.left(arch::time::now()), state.every)
    }

    /// Sets it to go off at `at` (nanoseconds since boot), 0 for never, and every `every` after that. Returns what it was.
    pub fn set(&self, at: u64, every: u64) -> (u64, u64) {
        let mut state = self.state.lock();
        let old = (state.left(arch::time::now()), state.every);
        self.timer.cancel();
        *state = State { at, every };
        if at != 0 {
            self.timer.arm(at);
        }
        old
    }
}

impl Expire for TimerFd {
    fn expired(&self, now: u64) {
        let count = self.state.lock().count(now);
        if count > 0 {
            self.queue.notify_all(DATA.bits());
        }
    }
}

impl File for TimerFd {
    /// How often it has gone off. EINVAL if there is not room for 8 bytes.
    fn read(&self, _: &Caller, _: u64, dst: &mut Dst) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let now = arch::time::now();
        let mut state = self.state.lock();
        let count = state.count(now);
        if count == 0 {
            return Err(Error::WouldBlock);
        }
        if dst.put(&count.to_ne_bytes()) < 8 {
            drop(state);
            return Err(dst.take_fault().map_or(Errno::EFAULT.into(), Error::Fault));
        }
        state.take(now);
        if state.at != 0 {
            self.timer.arm(state.at);
        }
        Ok(8)
    }

    fn poll(&self, _: &Caller) -> Events {
        if self.state.lock().count(arch::time::now()) > 0 { DATA } else { Events::empty() }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn label(&self) -> Vec<u8> {
        b"anon_inode:[timerfd]".to_vec()
    }

    fn show_info(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        let now = arch::time::now();
        let state = *self.state.lock();
        let split = |nanos: u64| (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let (left, every) = (split(state.left(now)), split(state.every));
        writeln!(out, "clockid: {}", self.clock)?;
        writeln!(out, "ticks: {}", state.count(now))?;
        writeln!(out, "it_value: ({}, {})", left.0, left.1)?;
        writeln!(out, "it_interval: ({}, {})", every.0, every.1)
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn a_read_tells_how_often_the_timer_went_off() {
        let mut state = State { at: 100, every: 10 };
        assert_eq!((state.count(99), state.left(99)), (0, 1));
        assert_eq!((state.count(100), state.left(100)), (1, 10));
        assert_eq!((state.count(125), state.left(125)), (3, 5));
        assert_eq!(state.take(125), 3);
        assert_eq!(state, State { at: 130, every: 10 });
        assert_eq!(state.take(125), 0);
    }

    #[test]
    fn without_an_interval_it_goes_off_once() {
        let mut state = State { at: 100, every: 0 };
        assert_eq!(state.count(500), 1);
        assert_eq!(state.take(500), 1);
        assert_eq!(state.count(900), 0);
    }
}
