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
    Handler,
    /// End the process with this wait status.
    Die {
        /// Whether the default is to dump core.
        core: bool,
    },
    /// Park: the process was asked to stop.
    Stop,
}

/// A signal that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The signal.
    pub info: Siginfo,
    /// The action to apply.
    pub action: Action,
}

impl Taken {
    /// A place for one, until [`next`] fills it.
    pub const NOTHING: Taken =
        Taken { info: Siginfo { signal: Signal::SIGHUP, code: 0, fields: Fields::None }, action: Action::DEFAULT };
}

/// Takes the next signal that has an effect, if any, by `actions`, which are the thread's. Clears the SIGNAL condition when nothing is left. Never
/// waits. What was taken lies in `taken`, unless the answer is None or Stop.
#[inline(always)]
pub fn next(thread: &Arc<Thread>, actions: &Actions, taken: &mut Taken) -> Delivery {
    loop {
        // Cleared first: a signal that is queued after the look below sets it again.
        thread.clear(Conditions::SIGNAL);
        let Some(more) = take_into(thread, SignalSet(!0).without(thread.mask()), &mut taken.info) else {
            return Delivery::None;
        };
        if more {
            // The condition is looked at again before the program runs.
            thread.set(Conditions::SIGNAL);
        }
        actions.take(taken.info.signal, &mut taken.action);
        if let Disposition::Handler(_) = taken.action.disposition {
            return Delivery::Handler;
        }
        if let Some(delivery) = consider(thread, taken.info.signal, taken.action.disposition) {
            return delivery;
        }
    }
}

/// Takes a pending signal of `wanted`, the thread's own before the process's.
pub fn take(thread: &Arc<Thread>, wanted: SignalSet) -> Option<Siginfo> {
    let mut info = Taken::NOTHING.info;
    take_into(thread, wanted, &mut info).map(|_| info)
}

/// As [`take`], into a place; whether more of `wanted` are pending.
#[inline(always)]
fn take_into(thread: &Arc<Thread>, wanted: SignalSet, info: &mut Siginfo) -> Option<bool> {
    let mut shared = thread.process.shared.lock();
    let mut own = thread.signals.lock();
    if !own.take(wanted, info) && !shared.pending.take(wanted, info) {
        return None;
    }
    if info.signal.is_stop() {
        shared.stop_taken = true;
    }
    let more = !own.set().union(shared.pending.set()).intersection(wanted).is_empty();
    drop((own, shared));
    if let Fields::Timer { id, value, .. } = info.fields {
        info.fields = thread.process.timer_taken(id, value);
    }
    Some(more)
}

/// The signals that are pending for the thread, blocked or not.
pub fn pending(thread: &Arc<Thread>) -> SignalSet {
    let shared = thread.process.shared.lock().pending.set();
    thread.signals.lock().set().union(shared)
}

/// What becomes of a signal for which there is no handler.
#[inline(never)]
fn consider(thread: &Arc<Thread>, signal: Signal, disposition: Disposition) -> Option<Delivery> {
    match disposition {
        Disposition::Ignore => None,
        Disposition::Handler(_) => Some(Delivery::Handler),
        Disposition::Default => match signal.default_action() {
            DefaultAction::Ignore | DefaultAction::Continue => None,
            // The first process takes only what it has asked for.
            _ if thread.process.is_init() && !SignalSet::SYNCHRONOUS.contains(signal) => None,
            DefaultAction::Stop => begin_stop(thread, signal),
            DefaultAction::Terminate => Some(Delivery::Die { core: false }),
            DefaultAction::Core => Some(Delivery::Die { core: true }),
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
#[inline(always)]
pub fn set_mask(thread: &Arc<Thread>, mask: SignalSet) {
    let mask = mask.without(SignalSet::UNSTOPPABLE);
    let old = thread.mask();
    if mask == old {
        return;
    }
    thread.set_mask_raw(mask);
    let (newly_blocked, unblocked) = (mask.without(old), old.without(mask));
    let shared = thread.process.shared.lock();
    let waiting = shared.pending.set();
    let orphaned = waiting.intersection(newly_blocked);
    if !orphaned.is_empty() {
        pass_on(&shared, orphaned);
    }
    drop(shared);
    if !unblocked.is_empty() && !thread.signals.lock().set().union(waiting).without(mask).is_empty() {
        thread.set(Conditions::SIGNAL);
    }
}

/// The thread has waited for the signals of `wanted`, and waits no more: those that are left, of which it may have been told, are
/// for others that wait for them (sigtimedwait(2)).
pub fn leave_to_others(thread: &Arc<Thread>, wanted: SignalSet) {
    let shared = thread.process.shared.lock();
    let left = shared.pending.set().intersection(wanted);
    if !left.is_empty() {
        pass_on(&shared, left);
    }
}

/// Has other threads look at the signals of `orphaned`, which one does not take any more.
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
