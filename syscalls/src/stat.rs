//! What files and file systems are like: stat(2), statx(2), statfs(2).

use crate::abi;
use crate::args::Args;
use crate::paths::{check_flags, file, place, resolve};
use crate::table::{Calls, fast};
use arch::addr::VirtAddr;
use base::{Errno, Result, Timespec};
use linux_raw_sys::general as raw;
use memory::user::{UserPtr, UserStr};
use process::Current;
use vfs::mount::MountFlags;
use vfs::{Location, Metadata};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_fstat, fast!(fstat)),
    (raw::__NR_newfstatat, fast!(fstatat)),
    (raw::__NR_statx, fast!(statx)),
    (raw::__NR_statfs, fast!(statfs)),
    (raw::__NR_fstatfs, fast!(fstatfs)),
];

const HERE: i32 = raw::AT_FDCWD;

fn store(out: VirtAddr, metadata: &Metadata) -> Result<usize> {
    UserPtr::new(out).write(&abi::encode_stat(metadata))?;
    Ok(0)
}

fn fstat(current: &mut Current, args: &Args) -> Result<usize> {
    let metadata = file(current, args, 0)?.metadata();
    store(args.addr(1), &metadata)
}

/// What is known of the file that the path, or the descriptor alone, leads to.
fn metadata(current: &Current, dir: i32, path: UserStr, flags: u32) -> Result<Metadata> {
    let empty = flags & raw::AT_EMPTY_PATH != 0;
    if empty && dir != HERE && path.read_path()?.is_empty() {
        return Ok(current.files.get(dir as u32)?.metadata());
    }
    Ok(resolve(current, dir, path, flags)?.inode().metadata())
}

fn fstatat(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(3);
    check_flags(flags, raw::AT_SYMLINK_NOFOLLOW | raw::AT_EMPTY_PATH | raw::AT_NO_AUTOMOUNT)?;
    let metadata = metadata(current, args.int(0), args.str(1), flags)?;
    store(args.addr(2), &metadata)
}

/// stat(2).
pub fn stat(current: &mut Current, args: &Args) -> Result<usize> {
    let metadata = metadata(current, HERE, args.str(0), 0)?;
    store(args.addr(1), &metadata)
}

/// lstat(2).
pub fn lstat(current: &mut Current, args: &Args) -> Result<usize> {
    let metadata = metadata(current, HERE, args.str(0), raw::AT_SYMLINK_NOFOLLOW)?;
    store(args.addr(1), &metadata)
}

/// Bytes in `struct statx`.
const STATX: usize = 256;

fn statx(current: &mut Current, args: &Args) -> Result<usize> {
    let (dir, path, flags) = (args.int(0), args.str(1), args.uint(2));
    let known = raw::AT_SYMLINK_NOFOLLOW | raw::AT_EMPTY_PATH | raw::AT_NO_AUTOMOUNT | raw::AT_STATX_SYNC_TYPE;
    check_flags(flags, known)?;
    const RESERVED: u32 = 0x8000_0000;
    let sync = flags & raw::AT_STATX_SYNC_TYPE;
    if args.uint(3) & RESERVED != 0 || sync == raw::AT_STATX_SYNC_TYPE {
        return Err(Errno::EINVAL.into());
    }
    // A null path means the descriptor, as the empty one does.
    let at = if path.is_null() && flags & raw::AT_EMPTY_PATH != 0 {
        place(current, dir)?
    } else {
        resolve(current, dir, path, flags)?
    };
    args.ptr::<[u8; STATX]>(4).write(&encode_statx(&at))?;
    Ok(0)
}

fn encode_statx(at: &Location) -> [u8; STATX] {
    let m = at.inode().metadata();
    let mut out = [0; STATX];
    let mut put = |offset: usize, bytes: &[u8]| out[offset..offset + bytes.len()].copy_from_slice(bytes);
    let mask = raw::STATX_BASIC_STATS | raw::STATX_BTIME | raw::STATX_MNT_ID;
    let is_root = at.same(&at.mount.root());
    put(0, &mask.to_ne_bytes());
    put(4, &m.block_size.to_ne_bytes());
    put(8, &(if is_root { u64::from(raw::STATX_ATTR_MOUNT_ROOT) } else { 0 }).to_ne_bytes());
    put(16, &m.nlink.to_ne_bytes());
    put(20, &m.uid.to_ne_bytes());
    put(24, &m.gid.to_ne_bytes());
    put(28, &(m.st_mode() as u16).to_ne_bytes());
    put(32, &m.ino.to_ne_bytes());
    put(40, &m.size.to_ne_bytes());
    put(48, &m.blocks.to_ne_bytes());
    put(56, &u64::from(raw::STATX_ATTR_MOUNT_ROOT).to_ne_bytes());
    for (i, Timespec { sec, nsec }) in [m.atime, m.btime, m.ctime, m.mtime].into_iter().enumerate() {
        put(64 + 16 * i, &sec.to_ne_bytes());
        put(72 + 16 * i, &(nsec as u32).to_ne_bytes());
    }
    put(128, &m.rdev.major.to_ne_bytes());
    put(132, &m.rdev.minor.to_ne_bytes());
    put(136, &m.dev.major.to_ne_bytes());
    put(140, &m.dev.minor.to_ne_bytes());
    put(144, &u64::from(at.mount.id()).to_ne_bytes());
    out
}

/// `struct statfs`, the same on both architectures, in words.
type RawStatfs = [u64; 15];

/// ST_ flags, which differ from those of mount(2) for the access times.
fn statfs_flags(flags: MountFlags) -> u64 {
    const VALID: u64 = 0x20;
    const NODIRATIME: u64 = 0x800;
    const NOATIME: u64 = 0x400;
    const RELATIME: u64 = 0x1000;
    let mut out = VALID | u64::from(flags.bits() & 0xf);
    for (flag, bit) in [(MountFlags::NOATIME, NOATIME), (MountFlags::NODIRATIME, NODIRATIME)] {
        if flags.contains(flag) {
            out |= bit;
        }
    }
    if !flags.intersects(MountFlags::NOATIME | MountFlags::STRICTATIME) {
        out |= RELATIME;
    }
    out
}

fn store_statfs(at: &Location, out: UserPtr<RawStatfs>) -> Result<usize> {
    let fs = at.mount.fs();
    let s = fs.statfs();
    let words = [
        s.magic,
        s.block_size,
        s.blocks,
        s.blocks_free,
        s.blocks_available,
        s.files,
        s.files_free,
        fs.device().encode(),
        s.name_max,
        s.block_size,
        statfs_flags(at.mount.flags()),
        0,
        0,
        0,
        0,
    ];
    out.write(&words)?;
    Ok(0)
}

fn statfs(current: &mut Current, args: &Args) -> Result<usize> {
    let at = resolve(current, HERE, args.str(0), 0)?;
    store_statfs(&at, args.ptr(1))
}

fn fstatfs(current: &mut Current, args: &Args) -> Result<usize> {
    let at = file(current, args, 0)?.location();
    store_statfs(&at, args.ptr(1))
}
