//! System V semaphores (semget(2), semop(2), semctl(2)), and what is undone at exit.

use core::sync::atomic::{AtomicU32, Ordering};

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::signal;
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{become_user, call, eventually, in_child, start};
use crate::{Outcome, check, tests};

tests! {
    a_semaphore_set_has_its_count_and_begins_at_zero,
    a_key_names_one_set_until_it_is_removed,
    a_set_is_found_by_those_only_who_may_use_it,
    semctl_refuses_what_is_not_there,
    several_operations_happen_together_or_not_at_all,
    semop_says_why_it_cannot,
    a_waiter_goes_on_when_the_value_suffices,
    waiters_for_zero_and_for_more_are_counted,
    who_could_go_first_goes_first,
    semop_is_interrupted_whatever_the_handler_says,
    semtimedop_gives_up_in_time,
    removing_a_set_ends_the_waits_with_eidrm,
    undo_takes_back_at_exit_what_a_process_did,
    undo_follows_fork_and_exec_as_it_should,
    setting_a_value_forgets_what_was_to_be_undone,
    unshare_of_the_undo_list_carries_it_out,
    threads_share_what_is_to_be_undone,
    sem_stat_walks_all_sets,
    proc_shows_the_semaphore_sets,
}

pub const IPC_PRIVATE: usize = 0;
pub const IPC_CREAT: usize = 0o1000;
pub const IPC_EXCL: usize = 0o2000;
pub const IPC_NOWAIT: i16 = 0o4000;
pub const IPC_RMID: usize = 0;
pub const IPC_SET: usize = 1;
pub const IPC_STAT: usize = 2;
const GETPID: usize = 11;
const GETVAL: usize = 12;
const GETALL: usize = 13;
const GETNCNT: usize = 14;
const GETZCNT: usize = 15;
const SETVAL: usize = 16;
const SETALL: usize = 17;
const SEM_STAT: usize = 18;
const SEM_INFO: usize = 19;
const SEM_UNDO: i16 = 0x1000;

/// `struct sembuf`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Op(u16, i16, i16);

/// A set that is removed when it goes out of scope.
struct Set(usize);

impl Drop for Set {
    fn drop(&mut self) {
        let _ = call(__NR_semctl, [self.0, 0, IPC_RMID]);
    }
}

impl Set {
    fn new(count: usize) -> Result<Set, Errno> {
        call(__NR_semget, [IPC_PRIVATE, count, 0o600]).map(Set)
    }

    fn control(&self, number: usize, command: usize, argument: usize) -> Result<usize, Errno> {
        call(__NR_semctl, [self.0, number, command, argument])
    }

    fn value(&self, number: usize) -> Result<usize, Errno> {
        self.control(number, GETVAL, 0)
    }

    fn op(&self, ops: &[Op]) -> Result<usize, Errno> {
        call(__NR_semop, [self.0, ops.as_ptr() as usize, ops.len()])
    }
}

/// A key that no other test has.
pub fn key(number: usize) -> usize {
    (sys::getpid() as usize) << 8 | 0x4000_0000 | number
}

fn a_semaphore_set_has_its_count_and_begins_at_zero() -> Outcome {
    let set = Set::new(3)?;
    let mut values = [7u16; 3];
    set.control(0, GETALL, values.as_mut_ptr() as usize)?;
    check!(values == [0; 3]);
    let mut status = [0u64; 13];
    set.control(0, IPC_STAT, status.as_mut_ptr() as usize)?;
    check!(status[if cfg!(target_arch = "x86_64") { 10 } else { 8 }] == 3);
    check!(status[2] >> 32 == 0o600);
    // Made, and no operation yet.
    check!(status[6] == 0 && status[if cfg!(target_arch = "x86_64") { 8 } else { 7 }] > 0);
    set.op(&[Op(1, 5, 0)])?;
    check!(set.value(1)? == 5 && set.value(0)? == 0);
    check!(set.control(1, GETPID, 0)? == sys::getpid() as usize);
    check!(set.control(0, GETPID, 0)? == 0);
    set.control(0, IPC_STAT, status.as_mut_ptr() as usize)?;
    check!(status[6] > 0);
    Ok(())
}

fn a_key_names_one_set_until_it_is_removed() -> Outcome {
    let key = key(1);
    check!(call(__NR_semget, [key, 1, 0o600]) == Err(Errno(ENOENT)));
    let id = call(__NR_semget, [key, 2, IPC_CREAT | 0o600])?;
    let set = Set(id);
    check!(call(__NR_semget, [key, 2, 0])? == id);
    check!(call(__NR_semget, [key, 0, IPC_CREAT])? == id);
    check!(call(__NR_semget, [key, 3, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_semget, [key, 2, IPC_CREAT | IPC_EXCL]) == Err(Errno(EEXIST)));
    check!(call(__NR_semget, [key, usize::MAX, 0]) == Err(Errno(EINVAL)));
    drop(set);
    check!(call(__NR_semget, [key, 0, 0]) == Err(Errno(ENOENT)));
    check!(call(__NR_semget, [key, 0, IPC_CREAT]) == Err(Errno(EINVAL)));
    Ok(())
}

fn a_set_is_found_by_those_only_who_may_use_it() -> Outcome {
    let key = key(2);
    let id = call(__NR_semget, [key, 1, IPC_CREAT | 0o640])?;
    let set = Set(id);
    let status = in_child(|| {
        become_user(4242)?;
        check!(call(__NR_semget, [key, 1, 0])? == id);
        check!(call(__NR_semget, [key, 1, 0o400]) == Err(Errno(EACCES)));
        check!(set.value(0) == Err(Errno(EACCES)));
        check!(set.op(&[Op(0, 1, 0)]) == Err(Errno(EACCES)));
        check!(set.control(0, SETVAL, 1) == Err(Errno(EACCES)));
        check!(set.control(0, IPC_RMID, 0) == Err(Errno(EPERM)));
        Ok(())
    })?;
    check!(status == 0);
    // Given away: the new owner may do anything, the mode is as said.
    let mut record = [0u64; 13];
    set.control(0, IPC_STAT, record.as_mut_ptr() as usize)?;
    // SAFETY: user, group and mode are 32-bit words at 4, 8 and 20.
    unsafe {
        let words = record.as_mut_ptr().cast::<u32>();
        words.add(1).write(4242);
        words.add(2).write(4242);
        words.add(5).write(0o7400);
    }
    set.control(0, IPC_SET, record.as_ptr() as usize)?;
    let status = in_child(|| {
        become_user(4242)?;
        check!(set.value(0)? == 0);
        check!(set.op(&[Op(0, 1, 0)]) == Err(Errno(EACCES)));
        check!(set.op(&[Op(0, 0, 0)])? == 0);
        check!(set.control(0, IPC_RMID, 0)? == 0);
        Ok(())
    })?;
    check!(status == 0);
    check!(set.value(0) == Err(Errno(EINVAL)) || set.value(0) == Err(Errno(EIDRM)));
    Ok(())
}

fn semctl_refuses_what_is_not_there() -> Outcome {
    let set = Set::new(2)?;
    check!(set.value(2) == Err(Errno(EINVAL)));
    check!(set.value(usize::MAX) == Err(Errno(EINVAL)));
    check!(set.control(0, SETVAL, 32768) == Err(Errno(ERANGE)));
    check!(set.control(0, SETVAL, usize::MAX) == Err(Errno(ERANGE)));
    check!(set.control(2, SETVAL, 1) == Err(Errno(EINVAL)));
    check!(set.control(0, SETALL, [1u16, 40000].as_ptr() as usize) == Err(Errno(ERANGE)));
    check!(set.value(0)? == 0);
    check!(set.control(0, SETALL, 8) == Err(Errno(EFAULT)));
    check!(set.control(0, GETALL, 8) == Err(Errno(EFAULT)));
    check!(set.control(0, IPC_STAT, 8) == Err(Errno(EFAULT)));
    check!(set.control(0, IPC_SET, 8) == Err(Errno(EFAULT)));
    check!(set.control(0, 99, 0) == Err(Errno(EINVAL)));
    check!(call(__NR_semctl, [usize::MAX, 0, GETVAL]) == Err(Errno(EINVAL)));
    check!(call(__NR_semctl, [0x7fff_fff0, 0, GETVAL]) == Err(Errno(EINVAL)));
    Ok(())
}

fn several_operations_happen_together_or_not_at_all() -> Outcome {
    let set = Set::new(2)?;
    check!(set.op(&[Op(0, 2, 0), Op(1, -1, IPC_NOWAIT)]) == Err(Errno::AGAIN));
    check!(set.value(0)? == 0 && set.value(1)? == 0);
    set.op(&[Op(0, 2, 0), Op(0, -1, IPC_NOWAIT), Op(1, 1, 0), Op(1, -1, 0), Op(1, 0, 0)])?;
    check!(set.value(0)? == 1 && set.value(1)? == 0);
    Ok(())
}

fn semop_says_why_it_cannot() -> Outcome {
    let set = Set::new(1)?;
    check!(set.op(&[]) == Err(Errno(EINVAL)));
    check!(set.op(&[Op(0, 1, 0); 501]) == Err(Errno(E2BIG)));
    check!(set.op(&[Op(1, 1, 0)]) == Err(Errno(EFBIG)));
    check!(set.op(&[Op(0, 1, 0), Op(0, 32767, 0)]) == Err(Errno(ERANGE)));
    check!(set.op(&[Op(0, -1, IPC_NOWAIT)]) == Err(Errno::AGAIN));
    set.op(&[Op(0, 1, 0)])?;
    check!(set.op(&[Op(0, 0, IPC_NOWAIT)]) == Err(Errno::AGAIN));
    check!(call(__NR_semop, [set.0, 8, 1]) == Err(Errno(EFAULT)));
    check!(call(__NR_semop, [usize::MAX, 8, 1]).is_err());
    check!(set.value(0)? == 1);
    Ok(())
}

fn a_waiter_goes_on_when_the_value_suffices() -> Outcome {
    let set = Set::new(1)?;
    let child = start(|| {
        set.op(&[Op(0, -3, 0)])?;
        Ok(())
    })?;
    check!(eventually(|| set.control(0, GETNCNT, 0) == Ok(1)));
    set.op(&[Op(0, 2, 0)])?;
    check!(set.value(0)? == 2 && set.control(0, GETNCNT, 0)? == 1);
    // The one that makes it possible does it for the sleeper: nobody sees a 3.
    set.op(&[Op(0, 1, 0)])?;
    check!(set.value(0)? == 0);
    check!(set.control(0, GETPID, 0)? == child as usize);
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn waiters_for_zero_and_for_more_are_counted() -> Outcome {
    let set = Set::new(1)?;
    set.op(&[Op(0, 1, 0)])?;
    let zero = start(|| {
        set.op(&[Op(0, 0, 0)])?;
        Ok(())
    })?;
    let more = start(|| {
        set.op(&[Op(0, -2, 0)])?;
        Ok(())
    })?;
    check!(eventually(|| set.control(0, GETNCNT, 0) == Ok(1) && set.control(0, GETZCNT, 0) == Ok(1)));
    set.control(0, SETVAL, 0)?;
    check!(sys::wait4(zero, 0)? == (zero, 0));
    check!(set.control(0, GETZCNT, 0)? == 0 && set.control(0, GETNCNT, 0)? == 1);
    set.control(0, SETALL, [2u16].as_ptr() as usize)?;
    check!(sys::wait4(more, 0)? == (more, 0));
    check!(set.value(0)? == 0);
    Ok(())
}

fn who_could_go_first_goes_first() -> Outcome {
    let set = Set::new(2)?;
    let pipe = sys::pipe(0)?;
    for (number, wants) in [(b'a', 2), (b'b', 1), (b'c', 1)] {
        start(|| {
            set.op(&[Op(0, -wants, 0)])?;
            sys::write(pipe[1], &[number])?;
            set.op(&[Op(1, 1, 0)])?;
            Ok(())
        })?;
        let waiting = (number - b'a' + 1) as usize;
        check!(eventually(|| set.control(0, GETNCNT, 0) == Ok(waiting)));
    }
    let mut told = [0u8; 3];
    for (at, (rise, who)) in [(1, b'b'), (1, b'c'), (2, b'a')].into_iter().enumerate() {
        set.op(&[Op(0, rise, 0)])?;
        set.op(&[Op(1, -1, 0)])?;
        check!(sys::read(pipe[0], &mut told[at..=at])? == 1);
        check!(told[at] == who);
    }
    Ok(())
}

extern "C" fn nothing(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {}

fn semop_is_interrupted_whatever_the_handler_says() -> Outcome {
    let set = Set::new(1)?;
    let child = start(|| {
        signal::handle(SIGUSR1, nothing, SA_RESTART)?;
        check!(set.op(&[Op(0, -1, 0)]) == Err(Errno::INTR));
        Ok(())
    })?;
    check!(eventually(|| set.control(0, GETNCNT, 0) == Ok(1)));
    signal::kill(child, SIGUSR1)?;
    check!(sys::wait4(child, 0)? == (child, 0));
    check!(set.control(0, GETNCNT, 0)? == 0);
    // So it is by a stop, after which no handler runs.
    let child = start(|| {
        check!(set.op(&[Op(0, -1, 0)]) == Err(Errno::INTR));
        Ok(())
    })?;
    check!(eventually(|| set.control(0, GETNCNT, 0) == Ok(1)));
    signal::kill(child, SIGSTOP)?;
    check!(sys::wait4(child, WUNTRACED)?.1 & 0xff == 0x7f);
    signal::kill(child, SIGCONT)?;
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn semtimedop_gives_up_in_time() -> Outcome {
    let set = Set::new(1)?;
    let op = [Op(0, -1, 0)];
    let timed = |sec: i64, nsec: i64| {
        let limit = [sec, nsec];
        call(__NR_semtimedop, [set.0, op.as_ptr() as usize, 1, limit.as_ptr() as usize])
    };
    let before = sys::clock_ns(CLOCK_MONOTONIC);
    check!(timed(0, 20_000_000) == Err(Errno::AGAIN));
    check!(sys::clock_ns(CLOCK_MONOTONIC) - before >= 20_000_000);
    check!(timed(0, 1_000_000_000) == Err(Errno(EINVAL)));
    check!(timed(-1, 0) == Err(Errno(EINVAL)));
    check!(set.control(0, GETNCNT, 0)? == 0);
    set.op(&[Op(0, 1, 0)])?;
    check!(timed(1, 0)? == 0);
    set.op(&[Op(0, 1, 0)])?;
    check!(call(__NR_semtimedop, [set.0, op.as_ptr() as usize, 1, 0])? == 0);
    check!(call(__NR_semtimedop, [set.0, op.as_ptr() as usize, 1, 8]) == Err(Errno(EFAULT)));
    Ok(())
}

fn removing_a_set_ends_the_waits_with_eidrm() -> Outcome {
    let set = Set::new(1)?;
    let child = start(|| {
        check!(set.op(&[Op(0, -1, SEM_UNDO)]) == Err(Errno(EIDRM)));
        Ok(())
    })?;
    check!(eventually(|| set.control(0, GETNCNT, 0) == Ok(1)));
    set.control(0, IPC_RMID, 0)?;
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn undo_takes_back_at_exit_what_a_process_did() -> Outcome {
    let set = Set::new(2)?;
    set.op(&[Op(0, 5, 0)])?;
    let gate = sys::pipe(0)?;
    let holder = start(|| {
        set.op(&[Op(0, -2, SEM_UNDO), Op(1, 3, SEM_UNDO), Op(0, -1, 0)])?;
        check!(set.op(&[Op(1, 32767, SEM_UNDO)]) == Err(Errno(ERANGE)));
        sys::read(gate[0], &mut [0])?;
        Ok(())
    })?;
    check!(eventually(|| set.value(1) == Ok(3)));
    let waiter = start(|| {
        set.op(&[Op(0, -4, 0)])?;
        Ok(())
    })?;
    check!(eventually(|| set.control(0, GETNCNT, 0) == Ok(1)));
    check!(set.value(0)? == 2);
    sys::write(gate[1], b"x")?;
    check!(sys::wait4(holder, 0)? == (holder, 0));
    check!(sys::wait4(waiter, 0)? == (waiter, 0));
    check!(set.value(0)? == 0 && set.control(0, GETPID, 0)? == waiter as usize);
    check!(set.value(1)? == 0 && set.control(1, GETPID, 0)? == holder as usize);
    Ok(())
}

fn undo_follows_fork_and_exec_as_it_should() -> Outcome {
    let set = Set::new(1)?;
    set.op(&[Op(0, 5, 0)])?;
    let status = in_child(|| {
        set.op(&[Op(0, -1, SEM_UNDO)])?;
        // A forked child undoes nothing of its parent's.
        check!(in_child(|| Ok(()))? == 0);
        check!(set.value(0)? == 4);
        let inner = in_child(|| {
            set.op(&[Op(0, -1, SEM_UNDO)])?;
            Ok(())
        })?;
        check!(inner == 0 && set.value(0)? == 4);
        // What is to be undone outlives the program: it is taken back when the next one ends.
        let argv = [c"guest-tests".as_ptr().cast(), c"child".as_ptr().cast(), c"0".as_ptr().cast(), core::ptr::null()];
        let envp = [core::ptr::null()];
        // SAFETY: both vectors end with a null pointer.
        Err(unsafe { sys::execve(c"/proc/self/exe", argv.as_ptr(), envp.as_ptr()) }.into())
    })?;
    check!(status == 0);
    check!(set.value(0)? == 5);
    Ok(())
}

fn setting_a_value_forgets_what_was_to_be_undone() -> Outcome {
    let set = Set::new(2)?;
    let status = in_child(|| {
        set.op(&[Op(0, 3, SEM_UNDO), Op(1, 3, SEM_UNDO)])?;
        set.control(0, SETVAL, 7)?;
        Ok(())
    })?;
    check!(status == 0);
    check!(set.value(0)? == 7 && set.value(1)? == 0);
    let status = in_child(|| {
        set.op(&[Op(0, 3, SEM_UNDO), Op(1, 3, SEM_UNDO)])?;
        set.control(0, SETALL, [1u16, 2].as_ptr() as usize)?;
        Ok(())
    })?;
    check!(status == 0);
    check!(set.value(0)? == 1 && set.value(1)? == 2);
    // Undoing never takes a value below zero.
    let status = in_child(|| {
        set.op(&[Op(0, 3, SEM_UNDO)])?;
        set.op(&[Op(0, -4, 0)])?;
        Ok(())
    })?;
    check!(status == 0 && set.value(0)? == 0);
    Ok(())
}

fn unshare_of_the_undo_list_carries_it_out() -> Outcome {
    let set = Set::new(1)?;
    let status = in_child(|| {
        set.op(&[Op(0, 3, SEM_UNDO)])?;
        check!(set.value(0)? == 3);
        call(__NR_unshare, [CLONE_SYSVSEM as usize])?;
        check!(set.value(0)? == 0);
        set.op(&[Op(0, 2, SEM_UNDO)])?;
        Ok(())
    })?;
    check!(status == 0 && set.value(0)? == 0);
    check!(call(__NR_unshare, [1]) == Err(Errno(EINVAL)));
    Ok(())
}

static SET: AtomicU32 = AtomicU32::new(0);

extern "C" fn raise_and_exit(_: usize) -> i32 {
    let set = core::mem::ManuallyDrop::new(Set(SET.load(Ordering::SeqCst) as usize));
    i32::from(set.op(&[Op(0, 3, SEM_UNDO)]).is_err())
}

fn threads_share_what_is_to_be_undone() -> Outcome {
    let set = Set::new(1)?;
    SET.store(set.0 as u32, Ordering::SeqCst);
    let status = in_child(|| {
        let thread = Join::new();
        // SAFETY: the stack is the thread's own, and both are waited for.
        unsafe { thread.spawn(map_stack(65536)?, raise_and_exit, 0) }?;
        thread.wait();
        // The thread has gone; its process has not.
        check!(eventually(|| set.value(0) == Ok(3)));
        sys::sleep_ms(20);
        check!(set.value(0)? == 3);
        Ok(())
    })?;
    check!(status == 0 && set.value(0)? == 0);
    Ok(())
}

fn sem_stat_walks_all_sets() -> Outcome {
    let set = Set::new(1)?;
    let mut info = [0i32; 10];
    let highest = call(__NR_semctl, [0, 0, SEM_INFO, info.as_mut_ptr() as usize])?;
    // Sets and semaphores in use; the largest value.
    check!(info[7] >= 1 && info[9] >= 1 && info[8] == 32767);
    let mut status = [0u64; 13];
    let found = (0..=highest)
        .any(|index| call(__NR_semctl, [index, 0, SEM_STAT, status.as_mut_ptr() as usize]).is_ok_and(|id| id == set.0));
    check!(found);
    check!(call(__NR_semctl, [0, 0, 3, info.as_mut_ptr() as usize])? == highest);
    check!(info[9] == 32767 && info[4] > 0);
    Ok(())
}

/// Whether a line of a file has `id` as its second word.
pub fn listed(path: &core::ffi::CStr, id: usize) -> Result<bool, Errno> {
    let second = |line: &[u8]| {
        let word = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(1)?;
        core::str::from_utf8(word).ok()?.parse::<usize>().ok()
    };
    let fd = sys::open(path, O_RDONLY, 0)?;
    let (mut text, mut kept, mut found) = ([0u8; 1024], 0, false);
    loop {
        let count = sys::read(fd, &mut text[kept..])?;
        let mut line = 0;
        while let Some(end) = text[line..kept + count].iter().position(|byte| *byte == b'\n') {
            found |= second(&text[line..line + end]) == Some(id);
            line += end + 1;
        }
        if count == 0 {
            sys::close(fd)?;
            return Ok(found);
        }
        // What is left of the last line goes to the front.
        text.copy_within(line..kept + count, 0);
        kept = kept + count - line;
    }
}

fn proc_shows_the_semaphore_sets() -> Outcome {
    let set = Set::new(1)?;
    check!(listed(c"/proc/sysvipc/sem", set.0)?);
    let id = set.0;
    drop(set);
    check!(!listed(c"/proc/sysvipc/sem", id)?);
    Ok(())
}
