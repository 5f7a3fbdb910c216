//! Objects that no path leads to: the inodes behind anonymous files, and the mount they are seen through.

use crate::dentry::Dentry;
use crate::file::{Caller, File};
use crate::inode::{Device, FileType, Inode, Metadata};
use crate::mount::{FileSystem, Location, Mount, MountFlags, Statfs};
use crate::{clock, ranks};
use alloc::sync::Arc;
use executor::spin::SpinLock;

/// The file system of what has no name.
struct Anonymous;

impl FileSystem for Anonymous {
    fn name(&self) -> &'static str {
        "anon_inodefs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(Nowhere)
    }

    fn device(&self) -> Device {
        Device::new(0, 0)
    }

    fn statfs(&self) -> Statfs {
        Statfs { magic: 0x0904_1934, block_size: 4096, name_max: 255, ..Statfs::default() }
    }
}

/// The root that nothing is in.
struct Nowhere;

impl Inode for Nowhere {
    fn metadata(&self) -> Metadata {
        Metadata::new(Device::new(0, 0), 1, FileType::Directory, 0o500, clock::now())
    }
}

/// An anonymous file seen as an inode; it cannot be opened again (ENXIO).
struct Behind(Arc<dyn File>);

impl Inode for Behind {
    fn metadata(&self) -> Metadata {
        self.0.metadata()
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        self.0.as_any()
    }

    fn link_text(&self, _: &Caller) -> Option<alloc::vec::Vec<u8>> {
        Some(self.0.label())
    }
}

static MOUNT: SpinLock<Option<Arc<Mount>>> = SpinLock::new(ranks::ANONYMOUS, None);

/// The mount of what has no name; made at its first use.
pub fn mount() -> Arc<Mount> {
    let found = MOUNT.lock().clone();
    if let Some(mount) = found {
        return mount;
    }
    let new = Mount::new(Arc::new(Anonymous), b"none", MountFlags::default());
    MOUNT.lock().get_or_insert(new).clone()
}

/// A location for an open file that was not opened by a name.
pub fn location(file: &Arc<dyn File>) -> Location {
    let inode = file.inode().unwrap_or_else(|| Arc::new(Behind(file.clone())));
    unnamed(inode, &file.label())
}

/// A location for an inode without a name, which shows as `label`.
pub fn unnamed(inode: Arc<dyn Inode>, label: &[u8]) -> Location {
    Location { mount: mount(), dentry: Dentry::detached(inode, label) }
}
