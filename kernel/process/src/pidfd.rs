//! pidfd_open(2): a descriptor that names a process for good, whatever becomes of its number.
//!
//! It is ready to read once the process has exited.

use crate::process::Process;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Events;
use executor::WaitQueue;
use vfs::file::DATA;
use vfs::{Caller, Description, File, OpenFlags};

/// A pidfd.
pub struct PidFd(Arc<Process>);

impl PidFd {
    /// For a process.
    pub fn new(process: Arc<Process>) -> Arc<PidFd> {
        Arc::new(PidFd(process))
    }

    /// The process, a zombie too; `None` once it is reaped.
    pub fn process(&self) -> Option<Arc<Process>> {
        self.0.pid().process()
    }

    /// Its number, which is no other's while the descriptor lives.
    pub fn number(&self) -> u32 {
        self.0.id()
    }

    /// An open description of one, as CLONE_PIDFD gives it to the parent.
    pub(crate) fn describe(process: &Arc<Process>) -> Arc<Description> {
        Description::new(PidFd::new(process.clone()), None, OpenFlags::RDWR)
    }
}

impl File for PidFd {
    fn poll(&self, _: &Caller) -> Events {
        if self.0.is_over() { DATA } else { Events::empty() }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.changed)
    }

    fn label(&self) -> Vec<u8> {
        b"anon_inode:[pidfd]".to_vec()
    }

    /// -1 once the process is reaped, as its number may then be another's.
    fn show_info(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        let number = self.process().map_or(-1, |process| i64::from(process.id()));
        writeln!(out, "Pid:\t{number}\nNSpid:\t{number}")
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}
