//! Who a thread is: ids, groups, sessions, user and group ids (credentials(7)).

use crate::args::Args;
use crate::table::{Calls, fast};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::cred::ALL_CAPABILITIES;
use base::{Capability, Credentials, Errno, Result};
use linux_raw_sys::general as nr;
use memory::user::UserPtr;
use process::{Current, Process, pid, tree};

/// The family.
pub const CALLS: Calls = &[
    (nr::__NR_getpid, fast!(getpid)),
    (nr::__NR_gettid, fast!(gettid)),
    (nr::__NR_getppid, fast!(getppid)),
    (nr::__NR_getuid, fast!(|current, _| Ok(current.cred.uid as usize))),
    (nr::__NR_geteuid, fast!(|current, _| Ok(current.cred.euid as usize))),
    (nr::__NR_getgid, fast!(|current, _| Ok(current.cred.gid as usize))),
    (nr::__NR_getegid, fast!(|current, _| Ok(current.cred.egid as usize))),
    (nr::__NR_getresuid, fast!(getresuid)),
    (nr::__NR_getresgid, fast!(getresgid)),
    (nr::__NR_setuid, fast!(setuid)),
    (nr::__NR_setgid, fast!(setgid)),
    (nr::__NR_setreuid, fast!(setreuid)),
    (nr::__NR_setregid, fast!(setregid)),
    (nr::__NR_setresuid, fast!(setresuid)),
    (nr::__NR_setresgid, fast!(setresgid)),
    (nr::__NR_setfsuid, fast!(setfsuid)),
    (nr::__NR_setfsgid, fast!(setfsgid)),
    (nr::__NR_getgroups, fast!(getgroups)),
    (nr::__NR_setgroups, fast!(setgroups)),
    (nr::__NR_getpgid, fast!(getpgid)),
    (nr::__NR_setpgid, fast!(setpgid)),
    (nr::__NR_getsid, fast!(getsid)),
    (nr::__NR_setsid, fast!(setsid)),
];

fn getpid(current: &mut Current, _: &Args) -> Result<usize> {
    Ok(current.thread.process.id() as usize)
}

fn gettid(current: &mut Current, _: &Args) -> Result<usize> {
    Ok(current.thread.id() as usize)
}

fn getppid(current: &mut Current, _: &Args) -> Result<usize> {
    Ok(current.thread.process.parent(&tree::lock()).map_or(0, |parent| parent.id() as usize))
}

/// The process that an argument names: 0 is the caller's own. ESRCH.
fn named(current: &Current, id: i32) -> Result<Arc<Process>> {
    if id == 0 {
        return Ok(current.thread.process.clone());
    }
    Ok(u32::try_from(id).ok().and_then(pid::find_process).ok_or(Errno::ESRCH)?)
}

fn getpgid(current: &mut Current, args: &Args) -> Result<usize> {
    let process = named(current, args.int(0))?;
    Ok(tree::group_of(&tree::lock(), &process) as usize)
}

/// getpgrp(2), which only x86_64 has.
pub fn getpgrp(current: &mut Current, _: &Args) -> Result<usize> {
    Ok(tree::group_of(&tree::lock(), &current.thread.process) as usize)
}

fn getsid(current: &mut Current, args: &Args) -> Result<usize> {
    let process = named(current, args.int(0))?;
    Ok(tree::session_of(&tree::lock(), &process) as usize)
}

fn setpgid(current: &mut Current, args: &Args) -> Result<usize> {
    let (target, group) = (args.int(0), args.int(1));
    // A group of 0 is that of the target's own number.
    if group < 0 || (group == 0 && target < 0) {
        return Err(Errno::EINVAL.into());
    }
    let target = u32::try_from(target).map_err(|_| Errno::ESRCH)?;
    tree::set_group(&current.thread.process, target, group as u32)?;
    Ok(0)
}

fn setsid(current: &mut Current, _: &Args) -> Result<usize> {
    Ok(tree::new_session(&current.thread.process)? as usize)
}

fn getresuid(current: &mut Current, args: &Args) -> Result<usize> {
    let cred = &current.cred;
    store3(args, [cred.uid, cred.euid, cred.suid])
}

fn getresgid(current: &mut Current, args: &Args) -> Result<usize> {
    let cred = &current.cred;
    store3(args, [cred.gid, cred.egid, cred.sgid])
}

fn store3(args: &Args, ids: [u32; 3]) -> Result<usize> {
    for (i, id) in ids.iter().enumerate() {
        args.ptr::<u32>(i).write(id)?;
    }
    Ok(0)
}

/// Changes the caller's credentials by a copy.
fn change(current: &mut Current, change: impl FnOnce(&mut Credentials) -> Result<(), Errno>) -> Result<usize> {
    let old = current.cred.clone();
    let mut new = (*old).clone();
    change(&mut new)?;
    adjust_capabilities(&old, &mut new);
    current.set_cred(Arc::new(new));
    Ok(0)
}

/// What changes of user ids do to capabilities (capabilities(7)), without SECBIT_NO_SETUID_FIXUP and
/// SECBIT_KEEP_CAPS.
fn adjust_capabilities(old: &Credentials, new: &mut Credentials) {
    const NO_SETUID_FIXUP: u32 = 1 << 2;
    const KEEP_CAPS: u32 = 1 << 4;
    if old.securebits & NO_SETUID_FIXUP != 0 {
        return;
    }
    let any_root = |cred: &Credentials| cred.uid == 0 || cred.euid == 0 || cred.suid == 0;
    if any_root(old) && !any_root(new) {
        if old.securebits & KEEP_CAPS == 0 {
            new.permitted = 0;
            new.effective = 0;
        }
        new.ambient = 0;
    }
    if old.euid == 0 && new.euid != 0 {
        new.effective = 0;
    }
    if old.euid != 0 && new.euid == 0 {
        new.effective = new.permitted;
    }
    // The file-system capabilities follow fsuid.
    const FS: u64 = 1 << Capability::Chown as u8
        | 1 << Capability::DacOverride as u8
        | 1 << Capability::DacReadSearch as u8
        | 1 << Capability::Fowner as u8
        | 1 << Capability::Fsetid as u8
        | 1 << Capability::LinuxImmutable as u8
        | 1 << Capability::MacOverride as u8
        | 1 << Capability::Mknod as u8;
    if old.fsuid == 0 && new.fsuid != 0 {
        new.effective &= !FS;
    }
    if old.fsuid != 0 && new.fsuid == 0 {
        new.effective |= new.permitted & FS & ALL_CAPABILITIES;
    }
}

const UNCHANGED: u32 = u32::MAX;

fn setuid(current: &mut Current, args: &Args) -> Result<usize> {
    let id = valid(args.uint(0))?;
    change(current, |cred| {
        if cred.has(Capability::Setuid) {
            (cred.uid, cred.suid) = (id, id);
        } else if id != cred.uid && id != cred.suid {
            return Err(Errno::EPERM);
        }
        (cred.euid, cred.fsuid) = (id, id);
        Ok(())
    })
}

fn setgid(current: &mut Current, args: &Args) -> Result<usize> {
    let id = valid(args.uint(0))?;
    change(current, |cred| {
        if cred.has(Capability::Setgid) {
            (cred.gid, cred.sgid) = (id, id);
        } else if id != cred.gid && id != cred.sgid {
            return Err(Errno::EPERM);
        }
        (cred.egid, cred.fsgid) = (id, id);
        Ok(())
    })
}

/// -1 is no id.
fn valid(id: u32) -> Result<u32> {
    if id == UNCHANGED { Err(Errno::EINVAL.into()) } else { Ok(id) }
}

/// The ids [real, effective, saved] after setreuid or setregid. EPERM.
fn set_two(old: [u32; 3], real: u32, effective: u32, privileged: bool) -> Result<[u32; 3], Errno> {
    let [was_real, was_effective, was_saved] = old;
    let mut new = old;
    if real != UNCHANGED {
        if !privileged && real != was_real && real != was_effective {
            return Err(Errno::EPERM);
        }
        new[0] = real;
    }
    if effective != UNCHANGED {
        if !privileged && effective != was_real && effective != was_effective && effective != was_saved {
            return Err(Errno::EPERM);
        }
        new[1] = effective;
    }
    if real != UNCHANGED || (effective != UNCHANGED && effective != was_real) {
        new[2] = new[1];
    }
    Ok(new)
}

fn setreuid(current: &mut Current, args: &Args) -> Result<usize> {
    change(current, |cred| {
        let old = [cred.uid, cred.euid, cred.suid];
        [cred.uid, cred.euid, cred.suid] = set_two(old, args.uint(0), args.uint(1), cred.has(Capability::Setuid))?;
        cred.fsuid = cred.euid;
        Ok(())
    })
}

fn setregid(current: &mut Current, args: &Args) -> Result<usize> {
    change(current, |cred| {
        let old = [cred.gid, cred.egid, cred.sgid];
        [cred.gid, cred.egid, cred.sgid] = set_two(old, args.uint(0), args.uint(1), cred.has(Capability::Setgid))?;
        cred.fsgid = cred.egid;
        Ok(())
    })
}

/// The ids after setresuid or setresgid. EPERM.
fn set_three(old: [u32; 3], wanted: [u32; 3], privileged: bool) -> Result<[u32; 3], Errno> {
    let mut new = old;
    for (slot, want) in new.iter_mut().zip(wanted) {
        if want != UNCHANGED {
            if !privileged && !old.contains(&want) {
                return Err(Errno::EPERM);
            }
            *slot = want;
        }
    }
    Ok(new)
}

fn setresuid(current: &mut Current, args: &Args) -> Result<usize> {
    let wanted = [args.uint(0), args.uint(1), args.uint(2)];
    change(current, |cred| {
        let old = [cred.uid, cred.euid, cred.suid];
        [cred.uid, cred.euid, cred.suid] = set_three(old, wanted, cred.has(Capability::Setuid))?;
        cred.fsuid = cred.euid;
        Ok(())
    })
}

fn setresgid(current: &mut Current, args: &Args) -> Result<usize> {
    let wanted = [args.uint(0), args.uint(1), args.uint(2)];
    change(current, |cred| {
        let old = [cred.gid, cred.egid, cred.sgid];
        [cred.gid, cred.egid, cred.sgid] = set_three(old, wanted, cred.has(Capability::Setgid))?;
        cred.fsgid = cred.egid;
        Ok(())
    })
}

/// setfsuid(2): never fails, tells the id before.
fn setfsuid(current: &mut Current, args: &Args) -> Result<usize> {
    let (old, id) = (current.cred.fsuid, args.uint(0));
    let cred = &current.cred;
    if cred.has(Capability::Setuid) || [cred.uid, cred.euid, cred.suid, cred.fsuid].contains(&id) {
        change(current, |cred| {
            cred.fsuid = id;
            Ok(())
        })?;
    }
    Ok(old as usize)
}

fn setfsgid(current: &mut Current, args: &Args) -> Result<usize> {
    let (old, id) = (current.cred.fsgid, args.uint(0));
    let cred = &current.cred;
    if cred.has(Capability::Setgid) || [cred.gid, cred.egid, cred.sgid, cred.fsgid].contains(&id) {
        change(current, |cred| {
            cred.fsgid = id;
            Ok(())
        })?;
    }
    Ok(old as usize)
}

fn getgroups(current: &mut Current, args: &Args) -> Result<usize> {
    let groups = &current.cred.groups;
    let room = args.int(0);
    if room < 0 {
        return Err(Errno::EINVAL.into());
    }
    if room > 0 {
        if (room as usize) < groups.len() {
            return Err(Errno::EINVAL.into());
        }
        args.ptr::<u32>(1).write_slice(groups)?;
    }
    Ok(groups.len())
}

/// NGROUPS_MAX.
const MAX_GROUPS: usize = 65536;

fn setgroups(current: &mut Current, args: &Args) -> Result<usize> {
    if !current.cred.has(Capability::Setgid) {
        return Err(Errno::EPERM.into());
    }
    let count = args.uint(0) as usize;
    if count > MAX_GROUPS {
        return Err(Errno::EINVAL.into());
    }
    let ptr: UserPtr<u32> = args.ptr(1);
    let mut groups: Vec<u32> = if count == 0 { Vec::new() } else { ptr.read_vec(count)? };
    groups.sort_unstable();
    change(current, |cred| {
        cred.groups = Arc::new(groups);
        Ok(())
    })
}
