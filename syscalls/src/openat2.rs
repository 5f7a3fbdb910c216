//! openat2(2): opening with rules for the way there, in a record that may grow.

use crate::args::Args;
use crate::fault;
use crate::files::{self, Opening};
use crate::records;
use crate::table::{Calls, slow};
use crate::wait::Slow;
use base::{Errno, Error, Result};
use linux_raw_sys::general as raw;
use process::Current;
use vfs::path::Resolve;
use vfs::{OpenFlags, flags};

/// The family.
pub const CALLS: Calls = &[(raw::__NR_openat2, slow!(openat2, Slow::Openat2))];

/// Words of `struct open_how`.
const WORDS: usize = 3;

/// What an openat2(2) asks for. EINVAL for what openat(2) would have overlooked, E2BIG for a record of unknown contents.
fn decode(args: &Args) -> Result<Opening> {
    let [word, mode, resolve] = records::read::<WORDS>(args.addr(2), args.size(3), WORDS)?;
    let known = u32::try_from(word).map_err(|_| Errno::EINVAL)?;
    let resolve = Resolve::from_bits(resolve).ok_or(Errno::EINVAL)?;
    if known & !flags::VALID != 0 || resolve.contains(Resolve::SCOPED) {
        return Err(Errno::EINVAL.into());
    }
    let creates = known & raw::O_CREAT != 0 || known & raw::__O_TMPFILE != 0;
    if mode & !0o7777 != 0 || (mode != 0 && !creates) {
        return Err(Errno::EINVAL.into());
    }
    const OF_PATHS: u32 = raw::O_DIRECTORY | raw::O_NOFOLLOW | raw::O_PATH | raw::O_CLOEXEC;
    if known & raw::O_PATH != 0 && known & !OF_PATHS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let changes = OpenFlags::from_bits_truncate(known).intersects(OpenFlags::TRUNC | OpenFlags::CREAT)
        || known & raw::__O_TMPFILE != 0;
    if resolve.contains(Resolve::CACHED) && changes {
        return Err(Errno::EAGAIN.into());
    }
    Ok(Opening::openat2(args, known, mode as u32, resolve))
}

fn openat2(current: &mut Current, args: &Args) -> Result<usize> {
    files::open_now(current, &decode(args)?)
}

/// Where it has to wait.
pub async fn finish(current: &mut Current, args: &Args) -> Result<usize> {
    let opening = loop {
        match decode(args) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    files::finish_open(current, opening).await
}
