//! The kernel's process table, as the model wants it.

use crate::mail::{self, Letter};
use crate::model::{Place, Seen, SeenProcess, Stop};
use process::signal::stop::StopState;
use process::signal::{Pending, Siginfo, code};
use process::tree::Tree;
use process::{Process, pid, tree};
use std::collections::{BTreeMap, BTreeSet};

/// The kernel's process table.
pub fn see() -> Seen {
    let tree = tree::lock();
    pid::processes(1).map(|process| (process.id(), see_one(&tree, &process))).collect()
}

fn see_one(tree: &Tree, process: &Process) -> SeenProcess {
    let mut boxes = BTreeMap::new();
    let (threads, stop, continued, decided) = {
        let shared = process.shared.lock();
        see_mail(&mut boxes, 0, &shared.pending);
        for thread in shared.threads.values() {
            see_mail(&mut boxes, thread.id(), &thread.signals.lock());
        }
        (shared.threads.keys().copied().collect(), shared.stop, shared.continued, shared.group_exit)
    };
    // The dead are sent nothing, and what they were sent is nobody's.
    let threads: BTreeSet<u32> = threads;
    if threads.is_empty() {
        boxes.clear();
    }
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
    SeenProcess { place, stop, told, continued, decided, mail: boxes }
}

/// The letters that are queued for a thread, or (0) for its process.
fn see_mail(boxes: &mut BTreeMap<u32, Vec<Letter>>, thread: u32, pending: &Pending) {
    if pending.set().0 & mail::SET == 0 {
        return;
    }
    let letters = pending.iter().filter(|info| mail::is(info.signal.number()));
    boxes.insert(thread, letters.map(|info| Letter { signal: info.signal.number(), value: value(info) }).collect());
}

/// What came with a signal, as a program sees it.
fn value(info: &Siginfo) -> u32 {
    if info.code == code::QUEUE { info.words()[3] as u32 } else { 0 }
}
