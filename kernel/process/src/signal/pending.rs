//! Signals that were sent and not yet delivered: one of each standard signal, any number of each real-time
//! signal in the order of sending.

use super::{Fields, Siginfo, Signal, SignalSet, info::code};
use alloc::collections::VecDeque;

/// A queue of pending signals, of a thread or of a process.
#[derive(Default)]
pub struct Pending {
    set: SignalSet,
    queue: VecDeque<Siginfo>,
}

/// The queue had no room (EAGAIN for sigqueue(3)).
#[derive(Debug, PartialEq, Eq)]
pub struct QueueFull;

impl Pending {
    /// An empty queue.
    pub const fn new() -> Pending {
        Pending { set: SignalSet::EMPTY, queue: VecDeque::new() }
    }

    /// Which signals are pending.
    pub fn set(&self) -> SignalSet {
        self.set
    }

    /// How many queue entries there are (for RLIMIT_SIGPENDING).
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// What is queued, in the order of sending. A signal that found no room is in the [set](Pending::set) alone.
    pub fn iter(&self) -> impl Iterator<Item = &Siginfo> {
        self.queue.iter()
    }

    /// Adds a signal. A standard signal that is pending already stays as it is. `room` tells whether the
    /// sender may use one more queue entry; without, a real-time signal with a value is refused, and
    /// any other is noted without what came with it.
    #[inline(always)]
    pub fn push(&mut self, info: Siginfo, room: bool) -> Result<(), QueueFull> {
        // A timer sends one signal and waits for it to be taken, so its signals are few and each counts.
        let of_timer = matches!(info.fields, Fields::Timer { .. });
        if !info.signal.is_realtime() && self.set.contains(info.signal) && !of_timer {
            return Ok(());
        }
        if (room || of_timer) && self.has_place() {
            self.queue.push_back(info);
        } else if info.signal.is_realtime() && info.code != code::USER {
            return Err(QueueFull);
        }
        self.set.insert(info.signal);
        Ok(())
    }

    /// Makes a place for one more entry, if there is memory for it.
    #[inline]
    fn has_place(&mut self) -> bool {
        self.queue.len() < self.queue.capacity() || self.queue.try_reserve(1).is_ok()
    }

    /// Takes the first signal that is in `wanted`, if any, and stores it to `info`; whether there was one.
    #[inline]
    pub fn take(&mut self, wanted: SignalSet, info: &mut Siginfo) -> bool {
        let Some(signal) = self.set.intersection(wanted).first() else { return false };
        if self.queue.len() == 1
            && let Some(only) = self.queue.front().filter(|info| info.signal == signal)
        {
            *info = *only;
            self.queue.clear();
            self.set.remove(signal);
        } else {
            *info = self.take_one_of_many(signal);
        }
        true
    }

    #[cold]
    fn take_one_of_many(&mut self, signal: Signal) -> Siginfo {
        let at = self.queue.iter().position(|info| info.signal == signal);
        let Some(info) = at.and_then(|at| self.queue.remove(at)) else {
            self.set.remove(signal);
            return Siginfo { signal, code: code::USER, fields: Fields::Sender { pid: 0, uid: 0 } };
        };
        if !self.queue.iter().any(|info| info.signal == signal) {
            self.set.remove(signal);
        }
        info
    }

    /// Forgets the signals of `set`.
    pub fn discard(&mut self, set: SignalSet) {
        if self.set.intersection(set).is_empty() {
            return;
        }
        self.set = self.set.without(set);
        self.queue.retain(|info| !set.contains(info.signal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pending: &mut Pending) -> Option<Siginfo> {
        let mut info = Siginfo::kernel(Signal::SIGHUP);
        pending.take(SignalSet(u64::MAX), &mut info).then_some(info)
    }

    #[test]
    fn standard_signals_merge_and_realtime_signals_queue() {
        let mut pending = Pending::new();
        let rt = Signal::new(40).unwrap();
        for n in 0..3 {
            pending.push(Siginfo::user(Signal::SIGUSR1, n, 0), true).unwrap();
            pending.push(Siginfo::user(rt, n, 0), true).unwrap();
        }
        assert_eq!(take(&mut pending), Some(Siginfo::user(Signal::SIGUSR1, 0, 0)));
        for n in 0..3 {
            assert_eq!(take(&mut pending), Some(Siginfo::user(rt, n, 0)));
        }
        assert_eq!(take(&mut pending), None);
    }

    #[test]
    fn a_full_queue_refuses_values_but_not_kill() {
        let mut pending = Pending::new();
        let rt = Signal::new(40).unwrap();
        let queued = Siginfo { signal: rt, code: code::QUEUE, fields: Fields::Value { pid: 1, uid: 0, value: 7 } };
        assert_eq!(pending.push(queued, false), Err(QueueFull));
        pending.push(Siginfo::user(rt, 1, 0), false).unwrap();
        assert_eq!(take(&mut pending).unwrap().signal, rt);
    }
}
