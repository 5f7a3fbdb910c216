//! /proc/PID/fd and /proc/PID/fdinfo (proc_pid_fd(5), proc_pid_fdinfo(5)).

use super::super::root::parse_number;
use super::super::table::{FIRST, Owner, Subject, metadata};
use super::super::text::{Buffer, Shown, Text, TextFile};
use super::Process;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Result};
use core::fmt::Write;
use linux_raw_sys::general::O_CLOEXEC;
use vfs::inode::{Entry as DirEntry, Link, Sink};
use vfs::{Caller, Description, FdTable, File, FileType, Inode, Metadata, OpenFlags};

/// Which of the two directories.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// fd.
    Links,
    /// fdinfo.
    Infos,
}

/// A descriptor of a process.
#[derive(Clone)]
struct Descriptor {
    process: Process,
    fd: u32,
}

impl Process {
    /// ENOENT after exit.
    fn files(&self) -> Result<Arc<FdTable>> {
        let thread = self.thread().ok_or(Errno::ENOENT)?;
        let files = thread.view.lock().files.clone();
        Ok(files.ok_or(Errno::ENOENT)?)
    }
}

impl Descriptor {
    fn description(&self) -> Result<Arc<Description>> {
        Ok(self.process.files()?.get(self.fd).map_err(|_| Errno::ENOENT)?)
    }
}

impl Subject for Descriptor {
    const READ_ONLY: Errno = Errno::EINVAL;

    fn owner(&self) -> Result<Owner> {
        self.process.owner()
    }

    fn may_inspect(&self, caller: &Caller) -> bool {
        self.process.may_inspect(caller)
    }

    fn opened_by(&self, caller: &Caller) -> Descriptor {
        Descriptor { process: self.process.opened_by(caller), fd: self.fd }
    }
}

/// The directory.
pub struct Directory {
    process: Process,
    ino: u64,
    kind: Kind,
}

impl Directory {
    /// The directory of `process` with this inode number.
    pub fn new(process: Process, ino: u64, kind: Kind) -> Directory {
        Directory { process, ino, kind }
    }

    fn ino_of(&self, fd: u32) -> u64 {
        self.ino << 24 | (u64::from(fd) + 1)
    }

    /// EACCES: what is open is a secret of the process, whatever the modes say.
    fn check(&self, caller: &Caller) -> Result<()> {
        if self.process.may_inspect(caller) { Ok(()) } else { Err(Errno::EACCES.into()) }
    }
}

impl Inode for Directory {
    fn metadata(&self) -> Metadata {
        let mode = if self.kind == Kind::Links { 0o500 } else { 0o555 };
        metadata(&self.process, self.ino, FileType::Directory, mode)
    }

    fn lookup(&self, caller: &Caller, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.check(caller)?;
        let fd = parse_number(name).ok_or(Errno::ENOENT)?;
        let descriptor = Descriptor { process: self.process.clone(), fd };
        descriptor.description()?;
        let ino = self.ino_of(fd);
        Ok(match self.kind {
            Kind::Links => Arc::new(FdLink { descriptor, ino }),
            Kind::Infos => Arc::new(FdInfo { descriptor, ino }),
        })
    }

    fn readdir(&self, caller: &Caller, from: u64, sink: &mut Sink) -> Result<u64> {
        self.check(caller)?;
        let kind = if self.kind == Kind::Links { FileType::Symlink } else { FileType::Regular };
        let mut position = from.max(FIRST);
        let first = u32::try_from(position - FIRST).unwrap_or(u32::MAX);
        self.process.files()?.each(first, |fd, _| {
            let at = FIRST + u64::from(fd);
            let name = format!("{fd}");
            let taken = sink(DirEntry { name: name.as_bytes(), ino: self.ino_of(fd), kind, next: at + 1 });
            position = if taken { at + 1 } else { at };
            taken
        });
        Ok(position)
    }
}

/// A link to what a descriptor has open.
struct FdLink {
    descriptor: Descriptor,
    ino: u64,
}

impl Inode for FdLink {
    /// The owner's bits tell the access mode.
    fn metadata(&self) -> Metadata {
        let flags = self.descriptor.description().map_or(OpenFlags::empty(), |description| description.flags());
        let (read, write) = (flags.readable(), flags.writable());
        let mode = 0o100 | if read { 0o400 } else { 0 } | if write { 0o200 } else { 0 };
        let mut metadata = metadata(&self.descriptor, self.ino, FileType::Symlink, mode);
        metadata.size = 64;
        metadata
    }

    fn readlink(&self, caller: &Caller) -> Result<Link> {
        if !self.descriptor.may_inspect(caller) {
            return Err(Errno::EACCES.into());
        }
        Ok(Link::Location(self.descriptor.description()?.location()))
    }

    fn link_text(&self, _: &Caller) -> Option<Vec<u8>> {
        let description = self.descriptor.description().ok()?;
        if description.opened_as().is_some() { None } else { Some(description.file().label()) }
    }
}

/// A file that tells of a descriptor.
struct FdInfo {
    descriptor: Descriptor,
    ino: u64,
}

static INFO: Text<Descriptor> = Text::new(show_info);

fn show_info(descriptor: &Descriptor, out: &mut Buffer) -> Shown {
    let files = descriptor.process.files()?;
    let description = files.get(descriptor.fd).map_err(|_| Errno::ENOENT)?;
    let cloexec = files.cloexec(descriptor.fd).unwrap_or(false);
    let flags = description.flags().bits() | if cloexec { O_CLOEXEC } else { 0 };
    writeln!(out, "pos:\t{}\nflags:\t0{flags:o}", description.position())?;
    writeln!(out, "mnt_id:\t{}\nino:\t{}", description.location().mount.id(), description.metadata().ino)?;
    Ok(description.file().show_info(out)?)
}

impl Inode for FdInfo {
    fn metadata(&self) -> Metadata {
        metadata(&self.descriptor, self.ino, FileType::Regular, INFO.mode)
    }

    fn open(self: Arc<Self>, caller: &Caller, _: OpenFlags) -> Result<Arc<dyn File>> {
        self.descriptor.description()?;
        Ok(Arc::new(TextFile::new(self.descriptor.opened_by(caller), &INFO)))
    }
}
