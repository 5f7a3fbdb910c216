//! Names of UNIX sockets in the file system, as the caller sees it (unix(7)).

use alloc::sync::Arc;
use base::{Errno, Error, Result};
use net::Paths;
use net::unix::Node;
use process::Current;
use vfs::inode::{Bound, NewKind};
use vfs::path::{Follow, Walk};
use vfs::permission::{self, Access};

/// The file system in the caller's root and current directory, with its permissions.
pub struct Names<'a>(pub &'a Current);

impl Paths for Names<'_> {
    fn create(&self, path: &[u8], node: Arc<Node>) -> Result<()> {
        let caller = self.0.caller();
        let walk = Walk::new(&caller, &self.0.fs, None);
        let bound: Bound = node;
        let mode = 0o777 & !self.0.fs.umask();
        match vfs::names::create(&walk, path, NewKind::Socket(Some(&bound)), mode) {
            Ok(_) => Ok(()),
            Err(Error::Errno(Errno::EEXIST)) => Err(Errno::EADDRINUSE.into()),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, path: &[u8]) -> Result<()> {
        let caller = self.0.caller();
        vfs::names::unlink(&Walk::new(&caller, &self.0.fs, None), path)
    }

    fn find(&self, path: &[u8]) -> Result<Arc<Node>> {
        let caller = self.0.caller();
        let found = Walk::new(&caller, &self.0.fs, None).resolve(path, Follow::Yes)?;
        permission::check_inode(caller.cred, &**found.inode(), Access::WRITE)?;
        let node = found.inode().bound().and_then(|bound| bound.downcast().ok());
        node.ok_or(Errno::ECONNREFUSED.into())
    }
}
