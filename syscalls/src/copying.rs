//! From file to file without the program's memory: sendfile(2), copy_file_range(2), splice(2).
//!
//! The source is read at an offset into a buffer of the kernel, and only as much counts as read as the target took. A pipe
//! lends its bytes, and gets back what the target did not take.

use crate::args::Args;
use crate::paths::{caller, check_flags, opened};
use crate::table::{Calls, fast, slow};
use crate::transfer::raise;
use crate::wait::Slow;
use arch::addr::PAGE_SIZE;
use base::{Errno, Error, Events, Restart, Result};
use linux_raw_sys::general as raw;
use memory::io::{Dst, MAX_TRANSFER, Src};
use memory::user::UserPtr;
use process::signal::Signal;
use process::{Current, limits};
use vfs::description::Whence;
use vfs::pipe::{Pipe, PipeEnd};
use vfs::{Description, FileType};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_sendfile, slow!(sendfile, Slow::Sendfile)),
    (raw::__NR_copy_file_range, fast!(copy_file_range)),
    (raw::__NR_splice, slow!(splice, Slow::Splice)),
];

/// Bytes that one call moves before it gives a short count, so that others can run.
const MOST: usize = 1 << 20;

/// One call.
struct Copy<'a> {
    from: &'a Description,
    to: &'a Description,
    len: usize,
    /// Where in `from`; its position moves if this is `None`.
    source: Option<UserPtr<i64>>,
    /// Where in `to`.
    target: Option<UserPtr<i64>>,
    /// SPLICE_F_NONBLOCK.
    nowait: bool,
}

fn start(file: &Description, given: Option<UserPtr<i64>>) -> Result<i64> {
    match given {
        Some(ptr) => {
            let offset = ptr.read()?;
            if offset < 0 { Err(Errno::EINVAL.into()) } else { Ok(offset) }
        }
        None => Ok(file.position() as i64),
    }
}

impl Copy<'_> {
    /// Moves what can be moved now. [`Error::WouldBlock`] only before anything has been.
    fn now(&self, current: &Current) -> Result<usize> {
        self.from.check_readable()?;
        self.to.check_writable()?;
        let from = if self.pipe().is_some() { 0 } else { start(self.from, self.source)? };
        let to = self.target.map(|ptr| start(self.to, Some(ptr))).transpose()?;
        // Stored as they are, so that storing the new ones cannot fail after bytes have moved.
        for (ptr, offset) in [(self.source, Some(from)), (self.target, to)] {
            if let (Some(ptr), Some(offset)) = (ptr, offset) {
                ptr.write(&offset)?;
            }
        }
        let (done, error) = self.run(current, from, to);
        if done == 0
            && let Some(error) = error
        {
            return Err(error);
        }
        if self.pipe().is_none() {
            self.advance(self.from, self.source, from, done)?;
        }
        if let Some(to) = to {
            self.advance(self.to, self.target, to, done)?;
        }
        Ok(done)
    }

    fn advance(&self, file: &Description, ptr: Option<UserPtr<i64>>, offset: i64, done: usize) -> Result<()> {
        let end = offset + done as i64;
        match ptr {
            // Just written: only another thread that unmaps it meanwhile makes this fail.
            Some(ptr) => ptr.write(&end)?,
            None => drop(file.seek(end, Whence::Start)?),
        }
        Ok(())
    }

    /// The pipe that is the source, if it is one.
    fn pipe(&self) -> Option<&Pipe> {
        pipe_of(self.from)
    }

    fn run(&self, current: &Current, from: i64, to: Option<i64>) -> (usize, Option<Error>) {
        let (reader, mut writer) = (caller(current, self.from), caller(current, self.to));
        // A step that cannot write all is not to wait in the middle.
        writer.set_nonblock(self.nowait);
        let mut buf = [0; PAGE_SIZE];
        let mut done = 0;
        let len = self.len.min(MOST);
        while done < len {
            let want = (len - done).min(buf.len());
            let loan = self.pipe().map(|pipe| pipe.lend(&mut buf[..want])).transpose();
            let read = match &loan {
                Ok(Some(loan)) => Ok(loan.len),
                Ok(None) => self.from.read_at(&reader, from + done as i64, &mut Dst::kernel(&mut buf[..want])),
                Err(Error::WouldBlock) if self.nowait => Err(Errno::EAGAIN.into()),
                Err(error) => Err(*error),
            };
            let n = match read {
                Ok(n) => n,
                Err(error) => return (done, Some(error)),
            };
            let mut src = Src::kernel(&buf[..n]);
            let written = match to {
                _ if n == 0 => Ok(0),
                None => self.to.write(&writer, &mut src),
                Some(to) => self.to.write_at(&writer, to + done as i64, &mut src),
            };
            if let (Ok(Some(loan)), Some(pipe)) = (loan, self.pipe()) {
                pipe.settle(loan, &buf[written.as_ref().map_or(0, |taken| *taken)..n]);
            }
            match written {
                Ok(0) => break,
                Ok(taken) => {
                    done += taken;
                    if taken < n {
                        break;
                    }
                }
                Err(Error::WouldBlock) if writer.nonblock() => return (done, Some(Errno::EAGAIN.into())),
                Err(Error::Errno(Errno::EPIPE)) => {
                    raise(current, Signal::SIGPIPE);
                    return (done, Some(Errno::EPIPE.into()));
                }
                Err(error) => return (done, Some(error)),
            }
        }
        (done, None)
    }
}

/// What the arguments of one of the three calls mean.
type Decode = for<'a> fn(&Args, &'a Description, &'a Description) -> Result<Copy<'a>>;

fn optional(args: &Args, i: usize) -> Option<UserPtr<i64>> {
    args.ptr::<i64>(i).optional()
}

fn sendfile_copy<'a>(args: &Args, to: &'a Description, from: &'a Description) -> Result<Copy<'a>> {
    if !from.file().seekable() || from.metadata().kind == FileType::Directory {
        return Err(Errno::EINVAL.into());
    }
    if to.flags().contains(vfs::OpenFlags::APPEND) {
        return Err(Errno::EINVAL.into());
    }
    Ok(Copy { from, to, len: args.size(3).min(MAX_TRANSFER), source: optional(args, 2), target: None, nowait: false })
}

fn range_copy<'a>(args: &Args, from: &'a Description, to: &'a Description) -> Result<Copy<'a>> {
    check_flags(args.uint(5), 0)?;
    for file in [from, to] {
        match file.metadata().kind {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    if to.flags().contains(vfs::OpenFlags::APPEND) {
        return Err(Errno::EBADF.into());
    }
    let len = args.size(4).min(MAX_TRANSFER);
    let (source, target) = (optional(args, 1), optional(args, 3));
    let a = start(from, source)?;
    let b = start(to, target)?;
    let same = (from.metadata().dev, from.metadata().ino) == (to.metadata().dev, to.metadata().ino);
    if same && a.abs_diff(b) < len as u64 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Copy { from, to, len, source, target, nowait: false })
}

fn pipe_of(file: &Description) -> Option<&Pipe> {
    file.file().as_any().and_then(|any| any.downcast_ref::<PipeEnd>()).map(|end| &**end.pipe())
}

/// From or into a pipe, or both. EINVAL without one, for a file that is only appended to, and from a pipe into itself; ESPIPE for
/// an offset in a pipe.
fn splice_copy<'a>(args: &Args, from: &'a Description, to: &'a Description) -> Result<Copy<'a>> {
    check_flags(args.uint(5), 15)?;
    let (source, target) = (pipe_of(from), pipe_of(to));
    let nonblock = |file: &Description| file.flags().contains(vfs::OpenFlags::NONBLOCK);
    if target.is_some() && args.size(3) != 0 || source.is_some() && args.size(1) != 0 {
        return Err(Errno::ESPIPE.into());
    }
    let same = source.zip(target).is_some_and(|(from, to)| core::ptr::eq(from, to));
    let appends = to.flags().contains(vfs::OpenFlags::APPEND);
    if same || appends || source.is_none() && (target.is_none() || !from.file().seekable()) {
        return Err(Errno::EINVAL.into());
    }
    if args.size(3) != 0 && !to.file().seekable() {
        return Err(Errno::EINVAL.into());
    }
    let nowait = args.uint(5) & raw::SPLICE_F_NONBLOCK != 0 || target.is_some() && source.is_some() && nonblock(from);
    let len = args.size(4).min(MAX_TRANSFER);
    Ok(Copy { from, to, len, source: optional(args, 1), target: optional(args, 3), nowait })
}

fn now(current: &Current, args: &Args, second: usize, decode: Decode) -> Result<usize> {
    let (a, b) = (opened(current, args, 0)?, opened(current, args, second)?);
    let mut copy = decode(args, &a, &b)?;
    if current.thread.limit(limits::Resource::Fsize) != limits::INFINITY && copy.to.metadata().kind == FileType::Regular
    {
        copy.len = copy.len.min(room(current, &copy)?);
    }
    copy.now(current)
}

/// What RLIMIT_FSIZE leaves. EFBIG, with SIGXFSZ, for nothing.
fn room(current: &Current, copy: &Copy) -> Result<usize> {
    let to = start(copy.to, copy.target)? as u64;
    match current.thread.limit(limits::Resource::Fsize).saturating_sub(to) {
        0 if copy.len > 0 => Err(crate::transfer::too_large(current, 0)),
        room => Ok(usize::try_from(room).unwrap_or(usize::MAX)),
    }
}

fn sendfile(current: &mut Current, args: &Args) -> Result<usize> {
    now(current, args, 1, sendfile_copy)
}

fn copy_file_range(current: &mut Current, args: &Args) -> Result<usize> {
    now(current, args, 2, range_copy)
}

fn splice(current: &mut Current, args: &Args) -> Result<usize> {
    if args.size(4) == 0 {
        return Ok(0);
    }
    now(current, args, 2, splice_copy)
}

/// Waits until the target has room, or a pipe that is the source has bytes, and tries again.
async fn finish(current: &Current, args: &Args, target: usize, second: usize, decode: Decode) -> Result<usize> {
    let from = opened(current, args, if target == 0 { second } else { 0 })?;
    let to = opened(current, args, target)?;
    let has_bytes = || pipe_of(&from).is_none() || from.poll(&caller(current, &from)).intersects(Events::READABLE);
    loop {
        let waits_for_room = has_bytes();
        let (file, events) = if waits_for_room { (&to, Events::WRITABLE) } else { (&from, Events::READABLE) };
        let queue = file.queue().ok_or(Errno::EAGAIN)?;
        let moved = queue.wait_until(events.bits(), || match now(current, args, second, decode) {
            // Until it has to wait for the other of the two.
            Err(Error::WouldBlock) if has_bytes() == waits_for_room => None,
            other => Some(other),
        });
        match current.thread.interruptible(Restart::IfAsked, moved).await? {
            Err(Error::Fault(page)) => crate::fault::resolve(current, page).await?,
            Err(Error::WouldBlock) => {}
            other => return other,
        }
    }
}

/// sendfile(2) to a target without room.
pub async fn finish_sendfile(current: &mut Current, args: &Args) -> Result<usize> {
    finish(current, args, 0, 1, sendfile_copy).await
}

/// splice(2) into a full pipe, or from an empty one.
pub async fn finish_splice(current: &mut Current, args: &Args) -> Result<usize> {
    finish(current, args, 2, 2, splice_copy).await
}
