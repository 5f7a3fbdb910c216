//! Moving bytes between a file and a program's memory.
//!
//! Each transfer goes in steps: a step moves what can be moved without waiting, up to [`STEP`] bytes. The half that does not
//! wait makes steps as long as they succeed. If one cannot go on, what has been moved is noted in
//! [`Current::transferred`] and the other half goes on from there.

use crate::args::Args;
use crate::fault;
use crate::paths::caller;
use arch::addr::VirtAddr;
use arch::trap::PageFault;
use base::{Capability, Errno, Error, Events, Restart, Result};
use memory::io::{Dst, IoVec, MAX_TRANSFER, Src};
use process::Current;
use process::limits::{INFINITY, Resource};
use process::signal::{Siginfo, Signal, send};
use vfs::eventfd::EventFd;
use vfs::{Caller, Description, FileType, OpenFlags, attributes};

/// Bytes that are moved between two chances for others to run.
const STEP: usize = 1 << 20;

/// The user memory of a transfer.
#[derive(Clone, Copy)]
enum Memory<'a> {
    One(VirtAddr, usize),
    Many(&'a [IoVec]),
}

/// A transfer.
#[derive(Clone, Copy)]
pub struct Transfer<'a> {
    file: &'a Description,
    memory: Memory<'a>,
    len: usize,
    /// Where in the file, or at its position.
    offset: Option<i64>,
    /// RWF_NOWAIT.
    nowait: bool,
    /// RWF_APPEND.
    append: bool,
}

/// What follows a step.
enum Next {
    /// The transfer has ended.
    Done,
    /// It has failed before anything was moved.
    Failed(Error),
    /// It goes on when this fault is resolved.
    Fault(PageFault),
    /// It goes on when the file is ready.
    Wait,
    /// It goes on when others have had a chance to run.
    Yield,
}

impl<'a> Transfer<'a> {
    /// Between `file` and the memory that the second and third argument give.
    #[inline]
    pub fn one(file: &'a Description, args: &Args) -> Transfer<'a> {
        let len = args.size(2).min(MAX_TRANSFER);
        Transfer { file, memory: Memory::One(args.addr(1), len), len, offset: None, nowait: false, append: false }
    }

    /// Between `file` and the ranges of `vecs`.
    pub fn many(file: &'a Description, vecs: &'a [IoVec]) -> Transfer<'a> {
        let len = Dst::user_vec(vecs).remaining();
        Transfer { file, memory: Memory::Many(vecs), len, offset: None, nowait: false, append: false }
    }

    /// At `offset` instead of the file's position.
    pub fn at(self, offset: i64) -> Transfer<'a> {
        Transfer { offset: Some(offset), ..self }
    }

    /// With the flags of preadv2(2) and pwritev2(2).
    pub fn with(self, nowait: bool, append: bool) -> Transfer<'a> {
        Transfer { nowait, append, ..self }
    }

    #[inline]
    fn caller<'c>(&self, current: &'c Current) -> Caller<'c> {
        let mut caller = caller(current, self.file);
        caller.set_nonblock(self.nowait);
        caller.flags.set(OpenFlags::APPEND, caller.append() || self.append);
        caller
    }

    #[inline]
    fn dst(&self, done: usize) -> Dst<'a> {
        let mut dst = match self.memory {
            Memory::One(addr, len) => Dst::user(VirtAddr(addr.0.wrapping_add(done)), len - done),
            Memory::Many(vecs) => {
                let mut dst = Dst::user_vec(vecs);
                dst.skip(done);
                dst
            }
        };
        dst.limit(STEP);
        dst
    }

    #[inline]
    fn src(&self, done: usize) -> Src<'a> {
        let mut src = match self.memory {
            Memory::One(addr, len) => Src::user(VirtAddr(addr.0.wrapping_add(done)), len - done),
            Memory::Many(vecs) => {
                let mut src = Src::user_vec(vecs);
                src.skip(done);
                src
            }
        };
        src.limit(STEP);
        src
    }

    /// Where the half that waits begins. If nothing has been moved, the other half has just found the file not ready; else it
    /// may have stopped for any reason, and the next step tells.
    fn resumed(&self, done: usize) -> Next {
        // Without a queue it is another file by now.
        if done == 0 && self.file.queue().is_some() { Next::Wait } else { Next::Yield }
    }

    #[inline]
    fn read_step(&self, caller: &Caller, done: &mut usize) -> Next {
        let mut dst = self.dst(*done);
        let result = match self.offset {
            None => self.file.read(caller, &mut dst),
            Some(offset) => self.file.read_at(caller, after(offset, *done), &mut dst),
        };
        self.after_read(result, &dst, caller, done)
    }

    /// What follows a read that `dst` was for.
    #[inline]
    fn after_read(&self, result: Result<usize>, dst: &Dst, caller: &Caller, done: &mut usize) -> Next {
        match result {
            Ok(n) => {
                *done += n;
                match dst.fault() {
                    None if n > 0 && *done < self.len && dst.is_full() => Next::Yield,
                    None => Next::Done,
                    Some(fault) => Next::Fault(fault),
                }
            }
            Err(error) => stopped(error, caller, *done),
        }
    }

    #[inline]
    fn write_step(&self, current: &Current, caller: &Caller, done: &mut usize) -> Next {
        let mut src = self.src(*done);
        if self.file.file().seekable()
            && let Err(error) = self.before_write(current, caller, *done, &mut src)
        {
            return stopped(error, caller, *done);
        }
        let result = match self.offset {
            None => self.file.write(caller, &mut src),
            Some(offset) => self.file.write_at(caller, after(offset, *done), &mut src),
        };
        self.after_write(current, result, &src, caller, done)
    }

    /// What follows a write that `src` was for.
    #[inline]
    fn after_write(
        &self,
        current: &Current,
        result: Result<usize>,
        src: &Src,
        caller: &Caller,
        done: &mut usize,
    ) -> Next {
        match result {
            Ok(n) => {
                *done += n;
                match src.fault() {
                    None if *done == self.len || n == 0 => Next::Done,
                    None => self.after_short_write(src.remaining() == 0),
                    Some(fault) => Next::Fault(fault),
                }
            }
            Err(Error::Errno(Errno::EPIPE)) => broken_pipe(current, self.file, *done),
            Err(error) => stopped(error, caller, *done),
        }
    }

    /// The file took less than there is. A full pipe or socket gets the rest later; a file on a full disk does not.
    #[cold]
    fn after_short_write(&self, step_is_done: bool) -> Next {
        let file = self.file.file();
        if step_is_done {
            return Next::Yield;
        }
        let counter = file.as_any().is_some_and(|any| any.is::<EventFd>());
        if file.seekable() || counter { Next::Done } else { Next::Yield }
    }

    /// RLIMIT_FSIZE, and the set-ID bits that a write takes away.
    fn before_write(&self, current: &Current, caller: &Caller, done: usize, src: &mut Src) -> Result<()> {
        if !caller.cred.has(Capability::Fsetid)
            && let Some(at) = self.file.opened_as()
            && self.file.flags().writable()
        {
            attributes::strip_set_id(caller, at)?;
        }
        let limit = current.thread.limit(Resource::Fsize);
        if limit == INFINITY || self.file.metadata().kind != FileType::Regular {
            return Ok(());
        }
        let position = match self.offset {
            _ if caller.append() => self.file.file().size()?,
            Some(offset) => after(offset, done) as u64,
            None => self.file.position(),
        };
        let room = limit.saturating_sub(position);
        if room == 0 && src.remaining() > 0 {
            return Err(too_large(current, done));
        }
        src.limit(usize::try_from(room).unwrap_or(usize::MAX));
        Ok(())
    }
}

fn after(offset: i64, done: usize) -> i64 {
    if offset < 0 { offset } else { offset.saturating_add(done as i64) }
}

/// A write beyond RLIMIT_FSIZE: EFBIG, with SIGXFSZ unless some bytes were written before.
pub fn too_large(current: &Current, done: usize) -> Error {
    if done == 0 {
        raise(current, Signal::SIGXFSZ);
    }
    Errno::EFBIG.into()
}

/// Sends the thread a signal as if it had sent that itself.
pub fn raise(current: &Current, signal: Signal) {
    let info = Siginfo::user(signal, current.thread.process.id(), current.cred.uid);
    // A standard signal without a value is never refused.
    let _ = send::to_thread(&current.thread, info);
}

/// A pipe without readers gives SIGPIPE even where some bytes were written before; a stream socket then does not, and other
/// sockets never do.
#[cold]
fn broken_pipe(current: &Current, file: &Description, done: usize) -> Next {
    if net::as_socket(&**file.file()).map_or(true, |socket| socket.is_stream() && done == 0) {
        raise(current, Signal::SIGPIPE);
    }
    if done > 0 { Next::Done } else { Next::Failed(Errno::EPIPE.into()) }
}

/// What an error means after `done` bytes.
fn stopped(error: Error, caller: &Caller, done: usize) -> Next {
    match error {
        Error::Fault(page) => Next::Fault(page),
        Error::WouldBlock if !caller.nonblock() => Next::Wait,
        _ if done > 0 => Next::Done,
        Error::WouldBlock => Next::Failed(Errno::EAGAIN.into()),
        error => Next::Failed(error),
    }
}

/// read(2), the half that does not wait: what [`read_now`] does of [`Transfer::one`], with less on its way in the common case.
#[inline]
pub fn read_plain(current: &mut Current, file: &Description, args: &Args) -> Result<usize> {
    let mut dst = Dst::user(args.addr(1), args.size(2).min(STEP));
    let caller = caller(current, file);
    let result = file.read(&caller, &mut dst);
    match result {
        Ok(n) if n < STEP && dst.fault().is_none() => Ok(n),
        Err(Error::WouldBlock) if !caller.nonblock() => {
            current.transferred = 0;
            Err(Error::WouldBlock)
        }
        result => {
            let mut done = 0;
            let next = Transfer::one(file, args).after_read(result, &dst, &caller, &mut done);
            read_result(current, next, done)
        }
    }
}

/// write(2), the half that does not wait: what [`write_now`] does of [`Transfer::one`].
#[inline]
pub fn write_plain(current: &mut Current, file: &Description, args: &Args) -> Result<usize> {
    if file.is_seekable() {
        return write_now(current, &Transfer::one(file, args));
    }
    let mut src = Src::user(args.addr(1), args.size(2).min(STEP));
    let caller = caller(current, file);
    let result = file.write(&caller, &mut src);
    match result {
        Ok(n) if n == args.size(2) => Ok(n),
        result => {
            let mut done = 0;
            let next = Transfer::one(file, args).after_write(current, result, &src, &caller, &mut done);
            write_result(current, next, done)
        }
    }
}

/// The half of a read that does not wait.
#[inline]
pub fn read_now(current: &mut Current, transfer: &Transfer) -> Result<usize> {
    let mut done = 0;
    let next = transfer.read_step(&transfer.caller(current), &mut done);
    read_result(current, next, done)
}

fn read_result(current: &mut Current, next: Next, done: usize) -> Result<usize> {
    match next {
        Next::Done => Ok(done),
        Next::Failed(error) => Err(error),
        // A read gives what there is.
        Next::Wait if done > 0 => Ok(done),
        other => later(current, other, done),
    }
}

/// The half of a write that does not wait.
#[inline]
pub fn write_now(current: &mut Current, transfer: &Transfer) -> Result<usize> {
    let mut done = 0;
    let next = transfer.write_step(current, &transfer.caller(current), &mut done);
    write_result(current, next, done)
}

fn write_result(current: &mut Current, next: Next, done: usize) -> Result<usize> {
    match next {
        Next::Done => Ok(done),
        Next::Failed(error) => Err(error),
        other => later(current, other, done),
    }
}

#[cold]
fn later(current: &mut Current, next: Next, done: usize) -> Result<usize> {
    match next {
        Next::Fault(page) if done == 0 => Err(Error::Fault(page)),
        _ => {
            current.transferred = done;
            Err(Error::WouldBlock)
        }
    }
}

/// The result of a transfer that `error` ended.
pub fn partial(done: usize, error: Error) -> Result<usize> {
    if done > 0 { Ok(done) } else { Err(error) }
}

/// Goes on with a read after `done` bytes.
pub async fn read_on(current: &Current, transfer: Transfer<'_>, mut done: usize) -> Result<usize> {
    let since = kernel::time::monotonic();
    let caller = transfer.caller(current);
    let limit =
        socket_timeout(transfer.file, |socket| socket.receive_timeout()).map(|nanos| since.saturating_add(nanos));
    let mut next = transfer.resumed(done);
    loop {
        match next {
            Next::Done => return Ok(done),
            Next::Failed(error) => return partial(done, error),
            Next::Wait if done > 0 => return Ok(done),
            Next::Fault(page) => {
                if let Err(error) = fault::resolve(current, page).await {
                    return partial(done, error);
                }
                next = transfer.read_step(&caller, &mut done);
            }
            Next::Yield => {
                executor::preempt().await;
                next = transfer.read_step(&caller, &mut done);
            }
            Next::Wait => {
                let file = transfer.file.file();
                let Some(queue) = file.queue() else { return Err(Errno::EAGAIN.into()) };
                let until = file.read_deadline(since).or(limit);
                let step = || match transfer.read_step(&caller, &mut done) {
                    // A terminal's time runs from each byte: the deadline may have moved.
                    Next::Wait if limit.is_none() && file.read_deadline(since) != until => Some(Next::Wait),
                    Next::Wait => None,
                    next => Some(next),
                };
                let ready = queue.wait_until_exclusive(Events::READABLE.bits(), step).after_failure();
                next = match until {
                    None => current.thread.interruptible(Restart::IfAsked, ready).await?,
                    Some(at) => {
                        match current.thread.interruptible(Restart::IfAsked, executor::timeout_at(at, ready)).await {
                            Ok(Ok(next)) => next,
                            Ok(Err(_)) if limit.is_some() => return Err(Errno::EAGAIN.into()),
                            Ok(Err(_)) => return read_late(&transfer, &caller),
                            // What a time limit of a socket bounds is not restarted.
                            Err(Error::Interrupted(_)) if limit.is_some() => return Err(Errno::EINTR.into()),
                            Err(error) => return Err(error),
                        }
                    }
                };
            }
        }
    }
}

/// A terminal's time is up: what there is, even if it is nothing.
fn read_late(transfer: &Transfer, caller: &Caller) -> Result<usize> {
    let mut caller = *caller;
    caller.set_nonblock(true);
    let mut done = 0;
    match transfer.read_step(&caller, &mut done) {
        Next::Failed(Error::Errno(Errno::EAGAIN)) => Ok(0),
        Next::Failed(error) => Err(error),
        Next::Fault(page) if done == 0 => Err(Error::Fault(page)),
        _ => Ok(done),
    }
}

/// A time limit that a socket was given.
fn socket_timeout(file: &Description, get: impl Fn(&dyn net::Socket) -> Option<u64>) -> Option<u64> {
    net::as_socket(&**file.file()).ok().and_then(get)
}

/// Goes on with a write after `done` bytes.
pub async fn write_on(current: &Current, transfer: Transfer<'_>, mut done: usize) -> Result<usize> {
    let caller = transfer.caller(current);
    let limit = socket_timeout(transfer.file, |socket| socket.send_timeout())
        .map(|nanos| kernel::time::monotonic().saturating_add(nanos));
    let mut next = transfer.resumed(done);
    loop {
        match next {
            Next::Done => return Ok(done),
            Next::Failed(error) => return partial(done, error),
            Next::Fault(page) => {
                if let Err(error) = fault::resolve(current, page).await {
                    return partial(done, error);
                }
                next = transfer.write_step(current, &caller, &mut done);
            }
            Next::Yield => {
                executor::preempt().await;
                next = transfer.write_step(current, &caller, &mut done);
            }
            Next::Wait => {
                let Some(queue) = transfer.file.queue() else { return partial(done, Errno::EAGAIN.into()) };
                let step = || match transfer.write_step(current, &caller, &mut done) {
                    Next::Wait => None,
                    next => Some(next),
                };
                let ready = queue.wait_until_exclusive(Events::WRITABLE.bits(), step).after_failure();
                let outcome = match limit {
                    None => current.thread.interruptible(Restart::IfAsked, ready).await.map(Ok),
                    Some(at) => current.thread.interruptible(Restart::IfAsked, executor::timeout_at(at, ready)).await,
                };
                next = match outcome {
                    Ok(Ok(next)) => next,
                    Ok(Err(_)) => return partial(done, Errno::EAGAIN.into()),
                    Err(Error::Interrupted(_)) if limit.is_some() => return partial(done, Errno::EINTR.into()),
                    Err(error) => return partial(done, error),
                };
            }
        }
    }
}
