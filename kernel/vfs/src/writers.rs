//! A file is either written or executed (open(2), execve(2): ETXTBSY).

use crate::mount::Location;
use base::Errno;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// How often a file is open for writing, or, below zero, is executed.
#[derive(Default)]
pub struct Writers(AtomicI32);

impl Writers {
    /// Neither.
    pub const fn new() -> Writers {
        Writers(AtomicI32::new(0))
    }

    /// One more writes it. ETXTBSY while it is executed.
    pub fn begin(&self) -> Result<(), Errno> {
        self.change(|count| (count >= 0).then(|| count.saturating_add(1)))
    }

    /// One less does.
    pub fn end(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// One more executes it. ETXTBSY while it is open for writing.
    fn execute(&self) -> Result<(), Errno> {
        self.change(|count| (count <= 0).then(|| count.saturating_sub(1)))
    }

    fn change(&self, to: impl FnMut(i32) -> Option<i32>) -> Result<(), Errno> {
        self.0.fetch_update(Relaxed, Relaxed, to).map(drop).map_err(|_| Errno::ETXTBSY)
    }
}

/// A file that is executed: nobody opens it for writing while this lives.
pub struct Executed(Location);

impl Executed {
    /// Begins to execute what is at `location`. ETXTBSY.
    pub fn new(location: Location) -> Result<Executed, Errno> {
        if let Some(writers) = location.inode().writers() {
            writers.execute()?;
        }
        Ok(Executed(location))
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.0
    }
}

impl Drop for Executed {
    fn drop(&mut self) {
        if let Some(writers) = self.0.inode().writers() {
            writers.0.fetch_add(1, Relaxed);
        }
    }
}

/// A file that is about to be open for writing; it is counted out again unless it is [kept](Beginning::keep).
pub(crate) struct Beginning<'a>(Option<&'a Writers>);

impl<'a> Beginning<'a> {
    /// ETXTBSY.
    pub fn new(writers: Option<&'a Writers>) -> Result<Beginning<'a>, Errno> {
        if let Some(writers) = writers {
            writers.begin()?;
        }
        Ok(Beginning(writers))
    }

    /// Leaves it to another to count out. Whether there is anything to count out.
    pub fn keep(mut self) -> bool {
        self.0.take().is_some()
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        if let Some(writers) = self.0 {
            writers.end();
        }
    }
}
