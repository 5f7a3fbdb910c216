//! Policies, priorities and what a child inherits of them (sched(7), sched_setattr(2)).

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::sys::{self, Errno};

use crate::support::{become_user, call, in_child, in_state, start};
use crate::{Outcome, check, tests};

tests! {
    a_process_that_wants_a_cpu_is_shown_as_running,
    sched_setattr_sets_what_sched_getattr_tells,
    sched_getattr_refuses_bad_arguments,
    sched_setattr_answers_an_unknown_size_with_its_own,
    reset_on_fork_gives_the_child_the_default,
    an_ordinary_user_cannot_raise_itself,
    rlimit_rtprio_allows_real_time_up_to_it,
}

/// proc_pid_stat(5): R for who runs and for who waits for a CPU.
fn a_process_that_wants_a_cpu_is_shown_as_running() -> Outcome {
    let child = start(|| {
        loop {
            core::hint::spin_loop();
        }
    })?;
    check!(in_state(child, b'R'));
    rt::signal::kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    Ok(())
}

/// `struct sched_attr` of 48 bytes: size and policy, flags, nice and priority, and three times of SCHED_DEADLINE.
type Attr = [u64; 6];

fn attr(policy: u32, flags: u64, nice: i32, prio: u32) -> Attr {
    [48 | u64::from(policy) << 32, flags, u64::from(nice as u32) | u64::from(prio) << 32, 0, 0, 0]
}

fn set(attr: &Attr) -> Result<usize, Errno> {
    call(__NR_sched_setattr, [0, attr.as_ptr() as usize, 0])
}

/// Policy, flags, nice and priority.
fn get() -> Result<(u32, u64, i32, u32), Errno> {
    let mut attr: Attr = [0; 6];
    call(__NR_sched_getattr, [0, attr.as_mut_ptr() as usize, 48, 0])?;
    Ok(((attr[0] >> 32) as u32, attr[1], attr[2] as i32, (attr[2] >> 32) as u32))
}

const RESET: u64 = 1;
const KEEP_POLICY: u64 = 8;
const KEEP_PARAMS: u64 = 16;

fn sched_setattr_sets_what_sched_getattr_tells() -> Outcome {
    set(&attr(SCHED_BATCH, 0, 7, 0))?;
    println!("policy, flags, nice, priority: {:?}", get()?);
    check!(get()? == (SCHED_BATCH, 0, 7, 0));
    check!(call(__NR_getpriority, [PRIO_PROCESS as usize, 0]) == Ok(13));
    set(&attr(SCHED_NORMAL, KEEP_POLICY, 9, 0))?;
    check!(get()? == (SCHED_BATCH, 0, 9, 0));
    // What is kept then is the policy as well.
    set(&attr(SCHED_NORMAL, KEEP_PARAMS, 0, 0))?;
    check!(get()? == (SCHED_BATCH, 0, 9, 0));
    set(&attr(SCHED_NORMAL, 0, 9, 0))?;
    set(&attr(SCHED_FIFO, 0, 0, 5))?;
    check!(get()?.0 == SCHED_FIFO && get()?.3 == 5);
    check!(set(&attr(SCHED_FIFO, 0, 0, 0)) == Err(Errno(EINVAL)));
    check!(set(&attr(SCHED_RR, 0, 0, 100)) == Err(Errno(EINVAL)));
    check!(set(&attr(SCHED_NORMAL, 0, 0, 1)) == Err(Errno(EINVAL)));
    check!(set(&attr(4, 0, 0, 0)) == Err(Errno(EINVAL)));
    check!(set(&attr(SCHED_NORMAL, 1 << 20, 0, 0)) == Err(Errno(EINVAL)));
    Ok(())
}

fn sched_getattr_refuses_bad_arguments() -> Outcome {
    let mut attr: Attr = [0; 6];
    let at = attr.as_mut_ptr() as usize;
    check!(call(__NR_sched_getattr, [0, at, 47, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_sched_getattr, [0, at, 4097, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_sched_getattr, [0, at, 48, 1]) == Err(Errno(EINVAL)));
    check!(call(__NR_sched_getattr, [0, 0, 48, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_sched_getattr, [usize::MAX, at, 48, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_sched_getattr, [4_194_303, at, 48, 0]) == Err(Errno(ESRCH)));
    check!(call(__NR_sched_setattr, [0, 0, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_sched_setattr, [0, at, 1]) == Err(Errno(EINVAL)));
    Ok(())
}

fn sched_setattr_answers_an_unknown_size_with_its_own() -> Outcome {
    let mut long = [0u64; 16];
    long[0] = 40;
    let at = long.as_mut_ptr() as usize;
    check!(call(__NR_sched_setattr, [0, at, 0]) == Err(Errno(E2BIG)));
    // SAFETY: a local array, whose first half-word the kernel has written.
    let told = unsafe { long.as_ptr().read_volatile() } as u32;
    println!("the size that is known: {told}");
    check!(told >= 48);
    long[0] = 128;
    check!(call(__NR_sched_setattr, [0, long.as_mut_ptr() as usize, 0]) == Ok(0));
    long[0] = 128;
    long[15] = 1;
    check!(call(__NR_sched_setattr, [0, long.as_mut_ptr() as usize, 0]) == Err(Errno(E2BIG)));
    Ok(())
}

fn reset_on_fork_gives_the_child_the_default() -> Outcome {
    const FLAG: usize = 0x4000_0000;
    let prio = 3i32;
    call(__NR_sched_setscheduler, [0, SCHED_RR as usize | FLAG, &raw const prio as usize])?;
    check!(call(__NR_sched_getscheduler, [0]) == Ok(SCHED_RR as usize | FLAG));
    check!(get()?.1 == RESET);
    let child = in_child(|| {
        check!(get()? == (SCHED_NORMAL, 0, 0, 0));
        Ok(())
    })?;
    check!(child == 0);
    set(&attr(SCHED_NORMAL, RESET, -5, 0))?;
    let child = in_child(|| {
        check!(get()? == (SCHED_NORMAL, 0, 0, 0));
        Ok(())
    })?;
    check!(child == 0);
    become_user(4321)?;
    // What protects others from this process's children is not its own to give up.
    check!(set(&attr(SCHED_NORMAL, 0, 0, 0)) == Err(Errno(EPERM)));
    Ok(())
}

fn an_ordinary_user_cannot_raise_itself() -> Outcome {
    become_user(4321)?;
    check!(set(&attr(SCHED_FIFO, 0, 0, 1)) == Err(Errno(EPERM)));
    check!(set(&attr(SCHED_NORMAL, 0, -1, 0)) == Err(Errno(EPERM)));
    check!(set(&attr(SCHED_NORMAL, 0, 5, 0)) == Ok(0));
    check!(set(&attr(SCHED_NORMAL, 0, 4, 0)) == Err(Errno(EPERM)));
    check!(set(&attr(SCHED_IDLE, 0, 5, 0)) == Ok(0));
    Ok(())
}

fn rlimit_rtprio_allows_real_time_up_to_it() -> Outcome {
    let limit = [10u64, 10];
    if call(__NR_prlimit64, [0, RLIMIT_RTPRIO as usize, limit.as_ptr() as usize, 0]) == Err(Errno(EPERM)) {
        println!("the limit cannot be raised here");
        return Ok(());
    }
    become_user(4321)?;
    check!(set(&attr(SCHED_FIFO, 0, 0, 10)) == Ok(0));
    check!(set(&attr(SCHED_FIFO, 0, 0, 11)) == Err(Errno(EPERM)));
    check!(set(&attr(SCHED_NORMAL, 0, 0, 0)) == Ok(0));
    Ok(())
}
