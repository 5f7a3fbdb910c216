//! Mounts: which file system's tree lies where (mount_namespaces(7) with one namespace).
//!
//! A [`Location`] is a name together with the mount that it is seen through; it is what a path leads
//! to. Mounts form a tree: each knows what it lies on, and what lies on it.

use crate::dentry::Dentry;
use crate::inode::{Device, FileType, Inode};
use crate::ranks;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Result};
use bitflags::bitflags;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering};
use executor::spin::SpinLock;

/// What statfs(2) tells.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "statfs(2) documents them")]
pub struct Statfs {
    pub magic: u64,
    pub block_size: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub name_max: u64,
}

/// One file system with its contents.
pub trait FileSystem: Send + Sync {
    /// The type's name, as in /proc/filesystems.
    fn name(&self) -> &'static str;

    /// The root directory.
    fn root(&self) -> Arc<dyn Inode>;

    /// The device number that stat(2) shows for its files.
    fn device(&self) -> Device;

    /// What statfs(2) tells.
    fn statfs(&self) -> Statfs;

    /// Options for /proc/mounts, each with a leading comma: ",size=1024k".
    fn show_options(&self, _out: &mut dyn Write) -> fmt::Result {
        Ok(())
    }

    /// The last mount is gone and nobody uses a file of it by name: breaks what would keep the contents alive.
    fn shutdown(&self) {}
}

bitflags! {
    /// The flags of a mount, numbered as MS_ in mount(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MountFlags: u32 {
        /// MS_RDONLY.
        const RDONLY = 1;
        /// MS_NOSUID.
        const NOSUID = 2;
        /// MS_NODEV.
        const NODEV = 4;
        /// MS_NOEXEC.
        const NOEXEC = 8;
        /// MS_NOATIME.
        const NOATIME = 1024;
        /// MS_NODIRATIME.
        const NODIRATIME = 2048;
        /// MS_RELATIME.
        const RELATIME = 1 << 21;
        /// MS_STRICTATIME.
        const STRICTATIME = 1 << 24;
    }
}

/// A file system in use. Goes with the last mount of it.
struct Super {
    fs: Arc<dyn FileSystem>,
    root: Arc<Dentry>,
}

impl Drop for Super {
    fn drop(&mut self) {
        self.root.prune();
        self.fs.shutdown();
    }
}

/// One file system seen at one place.
pub struct Mount {
    id: u32,
    sb: Super,
    flags: AtomicU32,
    source: Vec<u8>,
    links: SpinLock<Links>,
}

#[derive(Default)]
struct Links {
    /// What this lies on; `None` for the first and for what has been unmounted.
    on: Option<Location>,
    /// What lies on this, by the dentry it lies on, in order of mounting.
    here: Vec<(Arc<Dentry>, Arc<Mount>)>,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);
static NEXT_MINOR: AtomicU32 = AtomicU32::new(1);

/// A device number for a file system without a device: major 0 and the next minor.
pub fn anonymous_device() -> Device {
    Device::new(0, NEXT_MINOR.fetch_add(1, Ordering::Relaxed))
}

impl Mount {
    /// `fs`, lying nowhere yet: the first mount, or one that only the kernel uses. `source` is what /proc/mounts shows first.
    pub fn new(fs: Arc<dyn FileSystem>, source: &[u8], flags: MountFlags) -> Arc<Mount> {
        let root = Dentry::detached(fs.root(), b"/");
        Arc::new(Mount {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            sb: Super { fs, root },
            flags: AtomicU32::new(flags.bits()),
            source: source.to_vec(),
            links: SpinLock::new(ranks::MOUNT, Links::default()),
        })
    }

    /// The number in /proc/PID/mountinfo and statx.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The file system.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.sb.fs
    }

    /// The flags.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Changes the flags (MS_REMOUNT).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// The root directory, seen through this mount.
    pub fn root(self: &Arc<Mount>) -> Location {
        Location { mount: self.clone(), dentry: self.sb.root.clone() }
    }

    /// What this lies on.
    pub fn on(&self) -> Option<Location> {
        self.links.lock().on.clone()
    }

    /// Puts this mount on `at`. ENOTDIR, ENOENT (removed), EBUSY (this lies somewhere already), ENOMEM.
    pub fn attach(self: &Arc<Mount>, at: &Location) -> Result<()> {
        if at.dentry.inode().kind() != FileType::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        if at.dentry.is_deleted() {
            return Err(Errno::ENOENT.into());
        }
        {
            let mut links = self.links.lock();
            if links.on.is_some() {
                return Err(Errno::EBUSY.into());
            }
            links.on = Some(at.clone());
        }
        let mut links = at.mount.links.lock();
        let room = links.here.try_reserve(1);
        if room.is_ok() {
            links.here.push((at.dentry.clone(), self.clone()));
            at.dentry.mounted.fetch_add(1, Ordering::Release);
        }
        drop(links);
        if room.is_err() {
            let on = self.links.lock().on.take();
            drop(on);
            return Err(Errno::ENOMEM.into());
        }
        Ok(())
    }

    /// umount(2): takes this mount away from where it lies. EINVAL (it lies nowhere), EBUSY (something lies on it, or a
    /// file of it is in use, unless `lazy`).
    pub fn detach(self: &Arc<Mount>, lazy: bool) -> Result<()> {
        let at = self.on().ok_or(Errno::EINVAL)?;
        // Ours, the caller's and the parent's; what else there is are open files and current directories.
        let idle = Arc::strong_count(self) <= 2 && self.links.lock().here.is_empty();
        if !lazy && !idle {
            return Err(Errno::EBUSY.into());
        }
        let mut parent = at.mount.links.lock();
        let found = parent.here.iter().position(|(_, mount)| Arc::ptr_eq(mount, self)).ok_or(Errno::EINVAL)?;
        let entry = parent.here.remove(found);
        at.dentry.mounted.fetch_sub(1, Ordering::Release);
        drop(parent);
        drop(entry);
        let on = self.links.lock().on.take();
        drop(on);
        if lazy {
            for child in self.children() {
                child.detach(true)?;
            }
        }
        Ok(())
    }

    /// What lies on `dentry` of this mount; the latest, if several do.
    fn over(&self, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        let links = self.links.lock();
        links.here.iter().rev().find(|(at, _)| Arc::ptr_eq(at, dentry)).map(|(_, mount)| mount.clone())
    }

    /// What lies on this mount.
    pub fn children(&self) -> Vec<Arc<Mount>> {
        self.links.lock().here.iter().map(|(_, mount)| mount.clone()).collect()
    }
}

/// A name seen through a mount: what a path leads to.
#[derive(Clone)]
pub struct Location {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name in its file system.
    pub dentry: Arc<Dentry>,
}

impl Location {
    /// The file.
    #[inline]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// Whether both are the same name through the same mount.
    pub fn same(&self, other: &Location) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }

    /// What is seen here: the root of the topmost mount on this name, if there is one.
    #[inline]
    pub fn cross(mut self) -> Location {
        while self.dentry.is_mountpoint() {
            match self.mount.over(&self.dentry) {
                Some(mount) => self = mount.root(),
                None => break,
            }
        }
        self
    }

    /// `..`, which leads no higher than `root`.
    pub fn parent(&self, root: &Location) -> Location {
        let mut at = self.clone();
        loop {
            if at.same(root) {
                return at.cross();
            }
            if let Some(parent) = at.dentry.parent() {
                return Location { mount: at.mount, dentry: parent }.cross();
            }
            match at.mount.on() {
                Some(on) => at = on,
                None => return at.cross(),
            }
        }
    }

    /// The path from `root`. The flag says whether `root` was reached; if not, the path is from the top of what was.
    /// A removed name is shown by its last path.
    pub fn path(&self, root: &Location) -> (Vec<u8>, bool) {
        self.climb(Some(root))
    }

    /// As [`Location::describe`], from the top of the tree.
    pub fn describe_from_top(&self) -> Vec<u8> {
        self.mark_deleted(self.climb(None).0)
    }

    fn mark_deleted(&self, mut path: Vec<u8>) -> Vec<u8> {
        if self.dentry.is_deleted() {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }

    fn climb(&self, root: Option<&Location>) -> (Vec<u8>, bool) {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.clone();
        let reached = loop {
            if root.is_some_and(|root| at.same(root)) {
                break true;
            }
            let place = at.dentry.place();
            match place.parent {
                Some(parent) => {
                    names.push(place.name);
                    at.dentry = parent;
                }
                None => match at.mount.on() {
                    Some(on) => at = on,
                    None => {
                        if *place.name != *b"/" {
                            return (place.name.to_vec(), false);
                        }
                        break false;
                    }
                },
            }
        };
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        (path, reached)
    }

    /// What /proc/PID/cwd, exe and fd/N show: the path, with " (deleted)" behind it if the name is gone.
    pub fn describe(&self, root: &Location) -> Vec<u8> {
        self.mark_deleted(self.path(root).0)
    }

    /// EROFS where the mount is read-only.
    pub fn check_writable(&self) -> Result<()> {
        if self.mount.flags().contains(MountFlags::RDONLY) { Err(Errno::EROFS.into()) } else { Ok(()) }
    }
}

/// Every mount below `root`'s, `root`'s included, in order of mounting.
pub fn all(root: &Location) -> Vec<Arc<Mount>> {
    let mut mounts = alloc::vec![root.mount.clone()];
    let mut next = 0;
    while let Some(mount) = mounts.get(next).cloned() {
        mounts.extend(mount.children());
        next += 1;
    }
    mounts.sort_by_key(|mount| mount.id);
    mounts
}

/// Writes /proc/PID/mounts (proc_pid_mounts(5)).
pub fn show_mounts(root: &Location, out: &mut dyn Write) -> fmt::Result {
    for mount in all(root) {
        let Some(point) = mount_point(&mount, root) else { continue };
        escape(&mount.source, out)?;
        out.write_char(' ')?;
        escape(&point, out)?;
        write!(out, " {} ", mount.fs().name())?;
        show_flags(mount.flags(), out)?;
        mount.fs().show_options(out)?;
        out.write_str(" 0 0\n")?;
    }
    Ok(())
}

/// Writes /proc/PID/mountinfo (proc_pid_mountinfo(5)).
pub fn show_mountinfo(root: &Location, out: &mut dyn Write) -> fmt::Result {
    for mount in all(root) {
        let Some(point) = mount_point(&mount, root) else { continue };
        let parent = mount.on().map_or(mount.id, |on| on.mount.id);
        let dev = mount.fs().device();
        write!(out, "{} {} {}:{} / ", mount.id, parent, dev.major, dev.minor)?;
        escape(&point, out)?;
        out.write_char(' ')?;
        show_flags(mount.flags(), out)?;
        write!(out, " - {} ", mount.fs().name())?;
        escape(&mount.source, out)?;
        let read_only = mount.flags().contains(MountFlags::RDONLY);
        out.write_str(if read_only { " ro" } else { " rw" })?;
        mount.fs().show_options(out)?;
        out.write_char('\n')?;
    }
    Ok(())
}

/// Where `mount` lies, if that can be reached from `root`.
fn mount_point(mount: &Arc<Mount>, root: &Location) -> Option<Vec<u8>> {
    let (path, reached) = mount.root().path(root);
    reached.then_some(path)
}

fn show_flags(flags: MountFlags, out: &mut dyn Write) -> fmt::Result {
    out.write_str(if flags.contains(MountFlags::RDONLY) { "ro" } else { "rw" })?;
    let words = [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::NODIRATIME, ",nodiratime"),
    ];
    for (flag, word) in words {
        if flags.contains(flag) {
            out.write_str(word)?;
        }
    }
    if !flags.intersects(MountFlags::NOATIME | MountFlags::STRICTATIME) {
        out.write_str(",relatime")?;
    }
    Ok(())
}

/// Writes a path with blanks, tabs, newlines and backslashes as octal escapes.
fn escape(path: &[u8], out: &mut dyn Write) -> fmt::Result {
    write_escaped(path, b" \t\n\\#", out)
}

/// Writes `path` with each byte of `special` as an octal escape; so are bytes that are not text.
pub(crate) fn write_escaped(path: &[u8], special: &[u8], out: &mut dyn Write) -> fmt::Result {
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_ascii() && special.contains(&(c as u8)) {
                write!(out, "\\{:03o}", c as u32)?;
            } else {
                out.write_char(c)?;
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\{byte:03o}")?;
        }
    }
    Ok(())
}
