//! Paths and descriptors as system calls give them.

use crate::args::Args;
use alloc::sync::Arc;
use base::{Errno, Result};
use linux_raw_sys::general as raw;
use memory::user::UserStr;
use process::Current;
use process::limits::Resource;
use vfs::path::{Follow, Resolve, Walk};
use vfs::{Caller, Description, Location, OpenFlags};

impl Args {
    /// Argument `i` as a pointer to a string.
    pub fn str(&self, i: usize) -> UserStr {
        UserStr(self.addr(i))
    }
}

/// What is open as argument `i`. EBADF.
#[inline]
pub fn file(current: &Current, args: &Args, i: usize) -> Result<Arc<Description>> {
    current.files.get(args.uint(i))
}

/// As [`file`](fn@file), for calls that do more than name a place: EBADF for a descriptor with O_PATH, too.
pub fn opened(current: &Current, args: &Args, i: usize) -> Result<Arc<Description>> {
    let file = file(current, args, i)?;
    check_opened(&file)?;
    Ok(file)
}

/// EBADF for a descriptor with O_PATH.
#[inline]
pub fn check_opened(file: &Description) -> Result<()> {
    if file.flags().contains(OpenFlags::PATH) { Err(Errno::EBADF.into()) } else { Ok(()) }
}

/// Who calls `file`.
#[inline]
pub fn caller<'a>(current: &'a Current, file: &Description) -> Caller<'a> {
    file.caller(&current.cred, current.thread.id(), current.thread.process.id())
}

/// Gives `file` the lowest free number. EMFILE, ENOMEM.
pub fn install(current: &Current, file: Arc<Description>, cloexec: bool) -> Result<usize> {
    let limit = current.thread.limit(Resource::Nofile);
    current.files.open(file, limit, cloexec).map(|fd| fd as usize)
}

/// The description of the directory `dir` that `path` begins in; `None` for AT_FDCWD, and where it does not matter. EBADF.
fn base(current: &Current, dir: i32, path: &[u8]) -> Result<Option<Arc<Description>>> {
    if dir == raw::AT_FDCWD || path.first() == Some(&b'/') {
        return Ok(None);
    }
    current.files.get(dir as u32).map(Some)
}

/// Calls `act` with the path at `path`, which begins in `dir` (the *at calls).
pub fn at<T>(current: &Current, dir: i32, path: UserStr, act: impl FnOnce(&Walk, &[u8]) -> Result<T>) -> Result<T> {
    at_path(current, dir, &path.read_path()?, Resolve::empty(), act)
}

/// As [`at`], for a path that has been read and that may lead only where `resolve` allows.
pub fn at_path<T>(
    current: &Current,
    dir: i32,
    path: &[u8],
    resolve: Resolve,
    act: impl FnOnce(&Walk, &[u8]) -> Result<T>,
) -> Result<T> {
    // A directory that is the walk's root matters to absolute paths, too.
    let base = match resolve.intersects(Resolve::SCOPED) && dir != raw::AT_FDCWD {
        true => Some(current.files.get(dir as u32)?),
        false => base(current, dir, path)?,
    };
    let caller = current.caller();
    let walk = Walk::new(&caller, &current.fs, base.as_deref()).restricted(resolve);
    act(&walk, path)
}

/// What the path leads to, by AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH in `flags`.
pub fn resolve(current: &Current, dir: i32, path: UserStr, flags: u32) -> Result<Location> {
    let path = path.read_path()?;
    if path.is_empty() && flags & raw::AT_EMPTY_PATH != 0 {
        return place(current, dir);
    }
    let follow = if flags & raw::AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
    at_path(current, dir, &path, Resolve::empty(), |walk, path| walk.resolve(path, follow))
}

/// What is open as `fd`, as a place in the tree; the current directory for AT_FDCWD. EBADF.
pub fn place(current: &Current, fd: i32) -> Result<Location> {
    if fd == raw::AT_FDCWD {
        return Ok(current.fs.cwd());
    }
    Ok(current.files.get(fd as u32)?.location())
}

/// EINVAL if `flags` has a bit that `allowed` has not.
pub fn check_flags(flags: u32, allowed: u32) -> Result<()> {
    if flags & !allowed == 0 { Ok(()) } else { Err(Errno::EINVAL.into()) }
}
