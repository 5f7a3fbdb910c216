//! How a thread dies, and with the last of its threads a process (exit(2), exit_group(2)).
//!
//! [`prepare`] does what needs the thread's memory and may wait; [`finish`] lets go of everything and
//! announces the death. Between them nothing can fail.

use crate::current::Current;
use crate::process::Process;
use crate::signal::{Disposition, Fields, SaFlags, Siginfo, Signal, code, send, stop};
use crate::thread::Thread;
use crate::tree::{self, Group, Tree, Zombie};
use crate::{fault, futex, reparent, robust};
use alloc::sync::Arc;
use arch::addr::VirtAddr;
use memory::Space;
use memory::user::UserPtr;

/// Told of process ends by what the process layer does not know: terminals of session leaders.
pub trait ExitHook: Send + Sync {
    /// The leader of session `session` exits.
    fn session_leader_exits(&self, session: u32);

    /// The first process exits with a wait status: nobody is left to adopt orphans.
    fn first_process_exits(&self, status: i32);
}

static HOOK: executor::spin::SpinLock<Option<&'static dyn ExitHook>> =
    executor::spin::SpinLock::new(base::rank::THREAD, None);

/// Registers the one hook.
pub fn set_hook(hook: &'static dyn ExitHook) {
    *HOOK.lock() = Some(hook);
}

/// Lets go of what lies in user memory: robust futexes, the id that joiners watch. Called at exit and, before the old
/// memory goes, by execve(2).
pub async fn release_memory(current: &mut Current) {
    robust::release_all(current).await;
    futex::pi::release_owned(&current.thread);
    let addr = core::mem::take(&mut current.clear_child_tid);
    // With no other user of the memory there is nobody to see it.
    if addr != VirtAddr(0) && Arc::strong_count(&current.space) > 2 {
        while let Err(page) = UserPtr::<u32>::new(addr).write(&0) {
            // A bad pointer is nobody's error at exit.
            if fault::resolve(current, page).await.is_err() {
                return;
            }
        }
        futex::wake_exited(current, addr).await;
    }
}

/// What a dying thread does while it still has everything.
pub async fn prepare(current: &mut Current) {
    release_memory(current).await;
    // The thread and what others see of it.
    empty(&current.space, 2).await;
}

/// Spaces with more resident pages than this are emptied in steps, between which others run. Dropping a smaller one takes
/// less than a tenth of a millisecond.
const LARGE: usize = 1024;

/// Gives back the memory of a large space that nobody uses any more, which those `references` that the caller knows say.
/// One that is still referred to for a moment, as by a reader of /proc, goes with its last reference.
pub(crate) async fn empty(space: &Arc<Space>, references: usize) {
    if Arc::strong_count(space) <= references && space.rss_pages() > LARGE {
        space.clear().await;
    }
}

/// Ends the thread. `status` is its own wait status; the process's was decided before, if others decided it.
pub fn finish(mut current: Current, status: i32) {
    current.leave_undo_list();
    let Current { thread, space, files, fs, vfork, actions, .. } = current;
    let process = thread.process.clone();
    {
        drop(thread.set_space(None));
        let mut view = thread.view.lock();
        let held = (view.files.take(), view.fs.take());
        drop(view);
        drop(held);
    }
    memory::tlb::leave();
    drop((space, files, fs, actions));
    if let Some(vfork) = vfork {
        vfork.complete();
    }
    release_executable(&process);
    let mut tree = tree::lock();
    let last = leave_process(&tree, &thread, status);
    drop(thread.view.lock().charge.take());
    if let Some(status) = last {
        if process.shared.lock().executable.is_some() {
            // The last two threads came here together. Nobody reaps meanwhile: this is no zombie yet.
            drop(tree);
            release_executable(&process);
            tree = tree::lock();
        }
        let leads = tree::session_of(&tree, &process) == process.id();
        let hook = *HOOK.lock();
        if let (true, Some(hook)) = (process.is_init(), hook) {
            hook.first_process_exits(status);
        }
        if let (true, Some(hook)) = (leads, hook) {
            // The hook sends signals, which takes the tree. Nobody reaps meanwhile: this is no zombie yet.
            drop(tree);
            hook.session_leader_exits(process.id());
            tree = tree::lock();
        }
        exit_process(&mut tree, &process, status);
    }
    if last.is_none() {
        reparent::leave_to_sibling(&tree, &thread);
    }
    drop(tree);
    if !thread.is_leader() {
        let pid = thread.view.lock().pid.clone();
        pid.release();
    }
    process.threads_changed.notify_all(executor::ALL);
    // The record may outlive the future; the task it names is over.
    thread.view.lock().task = None;
}

/// Lets go of the program if no other thread is left: who reaps the zombie may write to its file at once.
fn release_executable(process: &Process) {
    let mut shared = process.shared.lock();
    let executable = if shared.threads.len() <= 1 { shared.executable.take() } else { None };
    drop(shared);
    // The last name of the file may be gone, and then the file goes here.
    drop(executable);
}

/// Takes the thread out of its process. Returns the process's status if it was the last.
fn leave_process(tree: &Tree, thread: &Arc<Thread>, status: i32) -> Option<i32> {
    let process = &thread.process;
    let mut shared = process.shared.lock();
    shared.threads.remove(&thread.id());
    process.times.thread_exited(&thread.usage());
    if thread.is_leader() {
        shared.last_name = thread.name();
    }
    let report = stop::thread_gone(&mut shared);
    if shared.threads.is_empty() {
        // The status of a process whose threads all just exit is that of the last.
        return Some(*shared.group_exit.get_or_insert(status));
    }
    // Signals that this thread was picked for go to others.
    let mut pending = shared.pending.set();
    while let Some(signal) = pending.first() {
        pending.remove(signal);
        if let Some(other) = shared.pick(signal) {
            other.interrupt(crate::Conditions::SIGNAL);
        }
    }
    drop(shared);
    if let Some(report) = report {
        stop::notify_parent(tree, process, report);
    }
    None
}

/// The last thread has gone.
fn exit_process(tree: &mut Tree, process: &Arc<Process>, status: i32) {
    reparent::hand_over_children(tree, process);
    rescue_own_group(tree, process);
    let mut usage = process.times.exited();
    usage.add(&process.times.children());
    process.links(tree).zombie = Some(Zombie { status, usage });
    process.set_over();
    announce(tree, process);
}

/// This exit may orphan the process's own group: that of a parent in the same session was what tied it in.
fn rescue_own_group(tree: &Tree, process: &Arc<Process>) {
    let group = process.links(tree).group.clone();
    let Some(parent) = process.parent(tree) else { return };
    let theirs = parent.links(tree).group.clone();
    if theirs.id() != group.id() && theirs.session_id() == group.session_id() {
        rescue_if_orphaned(tree, &group, process);
    }
}

/// A group that the exit of `leaving` orphans and that has a stopped member would stop for ever: it gets SIGHUP and SIGCONT.
pub(crate) fn rescue_if_orphaned(tree: &Tree, group: &Group, leaving: &Process) {
    if tree::is_orphaned(tree, group, Some(leaving)) {
        hang_up_if_stopped(tree, group);
    }
}

/// SIGHUP and SIGCONT for a group with a stopped member.
fn hang_up_if_stopped(tree: &Tree, group: &Group) {
    let is_stopped = |member: Arc<Process>| matches!(member.shared.lock().stop, stop::StopState::Stopped { .. });
    if !group.members(tree).any(is_stopped) {
        return;
    }
    for signal in [Signal::SIGHUP, Signal::SIGCONT] {
        for member in group.members(tree) {
            // Standard signals merge: never refused.
            let _ = send::to_process_locked(tree, &member, Siginfo::kernel(signal));
        }
    }
}

/// Tells the parent of a zombie. A parent that ignores SIGCHLD, or set SA_NOCLDWAIT, does not see it: it is reaped here.
pub(crate) fn announce(tree: &mut Tree, process: &Arc<Process>) {
    let Some(parent) = process.parent(tree) else { return };
    let (signal, zombie, thread) = {
        let links = process.links(tree);
        (links.exit_signal, links.zombie, links.parent_thread)
    };
    let Some(zombie) = zombie else { return };
    let mut reap_now = false;
    if let Some(signal) = signal {
        let action = parent.actions().get(signal);
        let ignored = action.disposition == Disposition::Ignore;
        if signal == Signal::SIGCHLD {
            reap_now = ignored || action.flags.contains(SaFlags::NOCLDWAIT);
        }
        if !(signal == Signal::SIGCHLD && ignored) {
            // A child's signal is standard or, if not, queued like any other; a full queue loses it.
            let _ = send::to_process_by(tree, &parent, thread, child_info(process, signal, &zombie));
        }
    }
    if reap_now {
        reap(tree, process, None);
    }
    process.changed.notify_all(executor::ALL);
    parent.children_changed.notify_all(executor::ALL);
}

fn child_info(process: &Process, signal: Signal, zombie: &Zombie) -> Siginfo {
    let (code, status) = decode(zombie.status);
    let (utime, stime) = process.times.exited().ticks();
    Siginfo { signal, code, fields: Fields::Child { pid: process.id(), uid: process.uid(), status, utime, stime } }
}

/// A wait status as `si_code` and `si_status` have it.
pub fn decode(status: i32) -> (i32, i32) {
    match status & 0x7f {
        0 => (code::CLD_EXITED, status >> 8 & 0xff),
        signal if status & 0x80 != 0 => (code::CLD_DUMPED, signal),
        signal => (code::CLD_KILLED, signal),
    }
}

/// Removes a zombie from the tree; its usage goes to `parent`, if a parent reaps it.
pub(crate) fn reap(tree: &mut Tree, process: &Arc<Process>, reaper: Option<&Process>) {
    let zombie = process.links(tree).zombie;
    if let (Some(reaper), Some(zombie)) = (reaper, zombie) {
        reaper.times.child_reaped(&zombie.usage);
    }
    process.abandon(tree);
    tree::leave_group(tree, process);
    process.pid().release();
    tree.processes -= 1;
}
