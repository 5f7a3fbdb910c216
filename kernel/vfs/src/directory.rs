//! An open directory.

use crate::file::{Caller, File};
use crate::inode::{Entry, FileType, Metadata, Sink};
use crate::mount::Location;
use base::{Errno, Result};
use memory::io::{Dst, Src};

/// A directory opened for reading. Its position is that of [`crate::inode::Inode::readdir`], with "." at 0 and ".." at 1.
pub struct Directory {
    at: Location,
}

impl Directory {
    /// The directory at `at`.
    pub fn new(at: Location) -> Directory {
        Directory { at }
    }
}

impl File for Directory {
    fn read(&self, _: &Caller, _: u64, _: &mut Dst) -> Result<usize> {
        Err(Errno::EISDIR.into())
    }

    fn write(&self, _: &Caller, _: u64, _: &mut Src) -> Result<usize> {
        Err(Errno::EBADF.into())
    }

    fn seekable(&self) -> bool {
        true
    }

    fn metadata(&self) -> Metadata {
        self.at.inode().metadata()
    }

    fn sync(&self, _: bool) -> Result<()> {
        Ok(())
    }

    fn fallocate(&self, _: u32, _: u64, _: u64) -> Result<()> {
        Err(Errno::EISDIR.into())
    }

    fn readdir(&self, caller: &Caller, mut pos: u64, sink: &mut Sink) -> Result<u64> {
        if self.at.dentry.is_deleted() {
            return Err(Errno::ENOENT.into());
        }
        if pos == 0 {
            let ino = self.at.inode().metadata().ino;
            if !sink(Entry { name: b".", ino, kind: FileType::Directory, next: 1 }) {
                return Ok(0);
            }
            pos = 1;
        }
        if pos == 1 {
            let parent = match (self.at.dentry.parent(), self.at.mount.on()) {
                (Some(parent), _) => parent.inode().metadata().ino,
                (None, Some(on)) => on.dentry.parent().unwrap_or(on.dentry).inode().metadata().ino,
                (None, None) => self.at.inode().metadata().ino,
            };
            if !sink(Entry { name: b"..", ino: parent, kind: FileType::Directory, next: 2 }) {
                return Ok(1);
            }
            pos = 2;
        }
        self.at.inode().readdir(caller, pos, sink)
    }
}
