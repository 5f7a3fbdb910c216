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
use alloc::vec::Vec;
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
    let poll = || look(thread, &which, options);
    let named = match &which {
        Which::Process(id) => pid::find_process(*id),
        _ => None,
    };
    let queue = named.as_ref().map_or(&process.children_changed, |child| &child.changed);
    if options.contains(Options::NOHANG) {
        return poll().unwrap_or(Ok(None));
    }
    thread.interruptible(Restart::IfAsked, queue.wait_until(executor::ALL, poll)).await?
}

/// One look at the children: `None` if there is nothing yet.
fn look(thread: &Arc<Thread>, which: &Which, options: Options) -> Option<Result<Option<Event>>> {
    let mut tree = tree::lock();
    let process = &thread.process;
    let mut eligible = false;
    for child in candidates(&tree, process, which) {
        if !matches(&tree, thread, &child, which, options) {
            continue;
        }
        eligible = true;
        if let Some(event) = take_event(&mut tree, process, &child, options) {
            return Some(Ok(Some(event)));
        }
    }
    if eligible { None } else { Some(Err(Errno::ECHILD.into())) }
}

fn candidates(tree: &Tree, process: &Process, which: &Which) -> Vec<Arc<Process>> {
    let links = process.links(tree);
    match which {
        Which::Process(id) => links.children.get(id).cloned().into_iter().collect(),
        _ => links.children.values().cloned().collect(),
    }
}

fn matches(tree: &Tree, thread: &Thread, child: &Process, which: &Which, options: Options) -> bool {
    let links = child.links(tree);
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

fn take_event(tree: &mut Tree, process: &Process, child: &Arc<Process>, options: Options) -> Option<Event> {
    let zombie = child.links(tree).zombie;
    if let Some(zombie) = zombie {
        if !options.contains(Options::EXITED) {
            return None;
        }
        let (code, info_status) = exit::decode(zombie.status);
        let event = event(child, zombie.status, code, info_status, zombie.usage);
        if !options.contains(Options::NOWAIT) {
            exit::reap(tree, child, Some(process));
        }
        return Some(event);
    }
    let usage = child.usage();
    let mut shared = child.shared.lock();
    if options.contains(Options::STOPPED)
        && let StopState::Stopped { signal, reported: false } = shared.stop
    {
        if !options.contains(Options::NOWAIT) {
            shared.stop = StopState::Stopped { signal, reported: true };
        }
        let number = i32::from(signal.number());
        return Some(event(child, number << 8 | 0x7f, code::CLD_STOPPED, number, usage));
    }
    if options.contains(Options::CONTINUED) && shared.continued {
        if !options.contains(Options::NOWAIT) {
            shared.continued = false;
        }
        return Some(event(child, 0xffff, code::CLD_CONTINUED, Signal::SIGCONT.number().into(), usage));
    }
    None
}

fn event(child: &Process, status: i32, code: i32, info_status: i32, usage: Usage) -> Event {
    Event { pid: child.id(), uid: child.uid(), status, code, info_status, usage }
}
