//! Stopping and going on, process groups and sessions (signal(7), setpgid(2), setsid(2)).

use core::sync::atomic::{AtomicU32, Ordering};

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::signal::{Action, bit, handle, kill, mask, set_action};
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{call, eventually, in_child, in_state, start};
use crate::{Outcome, check, tests};

tests! {
    a_stop_stops_all_threads_and_sigcont_all_go_on,
    a_thread_born_in_a_stopped_process_is_stopped,
    sigcont_takes_pending_stops_away_and_stops_sigcont,
    sigcont_goes_on_even_if_it_is_blocked_or_ignored,
    a_stopped_process_takes_signals_when_it_goes_on,
    a_stopped_process_is_ended_by_sigterm_when_it_goes_on,
    sigkill_ends_a_stopped_process,
    a_caught_stop_signal_does_not_stop,
    nocldstop_is_about_stops_alone,
    terminal_stops_do_not_stop_an_orphaned_group,
    a_stopped_group_that_is_orphaned_gets_sighup_and_sigcont,
    stop_against_continue_ends_in_one_state,
    setpgid_refuses_what_it_must,
    setpgid_of_a_child_after_its_exec_is_eacces,
    setsid_by_a_group_leader_is_eperm,
    a_new_session_has_a_group_of_its_own,
    kill_of_a_group_reaches_all_of_it,
    kill_of_no_group_is_esrch,
}

static TICKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn tick(place: usize) -> i32 {
    loop {
        // SAFETY: a shared page that is never unmapped.
        unsafe { (*(place as *const AtomicU32)).fetch_add(1, Ordering::SeqCst) };
        sys::sleep_ms(1);
    }
}

fn shared_words() -> Result<&'static [AtomicU32; 4], Errno> {
    let page = sys::mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)?;
    // SAFETY: a zeroed page of its own, never unmapped.
    Ok(unsafe { &*page.cast() })
}

/// A child with two threads that count in two words.
fn ticking_child(words: &'static [AtomicU32; 4]) -> Result<i32, Errno> {
    start(|| {
        let join = Join::new();
        // SAFETY: the stack is new; this child never comes back from here.
        unsafe { join.spawn(map_stack(16 * 1024)?, tick, words[0].as_ptr() as usize)? };
        tick(words[1].as_ptr() as usize);
        Ok(())
    })
}

fn goes_on(word: &AtomicU32) -> bool {
    let from = word.load(Ordering::SeqCst);
    eventually(|| word.load(Ordering::SeqCst) > from + 3)
}

fn stands_still(word: &AtomicU32) -> bool {
    let from = word.load(Ordering::SeqCst);
    sys::sleep_ms(40);
    word.load(Ordering::SeqCst) == from
}

fn stopped(child: i32) -> Result<bool, Errno> {
    let status = sys::wait4(child, WUNTRACED)?.1;
    Ok(status & 0xff == 0x7f)
}

fn a_stop_stops_all_threads_and_sigcont_all_go_on() -> Outcome {
    let words = shared_words()?;
    let child = ticking_child(words)?;
    check!(goes_on(&words[0]) && goes_on(&words[1]));
    kill(child, SIGSTOP)?;
    check!(stopped(child)?);
    check!(in_state(child, b'T'));
    check!(stands_still(&words[0]) && stands_still(&words[1]));
    kill(child, SIGCONT)?;
    check!(goes_on(&words[0]) && goes_on(&words[1]));
    kill(child, SIGKILL)?;
    check!(sys::wait4(child, 0)?.1 == SIGKILL as i32);
    Ok(())
}

extern "C" fn stop_own_process(_: usize) -> i32 {
    let _ = kill(sys::getpid(), SIGSTOP);
    tick(TICKS.as_ptr() as usize)
}

fn a_thread_born_in_a_stopped_process_is_stopped() -> Outcome {
    let words = shared_words()?;
    let child = start(|| {
        let join = Join::new();
        // SAFETY: the stacks are new; this child never comes back from here.
        unsafe { join.spawn(map_stack(16 * 1024)?, stop_own_process, 0)? };
        for _ in 0..50 {
            let join = Join::new();
            // SAFETY: as above.
            unsafe { join.spawn(map_stack(16 * 1024)?, tick, words[0].as_ptr() as usize)? };
        }
        tick(words[1].as_ptr() as usize);
        Ok(())
    })?;
    check!(stopped(child)?);
    check!(stands_still(&words[0]) && stands_still(&words[1]));
    kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    Ok(())
}

fn pending() -> Result<u64, Errno> {
    let mut set = 0u64;
    call(__NR_rt_sigpending, [&raw mut set as usize, 8])?;
    // SAFETY: the kernel has written it.
    Ok(unsafe { (&raw const set).read_volatile() })
}

fn sigcont_takes_pending_stops_away_and_stops_sigcont() -> Outcome {
    handle(SIGCONT, count, 0)?;
    mask(SIG_BLOCK, bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGCONT))?;
    rt::signal::raise(SIGTSTP)?;
    rt::signal::raise(SIGTTIN)?;
    check!(pending()? == bit(SIGTSTP) | bit(SIGTTIN));
    rt::signal::raise(SIGCONT)?;
    check!(pending()? == bit(SIGCONT));
    rt::signal::raise(SIGTSTP)?;
    check!(pending()? == bit(SIGTSTP));
    Ok(())
}

fn sigcont_goes_on_even_if_it_is_blocked_or_ignored() -> Outcome {
    let words = shared_words()?;
    let child = start(|| {
        mask(SIG_BLOCK, bit(SIGCONT))?;
        set_action(SIGCONT, &Action { handler: 1, ..Action::default() })?;
        tick(words[0].as_ptr() as usize);
        Ok(())
    })?;
    check!(goes_on(&words[0]));
    kill(child, SIGSTOP)?;
    check!(stopped(child)?);
    kill(child, SIGCONT)?;
    check!(sys::wait4(child, WCONTINUED)? == (child, 0xffff));
    check!(goes_on(&words[0]));
    kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    Ok(())
}

extern "C" fn exit_5(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    sys::exit_group(5);
}

fn a_stopped_process_takes_signals_when_it_goes_on() -> Outcome {
    let gate = sys::pipe(0)?;
    let child = start(|| {
        handle(SIGUSR1, exit_5, 0)?;
        sys::write(gate[1], b"x")?;
        loop {
            sys::sleep_ms(1000);
        }
    })?;
    sys::read(gate[0], &mut [0])?;
    kill(child, SIGSTOP)?;
    check!(stopped(child)?);
    kill(child, SIGUSR1)?;
    sys::sleep_ms(20);
    check!(sys::wait4(child, WNOHANG)?.0 == 0);
    kill(child, SIGCONT)?;
    check!(sys::wait4(child, 0)? == (child, 5 << 8));
    Ok(())
}

fn a_stopped_process_is_ended_by_sigterm_when_it_goes_on() -> Outcome {
    let child = idle_child(|| Ok(0))?;
    kill(child, SIGSTOP)?;
    check!(stopped(child)?);
    kill(child, SIGTERM)?;
    sys::sleep_ms(20);
    check!(sys::wait4(child, WNOHANG)?.0 == 0);
    kill(child, SIGCONT)?;
    check!(sys::wait4(child, 0)? == (child, SIGTERM as i32));
    Ok(())
}

fn sigkill_ends_a_stopped_process() -> Outcome {
    let child = start(|| {
        loop {
            sys::sleep_ms(1000);
        }
    })?;
    kill(child, SIGSTOP)?;
    check!(stopped(child)?);
    kill(child, SIGKILL)?;
    check!(sys::wait4(child, 0)? == (child, SIGKILL as i32));
    Ok(())
}

static COUNT: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

fn a_caught_stop_signal_does_not_stop() -> Outcome {
    handle(SIGTSTP, count, 0)?;
    rt::signal::raise(SIGTSTP)?;
    check!(COUNT.load(Ordering::SeqCst) == 1);
    check!(handle(SIGSTOP, count, 0).is_err());
    check!(handle(SIGKILL, count, 0).is_err());
    Ok(())
}

fn nocldstop_is_about_stops_alone() -> Outcome {
    handle(SIGCHLD, count, SA_NOCLDSTOP | SA_RESTART)?;
    let child = start(|| {
        loop {
            sys::sleep_ms(1000);
        }
    })?;
    kill(child, SIGSTOP)?;
    check!(stopped(child)?);
    kill(child, SIGCONT)?;
    check!(sys::wait4(child, WCONTINUED)?.1 == 0xffff);
    check!(COUNT.load(Ordering::SeqCst) == 0);
    kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    check!(eventually(|| COUNT.load(Ordering::SeqCst) == 1));
    Ok(())
}

fn terminal_stops_do_not_stop_an_orphaned_group() -> Outcome {
    // A test leads a session of its own, so its group is orphaned.
    for signal in [SIGTSTP, SIGTTIN, SIGTTOU] {
        rt::signal::raise(signal)?;
    }
    let child = start(|| {
        // A group with a parent in the session, but in another group: not orphaned.
        call(__NR_setpgid, [0, 0])?;
        rt::signal::raise(SIGTSTP)?;
        Ok(())
    })?;
    check!(sys::wait4(child, WUNTRACED)? == (child, (SIGTSTP << 8 | 0x7f) as i32));
    kill(child, SIGCONT)?;
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn a_stopped_group_that_is_orphaned_gets_sighup_and_sigcont() -> Outcome {
    let report = sys::pipe(0)?;
    let middle = start(|| {
        let stopped_one = start(|| {
            call(__NR_setpgid, [0, 0])?;
            rt::signal::raise(SIGSTOP)?;
            // It goes on only if it is orphaned; SIGHUP ends it then.
            sys::write(report[1], b"went on")?;
            Ok(())
        })?;
        check!(stopped(stopped_one)?);
        sys::write(report[1], &stopped_one.to_ne_bytes())?;
        Ok(())
    })?;
    let mut id = [0; 4];
    sys::read(report[0], &mut id)?;
    let id = i32::from_ne_bytes(id);
    check!(sys::wait4(middle, 0)?.1 == 0);
    sys::close(report[1])?;
    check!(eventually(|| kill(id, 0) == Err(Errno(ESRCH))));
    let mut rest = [0; 8];
    let len = sys::read(report[0], &mut rest)?;
    println!("after the stop it wrote {len} bytes (expected none, for SIGHUP comes first)");
    check!(len == 0);
    Ok(())
}

fn stop_against_continue_ends_in_one_state() -> Outcome {
    let words = shared_words()?;
    let child = ticking_child(words)?;
    check!(goes_on(&words[0]));
    for _ in 0..200 {
        kill(child, SIGSTOP)?;
        kill(child, SIGCONT)?;
    }
    check!(goes_on(&words[0]) && goes_on(&words[1]));
    for _ in 0..200 {
        kill(child, SIGCONT)?;
        kill(child, SIGSTOP)?;
    }
    check!(in_state(child, b'T'));
    check!(stands_still(&words[0]) && stands_still(&words[1]));
    kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    Ok(())
}

fn setpgid(pid: i32, group: i32) -> Result<usize, Errno> {
    call(__NR_setpgid, [pid as usize, group as usize])
}

/// A child that waits for ever, and is ended by [`end`].
fn idle_child(prepare: fn() -> Result<usize, Errno>) -> Result<i32, Errno> {
    let ready = sys::pipe(0)?;
    let child = start(|| {
        prepare()?;
        sys::write(ready[1], b"x")?;
        loop {
            sys::sleep_ms(1000);
        }
    })?;
    sys::read(ready[0], &mut [0])?;
    sys::close(ready[0])?;
    sys::close(ready[1])?;
    Ok(child)
}

fn end(child: i32) -> Result<(), Errno> {
    kill(child, SIGKILL)?;
    sys::wait4(child, 0).map(|_| ())
}

fn setpgid_refuses_what_it_must() -> Outcome {
    check!(setpgid(0, -1) == Err(Errno(EINVAL)));
    check!(setpgid(1, 0) == Err(Errno(ESRCH)));
    check!(setpgid(-1, 0) == Err(Errno(EINVAL)));
    check!(setpgid(-1, 5) == Err(Errno(ESRCH)));
    // The test leads its session.
    check!(setpgid(0, 0) == Err(Errno(EPERM)));
    let child = idle_child(|| Ok(0))?;
    // A group of no such number in this session.
    check!(setpgid(child, 4_194_303) == Err(Errno(EPERM)));
    check!(setpgid(child, child) == Ok(0));
    check!(call(__NR_getpgid, [child as usize]) == Ok(child as usize));
    let own = sys::getpid();
    check!(setpgid(child, own) == Ok(0));
    end(child)?;
    let child = idle_child(|| call(__NR_setsid, []))?;
    check!(setpgid(child, child) == Err(Errno(EPERM)));
    check!(setpgid(child, own) == Err(Errno(EPERM)));
    end(child).map_err(Into::into)
}

fn setpgid_of_a_child_after_its_exec_is_eacces() -> Outcome {
    let gate = sys::pipe(0)?;
    // It reads its script from a pipe, which ends with this test.
    let child = start(|| {
        sys::dup3(gate[0], 0, 0)?;
        sys::close(gate[1])?;
        let argv = [c"guest-tests".as_ptr().cast(), c"read".as_ptr().cast(), core::ptr::null()];
        // SAFETY: both vectors end with a null pointer.
        Err(unsafe { sys::execve(c"/proc/self/exe", argv.as_ptr(), argv[2..].as_ptr()) }.into())
    })?;
    check!(eventually(|| setpgid(child, child) == Err(Errno(EACCES))));
    sys::close(gate[1])?;
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn setsid_by_a_group_leader_is_eperm() -> Outcome {
    check!(sys::setsid() == Err(Errno(EPERM)));
    let status = in_child(|| {
        setpgid(0, 0)?;
        check!(sys::setsid() == Err(Errno(EPERM)));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn a_new_session_has_a_group_of_its_own() -> Outcome {
    let status = in_child(|| {
        let own = sys::getpid();
        check!(sys::setsid() == Ok(own));
        check!(call(__NR_getsid, [0]) == Ok(own as usize));
        check!(call(__NR_getpgid, [0]) == Ok(own as usize));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn kill_of_a_group_reaches_all_of_it() -> Outcome {
    let leader = idle_child(|| setpgid(0, 0))?;
    let member = idle_child(|| Ok(0))?;
    let outside = idle_child(|| Ok(0))?;
    setpgid(member, leader)?;
    kill(-leader, SIGTERM)?;
    check!(sys::wait4(leader, 0)?.1 == SIGTERM as i32);
    check!(sys::wait4(member, 0)?.1 == SIGTERM as i32);
    check!(sys::wait4(outside, WNOHANG)?.0 == 0);
    end(outside)?;
    Ok(())
}

fn kill_of_no_group_is_esrch() -> Outcome {
    check!(kill(-4_194_303, 0) == Err(Errno(ESRCH)));
    check!(kill(i32::MIN, 0) == Err(Errno(ESRCH)));
    check!(kill(sys::getpid(), 65) == Err(Errno(EINVAL)));
    Ok(())
}
