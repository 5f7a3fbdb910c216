//! The kernel's process table, as the model wants it.

use crate::model::{Place, Seen, SeenProcess, Stop};
use process::signal::stop::StopState;
use process::tree::Tree;
use process::{Process, pid, tree};

/// The kernel's process table.
pub fn see() -> Seen {
    let tree = tree::lock();
    pid::processes(1).map(|process| (process.id(), see_one(&tree, &process))).collect()
}

fn see_one(tree: &Tree, process: &Process) -> SeenProcess {
    let (threads, stop, continued, decided) = {
        let shared = process.shared.lock();
        (shared.threads.keys().copied().collect(), shared.stop, shared.continued, shared.group_exit)
    };
    let links = process.links(tree);
    let place = Place {
        parent: links.parent.as_ref().map_or(0, |parent| parent.id()),
        thread: links.parent_thread,
        group: links.group.id(),
        session: links.group.session_id(),
        exit_signal: links.exit_signal.map_or(0, |signal| signal.number()),
        subreaper: links.subreaper,
        did_exec: links.did_exec,
        zombie: links.zombie.map(|zombie| zombie.status),
        threads,
    };
    let (stop, told) = match stop {
        StopState::Running => (Stop::Running, false),
        StopState::Stopping { signal, .. } => (Stop::Stopping(signal.number()), false),
        StopState::Stopped { signal, reported } => (Stop::Stopped(signal.number()), reported),
    };
    SeenProcess { place, stop, told, continued, decided }
}
