//! Who adopts the children of a process that exits (prctl(2) PR_SET_CHILD_SUBREAPER).

use crate::process::Process;
use crate::signal::{Siginfo, Signal, send};
use crate::tree::Tree;
use crate::{Thread, exit, pid};
use alloc::sync::Arc;

/// The process that adopts children of `dying`: its nearest living ancestor that is a subreaper, else the first process.
pub(crate) fn new_parent(tree: &Tree, dying: &Process) -> Option<Arc<Process>> {
    let mut ancestor = dying.parent(tree);
    while let Some(process) = ancestor {
        let links = process.links(tree);
        if links.zombie.is_none() && (links.subreaper || process.is_init()) {
            drop(links);
            return Some(process);
        }
        ancestor = links.parent.clone();
    }
    pid::find_process(1)
}

/// Hands all children of `dying` over. Zombies among them are announced anew to their new parent, which reaps them on the spot
/// if it ignores SIGCHLD. Groups of theirs that are orphaned by it do not stay stopped.
pub(crate) fn hand_over_children(tree: &mut Tree, dying: &Arc<Process>) {
    let children = core::mem::take(&mut dying.links(tree).children);
    if children.is_empty() {
        return;
    }
    let Some(parent) = new_parent(tree, dying) else { return };
    // Of the parent's threads, one that lives.
    let thread = parent.any_thread().map_or(parent.id(), |thread| thread.id());
    for child in children.values() {
        parent.adopt(tree, child, thread);
        child.links(tree).exit_signal = Some(Signal::SIGCHLD);
        signal_parent_death(tree, dying, child);
    }
    let (own, session) = {
        let links = dying.links(tree);
        (links.group.id(), links.group.session_id())
    };
    // Mostly all children are of one group.
    let mut seen = own;
    for child in children.values() {
        let (group, is_zombie) = {
            let links = child.links(tree);
            (links.group.clone(), links.zombie.is_some())
        };
        if group.id() != own && group.id() != seen && group.session_id() == session {
            exit::rescue_if_orphaned(tree, &group, dying);
            seen = group.id();
        }
        if is_zombie {
            exit::announce(tree, child);
        }
    }
    parent.children_changed.notify_all(executor::ALL);
}

/// Sends the parent-death signal to `child` for each of its threads that asked for one. It comes from `dying`.
fn signal_parent_death(tree: &Tree, dying: &Process, child: &Arc<Process>) {
    for thread in child.threads() {
        let signal = thread.view.lock().parent_death_signal;
        if let Some(signal) = signal {
            // Standard signals merge; a real-time one may be lost to a full queue, as when a program sends it.
            let _ = send::to_process_locked(tree, child, Siginfo::user(signal, dying.id(), dying.uid()));
        }
    }
}

/// The children that a thread made, and that outlive it, are the children of another thread of its process. It is not the last.
/// That thread may wait for its own children alone, and now has more of them.
pub(crate) fn leave_to_sibling(tree: &Tree, thread: &Thread) {
    let process = &thread.process;
    let Some(sibling) = process.any_thread() else { return };
    for child in process.children(tree, Some(thread.id())) {
        child.abandon(tree);
        process.adopt(tree, &child, sibling.id());
        signal_parent_death(tree, process, &child);
        child.changed.notify_all(executor::ALL);
        process.children_changed.notify_all(executor::ALL);
    }
}

/// The only thread of the process has taken over the leader's number (execve(2)): all children are its own.
pub(crate) fn adopt_all(tree: &Tree, process: &Arc<Process>) {
    let children = core::mem::take(&mut process.links(tree).children);
    for child in children.values() {
        process.adopt(tree, child, process.id());
    }
}
