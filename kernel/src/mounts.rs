//! Mounting what the kernel itself puts into the tree.

use alloc::sync::Arc;
use base::{Credentials, Errno, Error, Result};
use vfs::inode::NewKind;
use vfs::mount::Location;
use vfs::path::{Follow, Walk};
use vfs::{Caller, FsContext, Mount, names};

/// Attaches `mount` at `path` under `root`; the directory is made if it is missing.
pub fn attach(root: &Location, path: &[u8], mount: Arc<Mount>) -> Result<()> {
    let cred = Credentials::root();
    let caller = Caller::kernel(&cred);
    let context = FsContext::new(root.clone());
    let walk = Walk::new(&caller, &context, None);
    match names::create(&walk, path, NewKind::Directory, 0o755) {
        Ok(_) | Err(Error::Errno(Errno::EEXIST)) => {}
        Err(error) => return Err(error),
    }
    mount.attach(&walk.resolve(path, Follow::Yes)?)
}
