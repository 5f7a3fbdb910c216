//! Stopping and continuing a process (signal(7), waitpid(2) WUNTRACED and WCONTINUED).
//!
//! ```text
//!             stop signal taken              last thread parked
//!   Running ───────────────────► Stopping ─────────────────────► Stopped
//!      ▲                             │                              │
//!      └──────────── SIGCONT ────────┴────────── SIGCONT ───────────┘
//! ```
//!
//! The process's lock guards the state. A thread that sees the STOP condition parks itself in [`park`];
//! SIGCONT and death take it out.

use super::{Fields, SaFlags, Siginfo, Signal, code, send};
use crate::process::Shared;
use crate::thread::Conditions;
use crate::tree::{self, Tree};
use crate::{Process, Thread};
use alloc::sync::Arc;

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StopState {
    /// It runs.
    #[default]
    Running,
    /// Its threads are being stopped; so many still run.
    Stopping {
        /// The signal that asked for it.
        signal: Signal,
        /// Threads that are not parked yet.
        running: usize,
    },
    /// All of its threads are parked.
    Stopped {
        /// The signal that asked for it.
        signal: Signal,
        /// Whether a wait has told the parent.
        reported: bool,
    },
}

/// What a parent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The child stopped on this signal.
    Stopped(Signal),
    /// The child goes on.
    Continued,
}

/// Starts a group stop on behalf of a thread that took a stop signal. Nothing happens if the process is dying or
/// stopping already.
pub fn begin(process: &Process, signal: Signal) {
    let mut shared = process.shared.lock();
    // A SIGCONT that came since the signal was taken has the last word.
    if shared.group_exit.is_some() || shared.stop != StopState::Running || !shared.stop_taken {
        return;
    }
    shared.stop_round = shared.stop_round.wrapping_add(1);
    shared.stop = StopState::Stopping { signal, running: shared.threads.len() };
    shared.continued = false;
    for thread in shared.threads.values() {
        thread.interrupt(Conditions::STOP);
    }
}

/// Parks the thread until its process goes on or dies. The thread has seen the STOP condition. If the process goes on and stops
/// again before the thread has run, it is parked once more: each stop counts its threads anew.
pub async fn park(thread: &Arc<Thread>) {
    let process = &thread.process;
    loop {
        let (report, round) = {
            let mut shared = process.shared.lock();
            if shared.stop == StopState::Running {
                thread.clear(Conditions::STOP);
                return;
            }
            (thread_gone(&mut shared), shared.stop_round)
        };
        if let Some(report) = report {
            notify_parent(&tree::lock(), process, report);
        }
        let stops_again = process
            .resumed
            .wait_until(executor::ALL, || {
                if thread.has(Conditions::FATAL) {
                    return Some(false);
                }
                let shared = process.shared.lock();
                match shared.stop {
                    StopState::Running => {
                        thread.clear(Conditions::STOP);
                        Some(false)
                    }
                    _ => (shared.stop_round != round).then_some(true),
                }
            })
            .await;
        if !stops_again {
            return;
        }
    }
}

/// One thread fewer runs: it was parked, or it exited. Returns the report if it was the last.
pub(crate) fn thread_gone(shared: &mut Shared) -> Option<Report> {
    let StopState::Stopping { signal, running } = shared.stop else { return None };
    if running > 1 {
        shared.stop = StopState::Stopping { signal, running: running - 1 };
        return None;
    }
    shared.stop = StopState::Stopped { signal, reported: false };
    Some(Report::Stopped(signal))
}

/// SIGCONT, whatever becomes of the signal itself: the process goes on.
pub(super) fn resume(process: &Process, shared: &mut Shared) -> Option<Report> {
    let report = match shared.stop {
        StopState::Running => return None,
        StopState::Stopping { signal, .. } => Report::Stopped(signal),
        StopState::Stopped { .. } => Report::Continued,
    };
    shared.continued = report == Report::Continued;
    release(process, shared);
    Some(report)
}

/// Ends a stop without a word to the parent (SIGKILL).
pub(crate) fn release(process: &Process, shared: &mut Shared) {
    if shared.stop == StopState::Running {
        return;
    }
    shared.stop = StopState::Running;
    for thread in shared.threads.values() {
        thread.clear(Conditions::STOP);
    }
    process.resumed.notify_all(executor::ALL);
}

/// Tells the parent that its child stopped or went on: SIGCHLD unless it does not want it, and a wake for waiters.
pub fn notify_parent(tree: &Tree, process: &Arc<Process>, report: Report) {
    let Some(parent) = process.parent(tree) else { return };
    let action = parent.actions().get(Signal::SIGCHLD);
    if action.disposition != super::Disposition::Ignore && !action.flags.contains(SaFlags::NOCLDSTOP) {
        let (code, status) = match report {
            Report::Stopped(signal) => (code::CLD_STOPPED, i32::from(signal.number())),
            Report::Continued => (code::CLD_CONTINUED, i32::from(Signal::SIGCONT.number())),
        };
        let (utime, stime) = process.ticks();
        let fields = Fields::Child { pid: process.id(), uid: process.uid(), status, utime, stime };
        // SIGCHLD merges, so the queue never refuses it.
        let thread = process.links(tree).parent_thread;
        let _ = send::to_process_by(tree, &parent, thread, Siginfo { signal: Signal::SIGCHLD, code, fields });
    }
    process.changed.notify_all(executor::ALL);
    parent.children_changed.notify_all(executor::ALL);
}
