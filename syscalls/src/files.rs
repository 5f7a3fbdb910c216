//! Descriptors: opening, closing, duplicating; pipes.

use crate::args::Args;
use crate::bounds::bounded;
use crate::creation::now;
use crate::fault;
use crate::paths::{at_path, check_flags, install, opened};
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use alloc::sync::Arc;
use base::{Errno, Error, Events, Restart, Result};
use kernel::time::monotonic;
use linux_raw_sys::general as raw;
use memory::user::UserStr;
use process::Current;
use process::limits::Resource;
use vfs::inode::unmap_beyond;
use vfs::open::{self, Request};
use vfs::path::Resolve;
use vfs::pipe::Pipe;
use vfs::{Description, File, OpenFlags};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_openat, slow!(openat, Slow::Openat)),
    (raw::__NR_close, slow!(close, Slow::Close)),
    (raw::__NR_close_range, fast!(close_range)),
    (raw::__NR_dup, fast!(dup)),
    (raw::__NR_dup3, fast!(dup3)),
    (raw::__NR_pipe2, fast!(pipe2)),
    (raw::__NR_flock, slow!(now, Slow::Flock)),
];

/// What an open call was given, whichever it was.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    dir: i32,
    path: UserStr,
    flags: u32,
    mode: u32,
    resolve: Resolve,
}

impl Opening {
    /// openat2(2).
    pub fn openat2(args: &Args, flags: u32, mode: u32, resolve: Resolve) -> Opening {
        Opening { dir: args.int(0), path: args.str(1), flags, mode, resolve }
    }

    /// openat(2).
    pub fn openat(args: &Args) -> Opening {
        Opening::openat2(args, args.uint(2), args.uint(3), Resolve::empty())
    }

    /// open(2).
    pub fn open(args: &Args) -> Opening {
        Opening {
            dir: raw::AT_FDCWD,
            path: args.str(0),
            flags: args.uint(1),
            mode: args.uint(2),
            resolve: Resolve::empty(),
        }
    }

    /// creat(2).
    pub fn creat(args: &Args) -> Opening {
        let flags = raw::O_CREAT | raw::O_WRONLY | raw::O_TRUNC;
        Opening { dir: raw::AT_FDCWD, path: args.str(0), flags, mode: args.uint(1), resolve: Resolve::empty() }
    }

    /// The flags and the mode that count. EINVAL for O_TMPFILE without what it takes.
    fn request(&self, umask: u32) -> Result<Request> {
        let mut flags = OpenFlags::from_bits_truncate(self.flags) | OpenFlags::LARGEFILE;
        if flags.contains(OpenFlags::PATH) {
            flags &= OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
        } else if self.flags & raw::__O_TMPFILE != 0
            && (!flags.contains(OpenFlags::TMPFILE) || flags.contains(OpenFlags::CREAT))
        {
            return Err(Errno::EINVAL.into());
        }
        let creates = flags.contains(OpenFlags::CREAT) || flags.contains(OpenFlags::TMPFILE);
        Ok(Request { flags, mode: if creates { self.mode & 0o7777 } else { 0 }, umask })
    }
}

fn openat(current: &mut Current, args: &Args) -> Result<usize> {
    open_now(current, &Opening::openat(args))
}

/// open(2).
pub fn open(current: &mut Current, args: &Args) -> Result<usize> {
    open_now(current, &Opening::open(args))
}

/// creat(2).
pub fn creat(current: &mut Current, args: &Args) -> Result<usize> {
    open_now(current, &Opening::creat(args))
}

/// Opens the file. Where that has to wait (a FIFO for its peer, mappings of a file that was cut off) everything is given
/// back, and the other half opens it once more.
pub fn open_now(current: &mut Current, opening: &Opening) -> Result<usize> {
    let path = opening.path.read_path()?;
    let request = opening.request(current.fs.umask())?;
    let limit = current.thread.limit(Resource::Nofile);
    let fd = current.files.reserve(limit, request.flags.contains(OpenFlags::CLOEXEC))?;
    let result = at_path(current, opening.dir, &path, opening.resolve, |walk, path| {
        let file = open::open(walk, path, &request)?;
        let caller = file.caller(walk.caller.cred, walk.caller.thread, walk.caller.process);
        file.file().finish_open(&caller)?;
        if cuts_mapped_file(&file, request.flags) { Err(Error::WouldBlock) } else { Ok(file) }
    });
    match result {
        Ok(file) => {
            current.files.fill(fd, file);
            Ok(fd as usize)
        }
        Err(error) => {
            current.files.release(fd);
            Err(error)
        }
    }
}

fn cuts_mapped_file(file: &Description, flags: OpenFlags) -> bool {
    flags.contains(OpenFlags::TRUNC)
        && file.opened_as().is_some_and(|at| at.inode().mappings().is_some_and(|mappings| !mappings.is_empty()))
}

/// A reserved descriptor, given back if it is not used.
struct Reserved<'a> {
    current: &'a Current,
    fd: u32,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        // Nothing happens if the number has been filled.
        self.current.files.release(self.fd);
    }
}

/// Opens a file where that may have to wait.
pub async fn finish_open(current: &mut Current, opening: Opening) -> Result<usize> {
    let current = &*current;
    let request = opening.request(current.fs.umask())?;
    let limit = current.thread.limit(Resource::Nofile);
    let fd = current.files.reserve(limit, request.flags.contains(OpenFlags::CLOEXEC))?;
    let reserved = Reserved { current, fd };
    let file = loop {
        let path = match opening.path.read_path() {
            Err(Error::Fault(page)) => {
                fault::resolve(current, page).await?;
                continue;
            }
            other => other?,
        };
        break at_path(current, opening.dir, &path, opening.resolve, |walk, path| open::open(walk, path, &request))?;
    };
    if cuts_mapped_file(&file, request.flags)
        && let Some(at) = file.opened_as()
    {
        unmap_beyond(&**at.inode(), 0).await;
    }
    let caller = crate::paths::caller(current, &file);
    loop {
        match file.file().finish_open(&caller) {
            Err(Error::WouldBlock) => {}
            other => break other?,
        }
        let Some(queue) = file.queue() else { return Err(Errno::EIO.into()) };
        let ready = queue.wait_until(executor::ALL, || match file.file().finish_open(&caller) {
            Err(Error::WouldBlock) => None,
            _ => Some(()),
        });
        current.thread.interruptible(Restart::IfAsked, ready).await?;
    }
    current.files.fill(fd, file);
    drop(reserved);
    Ok(fd as usize)
}

fn close(current: &mut Current, args: &Args) -> Result<usize> {
    current.files.close(args.uint(0))?;
    Ok(0)
}

/// Closes what may have to wait (SO_LINGER), and waits. Where the time is up, or a signal comes, the file is closed all the same.
pub async fn finish_close(current: &mut Current, args: &Args) -> Result<usize> {
    let last = loop {
        if let Some(last) = current.files.take_last(args.uint(0))? {
            break last;
        }
        // It has got another user meanwhile, or another file is there.
        match current.files.close(args.uint(0)) {
            Err(Error::WouldBlock) => {}
            other => return other.map(|()| 0),
        }
    };
    if let (Some(queue), Some(time)) = (last.queue(), last.file().linger()) {
        let gone = queue.wait_until(executor::ALL, || last.file().linger().is_none().then_some(()));
        let _ = bounded(current, Restart::Never, Some(monotonic().saturating_add(time)), gone).await;
    }
    Ok(0)
}

fn close_range(current: &mut Current, args: &Args) -> Result<usize> {
    const UNSHARE: u32 = 1 << 1;
    const CLOEXEC: u32 = 1 << 2;
    let (first, last, flags) = (args.uint(0), args.uint(1), args.uint(2));
    check_flags(flags, UNSHARE | CLOEXEC)?;
    if first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags & UNSHARE != 0 && Arc::strong_count(&current.files) > 2 {
        // The thread's own reference and the one that others look at are not sharing.
        current.set_files(current.files.fork()?);
    }
    if flags & CLOEXEC != 0 {
        current.files.set_cloexec_range(first..=last);
    } else {
        current.files.close_range(first..=last);
    }
    Ok(0)
}

fn dup(current: &mut Current, args: &Args) -> Result<usize> {
    let limit = current.thread.limit(Resource::Nofile);
    let file = current.files.get(args.uint(0))?;
    current.files.open(file, limit, false).map(|fd| fd as usize)
}

/// dup2(2).
pub fn dup2(current: &mut Current, args: &Args) -> Result<usize> {
    let (from, to) = (args.uint(0), args.uint(1));
    if from == to {
        current.files.get(from)?;
        return Ok(to as usize);
    }
    dup_to(current, from, to, false)
}

fn dup3(current: &mut Current, args: &Args) -> Result<usize> {
    let (from, to, flags) = (args.uint(0), args.uint(1), args.uint(2));
    check_flags(flags, raw::O_CLOEXEC)?;
    if from == to {
        return Err(Errno::EINVAL.into());
    }
    dup_to(current, from, to, flags != 0)
}

fn dup_to(current: &mut Current, from: u32, to: u32, cloexec: bool) -> Result<usize> {
    let limit = current.thread.limit(Resource::Nofile);
    current.files.dup_to(from, to, limit, cloexec).map(|fd| fd as usize)
}

/// pipe(2).
pub fn pipe(current: &mut Current, args: &Args) -> Result<usize> {
    make_pipe(current, args, 0)
}

fn pipe2(current: &mut Current, args: &Args) -> Result<usize> {
    make_pipe(current, args, args.uint(1))
}

fn make_pipe(current: &mut Current, args: &Args, flags: u32) -> Result<usize> {
    check_flags(flags, raw::O_CLOEXEC | raw::O_NONBLOCK | raw::O_DIRECT)?;
    let status = OpenFlags::from_bits_truncate(flags & !raw::O_CLOEXEC);
    let (reader, writer) = Pipe::pair(&current.cred);
    let reader = Description::new(reader as Arc<dyn File>, None, status);
    let writer = Description::new(writer as Arc<dyn File>, None, status | OpenFlags::WRONLY);
    install_pair(current, [reader, writer], flags & raw::O_CLOEXEC != 0, args)
}

/// Gives two files numbers and stores these at the first argument. Nothing has happened if that fails.
fn install_pair(current: &Current, files: [Arc<Description>; 2], cloexec: bool, args: &Args) -> Result<usize> {
    let limit = current.thread.limit(Resource::Nofile);
    let first = current.files.reserve(limit, cloexec)?;
    let second = current.files.reserve(limit, cloexec).inspect_err(|_| current.files.release(first))?;
    if let Err(page) = args.ptr::<[u32; 2]>(0).write(&[first, second]) {
        current.files.release(first);
        current.files.release(second);
        return Err(page.into());
    }
    let [a, b] = files;
    current.files.fill(first, a);
    current.files.fill(second, b);
    Ok(0)
}

/// flock(2).
pub async fn flock(current: &mut Current, args: &Args) -> Result<usize> {
    use vfs::locks::{self, Kind};
    let file = opened(current, args, 0)?;
    let operation = args.uint(1);
    let kind = match operation & !raw::LOCK_NB {
        raw::LOCK_SH => Some(Kind::Shared),
        raw::LOCK_EX => Some(Kind::Exclusive),
        raw::LOCK_UN => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    match locks::flock(&file, kind) {
        Err(Error::WouldBlock) if operation & raw::LOCK_NB != 0 => return Err(Errno::EAGAIN.into()),
        Err(Error::WouldBlock) => {}
        other => return other.map(|()| 0),
    }
    let record = locks::of(&file);
    let granted = record.queue().wait_until(Events::IN.bits(), || match locks::flock(&file, kind) {
        Err(Error::WouldBlock) => None,
        other => Some(other),
    });
    current.thread.interruptible(Restart::IfAsked, granted).await??;
    Ok(0)
}

/// Installs a file that has no name.
pub fn install_new(current: &Current, file: Arc<dyn File>, flags: OpenFlags) -> Result<usize> {
    install(current, Description::new(file, None, flags), flags.contains(OpenFlags::CLOEXEC))
}
