//! What is done when memory runs out: a process is killed, and whoever needs memory waits for its end.
//!
//! Nothing here allocates more than it takes to look through the processes: there is the reserve for that
//! ([`memory::admit`]).

use crate::pid;
use crate::process::Process;
use crate::thread::Thread;
use alloc::sync::Arc;
use base::Result;

/// No memory for a page that a program was promised: the largest process is killed, and its end awaited. Then the access is
/// tried again, which may bring it here again. An error if the caller is to die itself.
pub async fn kill_largest(thread: &Thread) -> Result<()> {
    let victim = dying().or_else(largest).unwrap_or_else(|| thread.process.clone());
    if victim.exit_status().is_none() {
        log::error!("out of memory: killing process {}", victim.id());
        victim.exit_group(9);
    }
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

/// The largest process, but not init. A descriptor counts as a page, since what it stands for takes memory of the
/// kernel: some hundred bytes, or the buffers of a pipe or a socket.
fn largest() -> Option<Arc<Process>> {
    let size = |process: &Arc<Process>| {
        let pages = process.space()?.rss_pages();
        Some(pages + process.files().map_or(0, |files| files.count()))
    };
    pid::processes(2)
        .filter_map(|process| Some((size(&process)?, process)))
        .max_by_key(|(size, _)| *size)
        .map(|found| found.1)
}
