//! A file's size and position, and getting it to where it lasts: lseek(2), truncate(2), fallocate(2), fsync(2).
//!
//! Where a file loses pages that programs map, the pages are taken from these afterwards, which waits. The half that
//! does not wait therefore leaves such files to the other half before it has done anything.

use crate::args::Args;
use crate::fault;
use crate::paths::{check_flags, opened};
use crate::table::{Calls, fast, slow};
use crate::transfer::too_large;
use crate::wait::Slow;
use arch::addr::PAGE_SIZE;
use base::{Errno, Error, Result};
use linux_raw_sys::general as raw;
use memory::user::UserStr;
use process::Current;
use process::limits::Resource;
use vfs::description::Whence;
use vfs::inode::unmap_beyond;
use vfs::path::Follow;
use vfs::{Description, FileType, Location, attributes};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_lseek, fast!(lseek)),
    (raw::__NR_fsync, fast!(fsync)),
    (raw::__NR_fdatasync, fast!(fdatasync)),
    (raw::__NR_sync, fast!(sync)),
    (raw::__NR_syncfs, fast!(syncfs)),
    (raw::__NR_sync_file_range, fast!(sync_file_range)),
    (raw::__NR_fadvise64, fast!(fadvise)),
    (raw::__NR_readahead, fast!(readahead)),
    (raw::__NR_truncate, slow!(truncate, Slow::Truncate)),
    (raw::__NR_ftruncate, slow!(ftruncate, Slow::Ftruncate)),
    (raw::__NR_fallocate, slow!(fallocate, Slow::Fallocate)),
];

fn lseek(current: &mut Current, args: &Args) -> Result<usize> {
    let file = current.files.get(args.uint(0))?;
    let whence = Whence::from_raw(args.uint(2)).ok_or(Errno::EINVAL)?;
    file.seek(args.long(1), whence).map(|position| position as usize)
}

fn fsync(current: &mut Current, args: &Args) -> Result<usize> {
    opened(current, args, 0)?.file().sync(false).map(|()| 0)
}

fn fdatasync(current: &mut Current, args: &Args) -> Result<usize> {
    opened(current, args, 0)?.file().sync(true).map(|()| 0)
}

/// sync(2). Every file system lives in memory: what is written is as safe as it gets.
fn sync(_: &mut Current, _: &Args) -> Result<usize> {
    Ok(0)
}

fn syncfs(current: &mut Current, args: &Args) -> Result<usize> {
    opened(current, args, 0).map(|_| 0)
}

fn sync_file_range(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    check_flags(args.uint(3), 7)?;
    let (offset, len) = (args.long(1), args.long(2));
    if offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL.into());
    }
    match file.metadata().kind {
        FileType::Regular | FileType::BlockDevice | FileType::Directory | FileType::Symlink => Ok(0),
        _ => Err(Errno::ESPIPE.into()),
    }
}

/// posix_fadvise(2). Files are in memory already, so the advice is checked and there is nothing to do about it.
fn fadvise(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    if file.metadata().kind == FileType::Fifo {
        return Err(Errno::ESPIPE.into());
    }
    let known = args.uint(3) <= raw::POSIX_FADV_NOREUSE;
    if known && args.long(2) >= 0 { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

fn readahead(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    file.check_readable()?;
    match file.metadata().kind {
        FileType::Regular | FileType::BlockDevice => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn is_mapped(at: &Location) -> bool {
    at.inode().mappings().is_some_and(|mappings| !mappings.is_empty())
}

/// RLIMIT_FSIZE for a file that is to be `size` bytes long.
fn check_size(current: &Current, at: &Location, size: i64) -> Result<()> {
    let limit = current.thread.limit(Resource::Fsize);
    if size > 0 && size as u64 > limit && at.inode().metadata().size < size as u64 {
        return Err(too_large(current, 0));
    }
    Ok(())
}

fn truncate_at(current: &Current, at: &Location, size: i64) -> Result<()> {
    check_size(current, at, size)?;
    attributes::truncate(&current.caller(), at, size)
}

fn named(current: &Current, args: &Args) -> Result<Location> {
    let path: UserStr = args.str(0);
    crate::paths::at(current, raw::AT_FDCWD, path, |walk, path| walk.resolve(path, Follow::Yes))
}

fn truncate(current: &mut Current, args: &Args) -> Result<usize> {
    let at = named(current, args)?;
    if is_mapped(&at) {
        return Err(Error::WouldBlock);
    }
    truncate_at(current, &at, args.long(1)).map(|()| 0)
}

/// truncate(2) of a file that programs map.
pub async fn finish_truncate(current: &mut Current, args: &Args) -> Result<usize> {
    let at = loop {
        match named(current, args) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    let size = args.long(1);
    truncate_at(current, &at, size)?;
    unmap_beyond(&**at.inode(), size as u64).await;
    Ok(0)
}

/// The file that ftruncate(2) cuts. EBADF, EINVAL (not a regular file open for writing).
fn cuttable(file: &Description, size: i64) -> Result<Location> {
    if size < 0 || !file.flags().writable() {
        return Err(Errno::EINVAL.into());
    }
    let at = file.location();
    if at.inode().kind() == FileType::Regular { Ok(at) } else { Err(Errno::EINVAL.into()) }
}

fn cut(current: &Current, at: &Location, size: i64) -> Result<()> {
    check_size(current, at, size)?;
    attributes::strip_set_id(&current.caller(), at)?;
    at.inode().truncate(size as u64)
}

fn ftruncate(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let at = cuttable(&file, args.long(1))?;
    if is_mapped(&at) {
        return Err(Error::WouldBlock);
    }
    cut(current, &at, args.long(1)).map(|()| 0)
}

/// ftruncate(2) of a file that programs map.
pub async fn finish_ftruncate(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let size = args.long(1);
    let at = cuttable(&file, size)?;
    cut(current, &at, size)?;
    unmap_beyond(&**at.inode(), size as u64).await;
    Ok(0)
}

/// Checks fallocate(2)'s arguments, and does it.
fn allocate(current: &Current, file: &Description, args: &Args) -> Result<()> {
    let (mode, offset, len) = (args.uint(1), args.long(2), args.long(3));
    file.check_writable()?;
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    let kind = file.metadata().kind;
    if kind == FileType::Regular && mode & (raw::FALLOC_FL_KEEP_SIZE | raw::FALLOC_FL_PUNCH_HOLE) == 0 {
        let limit = current.thread.limit(Resource::Fsize);
        if end as u64 > limit {
            return Err(too_large(current, 0));
        }
    }
    file.file().fallocate(mode, offset as u64, len as u64)
}

fn fallocate(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    if args.long(2) < 0 || args.long(3) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let takes_pages = args.uint(1) & !raw::FALLOC_FL_KEEP_SIZE != 0;
    if takes_pages && file.file().mappings().is_some_and(|mappings| !mappings.is_empty()) {
        return Err(Error::WouldBlock);
    }
    allocate(current, &file, args).map(|()| 0)
}

/// fallocate(2) that takes pages from a file that programs map.
pub async fn finish_fallocate(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    allocate(current, &file, args)?;
    let (offset, len) = (args.long(2) as u64, args.long(3) as u64);
    let (first, last) = (offset / PAGE_SIZE as u64, (offset + len).div_ceil(PAGE_SIZE as u64));
    // What moves the content behind the range leaves no page where it was.
    let moves = args.uint(1) & (raw::FALLOC_FL_COLLAPSE_RANGE | raw::FALLOC_FL_INSERT_RANGE) != 0;
    if let Some(mappings) = file.file().mappings() {
        mappings.unmap(first, if moves { u64::MAX } else { last }, false).await;
    }
    Ok(0)
}
