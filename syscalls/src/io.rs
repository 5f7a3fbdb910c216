//! read(2), write(2) and their kin.

use crate::args::Args;
use crate::fault;
use crate::park::Target;
use crate::paths::{check_flags, file};
use crate::table::{Calls, slow};
use crate::transfer::{Transfer, partial, read_now, read_on, read_plain, write_now, write_on, write_plain};
use crate::wait::Slow;
use alloc::sync::Arc;
use base::{Errno, Error, Events, Restart, Result};
use linux_raw_sys::general as raw;
use memory::user::{IoVecs, UserPtr};
use process::Current;
use vfs::Description;

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_read, slow!(read, Slow::Read)),
    (raw::__NR_write, slow!(write, Slow::Write)),
    (raw::__NR_readv, slow!(readv, Slow::Readv)),
    (raw::__NR_writev, slow!(writev, Slow::Writev)),
    (raw::__NR_pread64, slow!(pread, Slow::Pread)),
    (raw::__NR_pwrite64, slow!(pwrite, Slow::Pwrite)),
    (raw::__NR_preadv, slow!(preadv, Slow::Preadv)),
    (raw::__NR_pwritev, slow!(pwritev, Slow::Pwritev)),
    (raw::__NR_preadv2, slow!(preadv2, Slow::Preadv2)),
    (raw::__NR_pwritev2, slow!(pwritev2, Slow::Pwritev2)),
];

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the file to memory.
    Read,
    /// From memory to the file.
    Write,
}

/// Where in the file a call works, by its arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// At its position.
    Position,
    /// At the offset in the fourth argument.
    Offset,
    /// As [`Spot::Offset`], with RWF_ flags in the sixth; -1 is the position.
    Flags,
}

/// read(2).
pub fn read(current: &mut Current, args: &Args) -> Result<usize> {
    let file = Target::of(current, args)?;
    let result = read_plain(current, &file, args);
    result.map_err(|error| file.unready(current, error, Events::READABLE, Restart::IfAsked))
}

/// write(2).
pub fn write(current: &mut Current, args: &Args) -> Result<usize> {
    let file = file(current, args, 0)?;
    write_plain(current, &file, args)
}

fn pread(current: &mut Current, args: &Args) -> Result<usize> {
    let file = file(current, args, 0)?;
    read_now(current, &Transfer::one(&file, args).at(args.long(3)))
}

fn pwrite(current: &mut Current, args: &Args) -> Result<usize> {
    let file = file(current, args, 0)?;
    write_now(current, &Transfer::one(&file, args).at(args.long(3)))
}

fn readv(current: &mut Current, args: &Args) -> Result<usize> {
    let file = Target::of(current, args)?;
    let result = IoVecs::read(UserPtr::new(args.addr(1)), args.size(2))
        .and_then(|vecs| read_now(current, &Transfer::many(&file, &vecs)));
    result.map_err(|error| file.unready(current, error, Events::READABLE, Restart::IfAsked))
}

fn writev(current: &mut Current, args: &Args) -> Result<usize> {
    vectored(current, args, Way::Write, Spot::Position)
}

fn preadv(current: &mut Current, args: &Args) -> Result<usize> {
    vectored(current, args, Way::Read, Spot::Offset)
}

fn pwritev(current: &mut Current, args: &Args) -> Result<usize> {
    vectored(current, args, Way::Write, Spot::Offset)
}

fn preadv2(current: &mut Current, args: &Args) -> Result<usize> {
    vectored(current, args, Way::Read, Spot::Flags)
}

fn pwritev2(current: &mut Current, args: &Args) -> Result<usize> {
    vectored(current, args, Way::Write, Spot::Flags)
}

fn vectored(current: &mut Current, args: &Args, way: Way, spot: Spot) -> Result<usize> {
    let file = file(current, args, 0)?;
    let vecs = IoVecs::read(UserPtr::new(args.addr(1)), args.size(2))?;
    let transfer = place(Transfer::many(&file, &vecs), args, spot)?;
    match way {
        Way::Read => read_now(current, &transfer),
        Way::Write => write_now(current, &transfer),
    }
}

/// Where the transfer goes, by the fourth and the sixth argument. EINVAL, EOPNOTSUPP (a flag that is not known).
fn place<'a>(transfer: Transfer<'a>, args: &Args, spot: Spot) -> Result<Transfer<'a>> {
    let offset = args.long(3);
    match spot {
        Spot::Position => Ok(transfer),
        Spot::Offset => Ok(transfer.at(offset)),
        Spot::Flags => {
            // Nothing is written back later, so what asks for synchronous writing asks for nothing more.
            let known = raw::RWF_HIPRI | raw::RWF_DSYNC | raw::RWF_SYNC | raw::RWF_NOWAIT | raw::RWF_APPEND;
            let flags = args.uint(5);
            check_flags(flags, known).map_err(|_| Errno::EOPNOTSUPP)?;
            let transfer = if offset == -1 { transfer } else { transfer.at(offset) };
            Ok(transfer.with(flags & raw::RWF_NOWAIT != 0, flags & raw::RWF_APPEND != 0))
        }
    }
}

/// Goes on with read(2), pread(2), write(2) or pwrite(2).
pub async fn finish(current: &mut Current, args: &Args, way: Way, spot: Spot) -> Result<usize> {
    let done = core::mem::take(&mut current.transferred);
    let file: Arc<Description> = match file(current, args, 0) {
        Ok(file) => file,
        // Another thread has closed it meanwhile.
        Err(error) => return partial(done, error),
    };
    let transfer = place(Transfer::one(&file, args), args, spot)?;
    match way {
        Way::Read => read_on(current, transfer, done).await,
        Way::Write => write_on(current, transfer, done).await,
    }
}

/// Goes on with readv(2) and its kin.
pub async fn finish_vectored(current: &mut Current, args: &Args, way: Way, spot: Spot) -> Result<usize> {
    let done = core::mem::take(&mut current.transferred);
    let file: Arc<Description> = match file(current, args, 0) {
        Ok(file) => file,
        Err(error) => return partial(done, error),
    };
    let vecs = loop {
        match IoVecs::read(UserPtr::new(args.addr(1)), args.size(2)) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    let transfer = place(Transfer::many(&file, &vecs), args, spot)?;
    match way {
        Way::Read => read_on(current, transfer, done).await,
        Way::Write => write_on(current, transfer, done).await,
    }
}
