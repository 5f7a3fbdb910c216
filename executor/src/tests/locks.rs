//! Spin lock ranks, and the locks that tasks wait for.

use super::{Log, go, run_all};
use crate::spin::{Rank, SpinLock, assert_no_locks_held};
use crate::{Mutex, RwLock, yield_now};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

const OUTER: Rank = Rank::new(10, "outer");
const INNER: Rank = Rank::new(20, "inner");

#[test]
fn locks_may_be_taken_in_rising_rank_and_freed_in_any_order() {
    let (a, b) = (SpinLock::new(OUTER, ()), SpinLock::new(INNER, ()));
    let first = a.lock();
    let second = b.lock();
    drop(first);
    drop(second);
    assert_no_locks_held();
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "took `outer` (10) while holding `inner` (20)")]
fn taking_locks_against_the_order_panics() {
    let (a, b) = (SpinLock::new(OUTER, ()), SpinLock::new(INNER, ()));
    let _second = b.lock();
    let _first = a.lock();
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a spin lock is held: `outer`")]
fn returning_to_the_executor_with_a_lock_panics() {
    let a = SpinLock::new(OUTER, ());
    let _first = a.lock();
    assert_no_locks_held();
}

#[test]
fn a_mutex_is_given_in_order() {
    let lock = Arc::new(Mutex::new(()));
    let log = Log::default();
    let _tasks = ["a", "b", "c"].map(|name| {
        let (lock, log) = (lock.clone(), log.clone());
        go(async move {
            for _ in 0..2 {
                let guard = lock.lock().await;
                log.note(name);
                yield_now().await;
                drop(guard);
            }
        })
    });
    run_all();
    assert_eq!(log.take(), ["a", "b", "c", "a", "b", "c"]);
    assert!(lock.try_lock().is_some());
}

#[test]
fn a_granted_lock_that_is_dropped_unpolled_goes_to_the_next() {
    let lock = Mutex::new(());
    let mut cx = Context::from_waker(Waker::noop());
    let held = lock.try_lock().unwrap();
    let mut first = Box::pin(lock.lock());
    let mut second = pin!(lock.lock());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    drop(held);
    assert!(lock.try_lock().is_none(), "it is the first waiter's");
    drop(first);
    assert!(second.as_mut().poll(&mut cx).is_ready());
    assert!(lock.try_lock().is_some());
}

#[test]
fn readers_share_and_do_not_pass_a_waiting_writer() {
    let lock = RwLock::new(0);
    let mut cx = Context::from_waker(Waker::noop());
    let one = lock.try_read().unwrap();
    let two = lock.try_read().unwrap();
    let mut writer = Box::pin(lock.write());
    assert!(writer.as_mut().poll(&mut cx).is_pending());
    assert!(lock.try_read().is_none());
    let mut three = pin!(lock.read());
    let mut four = pin!(lock.read());
    assert!(three.as_mut().poll(&mut cx).is_pending() && four.as_mut().poll(&mut cx).is_pending());
    drop(one);
    assert!(writer.as_mut().poll(&mut cx).is_pending());
    drop(writer);
    assert!(three.as_mut().poll(&mut cx).is_ready(), "the writer went away and the readers go on");
    assert!(four.as_mut().poll(&mut cx).is_ready());
    drop(two);
    assert!(lock.try_write().is_some());
}

#[test]
fn forty_waiting_readers_are_let_in_together() {
    let lock = RwLock::new(());
    let mut cx = Context::from_waker(Waker::noop());
    let writer = lock.try_write().unwrap();
    let mut readers: Vec<_> = (0..40).map(|_| Box::pin(lock.read())).collect();
    assert!(readers.iter_mut().all(|reader| reader.as_mut().poll(&mut cx).is_pending()));
    drop(writer);
    let guards: Vec<_> = readers
        .iter_mut()
        .map(|reader| match reader.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(guard) => guard,
            std::task::Poll::Pending => panic!("a reader was left out"),
        })
        .collect();
    assert!(lock.try_write().is_none());
    drop(guards);
    assert!(lock.try_write().is_some());
}

#[test]
fn random_lockers_keep_the_lock_sound() {
    let lock = RwLock::new(());
    let mut cx = Context::from_waker(Waker::noop());
    let mut seed = 11u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    let (mut read_guards, mut write_guards) = (Vec::new(), Vec::new());
    for _ in 0..20_000 {
        match random() % 6 {
            0 => reads.push(Box::pin(lock.read())),
            1 => writes.push(Box::pin(lock.write())),
            2 if !reads.is_empty() => {
                let mut read = reads.swap_remove(random() % reads.len());
                match read.as_mut().poll(&mut cx) {
                    std::task::Poll::Ready(guard) => read_guards.push(guard),
                    std::task::Poll::Pending if random() % 2 == 0 => reads.push(read),
                    std::task::Poll::Pending => {}
                }
            }
            3 if !writes.is_empty() => {
                let mut write = writes.swap_remove(random() % writes.len());
                match write.as_mut().poll(&mut cx) {
                    std::task::Poll::Ready(guard) => write_guards.push(guard),
                    std::task::Poll::Pending if random() % 2 == 0 => writes.push(write),
                    std::task::Poll::Pending => {}
                }
            }
            4 => drop(read_guards.pop()),
            _ => drop(write_guards.pop()),
        }
        assert!(write_guards.len() <= 1 && (write_guards.is_empty() || read_guards.is_empty()));
    }
    drop((reads, writes, read_guards, write_guards));
    assert!(lock.try_write().is_some());
}
