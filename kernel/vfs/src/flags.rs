//! The flags of open(2) and fcntl(2), as the architecture numbers them.

use bitflags::bitflags;
use linux_raw_sys::general as raw;

bitflags! {
    /// What open(2) takes and F_GETFL tells. The access mode is in the lowest two bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct OpenFlags: u32 {
        /// O_WRONLY.
        const WRONLY = raw::O_WRONLY;
        /// O_RDWR.
        const RDWR = raw::O_RDWR;
        /// O_CREAT.
        const CREAT = raw::O_CREAT;
        /// O_EXCL.
        const EXCL = raw::O_EXCL;
        /// O_NOCTTY.
        const NOCTTY = raw::O_NOCTTY;
        /// O_TRUNC.
        const TRUNC = raw::O_TRUNC;
        /// O_APPEND.
        const APPEND = raw::O_APPEND;
        /// O_NONBLOCK.
        const NONBLOCK = raw::O_NONBLOCK;
        /// O_DSYNC.
        const DSYNC = raw::O_DSYNC;
        /// O_SYNC.
        const SYNC = raw::O_SYNC;
        /// O_ASYNC.
        const ASYNC = raw::FASYNC;
        /// O_DIRECT.
        const DIRECT = raw::O_DIRECT;
        /// O_LARGEFILE.
        const LARGEFILE = raw::O_LARGEFILE;
        /// O_DIRECTORY.
        const DIRECTORY = raw::O_DIRECTORY;
        /// O_NOFOLLOW.
        const NOFOLLOW = raw::O_NOFOLLOW;
        /// O_NOATIME.
        const NOATIME = raw::O_NOATIME;
        /// O_CLOEXEC.
        const CLOEXEC = raw::O_CLOEXEC;
        /// O_PATH.
        const PATH = raw::O_PATH;
        /// O_TMPFILE.
        const TMPFILE = raw::O_TMPFILE;
    }
}

/// Every bit that open(2) knows; openat2(2) refuses others.
pub const VALID: u32 = OpenFlags::all().bits() | raw::O_ACCMODE;

impl OpenFlags {
    /// What fcntl(F_SETFL) can change.
    pub const SETTABLE: OpenFlags = OpenFlags::APPEND
        .union(OpenFlags::NONBLOCK)
        .union(OpenFlags::ASYNC)
        .union(OpenFlags::DIRECT)
        .union(OpenFlags::NOATIME);

    /// The status flags that an open file keeps (the others only steer the opening).
    pub const KEPT: OpenFlags = OpenFlags::SETTABLE
        .union(OpenFlags::DSYNC)
        .union(OpenFlags::SYNC)
        .union(OpenFlags::PATH)
        .union(OpenFlags::LARGEFILE)
        .union(OpenFlags::DIRECTORY)
        .union(OpenFlags::NOFOLLOW);

    /// Whether the access mode allows reading. (Mode 3 allows neither read nor write, only ioctl.)
    pub const fn readable(self) -> bool {
        matches!(self.bits() & raw::O_ACCMODE, raw::O_RDONLY | raw::O_RDWR) && !self.contains(OpenFlags::PATH)
    }

    /// Whether the access mode allows writing.
    pub const fn writable(self) -> bool {
        matches!(self.bits() & raw::O_ACCMODE, raw::O_WRONLY | raw::O_RDWR) && !self.contains(OpenFlags::PATH)
    }

    /// The access mode alone.
    pub const fn access_mode(self) -> u32 {
        self.bits() & raw::O_ACCMODE
    }
}
