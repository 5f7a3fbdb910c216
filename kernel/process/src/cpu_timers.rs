//! Timers that count CPU time: ITIMER_VIRTUAL and ITIMER_PROF (setitimer(2)) and RLIMIT_CPU (getrlimit(2)).
//!
//! They are looked at when a tick meets a thread of the process, so they go off up to a tick late and never early.

use crate::limits::{INFINITY, Resource};
use crate::process::Process;
use crate::signal::{Siginfo, Signal, send};
use crate::times::Usage;
use alloc::boxed::Box;
use alloc::sync::Arc;
use base::rank;
use base::time::NANOS_PER_SEC;
use executor::spin::SpinLock;

/// Which of the two interval timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Counts user time: SIGVTALRM.
    Virtual,
    /// Counts user and system time: SIGPROF.
    Prof,
}

impl Which {
    fn signal(self) -> Signal {
        match self {
            Which::Virtual => Signal::SIGVTALRM,
            Which::Prof => Signal::SIGPROF,
        }
    }

    /// What it has counted.
    fn count(self, usage: &Usage) -> u64 {
        match self {
            Which::Virtual => usage.user,
            Which::Prof => usage.user + usage.system,
        }
    }
}

/// One interval timer.
#[derive(Clone, Copy, Default)]
struct Interval {
    /// The count at which it goes off, in nanoseconds; 0 when it is not set.
    at: u64,
    /// Nanoseconds between that and the next; 0 for once.
    every: u64,
}

impl Interval {
    fn remaining(&self, count: u64) -> u64 {
        if self.at == 0 { 0 } else { self.at.saturating_sub(count).max(1) }
    }

    /// Whether it goes off at `count`; if so it is set for the next time. Times that were missed are not made up for.
    fn goes_off(&mut self, count: u64) -> bool {
        if self.at == 0 || count < self.at {
            return false;
        }
        self.at = match self.every {
            0 => 0,
            // An interval may be as long as a number can say: then there is no next time.
            every => self.at.saturating_add(((count - self.at) / every + 1).saturating_mul(every)),
        };
        true
    }
}

#[derive(Default)]
struct State {
    timers: [Interval; 2],
    /// The count of seconds at which the next SIGXCPU is due, once one was sent; 0 before.
    next_warning: u64,
}

/// A process's timers of CPU time; few processes have any.
pub struct CpuTimers(SpinLock<Option<Box<State>>>);

impl CpuTimers {
    pub(crate) fn new() -> CpuTimers {
        CpuTimers(SpinLock::new(rank::ALARM, None))
    }
}

impl Process {
    /// Nanoseconds of CPU time until a timer goes off (0 when it is not set), and its interval.
    pub fn cpu_timer(&self, which: Which) -> (u64, u64) {
        let count = which.count(&self.usage());
        let state = self.cpu_timers.0.lock();
        let timer = state.as_ref().map_or(Interval::default(), |state| state.timers[which as usize]);
        (timer.remaining(count), timer.every)
    }

    /// Sets a timer to go off after `value` nanoseconds of CPU time, 0 for never, and every `every` after that.
    pub fn set_cpu_timer(&self, which: Which, value: u64, every: u64) {
        let count = which.count(&self.usage());
        let mut state = self.cpu_timers.0.lock();
        if value == 0 && state.is_none() {
            return;
        }
        let at = if value == 0 { 0 } else { count.saturating_add(value) };
        state.get_or_insert_default().timers[which as usize] = Interval { at, every };
    }

    /// Sends the signals that are due. Called by a thread of the process when a tick meets it.
    pub fn check_cpu_timers(self: &Arc<Process>) {
        self.check_posix_timers();
        let limit = self.limits.get(Resource::Cpu);
        if limit.soft == INFINITY && self.cpu_timers.0.lock().is_none() {
            return;
        }
        let usage = self.usage();
        let mut due = [None; 3];
        {
            let mut state = self.cpu_timers.0.lock();
            if let Some(state) = &mut *state {
                for (which, due) in [Which::Virtual, Which::Prof].into_iter().zip(&mut due) {
                    if state.timers[which as usize].goes_off(which.count(&usage)) {
                        *due = Some(which.signal());
                    }
                }
            }
            let seconds = (usage.user + usage.system) / NANOS_PER_SEC;
            if seconds >= limit.hard {
                due[2] = Some(Signal::SIGKILL);
            } else if seconds >= limit.soft && seconds >= state.get_or_insert_default().next_warning {
                // Once more each second, as Linux does.
                state.get_or_insert_default().next_warning = seconds + 1;
                due[2] = Some(Signal::SIGXCPU);
            }
        }
        for signal in due.into_iter().flatten() {
            // Standard signals merge: never refused.
            let _ = send::to_process(self, Siginfo::kernel(signal));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Interval;

    #[test]
    fn an_interval_as_long_as_a_number_can_say_does_not_go_off_again() {
        for every in [u64::MAX, u64::MAX / 2 + 1] {
            let mut timer = Interval { at: 100, every };
            assert!(timer.goes_off(200));
            assert!(timer.at >= every && !timer.goes_off(u64::MAX / 2));
        }
    }

    #[test]
    fn an_interval_timer_goes_off_once_per_look_and_keeps_its_beat() {
        let mut timer = Interval { at: 10, every: 4 };
        assert!(!timer.goes_off(9));
        assert!(timer.goes_off(10));
        assert_eq!(timer.at, 14);
        assert!(timer.goes_off(23), "14, 18 and 22 have passed");
        assert_eq!(timer.at, 26);
        assert_eq!((timer.remaining(25), timer.remaining(99)), (1, 1));
        let mut once = Interval { at: 10, every: 0 };
        assert!(once.goes_off(10));
        assert!(!once.goes_off(99));
        assert_eq!(once.remaining(0), 0);
    }
}
