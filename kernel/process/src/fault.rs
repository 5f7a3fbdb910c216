//! Bringing in what a program touched and is not there yet.

use crate::{Current, oom};
use alloc::boxed::Box;
use arch::trap::PageFault;
use base::{Errno, Result};
use memory::FaultError;

/// Resolves a fault that the kernel ran into on the program's behalf. What cannot be resolved is EFAULT; where memory is
/// short, some is made. Fails also if the caller is to die for that.
pub async fn resolve(current: &Current, page: PageFault) -> Result<()> {
    match current.space.fault(page).await {
        Ok(()) => Ok(()),
        Err(FaultError::OutOfMemory) => Box::pin(oom::kill_largest(&current.thread)).await,
        Err(_) => Err(Errno::EFAULT.into()),
    }
}
