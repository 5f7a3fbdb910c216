//! Signals to the owners of files that have become ready (O_ASYNC): SIGIO, or what F_SETSIG chose.

use alloc::sync::Arc;
use base::{Credentials, Events};
use process::signal::{Fields, send};
use process::{Process, Siginfo, Signal, Thread, pid, tree};
use vfs::description::{Owner, OwnerId};
use vfs::signalled::{self, Ready};

/// `si_code` of a signal by a file, and the event that it stands for.
const CODES: [(Events, i32); 5] =
    [(Events::ERR, 4), (Events::HUP, 6), (Events::PRI, 5), (Events::IN, 1), (Events::OUT, 2)];

/// Sends signals for ever. One task of the kernel's own.
pub async fn drive() {
    loop {
        signal(&signalled::next().await);
    }
}

/// Whether who set the owner may signal it.
fn permitted(owner: &Owner, target: &Credentials) -> bool {
    let (effective, real) = owner.uids;
    effective == 0 || [effective, real].iter().any(|uid| *uid == target.uid || *uid == target.suid)
}

/// The signal with what the file has to say; the plain SIGIO has nothing.
fn info(ready: &Ready) -> Siginfo {
    let Some(signal) = Signal::new(ready.owner.signal as usize) else { return Siginfo::kernel(Signal::SIGIO) };
    let code = CODES.iter().find(|(event, _)| ready.events.intersects(*event)).map_or(1, |(_, code)| *code);
    let band = u64::from(ready.events.bits());
    Siginfo { signal, code, fields: Fields::Raw([band, ready.descriptor as u32 as u64, 0, 0]) }
}

fn signal(ready: &Ready) {
    let info = info(ready);
    match ready.owner.id {
        OwnerId::None => {}
        OwnerId::Thread(id) => {
            if let Some(thread) = pid::find_thread(id) {
                to_thread(&thread, info, &ready.owner);
            }
        }
        OwnerId::Process(id) => {
            let process = pid::find_process(id).or_else(|| Some(pid::find_thread(id)?.process.clone()));
            if let Some(process) = process {
                to_process(&tree::lock(), &process, info, &ready.owner);
            }
        }
        OwnerId::Group(id) => {
            let tree = tree::lock();
            let Some(group) = tree::find_group(&tree, id) else { return };
            for process in group.members(&tree) {
                to_process(&tree, &process, info, &ready.owner);
            }
        }
    }
}

fn to_process(tree: &tree::Tree, process: &Arc<Process>, info: Siginfo, owner: &Owner) {
    let Some(thread) = process.any_thread() else { return };
    if permitted(owner, &thread.cred()) && send::to_process_locked(tree, process, info).is_err() {
        // Where the queue is full, SIGIO says that something was lost.
        let _ = send::to_process_locked(tree, process, Siginfo::kernel(Signal::SIGIO));
    }
}

fn to_thread(thread: &Arc<Thread>, info: Siginfo, owner: &Owner) {
    if permitted(owner, &thread.cred()) && send::to_thread(thread, info).is_err() {
        // As above.
        let _ = send::to_thread(thread, Siginfo::kernel(Signal::SIGIO));
    }
}
