//! What a process does with each signal (sigaction(2)). Processes made with CLONE_SIGHAND share one table.
#![allow(missing_docs, reason = "sigaction(2) documents the flags")]

use super::{DefaultAction, Signal, SignalSet};
use alloc::sync::Arc;
use base::rank;
use bitflags::bitflags;
use executor::spin::SpinLock;
use linux_raw_sys::general as raw;

bitflags! {
    /// `sa_flags`. Bits that are not named here are kept and given back but mean nothing, as sigaction(2) has
    /// it for unknown flags.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct SaFlags: u64 {
        const NOCLDSTOP = raw::SA_NOCLDSTOP as u64;
        const NOCLDWAIT = raw::SA_NOCLDWAIT as u64;
        const SIGINFO = raw::SA_SIGINFO as u64;
        const ONSTACK = raw::SA_ONSTACK as u64;
        const RESTART = raw::SA_RESTART as u64;
        const NODEFER = raw::SA_NODEFER as u64;
        const RESETHAND = raw::SA_RESETHAND as u64;
        const RESTORER = 0x0400_0000;
        const EXPOSE_TAGBITS = 0x800;
        const _ = !0x400;
    }
}

/// What is to be done with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Disposition {
    /// SIG_DFL.
    #[default]
    Default,
    /// SIG_IGN.
    Ignore,
    /// The program's function at this address.
    Handler(usize),
}

/// `struct sigaction`, as the kernel keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Action {
    /// What is to be done.
    pub disposition: Disposition,
    /// How.
    pub flags: SaFlags,
    /// Where a handler returns to (x86_64; elsewhere the trampoline is the kernel's).
    pub restorer: usize,
    /// Blocked while the handler runs.
    pub mask: SignalSet,
}

impl Action {
    /// What a signal does of which nothing was said.
    pub const DEFAULT: Action =
        Action { disposition: Disposition::Default, flags: SaFlags::empty(), restorer: 0, mask: SignalSet::EMPTY };

    /// Whether `signal` has no effect under this action.
    pub fn ignores(&self, signal: Signal) -> bool {
        match self.disposition {
            Disposition::Ignore => true,
            Disposition::Default => {
                matches!(signal.default_action(), DefaultAction::Ignore | DefaultAction::Continue)
            }
            Disposition::Handler(_) => false,
        }
    }
}

/// One action for each signal.
#[derive(Clone)]
struct Table {
    actions: [Action; Signal::COUNT],
    /// Those that may differ from the default.
    changed: SignalSet,
}

/// The actions of all signals. A fork shares the table until one of the two changes it.
pub struct Actions(SpinLock<Arc<Table>>);

impl Actions {
    /// Every action the default one.
    pub fn new() -> Arc<Actions> {
        Actions::from_table(Arc::new(Table { actions: [Action::DEFAULT; Signal::COUNT], changed: SignalSet::EMPTY }))
    }

    fn from_table(table: Arc<Table>) -> Arc<Actions> {
        Arc::new(Actions(SpinLock::new(rank::ACTIONS, table)))
    }

    /// The action of `signal`.
    pub fn get(&self, signal: Signal) -> Action {
        self.0.lock().actions[signal.index()]
    }

    /// Changes the action of `signal` and returns the one before. SIGKILL and SIGSTOP are the caller's to refuse.
    pub fn set(&self, signal: Signal, action: Action) -> Action {
        let mut table = self.0.lock();
        let table = Arc::make_mut(&mut table);
        table.changed.insert(signal);
        core::mem::replace(&mut table.actions[signal.index()], action)
    }

    /// A copy for a process of its own.
    pub fn fork(&self) -> Arc<Actions> {
        Actions::from_table(self.0.lock().clone())
    }

    /// As execve(2) and CLONE_CLEAR_SIGHAND want it: handlers become the default, what is ignored stays so.
    pub fn reset_handlers(&self) {
        let mut table = self.0.lock();
        if table.changed.is_empty() {
            return;
        }
        let table = Arc::make_mut(&mut table);
        table.changed = SignalSet::EMPTY;
        for action in &mut table.actions {
            if action.disposition == Disposition::Ignore {
                table.changed = SignalSet(u64::MAX);
                *action = Action { disposition: Disposition::Ignore, ..Action::DEFAULT };
            } else {
                *action = Action::DEFAULT;
            }
        }
    }

    /// Stores the action of `signal` as it is to be applied now: SA_RESETHAND resets it in the same step.
    #[inline]
    pub(super) fn take(&self, signal: Signal, to: &mut Action) {
        let mut table = self.0.lock();
        *to = table.actions[signal.index()];
        if matches!(to.disposition, Disposition::Handler(_)) && to.flags.contains(SaFlags::RESETHAND) {
            Arc::make_mut(&mut table).actions[signal.index()].disposition = Disposition::Default;
        }
    }

    /// Which signals are ignored by SIG_IGN, and which have a handler (`/proc/PID/status`).
    pub fn sets(&self) -> (SignalSet, SignalSet) {
        let (mut ignored, mut caught) = (SignalSet::EMPTY, SignalSet::EMPTY);
        for (i, action) in self.0.lock().actions.iter().enumerate() {
            match action.disposition {
                Disposition::Ignore => ignored.0 |= 1 << i,
                Disposition::Handler(_) => caught.0 |= 1 << i,
                Disposition::Default => {}
            }
        }
        (ignored, caught)
    }
}
