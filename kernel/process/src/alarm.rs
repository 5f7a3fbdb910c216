//! The real-time interval timer of a process (alarm(2), setitimer(2)).

use crate::process::Process;
use crate::signal::{Siginfo, Signal, send};
use alloc::sync::Weak;
use base::rank;
use executor::spin::SpinLock;
use executor::{Expire, Timer};

/// ITIMER_REAL: SIGALRM after a time, and then again and again.
pub struct Alarm {
    timer: Timer,
    state: SpinLock<State>,
}

#[derive(Default)]
struct State {
    /// When it goes off, in nanoseconds since boot; 0 when it is not set.
    at: u64,
    /// Nanoseconds between that and the next; 0 for once.
    interval: u64,
}

impl Alarm {
    pub(crate) fn new(process: Weak<Process>) -> Alarm {
        Alarm { timer: Timer::new(process), state: SpinLock::new(rank::ALARM, State::default()) }
    }

    /// Nanoseconds until it goes off (0 when it is not set), and its interval.
    pub fn get(&self) -> (u64, u64) {
        let state = self.state.lock();
        (remaining(&state), state.interval)
    }

    /// Sets it to go off in `value` nanoseconds, 0 for never, and every `interval` after that. Returns what it was.
    pub fn set(&self, value: u64, interval: u64) -> (u64, u64) {
        let mut state = self.state.lock();
        let old = (remaining(&state), state.interval);
        self.timer.cancel();
        *state = State { at: 0, interval };
        if value > 0 {
            state.at = arch::time::now().saturating_add(value);
            self.timer.arm(state.at);
        }
        old
    }
}

fn remaining(state: &State) -> u64 {
    if state.at == 0 { 0 } else { state.at.saturating_sub(arch::time::now()).max(1) }
}

impl Expire for Process {
    fn expired(&self, now: u64) {
        {
            let mut state = self.alarm.state.lock();
            if state.at == 0 || state.at > now {
                // It was set anew while it went off.
                return;
            }
            match state.interval {
                0 => state.at = 0,
                interval => {
                    state.at = state.at.saturating_add(interval);
                    self.alarm.timer.arm(state.at);
                }
            }
        }
        if let Some(process) = self.pid().process() {
            // SIGALRM merges with one that waits.
            let _ = send::to_process(&process, Siginfo::kernel(Signal::SIGALRM));
        }
    }
}
