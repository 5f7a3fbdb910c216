//! One file of a tmpfs, apart from its names.

use super::memfd::{SEAL_EXEC, SEAL_SEAL};
use super::pages::Pages;
use super::{Tmpfs, names};
use crate::file::{Caller, File};
use crate::flags::OpenFlags;
use crate::inode::{
    Attributes, Bound, Device, FileType, Inode, Link, Metadata, NewInode, NewKind, Ownership, RenameMode, Sink,
    relatime,
};
use crate::mount::FileSystem;
use crate::permission::{SET_GID, SET_UID};
use crate::pipe::Pipe;
use crate::writers::Writers;
use crate::{clock, devices, ranks};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use arch::addr::PAGE_SIZE;
use base::{Capability, Errno, Result, Timespec};
use core::any::Any;
use core::sync::atomic::AtomicU32;
use executor::spin::SpinLock;
use memory::space::Mappings;

/// The most names that one file may have.
const LINK_MAX: u32 = 65_000;

/// A file of a tmpfs.
pub struct Node {
    me: Weak<Node>,
    pub(super) fs: Arc<Tmpfs>,
    ino: u64,
    attributes: SpinLock<Attr>,
    pub(super) content: Content,
}

struct Attr {
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
    btime: Timespec,
}

/// What only one type of file has.
pub(super) enum Content {
    Regular(Regular),
    Directory,
    Symlink(Box<[u8]>),
    Fifo(Arc<Pipe>),
    Socket(Option<Bound>),
    CharDevice(Device),
    BlockDevice(Device),
}

/// A regular file's content.
pub(super) struct Regular {
    pub pages: SpinLock<Pages>,
    /// Held across a write, so that writes and appends are one after another.
    pub writing: SpinLock<()>,
    pub mappings: Mappings,
    /// Shared mappings that may be written, for F_SEAL_WRITE.
    pub writable_maps: AtomicU32,
    pub writers: Writers,
}

impl Node {
    pub(super) fn new(fs: Arc<Tmpfs>, ino: u64, new: &NewInode) -> Arc<Node> {
        let content = match new.kind {
            NewKind::Regular => Content::Regular(Regular {
                // Only a memfd can be sealed.
                pages: SpinLock::new(ranks::PAGES, Pages::sealed(SEAL_SEAL)),
                writing: SpinLock::new(ranks::WRITE, ()),
                mappings: Mappings::new(),
                writable_maps: AtomicU32::new(0),
                writers: Writers::new(),
            }),
            NewKind::Directory => Content::Directory,
            NewKind::Symlink(target) => Content::Symlink(target.into()),
            NewKind::Fifo => Content::Fifo(Pipe::new()),
            NewKind::Socket(bound) => Content::Socket(bound.cloned()),
            NewKind::CharDevice(device) => Content::CharDevice(device),
            NewKind::BlockDevice(device) => Content::BlockDevice(device),
        };
        let now = clock::now();
        let attr = Attr {
            mode: if matches!(content, Content::Symlink(_)) { 0o777 } else { new.mode & 0o7777 },
            uid: new.uid,
            gid: new.gid,
            nlink: if matches!(content, Content::Directory) { 2 } else { 1 },
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        };
        let attributes = SpinLock::new(ranks::INODE, attr);
        Arc::new_cyclic(|me| Node { me: me.clone(), fs, ino, attributes, content })
    }

    /// This node, shared. ENOENT cannot happen while somebody calls.
    pub(super) fn arc(&self) -> Result<Arc<Node>> {
        self.me.upgrade().ok_or(Errno::ENOENT.into())
    }

    pub(super) fn ino(&self) -> u64 {
        self.ino
    }

    pub(super) fn file_type(&self) -> FileType {
        match self.content {
            Content::Regular(_) => FileType::Regular,
            Content::Directory => FileType::Directory,
            Content::Symlink(_) => FileType::Symlink,
            Content::Fifo(_) => FileType::Fifo,
            Content::Socket(_) => FileType::Socket,
            Content::CharDevice(_) => FileType::CharDevice,
            Content::BlockDevice(_) => FileType::BlockDevice,
        }
    }

    /// The content of a regular file; `None` for any other.
    pub(super) fn regular(&self) -> Option<&Regular> {
        match &self.content {
            Content::Regular(regular) => Some(regular),
            _ => None,
        }
    }

    /// EMLINK.
    pub(super) fn add_link(&self) -> Result<()> {
        let mut attr = self.attributes.lock();
        if attr.nlink >= LINK_MAX {
            return Err(Errno::EMLINK.into());
        }
        attr.nlink += 1;
        attr.ctime = clock::now();
        Ok(())
    }

    pub(super) fn change_links(&self, by: i32) {
        let mut attr = self.attributes.lock();
        attr.nlink = attr.nlink.saturating_add_signed(by);
        attr.ctime = clock::now();
    }

    /// The content changed.
    pub(super) fn changed(&self, now: Timespec) {
        let mut attr = self.attributes.lock();
        attr.mtime = now;
        attr.ctime = now;
    }

    /// The attributes or a name changed.
    pub(super) fn touched(&self, now: Timespec) {
        self.attributes.lock().ctime = now;
    }

    /// A write by `caller`: notes the time, and takes set-user-ID and set-group-ID unless it has CAP_FSETID.
    pub(super) fn written(&self, caller: &Caller) {
        let now = clock::now();
        let mut attr = self.attributes.lock();
        attr.mtime = now;
        attr.ctime = now;
        if attr.mode & (SET_UID | SET_GID) != 0 && !caller.cred.has(Capability::Fsetid) {
            attr.mode &= if attr.mode & 0o010 != 0 { !(SET_UID | SET_GID) } else { !SET_UID };
        }
    }

    fn directory(&self) -> Result<()> {
        if matches!(self.content, Content::Directory) { Ok(()) } else { Err(Errno::ENOTDIR.into()) }
    }

    /// The node of this file system behind `inode`. EXDEV.
    fn own<'a>(&self, inode: &'a Arc<dyn Inode>) -> Result<&'a Node> {
        let node = inode.as_any().and_then(|any| any.downcast_ref::<Node>()).ok_or(Errno::EXDEV)?;
        if Arc::ptr_eq(&node.fs, &self.fs) { Ok(node) } else { Err(Errno::EXDEV.into()) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Content::Regular(regular) = &mut self.content {
            self.fs.pages.release(regular.pages.get_mut().count);
        }
        self.fs.inodes.release(1);
    }
}

impl Inode for Node {
    fn metadata(&self) -> Metadata {
        let mut m = Metadata::new(self.fs.device(), self.ino, self.file_type(), 0, Timespec::default());
        match &self.content {
            Content::Regular(regular) => {
                let pages = regular.pages.lock();
                m.size = pages.size;
                m.blocks = pages.count * (PAGE_SIZE as u64 / 512);
            }
            Content::Directory => m.size = names::count(&self.fs, self.ino) * 20,
            Content::Symlink(target) => m.size = target.len() as u64,
            Content::CharDevice(device) | Content::BlockDevice(device) => m.rdev = *device,
            Content::Fifo(_) | Content::Socket(_) => {}
        }
        let attr = self.attributes.lock();
        Metadata {
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            nlink: attr.nlink,
            atime: attr.atime,
            mtime: attr.mtime,
            ctime: attr.ctime,
            btime: attr.btime,
            ..m
        }
    }

    fn kind(&self) -> FileType {
        self.file_type()
    }

    fn ownership(&self) -> Ownership {
        let attr = self.attributes.lock();
        Ownership { kind: self.file_type(), mode: attr.mode, uid: attr.uid, gid: attr.gid }
    }

    fn cacheable(&self) -> bool {
        true
    }

    fn lookup(&self, _: &Caller, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.directory()?;
        Ok(names::lookup(&self.fs, self, name)?)
    }

    fn create(&self, _: &Caller, name: &[u8], new: &NewInode) -> Result<Arc<dyn Inode>> {
        self.directory()?;
        let node = self.fs.node(new)?;
        names::add(&self.fs, self, name, &node, true)?;
        Ok(node)
    }

    fn create_unnamed(&self, _: &Caller, new: &NewInode) -> Result<Arc<dyn Inode>> {
        self.directory()?;
        let node = self.fs.node(new)?;
        node.change_links(-1);
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.directory()?;
        let node = self.own(target)?;
        let node = node.arc()?;
        names::add(&self.fs, self, name, &node, false)
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        names::unlink(&self.fs, self, name)
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        names::rmdir(&self.fs, self, name)
    }

    fn rename(&self, name: &[u8], to: &Arc<dyn Inode>, to_name: &[u8], mode: RenameMode) -> Result<()> {
        let to = self.own(to)?;
        names::rename(&self.fs, self, name, to, to_name, mode)
    }

    fn readlink(&self, _: &Caller) -> Result<Link> {
        let Content::Symlink(target) = &self.content else { return Err(Errno::EINVAL.into()) };
        let mut path = Vec::new();
        path.try_reserve_exact(target.len()).map_err(|_| Errno::ENOMEM)?;
        path.extend_from_slice(target);
        Ok(Link::Path(path))
    }

    fn readdir(&self, _: &Caller, from: u64, sink: &mut Sink) -> Result<u64> {
        self.directory()?;
        names::readdir(&self.fs, self, from, sink)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.set_size(size)
    }

    fn set_attributes(&self, change: &Attributes) -> Result<()> {
        let now = clock::now();
        let sealed = self.regular().is_some_and(|regular| regular.pages.lock().seals & SEAL_EXEC != 0);
        let mut attr = self.attributes.lock();
        if sealed && change.mode.is_some_and(|mode| (mode ^ attr.mode) & 0o111 != 0) {
            return Err(Errno::EPERM.into());
        }
        let set = |to: &mut u32, from: Option<u32>| *to = from.unwrap_or(*to);
        set(&mut attr.mode, change.mode);
        set(&mut attr.uid, change.uid);
        set(&mut attr.gid, change.gid);
        attr.atime = change.atime.unwrap_or(attr.atime);
        attr.mtime = change.mtime.unwrap_or(attr.mtime);
        attr.ctime = now;
        Ok(())
    }

    fn accessed(&self, strict: bool) {
        let now = clock::now();
        let mut attr = self.attributes.lock();
        if strict || relatime(attr.atime, attr.mtime, attr.ctime, now) {
            attr.atime = now;
        }
    }

    fn open(self: Arc<Self>, caller: &Caller, flags: OpenFlags) -> Result<Arc<dyn File>> {
        match &self.content {
            Content::Regular(_) => Ok(self),
            Content::Fifo(pipe) => Ok(pipe.open_fifo(flags)?),
            Content::CharDevice(device) | Content::BlockDevice(device) => {
                devices::open(caller, self.file_type(), *device, flags)
            }
            Content::Directory => Err(Errno::EISDIR.into()),
            Content::Symlink(_) => Err(Errno::ELOOP.into()),
            Content::Socket(_) => Err(Errno::ENXIO.into()),
        }
    }

    fn mappings(&self) -> Option<&Mappings> {
        self.regular().map(|regular| &regular.mappings)
    }

    fn writers(&self) -> Option<&Writers> {
        self.regular().map(|regular| &regular.writers)
    }

    fn bound(&self) -> Option<Bound> {
        match &self.content {
            Content::Socket(bound) => bound.clone(),
            _ => None,
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
