//! What the entries of a cpio archive become: files below a root.

use crate::attributes::{self, SetTime};
use crate::cpio::{Reason, Summary};
use crate::description::Description;
use crate::file::Caller;
use crate::flags::OpenFlags;
use crate::inode::{Device, FileType, NewKind};
use crate::mount::Location;
use crate::names;
use crate::open::{self, Request};
use crate::path::{Follow, Resolve, Walk};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Credentials, Errno, Error, Timespec};
use memory::io::Src;

/// A newc header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    pub size: u32,
    dev: Device,
    rdev: Device,
    pub name_len: u32,
}

/// What follows the name of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Regular,
    Directory,
    Symlink,
    /// A node without content; what content there is nevertheless is passed over.
    Node(FileType),
    /// A type that there is not.
    Unknown,
}

impl Header {
    /// From the 110 bytes of a header.
    pub fn parse(bytes: &[u8]) -> Result<Header, Reason> {
        let Some((b"070701" | b"070702", fields)) = bytes.split_at_checked(6) else { return Err(Reason::Magic) };
        let mut values = [0u32; 13];
        for (value, digits) in values.iter_mut().zip(fields.chunks_exact(8)) {
            for digit in digits {
                let digit = (*digit as char).to_digit(16).ok_or(Reason::Field)?;
                *value = *value << 4 | digit;
            }
        }
        let [ino, mode, uid, gid, nlink, mtime, size, dev_major, dev_minor, major, minor, name_len, _check] = values;
        Ok(Header {
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            size,
            dev: Device::new(dev_major, dev_minor),
            rdev: Device::new(major, minor),
            name_len,
        })
    }

    pub fn body(&self) -> Body {
        match FileType::from_mode(self.mode) {
            Some(FileType::Regular) => Body::Regular,
            Some(FileType::Directory) => Body::Directory,
            Some(FileType::Symlink) => Body::Symlink,
            Some(kind) => Body::Node(kind),
            None => Body::Unknown,
        }
    }

    fn kind(&self) -> Option<FileType> {
        FileType::from_mode(self.mode)
    }

    fn mtime(&self) -> Timespec {
        Timespec { sec: self.mtime.into(), nsec: 0 }
    }
}

/// Where the files go.
pub(crate) struct Target<'a> {
    caller: Caller<'a>,
    root: Location,
    pub summary: Summary,
    /// First names of files with more, by device and inode number.
    links: BTreeMap<(Device, u32), Vec<u8>>,
    /// Directories get their times at the end, when nothing is made in them any more.
    times: Vec<(Location, Timespec)>,
    open: Option<(Arc<Description>, Timespec)>,
}

impl<'a> Target<'a> {
    pub fn new(root: Location, cred: &'a Credentials) -> Target<'a> {
        Target {
            caller: Caller::kernel(cred),
            root,
            summary: Summary::default(),
            links: BTreeMap::new(),
            times: Vec::new(),
            open: None,
        }
    }

    fn walk(&self) -> Walk<'_> {
        Walk { caller: &self.caller, root: self.root.clone(), start: self.root.clone(), resolve: Resolve::empty() }
    }

    /// Makes an entry; bytes of a regular file come by [`Target::write`]. What fails for want of space ends
    /// everything, what fails otherwise is passed over.
    pub fn begin(&mut self, path: &[u8], header: &Header, body: Body) -> Result<(), Errno> {
        let outcome = match body {
            Body::Regular => self.regular(path, header),
            Body::Directory => self.directory(path, header),
            Body::Node(kind) => self.node(path, header, kind),
            Body::Symlink | Body::Unknown => Err(Errno::EINVAL.into()),
        };
        self.count(outcome)
    }

    fn count(&mut self, outcome: Result<(), Error>) -> Result<(), Errno> {
        match outcome {
            Ok(()) => self.summary.entries += 1,
            Err(Error::Errno(errno @ (Errno::ENOSPC | Errno::ENOMEM))) => return Err(errno),
            Err(_) => self.summary.skipped += 1,
        }
        Ok(())
    }

    /// Removes what is at `path` if it is not of type `kind`.
    fn clear(&self, path: &[u8], kind: FileType) {
        let walk = self.walk();
        let Ok(old) = walk.resolve(path, Follow::No) else { return };
        // What cannot be removed will show when the new one is made.
        let _ = match old.inode().kind() {
            there if there == kind => Ok(()),
            FileType::Directory => names::rmdir(&walk, path),
            _ => names::unlink(&walk, path),
        };
    }

    /// An entry that is one more name of a file that was there already: `true` if it has been made.
    fn linked(&mut self, path: &[u8], header: &Header) -> Result<bool, Error> {
        if header.nlink < 2 {
            return Ok(false);
        }
        let key = (header.dev, header.ino);
        let Some(first) = self.links.get(&key) else {
            self.links.insert(key, path.to_vec());
            return Ok(false);
        };
        let walk = self.walk();
        let old = walk.resolve(first, Follow::No)?;
        // The new name replaces whatever has it.
        let _ = names::unlink(&walk, path);
        names::link(&walk, &old, path)?;
        Ok(true)
    }

    fn regular(&mut self, path: &[u8], header: &Header) -> Result<(), Error> {
        self.clear(path, FileType::Regular);
        let linked = self.linked(path, header)?;
        if linked && header.size == 0 {
            return Ok(());
        }
        let mut flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::NOFOLLOW;
        flags.set(OpenFlags::TRUNC, header.size > 0 || !linked);
        let request = Request { flags, mode: header.mode & 0o7777, umask: 0 };
        let file = open::open(&self.walk(), path, &request)?;
        self.own(&file.location(), header)?;
        self.open = Some((file, header.mtime()));
        Ok(())
    }

    /// Owner, then mode (chown takes set-user-ID away), of what may have been there before.
    fn own(&self, at: &Location, header: &Header) -> Result<(), Error> {
        attributes::chown(&self.caller, at, Some(header.uid), Some(header.gid))?;
        if at.inode().kind() != FileType::Symlink {
            attributes::chmod(&self.caller, at, header.mode)?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8], header: &Header) -> Result<(), Error> {
        self.clear(path, FileType::Directory);
        let at = match names::create(&self.walk(), path, NewKind::Directory, header.mode & 0o7777) {
            Ok(at) => at,
            Err(Error::Errno(Errno::EEXIST)) => self.walk().resolve(path, Follow::No)?,
            Err(error) => return Err(error),
        };
        self.own(&at, header)?;
        self.times.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.times.push((at, header.mtime()));
        Ok(())
    }

    fn node(&mut self, path: &[u8], header: &Header, kind: FileType) -> Result<(), Error> {
        let new = match kind {
            FileType::Fifo => NewKind::Fifo,
            FileType::Socket => NewKind::Socket(None),
            FileType::CharDevice => NewKind::CharDevice(header.rdev),
            FileType::BlockDevice => NewKind::BlockDevice(header.rdev),
            _ => return Err(Errno::EINVAL.into()),
        };
        self.replace(path, new, header)
    }

    /// Makes something that has no content, in place of whatever is there.
    fn replace(&mut self, path: &[u8], new: NewKind, header: &Header) -> Result<(), Error> {
        if let Some(kind) = header.kind() {
            self.clear(path, kind);
        }
        let walk = self.walk();
        // If it was not there, so much the better.
        let _ = names::unlink(&walk, path);
        if self.linked(path, header)? {
            return Ok(());
        }
        let at = names::create(&self.walk(), path, new, header.mode & 0o7777)?;
        self.own(&at, header)?;
        self.stamp(&at, header.mtime())
    }

    fn stamp(&self, at: &Location, time: Timespec) -> Result<(), Error> {
        attributes::set_times(&self.caller, at, SetTime::At(time), SetTime::At(time))
    }

    pub fn symlink(&mut self, path: &[u8], to: &[u8], header: &Header) -> Result<(), Errno> {
        let outcome = self.replace(path, NewKind::Symlink(to), header);
        self.count(outcome)
    }

    /// More of the open file's content; without one, the bytes are passed over.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let Some((file, _)) = &self.open else { return Ok(()) };
        let mut src = Src::kernel(bytes);
        while src.remaining() > 0 {
            match file.write(&self.caller, &mut src) {
                Ok(n) if n > 0 => self.summary.bytes += n as u64,
                Err(Error::Errno(errno)) => return Err(errno),
                // A regular file takes what it is given; anything else would have no end.
                _ => return Err(Errno::EIO),
            }
        }
        Ok(())
    }

    /// The open file is complete.
    pub fn close(&mut self) {
        if let Some((file, time)) = self.open.take() {
            // The time is the least of it.
            let _ = self.stamp(&file.location(), time);
        }
    }

    /// The trailer: inode numbers mean something else from here on.
    pub fn end_of_archive(&mut self) {
        self.links.clear();
    }

    /// Everything is there.
    pub fn finish(&mut self) {
        self.close();
        for (at, time) in core::mem::take(&mut self.times) {
            // As in `close`.
            let _ = self.stamp(&at, time);
        }
    }
}
