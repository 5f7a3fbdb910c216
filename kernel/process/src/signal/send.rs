//! Sending signals (kill(2), tgkill(2), and the kernel's own).
//!
//! A signal for a process wakes one thread that does not block it. The order is always: queue it under the
//! process's lock, set the thread's condition, wake the thread.

use super::stop::StopState;
use super::{DefaultAction, Disposition, Siginfo, Signal, SignalSet, stop};
use crate::process::Shared;
use crate::thread::Conditions;
use crate::tree::{self, Tree};
use crate::{Process, Thread};
use alloc::sync::Arc;
use base::{Capability, Credentials, Errno};

/// Whether `sender` may send `signal` to a process of credentials `target` (kill(2)).
/// `same_session` matters for SIGCONT only.
pub fn permitted(sender: &Credentials, target: &Credentials, signal: Option<Signal>, same_session: bool) -> bool {
    sender.euid == target.suid
        || sender.euid == target.uid
        || sender.uid == target.suid
        || sender.uid == target.uid
        || sender.has(Capability::Kill)
        || (signal == Some(Signal::SIGCONT) && same_session)
}

/// Sends a signal to a process. EAGAIN if it carries a value and the queue is full. A zombie takes any
/// signal without effect.
pub fn to_process(process: &Arc<Process>, info: Siginfo) -> Result<(), Errno> {
    if info.signal == Signal::SIGCONT || info.signal.is_stop() {
        // Going on is announced to the parent, whom the tree lock guards.
        return to_process_locked(&tree::lock(), process, info);
    }
    queue(process, None, LEADER, info, None).map(drop)
}

/// Sends a signal to the caller's own process, from `me`: as [`to_process`], but if the caller is to take it, it is awake.
pub fn to_own_process(me: &Arc<Thread>, info: Siginfo) -> Result<(), Errno> {
    if info.signal == Signal::SIGCONT || info.signal.is_stop() {
        return to_process(&me.process, info);
    }
    queue(&me.process, None, LEADER, info, Some(me)).map(drop)
}

/// As [`to_process`], where the caller holds the tree: signals to groups are atomic against fork.
pub fn to_process_locked(tree: &Tree, process: &Arc<Process>, info: Siginfo) -> Result<(), Errno> {
    to_process_by(tree, process, LEADER, info)
}

/// As [`to_process_locked`], for what happened to a child of the process' thread `thread`: that one decides whether the signal is
/// held back where it is ignored.
pub fn to_process_by(tree: &Tree, process: &Arc<Process>, thread: u32, info: Siginfo) -> Result<(), Errno> {
    let report = queue(process, None, thread, info, None)?;
    if let Some(report) = report {
        stop::notify_parent(tree, process, report);
    }
    Ok(())
}

/// Sends a signal to one thread.
pub fn to_thread(thread: &Arc<Thread>, info: Siginfo) -> Result<(), Errno> {
    let process = &thread.process;
    if info.signal == Signal::SIGCONT || info.signal.is_stop() {
        return to_thread_locked(&tree::lock(), thread, info);
    }
    queue(process, Some(thread), LEADER, info, None).map(drop)
}

/// As [`to_thread`], where the caller holds the tree.
pub fn to_thread_locked(tree: &Tree, thread: &Arc<Thread>, info: Siginfo) -> Result<(), Errno> {
    let process = &thread.process;
    if let Some(report) = queue(process, Some(thread), LEADER, info, None)? {
        stop::notify_parent(tree, process, report);
    }
    Ok(())
}

/// Raises a signal that the thread cannot escape (a fault): if it is blocked or ignored, the
/// action becomes the default one and the process dies of it.
pub fn force(thread: &Arc<Thread>, info: Siginfo) {
    let actions = thread.actions();
    let mut action = actions.get(info.signal);
    let blocked = thread.mask().contains(info.signal);
    if blocked || action.ignores(info.signal) {
        action.disposition = super::Disposition::Default;
        actions.set(info.signal, action);
        thread.set_mask_raw(thread.mask().without(SignalSet::of(&[info.signal])));
    }
    let mut signals = thread.signals.lock();
    // A forced signal is standard, so the queue has room or merges it: it is noted in any case.
    let _ = signals.push(info, true);
    drop(signals);
    thread.interrupt(Conditions::SIGNAL);
}

/// Sends a signal to all members of a process group, from the kernel (a terminal): no permission is asked.
pub fn to_group(group: u32, info: Siginfo) {
    let tree = tree::lock();
    let Some(group) = tree::find_group(&tree, group) else { return };
    for process in group.members(&tree) {
        // A full queue drops the signal, as it does for a terminal's on Linux.
        let _ = to_process_locked(&tree, &process, info);
    }
}

/// Stands for a process's leader, whose number need not be looked up for it.
const LEADER: u32 = 0;

/// Queues the signal, unless it is ignored and not held back by the thread that it is for or else `asked`, and wakes whom it concerns,
/// unless that is `me`, who is awake. Returns what the parent is to be told.
fn queue(
    process: &Arc<Process>,
    target: Option<&Arc<Thread>>,
    asked: u32,
    info: Siginfo,
    me: Option<&Arc<Thread>>,
) -> Result<Option<stop::Report>, Errno> {
    let signal = info.signal;
    let mut shared = process.shared.lock();
    let report = prepare(process, &mut shared, signal);
    // Nothing from outside ends the first process.
    if signal == Signal::SIGKILL && !process.is_init() {
        shared.begin_group_exit(process, i32::from(signal.number()));
        return Ok(report);
    }
    let action = shared.actions.get(signal);
    if signal == Signal::SIGKILL
        || shared.group_exit.is_some()
        || action.ignores(signal) && !is_held_back(process, &shared, target, asked, signal)
    {
        return Ok(report);
    }
    // What will end the process does so now, also where it waits for nothing but its death (vfork). One that is stopped takes it
    // when it goes on.
    let deadly = action.disposition == Disposition::Default && signal.default_action() == DefaultAction::Terminate;
    if deadly && shared.stop == StopState::Running && !process.is_init() {
        let taker = target.or_else(|| shared.pick(signal));
        if taker.is_some_and(|thread| !thread.mask().contains(signal)) {
            shared.begin_group_exit(process, i32::from(signal.number()));
            return Ok(report);
        }
    }
    let room = process.signal_queue_room(&shared);
    match target {
        Some(thread) => {
            thread.signals.lock().push(info, room).map_err(|_| Errno::EAGAIN)?;
            process.signals_changed.notify_all(executor::ALL);
            if thread.wants(signal) {
                thread.interrupt(Conditions::SIGNAL);
            }
        }
        None => {
            shared.pending.push(info, room).map_err(|_| Errno::EAGAIN)?;
            process.signals_changed.notify_all(executor::ALL);
            match shared.pick(signal) {
                Some(thread) if me.is_some_and(|me| Arc::ptr_eq(me, thread)) => thread.set(Conditions::SIGNAL),
                Some(thread) => thread.interrupt(Conditions::SIGNAL),
                None => {}
            }
        }
    }
    Ok(report)
}

/// Stop and continue signals cancel each other, whoever blocks or ignores them.
fn prepare(process: &Process, shared: &mut Shared, signal: Signal) -> Option<stop::Report> {
    if signal.is_stop() {
        shared.discard(SignalSet::of(&[Signal::SIGCONT]));
        None
    } else if signal == Signal::SIGCONT {
        shared.discard(SignalSet::STOPS);
        shared.stop_taken = false;
        stop::resume(process, shared)
    } else {
        None
    }
}

/// Whether an ignored signal is queued all the same: where the thread that it is for, or else `asked` (another if that is gone),
/// blocks it, for the action may change before it is unblocked. As on Linux no others are asked, so that a child's end costs no
/// more in a process with many threads.
#[cold]
fn is_held_back(process: &Process, shared: &Shared, target: Option<&Arc<Thread>>, asked: u32, signal: Signal) -> bool {
    let asked = if asked == LEADER { process.id() } else { asked };
    let other = || shared.threads.get(&asked).or_else(|| shared.threads.values().next());
    target.or_else(other).is_some_and(|thread| thread.holds_back(signal))
}
