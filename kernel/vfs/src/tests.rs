//! A machine with a tmpfs root, for this crate's tests.

use crate::context::FsContext;
use crate::description::Description;
use crate::file::Caller;
use crate::flags::OpenFlags;
use crate::inode::NewKind;
use crate::mount::{Location, Mount, MountFlags};
use crate::names;
use crate::open::{self, Request};
use crate::path::{Follow, Walk};
use crate::tmpfs::{Options, Tmpfs};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Credentials, Result};
use memory::io::{Dst, Src};

/// A simulated machine with 16 MiB; to be called before anything else.
pub fn machine() {
    memory::init(arch::sim::boot(1, 16 << 20, [3; 32]));
}

/// A process's view of an empty tmpfs with a mode-755 root.
pub struct World {
    pub fs: FsContext,
    pub cred: Credentials,
}

impl World {
    pub fn new() -> World {
        World::with(|options| options)
    }

    /// A root with other options than the default.
    pub fn with(change: impl FnOnce(Options) -> Options) -> World {
        machine();
        let options = change(Options { mode: 0o755, ..Options::default() });
        let mount = Mount::new(Tmpfs::new(options).unwrap(), b"rootfs", MountFlags::default());
        World { fs: FsContext::new(mount.root()), cred: Credentials::root() }
    }

    pub fn root(&self) -> Location {
        self.fs.root()
    }

    pub fn become_user(&mut self, uid: u32) {
        self.cred = Credentials { uid, euid: uid, fsuid: uid, fsgid: uid, effective: 0, ..Credentials::root() };
    }

    pub fn walk<R>(&self, f: impl FnOnce(&Walk) -> R) -> R {
        let caller = Caller::kernel(&self.cred);
        f(&Walk::new(&caller, &self.fs, None))
    }

    pub fn make(&self, path: &str, kind: NewKind, mode: u32) -> Result<Location> {
        self.walk(|walk| names::create(walk, path.as_bytes(), kind, mode))
    }

    pub fn mkdir(&self, path: &str) -> Location {
        self.make(path, NewKind::Directory, 0o755).unwrap()
    }

    pub fn symlink(&self, path: &str, to: &str) {
        self.make(path, NewKind::Symlink(to.as_bytes()), 0o777).unwrap();
    }

    pub fn find(&self, path: &str) -> Result<Location> {
        self.walk(|walk| walk.resolve(path.as_bytes(), Follow::Yes))
    }

    pub fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<Description>> {
        let request = Request { flags, mode: 0o644, umask: 0o022 };
        self.walk(|walk| open::open(walk, path.as_bytes(), &request))
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let file = self.open(path, OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::TRUNC).unwrap();
        assert_eq!(put(&file, bytes), Ok(bytes.len()));
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        let file = self.open(path, OpenFlags::default()).unwrap();
        get(&file, 1 << 20).unwrap()
    }

    /// The path of `path`'s target from the root.
    pub fn real(&self, path: &str) -> alloc::string::String {
        let (path, reached) = self.find(path).unwrap().path(&self.root());
        assert!(reached);
        alloc::string::String::from_utf8(path).unwrap()
    }
}

/// A write of all of `bytes` as root.
pub fn put(file: &Description, bytes: &[u8]) -> Result<usize> {
    let cred = Credentials::root();
    file.write(&file.caller(&cred, 1, 1), &mut Src::kernel(bytes))
}

/// A read of up to `n` bytes as root.
pub fn get(file: &Description, n: usize) -> Result<Vec<u8>> {
    let cred = Credentials::root();
    let mut buf = alloc::vec![0; n];
    let n = file.read(&file.caller(&cred, 1, 1), &mut Dst::kernel(&mut buf))?;
    buf.truncate(n);
    Ok(buf)
}
