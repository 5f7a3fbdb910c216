//! Discretionary access control (path_resolution(7), "Permissions"; inode(7); capabilities(7)).

use crate::inode::{FileType, Inode, Ownership};
use base::{Capability, Credentials, Errno, Result};
use bitflags::bitflags;

bitflags! {
    /// What a caller wants to do to a file; the bits of one rwx triple, and of access(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u32 {
        /// Execute a file, search a directory.
        const EXEC = 1;
        /// Write a file, change a directory's entries.
        const WRITE = 2;
        /// Read a file, list a directory.
        const READ = 4;
    }
}

/// The sticky bit (S_ISVTX).
pub const STICKY: u32 = 0o1000;
/// Set-group-ID (S_ISGID).
pub const SET_GID: u32 = 0o2000;
/// Set-user-ID (S_ISUID).
pub const SET_UID: u32 = 0o4000;

/// EACCES unless `cred` (by its file-system ids) may access a file owned so.
#[inline]
pub fn check(cred: &Credentials, file: &Ownership, access: Access) -> Result<()> {
    let shift = if cred.fsuid == file.uid {
        6
    } else if cred.in_group(file.gid) {
        3
    } else {
        0
    };
    if file.mode >> shift & access.bits() == access.bits() {
        return Ok(());
    }
    override_check(cred, file, access)
}

#[cold]
fn override_check(cred: &Credentials, file: &Ownership, access: Access) -> Result<()> {
    let directory = file.kind == FileType::Directory;
    // Even root executes only what somebody may execute.
    let executable = directory || !access.contains(Access::EXEC) || file.mode & 0o111 != 0;
    if cred.has(Capability::DacOverride) && executable {
        return Ok(());
    }
    let only_looks = if directory { !access.contains(Access::WRITE) } else { access == Access::READ };
    if cred.has(Capability::DacReadSearch) && only_looks {
        return Ok(());
    }
    Err(Errno::EACCES.into())
}

/// As [`check`], for an inode.
#[inline]
pub fn check_inode(cred: &Credentials, inode: &dyn Inode, access: Access) -> Result<()> {
    check(cred, &inode.ownership(), access)
}

/// Whether `cred` owns the file or may act as its owner (CAP_FOWNER).
pub fn is_owner(cred: &Credentials, file: &Ownership) -> bool {
    cred.fsuid == file.uid || cred.has(Capability::Fowner)
}

/// Whether `victim` may be removed from or renamed in `dir`: EACCES without write and search permission, EPERM in a sticky
/// directory whose and whose entry's owner is somebody else.
pub fn check_remove(cred: &Credentials, dir: &dyn Inode, victim: &dyn Inode) -> Result<()> {
    let dir = dir.ownership();
    check(cred, &dir, Access::WRITE | Access::EXEC)?;
    let sticky = dir.mode & STICKY != 0 && cred.fsuid != dir.uid;
    if sticky && !is_owner(cred, &victim.ownership()) {
        return Err(Errno::EPERM.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    fn user(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
        Credentials { fsuid: uid, fsgid: gid, groups: Arc::new(groups.to_vec()), effective: 0, ..Credentials::root() }
    }

    fn file(kind: FileType, mode: u32) -> Ownership {
        Ownership { kind, mode, uid: 10, gid: 20 }
    }

    #[test]
    fn the_first_matching_class_decides() {
        let f = file(FileType::Regular, 0o047);
        assert!(check(&user(10, 20, &[]), &f, Access::READ).is_err());
        assert!(check(&user(11, 20, &[]), &f, Access::READ).is_ok());
        assert!(check(&user(11, 21, &[20]), &f, Access::WRITE).is_err());
        assert!(check(&user(11, 21, &[]), &f, Access::WRITE | Access::EXEC).is_ok());
    }

    #[test]
    fn root_executes_only_what_somebody_may() {
        let root = Credentials::root();
        assert!(check(&root, &file(FileType::Regular, 0), Access::READ | Access::WRITE).is_ok());
        assert!(check(&root, &file(FileType::Regular, 0o666), Access::EXEC).is_err());
        assert!(check(&root, &file(FileType::Regular, 0o100), Access::EXEC).is_ok());
        assert!(check(&root, &file(FileType::Directory, 0), Access::EXEC).is_ok());
    }

    #[test]
    fn dac_read_search_reads_but_does_not_write() {
        let mut cred = user(1, 1, &[]);
        cred.effective = 1 << Capability::DacReadSearch as u8;
        assert!(check(&cred, &file(FileType::Regular, 0), Access::READ).is_ok());
        assert!(check(&cred, &file(FileType::Regular, 0), Access::WRITE).is_err());
        assert!(check(&cred, &file(FileType::Directory, 0), Access::READ | Access::EXEC).is_ok());
    }
}
