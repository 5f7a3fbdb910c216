//! What system calls do to names: mkdir, mknod, symlink, link, unlink, rmdir, rename. Errors are checked in Linux's order.

use crate::file::Caller;
use crate::inode::{FileType, NewInode, NewKind, RenameMode};
use crate::mount::{Location, MountFlags};
use crate::path::{Follow, LastKind, Parent, Walk};
use crate::permission::{self, Access, SET_GID};
use alloc::sync::Arc;
use base::{Capability, Errno, Error, Result};

/// What a new file in `dir` looks like: `mode` is final apart from what a set-group-ID directory changes.
pub fn new_inode<'k>(caller: &Caller, dir: &Location, kind: NewKind<'k>, mode: u32) -> NewInode<'k> {
    let owner = dir.inode().ownership();
    let mut new = NewInode { kind, mode: mode & 0o7777, uid: caller.cred.fsuid, gid: caller.cred.fsgid };
    if owner.mode & SET_GID != 0 {
        new.gid = owner.gid;
        if matches!(kind, NewKind::Directory) {
            new.mode |= SET_GID;
        } else if new.mode & 0o2010 == 0o2010 && !caller.cred.in_group(new.gid) && !caller.cred.has(Capability::Fsetid)
        {
            new.mode &= !SET_GID;
        }
    }
    new
}

/// Creates the last component of `path`. EEXIST, EROFS, EACCES, ENOENT (removed directory, or a slash behind the
/// name of what is to be no directory), EPERM (a device without CAP_MKNOD).
pub fn create(walk: &Walk, path: &[u8], kind: NewKind, mode: u32) -> Result<Location> {
    let parent = walk.parent(path)?;
    let name = new_name(walk, &parent, matches!(kind, NewKind::Directory))?;
    let caller = walk.caller;
    check_add(caller, &parent.dir)?;
    if matches!(kind, NewKind::CharDevice(_) | NewKind::BlockDevice(_)) && !caller.cred.has(Capability::Mknod) {
        return Err(Errno::EPERM.into());
    }
    let new = new_inode(caller, &parent.dir, kind, mode);
    let dentry = parent.dir.dentry.create(caller, name, &new)?;
    Ok(Location { mount: parent.dir.mount.clone(), dentry })
}

/// The name to create: EEXIST if there is something already.
fn new_name<'a>(walk: &Walk, parent: &'a Parent, directory: bool) -> Result<&'a [u8]> {
    if parent.last().kind != LastKind::Name {
        return Err(Errno::EEXIST.into());
    }
    match parent.dir.dentry.lookup(walk.caller, parent.name()) {
        Ok(_) => Err(Errno::EEXIST.into()),
        Err(Error::Errno(Errno::ENOENT)) if parent.last().slash && !directory => Err(Errno::ENOENT.into()),
        Err(Error::Errno(Errno::ENOENT)) => {
            parent.dir.check_writable()?;
            Ok(parent.name())
        }
        Err(error) => Err(error),
    }
}

/// ENOENT in a removed directory, EACCES without permission to add to `dir`.
pub(crate) fn check_add(caller: &Caller, dir: &Location) -> Result<()> {
    if dir.dentry.is_deleted() {
        return Err(Errno::ENOENT.into());
    }
    permission::check_inode(caller.cred, &**dir.inode(), Access::WRITE | Access::EXEC)
}

/// link(2), linkat(2): makes `path` a name of `old`. EXDEV, EPERM (a directory), EEXIST.
pub fn link(walk: &Walk, old: &Location, path: &[u8]) -> Result<()> {
    let parent = walk.parent(path)?;
    let name = new_name(walk, &parent, false)?;
    if !Arc::ptr_eq(&old.mount, &parent.dir.mount) {
        return Err(Errno::EXDEV.into());
    }
    check_add(walk.caller, &parent.dir)?;
    if old.inode().kind() == FileType::Directory {
        return Err(Errno::EPERM.into());
    }
    parent.dir.dentry.link(walk.caller, name, old.inode()).map(drop)
}

/// unlink(2): EISDIR for a directory, ENOTDIR for a slash behind something else.
pub fn unlink(walk: &Walk, path: &[u8]) -> Result<()> {
    let parent = walk.parent(path)?;
    if parent.last().kind != LastKind::Name {
        return Err(Errno::EISDIR.into());
    }
    parent.dir.check_writable()?;
    let victim = parent.dir.dentry.lookup(walk.caller, parent.name())?;
    let directory = victim.inode().kind() == FileType::Directory;
    if parent.last().slash {
        return Err(if directory { Errno::EISDIR } else { Errno::ENOTDIR }.into());
    }
    permission::check_remove(walk.caller.cred, &**parent.dir.inode(), &**victim.inode())?;
    if directory {
        return Err(Errno::EISDIR.into());
    }
    parent.dir.dentry.remove(parent.name(), &victim, false)
}

/// rmdir(2): EINVAL for ".", ENOTEMPTY for "..", EBUSY for a root, ENOTDIR.
pub fn rmdir(walk: &Walk, path: &[u8]) -> Result<()> {
    let parent = walk.parent(path)?;
    match parent.last().kind {
        LastKind::Name => {}
        LastKind::Dot => return Err(Errno::EINVAL.into()),
        LastKind::DotDot => return Err(Errno::ENOTEMPTY.into()),
        LastKind::Root => return Err(Errno::EBUSY.into()),
    }
    parent.dir.check_writable()?;
    let victim = parent.dir.dentry.lookup(walk.caller, parent.name())?;
    permission::check_remove(walk.caller.cred, &**parent.dir.inode(), &**victim.inode())?;
    if victim.inode().kind() != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    parent.dir.dentry.remove(parent.name(), &victim, true)
}

/// rename(2), renameat2(2): the last component of `old` becomes that of `new`.
pub fn rename(from: &Walk, old: &[u8], to: &Walk, new: &[u8], mode: RenameMode) -> Result<()> {
    loop {
        // ESTALE: somebody else changed what `new` leads to in between, which is then progress of theirs.
        match rename_once(from, old, to, new, mode) {
            Err(Error::Errno(Errno::ESTALE)) => {}
            outcome => return outcome,
        }
    }
}

fn rename_once(from: &Walk, old: &[u8], to: &Walk, new: &[u8], mode: RenameMode) -> Result<()> {
    let caller = from.caller;
    let old = from.parent(old)?;
    let new = to.parent(new)?;
    if !Arc::ptr_eq(&old.dir.mount, &new.dir.mount) {
        return Err(Errno::EXDEV.into());
    }
    if old.last().kind != LastKind::Name {
        return Err(Errno::EBUSY.into());
    }
    if new.last().kind != LastKind::Name {
        return Err(if mode == RenameMode::NoReplace { Errno::EEXIST } else { Errno::EBUSY }.into());
    }
    old.dir.check_writable()?;
    let child = old.dir.dentry.lookup(caller, old.name())?;
    let target = match new.dir.dentry.lookup(caller, new.name()) {
        Ok(target) => Some(target),
        Err(Error::Errno(Errno::ENOENT)) => None,
        Err(error) => return Err(error),
    };
    match (mode, &target) {
        (RenameMode::NoReplace, Some(_)) => return Err(Errno::EEXIST.into()),
        (RenameMode::Exchange, None) => return Err(Errno::ENOENT.into()),
        _ => {}
    }
    let directory = child.inode().kind() == FileType::Directory;
    if !directory {
        // A slash says that the name is a directory's; with EXCHANGE the target may be one.
        let slash = old.last().slash || mode != RenameMode::Exchange && new.last().slash;
        if slash {
            return Err(Errno::ENOTDIR.into());
        }
    }
    if let (RenameMode::Exchange, Some(target)) = (mode, &target)
        && new.last().slash
        && target.inode().kind() != FileType::Directory
    {
        return Err(Errno::ENOTDIR.into());
    }
    // Two names of one file: nothing happens.
    if target.as_ref().is_some_and(|target| Arc::ptr_eq(target.inode(), child.inode())) {
        return Ok(());
    }
    let (dir, to_dir) = (&**old.dir.inode(), &**new.dir.inode());
    permission::check_remove(caller.cred, dir, &**child.inode())?;
    match &target {
        None => check_add(caller, &new.dir)?,
        Some(target) => {
            permission::check_remove(caller.cred, to_dir, &**target.inode())?;
            if mode == RenameMode::Replace {
                match (directory, target.inode().kind() == FileType::Directory) {
                    (true, false) => return Err(Errno::ENOTDIR.into()),
                    (false, true) => return Err(Errno::EISDIR.into()),
                    _ => {}
                }
            }
        }
    }
    // Moving a directory changes its "..".
    if directory && !Arc::ptr_eq(&old.dir.dentry, &new.dir.dentry) {
        permission::check_inode(caller.cred, &**child.inode(), Access::WRITE)?;
    }
    old.dir.dentry.rename(old.name(), &child, &new.dir.dentry, new.name(), target.as_ref(), mode)
}

/// What readlink(2) gives for the link at `at`. EINVAL if it is none.
pub fn readlink(walk: &Walk, at: &Location) -> Result<alloc::vec::Vec<u8>> {
    use crate::inode::Link;
    if let Some(text) = at.inode().link_text(walk.caller) {
        return Ok(text);
    }
    let link = at.inode().readlink(walk.caller)?;
    if !at.mount.flags().contains(MountFlags::NOATIME) {
        at.inode().accessed(false);
    }
    Ok(match link {
        Link::Path(path) => path,
        Link::Location(target) => target.describe(&walk.root),
    })
}

/// Whether `path` leads to anything; a shorthand for the kernel's own use.
pub fn exists(walk: &Walk, path: &[u8]) -> bool {
    walk.resolve(path, Follow::Yes).is_ok()
}
