//! Waiting for children (wait4(2), waitid(2)).
//!
//! A wait that names one child sleeps on that child's queue, any other on its own process's, so an exit
//! wakes those whom it may concern and nobody else. What is found is taken under the tree lock, so of several
//! waiters exactly one gets it.
#![allow(missing_docs, reason = "waitid(2) documents the options")]

use crate::process::Process;
use crate::signal::stop::StopState;
use crate::signal::{Signal, code};
use crate::thread::Thread;
use crate::times::Usage;
use crate::tree::{self, Tree};
use crate::{exit, pid};
use alloc::sync::Arc;
use base::{Errno, Restart, Result};
use bitflags::bitflags;
use linux_raw_sys::general as raw;

bitflags! {
    /// What is waited for, and how.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Options: u32 {
        const NOHANG = raw::WNOHANG;
        /// WUNTRACED is the same bit.
        const STOPPED = raw::WSTOPPED;
        const EXITED = raw::WEXITED;
        const CONTINUED = raw::WCONTINUED;
        const NOWAIT = raw::WNOWAIT;
        const NOTHREAD = raw::__WNOTHREAD;
        const ALL = raw::__WALL;
        const CLONE = raw::__WCLONE;
    }
}

/// Which children.
#[derive(Clone, Debug)]
pub enum Which {
    /// Any.
    Any,
    /// The one with this process id.
    Process(u32),
    /// Those in this process group.
    Group(u32),
}

/// What happened to a child.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its process id.
    pub pid: u32,
    /// Its real user id.
    pub uid: u32,
    /// The status as wait4(2) gives it.
    pub status: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_status`.
    pub info_status: i32,
    /// What it used, its reaped children included.
    pub usage: Usage,
}

/// Waits for a child. `None` with NOHANG when there is nothing to report. ECHILD if no child
/// could ever match; a signal restarts or ends the wait.
pub async fn wait(thread: &Arc<Thread>, which: Which, options: Options) -> Result<Option<Event>> {
    let process = &thread.process;
    let named = match which {
        Which::Process(id) => Some(pid::find_process(id).ok_or(Errno::ECHILD)?),
        _ => None,
    };
    let poll = || look(thread, &which, named.as_ref(), options);
    // Mostly the child is dead by now.
    match poll() {
        Some(result) => return result,
        None if options.contains(Options::NOHANG) => return Ok(None),
        None => {}
    }
    let queue = named.as_ref().map_or(&process.children_changed, |child| &child.changed);
    thread.interruptible(Restart::IfAsked, queue.wait_until(executor::ALL, poll).after_failure()).await?
}

/// One look at the children: `None` if there is nothing yet.
fn look(
    thread: &Arc<Thread>,
    which: &Which,
    named: Option<&Arc<Process>>,
    options: Options,
) -> Option<Result<Option<Event>>> {
    let mut tree = tree::lock();
    let mut eligible = false;
    let mut report = |child: Arc<Process>| {
        if !matches(&tree, thread, &child, which, options) {
            return None;
        }
        eligible = true;
        event(&tree, &child, options).map(|event| (child, event))
    };
    let found = match named {
        Some(child) => report(child.clone()),
        None => {
            let whose = options.contains(Options::NOTHREAD).then(|| thread.id());
            thread.process.children(&tree, whose).find_map(report)
        }
    };
    match found {
        Some((child, event)) => {
            if !options.contains(Options::NOWAIT) {
                consume(&mut tree, &thread.process, &child, &event);
            }
            Some(Ok(Some(event)))
        }
        None if eligible => None,
        None => Some(Err(Errno::ECHILD.into())),
    }
}

fn matches(tree: &Tree, thread: &Thread, child: &Process, which: &Which, options: Options) -> bool {
    let links = child.links(tree);
    if !links.parent.as_ref().is_some_and(|parent| Arc::ptr_eq(parent, &thread.process)) {
        return false;
    }
    if let Which::Group(group) = which
        && links.group.id() != *group
    {
        return false;
    }
    if options.contains(Options::NOTHREAD) && links.parent_thread != thread.id() {
        return false;
    }
    let is_clone = links.exit_signal != Some(Signal::SIGCHLD);
    options.contains(Options::ALL) || is_clone == options.contains(Options::CLONE)
}

/// What there is to tell of a child.
fn event(tree: &Tree, child: &Arc<Process>, options: Options) -> Option<Event> {
    let zombie = child.links(tree).zombie;
    let (status, (code, info_status), usage) = if let Some(zombie) = zombie {
        if !options.contains(Options::EXITED) {
            return None;
        }
        (zombie.status, exit::decode(zombie.status), zombie.usage)
    } else {
        let usage = child.usage();
        let shared = child.shared.lock();
        match shared.stop {
            StopState::Stopped { signal, reported: false } if options.contains(Options::STOPPED) => {
                let number = i32::from(signal.number());
                (number << 8 | 0x7f, (code::CLD_STOPPED, number), usage)
            }
            _ if shared.continued && options.contains(Options::CONTINUED) => {
                (0xffff, (code::CLD_CONTINUED, Signal::SIGCONT.number().into()), usage)
            }
            _ => return None,
        }
    };
    Some(Event { pid: child.id(), uid: child.uid(), status, code, info_status, usage })
}

/// The event is told this once.
fn consume(tree: &mut Tree, reaper: &Process, child: &Arc<Process>, event: &Event) {
    match event.code {
        code::CLD_CONTINUED => child.shared.lock().continued = false,
        code::CLD_STOPPED => {
            let mut shared = child.shared.lock();
            if let StopState::Stopped { signal, .. } = shared.stop {
                shared.stop = StopState::Stopped { signal, reported: true };
            }
        }
        _ => exit::reap(tree, child, Some(reaper)),
    }
}
