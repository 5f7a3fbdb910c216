//! What a file is, apart from its names: its attributes, and for directories what they hold.
//!
//! File systems implement [`Inode`]. Each method has a default with the errno of a file that cannot
//! do it, so procfs, devpts or sockets write only what they have. Permission of the caller is
//! checked above ([`crate::permission`]); an implementation checks only what the tree itself forbids.

use crate::file::{Caller, File};
use crate::flags::OpenFlags;
use crate::mount::Location;
use crate::writers::Writers;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Result, Timespec};
use memory::space::Mappings;

/// The longest name of one file, in bytes.
pub const NAME_MAX: usize = 255;

/// The type of a file (inode(7)), valued as in the S_IFMT bits of st_mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "inode(7) documents them")]
pub enum FileType {
    /// Anonymous inodes (epoll, eventfd) have none.
    None = 0,
    Fifo = 0o010000,
    CharDevice = 0o020000,
    Directory = 0o040000,
    BlockDevice = 0o060000,
    Regular = 0o100000,
    Symlink = 0o120000,
    Socket = 0o140000,
}

impl FileType {
    /// From the S_IFMT bits of a mode.
    pub const fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode & 0o170000 {
            0o010000 => FileType::Fifo,
            0o020000 => FileType::CharDevice,
            0o040000 => FileType::Directory,
            0o060000 => FileType::BlockDevice,
            0o100000 => FileType::Regular,
            0o120000 => FileType::Symlink,
            0o140000 => FileType::Socket,
            _ => return None,
        })
    }

    /// The DT_ value of getdents64(2).
    pub const fn dirent(self) -> u8 {
        (self as u32 >> 12) as u8
    }
}

/// A device's number (makedev(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The driver's unit.
    pub minor: u32,
}

impl Device {
    /// Device `major`:`minor`.
    pub const fn new(major: u32, minor: u32) -> Device {
        Device { major, minor }
    }

    /// As st_dev and st_rdev hold it, and mknod(2) takes it.
    pub const fn encode(self) -> u64 {
        let (major, minor) = (self.major as u64, self.minor as u64);
        minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
    }

    /// From what mknod(2) takes.
    pub const fn decode(device: u64) -> Device {
        Device {
            major: (device >> 8 & 0xfff | device >> 32 & !0xfff) as u32,
            minor: (device & 0xff | device >> 12 & 0xffff_ff00) as u32,
        }
    }
}

/// What stat(2) tells.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "stat(2) documents them")]
pub struct Metadata {
    /// The device that the file system is on.
    pub dev: Device,
    pub ino: u64,
    pub kind: FileType,
    /// Permission bits, set-user-ID, set-group-ID, sticky: 0 to 0o7777.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: Device,
    pub size: u64,
    /// Space in units of 512 bytes.
    pub blocks: u64,
    /// st_blksize.
    pub block_size: u32,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub btime: Timespec,
}

impl Metadata {
    /// Attributes of a file of `kind` owned by root, with link count 1 and all times `time`; for file systems that make their
    /// inodes up.
    pub fn new(dev: Device, ino: u64, kind: FileType, mode: u32, time: Timespec) -> Metadata {
        Metadata {
            dev,
            ino,
            kind,
            mode,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: Device::default(),
            size: 0,
            blocks: 0,
            block_size: 4096,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
        }
    }

    /// st_mode: type and permissions.
    pub const fn st_mode(&self) -> u32 {
        self.kind as u32 | self.mode
    }
}

/// What permission checks look at.
#[derive(Clone, Copy, Debug)]
pub struct Ownership {
    /// The type.
    pub kind: FileType,
    /// The mode, 0 to 0o7777.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Changes of attributes; `None` leaves one as it is. The ctime becomes now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// The mode, 0 to 0o7777.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The time of the last access.
    pub atime: Option<Timespec>,
    /// The time of the last change of the content.
    pub mtime: Option<Timespec>,
}

/// What a socket's name leads to: an object of the network's. It is to hold the socket weakly.
pub type Bound = Arc<dyn core::any::Any + Send + Sync>;

/// What to create in a directory.
#[derive(Clone, Copy, Debug)]
pub enum NewKind<'a> {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Symlink(&'a [u8]),
    /// A FIFO.
    Fifo,
    /// A socket's name; what it is bound to, unless mknod(2) makes it.
    Socket(Option<&'a Bound>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
}

/// A file to be created. Mode and owner are final: the umask and a set-group-ID directory are accounted for.
#[derive(Clone, Copy, Debug)]
pub struct NewInode<'a> {
    /// The type, and what belongs to it.
    pub kind: NewKind<'a>,
    /// The mode, 0 to 0o7777.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// What rename(2) does about an existing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replaces it.
    Replace,
    /// EEXIST.
    NoReplace,
    /// The two change places.
    Exchange,
}

/// Where a symbolic link leads.
pub enum Link {
    /// A path, resolved from the link's directory.
    Path(Vec<u8>),
    /// An object itself, whatever its name is now: /proc/PID/fd/N, exe, cwd, root.
    Location(Location),
}

/// One entry of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The inode number.
    pub ino: u64,
    /// The type.
    pub kind: FileType,
    /// The position of the entry *after* this one (d_off).
    pub next: u64,
}

/// Takes entries; `false` means it has no room for this one, and the walk ends before it.
pub type Sink<'a> = dyn FnMut(Entry<'_>) -> bool + 'a;

/// Whether a read now, at `now`, is noted in the atime with "relatime": once after each change, and once a day.
pub fn relatime(atime: Timespec, mtime: Timespec, ctime: Timespec, now: Timespec) -> bool {
    const DAY: i64 = 24 * 60 * 60;
    atime <= mtime || atime <= ctime || now.sec - atime.sec >= DAY
}

/// After a truncate, takes the pages behind the end from whoever maps them; private copies go, too. To be awaited after
/// truncate(2), ftruncate(2), and open(2) with O_TRUNC.
pub async fn unmap_beyond(inode: &dyn Inode, size: u64) {
    if let Some(mappings) = inode.mappings()
        && !mappings.is_empty()
    {
        mappings.unmap(size.div_ceil(arch::addr::PAGE_SIZE as u64), u64::MAX, true).await;
    }
}

/// A file apart from its names.
pub trait Inode: Send + Sync {
    /// What stat(2) tells.
    fn metadata(&self) -> Metadata;

    /// The type; never changes.
    fn kind(&self) -> FileType {
        self.metadata().kind
    }

    /// What permission checks need. Override where it is cheaper than [`Inode::metadata`].
    fn ownership(&self) -> Ownership {
        let m = self.metadata();
        Ownership { kind: m.kind, mode: m.mode, uid: m.uid, gid: m.gid }
    }

    /// For directories: whether entries come and go only by the methods here, so that the names may be cached for as
    /// long as the file system is mounted.
    fn cacheable(&self) -> bool {
        false
    }

    /// The entry `name` (never "." or ".."). ENOENT.
    fn lookup(&self, _caller: &Caller, _name: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOTDIR.into())
    }

    /// Creates `name`, which the caller has seen not to exist. EEXIST, ENOSPC, ENOENT (the directory is removed).
    fn create(&self, _caller: &Caller, _name: &[u8], new: &NewInode) -> Result<Arc<dyn Inode>> {
        Err(if matches!(new.kind, NewKind::Regular) { Errno::EACCES } else { Errno::EPERM }.into())
    }

    /// Makes an inode without a name (O_TMPFILE); [`Inode::link`] may give it one.
    fn create_unnamed(&self, _caller: &Caller, _new: &NewInode) -> Result<Arc<dyn Inode>> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// Makes `name` another name of `target`, which is of the same file system. EEXIST, EMLINK.
    fn link(&self, _name: &[u8], _target: &Arc<dyn Inode>) -> Result<()> {
        Err(Errno::EPERM.into())
    }

    /// Removes the entry `name` of something that is not a directory.
    fn unlink(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM.into())
    }

    /// Removes the empty directory `name`. ENOTEMPTY.
    fn rmdir(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM.into())
    }

    /// Moves `name` to `to_name` in `to`, a directory of the same file system (possibly this one). That neither is
    /// below the other has been checked.
    fn rename(&self, _name: &[u8], _to: &Arc<dyn Inode>, _to_name: &[u8], _mode: RenameMode) -> Result<()> {
        Err(Errno::EPERM.into())
    }

    /// Where a symbolic link leads. EINVAL for any other file.
    fn readlink(&self, _caller: &Caller) -> Result<Link> {
        Err(Errno::EINVAL.into())
    }

    /// What readlink(2) on a [`Link::Location`] shows where that is not the location's path ("pipe:[7]").
    /// `None`: the location's path.
    fn link_text(&self, _caller: &Caller) -> Option<Vec<u8>> {
        None
    }

    /// Hands the entries from position `from` on to `sink`, without "." and "..", and returns the position to go on from.
    /// Positions start at 2 and stay valid while the directory is open, whatever comes and goes.
    fn readdir(&self, _caller: &Caller, _from: u64, _sink: &mut Sink) -> Result<u64> {
        Err(Errno::ENOTDIR.into())
    }

    /// Sets the size. EINVAL where there is none to set, EFBIG, EPERM (sealed). The caller then awaits
    /// [`unmap_beyond`].
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(Errno::EINVAL.into())
    }

    /// Changes attributes.
    fn set_attributes(&self, _change: &Attributes) -> Result<()> {
        Err(Errno::EPERM.into())
    }

    /// The content was read: sets the atime, always if `strict`, else where [`relatime`] says so.
    fn accessed(&self, _strict: bool) {}

    /// Makes the file open. Not called for directories, which [`crate::directory`] opens, and for
    /// symbolic links. Where opening waits (a FIFO for its peer), [`File::finish_open`] does.
    fn open(self: Arc<Self>, _caller: &Caller, _flags: OpenFlags) -> Result<Arc<dyn File>> {
        Err(Errno::ENXIO.into())
    }

    /// Who maps the file.
    fn mappings(&self) -> Option<&Mappings> {
        None
    }

    /// Who writes or executes it; `None` for what is not a regular file, or is never executed.
    fn writers(&self) -> Option<&Writers> {
        None
    }

    /// What a socket's name is bound to.
    fn bound(&self) -> Option<Bound> {
        None
    }

    /// This object as itself, for code that knows the kind (a socket's address, a pipe).
    fn as_any(&self) -> Option<&dyn core::any::Any> {
        None
    }

    /// An extended attribute (getxattr(2)).
    fn get_xattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// Sets an extended attribute. `flags` are XATTR_CREATE and XATTR_REPLACE.
    fn set_xattr(&self, _name: &[u8], _value: &[u8], _flags: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// The names of the extended attributes, each ended by a zero byte.
    fn list_xattr(&self) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP.into())
    }

    /// Removes an extended attribute.
    fn remove_xattr(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP.into())
    }
}
