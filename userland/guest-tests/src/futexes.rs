//! Futexes beyond wait and wake (futex(2), futex_waitv(2)), and membarrier(2).

use core::sync::atomic::{AtomicU32, Ordering};

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{becomes, call, eventually};
use crate::{Outcome, check, tests};

tests! {
    futex_waitv_tells_which_was_woken,
    futex_waitv_fails_where_a_word_differs,
    futex_waitv_ends_at_its_time,
    futex_waitv_refuses_bad_arguments,
    futex_waitv_follows_a_requeue,
    membarrier_orders_what_registered_threads_do,
    membarrier_refuses_what_it_does_not_know,
    each_private_membarrier_has_a_registration_of_its_own,
}

/// `struct futex_waitv`: value, address, flags.
type Word = [u64; 3];

fn word(of: &AtomicU32, value: u32, flags: u32) -> Word {
    [value.into(), of.as_ptr() as u64, (FUTEX_32 | flags).into()]
}

fn waitv(words: &[Word], limit: Option<&[i64; 2]>) -> Result<usize, Errno> {
    let limit = limit.map_or(0, |limit| limit.as_ptr() as usize);
    call(__NR_futex_waitv, [words.as_ptr() as usize, words.len(), 0, limit, CLOCK_MONOTONIC as usize])
}

static A: AtomicU32 = AtomicU32::new(0);
static B: AtomicU32 = AtomicU32::new(0);
static C: AtomicU32 = AtomicU32::new(0);
static RESULT: AtomicU32 = AtomicU32::new(99);

extern "C" fn wait_for_two(_: usize) -> i32 {
    let words = [word(&A, 0, FUTEX_PRIVATE_FLAG), word(&B, 0, FUTEX_PRIVATE_FLAG)];
    let result = waitv(&words, None).map_or_else(|error| 1000 + error.0, |place| place as u32);
    RESULT.store(result, Ordering::SeqCst);
    0
}

fn futex_waitv_tells_which_was_woken() -> Outcome {
    for (place, futex) in [(1, &B), (0, &A)] {
        RESULT.store(99, Ordering::SeqCst);
        let join = Join::new();
        // SAFETY: the stack is new and the thread is waited for.
        unsafe { join.spawn(map_stack(16 * 1024)?, wait_for_two, 0)? };
        check!(eventually(|| sys::futex_wake(futex, 1, FUTEX_PRIVATE_FLAG) == Ok(1)));
        join.wait();
        println!("woken: {} (expected {place})", RESULT.load(Ordering::SeqCst));
        check!(RESULT.load(Ordering::SeqCst) == place);
        // Nothing of it is left in the other queue.
        check!(sys::futex_wake(&A, 9, FUTEX_PRIVATE_FLAG) == Ok(0));
        check!(sys::futex_wake(&B, 9, FUTEX_PRIVATE_FLAG) == Ok(0));
    }
    Ok(())
}

fn futex_waitv_fails_where_a_word_differs() -> Outcome {
    let words = [word(&A, 0, 0), word(&B, 1, 0)];
    check!(waitv(&words, None) == Err(Errno(EAGAIN)));
    check!(sys::futex_wake(&A, 9, 0) == Ok(0));
    Ok(())
}

fn futex_waitv_ends_at_its_time() -> Outcome {
    let words = [word(&A, 0, 0), word(&B, 0, FUTEX_PRIVATE_FLAG), word(&C, 0, 0)];
    let until = sys::clock_ns(CLOCK_MONOTONIC) + 20_000_000;
    let limit = [(until / 1_000_000_000) as i64, (until % 1_000_000_000) as i64];
    check!(waitv(&words, Some(&limit)) == Err(Errno(ETIMEDOUT)));
    check!(sys::clock_ns(CLOCK_MONOTONIC) >= until);
    Ok(())
}

fn futex_waitv_refuses_bad_arguments() -> Outcome {
    let good = word(&A, 1, 0);
    let invalid = Err(Errno(EINVAL));
    check!(waitv(&[], None) == invalid);
    check!(waitv(&[good; 129], None) == invalid);
    check!(waitv(&[good; 128], None) == Err(Errno(EAGAIN)));
    check!(waitv(&[[1, good[1], 0]], None) == invalid);
    check!(waitv(&[[1, good[1], u64::from(FUTEX_32) | 1 << 40]], None) == invalid);
    check!(waitv(&[[1, good[1], u64::from(FUTEX_32) | 64]], None) == invalid);
    check!(waitv(&[[1, good[1] + 1, FUTEX_32.into()]], None) == invalid);
    check!(waitv(&[[1, 8, FUTEX_32.into()]], None) == Err(Errno(EFAULT)));
    let (at, limit) = (good.as_ptr() as usize, [0i64, 0]);
    check!(call(__NR_futex_waitv, [at, 1, 1, 0, 0]) == invalid);
    check!(call(__NR_futex_waitv, [at, 1, 0, limit.as_ptr() as usize, 7]) == invalid);
    check!(waitv(&[good], Some(&[0, -1])) == invalid);
    Ok(())
}

fn futex_waitv_follows_a_requeue() -> Outcome {
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    unsafe { join.spawn(map_stack(16 * 1024)?, wait_for_two, 0)? };
    let requeue = || {
        let (from, to) = (B.as_ptr() as usize, C.as_ptr() as usize);
        call(__NR_futex, [from, (FUTEX_REQUEUE | FUTEX_PRIVATE_FLAG) as usize, 0, 1, to])
    };
    check!(eventually(|| requeue() == Ok(1)));
    check!(sys::futex_wake(&B, 1, FUTEX_PRIVATE_FLAG) == Ok(0));
    check!(sys::futex_wake(&C, 1, FUTEX_PRIVATE_FLAG) == Ok(1));
    join.wait();
    println!("woken: {} (expected 1)", RESULT.load(Ordering::SeqCst));
    check!(RESULT.load(Ordering::SeqCst) == 1);
    Ok(())
}

const QUERY: usize = 0;
const GLOBAL: usize = 1;
const PRIVATE_EXPEDITED: usize = 8;
const REGISTER_PRIVATE_EXPEDITED: usize = 16;

fn membarrier(command: usize, flags: usize) -> Result<usize, Errno> {
    call(__NR_membarrier, [command, flags, 0])
}

static X: AtomicU32 = AtomicU32::new(0);
static Y: AtomicU32 = AtomicU32::new(0);
static TURN: AtomicU32 = AtomicU32::new(0);
static SEEN: AtomicU32 = AtomicU32::new(0);
const ROUNDS: u32 = 200;

/// The fast side: writes X, reads Y, without a barrier between.
extern "C" fn fast_side(_: usize) -> i32 {
    for round in 1..=ROUNDS {
        while TURN.load(Ordering::Acquire) != round {
            core::hint::spin_loop();
        }
        X.store(round, Ordering::Relaxed);
        core::sync::atomic::compiler_fence(Ordering::SeqCst);
        let seen = Y.load(Ordering::Relaxed);
        SEEN.store(if seen == round { 1 } else { 0 }, Ordering::Relaxed);
        TURN.store(0, Ordering::Release);
    }
    0
}

/// Of two that write one word each and then read the other's, one sees what the other wrote.
fn membarrier_orders_what_registered_threads_do() -> Outcome {
    check!(membarrier(PRIVATE_EXPEDITED, 0) == Err(Errno(EPERM)));
    check!(membarrier(REGISTER_PRIVATE_EXPEDITED, 0) == Ok(0));
    check!(membarrier(PRIVATE_EXPEDITED, 0) == Ok(0));
    check!(membarrier(GLOBAL, 0) == Ok(0));
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    unsafe { join.spawn(map_stack(16 * 1024)?, fast_side, 0)? };
    for round in 1..=ROUNDS {
        TURN.store(round, Ordering::Release);
        Y.store(round, Ordering::Relaxed);
        membarrier(PRIVATE_EXPEDITED, 0)?;
        let saw = X.load(Ordering::Relaxed) == round;
        check!(becomes(&TURN, 0));
        check!(saw || SEEN.load(Ordering::Relaxed) == 1);
    }
    join.wait();
    Ok(())
}

fn membarrier_refuses_what_it_does_not_know() -> Outcome {
    let offered = membarrier(QUERY, 0)?;
    println!("commands: {offered:#x}");
    check!(offered & (GLOBAL | PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED) != 0);
    check!(membarrier(1 << 20, 0) == Err(Errno(EINVAL)));
    check!(membarrier(3, 0) == Err(Errno(EINVAL)));
    check!(membarrier(GLOBAL, 1 << 10) == Err(Errno(EINVAL)));
    Ok(())
}

/// membarrier(2): EPERM without the registration for this very command; who has forked has the parent's.
fn each_private_membarrier_has_a_registration_of_its_own() -> Outcome {
    // PRIVATE_EXPEDITED, PRIVATE_EXPEDITED_SYNC_CORE, PRIVATE_EXPEDITED_RSEQ.
    let commands = [1usize << 3, 1 << 5, 1 << 7];
    check!(membarrier(QUERY, 0)? & 0x1ff == 0x1ff);
    for (at, command) in commands.into_iter().enumerate() {
        for other in &commands[at..] {
            check!(membarrier(*other, 0) == Err(Errno(EPERM)));
        }
        check!(membarrier(command << 1, 0) == Ok(0));
        check!(membarrier(command, 0) == Ok(0));
    }
    // MEMBARRIER_CMD_FLAG_CPU is for restartable sequences only.
    check!(call(__NR_membarrier, [1 << 7, 1, 0]) == Ok(0));
    check!(call(__NR_membarrier, [1 << 7, 1, 1 << 20]) == Ok(0));
    check!(membarrier(1 << 7, 2) == Err(Errno(EINVAL)));
    check!(membarrier(1 << 5, 1) == Err(Errno(EINVAL)));
    Ok(())
}
