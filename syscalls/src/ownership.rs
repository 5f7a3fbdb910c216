//! Modes, owners and times of files, and asking for access.

use crate::args::Args;
use crate::paths::{check_flags, opened, place, resolve};
use crate::table::{Calls, fast};
use base::{Errno, Result, Timespec};
use linux_raw_sys::general as raw;
use memory::user::UserStr;
use process::Current;
use vfs::attributes::{self, SetTime};
use vfs::permission::Access;
use vfs::{Caller, Location};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_faccessat, fast!(faccessat)),
    (raw::__NR_faccessat2, fast!(faccessat2)),
    (raw::__NR_fchmod, fast!(fchmod)),
    (raw::__NR_fchmodat, fast!(fchmodat)),
    (raw::__NR_fchmodat2, fast!(fchmodat2)),
    (raw::__NR_fchown, fast!(fchown)),
    (raw::__NR_fchownat, fast!(fchownat)),
    (raw::__NR_utimensat, fast!(utimensat)),
];

const HERE: i32 = raw::AT_FDCWD;

fn check_access(current: &Current, dir: i32, path: UserStr, mode: u32, flags: u32) -> Result<usize> {
    check_flags(flags, raw::AT_EACCESS | raw::AT_SYMLINK_NOFOLLOW | raw::AT_EMPTY_PATH)?;
    let wanted = Access::from_bits(mode).ok_or(Errno::EINVAL)?;
    let path = path.read_path()?;
    let check = |caller: &Caller| {
        let at = if path.is_empty() && flags & raw::AT_EMPTY_PATH != 0 {
            place(current, dir)?
        } else {
            find(current, caller, dir, &path, flags)?
        };
        attributes::access(caller.cred, &at, wanted)
    };
    let caller = current.caller();
    let effective = flags & raw::AT_EACCESS != 0;
    let same = current.cred.uid == current.cred.fsuid && current.cred.gid == current.cred.fsgid;
    if effective || same && current.cred.uid != 0 && current.cred.effective == 0 {
        check(&caller)?;
    } else {
        let real = attributes::real_ids(&current.cred);
        check(&Caller { cred: &real, ..caller })?;
    }
    Ok(0)
}

/// The path is walked with the identity that is asked about.
fn find(current: &Current, caller: &Caller, dir: i32, path: &[u8], flags: u32) -> Result<Location> {
    use vfs::path::{Follow, Resolve, Walk};
    let follow = if flags & raw::AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
    crate::paths::at_path(current, dir, path, Resolve::empty(), |walk, path| {
        Walk { caller, root: walk.root.clone(), start: walk.start.clone(), resolve: walk.resolve }.resolve(path, follow)
    })
}

fn faccessat(current: &mut Current, args: &Args) -> Result<usize> {
    check_access(current, args.int(0), args.str(1), args.uint(2), 0)
}

fn faccessat2(current: &mut Current, args: &Args) -> Result<usize> {
    check_access(current, args.int(0), args.str(1), args.uint(2), args.uint(3))
}

/// access(2).
pub fn access(current: &mut Current, args: &Args) -> Result<usize> {
    check_access(current, HERE, args.str(0), args.uint(1), 0)
}

fn change_mode(current: &Current, at: &Location, mode: u32) -> Result<usize> {
    attributes::chmod(&current.caller(), at, mode).map(|()| 0)
}

fn fchmod(current: &mut Current, args: &Args) -> Result<usize> {
    let at = opened(current, args, 0)?.location();
    change_mode(current, &at, args.uint(1))
}

fn fchmodat(current: &mut Current, args: &Args) -> Result<usize> {
    let at = resolve(current, args.int(0), args.str(1), 0)?;
    change_mode(current, &at, args.uint(2))
}

fn fchmodat2(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(3);
    check_flags(flags, raw::AT_SYMLINK_NOFOLLOW | raw::AT_EMPTY_PATH)?;
    let at = resolve(current, args.int(0), args.str(1), flags)?;
    change_mode(current, &at, args.uint(2))
}

/// chmod(2).
pub fn chmod(current: &mut Current, args: &Args) -> Result<usize> {
    let at = resolve(current, HERE, args.str(0), 0)?;
    change_mode(current, &at, args.uint(1))
}

/// -1 leaves an id as it is.
fn id(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

fn change_owner(current: &Current, at: &Location, uid: u32, gid: u32) -> Result<usize> {
    attributes::chown(&current.caller(), at, id(uid), id(gid)).map(|()| 0)
}

fn fchown(current: &mut Current, args: &Args) -> Result<usize> {
    let at = opened(current, args, 0)?.location();
    change_owner(current, &at, args.uint(1), args.uint(2))
}

fn fchownat(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(4);
    check_flags(flags, raw::AT_SYMLINK_NOFOLLOW | raw::AT_EMPTY_PATH)?;
    let at = resolve(current, args.int(0), args.str(1), flags)?;
    change_owner(current, &at, args.uint(2), args.uint(3))
}

/// chown(2).
pub fn chown(current: &mut Current, args: &Args) -> Result<usize> {
    let at = resolve(current, HERE, args.str(0), 0)?;
    change_owner(current, &at, args.uint(1), args.uint(2))
}

/// lchown(2).
pub fn lchown(current: &mut Current, args: &Args) -> Result<usize> {
    let at = resolve(current, HERE, args.str(0), raw::AT_SYMLINK_NOFOLLOW)?;
    change_owner(current, &at, args.uint(1), args.uint(2))
}

fn time([sec, nsec]: [i64; 2]) -> Result<SetTime> {
    const SECOND: i64 = 1_000_000_000;
    Ok(match u32::try_from(nsec) {
        Ok(raw::UTIME_NOW) => SetTime::Now,
        Ok(raw::UTIME_OMIT) => SetTime::Omit,
        _ if (0..SECOND).contains(&nsec) => SetTime::At(Timespec { sec, nsec }),
        _ => return Err(Errno::EINVAL.into()),
    })
}

fn set_times(current: &Current, at: &Location, [atime, mtime]: [SetTime; 2]) -> Result<usize> {
    attributes::set_times(&current.caller(), at, atime, mtime).map(|()| 0)
}

fn utimensat(current: &mut Current, args: &Args) -> Result<usize> {
    let (dir, path, flags) = (args.int(0), args.str(1), args.uint(3));
    let times = args.ptr::<[[i64; 2]; 2]>(2);
    let times = if times.is_null() {
        [SetTime::Now; 2]
    } else {
        let [atime, mtime] = times.read()?;
        [time(atime)?, time(mtime)?]
    };
    if times == [SetTime::Omit; 2] {
        return Ok(0);
    }
    check_flags(flags, raw::AT_SYMLINK_NOFOLLOW | raw::AT_EMPTY_PATH)?;
    if path.is_null() && dir != HERE {
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        let at = opened(current, args, 0)?.location();
        return set_times(current, &at, times);
    }
    let at = resolve(current, dir, path, flags)?;
    set_times(current, &at, times)
}

/// A `struct timeval`.
fn micros([sec, micros]: [i64; 2]) -> Result<SetTime> {
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno::EINVAL.into());
    }
    Ok(SetTime::At(Timespec { sec, nsec: micros * 1000 }))
}

/// utime(2).
pub fn utime(current: &mut Current, args: &Args) -> Result<usize> {
    let times = args.ptr::<[i64; 2]>(1);
    let times = if times.is_null() {
        [SetTime::Now; 2]
    } else {
        times.read()?.map(|sec| SetTime::At(Timespec { sec, nsec: 0 }))
    };
    let at = resolve(current, HERE, args.str(0), 0)?;
    set_times(current, &at, times)
}

/// utimes(2).
pub fn utimes(current: &mut Current, args: &Args) -> Result<usize> {
    let at = |current: &Current| resolve(current, HERE, args.str(0), 0);
    set_times_micros(current, args, 1, at)
}

/// futimesat(2).
pub fn futimesat(current: &mut Current, args: &Args) -> Result<usize> {
    let path = args.str(1);
    let at = |current: &Current| match path.is_null() {
        true => place(current, args.int(0)),
        false => resolve(current, args.int(0), path, 0),
    };
    set_times_micros(current, args, 2, at)
}

fn set_times_micros(
    current: &Current,
    args: &Args,
    i: usize,
    at: impl FnOnce(&Current) -> Result<Location>,
) -> Result<usize> {
    let times = args.ptr::<[[i64; 2]; 2]>(i);
    let times = if times.is_null() {
        [SetTime::Now; 2]
    } else {
        let [atime, mtime] = times.read()?;
        [micros(atime)?, micros(mtime)?]
    };
    set_times(current, &at(current)?, times)
}
