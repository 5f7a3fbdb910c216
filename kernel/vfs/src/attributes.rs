//! What system calls do to attributes: chmod, chown, utimensat, truncate, access.

use crate::clock;
use crate::file::Caller;
use crate::inode::{Attributes, FileType};
use crate::mount::{Location, MountFlags};
use crate::permission::{self, Access, SET_GID, SET_UID};
use crate::writers::Beginning;
use base::{Capability, Credentials, Errno, Result, Timespec};

/// chmod(2). EPERM unless the caller owns the file; EROFS; EOPNOTSUPP for a symbolic link.
pub fn chmod(caller: &Caller, at: &Location, mode: u32) -> Result<()> {
    at.check_writable()?;
    let file = at.inode().ownership();
    if file.kind == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if !permission::is_owner(caller.cred, &file) {
        return Err(Errno::EPERM.into());
    }
    let mut mode = mode & 0o7777;
    if !caller.cred.in_group(file.gid) && !caller.cred.has(Capability::Fsetid) {
        mode &= !SET_GID;
    }
    at.inode().set_attributes(&Attributes { mode: Some(mode), ..Attributes::default() })
}

/// chown(2): `None` leaves as is. EPERM, EROFS. Takes set-user-ID and set-group-ID from what is not a directory.
pub fn chown(caller: &Caller, at: &Location, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    at.check_writable()?;
    let cred = caller.cred;
    let file = at.inode().ownership();
    let owns = cred.fsuid == file.uid;
    let uid_allowed = uid.is_none_or(|uid| owns && uid == file.uid);
    let gid_allowed = gid.is_none_or(|gid| owns && (gid == file.gid || cred.in_group(gid)));
    if !(cred.has(Capability::Chown) || uid_allowed && gid_allowed) {
        return Err(Errno::EPERM.into());
    }
    let mode = (file.kind != FileType::Directory).then(|| without_set_id(file.mode)).filter(|mode| *mode != file.mode);
    at.inode().set_attributes(&Attributes { uid, gid, mode, ..Attributes::default() })
}

/// `mode` after a write or chown by somebody unprivileged: a set-group-ID bit without group execute means something else.
fn without_set_id(mode: u32) -> u32 {
    let mode = mode & !SET_UID;
    if mode & 0o010 != 0 { mode & !SET_GID } else { mode }
}

/// A write or truncate by a caller without CAP_FSETID takes the set-user-ID and set-group-ID bits.
pub fn strip_set_id(caller: &Caller, at: &Location) -> Result<()> {
    let file = at.inode().ownership();
    let mode = without_set_id(file.mode);
    if mode == file.mode || file.kind != FileType::Regular || caller.cred.has(Capability::Fsetid) {
        return Ok(());
    }
    at.inode().set_attributes(&Attributes { mode: Some(mode), ..Attributes::default() })
}

/// A time for utimensat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// UTIME_OMIT.
    Omit,
    /// UTIME_NOW.
    Now,
    /// This time.
    At(Timespec),
}

/// utimensat(2). Writers may set both times to now (EACCES otherwise); everything else is the owner's (EPERM).
pub fn set_times(caller: &Caller, at: &Location, atime: SetTime, mtime: SetTime) -> Result<()> {
    if (atime, mtime) == (SetTime::Omit, SetTime::Omit) {
        return Ok(());
    }
    at.check_writable()?;
    let file = at.inode().ownership();
    if !permission::is_owner(caller.cred, &file) {
        if (atime, mtime) != (SetTime::Now, SetTime::Now) {
            return Err(Errno::EPERM.into());
        }
        permission::check(caller.cred, &file, Access::WRITE)?;
    }
    let now = clock::now();
    let time = |time| match time {
        SetTime::Omit => None,
        SetTime::Now => Some(now),
        SetTime::At(time) => Some(time),
    };
    at.inode().set_attributes(&Attributes { atime: time(atime), mtime: time(mtime), ..Attributes::default() })
}

/// truncate(2): EISDIR, EINVAL, EACCES, EROFS, ETXTBSY, and what the inode gives.
pub fn truncate(caller: &Caller, at: &Location, size: i64) -> Result<()> {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    match at.inode().kind() {
        FileType::Directory => return Err(Errno::EISDIR.into()),
        FileType::Regular => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    at.check_writable()?;
    permission::check_inode(caller.cred, &**at.inode(), Access::WRITE)?;
    let _writing = Beginning::new(at.inode().writers())?;
    strip_set_id(caller, at)?;
    at.inode().truncate(size)
}

/// access(2), faccessat2(2). `cred` has the real ids as its file-system ids unless AT_EACCESS is given
/// ([`real_ids`]). EROFS for writing to a read-only mount, EACCES.
pub fn access(cred: &Credentials, at: &Location, wanted: Access) -> Result<()> {
    let file = at.inode().ownership();
    let flags = at.mount.flags();
    if wanted.contains(Access::EXEC) && file.kind == FileType::Regular && flags.contains(MountFlags::NOEXEC) {
        return Err(Errno::EACCES.into());
    }
    permission::check(cred, &file, wanted)?;
    let content = matches!(file.kind, FileType::Regular | FileType::Directory | FileType::Symlink);
    if wanted.contains(Access::WRITE) && content {
        at.check_writable()?;
    }
    Ok(())
}

/// The credentials that access(2) checks by: the real ids, and capabilities only for a real root.
pub fn real_ids(cred: &Credentials) -> Credentials {
    let mut real = cred.clone();
    real.fsuid = cred.uid;
    real.fsgid = cred.gid;
    real.effective = if cred.uid == 0 { cred.permitted } else { 0 };
    real
}
