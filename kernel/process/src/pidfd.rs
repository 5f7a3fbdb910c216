//! pidfd_open(2): a descriptor that names a process, or one thread, for good, whatever becomes of its number.
//!
//! It is ready to read once the process has exited, or the thread, and hung up once nothing is left of it.

use crate::pid::Pid;
use crate::process::Process;
use crate::thread::Thread;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::Events;
use executor::WaitQueue;
use vfs::file::DATA;
use vfs::{Caller, Description, File, OpenFlags};

/// A pidfd.
pub struct PidFd {
    process: Arc<Process>,
    /// Where it names a thread.
    thread: Option<Arc<Pid>>,
}

impl PidFd {
    /// For a process.
    pub fn new(process: Arc<Process>) -> Arc<PidFd> {
        Arc::new(PidFd { process, thread: None })
    }

    /// For a thread (PIDFD_THREAD).
    pub fn of_thread(thread: &Arc<Thread>) -> Arc<PidFd> {
        let pid = thread.view.lock().pid.clone();
        Arc::new(PidFd { process: thread.process.clone(), thread: Some(pid) })
    }

    /// The process, a zombie too; `None` once it is reaped.
    pub fn process(&self) -> Option<Arc<Process>> {
        self.process.pid().process()
    }

    /// Whether it names a thread.
    pub fn is_of_thread(&self) -> bool {
        self.thread.is_some()
    }

    /// The thread that it names, or the leader of its process, until that has exited.
    pub fn thread(&self) -> Option<Arc<Thread>> {
        let pid = self.thread.as_ref().unwrap_or(self.process.pid());
        let thread = pid.thread()?;
        self.process.shared.lock().threads.get(&pid.number()).filter(|live| Arc::ptr_eq(live, &thread)).cloned()
    }

    /// Its number, which is no other's while the descriptor lives.
    pub fn number(&self) -> u32 {
        self.thread.as_ref().unwrap_or(self.process.pid()).number()
    }

    /// Whether nothing is left of what it names. A leader stays until its process is reaped.
    fn is_gone(&self) -> bool {
        let leads = self.number() == self.process.id();
        if leads { self.process().is_none() } else { self.thread().is_none() }
    }

    /// An open description of one, as CLONE_PIDFD gives it to the parent: of the thread if it is one of the parent's process.
    pub(crate) fn describe(thread: &Arc<Thread>) -> Arc<Description> {
        let file = if thread.is_leader() { PidFd::new(thread.process.clone()) } else { PidFd::of_thread(thread) };
        Description::new(file, None, OpenFlags::RDWR)
    }
}

impl File for PidFd {
    fn poll(&self, _: &Caller) -> Events {
        let over = if self.is_of_thread() { self.thread().is_none() } else { self.process.is_over() };
        match over {
            true if self.is_gone() => DATA | Events::HUP,
            true => DATA,
            false => Events::empty(),
        }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(if self.is_of_thread() { &self.process.threads_changed } else { &self.process.changed })
    }

    fn label(&self) -> Vec<u8> {
        b"anon_inode:[pidfd]".to_vec()
    }

    /// -1 once nothing is left of it, as its number may then be another's.
    fn show_info(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        let number = if self.is_gone() { -1 } else { i64::from(self.number()) };
        writeln!(out, "Pid:\t{number}\nNSpid:\t{number}")
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}
