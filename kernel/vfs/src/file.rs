//! What a kind of open file does: pipe ends, sockets, terminals, regular files, directories, ...
//! ([`crate::description`] is the open file description around it.)
//!
//! Operations never wait. One that would have to returns [`Error::WouldBlock`]; whoever called it
//! waits on [`File::queue`] and calls again. So blocking, non-blocking, poll, select and epoll are the
//! same few lines above this trait, and no future needs a box.

use crate::clock;
use crate::flags::OpenFlags;
use crate::inode::{Device, FileType, Inode, Metadata, Sink};
use crate::mount::Location;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Credentials, Errno, Error, Events, Result};
use core::any::Any;
use executor::WaitQueue;
use memory::io::{Dst, Src};
use memory::space::{Mappings, Object};

/// What a call on a file knows of its caller.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// For permission checks.
    pub cred: &'a Credentials,
    /// Status flags of the description, and what flags of the call add.
    pub flags: OpenFlags,
    /// The thread id of the caller in the initial pid namespace; its process's is `process`.
    pub thread: u32,
    /// The process id of the caller.
    pub process: u32,
}

impl<'a> Caller<'a> {
    /// O_NONBLOCK of the description, or a flag of the call. Most files need not look: the caller turns
    /// [`Error::WouldBlock`] into EAGAIN by itself.
    #[inline]
    pub fn nonblock(&self) -> bool {
        self.flags.contains(OpenFlags::NONBLOCK)
    }

    /// O_APPEND of the description.
    #[inline]
    pub fn append(&self) -> bool {
        self.flags.contains(OpenFlags::APPEND)
    }

    /// O_DIRECT, which pipes take as packet mode.
    #[inline]
    pub fn direct(&self) -> bool {
        self.flags.contains(OpenFlags::DIRECT)
    }

    /// As if the call had asked for O_NONBLOCK, if `yes`.
    #[inline]
    pub fn set_nonblock(&mut self, yes: bool) {
        self.flags.set(OpenFlags::NONBLOCK, self.nonblock() || yes);
    }

    /// A caller without flags, and without a process: the kernel itself, or a test.
    pub const fn kernel(cred: &'a Credentials) -> Caller<'a> {
        Caller { cred, flags: OpenFlags::empty(), thread: 0, process: 0 }
    }
}

/// What a notification says when bytes have come. (Waiters' interests hold ERR and HUP besides, so a notification must not.)
pub const DATA: Events = Events::IN.union(Events::RDNORM);
/// What a notification says when there is room again.
pub const ROOM: Events = Events::OUT.union(Events::WRNORM);

/// What lseek(2) looks for with SEEK_DATA and SEEK_HOLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes that have been written.
    Data,
    /// A hole, or the end of the file.
    Hole,
}

/// A kind of open file: a pipe end, a socket, a terminal, a regular file, ... Every method has a default that gives
/// the errno of a file that cannot do it.
pub trait File: Send + Sync {
    /// Reads at `pos` into `dst` and returns the number of bytes, 0 at the end of file. Files that cannot seek
    /// ignore `pos`. A fault of `dst` after some bytes is not an error: what was
    /// transferred is reported, and `dst` remembers the fault.
    fn read(&self, _caller: &Caller, _pos: u64, _dst: &mut Dst) -> Result<usize> {
        Err(Errno::EINVAL.into())
    }

    /// Writes `src` at `pos` and returns the number of bytes taken. A fault of `src` is treated as in [`File::read`].
    fn write(&self, _caller: &Caller, _pos: u64, _src: &mut Src) -> Result<usize> {
        Err(Errno::EINVAL.into())
    }

    /// Writes at the end of a seekable file (O_APPEND), in one step with finding the end. Returns the number of bytes and the
    /// position behind them.
    fn append(&self, caller: &Caller, src: &mut Src) -> Result<(usize, u64)> {
        let end = self.size()?;
        let n = self.write(caller, end, src)?;
        Ok((n, end + n as u64))
    }

    /// What the file is ready for now. Must not wait.
    fn poll(&self, _caller: &Caller) -> Events {
        Events::IN | Events::OUT | Events::RDNORM | Events::WRNORM
    }

    /// Where to wait for a change of [`File::poll`]; woken with the [`Events`] bits that may have become true.
    /// `None`: always ready (and refused by epoll_ctl with EPERM).
    fn queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// When a read that has waited since `since` stops waiting although there is too little to read (VTIME of a terminal); times in
    /// nanoseconds since boot. Asked anew whenever the read returned [`Error::WouldBlock`]. At that time the read is called once more
    /// with [`Caller::nonblock`] set, and is then worth 0 bytes if it still would block. `None`: it waits for as long as it takes.
    fn read_deadline(&self, _since: u64) -> Option<u64> {
        None
    }

    /// [`File::queue`] for a call that waits for one of `events` and nothing else. `None` if it may have to stop waiting at some
    /// time: [`File::read_deadline`], or the time limits of a socket.
    fn timeless_queue(&self, _events: Events) -> Option<&WaitQueue> {
        self.queue()
    }

    /// Whether reads at a position are announced by [`File::prepare`]. Never changes.
    fn prepares(&self) -> bool {
        false
    }

    /// A read at `pos` is about to come. Files that make their content up do it here, where no lock is held: making it may look
    /// at other open files, and take any lock. [`Error::WouldBlock`] as for the read itself.
    fn prepare(&self, _caller: &Caller, _pos: u64) -> Result<()> {
        Ok(())
    }

    /// Whether the file has a position (lseek works, pread and pwrite are allowed). Never changes.
    fn seekable(&self) -> bool {
        false
    }

    /// The size that SEEK_END counts from.
    fn size(&self) -> Result<u64> {
        Ok(self.metadata().size)
    }

    /// The first position from `pos` on that lies in `what` (SEEK_DATA, SEEK_HOLE). ENXIO behind the last. Files that do
    /// not know their holes are all data.
    fn seek_extent(&self, pos: u64, what: Extent) -> Result<u64> {
        let size = self.size()?;
        if pos >= size {
            return Err(Errno::ENXIO.into());
        }
        Ok(if what == Extent::Data { pos } else { size })
    }

    /// What fstat(2) tells of a file that was not opened by a name. The default is that of an anonymous inode.
    fn metadata(&self) -> Metadata {
        Metadata::new(Device::new(0, 0), 1, FileType::None, 0o600, clock::now())
    }

    /// The inode to open again through /proc/PID/fd/N, for files that have one without a name (pipes).
    fn inode(&self) -> Option<Arc<dyn Inode>> {
        None
    }

    /// What /proc/PID/fd/N shows of a file that was not opened by a name: "anon_inode:[eventfd]", "socket:[12]".
    fn label(&self) -> Vec<u8> {
        b"anon_inode:[file]".to_vec()
    }

    /// The lines that this kind of file adds to /proc/PID/fdinfo/N.
    fn show_info(&self, _out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        Ok(())
    }

    /// Hands the entries of a directory from position `pos` on to `sink`; gives the position to go on from. ENOTDIR.
    fn readdir(&self, _caller: &Caller, _pos: u64, _sink: &mut Sink) -> Result<u64> {
        Err(Errno::ENOTDIR.into())
    }

    /// fsync(2) and fdatasync(2). EINVAL for files that cannot.
    fn sync(&self, _data_only: bool) -> Result<()> {
        Err(Errno::EINVAL.into())
    }

    /// fallocate(2) with its FALLOC_FL_ mode. ENODEV for files that are not regular.
    fn fallocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::ENODEV.into())
    }

    /// What mmap(2) maps; `writable` for a shared mapping that may be written. `at` is the name the file was opened by, for
    /// /proc/PID/maps. ENODEV for files that cannot be mapped, EPERM (sealed).
    fn mmap(&self, _at: Option<&Location>, _writable: bool) -> Result<Arc<dyn Object>> {
        Err(Errno::ENODEV.into())
    }

    /// Who maps the file. After [`crate::Inode::truncate`] or [`File::fallocate`] has taken pages away, the caller awaits
    /// [`Mappings::unmap`] for them.
    fn mappings(&self) -> Option<&Mappings> {
        None
    }

    /// ioctl(2). `arg` is the third argument as given; pointers in it are user addresses. The default is ENOTTY.
    fn ioctl(&self, _caller: &Caller, _request: u32, _arg: usize) -> Result<usize> {
        Err(Errno::ENOTTY.into())
    }

    /// This file as itself, for calls that need a certain kind (epoll_ctl, socket calls, F_SETPIPE_SZ).
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// The rest of open(2), after which the file may be used: a FIFO without O_NONBLOCK has a peer, a serial line a carrier.
    /// [`Error::WouldBlock`]: await [`File::queue`] and call again; whoever gives up drops the description.
    fn finish_open(&self, _caller: &Caller) -> Result<()> {
        Ok(())
    }

    /// Whether the last close(2) may have to wait (SO_LINGER): it then calls [`File::linger`] first. Takes no lock.
    fn lingers(&self) -> bool {
        false
    }

    /// Before the last close(2): has what was written sent, and the end of it. How long to wait for that in ns; `None` if there is
    /// nothing (more) to wait for. [`File::queue`] is told of changes.
    fn linger(&self) -> Option<u64> {
        None
    }

    /// The last reference to the description is gone.
    fn close(&self) {}
}

/// The error of an operation that would wait, for a caller that asked not to.
pub fn no_wait<T>(result: Result<T>) -> Result<T> {
    match result {
        Err(Error::WouldBlock) => Err(Errno::EAGAIN.into()),
        other => other,
    }
}

/// The result of a read that put `n` bytes: the fault of `dst`, if that is why there are none.
#[inline]
pub fn read_result(n: usize, dst: &mut Dst) -> Result<usize> {
    if n == 0
        && let Some(fault) = dst.take_fault()
    {
        return Err(fault.into());
    }
    Ok(n)
}

/// The result of a write that took `n` bytes: the fault of `src`, if that is why there are none.
#[inline]
pub fn write_result(n: usize, src: &mut Src) -> Result<usize> {
    if n == 0
        && let Some(fault) = src.take_fault()
    {
        return Err(fault.into());
    }
    Ok(n)
}
