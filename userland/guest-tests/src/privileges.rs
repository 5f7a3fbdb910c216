//! capget(2), capset(2) and what prctl(2) sets (capabilities(7)). All run as root and each in a child of its own.

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::raw::prctl::*;
use rt::sys::{self, Errno};

use crate::support::{become_user, call, in_child, start};
use crate::{Outcome, check, tests};

tests! {
    capset_takes_away_for_good,
    capset_refuses_more_than_is_permitted,
    capset_is_for_the_caller_alone,
    an_unknown_version_of_the_capability_header_is_answered,
    keepcaps_keeps_what_setuid_would_take,
    the_bounding_set_only_shrinks,
    ambient_capabilities_need_permitted_and_inheritable,
    locked_securebits_stay,
    no_new_privs_is_for_good_and_inherited,
    no_new_privs_ignores_set_id_bits,
    dumpable_goes_with_a_change_of_identity,
    a_parent_death_signal_is_forgotten_with_a_change_of_identity,
    timer_slack_has_a_default_that_a_child_inherits,
    the_tid_address_can_be_asked_for,
    prctl_refuses_what_it_does_not_know,
}

const VERSION_3: u32 = 0x2008_0522;
const SETPCAP: usize = 8;
const SETUID: usize = 7;
const NET_RAW: usize = 13;

fn prctl(option: u32, a: usize, b: usize) -> Result<usize, Errno> {
    call(__NR_prctl, [option as usize, a, b, 0, 0])
}

/// Effective, permitted and inheritable, low halves first.
fn capget() -> Result<[u32; 6], Errno> {
    let header = [VERSION_3, 0];
    let mut sets = [0u32; 6];
    call(__NR_capget, [header.as_ptr() as usize, sets.as_mut_ptr() as usize])?;
    Ok(sets)
}

fn capset(sets: &[u32; 6]) -> Result<(), Errno> {
    let header = [VERSION_3, 0];
    call(__NR_capset, [header.as_ptr() as usize, sets.as_ptr() as usize]).map(|_| ())
}

fn capset_takes_away_for_good() -> Outcome {
    let mut sets = capget()?;
    println!("effective {:#x}, permitted {:#x}", sets[0], sets[1]);
    check!(sets[0] >> NET_RAW & 1 == 1);
    let before = sets;
    sets[0] &= !(1 << NET_RAW);
    capset(&sets)?;
    check!(capget()? == sets);
    // From permitted it can be taken back; once it is gone from there, it cannot.
    capset(&before)?;
    sets[1] &= !(1 << NET_RAW);
    capset(&sets)?;
    check!(capset(&before) == Err(Errno(EPERM)));
    check!(capget()? == sets);
    Ok(())
}

fn capset_refuses_more_than_is_permitted() -> Outcome {
    let mut sets = capget()?;
    sets[1] &= !(1 << NET_RAW);
    // Still effective, but not permitted.
    check!(capset(&sets) == Err(Errno(EPERM)));
    Ok(())
}

fn capset_is_for_the_caller_alone() -> Outcome {
    let sets = capget()?;
    let header = [VERSION_3, 1];
    check!(call(__NR_capset, [header.as_ptr() as usize, sets.as_ptr() as usize]) == Err(Errno(EPERM)));
    let own = [VERSION_3, sys::getpid() as u32];
    check!(call(__NR_capset, [own.as_ptr() as usize, sets.as_ptr() as usize]) == Ok(0));
    check!(call(__NR_capset, [0, sets.as_ptr() as usize]) == Err(Errno(EFAULT)));
    Ok(())
}

fn an_unknown_version_of_the_capability_header_is_answered() -> Outcome {
    let mut header = [0u32, 0];
    let mut sets = [0u32; 6];
    let at = header.as_mut_ptr() as usize;
    check!(call(__NR_capget, [at, sets.as_mut_ptr() as usize]) == Err(Errno(EINVAL)));
    // SAFETY: a local array.
    check!(unsafe { header.as_ptr().read_volatile() } == VERSION_3);
    header[0] = 7;
    check!(call(__NR_capget, [header.as_mut_ptr() as usize, 0]) == Ok(0));
    header = [VERSION_3, u32::MAX];
    check!(call(__NR_capget, [header.as_mut_ptr() as usize, sets.as_mut_ptr() as usize]) == Err(Errno(EINVAL)));
    header = [VERSION_3, 4_194_303];
    check!(call(__NR_capget, [header.as_mut_ptr() as usize, sets.as_mut_ptr() as usize]) == Err(Errno(ESRCH)));
    Ok(())
}

fn keepcaps_keeps_what_setuid_would_take() -> Outcome {
    let without = in_child(|| {
        become_user(4321)?;
        check!(capget()?[1] == 0);
        Ok(())
    })?;
    check!(without == 0);
    check!(prctl(PR_GET_KEEPCAPS, 0, 0) == Ok(0));
    prctl(PR_SET_KEEPCAPS, 1, 0)?;
    check!(prctl(PR_SET_KEEPCAPS, 2, 0) == Err(Errno(EINVAL)));
    let mut sets = capget()?;
    become_user(4321)?;
    check!(capget()?[0] == 0 && capget()?[1] == sets[1]);
    sets[0] = 1 << SETUID;
    sets[3] = 0;
    capset(&sets)?;
    check!(call(__NR_setresuid, [0, 0, 0]) == Ok(0));
    Ok(())
}

fn the_bounding_set_only_shrinks() -> Outcome {
    check!(prctl(PR_CAPBSET_READ, NET_RAW, 0) == Ok(1));
    check!(prctl(PR_CAPBSET_READ, 63, 0) == Err(Errno(EINVAL)));
    check!(prctl(PR_CAPBSET_DROP, 63, 0) == Err(Errno(EINVAL)));
    prctl(PR_CAPBSET_DROP, NET_RAW, 0)?;
    check!(prctl(PR_CAPBSET_READ, NET_RAW, 0) == Ok(0));
    let mut sets = capget()?;
    sets[2] |= 1 << NET_RAW;
    // Inheritable must lie within the bounding set, where it was not inheritable before.
    check!(capset(&sets) == Err(Errno(EPERM)));
    sets[2] = 0;
    sets[0] &= !(1 << SETPCAP);
    capset(&sets)?;
    check!(prctl(PR_CAPBSET_DROP, SETUID, 0) == Err(Errno(EPERM)));
    Ok(())
}

fn ambient(what: u32, capability: usize) -> Result<usize, Errno> {
    prctl(PR_CAP_AMBIENT, what as usize, capability)
}

fn ambient_capabilities_need_permitted_and_inheritable() -> Outcome {
    let mut sets = capget()?;
    sets[2] &= !(1 << NET_RAW);
    capset(&sets)?;
    check!(ambient(PR_CAP_AMBIENT_RAISE, NET_RAW) == Err(Errno(EPERM)));
    sets[2] |= 1 << NET_RAW;
    capset(&sets)?;
    check!(ambient(PR_CAP_AMBIENT_IS_SET, NET_RAW) == Ok(0));
    ambient(PR_CAP_AMBIENT_RAISE, NET_RAW)?;
    check!(ambient(PR_CAP_AMBIENT_IS_SET, NET_RAW) == Ok(1));
    // Taken out of inheritable, it leaves the ambient set as well.
    sets[2] &= !(1 << NET_RAW);
    capset(&sets)?;
    check!(ambient(PR_CAP_AMBIENT_IS_SET, NET_RAW) == Ok(0));
    check!(ambient(PR_CAP_AMBIENT_CLEAR_ALL, 0) == Ok(0));
    check!(ambient(PR_CAP_AMBIENT_CLEAR_ALL, 1) == Err(Errno(EINVAL)));
    check!(ambient(9, NET_RAW) == Err(Errno(EINVAL)));
    check!(ambient(PR_CAP_AMBIENT_RAISE, 64) == Err(Errno(EINVAL)));
    Ok(())
}

fn locked_securebits_stay() -> Outcome {
    const NOROOT: usize = 1;
    const NOROOT_LOCKED: usize = 2;
    check!(prctl(PR_GET_SECUREBITS, 0, 0) == Ok(0));
    prctl(PR_SET_SECUREBITS, NOROOT, 0)?;
    check!(prctl(PR_GET_SECUREBITS, 0, 0) == Ok(NOROOT));
    check!(prctl(PR_SET_SECUREBITS, 1 << 20, 0) == Err(Errno(EPERM)));
    prctl(PR_SET_SECUREBITS, NOROOT_LOCKED, 0)?;
    check!(prctl(PR_SET_SECUREBITS, NOROOT, 0) == Err(Errno(EPERM)));
    check!(prctl(PR_SET_SECUREBITS, NOROOT | NOROOT_LOCKED, 0) == Err(Errno(EPERM)));
    check!(prctl(PR_GET_SECUREBITS, 0, 0) == Ok(NOROOT_LOCKED));
    Ok(())
}

fn no_new_privs_is_for_good_and_inherited() -> Outcome {
    check!(prctl(PR_GET_NO_NEW_PRIVS, 0, 0) == Ok(0));
    check!(prctl(PR_SET_NO_NEW_PRIVS, 0, 0) == Err(Errno(EINVAL)));
    check!(prctl(PR_SET_NO_NEW_PRIVS, 1, 1) == Err(Errno(EINVAL)));
    check!(prctl(PR_GET_NO_NEW_PRIVS, 1, 0) == Err(Errno(EINVAL)));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0)?;
    check!(prctl(PR_GET_NO_NEW_PRIVS, 0, 0) == Ok(1));
    let child = in_child(|| {
        check!(prctl(PR_GET_NO_NEW_PRIVS, 0, 0) == Ok(1));
        Ok(())
    })?;
    check!(child == 0);
    Ok(())
}

const PROGRAM: &core::ffi::CStr = c"/tmp/guest-tests-set-id";

/// A copy of this program that is set-user-ID root, executed by somebody else: its exit status is 10 plus its effective user id, at most
/// 20.
fn run_set_id(no_new_privs: bool) -> Result<i32, crate::Why> {
    let _ = sys::unlink(PROGRAM);
    let from = sys::open(c"/proc/self/exe", O_RDONLY, 0)?;
    let to = sys::open(PROGRAM, O_WRONLY | O_CREAT | O_CLOEXEC, 0o755)?;
    let mut block = [0u8; 4096];
    loop {
        match sys::read(from, &mut block)? {
            0 => break,
            len => sys::write_all(to, &block[..len])?,
        }
    }
    call(__NR_fchmod, [to as usize, 0o4755])?;
    sys::close(to)?;
    let status = in_child(|| {
        become_user(4321)?;
        if no_new_privs {
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0)?;
        }
        let argv = [c"guest-tests".as_ptr().cast(), c"whoami".as_ptr().cast(), core::ptr::null()];
        // SAFETY: both vectors end with a null pointer.
        Err(unsafe { sys::execve(PROGRAM, argv.as_ptr(), argv[2..].as_ptr()) }.into())
    })?;
    sys::unlink(PROGRAM)?;
    Ok(status >> 8)
}

fn no_new_privs_ignores_set_id_bits() -> Outcome {
    let (with, without) = (run_set_id(false)?, run_set_id(true)?);
    println!("10 plus the effective user: {with}, with no_new_privs {without}");
    check!(with == 10 && without == 20);
    Ok(())
}

fn dumpable_goes_with_a_change_of_identity() -> Outcome {
    check!(prctl(PR_GET_DUMPABLE, 0, 0) == Ok(1));
    prctl(PR_SET_DUMPABLE, 0, 0)?;
    check!(prctl(PR_GET_DUMPABLE, 0, 0) == Ok(0));
    check!(prctl(PR_SET_DUMPABLE, 2, 0) == Err(Errno(EINVAL)));
    let inherited = in_child(|| {
        check!(prctl(PR_GET_DUMPABLE, 0, 0) == Ok(0));
        Ok(())
    })?;
    check!(inherited == 0);
    prctl(PR_SET_DUMPABLE, 1, 0)?;
    become_user(4321)?;
    check!(prctl(PR_GET_DUMPABLE, 0, 0) == Ok(0));
    // Another of the same user may look in only where that is allowed.
    let gate = sys::pipe(0)?;
    let other = start(|| {
        let _ = sys::close(gate[1]);
        let _ = sys::read(gate[0], &mut [0]);
        Ok(())
    })?;
    let mut path = [0u8; 32];
    let len = path.len();
    crate::support::stat_path(other, &mut path);
    let end = path.iter().position(|&byte| byte == 0).unwrap_or(len) - 5;
    path[end..].fill(0);
    path[end..end + 8].copy_from_slice(b"/environ");
    let name = core::ffi::CStr::from_bytes_until_nul(&path).unwrap_or(c"");
    check!(sys::open(name, O_RDONLY, 0) == Err(Errno(EACCES)));
    sys::close(gate[1])?;
    check!(sys::wait4(other, 0)?.1 == 0);
    Ok(())
}

fn a_parent_death_signal_is_forgotten_with_a_change_of_identity() -> Outcome {
    prctl(PR_SET_PDEATHSIG, SIGUSR1 as usize, 0)?;
    become_user(4321)?;
    let mut signal = -1i32;
    prctl(PR_GET_PDEATHSIG, &raw mut signal as usize, 0)?;
    // SAFETY: the kernel has written it.
    let signal = unsafe { (&raw const signal).read_volatile() };
    println!("parent-death signal: {signal}");
    check!(signal == 0);
    Ok(())
}

fn timer_slack_has_a_default_that_a_child_inherits() -> Outcome {
    let default = prctl(PR_GET_TIMERSLACK, 0, 0)?;
    println!("timer slack: {default} ns");
    prctl(PR_SET_TIMERSLACK, 12_345, 0)?;
    check!(prctl(PR_GET_TIMERSLACK, 0, 0) == Ok(12_345));
    let child = in_child(|| {
        prctl(PR_SET_TIMERSLACK, 1, 0)?;
        prctl(PR_SET_TIMERSLACK, 0, 0)?;
        check!(prctl(PR_GET_TIMERSLACK, 0, 0) == Ok(12_345));
        Ok(())
    })?;
    check!(child == 0);
    prctl(PR_SET_TIMERSLACK, 0, 0)?;
    check!(prctl(PR_GET_TIMERSLACK, 0, 0) == Ok(default));
    Ok(())
}

fn the_tid_address_can_be_asked_for() -> Outcome {
    let (word, mut told) = (0u32, 0usize);
    call(__NR_set_tid_address, [&raw const word as usize])?;
    prctl(PR_GET_TID_ADDRESS, &raw mut told as usize, 0)?;
    // SAFETY: the kernel has written it.
    check!(unsafe { (&raw const told).read_volatile() } == &raw const word as usize);
    call(__NR_set_tid_address, [0])?;
    Ok(())
}

fn prctl_refuses_what_it_does_not_know() -> Outcome {
    for option in [0, 1000, 0x1234_5678] {
        check!(prctl(option, 0, 0) == Err(Errno(EINVAL)));
    }
    check!(prctl(PR_SET_PDEATHSIG, 65, 0) == Err(Errno(EINVAL)));
    check!(prctl(PR_GET_PDEATHSIG, 8, 0) == Err(Errno(EFAULT)));
    check!(prctl(PR_SET_TIMING, 1, 0) == Err(Errno(EINVAL)));
    check!(prctl(PR_GET_TIMING, 0, 0) == Ok(0));
    Ok(())
}
