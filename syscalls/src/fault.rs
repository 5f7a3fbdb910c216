//! Bringing in what a program touched and is not there yet.

use alloc::boxed::Box;
use alloc::sync::Arc;
use arch::trap::PageFault;
use base::{Errno, Result};
use memory::FaultError;
use process::{Current, Process, Thread, pid};

/// Resolves a fault that a system call ran into. What cannot be resolved is EFAULT.
pub async fn resolve(current: &Current, page: PageFault) -> Result<()> {
    match current.space.fault(page).await {
        Ok(()) => Ok(()),
        Err(FaultError::OutOfMemory) => Box::pin(out_of_memory(&current.thread)).await,
        Err(_) => Err(Errno::EFAULT.into()),
    }
}

/// No memory for a page that a program was promised: the process that holds most is killed, and its end awaited. Then the
/// access is tried again, which may bring it here again. An error if the caller is to die itself.
pub async fn out_of_memory(thread: &Thread) -> Result<()> {
    let victim = choose().unwrap_or_else(|| thread.process.clone());
    if victim.exit_status().is_none() {
        log::error!("out of memory: killing process {}", victim.id());
        victim.exit_group(9);
    }
    let gone = || victim.any_thread().is_none().then_some(());
    thread.killable(victim.threads_changed.wait_until(executor::ALL, gone)).await
}

/// One that is dying already, which will give its memory back; otherwise the one with most pages, but not init.
fn choose() -> Option<Arc<Process>> {
    const BATCH: usize = 32;
    let mut largest: Option<(usize, Arc<Process>)> = None;
    let mut from = 2;
    loop {
        let batch = pid::processes_from(from, BATCH);
        let Some(last) = batch.last() else { break };
        from = last.id() + 1;
        for process in &batch {
            // A zombie has no memory.
            let Some(space) = process.space() else { continue };
            if process.exit_status().is_some() {
                return Some(process.clone());
            }
            let pages = space.rss_pages();
            if largest.as_ref().is_none_or(|(most, _)| pages > *most) {
                largest = Some((pages, process.clone()));
            }
        }
    }
    largest.map(|(_, process)| process)
}
