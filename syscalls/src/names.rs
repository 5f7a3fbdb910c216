//! Names: making, removing and moving them, reading links and directories, and where a process stands in the tree.

use crate::args::Args;
use crate::paths::{at, check_flags, file, opened, place, resolve};
use crate::table::{Calls, fast};
use alloc::vec::Vec;
use base::{Capability, Errno, Error, Result};
use linux_raw_sys::general as raw;
use memory::user::{PATH_MAX, UserPtr, UserStr};
use process::Current;
use vfs::inode::{Entry, NewKind, RenameMode};
use vfs::names;
use vfs::path::{Follow, Resolve, Walk};
use vfs::permission::{self, Access};
use vfs::{Device, FileType, Location};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_mkdirat, fast!(mkdirat)),
    (raw::__NR_mknodat, fast!(mknodat)),
    (raw::__NR_unlinkat, fast!(unlinkat)),
    (raw::__NR_renameat, fast!(renameat)),
    (raw::__NR_renameat2, fast!(renameat2)),
    (raw::__NR_linkat, fast!(linkat)),
    (raw::__NR_symlinkat, fast!(symlinkat)),
    (raw::__NR_readlinkat, fast!(readlinkat)),
    (raw::__NR_chdir, fast!(chdir)),
    (raw::__NR_fchdir, fast!(fchdir)),
    (raw::__NR_chroot, fast!(chroot)),
    (raw::__NR_getcwd, fast!(getcwd)),
    (raw::__NR_getdents64, fast!(getdents64)),
    (raw::__NR_umask, fast!(umask)),
];

const HERE: i32 = raw::AT_FDCWD;

fn make_directory(current: &Current, dir: i32, path: UserStr, mode: u32) -> Result<usize> {
    let mode = mode & 0o1777 & !current.fs.umask();
    at(current, dir, path, |walk, path| names::create(walk, path, NewKind::Directory, mode))?;
    Ok(0)
}

fn mkdirat(current: &mut Current, args: &Args) -> Result<usize> {
    make_directory(current, args.int(0), args.str(1), args.uint(2))
}

/// mkdir(2).
pub fn mkdir(current: &mut Current, args: &Args) -> Result<usize> {
    make_directory(current, HERE, args.str(0), args.uint(1))
}

fn make_node(current: &Current, dir: i32, path: UserStr, mode: u32, device: u64) -> Result<usize> {
    let device = Device::decode(device);
    let kind = match FileType::from_mode(mode) {
        None if mode & 0o170_000 == 0 => NewKind::Regular,
        Some(FileType::Regular) => NewKind::Regular,
        Some(FileType::Fifo) => NewKind::Fifo,
        Some(FileType::Socket) => NewKind::Socket(None),
        Some(FileType::CharDevice) => NewKind::CharDevice(device),
        Some(FileType::BlockDevice) => NewKind::BlockDevice(device),
        Some(FileType::Directory) => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let mode = mode & 0o7777 & !current.fs.umask();
    at(current, dir, path, |walk, path| names::create(walk, path, kind, mode))?;
    Ok(0)
}

fn mknodat(current: &mut Current, args: &Args) -> Result<usize> {
    make_node(current, args.int(0), args.str(1), args.uint(2), args.uint(3).into())
}

/// mknod(2).
pub fn mknod(current: &mut Current, args: &Args) -> Result<usize> {
    make_node(current, HERE, args.str(0), args.uint(1), args.uint(2).into())
}

fn unlinkat(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(2);
    check_flags(flags, raw::AT_REMOVEDIR)?;
    let remove = if flags != 0 { names::rmdir } else { names::unlink };
    at(current, args.int(0), args.str(1), remove)?;
    Ok(0)
}

/// unlink(2).
pub fn unlink(current: &mut Current, args: &Args) -> Result<usize> {
    at(current, HERE, args.str(0), names::unlink)?;
    Ok(0)
}

/// rmdir(2).
pub fn rmdir(current: &mut Current, args: &Args) -> Result<usize> {
    at(current, HERE, args.str(0), names::rmdir)?;
    Ok(0)
}

fn move_name(current: &Current, from: (i32, UserStr), to: (i32, UserStr), mode: RenameMode) -> Result<usize> {
    let new = to.1.read_path()?;
    at(current, from.0, from.1, |from, old| {
        crate::paths::at_path(current, to.0, &new, Resolve::empty(), |to, new| names::rename(from, old, to, new, mode))
    })?;
    Ok(0)
}

/// rename(2).
pub fn rename(current: &mut Current, args: &Args) -> Result<usize> {
    move_name(current, (HERE, args.str(0)), (HERE, args.str(1)), RenameMode::Replace)
}

fn renameat(current: &mut Current, args: &Args) -> Result<usize> {
    move_name(current, (args.int(0), args.str(1)), (args.int(2), args.str(3)), RenameMode::Replace)
}

/// RENAME_WHITEOUT is for file systems that have whiteouts: EINVAL.
fn renameat2(current: &mut Current, args: &Args) -> Result<usize> {
    let mode = match args.uint(4) {
        0 => RenameMode::Replace,
        raw::RENAME_NOREPLACE => RenameMode::NoReplace,
        raw::RENAME_EXCHANGE => RenameMode::Exchange,
        _ => return Err(Errno::EINVAL.into()),
    };
    move_name(current, (args.int(0), args.str(1)), (args.int(2), args.str(3)), mode)
}

fn make_link(current: &Current, from: (i32, UserStr), to: (i32, UserStr), flags: u32) -> Result<usize> {
    check_flags(flags, raw::AT_SYMLINK_FOLLOW | raw::AT_EMPTY_PATH)?;
    if flags & raw::AT_EMPTY_PATH != 0 && !current.cred.has(Capability::DacReadSearch) {
        return Err(Errno::ENOENT.into());
    }
    let follow = if flags & raw::AT_SYMLINK_FOLLOW != 0 { 0 } else { raw::AT_SYMLINK_NOFOLLOW };
    let old = resolve(current, from.0, from.1, follow | flags & raw::AT_EMPTY_PATH)?;
    at(current, to.0, to.1, |walk, path| names::link(walk, &old, path))?;
    Ok(0)
}

fn linkat(current: &mut Current, args: &Args) -> Result<usize> {
    make_link(current, (args.int(0), args.str(1)), (args.int(2), args.str(3)), args.uint(4))
}

/// link(2).
pub fn link(current: &mut Current, args: &Args) -> Result<usize> {
    make_link(current, (HERE, args.str(0)), (HERE, args.str(1)), 0)
}

fn make_symlink(current: &Current, target: UserStr, dir: i32, path: UserStr) -> Result<usize> {
    let target = target.read_path()?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    at(current, dir, path, |walk, path| names::create(walk, path, NewKind::Symlink(&target), 0o777))?;
    Ok(0)
}

fn symlinkat(current: &mut Current, args: &Args) -> Result<usize> {
    make_symlink(current, args.str(0), args.int(1), args.str(2))
}

/// symlink(2).
pub fn symlink(current: &mut Current, args: &Args) -> Result<usize> {
    make_symlink(current, args.str(0), HERE, args.str(1))
}

fn read_link(current: &Current, dir: i32, path: UserStr, out: UserPtr<u8>, len: i32) -> Result<usize> {
    let len = usize::try_from(len).ok().filter(|len| *len > 0).ok_or(Errno::EINVAL)?;
    let path = path.read_path()?;
    let text = if path.is_empty() && dir != HERE {
        // A link opened with O_PATH and O_NOFOLLOW.
        let link = place(current, dir)?;
        if link.inode().kind() != FileType::Symlink {
            return Err(Errno::ENOENT.into());
        }
        let caller = current.caller();
        names::readlink(&Walk::new(&caller, &current.fs, None), &link)?
    } else {
        crate::paths::at_path(current, dir, &path, Resolve::empty(), |walk, path| {
            names::readlink(walk, &walk.resolve(path, Follow::No)?)
        })?
    };
    let n = text.len().min(len);
    out.write_slice(&text[..n])?;
    Ok(n)
}

fn readlinkat(current: &mut Current, args: &Args) -> Result<usize> {
    read_link(current, args.int(0), args.str(1), args.ptr(2), args.int(3))
}

/// readlink(2).
pub fn readlink(current: &mut Current, args: &Args) -> Result<usize> {
    read_link(current, HERE, args.str(0), args.ptr(1), args.int(2))
}

/// ENOTDIR, EACCES for what is to be stood in.
fn check_enter(current: &Current, at: &Location) -> Result<()> {
    let inode = at.inode().ownership();
    if inode.kind != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    permission::check(&current.cred, &inode, Access::EXEC)
}

fn chdir(current: &mut Current, args: &Args) -> Result<usize> {
    let to = resolve(current, HERE, args.str(0), 0)?;
    check_enter(current, &to)?;
    current.fs.set_cwd(to);
    Ok(0)
}

fn fchdir(current: &mut Current, args: &Args) -> Result<usize> {
    let to = file(current, args, 0)?.location();
    check_enter(current, &to)?;
    current.fs.set_cwd(to);
    Ok(0)
}

fn chroot(current: &mut Current, args: &Args) -> Result<usize> {
    let to = resolve(current, HERE, args.str(0), 0)?;
    check_enter(current, &to)?;
    if !current.cred.has(Capability::SysChroot) {
        return Err(Errno::EPERM.into());
    }
    current.fs.set_root(to);
    Ok(0)
}

/// getcwd(2): the length with the zero byte. ENOENT for a removed directory, ERANGE.
fn getcwd(current: &mut Current, args: &Args) -> Result<usize> {
    let (root, cwd) = current.fs.root_and_cwd();
    if cwd.dentry.is_deleted() {
        return Err(Errno::ENOENT.into());
    }
    let (mut path, reached) = cwd.path(&root);
    if !reached {
        path.splice(0..0, *b"(unreachable)");
    }
    path.push(0);
    if path.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if path.len() > args.size(1) {
        return Err(Errno::ERANGE.into());
    }
    args.ptr::<u8>(0).write_slice(&path)?;
    Ok(path.len())
}

fn umask(current: &mut Current, args: &Args) -> Result<usize> {
    Ok(current.fs.set_umask(args.uint(0)) as usize)
}

/// The most bytes of entries that one call gives.
const MOST_ENTRIES: usize = 32 << 10;

/// How a directory entry is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `struct linux_dirent64`: the type before the name.
    Wide,
    /// `struct linux_dirent`: the type in the last byte.
    Old,
}

impl Layout {
    /// Adds `entry` unless it would be more than `limit` bytes in all, or more than there is memory for.
    fn put(self, out: &mut Vec<u8>, entry: &Entry, limit: usize) -> bool {
        let head = if self == Layout::Wide { 19 } else { 18 };
        let tail = if self == Layout::Wide { 1 } else { 2 };
        let len = (head + entry.name.len() + tail).next_multiple_of(8);
        let end = out.len() + len;
        if end > limit || out.try_reserve(len).is_err() {
            return false;
        }
        out.extend_from_slice(&entry.ino.to_ne_bytes());
        out.extend_from_slice(&entry.next.to_ne_bytes());
        out.extend_from_slice(&(len as u16).to_ne_bytes());
        if self == Layout::Wide {
            out.push(entry.kind.dirent());
        }
        out.extend_from_slice(entry.name);
        out.resize(end, 0);
        if self == Layout::Old {
            out[end - 1] = entry.kind.dirent();
        }
        true
    }
}

/// The position moves with the entries that are read; it goes back where they cannot be stored.
fn read_entries(current: &Current, args: &Args, layout: Layout) -> Result<usize> {
    let directory = opened(current, args, 0)?;
    let (out, limit) = (args.ptr::<u8>(1), args.size(2).min(MOST_ENTRIES));
    let caller = crate::paths::caller(current, &directory);
    let before = directory.position();
    let mut entries = Vec::new();
    let mut full = false;
    directory.readdir(&caller, &mut |entry| {
        full = !layout.put(&mut entries, &entry, limit);
        !full
    })?;
    if entries.is_empty() && full {
        return Err(Errno::EINVAL.into());
    }
    if let Err(page) = out.write_slice(&entries) {
        directory.seek(before as i64, vfs::description::Whence::Start)?;
        return Err(Error::Fault(page));
    }
    Ok(entries.len())
}

fn getdents64(current: &mut Current, args: &Args) -> Result<usize> {
    read_entries(current, args, Layout::Wide)
}

/// getdents(2).
pub fn getdents(current: &mut Current, args: &Args) -> Result<usize> {
    read_entries(current, args, Layout::Old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8]) -> Entry<'_> {
        Entry { name, ino: 5, kind: FileType::Regular, next: 9 }
    }

    #[test]
    fn entries_are_padded_to_eight_bytes_and_end_with_a_zero() {
        let mut out = Vec::new();
        assert!(Layout::Wide.put(&mut out, &entry(b"hello"), 100));
        assert_eq!(out.len(), 32);
        assert_eq!(&out[16..26], &[32, 0, 8, b'h', b'e', b'l', b'l', b'o', 0, 0]);
        assert!(!Layout::Wide.put(&mut out, &entry(b"x"), 55));
        assert!(Layout::Wide.put(&mut out, &entry(b"x"), 56));
    }

    #[test]
    fn the_old_layout_has_the_type_in_its_last_byte() {
        let mut out = Vec::new();
        assert!(Layout::Old.put(&mut out, &entry(b"abcd"), 24));
        assert_eq!((out.len(), out[22], out[23]), (24, 0, 8));
    }
}
