//! /proc (proc(5)): what the kernel tells of itself and of processes, as files.
//!
//! * [`table`]: directories as tables of names; [`text`]: files whose text is made when they are read.
//! * [`root`], [`system`], [`sysctl`], [`sysvipc`]: the system; [`process`] and what is below it: processes and threads.
//!
//! Everything in it is read from where it lives at the moment of reading. What the kernel does not know has no file and no
//! line. Generators run with no lock held and take one lock at a time: process layer first, then memory or files.

mod process;
mod root;
mod sysctl;
mod system;
mod sysvipc;
mod table;
#[cfg(test)]
mod tests;
mod text;

use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Result, Timespec, rank};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use executor::spin::SpinLock;
use net::Net;
use vfs::mount::{Location, MountFlags, Statfs, anonymous_device};
use vfs::{Description, Device, FileSystem, Inode, Mount};

/// Writes a text about the system.
pub type Show = fn(&mut dyn fmt::Write) -> fmt::Result;

/// Files that layers above this crate have added: directory, name, text.
static ADDED: SpinLock<Vec<(&'static str, &'static str, Show)>> = SpinLock::new(rank::PROC_FILES, Vec::new());

/// The network that /proc/net and net.core are about.
static NETWORK: SpinLock<Option<Arc<Net>>> = SpinLock::new(rank::PROC_FILES, None);

/// The minor device number of the one proc file system.
static MINOR: AtomicU32 = AtomicU32::new(0);

/// Adds the file `/proc/pollux/NAME`, whose text `show` writes at every read. Once for each name, at start.
pub fn register(name: &'static str, show: Show) {
    ADDED.lock().push((root::OWN, name, show));
}

/// Names the network that /proc/net shows.
pub fn set_network(network: Arc<Net>) {
    *NETWORK.lock() = Some(network);
}

/// The process whose directory in /proc this is; `None` for any other file. ESRCH once it is reaped.
pub fn process_of(description: &Description) -> Option<Result<Arc<::process::Process>, Errno>> {
    let location = description.location();
    let directory = location.inode().as_any()?.downcast_ref::<process::Directory>()?;
    directory.process()
}

fn network() -> Option<Arc<Net>> {
    NETWORK.lock().clone()
}

fn device() -> Device {
    Device::new(0, MINOR.load(Ordering::Relaxed))
}

fn boot_time() -> Timespec {
    Timespec::from_nanos(crate::time::realtime().saturating_sub(crate::time::monotonic()))
}

struct Procfs {
    root: Arc<root::Root>,
}

impl FileSystem for Procfs {
    fn name(&self) -> &'static str {
        "proc"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn device(&self) -> Device {
        device()
    }

    fn statfs(&self) -> Statfs {
        Statfs { magic: 0x9fa0, block_size: 4096, name_max: 255, ..Statfs::default() }
    }
}

/// Mounts /proc under `root`; the directory is made if it is missing.
pub fn mount(root: &Location) -> Result<()> {
    MINOR.store(anonymous_device().minor, Ordering::Relaxed);
    let fs = Arc::new(Procfs { root: Arc::new(root::Root) });
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    crate::mounts::attach(root, b"/proc", Mount::new(fs, b"proc", flags))
}
