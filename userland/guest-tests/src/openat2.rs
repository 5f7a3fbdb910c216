//! openat2(2): what it refuses, and where a path may lead.

use core::ffi::CStr;

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::sys::{self, Errno};

use crate::support::call;
use crate::{Outcome, check, tests};

tests! {
    openat2_opens_as_openat_does,
    openat2_refuses_what_openat_overlooks,
    openat2_takes_longer_records_of_zeros,
    resolve_beneath_leads_nowhere_else,
    resolve_in_root_takes_the_directory_for_the_root,
    resolve_no_symlinks_and_no_magiclinks,
    resolve_no_xdev_crosses_no_mount,
}

/// `struct open_how`, and room after it.
type How = [u64; 8];

fn how(flags: u32, mode: u64, resolve: u32) -> How {
    [flags.into(), mode, resolve.into(), 0, 0, 0, 0, 0]
}

fn open_sized(dir: i32, path: &CStr, how: &How, size: usize) -> Result<i32, Errno> {
    let fd = call(__NR_openat2, [dir as usize, path.as_ptr() as usize, how.as_ptr() as usize, size])?;
    Ok(fd as i32)
}

fn open(dir: i32, path: &CStr, flags: u32, resolve: u32) -> Result<(), Errno> {
    sys::close(open_sized(dir, path, &how(flags, 0, resolve), 24)?)
}

const DIR: &CStr = c"/tmp/guest-tests-openat2";

/// A directory with `d/file`, `up` that links to `..`, `abs` to `/etc`, and `in` to `d`; open with O_PATH.
fn tree() -> Result<i32, Errno> {
    let _ = sys::mkdir(DIR, 0o755);
    let dir = sys::open(DIR, O_PATH | O_DIRECTORY, 0)?;
    let _ = call(__NR_mkdirat, [dir as usize, c"d".as_ptr() as usize, 0o755]);
    let file = call(__NR_openat, [dir as usize, c"d/file".as_ptr() as usize, (O_CREAT | O_RDWR) as usize, 0o644])?;
    sys::close(file as i32)?;
    for (target, name) in [(c"..", c"up"), (c"/etc", c"abs"), (c"d", c"in"), (c"/d", c"root")] {
        let _ = call(__NR_symlinkat, [target.as_ptr() as usize, dir as usize, name.as_ptr() as usize]);
    }
    Ok(dir)
}

fn openat2_opens_as_openat_does() -> Outcome {
    let dir = tree()?;
    let fd = open_sized(dir, c"new", &how(O_CREAT | O_RDWR | O_TRUNC, 0o600, 0), 24)?;
    check!(fd > dir);
    check!(sys::write(fd, b"x") == Ok(1));
    check!(open(dir, c"none", O_RDONLY, 0) == Err(Errno(ENOENT)));
    check!(open(9999, c"d", O_RDONLY, 0) == Err(Errno(EBADF)));
    Ok(())
}

fn openat2_refuses_what_openat_overlooks() -> Outcome {
    let dir = tree()?;
    let refused = |how: &How| open_sized(dir, c"d", how, 24) == Err(Errno(EINVAL));
    // No such flag; a mode where nothing is made; one that is none; no such rule; two that contradict; O_PATH with more.
    check!(refused(&[1 << 40, 0, 0, 0, 0, 0, 0, 0]));
    check!(refused(&how(0x4000_0000, 0, 0)));
    check!(refused(&how(O_RDONLY, 0o600, 0)));
    check!(refused(&how(O_CREAT | O_RDWR, 0o10_000, 0)));
    check!(refused(&how(O_RDONLY, 0, 0x1000)));
    check!(refused(&how(O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT)));
    check!(refused(&how(O_PATH | O_RDWR, 0, 0)));
    check!(open_sized(dir, c"d", &how(O_RDONLY, 0, 0), 23) == Err(Errno(EINVAL)));
    check!(open_sized(dir, c"d", &how(O_RDONLY, 0, 0), 0) == Err(Errno(EINVAL)));
    Ok(())
}

fn openat2_takes_longer_records_of_zeros() -> Outcome {
    let dir = tree()?;
    let mut long = how(O_RDONLY, 0, 0);
    sys::close(open_sized(dir, c"d", &long, 64)?)?;
    long[5] = 1;
    check!(open_sized(dir, c"d", &long, 64) == Err(Errno(E2BIG)));
    check!(open_sized(dir, c"d", &long, 8192) == Err(Errno(E2BIG)));
    Ok(())
}

fn resolve_beneath_leads_nowhere_else() -> Outcome {
    let dir = tree()?;
    check!(open(dir, c"d/file", O_RDONLY, RESOLVE_BENEATH) == Ok(()));
    check!(open(dir, c"d/../d/file", O_RDONLY, RESOLVE_BENEATH) == Ok(()));
    check!(open(dir, c"in/file", O_RDONLY, RESOLVE_BENEATH) == Ok(()));
    for path in [c"..", c"up", c"/etc", c"abs", c"d/../..", c"up/d"] {
        check!(open(dir, path, O_RDONLY, RESOLVE_BENEATH) == Err(Errno(EXDEV)));
    }
    Ok(())
}

fn resolve_in_root_takes_the_directory_for_the_root() -> Outcome {
    let dir = tree()?;
    check!(open(dir, c"/d/file", O_RDONLY, RESOLVE_IN_ROOT) == Ok(()));
    check!(open(dir, c"../../d/file", O_RDONLY, RESOLVE_IN_ROOT) == Ok(()));
    check!(open(dir, c"root/file", O_RDONLY, RESOLVE_IN_ROOT) == Ok(()));
    check!(open(dir, c"up/d/file", O_RDONLY, RESOLVE_IN_ROOT) == Ok(()));
    check!(open(dir, c"abs/passwd", O_RDONLY, RESOLVE_IN_ROOT) == Err(Errno(ENOENT)));
    Ok(())
}

fn resolve_no_symlinks_and_no_magiclinks() -> Outcome {
    let dir = tree()?;
    check!(open(dir, c"in/file", O_RDONLY, RESOLVE_NO_SYMLINKS) == Err(Errno(ELOOP)));
    check!(open(dir, c"in", O_RDONLY, RESOLVE_NO_SYMLINKS) == Err(Errno(ELOOP)));
    check!(open(dir, c"in", O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS) == Ok(()));
    check!(open(dir, c"in/file", O_RDONLY, RESOLVE_NO_MAGICLINKS) == Ok(()));
    check!(open(-100, c"/proc/self/exe", O_RDONLY, 0) == Ok(()));
    check!(open(-100, c"/proc/self/exe", O_RDONLY, RESOLVE_NO_MAGICLINKS) == Err(Errno(ELOOP)));
    Ok(())
}

fn resolve_no_xdev_crosses_no_mount() -> Outcome {
    let root = sys::open(c"/", O_PATH | O_DIRECTORY, 0)?;
    check!(open(root, c"proc/self/stat", O_RDONLY, 0) == Ok(()));
    check!(open(root, c"proc/self/stat", O_RDONLY, RESOLVE_NO_XDEV) == Err(Errno(EXDEV)));
    let proc = sys::open(c"/proc", O_PATH | O_DIRECTORY, 0)?;
    check!(open(proc, c"self/stat", O_RDONLY, RESOLVE_NO_XDEV) == Ok(()));
    check!(open(proc, c"..", O_RDONLY, RESOLVE_NO_XDEV) == Err(Errno(EXDEV)));
    Ok(())
}
