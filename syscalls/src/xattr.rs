//! Extended attributes (xattr(7)): which name spaces who may use, and the twelve calls.

use crate::args::Args;
use crate::paths::{check_flags, opened, resolve};
use crate::table::{Calls, fast};
use alloc::vec::Vec;
use base::{Capability, Credentials, Errno, Error, Result};
use linux_raw_sys::general as raw;
use memory::user::{UserPtr, UserStr};
use process::Current;
use vfs::permission::{self, Access, STICKY};
use vfs::{FileType, Location};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_getxattr, fast!(getxattr)),
    (raw::__NR_lgetxattr, fast!(lgetxattr)),
    (raw::__NR_fgetxattr, fast!(fgetxattr)),
    (raw::__NR_setxattr, fast!(setxattr)),
    (raw::__NR_lsetxattr, fast!(lsetxattr)),
    (raw::__NR_fsetxattr, fast!(fsetxattr)),
    (raw::__NR_listxattr, fast!(listxattr)),
    (raw::__NR_llistxattr, fast!(llistxattr)),
    (raw::__NR_flistxattr, fast!(flistxattr)),
    (raw::__NR_removexattr, fast!(removexattr)),
    (raw::__NR_lremovexattr, fast!(lremovexattr)),
    (raw::__NR_fremovexattr, fast!(fremovexattr)),
];

/// The longest name.
const NAME_MAX: usize = 255;
/// The longest value.
const VALUE_MAX: usize = 65536;

/// ERANGE for an empty name or one that is too long.
fn name(ptr: UserStr) -> Result<Vec<u8>> {
    let name = ptr.read_vec(NAME_MAX, Errno::ERANGE)?;
    if name.is_empty() { Err(Errno::ERANGE.into()) } else { Ok(name) }
}

/// Whether `cred` may read, or change, the attribute: EPERM, EACCES, EROFS, ENODATA, EOPNOTSUPP.
fn check(cred: &Credentials, at: &Location, name: &[u8], writes: bool) -> Result<()> {
    if writes {
        at.check_writable()?;
    }
    let file = at.inode().ownership();
    let refused: Error = if writes { Errno::EPERM } else { Errno::ENODATA }.into();
    if name.starts_with(b"trusted.") {
        return if cred.has(Capability::SysAdmin) { Ok(()) } else { Err(refused) };
    }
    if name.starts_with(b"security.") {
        return if !writes || cred.has(Capability::SysAdmin) { Ok(()) } else { Err(refused) };
    }
    if name.starts_with(b"system.") {
        let owns = !writes || permission::is_owner(cred, &file);
        return if owns { Ok(()) } else { Err(refused) };
    }
    if !name.starts_with(b"user.") {
        return Err(Errno::EOPNOTSUPP.into());
    }
    match file.kind {
        FileType::Regular => {}
        FileType::Directory if writes && file.mode & STICKY != 0 && !permission::is_owner(cred, &file) => {
            return Err(Errno::EPERM.into());
        }
        FileType::Directory => {}
        _ => return Err(refused),
    }
    permission::check(cred, &file, if writes { Access::WRITE } else { Access::READ })
}

/// Stores `value` where there are `size` bytes; with none, only its length is asked for. ERANGE.
fn store(value: &[u8], out: UserPtr<u8>, size: usize) -> Result<usize> {
    if size > 0 {
        if value.len() > size {
            return Err(Errno::ERANGE.into());
        }
        out.write_slice(value)?;
    }
    Ok(value.len())
}

fn get(current: &Current, at: &Location, args: &Args) -> Result<usize> {
    let name = name(args.str(1))?;
    check(&current.cred, at, &name, false)?;
    store(&at.inode().get_xattr(&name)?, args.ptr(2), args.size(3))
}

fn set(current: &Current, at: &Location, args: &Args) -> Result<usize> {
    let flags = args.uint(4);
    check_flags(flags, raw::XATTR_CREATE | raw::XATTR_REPLACE)?;
    let name = name(args.str(1))?;
    if args.size(3) > VALUE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let value = args.ptr::<u8>(2).read_vec(args.size(3))?;
    check(&current.cred, at, &name, true)?;
    at.inode().set_xattr(&name, &value, flags).map(|()| 0)
}

/// A file that cannot have attributes has none.
fn list(at: &Location, args: &Args) -> Result<usize> {
    let names = match at.inode().list_xattr() {
        Err(Error::Errno(Errno::EOPNOTSUPP)) => Vec::new(),
        other => other?,
    };
    store(&names, args.ptr(1), args.size(2))
}

fn remove(current: &Current, at: &Location, args: &Args) -> Result<usize> {
    let name = name(args.str(1))?;
    check(&current.cred, at, &name, true)?;
    at.inode().remove_xattr(&name).map(|()| 0)
}

fn followed(current: &Current, args: &Args) -> Result<Location> {
    resolve(current, raw::AT_FDCWD, args.str(0), 0)
}

fn link(current: &Current, args: &Args) -> Result<Location> {
    resolve(current, raw::AT_FDCWD, args.str(0), raw::AT_SYMLINK_NOFOLLOW)
}

fn open(current: &Current, args: &Args) -> Result<Location> {
    Ok(opened(current, args, 0)?.location())
}

macro_rules! calls {
    ($($name:ident = $act:ident($find:ident);)*) => {
        $(fn $name(current: &mut Current, args: &Args) -> Result<usize> {
            let at = $find(current, args)?;
            $act(current, &at, args)
        })*
    };
}

fn names(_: &Current, at: &Location, args: &Args) -> Result<usize> {
    list(at, args)
}

calls! {
    getxattr = get(followed);
    lgetxattr = get(link);
    fgetxattr = get(open);
    setxattr = set(followed);
    lsetxattr = set(link);
    fsetxattr = set(open);
    listxattr = names(followed);
    llistxattr = names(link);
    flistxattr = names(open);
    removexattr = remove(followed);
    lremovexattr = remove(link);
    fremovexattr = remove(open);
}
