//! mount(2) and umount(2).
//!
//! A program can mount a new tmpfs. The other file systems show the kernel's own state and are there from boot
//! (ENODEV); binds and moves are not offered (EINVAL).

use crate::args::Args;
use crate::paths::{check_flags, resolve};
use crate::table::{Calls, fast};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Capability, Errno, Result};
use linux_raw_sys::general as raw;
use memory::user::{PATH_MAX, UserStr};
use process::Current;
use vfs::mount::{Mount, MountFlags};
use vfs::tmpfs::{Options, Tmpfs};
use vfs::{FileSystem, Location};

/// The family.
pub const CALLS: Calls = &[(raw::__NR_mount, fast!(mount)), (raw::__NR_umount2, fast!(umount))];

const HERE: i32 = raw::AT_FDCWD;

fn check_privilege(current: &Current) -> Result<()> {
    if current.cred.has(Capability::SysAdmin) { Ok(()) } else { Err(Errno::EPERM.into()) }
}

/// A string that may be left out.
fn text(ptr: UserStr) -> Result<Vec<u8>> {
    if ptr.is_null() { Ok(Vec::new()) } else { ptr.read_vec(PATH_MAX - 1, Errno::EINVAL) }
}

fn mount(current: &mut Current, args: &Args) -> Result<usize> {
    const MAGIC: u32 = 0xc0ed_0000;
    let mut flags = args.uint(3);
    if flags & 0xffff_0000 == MAGIC {
        flags &= 0xffff;
    }
    let (source, kind, data) = (text(args.str(0))?, text(args.str(2))?, text(args.str(4))?);
    let at = resolve(current, HERE, args.str(1), 0)?;
    check_privilege(current)?;
    let wanted = MountFlags::from_bits_truncate(flags);
    if flags & (raw::MS_BIND | raw::MS_MOVE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & raw::MS_REMOUNT != 0 {
        root_of_mount(&at)?.set_flags(wanted);
        return Ok(0);
    }
    if flags & (raw::MS_SHARED | raw::MS_PRIVATE | raw::MS_SLAVE | raw::MS_UNBINDABLE) != 0 {
        // There is one namespace and nothing is bound, so that every mount is private already.
        let private = flags & (raw::MS_SHARED | raw::MS_SLAVE | raw::MS_UNBINDABLE) == 0;
        root_of_mount(&at)?;
        return if private { Ok(0) } else { Err(Errno::EINVAL.into()) };
    }
    if kind != b"tmpfs" {
        return Err(Errno::ENODEV.into());
    }
    let fs: Arc<dyn FileSystem> = Tmpfs::new(options(&data).ok_or(Errno::EINVAL)?)?;
    Mount::new(fs, &source, wanted).attach(&at)?;
    Ok(0)
}

/// The mount that `at` is the root of. EINVAL.
fn root_of_mount(at: &Location) -> Result<&Arc<Mount>> {
    if at.same(&at.mount.root()) { Ok(&at.mount) } else { Err(Errno::EINVAL.into()) }
}

/// The options of a tmpfs (tmpfs(5)); `None` for one that is not known.
fn options(data: &[u8]) -> Option<Options> {
    let mut options = Options::default();
    let data = core::str::from_utf8(data).ok()?;
    for option in data.split(',').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=')?;
        match name {
            "size" => options.size = size(value)?,
            "nr_blocks" => options.size = size(value)?.checked_mul(arch::addr::PAGE_SIZE as u64)?,
            "nr_inodes" => options.inodes = size(value)?,
            "mode" => options.mode = u32::from_str_radix(value, 8).ok()? & 0o7777,
            _ => return None,
        }
    }
    Some(options)
}

/// A number with k, m or g behind it, or a percentage of the memory. 0 is no limit.
fn size(value: &str) -> Option<u64> {
    if let Some(percent) = value.strip_suffix('%') {
        let total = memory::frames::total_bytes() as u64;
        return Some(total / 100 * percent.parse::<u64>().ok()?);
    }
    let (digits, shift) = match value.as_bytes().last()? {
        b'k' | b'K' => (&value[..value.len() - 1], 10),
        b'm' | b'M' => (&value[..value.len() - 1], 20),
        b'g' | b'G' => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    let number = digits.parse::<u64>().ok()?;
    if number == 0 { Some(u64::MAX) } else { number.checked_mul(1 << shift) }
}

fn umount(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(1);
    check_flags(flags, raw::MNT_FORCE | raw::MNT_DETACH | raw::MNT_EXPIRE | raw::UMOUNT_NOFOLLOW)?;
    check_privilege(current)?;
    if flags & raw::MNT_EXPIRE != 0 {
        // Nothing is marked to expire; with the other flags it could not be.
        return Err(Errno::EINVAL.into());
    }
    let follow = if flags & raw::UMOUNT_NOFOLLOW != 0 { raw::AT_SYMLINK_NOFOLLOW } else { 0 };
    let at = resolve(current, HERE, args.str(0), follow)?;
    let mount = root_of_mount(&at)?.clone();
    drop(at);
    mount.detach(flags & raw::MNT_DETACH != 0)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_zero_is_no_limit() {
        assert_eq!(size("64k"), Some(65536));
        assert_eq!(size("3"), Some(3));
        assert_eq!(size("0"), Some(u64::MAX));
        assert_eq!(size("x"), None);
        assert_eq!(size(""), None);
    }
}
