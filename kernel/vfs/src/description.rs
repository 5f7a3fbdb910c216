//! The open file description (open(2), "Open file descriptions"): what descriptors share after dup(2) and fork(2).
//!
//! Holds the file, how it was opened, and the position. The position's lock is held across a read or write that moves
//! it, so that these are atomic with respect to each other; pread and pwrite do not touch it.

use crate::epoll::Watcher;
use crate::file::{Caller, Extent, File};
use crate::flags::OpenFlags;
use crate::inode::Metadata;
use crate::mount::{Location, MountFlags};
use crate::signalled::Signaller;
use crate::{detached, locks, ranks};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Credentials, Errno, Events, Result};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use executor::WaitQueue;
use executor::spin::SpinLock;
use memory::io::{Dst, Src};

/// Whom F_SETOWN names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnerId {
    /// Nobody.
    #[default]
    None,
    /// A thread, by its id.
    Thread(u32),
    /// A process, by its id.
    Process(u32),
    /// A process group, by its id.
    Group(u32),
}

/// Who is sent a signal when the file becomes ready (fcntl(2), F_SETOWN, F_SETSIG).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Who.
    pub id: OwnerId,
    /// Which signal; 0 is SIGIO without details.
    pub signal: u32,
    /// Effective and real user of whoever set this, for the permission to signal.
    pub uids: (u32, u32),
}

/// An open file description.
pub struct Description {
    file: Arc<dyn File>,
    location: Option<Location>,
    /// Access mode and status flags.
    flags: AtomicU32,
    seekable: bool,
    prepares: bool,
    position: SpinLock<u64>,
    /// What F_SETOWN and O_ASYNC need, once one of them was used.
    signaller: SpinLock<Option<Arc<Signaller>>>,
    /// Whether it may own file locks.
    locked: AtomicBool,
    /// Whether it is counted among those who write the file at its location.
    writes: AtomicBool,
    /// The epolls that watch it.
    pub(crate) watchers: SpinLock<Vec<Watcher>>,
}

/// From where lseek(2) counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// SEEK_SET.
    Start,
    /// SEEK_CUR.
    Current,
    /// SEEK_END.
    End,
    /// SEEK_DATA, SEEK_HOLE.
    Extent(Extent),
}

impl Whence {
    /// From lseek's third argument.
    pub const fn from_raw(whence: u32) -> Option<Whence> {
        Some(match whence {
            0 => Whence::Start,
            1 => Whence::Current,
            2 => Whence::End,
            3 => Whence::Extent(Extent::Data),
            4 => Whence::Extent(Extent::Hole),
            _ => return None,
        })
    }
}

impl Description {
    /// An open file. `location` is the name it was opened by, if it was; `flags` gives access mode and status.
    pub fn new(file: Arc<dyn File>, location: Option<Location>, flags: OpenFlags) -> Arc<Description> {
        let kept = flags.access_mode() | (flags & OpenFlags::KEPT).bits();
        Arc::new(Description {
            seekable: file.seekable(),
            prepares: file.prepares(),
            file,
            location,
            flags: AtomicU32::new(kept),
            position: SpinLock::new(ranks::POSITION, 0),
            signaller: SpinLock::new(ranks::SIGNALLER, None),
            locked: AtomicBool::new(false),
            writes: AtomicBool::new(false),
            watchers: SpinLock::new(ranks::WATCHERS, Vec::new()),
        })
    }

    /// It was counted among those who write the file, and is counted out at its end.
    pub(crate) fn counts_as_writer(&self) {
        self.writes.store(true, Ordering::Relaxed);
    }

    /// The file.
    #[inline]
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Whether the file has a position.
    #[inline]
    pub fn is_seekable(&self) -> bool {
        self.seekable
    }

    /// Access mode and status flags (F_GETFL).
    #[inline]
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Sets the status flags that F_SETFL can set to what `flags` says, but for O_ASYNC ([`Description::set_async`]).
    pub fn set_flags(&self, flags: OpenFlags) {
        let settable = OpenFlags::SETTABLE - OpenFlags::ASYNC;
        let new = (flags & settable).bits();
        // The closure never refuses, so there is nothing to look at.
        let _ = self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(old & !settable.bits() | new));
    }

    /// Sets or clears one status flag (FIONBIO).
    pub fn set_flag(&self, flag: OpenFlags, on: bool) {
        if on {
            self.flags.fetch_or(flag.bits(), Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag.bits(), Ordering::Relaxed);
        }
    }

    /// The caller of an operation on this description.
    #[inline]
    pub fn caller<'a>(&self, cred: &'a Credentials, thread: u32, process: u32) -> Caller<'a> {
        Caller { cred, flags: self.flags(), thread, process }
    }

    /// The name that the file was opened by; for one that was not, a name of its own outside the tree.
    pub fn location(&self) -> Location {
        match &self.location {
            Some(location) => location.clone(),
            None => detached::location(&self.file),
        }
    }

    /// The name that the file was opened by.
    pub fn opened_as(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    /// fstat(2).
    pub fn metadata(&self) -> Metadata {
        match &self.location {
            Some(location) => location.inode().metadata(),
            None => self.file.metadata(),
        }
    }

    /// What /proc/PID/fd/N shows, seen from `root`.
    pub fn describe(&self, root: &Location) -> Vec<u8> {
        match &self.location {
            Some(location) => location.describe(root),
            None => self.file.label(),
        }
    }

    /// EBADF unless the access mode allows reading.
    #[inline]
    pub fn check_readable(&self) -> Result<()> {
        if self.flags().readable() { Ok(()) } else { Err(Errno::EBADF.into()) }
    }

    /// EBADF unless the access mode allows writing.
    #[inline]
    pub fn check_writable(&self) -> Result<()> {
        if self.flags().writable() { Ok(()) } else { Err(Errno::EBADF.into()) }
    }

    /// read(2) and readv(2): EBADF, and what [`File::read`] gives.
    #[inline]
    pub fn read(&self, caller: &Caller, dst: &mut Dst) -> Result<usize> {
        self.check_readable()?;
        if self.seekable { self.read_on(caller, dst) } else { self.file.read(caller, 0, dst) }
    }

    /// A read at the position.
    #[inline(never)]
    fn read_on(&self, caller: &Caller, dst: &mut Dst) -> Result<usize> {
        if self.prepares {
            self.file.prepare(caller, self.position())?;
        }
        let mut position = self.position.lock();
        let n = self.file.read(caller, *position, dst)?;
        *position += n as u64;
        drop(position);
        self.accessed();
        Ok(n)
    }

    /// write(2) and writev(2): EBADF, and what [`File::write`] gives.
    #[inline]
    pub fn write(&self, caller: &Caller, src: &mut Src) -> Result<usize> {
        self.check_writable()?;
        if self.seekable { self.write_on(caller, src) } else { self.file.write(caller, 0, src) }
    }

    /// A write at the position, or at the end.
    #[inline(never)]
    fn write_on(&self, caller: &Caller, src: &mut Src) -> Result<usize> {
        let mut position = self.position.lock();
        if caller.append() {
            let (n, end) = self.file.append(caller, src)?;
            *position = end;
            return Ok(n);
        }
        let n = self.file.write(caller, *position, src)?;
        *position += n as u64;
        Ok(n)
    }

    /// pread(2): EBADF, ESPIPE, EINVAL (negative), and what [`File::read`] gives.
    pub fn read_at(&self, caller: &Caller, offset: i64, dst: &mut Dst) -> Result<usize> {
        let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        if !self.seekable {
            return Err(Errno::ESPIPE.into());
        }
        self.check_readable()?;
        if self.prepares {
            self.file.prepare(caller, offset)?;
        }
        let n = self.file.read(caller, offset, dst)?;
        self.accessed();
        Ok(n)
    }

    /// pwrite(2). With O_APPEND the bytes go to the end, as Linux does.
    pub fn write_at(&self, caller: &Caller, offset: i64, src: &mut Src) -> Result<usize> {
        let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        if !self.seekable {
            return Err(Errno::ESPIPE.into());
        }
        self.check_writable()?;
        if caller.append() {
            return self.file.append(caller, src).map(|(n, _)| n);
        }
        self.file.write(caller, offset, src)
    }

    /// lseek(2): ESPIPE, EINVAL (before the start, or too large), ENXIO.
    pub fn seek(&self, offset: i64, whence: Whence) -> Result<u64> {
        if self.flags().contains(OpenFlags::PATH) {
            return Err(Errno::EBADF.into());
        }
        if !self.seekable {
            return Err(Errno::ESPIPE.into());
        }
        let mut position = self.position.lock();
        let from = match whence {
            Whence::Start => 0,
            Whence::Current => *position,
            Whence::End => self.file.size()?,
            Whence::Extent(what) => {
                let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                *position = self.file.seek_extent(from, what)?;
                return Ok(*position);
            }
        };
        let to = i64::try_from(from).ok().and_then(|from| from.checked_add(offset)).filter(|to| *to >= 0);
        *position = to.ok_or(Errno::EINVAL)? as u64;
        Ok(*position)
    }

    /// The position, for /proc/PID/fdinfo.
    pub fn position(&self) -> u64 {
        *self.position.lock()
    }

    /// getdents64(2): hands entries to `sink` and moves the position past those taken. ENOTDIR.
    pub fn readdir(&self, caller: &Caller, sink: &mut crate::inode::Sink) -> Result<()> {
        self.check_readable()?;
        let mut position = self.position.lock();
        *position = self.file.readdir(caller, *position, sink)?;
        drop(position);
        self.accessed();
        Ok(())
    }

    /// What mmap(2) maps: EACCES without the access that the mapping needs, ENODEV, EPERM. `writable` is for a shared
    /// mapping that may be written.
    pub fn mmap(&self, writable: bool) -> Result<Arc<dyn memory::space::Object>> {
        let flags = self.flags();
        if !flags.readable() || writable && !flags.writable() {
            return Err(Errno::EACCES.into());
        }
        self.file.mmap(self.location.as_ref(), writable)
    }

    /// What the file is ready for.
    #[inline]
    pub fn poll(&self, caller: &Caller) -> Events {
        self.file.poll(caller)
    }

    /// Where to wait for a change of [`Description::poll`].
    #[inline]
    pub fn queue(&self) -> Option<&WaitQueue> {
        self.file.queue()
    }

    /// This description may own file locks from now on.
    pub(crate) fn note_lock(&self) {
        self.locked.store(true, Ordering::Relaxed);
    }

    /// Who is signalled (F_GETOWN, F_GETSIG).
    pub fn owner(&self) -> Owner {
        self.signaller.lock().as_ref().map_or(Owner::default(), |signaller| signaller.owner())
    }

    /// Changes who is signalled.
    pub fn set_owner(&self, owner: Owner) {
        self.signaller().set_owner(owner);
    }

    fn signaller(&self) -> Arc<Signaller> {
        self.signaller.lock().get_or_insert_with(Signaller::new).clone()
    }

    /// Has the file signal its owner when it becomes ready, as `descriptor`, or no more (O_ASYNC). ENOMEM.
    pub fn set_async(&self, on: bool, descriptor: u32) -> Result<()> {
        if on {
            self.signaller().attach(&*self.file, descriptor)?;
        } else if let Some(signaller) = self.signaller.lock().clone() {
            signaller.detach(&*self.file);
        }
        self.set_flag(OpenFlags::ASYNC, on);
        Ok(())
    }

    /// Notes a read in the atime, by the mount's rule.
    fn accessed(&self) {
        let Some(location) = &self.location else { return };
        let flags = location.mount.flags();
        if flags.intersects(MountFlags::NOATIME | MountFlags::RDONLY) || self.flags().contains(OpenFlags::NOATIME) {
            return;
        }
        location.inode().accessed(flags.contains(MountFlags::STRICTATIME));
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        if let Some(signaller) = self.signaller.get_mut() {
            signaller.detach(&*self.file);
        }
        for watcher in core::mem::take(self.watchers.get_mut()) {
            watcher.forget(&*self.file);
        }
        if *self.locked.get_mut() {
            locks::release_description(self);
        }
        self.file.close();
        if *self.writes.get_mut()
            && let Some(writers) = self.location.as_ref().and_then(|at| at.inode().writers())
        {
            writers.end();
        }
    }
}
