//! Threads of one process: their end, alone and all together, and execve(2) among them.

use core::sync::atomic::{AtomicU32, Ordering};

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{becomes, call, eventually, gettid, in_child, in_state, start, state_of};
use crate::{Outcome, check, tests};

tests! {
    exec_by_a_thread_takes_over_the_leaders_number,
    exec_by_a_thread_after_the_leader_exited,
    a_failed_exec_leaves_the_other_threads_alive,
    two_threads_that_exec_end_as_one_program,
    exec_against_exit_group_leaves_nothing,
    a_leader_that_exits_first_is_a_zombie_that_cannot_be_waited_for,
    the_status_of_a_process_whose_threads_exit_is_that_of_the_last,
    exit_group_ends_threads_that_wait_for_ever,
    of_two_exit_groups_the_first_gives_the_status,
    sigkill_ends_all_threads,
    a_thread_born_while_the_group_dies_does_not_escape,
    clear_child_tid_is_written_while_others_use_the_memory,
    a_fork_in_a_thread_copies_that_thread_alone,
    exec_keeps_what_is_ignored_and_resets_handlers,
    exec_keeps_pending_signals_and_the_mask,
    exec_closes_what_is_close_on_exec_and_unshares_the_table,
}

fn thread(entry: rt::thread::Entry, argument: usize) -> Result<&'static Join, Errno> {
    let place = sys::mmap_anonymous(4096)?.cast::<Join>();
    // SAFETY: a page of its own, which is never unmapped.
    let join: &'static Join = unsafe {
        place.write(Join::new());
        &*place
    };
    // SAFETY: the stack is new and never unmapped; so is the slot.
    unsafe { join.spawn(map_stack(16 * 1024)?, entry, argument)? };
    Ok(join)
}

/// Becomes this program once more, as `child WORD`.
fn exec(argument: &core::ffi::CStr) -> Errno {
    let argv = [c"guest-tests".as_ptr().cast(), c"child".as_ptr().cast(), argument.as_ptr().cast(), core::ptr::null()];
    // The process's own link leads nowhere once its leader has exited.
    // SAFETY: both vectors end with a null pointer.
    unsafe { sys::execve(c"/proc/thread-self/exe", argv.as_ptr(), argv[3..].as_ptr()) }
}

/// Ends the calling thread alone.
fn exit_thread(status: usize) -> ! {
    loop {
        let _ = call(__NR_exit, [status]);
    }
}

extern "C" fn sleep_for_ever(_: usize) -> i32 {
    loop {
        sys::sleep_ms(1000);
    }
}

extern "C" fn exec_42(_: usize) -> i32 {
    let _ = exec(c"42");
    1
}

fn exec_by_a_thread_takes_over_the_leaders_number() -> Outcome {
    let child = start(|| {
        thread(sleep_for_ever, 0)?;
        thread(exec_42, 0)?;
        sleep_for_ever(0);
        Ok(())
    })?;
    check!(sys::wait4(child, 0)? == (child, 42 << 8));
    Ok(())
}

extern "C" fn exec_when_alone(_: usize) -> i32 {
    // Until the leader is a zombie.
    eventually(|| state_of(c"/proc/self/stat") == b'Z');
    let _ = exec(c"43");
    1
}

fn exec_by_a_thread_after_the_leader_exited() -> Outcome {
    let child = start(|| {
        thread(exec_when_alone, 0)?;
        exit_thread(7)
    })?;
    check!(sys::wait4(child, 0)? == (child, 43 << 8));
    Ok(())
}

static STEP: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_steps(_: usize) -> i32 {
    STEP.store(1, Ordering::SeqCst);
    while STEP.load(Ordering::SeqCst) < 2 {
        sys::sleep_ms(1);
    }
    STEP.store(3, Ordering::SeqCst);
    0
}

fn a_failed_exec_leaves_the_other_threads_alive() -> Outcome {
    let join = thread(count_steps, 0)?;
    check!(becomes(&STEP, 1));
    let argv = [c"x".as_ptr().cast(), core::ptr::null()];
    // SAFETY: both vectors end with a null pointer.
    let error = unsafe { sys::execve(c"/etc/passwd", argv.as_ptr(), argv[1..].as_ptr()) };
    check!(error == Errno(EACCES));
    STEP.store(2, Ordering::SeqCst);
    join.wait();
    check!(STEP.load(Ordering::SeqCst) == 3);
    Ok(())
}

extern "C" fn exec_44(_: usize) -> i32 {
    let _ = exec(c"44");
    sleep_for_ever(0)
}

fn two_threads_that_exec_end_as_one_program() -> Outcome {
    for _ in 0..20 {
        let child = start(|| {
            thread(exec_42, 0)?;
            thread(exec_44, 0)?;
            let _ = exec(c"45");
            sleep_for_ever(0);
            Ok(())
        })?;
        let (_, status) = sys::wait4(child, 0)?;
        check!([42, 44, 45].contains(&(status >> 8)) && status & 0xff == 0);
    }
    Ok(())
}

extern "C" fn exit_group_46(_: usize) -> i32 {
    sys::exit_group(46)
}

fn exec_against_exit_group_leaves_nothing() -> Outcome {
    for _ in 0..20 {
        let child = start(|| {
            thread(exit_group_46, 0)?;
            let _ = exec(c"47");
            sleep_for_ever(0);
            Ok(())
        })?;
        let (_, status) = sys::wait4(child, 0)?;
        check!(status == 46 << 8 || status == 47 << 8);
    }
    Ok(())
}

extern "C" fn exit_when_told(gate: usize) -> i32 {
    let _ = sys::read(gate as i32, &mut [0]);
    exit_thread(9)
}

fn is_ready(fd: i32, ms: i64) -> Result<bool, Errno> {
    Ok(sys::poll(&mut [pollfd { fd, events: POLLIN as i16, revents: 0 }], ms)? == 1)
}

fn a_leader_that_exits_first_is_a_zombie_that_cannot_be_waited_for() -> Outcome {
    let gate = sys::pipe(0)?;
    let child = start(|| {
        thread(exit_when_told, gate[0] as usize)?;
        exit_thread(5)
    })?;
    check!(in_state(child, b'Z'));
    let pidfd = call(__NR_pidfd_open, [child as usize, 0])? as i32;
    check!(sys::wait4(child, WNOHANG)?.0 == 0);
    check!(!is_ready(pidfd, 20)?);
    // It still takes signals for the process.
    check!(rt::signal::kill(child, 0) == Ok(()));
    sys::write(gate[1], b"x")?;
    check!(is_ready(pidfd, 5000)?);
    // The last to exit gives the status.
    check!(sys::wait4(child, 0)? == (child, 9 << 8));
    check!(rt::signal::kill(child, 0) == Err(Errno(ESRCH)));
    Ok(())
}

/// Who has joined a thread exits after it, also if the thread is still on its way out.
fn the_status_of_a_process_whose_threads_exit_is_that_of_the_last() -> Outcome {
    let gate = sys::pipe(0)?;
    for _ in 0..50 {
        let child = start(|| {
            let join = thread(exit_when_told, gate[0] as usize)?;
            sys::write(gate[1], b"x")?;
            join.wait();
            exit_thread(8)
        })?;
        check!(sys::wait4(child, 0)? == (child, 8 << 8));
    }
    Ok(())
}

extern "C" fn wait_for_nobody(_: usize) -> i32 {
    let word = AtomicU32::new(0);
    let _ = sys::futex_wait(&word, 0, FUTEX_PRIVATE_FLAG);
    1
}

fn exit_group_ends_threads_that_wait_for_ever() -> Outcome {
    let child = start(|| {
        for _ in 0..20 {
            thread(wait_for_nobody, 0)?;
        }
        thread(exit_group_46, 0)?;
        sleep_for_ever(0);
        Ok(())
    })?;
    check!(sys::wait4(child, 0)? == (child, 46 << 8));
    Ok(())
}

extern "C" fn exit_group_with(status: usize) -> i32 {
    sys::exit_group(status as i32)
}

fn of_two_exit_groups_the_first_gives_the_status() -> Outcome {
    for _ in 0..20 {
        let child = start(|| {
            thread(exit_group_with, 50)?;
            thread(exit_group_with, 51)?;
            sleep_for_ever(0);
            Ok(())
        })?;
        let (_, status) = sys::wait4(child, 0)?;
        check!(status == 50 << 8 || status == 51 << 8);
    }
    Ok(())
}

fn sigkill_ends_all_threads() -> Outcome {
    let gate = sys::pipe(0)?;
    let child = start(|| {
        for _ in 0..5 {
            thread(sleep_for_ever, 0)?;
        }
        sys::write(gate[1], b"x")?;
        sleep_for_ever(0);
        Ok(())
    })?;
    sys::read(gate[0], &mut [0])?;
    rt::signal::kill(child, SIGKILL)?;
    check!(sys::wait4(child, 0)? == (child, SIGKILL as i32));
    Ok(())
}

extern "C" fn breed(_: usize) -> i32 {
    loop {
        if thread(wait_for_nobody, 0).is_err() {
            sys::sched_yield();
        }
    }
}

fn a_thread_born_while_the_group_dies_does_not_escape() -> Outcome {
    for round in 0..10 {
        let child = start(|| {
            thread(breed, 0)?;
            thread(breed, 0)?;
            sys::sleep_ms(3);
            if round % 2 == 0 {
                sys::exit_group(3)
            } else {
                sleep_for_ever(0)
            };
            Ok(())
        })?;
        if round % 2 == 1 {
            sys::sleep_ms(3);
            rt::signal::kill(child, SIGKILL)?;
        }
        let (_, status) = sys::wait4(child, 0)?;
        check!(status == if round % 2 == 0 { 3 << 8 } else { SIGKILL as i32 });
    }
    Ok(())
}

extern "C" fn set_clear_tid(place: usize) -> i32 {
    let _ = call(__NR_set_tid_address, [place]);
    exit_thread(0)
}

fn clear_child_tid_is_written_while_others_use_the_memory() -> Outcome {
    static WORD: AtomicU32 = AtomicU32::new(7);
    // SAFETY: the stack is new and never unmapped.
    unsafe {
        rt::thread::clone_on(rt::thread::THREAD_FLAGS, map_stack(16 * 1024)?, set_clear_tid, WORD.as_ptr() as usize)?
    };
    check!(becomes(&WORD, 0));
    // A bad place is nobody's error.
    // SAFETY: as above.
    let tid = unsafe { rt::thread::clone_on(rt::thread::THREAD_FLAGS, map_stack(16 * 1024)?, set_clear_tid, 8)? };
    check!(eventually(|| call(__NR_tgkill, [sys::getpid() as usize, tid as usize, 0]) == Err(Errno(ESRCH))));
    // Of a process of its own, nobody sees it: a shared page keeps its value.
    let page = sys::mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)?.cast::<u32>();
    // SAFETY: a page of this test's own.
    unsafe { page.write_volatile(9) };
    let status = in_child(|| {
        call(__NR_set_tid_address, [page as usize])?;
        Ok(())
    })?;
    check!(status == 0);
    // SAFETY: as above.
    check!(unsafe { page.read_volatile() } == 9);
    Ok(())
}

static FORKED: AtomicU32 = AtomicU32::new(0);

extern "C" fn fork_and_tell(_: usize) -> i32 {
    let status = in_child(|| {
        check!(gettid() == sys::getpid());
        let mut path = [0; 32];
        check!(state_of(crate::support::stat_path(gettid(), &mut path)) == b'R');
        Ok(())
    });
    FORKED.store(if status == Ok(0) { 1 } else { 2 }, Ordering::SeqCst);
    0
}

fn a_fork_in_a_thread_copies_that_thread_alone() -> Outcome {
    thread(fork_and_tell, 0)?.wait();
    check!(FORKED.load(Ordering::SeqCst) == 1);
    Ok(())
}

extern "C" fn nothing(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {}

/// What `child SIGNALS` sees: as digits of its exit status, whether SIGUSR1 is ignored, SIGUSR2 has its default action, SIGTERM is blocked
/// and pending, and descriptors 77 and 78 are open.
pub fn look() -> i32 {
    let action = |signal: u32| {
        let mut old = rt::signal::Action::default();
        let _ = call(__NR_rt_sigaction, [signal as usize, 0, &raw mut old as usize, 8]);
        // SAFETY: the kernel has written it.
        unsafe { (&raw const old).read_volatile() }.handler
    };
    let (mut pending, term) = (0u64, rt::signal::bit(SIGTERM));
    let _ = call(__NR_rt_sigpending, [&raw mut pending as usize, 8]);
    // SAFETY: as above.
    let pending = unsafe { (&raw const pending).read_volatile() };
    let blocked = rt::signal::mask(SIG_BLOCK, 0).unwrap_or(0);
    let open = |fd: usize| call(__NR_fcntl, [fd, F_GETFD as usize]).is_ok();
    i32::from(action(SIGUSR1) == 1)
        | i32::from(action(SIGUSR2) == 0) << 1
        | i32::from(pending & blocked & term != 0) << 2
        | i32::from(open(77)) << 3
        | i32::from(open(78)) << 4
}

fn exec_look() -> Errno {
    let argv = [c"guest-tests".as_ptr().cast(), c"look".as_ptr().cast(), core::ptr::null()];
    // SAFETY: both vectors end with a null pointer.
    unsafe { sys::execve(c"/proc/self/exe", argv.as_ptr(), argv[2..].as_ptr()) }
}

fn exec_keeps_what_is_ignored_and_resets_handlers() -> Outcome {
    let status = in_child(|| {
        rt::signal::set_action(SIGUSR1, &rt::signal::Action { handler: 1, ..Default::default() })?;
        rt::signal::handle(SIGUSR2, nothing, 0)?;
        Err(exec_look().into())
    })?;
    println!("seen: {:#b}", status >> 8);
    check!(status == 0b00011 << 8);
    Ok(())
}

fn exec_keeps_pending_signals_and_the_mask() -> Outcome {
    let status = in_child(|| {
        rt::signal::mask(SIG_BLOCK, rt::signal::bit(SIGTERM))?;
        rt::signal::raise(SIGTERM)?;
        Err(exec_look().into())
    })?;
    println!("seen: {:#b}", status >> 8);
    check!(status == 0b00110 << 8);
    Ok(())
}

extern "C" fn exec_look_entry(_: usize) -> i32 {
    let _ = exec_look();
    1
}

fn exec_closes_what_is_close_on_exec_and_unshares_the_table() -> Outcome {
    let pipe = sys::pipe(0)?;
    sys::dup3(pipe[0], 77, 0)?;
    sys::dup3(pipe[0], 78, O_CLOEXEC)?;
    // A child that shares this process's descriptors: what its exec closes stays open here.
    // SAFETY: the stack is new and never unmapped.
    let child = unsafe { rt::thread::clone_on(CLONE_FILES | SIGCHLD, map_stack(16 * 1024)?, exec_look_entry, 0)? };
    let (_, status) = sys::wait4(child, 0)?;
    println!("seen: {:#b}", status >> 8);
    check!(status == 0b01010 << 8);
    check!(call(__NR_fcntl, [78, F_GETFD as usize]) == Ok(FD_CLOEXEC as usize));
    Ok(())
}
