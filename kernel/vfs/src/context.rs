//! A process's view of the tree: root, current directory, umask (`CLONE_FS` shares one).

use crate::mount::Location;
use crate::ranks;
use core::mem;
use executor::spin::SpinLock;

/// Root, current directory and umask of one or more threads.
pub struct FsContext {
    inner: SpinLock<Inner>,
}

#[derive(Clone)]
struct Inner {
    root: Location,
    cwd: Location,
    umask: u32,
}

impl FsContext {
    /// Both directories at `root`, umask 022.
    pub fn new(root: Location) -> FsContext {
        FsContext { inner: SpinLock::new(ranks::FS_CONTEXT, Inner { cwd: root.clone(), root, umask: 0o022 }) }
    }

    /// A copy, for a child without `CLONE_FS`.
    pub fn fork(&self) -> FsContext {
        let copy = self.inner.lock().clone();
        FsContext { inner: SpinLock::new(ranks::FS_CONTEXT, copy) }
    }

    /// The root directory (chroot(2)).
    pub fn root(&self) -> Location {
        self.inner.lock().root.clone()
    }

    /// The current directory.
    pub fn cwd(&self) -> Location {
        self.inner.lock().cwd.clone()
    }

    /// Root and current directory of one moment.
    pub fn root_and_cwd(&self) -> (Location, Location) {
        let inner = self.inner.lock();
        (inner.root.clone(), inner.cwd.clone())
    }

    /// Changes the root directory; permission has been checked.
    pub fn set_root(&self, root: Location) {
        let old = mem::replace(&mut self.inner.lock().root, root);
        drop(old);
    }

    /// Changes the current directory; permission has been checked.
    pub fn set_cwd(&self, cwd: Location) {
        let old = mem::replace(&mut self.inner.lock().cwd, cwd);
        drop(old);
    }

    /// The umask.
    pub fn umask(&self) -> u32 {
        self.inner.lock().umask
    }

    /// Sets the umask to the permission bits of `mask`; gives the old one (umask(2)).
    pub fn set_umask(&self, mask: u32) -> u32 {
        mem::replace(&mut self.inner.lock().umask, mask & 0o777)
    }
}
