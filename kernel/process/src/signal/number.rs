//! Signal numbers and sets of them (signal(7)).

use linux_raw_sys::general as raw;

/// A signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident)*) => {
        impl Signal {
            $(
                #[allow(missing_docs, reason = "signal(7) documents them")]
                pub const $name: Signal = Signal(raw::$name as u8);
            )*
        }

        const NAMES: &[(Signal, &str)] = &[$((Signal::$name, stringify!($name)),)*];
    };
}

signals! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE
    SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ
    SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS
}

/// What a signal does when its action is the default one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// The process dies.
    Terminate,
    /// The process dies and may leave a core file.
    Core,
    /// Nothing.
    Ignore,
    /// The process stops.
    Stop,
    /// A stopped process goes on.
    Continue,
}

impl Signal {
    /// The number of signals; the highest number.
    pub const COUNT: usize = 64;
    /// The lowest real-time signal.
    pub const RTMIN: u8 = 32;

    /// The signal with this number, if it is one.
    pub const fn new(number: usize) -> Option<Signal> {
        if number >= 1 && number <= Signal::COUNT { Some(Signal(number as u8)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its place in tables of all signals.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// Whether each sending queues one more.
    pub const fn is_realtime(self) -> bool {
        self.0 >= Signal::RTMIN
    }

    /// SIGKILL and SIGSTOP: neither caught, blocked nor ignored.
    pub const fn is_unstoppable(self) -> bool {
        self.0 == Signal::SIGKILL.0 || self.0 == Signal::SIGSTOP.0
    }

    /// SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU.
    pub fn is_stop(self) -> bool {
        SignalSet::STOPS.contains(self)
    }

    /// What it does by default.
    pub fn default_action(self) -> DefaultAction {
        match self {
            Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH => DefaultAction::Ignore,
            Signal::SIGCONT => DefaultAction::Continue,
            Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => DefaultAction::Stop,
            Signal::SIGQUIT
            | Signal::SIGILL
            | Signal::SIGTRAP
            | Signal::SIGABRT
            | Signal::SIGBUS
            | Signal::SIGFPE
            | Signal::SIGSEGV
            | Signal::SIGXCPU
            | Signal::SIGXFSZ
            | Signal::SIGSYS => DefaultAction::Core,
            _ => DefaultAction::Terminate,
        }
    }
}

impl core::fmt::Debug for Signal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match NAMES.iter().find(|(signal, _)| signal == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "SIGRT{}", self.0 - Signal::RTMIN),
        }
    }
}

/// A set of signals, as `sigset_t` has them: signal n is bit n - 1.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: SignalSet = SignalSet(0);
    /// The signals whose default is to stop the process.
    pub const STOPS: SignalSet = SignalSet::of(&[Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU]);
    /// The signals that no mask holds back.
    pub const UNSTOPPABLE: SignalSet = SignalSet::of(&[Signal::SIGKILL, Signal::SIGSTOP]);
    /// Those that a fault of the thread itself raises; they are delivered before others.
    pub const SYNCHRONOUS: SignalSet = SignalSet::of(&[
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGFPE,
        Signal::SIGSYS,
    ]);

    /// The set of these signals.
    pub const fn of(signals: &[Signal]) -> SignalSet {
        let mut bits = 0;
        let mut i = 0;
        while i < signals.len() {
            bits |= 1 << signals[i].index();
            i += 1;
        }
        SignalSet(bits)
    }

    /// Whether `signal` is in the set.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 >> signal.index() & 1 != 0
    }

    /// With `signal`.
    pub const fn with(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 | 1 << signal.index())
    }

    /// Adds `signal`.
    pub fn insert(&mut self, signal: Signal) {
        *self = self.with(signal);
    }

    /// Takes `signal` out.
    pub fn remove(&mut self, signal: Signal) {
        self.0 &= !(1 << signal.index());
    }

    /// In either.
    pub const fn union(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 | other.0)
    }

    /// In both.
    pub const fn intersection(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & other.0)
    }

    /// Without those of `other`.
    pub const fn without(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & !other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The signal to be delivered first: one that a fault raised, else the lowest number.
    pub fn first(self) -> Option<Signal> {
        let urgent = self.intersection(SignalSet::SYNCHRONOUS);
        let bits = if urgent.is_empty() { self.0 } else { urgent.0 };
        Signal::new(bits.trailing_zeros() as usize + 1)
    }
}

impl core::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_of_faults_come_first() {
        let set = SignalSet::of(&[Signal::SIGHUP, Signal::SIGSEGV]);
        assert_eq!(set.first(), Some(Signal::SIGSEGV));
        assert_eq!(SignalSet::EMPTY.first(), None);
        assert_eq!(SignalSet(1 << 63).first().map(Signal::number), Some(64));
    }
}
