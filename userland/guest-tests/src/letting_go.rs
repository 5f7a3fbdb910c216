//! What a thread lets go of at its end and at execve(2): its parent in vfork(2), robust futexes (set_robust_list(2)).

use core::sync::atomic::{AtomicU32, Ordering};

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::signal::{handle, kill};
use rt::sys::{self, Errno};
use rt::thread::{Join, clone_on, map_stack};

use crate::support::{becomes, call, eventually, gettid, in_child, start};
use crate::{Outcome, check, tests};

tests! {
    vfork_holds_the_parent_until_the_child_executes,
    vfork_holds_off_signals_but_sigkill,
    a_child_of_vfork_that_is_killed_lets_the_parent_go,
    vfork_without_shared_memory_waits_all_the_same,
    robust_futexes_of_a_dead_thread_are_marked_and_a_waiter_woken,
    a_robust_futex_is_released_by_execve,
    a_robust_list_that_is_circular_or_bad_ends,
    the_pending_entry_of_a_robust_list_is_released,
    robust_lists_have_one_length,
    get_robust_list_tells_ones_own,
}

const VFORK: u32 = CLONE_VM | CLONE_VFORK | SIGCHLD;

static WORD: AtomicU32 = AtomicU32::new(0);
static COUNT: AtomicU32 = AtomicU32::new(0);

extern "C" fn execute_slowly(_: usize) -> i32 {
    sys::sleep_ms(30);
    WORD.store(7, Ordering::SeqCst);
    let argv = [c"guest-tests".as_ptr().cast(), c"child".as_ptr().cast(), c"9".as_ptr().cast(), core::ptr::null()];
    // SAFETY: both vectors end with a null pointer.
    unsafe { sys::execve(c"/proc/self/exe", argv.as_ptr(), argv[3..].as_ptr()) };
    1
}

fn vfork_holds_the_parent_until_the_child_executes() -> Outcome {
    // SAFETY: the stack is new and never unmapped.
    let child = unsafe { clone_on(VFORK, map_stack(64 * 1024)?, execute_slowly, 0)? };
    check!(WORD.load(Ordering::SeqCst) == 7);
    check!(sys::wait4(child, 0)? == (child, 9 << 8));
    Ok(())
}

extern "C" fn count(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn signal_parent(parent: usize) -> i32 {
    let _ = kill(parent as i32, SIGUSR1);
    sys::sleep_ms(30);
    // The parent's handler has not run, for it waits.
    WORD.store(COUNT.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
    0
}

/// Until its parent dies.
extern "C" fn wait_for_ever(_: usize) -> i32 {
    let _ = call(__NR_prctl, [rt::raw::prctl::PR_SET_PDEATHSIG as usize, SIGKILL as usize]);
    loop {
        sys::sleep_ms(1000);
    }
}

fn vfork_holds_off_signals_but_sigkill() -> Outcome {
    handle(SIGUSR1, count, 0)?;
    // SAFETY: the stack is new and never unmapped.
    let child = unsafe { clone_on(VFORK, map_stack(64 * 1024)?, signal_parent, sys::getpid() as usize)? };
    check!(WORD.load(Ordering::SeqCst) == 1);
    check!(COUNT.load(Ordering::SeqCst) == 1);
    check!(sys::wait4(child, 0)? == (child, 0));
    let told = sys::pipe(0)?;
    let parent = start(|| {
        sys::write(told[1], b"x")?;
        // SAFETY: as above.
        unsafe { clone_on(VFORK, map_stack(64 * 1024)?, wait_for_ever, 0)? };
        Ok(())
    })?;
    sys::read(told[0], &mut [0])?;
    sys::sleep_ms(30);
    kill(parent, SIGTERM)?;
    // SIGTERM's default is as fatal as SIGKILL.
    check!(sys::wait4(parent, 0)? == (parent, SIGTERM as i32));
    Ok(())
}

extern "C" fn kill_oneself(_: usize) -> i32 {
    let _ = kill(sys::getpid(), SIGKILL);
    0
}

fn a_child_of_vfork_that_is_killed_lets_the_parent_go() -> Outcome {
    // SAFETY: the stack is new and never unmapped.
    let child = unsafe { clone_on(VFORK, map_stack(64 * 1024)?, kill_oneself, 0)? };
    check!(sys::wait4(child, 0)? == (child, SIGKILL as i32));
    Ok(())
}

fn vfork_without_shared_memory_waits_all_the_same() -> Outcome {
    let from = sys::clock_ns(CLOCK_MONOTONIC);
    let child = call(__NR_clone, [(CLONE_VFORK | SIGCHLD) as usize, 0, 0, 0, 0])?;
    if child == 0 {
        sys::sleep_ms(40);
        sys::exit_group(0);
    }
    check!(sys::clock_ns(CLOCK_MONOTONIC) - from >= 40_000_000);
    check!(sys::wait4(child as i32, 0)?.1 == 0);
    Ok(())
}

/// A robust list: the head, then locks, each of which is a link and a futex word.
#[repr(C)]
struct Locks {
    head: [usize; 3],
    locks: [Lock; 2],
}

#[repr(C)]
struct Lock {
    next: usize,
    word: AtomicU32,
}

fn locks() -> Result<&'static mut Locks, Errno> {
    let page = sys::mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)?;
    // SAFETY: a zeroed page of its own, never unmapped.
    let locks: &'static mut Locks = unsafe { &mut *page.cast() };
    let head = &raw const locks.head as usize;
    let first = &raw const locks.locks[0] as usize;
    locks.locks[0].next = &raw const locks.locks[1] as usize;
    locks.locks[1].next = head;
    locks.head = [first, core::mem::offset_of!(Lock, word), 0];
    Ok(locks)
}

fn set_robust_list(locks: &Locks) -> Result<usize, Errno> {
    call(__NR_set_robust_list, [&raw const locks.head as usize, 24])
}

extern "C" fn die_with_locks(locks: usize) -> i32 {
    // SAFETY: a shared page that is never unmapped.
    let locks: &Locks = unsafe { &*(locks as *const Locks) };
    let _ = set_robust_list(locks);
    for lock in &locks.locks {
        lock.word.store(gettid() as u32 | FUTEX_WAITERS, Ordering::SeqCst);
    }
    sys::sleep_ms(50);
    0
}

fn robust_futexes_of_a_dead_thread_are_marked_and_a_waiter_woken() -> Outcome {
    let locks = locks()?;
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    let tid = unsafe { join.spawn(map_stack(16 * 1024)?, die_with_locks, &raw const *locks as usize)? } as u32;
    let held = tid | FUTEX_WAITERS;
    check!(becomes(&locks.locks[1].word, held));
    let _ = sys::futex_wait(&locks.locks[1].word, held, 0);
    check!(becomes(&locks.locks[1].word, FUTEX_OWNER_DIED | FUTEX_WAITERS));
    check!(becomes(&locks.locks[0].word, FUTEX_OWNER_DIED | FUTEX_WAITERS));
    join.wait();
    Ok(())
}

fn a_robust_futex_is_released_by_execve() -> Outcome {
    let locks = locks()?;
    let status = in_child(|| {
        set_robust_list(locks)?;
        locks.locks[0].word.store(sys::getpid() as u32, Ordering::SeqCst);
        let argv = [c"guest-tests".as_ptr().cast(), c"child".as_ptr().cast(), c"0".as_ptr().cast(), core::ptr::null()];
        // SAFETY: both vectors end with a null pointer.
        Err(unsafe { sys::execve(c"/proc/self/exe", argv.as_ptr(), argv[3..].as_ptr()) }.into())
    })?;
    check!(status == 0);
    let word = locks.locks[0].word.load(Ordering::SeqCst);
    println!("the word afterwards: {word:#x}");
    check!(word == FUTEX_OWNER_DIED);
    Ok(())
}

fn a_robust_list_that_is_circular_or_bad_ends() -> Outcome {
    let locks = locks()?;
    locks.locks[1].next = &raw const locks.locks[0] as usize;
    let circular = in_child(|| {
        set_robust_list(locks)?;
        Ok(())
    })?;
    locks.locks[1].next = 8;
    let bad = in_child(|| {
        set_robust_list(locks)?;
        Ok(())
    })?;
    let nowhere = in_child(|| {
        call(__NR_set_robust_list, [8, 24])?;
        Ok(())
    })?;
    check!(circular == 0 && bad == 0 && nowhere == 0);
    Ok(())
}

fn the_pending_entry_of_a_robust_list_is_released() -> Outcome {
    let locks = locks()?;
    locks.head[0] = &raw const locks.head as usize;
    locks.head[2] = &raw const locks.locks[1] as usize;
    let status = in_child(|| {
        set_robust_list(locks)?;
        locks.locks[1].word.store(sys::getpid() as u32, Ordering::SeqCst);
        Ok(())
    })?;
    check!(status == 0);
    check!(locks.locks[1].word.load(Ordering::SeqCst) == FUTEX_OWNER_DIED);
    Ok(())
}

fn robust_lists_have_one_length() -> Outcome {
    let locks = locks()?;
    let head = &raw const locks.head as usize;
    check!(call(__NR_set_robust_list, [head, 23]) == Err(Errno(EINVAL)));
    check!(call(__NR_set_robust_list, [head, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_set_robust_list, [0, 24]) == Ok(0));
    Ok(())
}

fn get_robust_list_tells_ones_own() -> Outcome {
    let locks = locks()?;
    set_robust_list(locks)?;
    let mut told = [0usize; 2];
    let at = told.as_mut_ptr() as usize;
    call(__NR_get_robust_list, [0, at, at + 8])?;
    // SAFETY: the kernel has written it.
    check!(unsafe { (&raw const told).read_volatile() } == [&raw const locks.head as usize, 24]);
    check!(call(__NR_get_robust_list, [4_194_303, at, at + 8]) == Err(Errno(ESRCH)));
    // A child's, whose memory it may look into.
    let child = start(|| {
        sys::sleep_ms(60_000);
        Ok(())
    })?;
    check!(eventually(|| call(__NR_get_robust_list, [child as usize, at, at + 8]) == Ok(0)));
    // SAFETY: as above.
    check!(unsafe { (&raw const told).read_volatile() }[0] == 0);
    kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    Ok(())
}
