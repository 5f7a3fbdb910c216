//! Bringing in what a program touched and is not there yet.

use alloc::boxed::Box;
use arch::trap::PageFault;
use base::{Errno, Result};
use memory::FaultError;
use process::{Current, oom};

/// Resolves a fault that a system call ran into. What cannot be resolved is EFAULT.
pub async fn resolve(current: &Current, page: PageFault) -> Result<()> {
    match current.space.fault(page).await {
        Ok(()) => Ok(()),
        Err(FaultError::OutOfMemory) => Box::pin(oom::kill_largest(&current.thread)).await,
        Err(_) => Err(Errno::EFAULT.into()),
    }
}
