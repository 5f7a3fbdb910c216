//! wait4(2) and waitid(2) with all their options, children that are not waited for, and who adopts orphans.

use core::sync::atomic::{AtomicU32, Ordering};

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::raw::prctl::*;
use rt::signal::{Action, bit, handle, kill, mask, set_action};
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{call, eventually, getppid, gettid, in_child, in_state, start};
use crate::{Outcome, check, tests};

tests! {
    wait_refuses_unknown_options,
    waitid_refuses_what_it_does_not_know,
    waitid_nohang_with_nothing_to_tell_zeroes_its_result,
    waitid_nowait_leaves_the_child,
    wait_by_group_sees_those_of_the_group,
    a_wait_for_a_group_that_empties_is_echild,
    a_bad_status_pointer_is_efault_and_the_child_is_reaped,
    clone_children_are_seen_with_wclone_or_wall,
    wnothread_sees_only_the_threads_own_children,
    any_thread_may_reap,
    of_two_threads_that_wait_one_gets_the_child,
    a_child_that_is_dead_is_told_before_the_signal_interrupts,
    a_handler_interrupts_a_wait,
    with_sigchld_ignored_children_vanish,
    with_sa_nocldwait_children_vanish_and_sigchld_is_sent,
    sigchld_carries_who_and_how,
    stops_and_continues_are_told_once_each,
    a_childs_times_count_when_it_is_reaped_and_once,
    a_killed_zombie_is_there_and_a_reaped_one_is_not,
    orphans_go_to_the_nearest_subreaper,
    a_subreaper_that_ignores_sigchld_reaps_zombies_it_is_given,
    orphans_of_a_thread_stay_with_the_process,
    the_parent_death_signal_comes_when_the_parent_thread_exits,
    a_subreaper_mark_is_not_inherited,
}

fn raw_wait4(pid: i32, status: usize, options: u32) -> Result<usize, Errno> {
    call(__NR_wait4, [pid as usize, status, options as usize, 0])
}

/// The siginfo as 32-bit words: signal, error, code, padding, pid, uid, status.
fn waitid(which: u32, id: i32, options: u32) -> Result<[i32; 8], Errno> {
    let mut info = [-1i32; 32];
    call(__NR_waitid, [which as usize, id as usize, info.as_mut_ptr() as usize, options as usize, 0])?;
    // SAFETY: the kernel has written it.
    Ok(unsafe { info.as_ptr().cast::<[i32; 8]>().read_volatile() })
}

fn child_that_exits(status: i32) -> Result<i32, Errno> {
    match sys::fork()? {
        0 => sys::exit_group(status),
        child => Ok(child),
    }
}

/// A child that reads from the gate and exits with `status`.
fn child_at_gate(status: i32) -> Result<(i32, i32), Errno> {
    let gate = sys::pipe(0)?;
    match sys::fork()? {
        0 => {
            let _ = sys::read(gate[0], &mut [0]);
            sys::exit_group(status)
        }
        child => Ok((child, gate[1])),
    }
}

fn wait_refuses_unknown_options() -> Outcome {
    let child = child_that_exits(0)?;
    check!(raw_wait4(child, 0, WEXITED) == Err(Errno(EINVAL)));
    check!(raw_wait4(child, 0, WNOWAIT) == Err(Errno(EINVAL)));
    check!(raw_wait4(child, 0, 0x100) == Err(Errno(EINVAL)));
    check!(raw_wait4(i32::MIN, 0, 0) == Err(Errno(ESRCH)));
    check!(raw_wait4(child, 0, 0) == Ok(child as usize));
    Ok(())
}

fn waitid_refuses_what_it_does_not_know() -> Outcome {
    let invalid = Err(Errno(EINVAL));
    check!(waitid(P_ALL, 0, 0) == invalid);
    check!(waitid(P_ALL, 0, WNOHANG) == invalid);
    check!(waitid(P_ALL, 0, WEXITED | 0x100) == invalid);
    check!(waitid(9, 0, WEXITED) == invalid);
    check!(waitid(P_PID, 0, WEXITED) == invalid);
    check!(waitid(P_PID, -1, WEXITED) == invalid);
    check!(waitid(P_PGID, -1, WEXITED) == invalid);
    check!(waitid(P_PIDFD, -1, WEXITED) == invalid);
    check!(waitid(P_PIDFD, 999, WEXITED) == Err(Errno(EBADF)));
    check!(waitid(P_ALL, 0, WEXITED) == Err(Errno(ECHILD)));
    check!(waitid(P_PGID, 0, WEXITED) == Err(Errno(ECHILD)));
    Ok(())
}

fn waitid_nohang_with_nothing_to_tell_zeroes_its_result() -> Outcome {
    let (child, gate) = child_at_gate(0)?;
    let info = waitid(P_PID, child, WEXITED | WNOHANG)?;
    println!("signal {}, pid {}", info[0], info[4]);
    check!(info[0] == 0 && info[4] == 0);
    sys::write(gate, b"x")?;
    check!(waitid(P_PID, child, WEXITED)?[4] == child);
    Ok(())
}

fn waitid_nowait_leaves_the_child() -> Outcome {
    let child = child_that_exits(6)?;
    for _ in 0..3 {
        let info = waitid(P_PID, child, WEXITED | WNOWAIT)?;
        check!(info[0] == SIGCHLD as i32 && info[2] == CLD_EXITED as i32 && info[4] == child && info[6] == 6);
    }
    check!(sys::wait4(child, 0)? == (child, 6 << 8));
    check!(waitid(P_PID, child, WEXITED | WNOWAIT) == Err(Errno(ECHILD)));
    Ok(())
}

fn wait_by_group_sees_those_of_the_group() -> Outcome {
    let (mine, gate) = child_at_gate(1)?;
    let (other, other_gate) = child_at_gate(2)?;
    call(__NR_setpgid, [other as usize, other as usize])?;
    check!(sys::wait4(0, WNOHANG)?.0 == 0);
    sys::write(other_gate, b"x")?;
    check!(in_state(other, b'Z'));
    // The caller's own group is not the child's.
    check!(sys::wait4(0, WNOHANG)?.0 == 0);
    check!(waitid(P_PGID, 0, WEXITED | WNOHANG)?[4] == 0);
    check!(waitid(P_PGID, other, WEXITED | WNOWAIT)?[4] == other);
    check!(sys::wait4(-other, 0)? == (other, 2 << 8));
    sys::write(gate, b"x")?;
    check!(sys::wait4(0, 0)? == (mine, 1 << 8));
    Ok(())
}

fn a_wait_for_a_group_that_empties_is_echild() -> Outcome {
    let (child, gate) = child_at_gate(1)?;
    let other = start(|| {
        sys::sleep_ms(20);
        Ok(())
    })?;
    call(__NR_setpgid, [other as usize, other as usize])?;
    check!(sys::wait4(-other, 0)? == (other, 0));
    check!(sys::wait4(-other, 0) == Err(Errno(ECHILD)));
    sys::write(gate, b"x")?;
    check!(sys::wait4(child, 0)?.1 == 1 << 8);
    Ok(())
}

fn a_bad_status_pointer_is_efault_and_the_child_is_reaped() -> Outcome {
    let child = child_that_exits(0)?;
    check!(raw_wait4(child, 8, 0) == Err(Errno(EFAULT)));
    check!(raw_wait4(child, 0, 0) == Err(Errno(ECHILD)));
    Ok(())
}

fn clone_children_are_seen_with_wclone_or_wall() -> Outcome {
    let quiet = || match call(__NR_clone, [0, 0, 0, 0, 0]) {
        Ok(0) => sys::exit_group(4),
        other => other,
    };
    let child = quiet()?;
    check!(raw_wait4(-1, 0, 0) == Err(Errno(ECHILD)));
    check!(raw_wait4(-1, 0, __WCLONE) == Ok(child));
    let child = quiet()?;
    check!(raw_wait4(-1, 0, __WALL) == Ok(child));
    let ordinary = child_that_exits(0)?;
    check!(raw_wait4(-1, 0, __WCLONE) == Err(Errno(ECHILD)));
    check!(raw_wait4(-1, 0, 0) == Ok(ordinary as usize));
    Ok(())
}

static RESULT: AtomicU32 = AtomicU32::new(0);

/// Runs `entry` in a thread to its end.
fn in_thread(entry: rt::thread::Entry, argument: usize) -> Result<(), Errno> {
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    unsafe { join.spawn(map_stack(32 * 1024)?, entry, argument)? };
    join.wait();
    Ok(())
}

extern "C" fn wait_not_for_others(child: usize) -> i32 {
    let mine = raw_wait4(child as i32, 0, __WNOTHREAD) == Err(Errno(ECHILD));
    RESULT.store(u32::from(mine), Ordering::SeqCst);
    0
}

fn wnothread_sees_only_the_threads_own_children() -> Outcome {
    let child = child_that_exits(0)?;
    in_thread(wait_not_for_others, child as usize)?;
    check!(RESULT.load(Ordering::SeqCst) == 1);
    check!(raw_wait4(child, 0, __WNOTHREAD) == Ok(child as usize));
    Ok(())
}

extern "C" fn reap(child: usize) -> i32 {
    let reaped = raw_wait4(child as i32, 0, 0) == Ok(child);
    RESULT.store(u32::from(reaped), Ordering::SeqCst);
    0
}

fn any_thread_may_reap() -> Outcome {
    let child = child_that_exits(0)?;
    in_thread(reap, child as usize)?;
    check!(RESULT.load(Ordering::SeqCst) == 1);
    Ok(())
}

static REAPED: AtomicU32 = AtomicU32::new(0);
static NOBODY: AtomicU32 = AtomicU32::new(0);

extern "C" fn reap_any(_: usize) -> i32 {
    match raw_wait4(-1, 0, 0) {
        Ok(_) => REAPED.fetch_add(1, Ordering::SeqCst),
        Err(Errno(ECHILD)) => NOBODY.fetch_add(1, Ordering::SeqCst),
        Err(_) => 0,
    };
    0
}

fn of_two_threads_that_wait_one_gets_the_child() -> Outcome {
    for round in 1..=10 {
        let (_, gate) = child_at_gate(0)?;
        let joins = [Join::new(), Join::new()];
        for join in &joins {
            // SAFETY: the stack is new and the thread is waited for.
            unsafe { join.spawn(map_stack(32 * 1024)?, reap_any, 0)? };
        }
        sys::sleep_ms(5);
        sys::write(gate, b"x")?;
        joins.iter().for_each(Join::wait);
        check!(REAPED.load(Ordering::SeqCst) == round && NOBODY.load(Ordering::SeqCst) == round);
        sys::close(gate)?;
    }
    Ok(())
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

fn a_child_that_is_dead_is_told_before_the_signal_interrupts() -> Outcome {
    handle(SIGCHLD, count, 0)?;
    for _ in 0..50 {
        let child = child_that_exits(0)?;
        check!(raw_wait4(child, 0, 0) == Ok(child as usize));
    }
    check!(HANDLED.load(Ordering::SeqCst) == 50);
    Ok(())
}

fn a_handler_interrupts_a_wait() -> Outcome {
    handle(SIGUSR1, count, 0)?;
    let (child, gate) = child_at_gate(0)?;
    let parent = sys::getpid();
    let sender = start(|| {
        sys::sleep_ms(30);
        kill(parent, SIGUSR1)?;
        Ok(())
    })?;
    check!(raw_wait4(child, 0, 0) == Err(Errno::INTR));
    handle(SIGUSR1, count, SA_RESTART)?;
    let restarter = start(|| {
        sys::sleep_ms(30);
        kill(parent, SIGUSR1)?;
        sys::sleep_ms(30);
        sys::write(gate, b"x")?;
        Ok(())
    })?;
    check!(raw_wait4(child, 0, 0) == Ok(child as usize));
    check!(HANDLED.load(Ordering::SeqCst) == 2);
    check!(sys::wait4(sender, 0)?.1 == 0 && sys::wait4(restarter, 0)?.1 == 0);
    Ok(())
}

fn with_sigchld_ignored_children_vanish() -> Outcome {
    set_action(SIGCHLD, &Action { handler: 1, ..Action::default() })?;
    let (child, gate) = child_at_gate(0)?;
    let (_, late_gate) = child_at_gate(0)?;
    sys::write(gate, b"x")?;
    check!(eventually(|| kill(child, 0) == Err(Errno(ESRCH))));
    check!(sys::wait4(-1, WNOHANG) == Ok((0, 0)));
    let letter = start(|| {
        sys::sleep_ms(50);
        sys::write(late_gate, b"x")?;
        Ok(())
    })?;
    // It waits for all of them.
    let from = sys::clock_ns(CLOCK_MONOTONIC);
    check!(sys::wait4(-1, 0) == Err(Errno(ECHILD)));
    check!(sys::clock_ns(CLOCK_MONOTONIC) - from > 30_000_000);
    check!(kill(letter, 0) == Err(Errno(ESRCH)));
    Ok(())
}

fn with_sa_nocldwait_children_vanish_and_sigchld_is_sent() -> Outcome {
    handle(SIGCHLD, count, SA_NOCLDWAIT)?;
    let child = child_that_exits(0)?;
    check!(eventually(|| kill(child, 0) == Err(Errno(ESRCH))));
    check!(sys::wait4(-1, 0) == Err(Errno(ECHILD)));
    check!(eventually(|| HANDLED.load(Ordering::SeqCst) == 1));
    Ok(())
}

/// Waits for a signal that is blocked; gives its siginfo.
fn sigwait(set: u64, ms: i64) -> Result<[i32; 8], Errno> {
    let mut info = [0i32; 32];
    let limit = [ms / 1000, ms % 1000 * 1_000_000];
    let (set, limit) = (&raw const set as usize, limit.as_ptr() as usize);
    call(__NR_rt_sigtimedwait, [set, info.as_mut_ptr() as usize, limit, 8])?;
    // SAFETY: the kernel has written it.
    Ok(unsafe { info.as_ptr().cast::<[i32; 8]>().read_volatile() })
}

fn sigchld_carries_who_and_how() -> Outcome {
    mask(SIG_BLOCK, bit(SIGCHLD))?;
    let child = child_that_exits(3)?;
    let info = sigwait(bit(SIGCHLD), 5000)?;
    println!("code {}, pid {}, status {}", info[2], info[4], info[6]);
    check!(info[0] == SIGCHLD as i32 && info[2] == CLD_EXITED as i32 && info[4] == child && info[6] == 3);
    sys::wait4(child, 0)?;
    let (child, _) = child_at_gate(0)?;
    for (signal, code) in [(SIGSTOP, CLD_STOPPED), (SIGCONT, CLD_CONTINUED), (SIGKILL, CLD_KILLED)] {
        kill(child, signal)?;
        let info = sigwait(bit(SIGCHLD), 5000)?;
        println!("signal {signal}: code {}, pid {}, status {}", info[2], info[4], info[6]);
        check!(info[2] == code as i32 && info[4] == child && info[6] == signal as i32);
    }
    sys::wait4(child, 0)?;
    Ok(())
}

fn stops_and_continues_are_told_once_each() -> Outcome {
    let (child, gate) = child_at_gate(0)?;
    kill(child, SIGSTOP)?;
    check!(waitid(P_PID, child, WSTOPPED | WNOWAIT)?[2] == CLD_STOPPED as i32);
    check!(sys::wait4(child, WUNTRACED)? == (child, (SIGSTOP << 8 | 0x7f) as i32));
    check!(sys::wait4(child, WUNTRACED | WNOHANG)?.0 == 0);
    // A wait that does not ask for stops does not see one.
    check!(sys::wait4(child, WNOHANG)?.0 == 0);
    kill(child, SIGCONT)?;
    check!(waitid(P_PID, child, WCONTINUED | WNOWAIT)?[2] == CLD_CONTINUED as i32);
    check!(sys::wait4(child, WCONTINUED)? == (child, 0xffff));
    check!(sys::wait4(child, WCONTINUED | WNOHANG)?.0 == 0);
    sys::write(gate, b"x")?;
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

/// User time of the children in microseconds.
fn childrens_time() -> Result<i64, Errno> {
    let mut usage = [0i64; 18];
    call(__NR_getrusage, [RUSAGE_CHILDREN as isize as usize, usage.as_mut_ptr() as usize])?;
    // SAFETY: the kernel has written it.
    let [sec, usec, ssec, susec] = unsafe { usage.as_ptr().cast::<[i64; 4]>().read_volatile() };
    Ok((sec + ssec) * 1_000_000 + usec + susec)
}

fn a_childs_times_count_when_it_is_reaped_and_once() -> Outcome {
    let child = start(|| {
        let until = sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID) + 60_000_000;
        while sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID) < until {}
        Ok(())
    })?;
    check!(in_state(child, b'Z'));
    waitid(P_PID, child, WEXITED | WNOWAIT)?;
    check!(childrens_time()? == 0);
    sys::wait4(child, 0)?;
    let after = childrens_time()?;
    println!("the child used {after} us");
    check!((40_000..2_000_000).contains(&after));
    Ok(())
}

fn a_killed_zombie_is_there_and_a_reaped_one_is_not() -> Outcome {
    let child = child_that_exits(0)?;
    check!(in_state(child, b'Z'));
    check!(kill(child, SIGKILL) == Ok(()));
    check!(sys::wait4(child, 0)? == (child, 0));
    check!(kill(child, 0) == Err(Errno(ESRCH)));
    Ok(())
}

fn subreaper(on: usize) -> Result<usize, Errno> {
    call(__NR_prctl, [PR_SET_CHILD_SUBREAPER as usize, on, 0, 0, 0])
}

/// Makes a child whose child waits at the gate and outlives it; gives the grandchild.
fn orphan(gate: [i32; 2], status: i32) -> Result<i32, Errno> {
    let told = sys::pipe(0)?;
    let child = match sys::fork()? {
        0 => {
            if let Ok(0) = sys::fork() {
                let _ = sys::write(told[1], &sys::getpid().to_ne_bytes());
                let _ = sys::read(gate[0], &mut [0]);
                sys::exit_group(status);
            }
            sys::exit_group(0)
        }
        child => child,
    };
    let mut id = [0; 4];
    sys::read(told[0], &mut id)?;
    sys::wait4(child, 0)?;
    Ok(i32::from_ne_bytes(id))
}

fn orphans_go_to_the_nearest_subreaper() -> Outcome {
    subreaper(1)?;
    let gate = sys::pipe(0)?;
    let status = in_child(|| {
        // Nearer than the test itself.
        subreaper(1)?;
        let id = orphan(gate, 12)?;
        check!(sys::wait4(id, WNOHANG)?.0 == 0);
        sys::write(gate[1], b"x")?;
        check!(sys::wait4(id, 0)? == (id, 12 << 8));
        Ok(())
    })?;
    check!(status == 0);
    let id = orphan(gate, 13)?;
    sys::write(gate[1], b"x")?;
    check!(sys::wait4(-1, 0)? == (id, 13 << 8));
    Ok(())
}

fn a_subreaper_that_ignores_sigchld_reaps_zombies_it_is_given() -> Outcome {
    subreaper(1)?;
    set_action(SIGCHLD, &Action { handler: 1, ..Action::default() })?;
    let told = sys::pipe(0)?;
    let middle = start(|| {
        set_action(SIGCHLD, &Action::default())?;
        let child = child_that_exits(0)?;
        check!(in_state(child, b'Z'));
        sys::write(told[1], &child.to_ne_bytes())?;
        Ok(())
    })?;
    let mut id = [0; 4];
    sys::read(told[0], &mut id)?;
    check!(eventually(|| kill(middle, 0) == Err(Errno(ESRCH))));
    check!(eventually(|| kill(i32::from_ne_bytes(id), 0) == Err(Errno(ESRCH))));
    Ok(())
}

static CHILD: AtomicU32 = AtomicU32::new(0);

extern "C" fn fork_and_exit(gate: usize) -> i32 {
    let child = match sys::fork() {
        Ok(0) => {
            let parent = getppid();
            let _ = sys::read(gate as i32, &mut [0]);
            sys::exit_group(i32::from(getppid() != parent))
        }
        child => child.unwrap_or(0),
    };
    CHILD.store(child as u32, Ordering::SeqCst);
    0
}

fn orphans_of_a_thread_stay_with_the_process() -> Outcome {
    let gate = sys::pipe(0)?;
    in_thread(fork_and_exit, gate[0] as usize)?;
    let child = CHILD.load(Ordering::SeqCst) as i32;
    // What was the thread's child is now the child of one that lives, or soon: a thread is joined before it is gone.
    check!(eventually(|| raw_wait4(child, 0, WNOHANG | __WNOTHREAD) == Ok(0)));
    check!(sys::wait4(child, WNOHANG)?.0 == 0);
    sys::write(gate[1], b"x")?;
    check!(raw_wait4(child, 0, __WNOTHREAD) == Ok(child as usize));
    Ok(())
}

extern "C" fn fork_with_death_signal(report: usize) -> i32 {
    if let Ok(0) = sys::fork() {
        let _ = mask(SIG_BLOCK, bit(SIGUSR1));
        let _ = call(__NR_prctl, [PR_SET_PDEATHSIG as usize, SIGUSR1 as usize, 0, 0, 0]);
        let _ = sys::write(report as i32, b"r");
        let came = sigwait(bit(SIGUSR1), 5000).is_ok();
        let again = sigwait(bit(SIGUSR1), 30).is_ok();
        sys::exit_group(i32::from(came) | i32::from(again) << 1);
    }
    // Not before the child has asked for it.
    sys::sleep_ms(50);
    0
}

fn the_parent_death_signal_comes_when_the_parent_thread_exits() -> Outcome {
    let report = sys::pipe(0)?;
    in_thread(fork_with_death_signal, report[1] as usize)?;
    sys::read(report[0], &mut [0])?;
    let (_, status) = sys::wait4(-1, 0)?;
    println!("came, and came again: {:#b}", status >> 8);
    check!(status == 1 << 8);
    check!(gettid() == sys::getpid());
    Ok(())
}

fn a_subreaper_mark_is_not_inherited() -> Outcome {
    subreaper(1)?;
    let status = in_child(|| {
        let mut marked = -1i32;
        call(__NR_prctl, [PR_GET_CHILD_SUBREAPER as usize, &raw mut marked as usize, 0, 0, 0])?;
        // SAFETY: the kernel has written it.
        check!(unsafe { (&raw const marked).read_volatile() } == 0);
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}
