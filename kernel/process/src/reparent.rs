//! Who adopts the children of a process that exits (prctl(2) PR_SET_CHILD_SUBREAPER).

use crate::process::Process;
use crate::signal::{Siginfo, send};
use crate::tree::Tree;
use crate::{exit, pid};
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
        signal_parent_death(tree, &child);
        if is_zombie {
            zombies.push(child);
        }
    }
    for zombie in zombies {
        exit::announce(tree, &zombie);
    }
    parent.children_changed.notify_all(executor::ALL);
}

/// Sends the parent-death signal to each thread of `child` that asked for one.
fn signal_parent_death(tree: &Tree, child: &Arc<Process>) {
    let threads: Vec<_> = child.shared.lock().threads.values().cloned().collect();
    for thread in threads {
        let signal = thread.view.lock().parent_death_signal;
        if let Some(signal) = signal {
            // Standard signals merge; a real-time one may be lost to a full queue, as when a program sends it.
            let _ = send::to_thread_locked(tree, &thread, Siginfo::user(signal, 0, 0));
        }
    }
}
