//! clone(2) and clone3(2): which arguments are refused, with which error, and that nothing is left behind by a refusal.

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::sys::{self, Errno};

use crate::support::{call, in_child};
use crate::{Outcome, check, tests};

tests! {
    clone3_checks_the_size_of_its_record,
    clone3_refuses_unknown_flags_and_bad_signals,
    clone3_refuses_flags_that_contradict,
    clone3_refuses_bad_stacks,
    clone3_set_tid_is_checked,
    clone3_refuses_exit_signals_of_threads_that_clone_ignores,
    clone_ignores_unknown_bits,
    clone_refuses_flags_that_contradict,
    clone_pidfd_and_parent_settid_share_a_place,
    a_refused_clone_leaves_no_child_and_no_descriptor,
    a_pidfd_that_cannot_be_stored_makes_no_child,
    a_bad_place_for_the_tid_is_ignored,
    both_see_the_childs_tid_before_it_runs,
    clear_sighand_resets_handlers_and_not_what_is_ignored,
    a_child_starts_without_pending_signals_and_times,
    an_exit_signal_that_is_not_sigchld_is_sent,
}

/// `struct clone_args`, and room after it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Record {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
    beyond: [u64; 5],
}

impl Record {
    fn of(flags: u64) -> Record {
        Record { flags, exit_signal: SIGCHLD.into(), ..Record::default() }
    }
}

const CLEAR_SIGHAND: u64 = 1 << 32;
const INTO_CGROUP: u64 = 1 << 33;

/// The call; a child that should not be ends at once and is reaped, and its id is told.
fn clone3_sized(record: &Record, size: usize) -> Result<usize, Errno> {
    let child = call(__NR_clone3, [&raw const *record as usize, size])?;
    if child == 0 {
        sys::exit_group(0);
    }
    let _ = sys::wait4(child as i32, __WALL);
    Ok(child)
}

fn clone3(record: &Record) -> Result<usize, Errno> {
    clone3_sized(record, 88)
}

fn refused(record: Record) -> bool {
    clone3(&record) == Err(Errno(EINVAL))
}

fn clone3_checks_the_size_of_its_record() -> Outcome {
    let record = Record::of(0);
    check!(clone3_sized(&record, 63) == Err(Errno(EINVAL)));
    check!(clone3_sized(&record, 0) == Err(Errno(EINVAL)));
    check!(clone3_sized(&record, 4097) == Err(Errno(E2BIG)));
    for size in [64, 80, 88, 120] {
        check!(clone3_sized(&record, size).is_ok());
    }
    let mut longer = record;
    longer.beyond[3] = 1;
    check!(clone3_sized(&longer, 128) == Err(Errno(E2BIG)));
    check!(clone3_sized(&longer, 88).is_ok());
    check!(call(__NR_clone3, [8, 88]) == Err(Errno(EFAULT)));
    Ok(())
}

fn clone3_refuses_unknown_flags_and_bad_signals() -> Outcome {
    for flags in [1 << 40, 1 << 63, u64::from(CLONE_DETACHED), 17, 1] {
        check!(refused(Record::of(flags)));
    }
    for exit_signal in [65, 256 + 17, 1 << 32] {
        check!(refused(Record { exit_signal, ..Record::default() }));
    }
    check!(refused(Record { cgroup: 1 << 31, ..Record::of(INTO_CGROUP) }));
    check!(clone3_sized(&Record::of(INTO_CGROUP), 80) == Err(Errno(EINVAL)));
    Ok(())
}

fn clone3_refuses_flags_that_contradict() -> Outcome {
    let sighand = u64::from(CLONE_SIGHAND);
    check!(refused(Record::of(sighand)));
    check!(refused(Record::of(u64::from(CLONE_VM) | sighand | CLEAR_SIGHAND)));
    check!(refused(Record { exit_signal: 0, ..Record::of(u64::from(CLONE_THREAD)) }));
    check!(refused(Record { exit_signal: 0, ..Record::of(u64::from(CLONE_THREAD | CLONE_VM)) }));
    check!(refused(Record::of(u64::from(CLONE_NEWNS | CLONE_FS))));
    check!(refused(Record::of(u64::from(CLONE_NEWUSER | CLONE_FS))));
    check!(refused(Record::of(u64::from(CLONE_NEWIPC | CLONE_SYSVSEM))));
    Ok(())
}

fn clone3_refuses_bad_stacks() -> Outcome {
    check!(refused(Record { stack: 0x1000, ..Record::of(0) }));
    check!(refused(Record { stack_size: 0x1000, ..Record::of(0) }));
    check!(refused(Record { stack: 1 << 63, stack_size: 0x1000, ..Record::of(0) }));
    check!(refused(Record { stack: 0x1000, stack_size: u64::MAX - 0xfff, ..Record::of(0) }));
    Ok(())
}

fn clone3_set_tid_is_checked() -> Outcome {
    let id = [1i32];
    let set_tid = id.as_ptr() as u64;
    check!(refused(Record { set_tid, ..Record::of(0) }));
    check!(refused(Record { set_tid_size: 1, ..Record::of(0) }));
    check!(refused(Record { set_tid, set_tid_size: 33, ..Record::of(0) }));
    let chosen = [1000i32];
    let none = [0i32];
    check!(refused(Record { set_tid: none.as_ptr() as u64, set_tid_size: 1, ..Record::of(0) }));
    check!(clone3(&Record { set_tid: 8, set_tid_size: 1, ..Record::of(0) }) == Err(Errno(EFAULT)));
    let own = [sys::getpid()];
    check!(clone3(&Record { set_tid: own.as_ptr() as u64, set_tid_size: 1, ..Record::of(0) }) == Err(Errno(EEXIST)));
    let status = in_child(|| {
        crate::support::become_user(4321)?;
        let result = clone3(&Record { set_tid: chosen.as_ptr() as u64, set_tid_size: 1, ..Record::of(0) });
        println!("without privilege: {result:?}");
        check!(result == Err(Errno(EPERM)));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn clone3_refuses_exit_signals_of_threads_that_clone_ignores() -> Outcome {
    let thread = u64::from(CLONE_THREAD | CLONE_SIGHAND | CLONE_VM);
    check!(refused(Record::of(thread)));
    check!(refused(Record::of(u64::from(CLONE_PARENT))));
    // clone takes CLONE_PARENT with a signal: the child is a sibling, so it is this test's parent that reaps it.
    let status = in_child(|| {
        let child = call(__NR_clone, [(CLONE_PARENT | SIGUSR1) as usize, 0, 0, 0, 0])?;
        if child == 0 {
            sys::exit_group(0);
        }
        check!(sys::wait4(child as i32, __WALL) == Err(Errno(ECHILD)));
        Ok(())
    })?;
    check!(status == 0);
    check!(sys::wait4(-1, __WALL).is_ok());
    Ok(())
}

/// clone(2) without a stack of its own; the child ends at once and is reaped.
fn clone(flags: u32) -> Result<usize, Errno> {
    let child = call(__NR_clone, [flags as usize, 0, 0, 0, 0])?;
    if child == 0 {
        sys::exit_group(0);
    }
    let _ = sys::wait4(child as i32, __WALL);
    Ok(child)
}

fn clone_ignores_unknown_bits() -> Outcome {
    check!(clone(CLONE_DETACHED | SIGCHLD).is_ok());
    check!(clone(CLONE_UNTRACED | CLONE_IO | CLONE_SYSVSEM | SIGCHLD).is_ok());
    // A signal that does not exist is none.
    check!(clone(200).is_ok());
    Ok(())
}

fn clone_refuses_flags_that_contradict() -> Outcome {
    let invalid = Err(Errno(EINVAL));
    for flags in [
        CLONE_SIGHAND,
        CLONE_THREAD,
        CLONE_THREAD | CLONE_VM,
        CLONE_THREAD | CLONE_SIGHAND,
        CLONE_NEWNS | CLONE_FS,
        CLONE_NEWUSER | CLONE_FS,
        CLONE_PIDFD | CLONE_DETACHED,
    ] {
        println!("flags {flags:#x}");
        check!(clone(flags | SIGCHLD) == invalid);
    }
    Ok(())
}

fn clone_pidfd_and_parent_settid_share_a_place() -> Outcome {
    let mut place = -1i32;
    let flags = (CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD) as usize;
    check!(call(__NR_clone, [flags, 0, &raw mut place as usize, 0, 0]) == Err(Errno(EINVAL)));
    let mut places = [-1i32; 2];
    let record = Record {
        pidfd: &raw mut places[0] as u64,
        parent_tid: &raw mut places[1] as u64,
        ..Record::of(u64::from(CLONE_PIDFD | CLONE_PARENT_SETTID))
    };
    let child = clone3(&record)?;
    // SAFETY: the kernel has written both.
    let [fd, tid] = unsafe { (&raw const places).read_volatile() };
    println!("child {child}, told {tid}, pidfd {fd}");
    check!(tid == child as i32 && fd > 2);
    Ok(())
}

/// How many descriptors are open, as far as low numbers go.
fn open_descriptors() -> usize {
    (0..64).filter(|&fd| call(__NR_fcntl, [fd, F_GETFD as usize]).is_ok()).count()
}

fn a_refused_clone_leaves_no_child_and_no_descriptor() -> Outcome {
    let before = open_descriptors();
    let mut fd = -1i32;
    let pidfd = &raw mut fd as u64;
    check!(refused(Record { pidfd, ..Record::of(u64::from(CLONE_PIDFD | CLONE_SIGHAND)) }));
    check!(refused(Record { pidfd, exit_signal: 99, ..Record::of(CLONE_PIDFD.into()) }));
    check!(open_descriptors() == before);
    check!(sys::wait4(-1, __WALL) == Err(Errno(ECHILD)));
    Ok(())
}

fn a_pidfd_that_cannot_be_stored_makes_no_child() -> Outcome {
    let before = open_descriptors();
    check!(clone3(&Record { pidfd: 8, ..Record::of(CLONE_PIDFD.into()) }) == Err(Errno(EFAULT)));
    check!(open_descriptors() == before);
    check!(sys::wait4(-1, __WALL) == Err(Errno(ECHILD)));
    Ok(())
}

fn a_bad_place_for_the_tid_is_ignored() -> Outcome {
    let flags = u64::from(CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID);
    check!(clone3(&Record { parent_tid: 8, child_tid: 8, ..Record::of(flags) }).is_ok());
    Ok(())
}

fn both_see_the_childs_tid_before_it_runs() -> Outcome {
    let mut words = [0i32; 2];
    let record = Record {
        parent_tid: &raw mut words[0] as u64,
        child_tid: &raw mut words[1] as u64,
        ..Record::of(u64::from(CLONE_PARENT_SETTID | CLONE_CHILD_SETTID))
    };
    let child = call(__NR_clone3, [&raw const record as usize, 88])?;
    // SAFETY: the kernel has written what it was to write.
    let seen = unsafe { (&raw const words).read_volatile() };
    if child == 0 {
        // The parent's word was written before its memory was copied, or is still nought; the child's is there.
        sys::exit_group(i32::from(seen[1] != sys::getpid()));
    }
    check!(seen[0] == child as i32 && seen[1] == 0);
    check!(sys::wait4(child as i32, 0)?.1 == 0);
    Ok(())
}

extern "C" fn nothing(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {}

fn action_of(signal: u32) -> Result<usize, Errno> {
    let mut old = rt::signal::Action::default();
    call(__NR_rt_sigaction, [signal as usize, 0, &raw mut old as usize, 8])?;
    // SAFETY: the kernel has written it.
    Ok(unsafe { (&raw const old).read_volatile() }.handler)
}

fn clear_sighand_resets_handlers_and_not_what_is_ignored() -> Outcome {
    rt::signal::handle(SIGUSR1, nothing, 0)?;
    rt::signal::set_action(SIGUSR2, &rt::signal::Action { handler: 1, ..Default::default() })?;
    let record = Record::of(CLEAR_SIGHAND);
    let child = call(__NR_clone3, [&raw const record as usize, 88])?;
    if child == 0 {
        let holds = action_of(SIGUSR1) == Ok(0) && action_of(SIGUSR2) == Ok(1);
        sys::exit_group(i32::from(!holds));
    }
    check!(sys::wait4(child as i32, 0)?.1 == 0);
    check!(action_of(SIGUSR1)? == nothing as *const () as usize);
    Ok(())
}

fn a_child_starts_without_pending_signals_and_times() -> Outcome {
    rt::signal::mask(SIG_BLOCK, rt::signal::bit(SIGUSR1))?;
    rt::signal::raise(SIGUSR1)?;
    let status = in_child(|| {
        let mut pending = 0u64;
        call(__NR_rt_sigpending, [&raw mut pending as usize, 8])?;
        // SAFETY: the kernel has written it.
        check!(unsafe { (&raw const pending).read_volatile() } == 0);
        // The mask is inherited, an interval timer is not.
        check!(rt::signal::mask(SIG_BLOCK, 0)? & rt::signal::bit(SIGUSR1) != 0);
        let mut timer = [1i64; 4];
        call(__NR_getitimer, [ITIMER_REAL as usize, timer.as_mut_ptr() as usize])?;
        // SAFETY: as above.
        check!(unsafe { timer.as_ptr().cast::<[i64; 4]>().read_volatile() } == [0; 4]);
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn an_exit_signal_that_is_not_sigchld_is_sent() -> Outcome {
    rt::signal::mask(SIG_BLOCK, rt::signal::bit(SIGUSR2))?;
    let child = call(__NR_clone, [SIGUSR2 as usize, 0, 0, 0, 0])?;
    if child == 0 {
        sys::exit_group(3);
    }
    // A wait without __WCLONE or __WALL does not see it.
    check!(sys::wait4(child as i32, 0) == Err(Errno(ECHILD)));
    check!(sys::wait4(child as i32, __WCLONE)? == (child as i32, 3 << 8));
    let mut pending = 0u64;
    call(__NR_rt_sigpending, [&raw mut pending as usize, 8])?;
    // SAFETY: the kernel has written it.
    check!(unsafe { (&raw const pending).read_volatile() } == rt::signal::bit(SIGUSR2));
    Ok(())
}
