//! What is done when memory runs out: a process is killed, and whoever needs memory waits for its end.
//!
//! Nothing here allocates more than it takes to look through the processes: there is the reserve for that
//! ([`memory::admit`]).

use crate::pid;
use crate::process::Process;
use crate::thread::Thread;
use alloc::sync::Arc;
use arch::addr::PAGE_SIZE;
use base::{Errno, Result};
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// No memory for a page that a program was promised: the largest process is killed, and its end awaited. Then the access is
/// tried again, which may bring it here again. An error if the caller is to die itself.
pub async fn kill_largest(thread: &Thread) -> Result<()> {
    let victim = dying().or_else(largest).unwrap_or_else(|| thread.process.clone());
    if victim.exit_status().is_none() {
        log::error!("out of memory: killing process {}", victim.id());
    }
    // Also one that calls exit(2) by itself: it must not wait for memory, maybe for its own.
    victim.exit_group(9);
    end_of(&victim, thread).await
}

/// The kernel lives on its reserve: waits until there is memory again, or the caller has to die itself.
pub async fn relieve(thread: &Thread) {
    while memory::is_pressed() && kill_largest(thread).await.is_ok() {}
}

/// Waits until a process that is dying anyway has given its memory back; false if none is. An error if the caller is to
/// die itself.
pub async fn await_dying(thread: &Thread) -> Result<bool> {
    match dying() {
        None => Ok(false),
        Some(process) => end_of(&process, thread).await.map(|()| true),
    }
}

async fn end_of(victim: &Arc<Process>, thread: &Thread) -> Result<()> {
    let gone = || victim.any_thread().is_none().then_some(());
    thread.killable(victim.threads_changed.wait_until(executor::ALL, gone)).await
}

/// A process that is on its way out and still has memory.
fn dying() -> Option<Arc<Process>> {
    pid::processes(2).find(|process| process.exit_status().is_some() && process.space().is_some())
}

/// What a process asks of whoever looks for one to kill (proc_pid_oom_score_adj(5)).
#[derive(Default)]
pub struct Adjustment {
    value: AtomicI32,
    /// What a privileged writer last set: it may be lowered to that again.
    floor: AtomicI32,
}

impl Adjustment {
    /// From -1000, never, to 1000, first of all.
    pub fn get(&self) -> i32 {
        self.value.load(Relaxed)
    }

    /// EINVAL beyond that; EACCES for less than was set with privilege.
    pub fn set(&self, value: i32, privileged: bool) -> Result<(), Errno> {
        if !(-1000..=1000).contains(&value) {
            return Err(Errno::EINVAL);
        }
        if privileged {
            self.floor.store(value, Relaxed);
        } else if value < self.floor.load(Relaxed) {
            return Err(Errno::EACCES);
        }
        self.value.store(value, Relaxed);
        Ok(())
    }

    pub(crate) fn inherit(&self, parent: &Adjustment) {
        self.value.store(parent.value.load(Relaxed), Relaxed);
        self.floor.store(parent.floor.load(Relaxed), Relaxed);
    }
}

/// How much a process is to blame, in pages; `None` for one that has no memory, or is never to be killed. A descriptor counts as a
/// page, since what it stands for takes memory of the kernel: some hundred bytes, or the buffers of a pipe or a socket. Each
/// thousandth of the adjustment counts as a thousandth of all memory.
pub fn badness(process: &Process) -> Option<i64> {
    let adjustment = process.oom.get();
    if process.is_init() || adjustment == -1000 {
        return None;
    }
    let pages = process.space()?.rss_pages() + process.files().map_or(0, |files| files.count());
    let total = (memory::frames::total_bytes() / PAGE_SIZE) as i64;
    Some(pages as i64 + i64::from(adjustment) * total / 1000)
}

/// The process that is most to blame.
fn largest() -> Option<Arc<Process>> {
    let blamed = pid::processes(2).filter_map(|process| Some((badness(&process)?, process)));
    blamed.max_by_key(|(badness, _)| *badness).map(|found| found.1)
}
