//! The lock order of this crate. A CPU takes these locks in rising rank only.
//!
//! Address-space locks rank below all of these (a fault reaches into a file's pages), the frame
//! allocator's and the executor's above.

use executor::spin::Rank;

/// Serialises the nesting of epoll descriptors.
pub const EPOLL_NESTING: Rank = Rank::new(98, "epoll nesting");
/// A descriptor table's slots.
pub const FD_TABLE: Rank = Rank::new(100, "descriptor table");
/// A process's root and current directory.
pub const FS_CONTEXT: Rank = Rank::new(102, "root and current directory");
/// The position of an open file description; held across the read, write or listing that moves it, so outside of all that
/// these may look at (a listing of /proc asks the process layer).
pub const POSITION: Rank = Rank::new(16, "file position");
/// Serialises renames between directories.
pub const RENAME: Rank = Rank::new(106, "rename");
/// The cached names of a directory; held across the change of the directory itself.
pub const CHILDREN: Rank = Rank::new(108, "directory entries");
/// A dentry's parent and name.
pub const PLACE: Rank = Rank::new(110, "dentry place");
/// What is mounted on a mount.
pub const MOUNT: Rank = Rank::new(112, "mount");
/// The directories of one tmpfs.
pub const NAMES: Rank = Rank::new(114, "tmpfs names");
/// The attributes of an inode.
pub const INODE: Rank = Rank::new(116, "inode");
/// Serialises the writes to one file.
pub const WRITE: Rank = Rank::new(113, "file write");
/// The page tree of a file.
pub const PAGES: Rank = Rank::new(118, "file pages");
/// The table of files with locks.
pub const LOCK_TABLE: Rank = Rank::new(119, "table of file locks");
/// File locks of one inode.
pub const LOCKS: Rank = Rank::new(120, "file locks");
/// Who waits for whose record lock.
pub const LOCK_WAITERS: Rank = Rank::new(121, "record lock waiters");
/// A pipe, an eventfd, a timerfd.
pub const PIPE: Rank = Rank::new(124, "pipe");
/// How many pages of pipes each user has.
pub const PIPE_USERS: Rank = Rank::new(125, "pipe pages per user");
/// What an epoll watches.
pub const EPOLL: Rank = Rank::new(126, "epoll");
/// Which epolls watch a description.
pub const WATCHERS: Rank = Rank::new(127, "watchers");
/// What an epoll has ready.
pub const EPOLL_READY: Rank = Rank::new(132, "epoll ready list");
/// The owner that a description signals.
pub const OWNER: Rank = Rank::new(128, "file owner");
/// How a description signals, if it does.
pub const SIGNALLER: Rank = Rank::new(127, "signaller");
/// Whether a description signals.
pub const ATTACHED: Rank = Rank::new(129, "signalling file");
/// Files whose owners are to be signalled: they become ready under any lock of the kernel.
pub const SIGNALLED: Rank = Rank::new(199, "files to signal");
/// The registry of devices.
pub const DEVICES: Rank = Rank::new(130, "devices");
/// The mount of anonymous files.
pub const ANONYMOUS: Rank = Rank::new(101, "anonymous mount");
/// The root of a tmpfs.
pub const TMPFS_ROOT: Rank = Rank::new(115, "tmpfs root");
