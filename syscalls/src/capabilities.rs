//! capget(2) and capset(2), and what prctl(2) does to privileges (capabilities(7)).

use crate::args::Args;
use crate::table::{Calls, fast};
use alloc::sync::Arc;
use base::cred::ALL_CAPABILITIES;
use base::{Capability, Credentials, Errno, Result};
use linux_raw_sys::general as nr;
use memory::user::UserPtr;
use process::{Current, pid};

/// The family.
pub const CALLS: Calls = &[(nr::__NR_capget, fast!(capget)), (nr::__NR_capset, fast!(capset))];

/// The versions of the header, and how many 32-bit words each has for a set.
const VERSIONS: [(u32, usize); 3] = [(0x1998_0330, 1), (0x2007_1026, 2), (0x2008_0522, 2)];
const NEWEST: u32 = VERSIONS[2].0;

/// What a header says: words in a set, and whose. An unknown version is replaced by the newest: EINVAL.
fn read_header(header: UserPtr<[u32; 2]>) -> Result<(usize, i32)> {
    let [version, id] = header.read()?;
    match VERSIONS.iter().find(|(known, _)| *known == version) {
        Some((_, words)) => Ok((*words, id as i32)),
        None => {
            header.write(&[NEWEST, id])?;
            Err(Errno::EINVAL.into())
        }
    }
}

/// capget(2), for any thread. Without a place for the sets it tells the version.
fn capget(current: &mut Current, args: &Args) -> Result<usize> {
    let header = read_header(args.ptr(0));
    if args.size(1) == 0 {
        return match header {
            Err(base::Error::Errno(Errno::EINVAL)) => Ok(0),
            other => other.map(|_| 0),
        };
    }
    let (words, id) = header?;
    let cred = match id {
        0 => current.cred.clone(),
        id if id < 0 => return Err(Errno::EINVAL.into()),
        id => pid::find_thread(id as u32).ok_or(Errno::ESRCH)?.cred(),
    };
    let sets = [cred.effective, cred.permitted, cred.inheritable];
    let out: [u32; 6] = core::array::from_fn(|i| (sets[i % 3] >> (32 * (i / 3))) as u32);
    args.ptr::<u32>(1).write_slice(&out[..3 * words])?;
    Ok(0)
}

/// capset(2), for the caller alone. EPERM for what the sets before do not allow.
fn capset(current: &mut Current, args: &Args) -> Result<usize> {
    let (words, id) = read_header(args.ptr(0))?;
    if id != 0 && id as u32 != current.thread.id() {
        return Err(Errno::EPERM.into());
    }
    let mut given = [0u32; 6];
    args.ptr::<u32>(1).read_slice(&mut given[..3 * words])?;
    let set = |at: usize| (u64::from(given[at]) | u64::from(given[at + 3]) << 32) & ALL_CAPABILITIES;
    let (effective, permitted, inheritable) = (set(0), set(1), set(2));
    change(current, |cred| {
        let within = |set: u64, bound: u64| set & !bound == 0;
        let inherits = cred.has(Capability::Setpcap) || within(inheritable, cred.inheritable | cred.permitted);
        if !inherits
            || !within(inheritable, cred.inheritable | cred.bounding)
            || !within(permitted, cred.permitted)
            || !within(effective, permitted)
        {
            return Err(Errno::EPERM);
        }
        (cred.effective, cred.permitted, cred.inheritable) = (effective, permitted, inheritable);
        cred.ambient &= permitted & inheritable;
        Ok(())
    })
}

/// Changes the caller's privileges by a copy.
fn change(current: &mut Current, change: impl FnOnce(&mut Credentials) -> Result<(), Errno>) -> Result<usize> {
    let mut new = (*current.cred).clone();
    change(&mut new)?;
    current.set_cred(Arc::new(new));
    Ok(0)
}

/// A capability's bit. EINVAL for a number that is none.
fn bit(number: usize) -> Result<u64, Errno> {
    if number < 64 && ALL_CAPABILITIES >> number & 1 != 0 { Ok(1 << number) } else { Err(Errno::EINVAL) }
}

/// PR_CAPBSET_READ.
pub fn bounding(current: &Current, number: usize) -> Result<usize> {
    Ok((current.cred.bounding & bit(number)? != 0).into())
}

/// PR_CAPBSET_DROP: EPERM without CAP_SETPCAP.
pub fn drop_bounding(current: &mut Current, number: usize) -> Result<usize> {
    change(current, |cred| {
        if !cred.has(Capability::Setpcap) {
            return Err(Errno::EPERM);
        }
        cred.bounding &= !bit(number)?;
        Ok(())
    })
}

/// Set by prctl(2) alone: neither locked nor lost at execve(2).
const KEEP_CAPS: u32 = 1 << 4;
/// Each settable bit is followed by one that locks it.
const SECURE_BITS: u32 = 0b0101_0101;
/// SECBIT_NO_CAP_AMBIENT_RAISE.
const NO_AMBIENT_RAISE: u32 = 1 << 6;

/// PR_SET_SECUREBITS: EPERM for what is locked, for an unlocking, for unknown bits, and without CAP_SETPCAP.
pub fn set_securebits(current: &mut Current, bits: usize) -> Result<usize> {
    change(current, |cred| {
        let old = cred.securebits as usize;
        let locked = old & ((SECURE_BITS as usize) << 1);
        let known = (SECURE_BITS | SECURE_BITS << 1) as usize;
        if (old ^ bits) & (locked >> 1) != 0
            || locked & !bits != 0
            || bits & !known != 0
            || !cred.has(Capability::Setpcap)
        {
            return Err(Errno::EPERM);
        }
        cred.securebits = bits as u32;
        Ok(())
    })
}

/// PR_GET_KEEPCAPS.
pub fn keeps(current: &Current) -> usize {
    (current.cred.securebits & KEEP_CAPS != 0).into()
}

/// PR_SET_KEEPCAPS: EPERM where it is locked.
pub fn set_keeps(current: &mut Current, on: usize) -> Result<usize> {
    if on > 1 {
        return Err(Errno::EINVAL.into());
    }
    change(current, |cred| {
        if cred.securebits & KEEP_CAPS << 1 != 0 {
            return Err(Errno::EPERM);
        }
        cred.securebits = if on != 0 { cred.securebits | KEEP_CAPS } else { cred.securebits & !KEEP_CAPS };
        Ok(())
    })
}

/// PR_CAP_AMBIENT.
pub fn ambient(current: &mut Current, args: &Args) -> Result<usize> {
    use linux_raw_sys::prctl as op;
    let (what, number) = (args.uint(1), args.size(2));
    let rest = args.size(3) | args.size(4);
    if what == op::PR_CAP_AMBIENT_CLEAR_ALL {
        if number | rest != 0 {
            return Err(Errno::EINVAL.into());
        }
        return change(current, |cred| {
            cred.ambient = 0;
            Ok(())
        });
    }
    if rest != 0 {
        return Err(Errno::EINVAL.into());
    }
    let bit = bit(number)?;
    match what {
        op::PR_CAP_AMBIENT_IS_SET => Ok((current.cred.ambient & bit != 0).into()),
        op::PR_CAP_AMBIENT_RAISE => change(current, |cred| {
            let held = cred.permitted & cred.inheritable & bit != 0;
            if !held || cred.securebits & NO_AMBIENT_RAISE != 0 {
                return Err(Errno::EPERM);
            }
            cred.ambient |= bit;
            Ok(())
        }),
        op::PR_CAP_AMBIENT_LOWER => change(current, |cred| {
            cred.ambient &= !bit;
            Ok(())
        }),
        _ => Err(Errno::EINVAL.into()),
    }
}
