//! tmpfs(5): files that live in memory.
//!
//! The file system holds the directories (under one lock, [`crate::ranks::NAMES`]) and the accounts; a [`Node`] is one file
//! and holds the rest. The directories keep the nodes, the nodes the file system; [`FileSystem::shutdown`], after the
//! last mount, breaks that circle.

mod file;
mod memfd;
mod names;
mod node;
mod pages;
#[cfg(test)]
mod tests;

pub use memfd::{SEAL_ALL, add_seals, memfd, seals};
pub use node::Node;

use crate::inode::{Device, Inode, NewInode, NewKind};
use crate::mount::{FileSystem, Statfs, anonymous_device};
use crate::ranks;
use alloc::sync::{Arc, Weak};
use arch::addr::PAGE_SIZE;
use base::{Errno, Result};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};
use executor::spin::SpinLock;
use hashbrown::HashMap;
use names::Directory;

/// What a tmpfs is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most bytes that its files may take.
    pub size: u64,
    /// The most inodes.
    pub inodes: u64,
    /// The mode of the root directory.
    pub mode: u32,
    /// The name under which it shows: "tmpfs", "devtmpfs", "rootfs".
    pub name: &'static str,
}

impl Default for Options {
    /// Half of the memory, and an inode for each two pages of that; mode 1777.
    fn default() -> Options {
        let pages = (memory::frames::total_bytes() / PAGE_SIZE / 2) as u64;
        Options { size: pages * PAGE_SIZE as u64, inodes: pages, mode: 0o1777, name: "tmpfs" }
    }
}

/// One tmpfs.
pub struct Tmpfs {
    me: Weak<Tmpfs>,
    options: Options,
    device: Device,
    /// Directories by inode number.
    directories: SpinLock<HashMap<u64, Directory>>,
    root: SpinLock<Option<Arc<Node>>>,
    next_ino: AtomicU64,
    pages: Account,
    inodes: Account,
}

/// A number that may not exceed a limit.
struct Account {
    used: AtomicU64,
    limit: u64,
}

impl Account {
    fn new(limit: u64) -> Account {
        Account { used: AtomicU64::new(0), limit }
    }

    /// ENOSPC.
    fn charge(&self, n: u64) -> Result<()> {
        let room = |used: u64| used.checked_add(n).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::ENOSPC.into()),
        }
    }

    fn release(&self, n: u64) {
        self.used.fetch_sub(n, Ordering::Relaxed);
    }

    fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

impl Tmpfs {
    /// An empty tmpfs. ENOMEM.
    pub fn new(options: Options) -> Result<Arc<Tmpfs>> {
        let fs = Arc::new_cyclic(|me| Tmpfs {
            me: me.clone(),
            options,
            device: anonymous_device(),
            directories: SpinLock::new(ranks::NAMES, HashMap::new()),
            root: SpinLock::new(ranks::TMPFS_ROOT, None),
            next_ino: AtomicU64::new(1),
            pages: Account::new(options.size / PAGE_SIZE as u64),
            inodes: Account::new(options.inodes.max(1)),
        });
        let new = NewInode { kind: NewKind::Directory, mode: options.mode, uid: 0, gid: 0 };
        let root = fs.node(&new)?;
        {
            let mut directories = fs.directories.lock();
            directories.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            directories.insert(root.ino(), Directory::default());
        }
        *fs.root.lock() = Some(root);
        Ok(fs)
    }

    /// A node in no directory. ENOSPC, ENOMEM.
    fn node(&self, new: &NewInode) -> Result<Arc<Node>> {
        let fs = self.me.upgrade().ok_or(Errno::ENOENT)?;
        memory::admit(size_of::<Node>()).map_err(|_| Errno::ENOMEM)?;
        self.inodes.charge(1)?;
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        Ok(Node::new(fs, ino, new))
    }
}

/// What is left of a file system that has been shut down.
struct Gone;

impl Inode for Gone {
    fn metadata(&self) -> crate::inode::Metadata {
        crate::inode::Metadata::new(Device::default(), 0, crate::inode::FileType::Directory, 0, crate::clock::now())
    }
}

impl FileSystem for Tmpfs {
    fn name(&self) -> &'static str {
        self.options.name
    }

    fn root(&self) -> Arc<dyn Inode> {
        match &*self.root.lock() {
            Some(root) => root.clone(),
            None => Arc::new(Gone),
        }
    }

    fn device(&self) -> Device {
        self.device
    }

    fn statfs(&self) -> Statfs {
        Statfs {
            magic: 0x0102_1994,
            block_size: PAGE_SIZE as u64,
            blocks: self.pages.limit,
            blocks_free: self.pages.free(),
            blocks_available: self.pages.free(),
            files: self.inodes.limit,
            files_free: self.inodes.free(),
            name_max: 255,
        }
    }

    fn show_options(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, ",size={}k,nr_inodes={}", self.options.size / 1024, self.inodes.limit)?;
        if self.options.mode != 0o1777 {
            write!(out, ",mode={:o}", self.options.mode)?;
        }
        Ok(())
    }

    fn shutdown(&self) {
        let directories = core::mem::take(&mut *self.directories.lock());
        let root = self.root.lock().take();
        drop(directories);
        drop(root);
    }
}
