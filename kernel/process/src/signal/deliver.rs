//! Taking signals: what a thread does before it goes back to its program.

use super::{Action, Actions, DefaultAction, Disposition, Fields, SaFlags, Siginfo, Signal, SignalSet, stop};
use crate::process::Shared;
use crate::thread::Conditions;
use crate::{Current, Thread, tree};
use alloc::sync::Arc;

/// What the thread has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing: go on.
    None,
    /// Call a handler: build its frame.
    Handler {
        /// The signal.
        info: Siginfo,
        /// The action to apply.
        action: Action,
    },
    /// End the process with this wait status.
    Die {
        /// The signal.
        info: Siginfo,
        /// Whether the default is to dump core.
        core: bool,
    },
    /// Park: the process was asked to stop.
    Stop,
}

/// Takes the next signal that has an effect, if any, by `actions`, which are the thread's. Clears the SIGNAL condition when nothing is left. Never
/// waits.
pub fn next(thread: &Arc<Thread>, actions: &Actions) -> Delivery {
    loop {
        // Cleared first: a signal that is queued after the look below sets it again.
        thread.clear(Conditions::SIGNAL);
        let Some((info, more)) = take_one_of(thread, SignalSet(!0).without(thread.mask())) else {
            return Delivery::None;
        };
        if more {
            // The condition is looked at again before the program runs.
            thread.set(Conditions::SIGNAL);
        }
        let action = actions.take(info.signal);
        if let Disposition::Handler(_) = action.disposition {
            return Delivery::Handler { info, action };
        }
        if let Some(delivery) = consider(thread, info, action) {
            return delivery;
        }
    }
}

/// Takes a pending signal of `wanted`, the thread's own before the process's.
pub fn take(thread: &Arc<Thread>, wanted: SignalSet) -> Option<Siginfo> {
    take_one_of(thread, wanted).map(|(info, _)| info)
}

/// As [`take`], with whether more of `wanted` are pending.
#[inline(always)]
fn take_one_of(thread: &Arc<Thread>, wanted: SignalSet) -> Option<(Siginfo, bool)> {
    let mut shared = thread.process.shared.lock();
    let mut own = thread.signals.lock();
    let mut info = own.take(wanted).or_else(|| shared.pending.take(wanted))?;
    if info.signal.is_stop() {
        shared.stop_taken = true;
    }
    let more = !own.set().union(shared.pending.set()).intersection(wanted).is_empty();
    drop((own, shared));
    if let Fields::Timer { id, value, .. } = info.fields {
        info.fields = thread.process.timer_taken(id, value);
    }
    Some((info, more))
}

/// The signals that are pending for the thread, blocked or not.
pub fn pending(thread: &Arc<Thread>) -> SignalSet {
    let shared = thread.process.shared.lock().pending.set();
    thread.signals.lock().set().union(shared)
}

/// What becomes of a signal for which there is no handler.
fn consider(thread: &Arc<Thread>, info: Siginfo, action: Action) -> Option<Delivery> {
    let signal = info.signal;
    match action.disposition {
        Disposition::Ignore => None,
        Disposition::Handler(_) => Some(Delivery::Handler { info, action }),
        Disposition::Default => match signal.default_action() {
            DefaultAction::Ignore | DefaultAction::Continue => None,
            // The first process takes only what it has asked for.
            _ if thread.process.is_init() && !SignalSet::SYNCHRONOUS.contains(signal) => None,
            DefaultAction::Stop => begin_stop(thread, signal),
            DefaultAction::Terminate => Some(Delivery::Die { info, core: false }),
            DefaultAction::Core => Some(Delivery::Die { info, core: true }),
        },
    }
}

/// A stop signal of a terminal does not stop an orphaned process group: nobody would continue it.
fn begin_stop(thread: &Arc<Thread>, signal: Signal) -> Option<Delivery> {
    if signal != Signal::SIGSTOP && tree::is_orphaned_group_of(&tree::lock(), &thread.process) {
        return None;
    }
    stop::begin(&thread.process, signal);
    Some(Delivery::Stop)
}

/// Changes the thread's signal mask. A signal of the process that this thread will not take any more is passed on
/// to one that will; one that is now unblocked is noticed before the program goes on.
pub fn set_mask(thread: &Arc<Thread>, mask: SignalSet) {
    let mask = mask.without(SignalSet::UNSTOPPABLE);
    let old = thread.mask();
    if mask == old {
        return;
    }
    thread.set_mask_raw(mask);
    let newly_blocked = mask.without(old);
    let shared = thread.process.shared.lock();
    let waiting = shared.pending.set();
    let orphaned = waiting.intersection(newly_blocked);
    if !orphaned.is_empty() {
        pass_on(&shared, orphaned);
    }
    drop(shared);
    if !thread.signals.lock().set().union(waiting).without(mask).is_empty() {
        thread.set(Conditions::SIGNAL);
    }
}

/// Has other threads look at the signals of `orphaned`, which one has just blocked.
#[cold]
#[inline(never)]
fn pass_on(shared: &Shared, mut orphaned: SignalSet) {
    while let Some(signal) = orphaned.first() {
        orphaned.remove(signal);
        if let Some(other) = shared.pick(signal) {
            other.interrupt(Conditions::SIGNAL);
        }
    }
}

/// The mask while a handler runs: what was blocked, what the action adds, and the signal itself unless
/// SA_NODEFER.
pub fn handler_mask(current: &Current, signal: Signal, action: &Action) -> SignalSet {
    let mut mask = current.thread.mask().union(action.mask);
    if !action.flags.contains(SaFlags::NODEFER) {
        mask.insert(signal);
    }
    mask
}
