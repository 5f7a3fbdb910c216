//! Priority-inheriting futexes (futex(2), "Priority-inheritance futexes").

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::sys::{self, Errno};
use rt::thread::{Entry, Join, map_stack};

use crate::support::{becomes, call, eventually, gettid, in_child, start};
use crate::{Outcome, Why, check, tests};

tests! {
    a_free_lock_holds_its_owners_id,
    a_lock_that_is_held_is_not_had_by_trying,
    a_lock_goes_to_who_waits_for_it,
    a_wait_for_a_lock_ends_at_its_time,
    a_wait_that_would_never_end_is_refused,
    a_lock_whose_owner_dies_goes_to_who_waits_for_it,
    a_robust_lock_says_that_its_owner_died,
    a_shared_lock_outlives_the_process_that_held_it,
    wake_is_not_for_locks,
    a_condition_hands_its_waiter_the_free_lock,
    a_condition_moves_its_waiters_into_the_line_for_the_lock,
    requeue_refuses_what_does_not_fit,
    a_signal_during_the_wait_for_a_lock_is_not_seen,
    the_highest_priority_has_the_lock_first,
    who_holds_up_a_high_priority_runs_by_it,
}

const PRIVATE: u32 = FUTEX_PRIVATE_FLAG;

fn futex(word: &AtomicU32, operation: u32, value: u32, limit: usize) -> Result<usize, Errno> {
    call(__NR_futex, [word.as_ptr() as usize, (operation | PRIVATE) as usize, value as usize, limit, 0, 0])
}

fn lock(word: &AtomicU32) -> Result<usize, Errno> {
    futex(word, FUTEX_LOCK_PI, 0, 0)
}

fn unlock(word: &AtomicU32) -> Result<usize, Errno> {
    futex(word, FUTEX_UNLOCK_PI, 0, 0)
}

fn owner(word: &AtomicU32) -> u32 {
    word.load(SeqCst) & FUTEX_TID_MASK
}

fn me() -> u32 {
    gettid() as u32
}

/// Starts a thread with an argument; it is joined through what is given.
fn spawn(join: &Join, body: Entry, argument: usize) -> Result<u32, Errno> {
    // SAFETY: the stack is new, and the tests wait for their threads or end with them.
    unsafe { join.spawn(map_stack(64 * 1024)?, body, argument) }.map(|tid| tid as u32)
}

fn a_free_lock_holds_its_owners_id() -> Outcome {
    let word = AtomicU32::new(0);
    lock(&word)?;
    check!(word.load(SeqCst) == me());
    check!(lock(&word) == Err(Errno(EDEADLK)));
    check!(futex(&word, FUTEX_TRYLOCK_PI, 0, 0) == Err(Errno(EDEADLK)));
    unlock(&word)?;
    check!(word.load(SeqCst) == 0);
    check!(unlock(&word) == Err(Errno(EPERM)));
    check!(futex(&word, FUTEX_TRYLOCK_PI, 0, 0)? == 0);
    check!(word.load(SeqCst) == me());
    // What a dead owner left is told on.
    word.store(FUTEX_OWNER_DIED, SeqCst);
    lock(&word)?;
    check!(word.load(SeqCst) == me() | FUTEX_OWNER_DIED);
    // Nobody has this id.
    word.store(0x3ff_fff0, SeqCst);
    check!(lock(&word) == Err(Errno(ESRCH)));
    check!(unlock(&word) == Err(Errno(EPERM)));
    let at = word.as_ptr() as usize;
    check!(call(__NR_futex, [at + 1, FUTEX_LOCK_PI as usize, 0, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_futex, [8, FUTEX_LOCK_PI as usize, 0, 0]) == Err(Errno(EFAULT)));
    Ok(())
}

static LOCK: AtomicU32 = AtomicU32::new(0);
static OTHER: AtomicU32 = AtomicU32::new(0);
static STAGE: AtomicU32 = AtomicU32::new(0);
static RESULT: AtomicU32 = AtomicU32::new(0);

/// What a call gave: 1 for success, 1000 and the error else.
fn told(result: Result<usize, Errno>) -> u32 {
    result.map_or_else(|error| 1000 + error.0, |_| 1)
}

extern "C" fn hold_until_told(_: usize) -> i32 {
    let _ = lock(&LOCK);
    STAGE.store(1, SeqCst);
    becomes(&STAGE, 2);
    RESULT.store(told(unlock(&LOCK)), SeqCst);
    0
}

fn a_lock_that_is_held_is_not_had_by_trying() -> Outcome {
    let join = Join::new();
    spawn(&join, hold_until_told, 0)?;
    check!(becomes(&STAGE, 1));
    check!(futex(&LOCK, FUTEX_TRYLOCK_PI, 0, 0) == Err(Errno::AGAIN));
    check!(unlock(&LOCK) == Err(Errno(EPERM)));
    STAGE.store(2, SeqCst);
    join.wait();
    check!(LOCK.load(SeqCst) == 0 && RESULT.load(SeqCst) == 1);
    Ok(())
}

extern "C" fn lock_and_unlock(_: usize) -> i32 {
    let result = lock(&LOCK);
    if result.is_ok() && owner(&LOCK) != me() {
        RESULT.store(77, SeqCst);
        return 0;
    }
    RESULT.store(told(result), SeqCst);
    STAGE.store(5, SeqCst);
    let _ = unlock(&LOCK);
    0
}

fn a_lock_goes_to_who_waits_for_it() -> Outcome {
    lock(&LOCK)?;
    let join = Join::new();
    let tid = spawn(&join, lock_and_unlock, 0)?;
    check!(eventually(|| LOCK.load(SeqCst) == me() | FUTEX_WAITERS));
    check!(RESULT.load(SeqCst) == 0);
    unlock(&LOCK)?;
    let after = owner(&LOCK);
    check!(after == tid || after == 0);
    join.wait();
    check!(RESULT.load(SeqCst) == 1 && LOCK.load(SeqCst) == 0);
    Ok(())
}

fn a_wait_for_a_lock_ends_at_its_time() -> Outcome {
    let join = Join::new();
    spawn(&join, hold_until_told, 0)?;
    check!(becomes(&STAGE, 1));
    for (operation, clock) in [
        (FUTEX_LOCK_PI, CLOCK_REALTIME),
        (FUTEX_LOCK_PI2, CLOCK_MONOTONIC),
        (FUTEX_LOCK_PI2 | FUTEX_CLOCK_REALTIME, CLOCK_REALTIME),
    ] {
        let until = sys::clock_ns(clock) + 20_000_000;
        let limit = [(until / 1_000_000_000) as i64, (until % 1_000_000_000) as i64];
        check!(futex(&LOCK, operation, 0, limit.as_ptr() as usize) == Err(Errno(ETIMEDOUT)));
        check!(sys::clock_ns(clock) >= until);
    }
    let bad = [0i64, 1_000_000_000];
    check!(futex(&LOCK, FUTEX_LOCK_PI, 0, bad.as_ptr() as usize) == Err(Errno(EINVAL)));
    STAGE.store(2, SeqCst);
    join.wait();
    // The unlock went through the kernel, where nobody waits any more.
    check!(LOCK.load(SeqCst) == 0 && RESULT.load(SeqCst) == 1);
    Ok(())
}

extern "C" fn take_other_then_lock(_: usize) -> i32 {
    let _ = lock(&OTHER);
    STAGE.store(1, SeqCst);
    RESULT.store(told(lock(&LOCK)), SeqCst);
    let _ = unlock(&OTHER);
    let _ = unlock(&LOCK);
    0
}

fn a_wait_that_would_never_end_is_refused() -> Outcome {
    lock(&LOCK)?;
    let join = Join::new();
    spawn(&join, take_other_then_lock, 0)?;
    check!(eventually(|| LOCK.load(SeqCst) & FUTEX_WAITERS != 0));
    check!(lock(&OTHER) == Err(Errno(EDEADLK)));
    unlock(&LOCK)?;
    join.wait();
    check!(RESULT.load(SeqCst) == 1);
    check!(lock(&OTHER)? == 0);
    Ok(())
}

extern "C" fn lock_and_die(_: usize) -> i32 {
    let _ = lock(&LOCK);
    STAGE.store(1, SeqCst);
    becomes(&STAGE, 2);
    0
}

fn a_lock_whose_owner_dies_goes_to_who_waits_for_it() -> Outcome {
    let (dying, waiting) = (Join::new(), Join::new());
    spawn(&dying, lock_and_die, 0)?;
    check!(becomes(&STAGE, 1));
    let tid = spawn(&waiting, hold_until_told, 0)?;
    check!(eventually(|| LOCK.load(SeqCst) & FUTEX_WAITERS != 0));
    STAGE.store(2, SeqCst);
    dying.wait();
    check!(becomes(&STAGE, 1));
    check!(LOCK.load(SeqCst) == tid | FUTEX_WAITERS | FUTEX_OWNER_DIED);
    STAGE.store(2, SeqCst);
    waiting.wait();
    check!(LOCK.load(SeqCst) == 0);
    // Without a waiter nobody notices.
    spawn(&dying, lock_and_die, 0)?;
    dying.wait();
    check!(owner(&LOCK) != 0 && lock(&LOCK) == Err(Errno(ESRCH)));
    Ok(())
}

/// A robust list with one entry, whose lock lies behind it. Bit 0 says that it is a priority-inheriting one.
#[repr(C)]
struct Robust {
    head: [usize; 3],
    next: usize,
    word: AtomicU32,
}

static mut ROBUST: Robust = Robust { head: [0; 3], next: 0, word: AtomicU32::new(0) };

extern "C" fn die_with_a_robust_lock(_: usize) -> i32 {
    // SAFETY: only this thread writes the list.
    unsafe {
        let robust = &raw mut ROBUST;
        let node = &raw mut (*robust).next;
        (*robust).head = [node as usize | 1, 8, 0];
        (*robust).next = (&raw mut (*robust).head) as usize;
        let _ = call(__NR_set_robust_list, [(&raw mut (*robust).head) as usize, 24]);
        let _ = lock(&(*robust).word);
    }
    STAGE.store(1, SeqCst);
    becomes(&STAGE, 2);
    0
}

extern "C" fn take_the_robust_lock(_: usize) -> i32 {
    let robust = &raw const ROBUST;
    // SAFETY: the word is atomic, and lives for ever.
    let word = unsafe { &(*robust).word };
    RESULT.store(told(lock(word)), SeqCst);
    0
}

fn a_robust_lock_says_that_its_owner_died() -> Outcome {
    let robust = &raw const ROBUST;
    // SAFETY: the word is atomic, and lives for ever.
    let word = unsafe { &(*robust).word };
    let join = Join::new();
    spawn(&join, die_with_a_robust_lock, 0)?;
    check!(becomes(&STAGE, 1));
    STAGE.store(2, SeqCst);
    join.wait();
    check!(word.load(SeqCst) == FUTEX_OWNER_DIED);
    check!(lock(word)? == 0 && word.load(SeqCst) == me() | FUTEX_OWNER_DIED);
    word.store(0, SeqCst);
    // With somebody who waits.
    spawn(&join, die_with_a_robust_lock, 0)?;
    check!(becomes(&STAGE, 1));
    let waiting = Join::new();
    let tid = spawn(&waiting, take_the_robust_lock, 0)?;
    check!(eventually(|| word.load(SeqCst) & FUTEX_WAITERS != 0));
    STAGE.store(2, SeqCst);
    join.wait();
    waiting.wait();
    check!(RESULT.load(SeqCst) == 1);
    check!(word.load(SeqCst) == tid | FUTEX_WAITERS | FUTEX_OWNER_DIED);
    Ok(())
}

fn a_shared_lock_outlives_the_process_that_held_it() -> Outcome {
    let page = sys::mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)?;
    // SAFETY: the page is zeroed and stays.
    let word = unsafe { &*page.cast::<AtomicU32>() };
    let shared = |operation: u32| call(__NR_futex, [page as usize, operation as usize, 0, 0]);
    let child = start(|| {
        shared(FUTEX_LOCK_PI)?;
        check!(eventually(|| word.load(SeqCst) & FUTEX_WAITERS != 0));
        Ok(())
    })?;
    check!(eventually(|| owner(word) == child as u32));
    check!(shared(FUTEX_LOCK_PI)? == 0);
    check!(word.load(SeqCst) == me() | FUTEX_WAITERS | FUTEX_OWNER_DIED);
    check!(shared(FUTEX_UNLOCK_PI)? == 0 && word.load(SeqCst) == 0);
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn wake_is_not_for_locks() -> Outcome {
    lock(&LOCK)?;
    let join = Join::new();
    spawn(&join, lock_and_unlock, 0)?;
    check!(eventually(|| LOCK.load(SeqCst) & FUTEX_WAITERS != 0));
    sys::sleep_ms(20);
    check!(futex(&LOCK, FUTEX_WAKE, 1, 0) == Err(Errno(EINVAL)));
    check!(RESULT.load(SeqCst) == 0);
    unlock(&LOCK)?;
    join.wait();
    check!(futex(&LOCK, FUTEX_WAKE, 1, 0)? == 0);
    Ok(())
}

static CONDITION: AtomicU32 = AtomicU32::new(0);

fn wait_requeue(limit: usize) -> Result<usize, Errno> {
    let operation = FUTEX_WAIT_REQUEUE_PI | PRIVATE;
    call(__NR_futex, [CONDITION.as_ptr() as usize, operation as usize, 0, limit, LOCK.as_ptr() as usize, 0])
}

fn cmp_requeue(wake: usize, count: usize, expected: usize) -> Result<usize, Errno> {
    let operation = (FUTEX_CMP_REQUEUE_PI | PRIVATE) as usize;
    call(__NR_futex, [CONDITION.as_ptr() as usize, operation, wake, count, LOCK.as_ptr() as usize, expected])
}

extern "C" fn wait_on_the_condition(_: usize) -> i32 {
    let result = wait_requeue(0);
    let mine = owner(&LOCK) == me();
    let _ = unlock(&LOCK);
    if mine && result.is_ok() {
        RESULT.fetch_add(1, SeqCst);
    }
    0
}

fn a_condition_hands_its_waiter_the_free_lock() -> Outcome {
    let join = Join::new();
    check!(cmp_requeue(1, 1, 0)? == 0);
    spawn(&join, wait_on_the_condition, 0)?;
    check!(eventually(|| cmp_requeue(1, 0, 0) == Ok(1)));
    join.wait();
    check!(RESULT.load(SeqCst) == 1 && LOCK.load(SeqCst) == 0);
    Ok(())
}

fn a_condition_moves_its_waiters_into_the_line_for_the_lock() -> Outcome {
    let joins = [Join::new(), Join::new(), Join::new()];
    for join in &joins {
        spawn(join, wait_on_the_condition, 0)?;
    }
    lock(&LOCK)?;
    let mut moved = 0;
    check!(eventually(|| {
        moved += cmp_requeue(1, 5, 0).unwrap_or(0);
        moved == 3
    }));
    check!(LOCK.load(SeqCst) == me() | FUTEX_WAITERS && RESULT.load(SeqCst) == 0);
    unlock(&LOCK)?;
    joins.iter().for_each(Join::wait);
    check!(RESULT.load(SeqCst) == 3 && LOCK.load(SeqCst) == 0);
    Ok(())
}

extern "C" fn wait_plainly(_: usize) -> i32 {
    RESULT.store(told(futex(&CONDITION, FUTEX_WAIT, 0, 0)), SeqCst);
    0
}

fn requeue_refuses_what_does_not_fit() -> Outcome {
    check!(cmp_requeue(0, 1, 0) == Err(Errno(EINVAL)));
    check!(cmp_requeue(2, 1, 0) == Err(Errno(EINVAL)));
    check!(cmp_requeue(1, 1, 5) == Err(Errno::AGAIN));
    CONDITION.store(1, SeqCst);
    check!(wait_requeue(0) == Err(Errno::AGAIN));
    CONDITION.store(0, SeqCst);
    let now = sys::clock_ns(CLOCK_MONOTONIC) + 10_000_000;
    let limit = [(now / 1_000_000_000) as i64, (now % 1_000_000_000) as i64];
    check!(wait_requeue(limit.as_ptr() as usize) == Err(Errno(ETIMEDOUT)));
    let join = Join::new();
    spawn(&join, wait_plainly, 0)?;
    check!(eventually(|| cmp_requeue(1, 1, 0) == Err(Errno(EINVAL))));
    check!(futex(&CONDITION, FUTEX_WAKE, 1, 0)? == 1);
    join.wait();
    check!(RESULT.load(SeqCst) == 1);
    let at = CONDITION.as_ptr() as usize;
    let same = call(__NR_futex, [at, (FUTEX_WAIT_REQUEUE_PI | PRIVATE) as usize, 0, 0, at, 0]);
    check!(same == Err(Errno(EINVAL)));
    Ok(())
}

extern "C" fn nothing(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    STAGE.fetch_add(1, SeqCst);
}

fn a_signal_during_the_wait_for_a_lock_is_not_seen() -> Outcome {
    rt::signal::handle(SIGUSR1, nothing, 0)?;
    lock(&LOCK)?;
    let join = Join::new();
    let tid = spawn(&join, lock_and_unlock, 0)?;
    check!(eventually(|| LOCK.load(SeqCst) & FUTEX_WAITERS != 0));
    sys::sleep_ms(10);
    call(__NR_tgkill, [sys::getpid() as usize, tid as usize, SIGUSR1 as usize])?;
    check!(becomes(&STAGE, 1));
    sys::sleep_ms(10);
    check!(RESULT.load(SeqCst) == 0);
    unlock(&LOCK)?;
    join.wait();
    check!(RESULT.load(SeqCst) == 1 && LOCK.load(SeqCst) == 0);
    Ok(())
}

/// Runs the calling thread by this real-time priority, or none for 0.
fn run_by(prio: u32) -> Result<usize, Errno> {
    let policy = if prio == 0 { SCHED_NORMAL } else { SCHED_FIFO };
    call(__NR_sched_setscheduler, [0, policy as usize, &raw const prio as usize])
}

static ORDER: AtomicU32 = AtomicU32::new(0);

extern "C" fn lock_by_priority(prio: usize) -> i32 {
    let _ = run_by(prio as u32);
    STAGE.fetch_add(1, SeqCst);
    let _ = lock(&LOCK);
    ORDER.store(ORDER.load(SeqCst) * 100 + prio as u32, SeqCst);
    let _ = unlock(&LOCK);
    0
}

fn the_highest_priority_has_the_lock_first() -> Outcome {
    if run_by(40) == Err(Errno(EPERM)) {
        return Ok(());
    }
    lock(&LOCK)?;
    let joins = [Join::new(), Join::new(), Join::new(), Join::new()];
    for (join, prio) in joins.iter().zip([10, 30, 20, 0]) {
        spawn(join, lock_by_priority, prio)?;
        sys::sleep_ms(20);
    }
    check!(becomes(&STAGE, 4));
    sys::sleep_ms(20);
    unlock(&LOCK)?;
    joins.iter().for_each(Join::wait);
    check!(ORDER.load(SeqCst) == 30_201_000);
    Ok(())
}

extern "C" fn hold_without_priority(_: usize) -> i32 {
    let _ = run_by(0);
    let _ = lock(&LOCK);
    STAGE.store(1, SeqCst);
    // It is ready to run all the time, and never has its turn by itself.
    while STAGE.load(SeqCst) < 2 {
        core::hint::spin_loop();
    }
    // Its own policy stays what it was.
    let own = call(__NR_sched_getscheduler, [0]) == Ok(SCHED_NORMAL as usize);
    RESULT.store(if own { 1 } else { 2 }, SeqCst);
    let _ = unlock(&LOCK);
    0
}

extern "C" fn lock_with_priority(_: usize) -> i32 {
    let _ = run_by(20);
    let _ = lock(&LOCK);
    STAGE.store(3, SeqCst);
    let _ = unlock(&LOCK);
    0
}

extern "C" fn take_the_cpu(_: usize) -> i32 {
    let _ = run_by(10);
    let end = sys::clock_ns(CLOCK_MONOTONIC) + 700_000_000;
    while STAGE.load(SeqCst) != 3 {
        if sys::clock_ns(CLOCK_MONOTONIC) > end {
            ORDER.store(1, SeqCst);
            break;
        }
    }
    0
}

fn who_holds_up_a_high_priority_runs_by_it() -> Outcome {
    let status = in_child(|| {
        let one = 1u64;
        call(__NR_sched_setaffinity, [0, 8, &raw const one as usize])?;
        if run_by(40) == Err(Errno(EPERM)) {
            return Ok(());
        }
        let joins = [Join::new(), Join::new(), Join::new()];
        spawn(&joins[0], hold_without_priority, 0)?;
        check!(becomes(&STAGE, 1));
        spawn(&joins[1], lock_with_priority, 0)?;
        sys::sleep_ms(20);
        check!(LOCK.load(SeqCst) & FUTEX_WAITERS != 0);
        spawn(&joins[2], take_the_cpu, 0)?;
        STAGE.store(2, SeqCst);
        joins.iter().for_each(Join::wait);
        check!(ORDER.load(SeqCst) == 0);
        check!(RESULT.load(SeqCst) == 1 && LOCK.load(SeqCst) == 0);
        Ok::<(), Why>(())
    })?;
    check!(status == 0);
    Ok(())
}
