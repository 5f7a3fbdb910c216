//! Bringing in what a program touched and is not there yet.

use arch::trap::PageFault;
use base::{Errno, Result};
use memory::FaultError;
use process::{Current, Thread, pid};

/// Resolves a fault that a system call ran into. What cannot be resolved is EFAULT.
pub async fn resolve(current: &Current, page: PageFault) -> Result<()> {
    match current.space.fault(page).await {
        Ok(()) => Ok(()),
        Err(FaultError::OutOfMemory) => {
            out_of_memory(&current.thread);
            Err(Errno::ENOMEM.into())
        }
        Err(_) => Err(Errno::EFAULT.into()),
    }
}

/// No memory for a page that a program was promised: the process that holds most is killed. If that is this one, it
/// dies before its program goes on; if not, the access is tried again and finds room, or brings it here again.
pub fn out_of_memory(thread: &Thread) {
    const BATCH: usize = 32;
    let mut largest = None;
    let mut from = 2;
    loop {
        let batch = pid::processes_from(from, BATCH);
        let Some(last) = batch.last() else { break };
        from = last.id() + 1;
        for process in &batch {
            // One that is dying already will give its memory back by itself.
            if process.exit_status().is_some() {
                continue;
            }
            let pages = process.space().map_or(0, |space| space.rss_pages());
            if largest.as_ref().is_none_or(|(most, _)| pages > *most) {
                largest = Some((pages, process.clone()));
            }
        }
    }
    let victim = largest.map_or_else(|| thread.process.clone(), |(_, process)| process);
    log::error!("out of memory: killing process {}", victim.id());
    victim.exit_group(9);
}
