//! Core files (core(5)): how the threads of a process that dies of a signal come together, and what is asked for.
//!
//! The thread that takes the signal begins. Each of the others, on its way out, leaves what it knows of itself and waits until the
//! file is written, for it is their memory too.

use crate::Process;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, rank};
use core::sync::atomic::{AtomicBool, Ordering};
use executor::spin::SpinLock;

/// The longest pattern, with its end.
pub const PATTERN_MAX: usize = 128;

/// `kernel.core_pattern`, where it is not the default.
static PATTERN: SpinLock<Option<Vec<u8>>> = SpinLock::new(rank::THREAD, None);

/// What core files are called.
pub fn pattern() -> Vec<u8> {
    PATTERN.lock().clone().unwrap_or_else(|| b"core".to_vec())
}

/// Changes what core files are called. EINVAL for a pattern that is too long.
pub fn set_pattern(pattern: &[u8]) -> Result<(), Errno> {
    if pattern.len() >= PATTERN_MAX {
        return Err(Errno::EINVAL);
    }
    *PATTERN.lock() = Some(pattern.to_vec());
    Ok(())
}

/// What of a process's memory goes into a core file (core(5), "Controlling which mappings are written").
pub mod filter {
    /// Private memory that was written.
    pub const ANONYMOUS_PRIVATE: u32 = 1;
    /// Shared memory that no file stands for.
    pub const ANONYMOUS_SHARED: u32 = 1 << 1;
    /// Private mappings of files, as far as they were not written.
    pub const FILE_PRIVATE: u32 = 1 << 2;
    /// Shared mappings of files.
    pub const FILE_SHARED: u32 = 1 << 3;
    /// The first page of ELF files.
    pub const ELF_HEADERS: u32 = 1 << 4;
    /// What a program begins with; bit 5 is about huge pages, of which there are none.
    pub const DEFAULT: u32 = ANONYMOUS_PRIVATE | ANONYMOUS_SHARED | ELF_HEADERS | 1 << 5;
    /// All there are.
    pub const ALL: u32 = 0x1ff;
}

/// A core file in the making.
pub struct Dump {
    /// The notes of threads that have come.
    threads: SpinLock<Vec<Vec<u8>>>,
    done: AtomicBool,
}

impl Process {
    /// Begins to end the process of the signal `status`, with a core file. `None` if its end was decided already.
    pub fn begin_dump(&self, status: i32) -> Option<Arc<Dump>> {
        let mut shared = self.shared.lock();
        if shared.group_exit.is_some() || shared.exec.is_some() {
            return None;
        }
        let dump = Arc::new(Dump { threads: SpinLock::new(rank::THREAD, Vec::new()), done: AtomicBool::new(false) });
        shared.dump = Some(dump.clone());
        self.set_dumps();
        shared.begin_group_exit(self, status);
        Some(dump)
    }

    /// Waits until all other threads have come, or have gone before they knew. Gives their notes.
    pub async fn gather_dump(&self, dump: &Dump) -> Vec<Vec<u8>> {
        let all = || {
            let others = self.shared.lock().threads.len().saturating_sub(1);
            (dump.threads.lock().len() >= others).then_some(())
        };
        self.threads_changed.wait_until(executor::ALL, all).await;
        core::mem::take(&mut *dump.threads.lock())
    }

    /// The core file is done with, and was written or not: the process's status says so, and its threads go on to their end.
    pub fn finish_dump(&self, dump: &Dump, written: bool) {
        const CORE: i32 = 0x80;
        let mut shared = self.shared.lock();
        shared.group_exit = shared.group_exit.map(|status| if written { status | CORE } else { status });
        drop(shared);
        dump.done.store(true, Ordering::SeqCst);
        self.threads_changed.notify_all(executor::ALL);
    }

    /// The core file that a thread on its way out has to wait for.
    pub fn dump_under_way(&self) -> Option<Arc<Dump>> {
        let dump = self.shared.lock().dump.clone()?;
        (!dump.done.load(Ordering::SeqCst)).then_some(dump)
    }

    /// Leaves the notes of a thread and waits until the core file is done with.
    pub async fn join_dump(&self, dump: &Dump, notes: Vec<u8>) {
        dump.threads.lock().push(notes);
        self.threads_changed.notify_all(executor::ALL);
        let done = || dump.done.load(Ordering::SeqCst).then_some(());
        self.threads_changed.wait_until(executor::ALL, done).await;
    }
}
