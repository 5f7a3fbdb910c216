//! fcntl(2) and ioctl(2).

use crate::args::Args;
use crate::fault;
use crate::files::install_new;
use crate::paths::{caller, file, opened};
use crate::table::{Calls, slow};
use crate::wait::Slow;
use base::{Errno, Error, Events, Restart, Result};
use linux_raw_sys::{general as raw, ioctl as raw_ioctl};
use memory::user::UserPtr;
use process::limits::Resource;
use process::{Current, pid, tree};
use vfs::description::{Owner, OwnerId};
use vfs::locks::{self, Kind, OwnerKey, Record, RecordWait};
use vfs::pipe::PipeEnd;
use vfs::{Description, FileType, OpenFlags, tmpfs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The family.
pub const CALLS: Calls = &[(raw::__NR_fcntl, slow!(fcntl, Slow::Fcntl)), (raw::__NR_ioctl, slow!(ioctl, Slow::Ioctl))];

fn fcntl(current: &mut Current, args: &Args) -> Result<usize> {
    let fd = args.uint(0);
    let command = args.uint(1);
    let file = file(current, args, 0)?;
    let limit = || current.thread.limit(Resource::Nofile);
    match command {
        raw::F_DUPFD | raw::F_DUPFD_CLOEXEC => {
            let cloexec = command == raw::F_DUPFD_CLOEXEC;
            return current.files.dup_from(fd, args.uint(2), limit(), cloexec).map(|fd| fd as usize);
        }
        raw::F_GETFD => return Ok(usize::from(current.files.cloexec(fd)?)),
        raw::F_SETFD => {
            current.files.set_cloexec(fd, args.uint(2) & raw::FD_CLOEXEC != 0)?;
            return Ok(0);
        }
        raw::F_GETFL => return Ok(file.flags().bits() as usize),
        raw::F_DUPFD_QUERY => {
            let other = current.files.get(args.uint(2))?;
            return Ok(usize::from(alloc::sync::Arc::ptr_eq(&file, &other)));
        }
        _ if file.flags().contains(OpenFlags::PATH) => return Err(Errno::EBADF.into()),
        _ => {}
    }
    match command {
        raw::F_SETFL => set_flags(current, args.uint(0), &file, args.uint(2)),
        raw::F_GETLK | raw::F_OFD_GETLK => get_lock(current, &file, args, command == raw::F_OFD_GETLK),
        raw::F_SETLK | raw::F_OFD_SETLK | raw::F_SETLKW | raw::F_OFD_SETLKW => {
            let waits = command == raw::F_SETLKW || command == raw::F_OFD_SETLKW;
            match set_lock(current, &file, args) {
                Err(Error::WouldBlock) if !waits => Err(Errno::EAGAIN.into()),
                other => other,
            }
        }
        raw::F_GETOWN => Ok(owner_number(file.owner().id) as usize),
        raw::F_SETOWN => set_owner(current, &file, named_owner(args.int(2))?),
        raw::F_GETOWN_EX => {
            args.ptr::<[i32; 2]>(2).write(&owner_record(file.owner().id))?;
            Ok(0)
        }
        raw::F_SETOWN_EX => set_owner(current, &file, recorded_owner(args.ptr::<[i32; 2]>(2).read()?)?),
        raw::F_GETSIG => Ok(file.owner().signal as usize),
        raw::F_SETSIG => {
            let signal = u32::try_from(args.int(2)).ok().filter(|signal| *signal <= 64).ok_or(Errno::EINVAL)?;
            file.set_owner(Owner { signal, ..file.owner() });
            Ok(0)
        }
        raw::F_GETPIPE_SZ => Ok(pipe(&file)?.pipe().capacity()),
        raw::F_SETPIPE_SZ => pipe(&file)?.pipe().set_capacity(args.uint(2), &current.cred),
        raw::F_ADD_SEALS => tmpfs::add_seals(&file, args.uint(2)).map(|()| 0),
        raw::F_GET_SEALS => tmpfs::seals(&file).map(|seals| seals as usize),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// F_SETFL. EPERM: O_NOATIME on somebody else's file.
fn set_flags(current: &Current, fd: u32, file: &Description, flags: u32) -> Result<usize> {
    let flags = OpenFlags::from_bits_truncate(flags);
    if flags.contains(OpenFlags::NOATIME)
        && !file.flags().contains(OpenFlags::NOATIME)
        && let Some(at) = file.opened_as()
        && !vfs::permission::is_owner(&current.cred, &at.inode().ownership())
    {
        return Err(Errno::EPERM.into());
    }
    if flags.contains(OpenFlags::ASYNC) != file.flags().contains(OpenFlags::ASYNC) {
        file.set_async(flags.contains(OpenFlags::ASYNC), fd)?;
    }
    file.set_flags(flags);
    Ok(0)
}

fn pipe(file: &Description) -> Result<&PipeEnd> {
    file.file().as_any().and_then(|any| any.downcast_ref()).ok_or(Errno::EBADF.into())
}

/// F_GETOWN: groups are negative.
fn owner_number(owner: OwnerId) -> isize {
    match owner {
        OwnerId::None => 0,
        OwnerId::Thread(id) | OwnerId::Process(id) => id as isize,
        OwnerId::Group(id) => -(id as isize),
    }
}

fn owner_record(owner: OwnerId) -> [i32; 2] {
    let (kind, id) = match owner {
        OwnerId::None => (raw::F_OWNER_PID, 0),
        OwnerId::Thread(id) => (raw::F_OWNER_TID, id),
        OwnerId::Process(id) => (raw::F_OWNER_PID, id),
        OwnerId::Group(id) => (raw::F_OWNER_PGRP, id),
    };
    [kind as i32, id as i32]
}

/// F_SETOWN: a process, or a group if it is negative. EINVAL, ESRCH.
fn named_owner(id: i32) -> Result<OwnerId> {
    match id {
        0 => Ok(OwnerId::None),
        i32::MIN => Err(Errno::EINVAL.into()),
        id if id > 0 => existing(OwnerId::Process(id as u32)),
        id => existing(OwnerId::Group(id.unsigned_abs())),
    }
}

fn recorded_owner([kind, id]: [i32; 2]) -> Result<OwnerId> {
    if id == 0 {
        return Ok(OwnerId::None);
    }
    let id = u32::try_from(id).map_err(|_| Errno::ESRCH)?;
    existing(match kind as u32 {
        raw::F_OWNER_TID => OwnerId::Thread(id),
        raw::F_OWNER_PID => OwnerId::Process(id),
        raw::F_OWNER_PGRP => OwnerId::Group(id),
        _ => return Err(Errno::EINVAL.into()),
    })
}

fn existing(owner: OwnerId) -> Result<OwnerId> {
    let found = match owner {
        OwnerId::None => true,
        OwnerId::Thread(id) => pid::find_thread(id).is_some(),
        OwnerId::Process(id) => pid::find_process(id).is_some() || pid::find_thread(id).is_some(),
        OwnerId::Group(id) => tree::find_group(&tree::lock(), id).is_some(),
    };
    if found { Ok(owner) } else { Err(Errno::ESRCH.into()) }
}

fn set_owner(current: &Current, file: &Description, id: OwnerId) -> Result<usize> {
    file.set_owner(Owner { id, uids: (current.cred.euid, current.cred.uid), ..file.owner() });
    Ok(0)
}

/// `struct flock`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RawLock {
    kind: i16,
    whence: i16,
    pad: u32,
    start: i64,
    len: i64,
    pid: i32,
    tail: u32,
}

/// What a `struct flock` asks for; no kind is F_UNLCK.
struct Asked {
    owner: OwnerKey,
    process: u32,
    kind: Option<Kind>,
    start: u64,
    end: u64,
}

impl Asked {
    fn record(&self, kind: Kind) -> Record {
        Record { owner: self.owner, process: self.process, kind, start: self.start, end: self.end }
    }
}

/// EINVAL, EOVERFLOW.
fn decode(current: &Current, file: &Description, lock: &RawLock, of_description: bool) -> Result<Asked> {
    if of_description && lock.pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let base = match lock.whence {
        0 => 0,
        1 => file.position(),
        2 => file.file().size()?,
        _ => return Err(Errno::EINVAL.into()),
    };
    let (start, end) = locks::range(base, lock.start, lock.len)?;
    let kind = match lock.kind as u32 {
        raw::F_RDLCK => Some(Kind::Shared),
        raw::F_WRLCK => Some(Kind::Exclusive),
        raw::F_UNLCK => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let (owner, process) = if of_description {
        (OwnerKey::description(file), 0)
    } else {
        (current.files.lock_owner(), current.thread.process.id())
    };
    Ok(Asked { owner, process, kind, start, end })
}

fn get_lock(current: &Current, file: &Description, args: &Args, of_description: bool) -> Result<usize> {
    let ptr = args.ptr::<RawLock>(2);
    let mut lock = ptr.read()?;
    let asked = decode(current, file, &lock, of_description)?;
    let kind = asked.kind.ok_or(Errno::EINVAL)?;
    match locks::conflict(file, &asked.record(kind)) {
        None => lock.kind = raw::F_UNLCK as i16,
        Some(held) => {
            lock.kind = if held.kind == Kind::Shared { raw::F_RDLCK } else { raw::F_WRLCK } as i16;
            lock.whence = 0;
            lock.start = held.start as i64;
            lock.len = if held.end == i64::MAX as u64 { 0 } else { (held.end - held.start + 1) as i64 };
            lock.pid = if held.process == 0 { -1 } else { held.process as i32 };
        }
    }
    ptr.write(&lock)?;
    Ok(0)
}

fn is_of_description(args: &Args) -> bool {
    matches!(args.uint(1), raw::F_OFD_SETLK | raw::F_OFD_SETLKW)
}

fn set_lock(current: &Current, file: &Description, args: &Args) -> Result<usize> {
    let lock = args.ptr::<RawLock>(2).read()?;
    let asked = decode(current, file, &lock, is_of_description(args))?;
    match asked.kind {
        None => locks::clear_record(file, asked.owner, asked.start, asked.end)?,
        Some(kind) => {
            note(current, &asked);
            locks::set_record(file, &asked.record(kind))?;
        }
    }
    Ok(0)
}

/// A process's lock goes when the process closes any descriptor of the file.
fn note(current: &Current, asked: &Asked) {
    if matches!(asked.owner, OwnerKey::Table(_)) {
        current.files.note_record_lock();
    }
}

/// F_SETLKW and F_OFD_SETLKW, where the lock is held by another.
pub async fn finish_fcntl(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let lock = loop {
        match args.ptr::<RawLock>(2).read() {
            Ok(lock) => break lock,
            Err(page) => fault::resolve(current, page).await?,
        }
    };
    let asked = decode(current, &file, &lock, is_of_description(args))?;
    let kind = asked.kind.ok_or(Errno::EINVAL)?;
    note(current, &asked);
    let wait = RecordWait::new(&file, &asked.record(kind))?;
    let granted = wait.queue().wait_until(Events::IN.bits(), || match wait.try_lock() {
        Err(Error::WouldBlock) => None,
        other => Some(other),
    });
    current.thread.interruptible(Restart::IfAsked, granted).await??;
    Ok(0)
}

fn ioctl(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let (fd, request, arg) = (args.uint(0), args.uint(1), args.size(2));
    match request {
        raw_ioctl::FIOCLEX => current.files.set_cloexec(fd, true).map(|()| 0),
        raw_ioctl::FIONCLEX => current.files.set_cloexec(fd, false).map(|()| 0),
        raw_ioctl::FIONBIO => set_status(&file, OpenFlags::NONBLOCK, arg),
        // What is always ready cannot become it.
        raw_ioctl::FIOASYNC if file.queue().is_none() => Err(Errno::ENOTTY.into()),
        raw_ioctl::FIOASYNC => file.set_async(UserPtr::<i32>::from(arg).read()? != 0, fd).map(|()| 0),
        raw_ioctl::TIOCGPTPEER => {
            let Some(master) = file.file().as_any().and_then(|any| any.downcast_ref::<tty::pty::Master>()) else {
                return Err(Errno::ENOTTY.into());
            };
            let flags = OpenFlags::from_bits_truncate(arg as u32);
            let peer = master.open_peer(&caller(current, &file), flags)?;
            install_new(current, peer, flags)
        }
        _ if file.metadata().kind == FileType::Regular => regular(current, &file, request, arg),
        _ => file.file().ioctl(&caller(current, &file), request, arg),
    }
}

/// FIONBIO.
fn set_status(file: &Description, flag: OpenFlags, arg: usize) -> Result<usize> {
    let on = UserPtr::<i32>::from(arg).read()? != 0;
    file.set_flag(flag, on);
    Ok(0)
}

/// What every regular file answers.
fn regular(current: &Current, file: &Description, request: u32, arg: usize) -> Result<usize> {
    match request {
        raw_ioctl::FIONREAD => {
            let left = file.file().size()?.saturating_sub(file.position());
            UserPtr::<i32>::from(arg).write(&(left as i32))?;
            Ok(0)
        }
        raw_ioctl::FIGETBSZ => {
            UserPtr::<i32>::from(arg).write(&(file.metadata().block_size as i32))?;
            Ok(0)
        }
        // Files do not share their blocks.
        raw_ioctl::FICLONE | raw_ioctl::FICLONERANGE => Err(Errno::EOPNOTSUPP.into()),
        _ => file.file().ioctl(&caller(current, file), request, arg),
    }
}

/// An ioctl that waits: for a terminal to have sent its output.
pub async fn finish_ioctl(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let (request, arg) = (args.uint(1), args.size(2));
    let queue = file.queue().ok_or(Errno::ENOTTY)?;
    loop {
        let caller = caller(current, &file);
        let done = queue.wait_until(Events::WRITABLE.bits(), || match file.file().ioctl(&caller, request, arg) {
            Err(Error::WouldBlock) => None,
            other => Some(other),
        });
        match current.thread.interruptible(Restart::IfAsked, done).await? {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => return other,
        }
    }
}
