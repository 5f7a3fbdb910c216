//! What terminals ask of the process layer ([`tty::job::Jobs`]), and what they are told when a session ends.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use base::rank;
use executor::spin::SpinLock;
use process::exit::ExitHook;
use process::signal::{Siginfo, send};
use process::{Signal, pid, tree};
use tty::job::{self, Place};
use tty::tty::Tty;

/// The process layer, as terminals see it.
pub struct Jobs;

/// A session's controlling terminal, and the group that was in its foreground when it was lost.
#[derive(Default)]
struct Terminal {
    tty: Option<Arc<Tty>>,
    lost: u32,
}

/// By session id. An entry goes with its session's leader.
static TERMINALS: SpinLock<BTreeMap<u32, Terminal>> = SpinLock::new(rank::TERMINALS, BTreeMap::new());

fn signal(number: u32) -> Option<Signal> {
    Signal::new(number as usize)
}

impl job::Jobs for Jobs {
    fn place(&self, process: u32) -> Option<Place> {
        let process = pid::find_process(process)?;
        let tree = tree::lock();
        let links = process.links(&tree);
        let session = links.group.session_id();
        let attached = !links.detached && TERMINALS.lock().get(&session).is_some_and(|terminal| terminal.tty.is_some());
        Some(Place { session, group: links.group.id(), leader: session == process.id(), attached })
    }

    fn session_of(&self, group: u32) -> Option<u32> {
        Some(tree::find_group(&tree::lock(), group)?.session_id())
    }

    fn is_orphaned(&self, group: u32) -> bool {
        let tree = tree::lock();
        tree::find_group(&tree, group).is_none_or(|group| tree::is_orphaned(&tree, &group, None))
    }

    fn signal_group(&self, group: u32, number: u32) {
        if let Some(signal) = signal(number) {
            send::to_group(group, Siginfo::kernel(signal));
        }
    }

    fn signal_leader(&self, session: u32, number: u32) {
        if let (Some(signal), Some(leader)) = (signal(number), pid::find_process(session)) {
            // A terminal's signals are standard ones, which the queue never refuses.
            let _ = send::to_process(&leader, Siginfo::kernel(signal));
        }
    }

    fn ignores(&self, thread: u32, number: u32) -> bool {
        let (Some(signal), Some(thread)) = (signal(number), pid::find_thread(thread)) else { return false };
        let ignored = thread.actions().get(signal).disposition == process::signal::Disposition::Ignore;
        ignored || thread.mask().contains(signal)
    }

    fn terminal(&self, process: u32) -> Option<Arc<Tty>> {
        let session = self.place(process).filter(|place| place.attached)?.session;
        TERMINALS.lock().get(&session)?.tty.clone()
    }

    fn claim(&self, session: u32, terminal: Arc<Tty>) -> bool {
        let mut terminals = TERMINALS.lock();
        let entry = terminals.entry(session).or_default();
        let free = entry.tty.is_none();
        if free {
            entry.tty = Some(terminal);
        }
        free
    }

    fn release(&self, session: u32, foreground: u32) {
        let old = {
            let mut terminals = TERMINALS.lock();
            let Some(entry) = terminals.get_mut(&session) else { return };
            if foreground != 0 {
                entry.lost = foreground;
            }
            entry.tty.take()
        };
        drop(old);
    }

    fn lost_foreground(&self, session: u32) -> u32 {
        TERMINALS.lock().get_mut(&session).map_or(0, |entry| core::mem::take(&mut entry.lost))
    }

    fn detach(&self, process: u32) {
        if let Some(process) = pid::find_process(process) {
            process.links(&tree::lock()).detached = true;
        }
    }
}

impl ExitHook for Jobs {
    fn session_leader_exits(&self, session: u32) {
        job::disassociate(self, session);
        TERMINALS.lock().remove(&session);
    }

    fn first_process_exits(&self, status: i32) {
        crate::shutdown::panic(&format_args!("Attempted to kill init! exitcode={status:#010x}"))
    }
}
