//! Who adopts the children of a process that exits (prctl(2) PR_SET_CHILD_SUBREAPER).

use crate::process::Process;
use crate::signal::{Siginfo, send};
use crate::tree::Tree;
use crate::{Thread, exit, pid};
use alloc::sync::Arc;
use alloc::vec::Vec;

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
/// if it ignores SIGCHLD.
pub(crate) fn hand_over_children(tree: &mut Tree, dying: &Arc<Process>) {
    let children = core::mem::take(&mut dying.links(tree).children);
    if children.is_empty() {
        return;
    }
    let Some(parent) = new_parent(tree, dying) else { return };
    let leader = parent.id();
    let mut zombies = Vec::new();
    for child in children.into_values() {
        let is_zombie = {
            let mut links = child.links(tree);
            links.parent = Some(parent.clone());
            links.parent_thread = leader;
            links.exit_signal = links.exit_signal.map(|_| crate::Signal::SIGCHLD);
            links.zombie.is_some()
        };
        parent.links(tree).children.insert(child.id(), child.clone());
        signal_parent_death(tree, dying, &child);
        if is_zombie {
            zombies.push(child);
        }
    }
    for zombie in zombies {
        exit::announce(tree, &zombie);
    }
    parent.children_changed.notify_all(executor::ALL);
}

/// Sends the parent-death signal to `child` for each of its threads that asked for one. It comes from `dying`.
fn signal_parent_death(tree: &Tree, dying: &Process, child: &Arc<Process>) {
    let threads: Vec<_> = child.shared.lock().threads.values().cloned().collect();
    for thread in threads {
        let signal = thread.view.lock().parent_death_signal;
        if let Some(signal) = signal {
            // Standard signals merge; a real-time one may be lost to a full queue, as when a program sends it.
            let _ = send::to_process_locked(tree, child, Siginfo::user(signal, dying.id(), dying.uid()));
        }
    }
}

/// The children that a thread made, and that outlive it, are the children of another thread of its process. It is not the last.
pub(crate) fn leave_to_sibling(tree: &Tree, thread: &Thread) {
    let process = &thread.process;
    let children: Vec<_> = {
        let links = process.links(tree);
        if links.children.is_empty() {
            return;
        }
        links.children.values().cloned().collect()
    };
    let Some(sibling) = process.any_thread() else { return };
    for child in children {
        let mut links = child.links(tree);
        if links.parent_thread != thread.id() {
            continue;
        }
        links.parent_thread = sibling.id();
        drop(links);
        signal_parent_death(tree, process, &child);
    }
}

/// The only thread of the process has taken over the leader's number (execve(2)): all children are its own.
pub(crate) fn adopt_all(tree: &Tree, process: &Process) {
    let children: Vec<_> = process.links(tree).children.values().cloned().collect();
    for child in children {
        child.links(tree).parent_thread = process.id();
    }
}
