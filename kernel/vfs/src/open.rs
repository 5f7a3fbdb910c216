//! openat(2).

use crate::attributes;
use crate::description::Description;
use crate::directory::Directory;
use crate::file::{Caller, File};
use crate::flags::OpenFlags;
use crate::inode::{FileType, Metadata, NewKind};
use crate::mount::{Location, MountFlags};
use crate::names;
use crate::path::{LastKind, Walk, Walker};
use crate::permission::{self, Access};
use crate::writers::Beginning;
use alloc::sync::Arc;
use base::{Errno, Error, Result};

/// What openat(2) is asked for, besides the path.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The flags.
    pub flags: OpenFlags,
    /// The mode of a file that is created, before the umask.
    pub mode: u32,
    /// The umask.
    pub umask: u32,
}

/// The file that an open came to, and whether this call created it.
struct Found {
    location: Location,
    created: bool,
}

/// An O_PATH descriptor: a place in the tree, not an open file.
struct PathOnly(Location);

impl File for PathOnly {
    fn metadata(&self) -> Metadata {
        self.0.inode().metadata()
    }
}

/// Opens `path`. The caller must then go through [`File::finish_open`], which may have to wait.
pub fn open(walk: &Walk, path: &[u8], request: &Request) -> Result<Arc<Description>> {
    let found = find(walk, path, request)?;
    open_found(walk.caller, &found, request.flags)
}

/// Walks to the file, creating it if asked. The errors are those of open(2).
fn find(walk: &Walk, path: &[u8], request: &Request) -> Result<Found> {
    let flags = request.flags;
    if flags.contains(OpenFlags::TMPFILE) {
        return unnamed(walk, path, request);
    }
    let path_only = flags.contains(OpenFlags::PATH);
    let create = flags.contains(OpenFlags::CREAT) && !path_only;
    if create && flags.contains(OpenFlags::DIRECTORY) {
        return Err(Errno::EINVAL.into());
    }
    let exclusive = create && flags.contains(OpenFlags::EXCL);
    let mut walker = Walker::new(walk, path)?;
    loop {
        let last = walker.to_last()?;
        if create && (last.kind != LastKind::Name || last.slash) {
            let exists = last.kind != LastKind::Name;
            return Err(if exists && exclusive { Errno::EEXIST } else { Errno::EISDIR }.into());
        }
        let location = match walker.find(&last)? {
            Some(location) => location,
            None if create => match create_at(walk, &walker.at, walker.name(&last), request) {
                // Somebody else was faster; the next round finds it.
                Err(Error::Errno(Errno::EEXIST)) if !exclusive => match walker.find(&last)? {
                    Some(location) => location,
                    None => return Err(Errno::ENOENT.into()),
                },
                other => return other.map(|location| Found { location, created: true }),
            },
            None => return Err(Errno::ENOENT.into()),
        };
        if exclusive {
            return Err(Errno::EEXIST.into());
        }
        let kind = location.inode().kind();
        if kind == FileType::Symlink && (last.slash || !flags.contains(OpenFlags::NOFOLLOW)) {
            match walker.follow(&location, last)? {
                Some(location) => return Ok(Found { location, created: false }),
                None => continue,
            }
        }
        let directory_asked = last.slash || flags.contains(OpenFlags::DIRECTORY);
        if kind == FileType::Symlink && !path_only && !flags.contains(OpenFlags::DIRECTORY) {
            return Err(Errno::ELOOP.into());
        }
        if directory_asked && kind != FileType::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        return Ok(Found { location, created: false });
    }
}

fn create_at(walk: &Walk, dir: &Location, name: &[u8], request: &Request) -> Result<Location> {
    dir.check_writable()?;
    names::check_add(walk.caller, dir)?;
    let new = names::new_inode(walk.caller, dir, NewKind::Regular, request.mode & !request.umask);
    let dentry = dir.dentry.create(walk.caller, name, &new)?;
    Ok(Location { mount: dir.mount.clone(), dentry })
}

/// O_TMPFILE: a file without a name in the directory `path`.
fn unnamed(walk: &Walk, path: &[u8], request: &Request) -> Result<Found> {
    if !request.flags.writable() {
        return Err(Errno::EINVAL.into());
    }
    let dir = walk.resolve(path, crate::path::Follow::Yes)?;
    if dir.inode().kind() != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    dir.check_writable()?;
    permission::check_inode(walk.caller.cred, &**dir.inode(), Access::WRITE | Access::EXEC)?;
    let new = names::new_inode(walk.caller, &dir, NewKind::Regular, request.mode & !request.umask);
    let inode = dir.inode().create_unnamed(walk.caller, &new)?;
    let ino = inode.metadata().ino;
    let dentry = crate::dentry::Dentry::detached(inode, alloc::format!("/#{ino} (deleted)").as_bytes());
    Ok(Found { location: Location { mount: dir.mount.clone(), dentry }, created: true })
}

/// Opens what [`find`] found. EACCES, EISDIR, EROFS, ENXIO, EPERM.
fn open_found(caller: &Caller, found: &Found, flags: OpenFlags) -> Result<Arc<Description>> {
    let at = &found.location;
    if flags.contains(OpenFlags::PATH) {
        return Ok(Description::new(Arc::new(PathOnly(at.clone())), Some(at.clone()), flags));
    }
    let inode = at.inode();
    let file = inode.ownership();
    if !found.created {
        check_open(caller, at, &file, flags)?;
    }
    let written = flags.writable() || flags.contains(OpenFlags::TRUNC);
    let writing = Beginning::new(inode.writers().filter(|_| written))?;
    if !found.created && flags.contains(OpenFlags::TRUNC) && file.kind == FileType::Regular {
        attributes::strip_set_id(caller, at)?;
        inode.truncate(0)?;
    }
    let opened: Arc<dyn File> = match file.kind {
        FileType::Directory => Arc::new(Directory::new(at.clone())),
        _ => inode.clone().open(caller, flags)?,
    };
    let description = Description::new(opened, Some(at.clone()), flags);
    if flags.writable() && writing.keep() {
        description.counts_as_writer();
    }
    Ok(description)
}

fn check_open(caller: &Caller, at: &Location, file: &crate::inode::Ownership, flags: OpenFlags) -> Result<()> {
    let mount = at.mount.flags();
    let mode_three = flags.access_mode() == 3;
    let mut access = Access::empty();
    access.set(Access::READ, flags.readable() || mode_three);
    access.set(Access::WRITE, flags.writable() || mode_three || flags.contains(OpenFlags::TRUNC));
    let writes = access.contains(Access::WRITE);
    match file.kind {
        FileType::Symlink => return Err(Errno::ELOOP.into()),
        FileType::Directory if writes || flags.contains(OpenFlags::CREAT) => return Err(Errno::EISDIR.into()),
        FileType::CharDevice | FileType::BlockDevice if mount.contains(MountFlags::NODEV) => {
            return Err(Errno::EACCES.into());
        }
        FileType::Regular if writes => at.check_writable()?,
        _ => {}
    }
    if flags.contains(OpenFlags::DIRECTORY) && file.kind != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    permission::check(caller.cred, file, access)?;
    if flags.contains(OpenFlags::NOATIME) && !permission::is_owner(caller.cred, file) {
        return Err(Errno::EPERM.into());
    }
    Ok(())
}
