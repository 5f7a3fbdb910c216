//! memfd_create(2): a file without a name, and its seals (fcntl(2), "File sealing").

use super::node::Node;
use super::{Options, Tmpfs};
use crate::description::Description;
use crate::detached;
use crate::file::Caller;
use crate::flags::OpenFlags;
use crate::inode::{NewInode, NewKind};
use crate::ranks;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Result};
use core::sync::atomic::Ordering;
use executor::spin::SpinLock;

/// F_SEAL_SEAL: no more seals.
pub const SEAL_SEAL: u32 = 0x01;
/// F_SEAL_SHRINK: the size does not fall.
pub const SEAL_SHRINK: u32 = 0x02;
/// F_SEAL_GROW: the size does not rise.
pub const SEAL_GROW: u32 = 0x04;
/// F_SEAL_WRITE: the content does not change.
pub const SEAL_WRITE: u32 = 0x08;
/// F_SEAL_FUTURE_WRITE: the content changes only through mappings that exist.
pub const SEAL_FUTURE_WRITE: u32 = 0x10;
/// F_SEAL_EXEC: the execute bits do not change.
pub const SEAL_EXEC: u32 = 0x20;
/// Every seal there is.
pub const SEAL_ALL: u32 = SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | SEAL_WRITE | SEAL_FUTURE_WRITE | SEAL_EXEC;

/// The file system of all memfds; made at the first use.
static MEMFDS: SpinLock<Option<Arc<Tmpfs>>> = SpinLock::new(ranks::ANONYMOUS, None);

fn file_system() -> Result<Arc<Tmpfs>> {
    let found = MEMFDS.lock().clone();
    if let Some(fs) = found {
        return Ok(fs);
    }
    let new = Tmpfs::new(Options::default())?;
    Ok(MEMFDS.lock().get_or_insert(new).clone())
}

/// memfd_create(2): a file that shows as `name`, open for reading and writing; `sealing` is MFD_ALLOW_SEALING.
/// ENOMEM, ENOSPC.
pub fn memfd(caller: &Caller, name: &[u8], sealing: bool) -> Result<Arc<Description>> {
    let (uid, gid) = (caller.cred.fsuid, caller.cred.fsgid);
    let node = file_system()?.node(&NewInode { kind: NewKind::Regular, mode: 0o777, uid, gid })?;
    node.change_links(-1);
    if let Some(regular) = node.regular() {
        regular.pages.lock().seals = if sealing { 0 } else { SEAL_SEAL };
    }
    let label: Vec<u8> = [b"/memfd:", name, b" (deleted)"].concat();
    let location = detached::unnamed(node.clone(), &label);
    Ok(Description::new(node, Some(location), OpenFlags::RDWR | OpenFlags::LARGEFILE))
}

fn node(description: &Description) -> Result<&Node> {
    description.file().as_any().and_then(|any| any.downcast_ref()).ok_or(Errno::EINVAL.into())
}

/// F_GET_SEALS. EINVAL for a file that cannot have any.
pub fn seals(description: &Description) -> Result<u32> {
    let regular = node(description)?.regular().ok_or(Errno::EINVAL)?;
    Ok(regular.pages.lock().seals)
}

/// F_ADD_SEALS. EINVAL, EPERM (not open for writing, or sealed against seals), EBUSY (mapped for writing).
pub fn add_seals(description: &Description, add: u32) -> Result<()> {
    let regular = node(description)?.regular().ok_or(Errno::EINVAL)?;
    if !description.flags().writable() {
        return Err(Errno::EPERM.into());
    }
    if add & !SEAL_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut pages = regular.pages.lock();
    if pages.seals & SEAL_SEAL != 0 {
        return Err(Errno::EPERM.into());
    }
    if add & SEAL_WRITE != 0 && pages.seals & SEAL_WRITE == 0 && regular.writable_maps.load(Ordering::Relaxed) != 0 {
        return Err(Errno::EBUSY.into());
    }
    pages.seals |= add;
    Ok(())
}
