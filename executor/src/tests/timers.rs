//! Timers fire in order, once, and not when they were cancelled.

use super::{Log, go, run_all};
use crate::machine::{self, set_cpu, set_cpus};
use crate::{Elapsed, Expire, Timer, fire_timers, next_deadline, sleep_until, timeout_at};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn at(now: u64) {
    machine::set_now(now);
    fire_timers(now);
    run_all();
}

#[test]
fn sleepers_wake_at_their_deadlines() {
    let log = Log::default();
    let _tasks = [("c", 30), ("a", 10), ("b", 20), ("b2", 20)].map(|(name, deadline)| {
        let log = log.clone();
        go(async move {
            sleep_until(deadline).await;
            log.note(name);
        })
    });
    run_all();
    assert_eq!(next_deadline(), Some(10));
    at(9);
    assert!(log.take().is_empty());
    at(10);
    assert_eq!(log.take(), ["a"]);
    assert_eq!(next_deadline(), Some(20));
    at(35);
    let woken = log.take();
    assert_eq!(woken.len(), 3);
    assert_eq!(woken[2], "c");
    assert_eq!(next_deadline(), None);
}

#[test]
fn a_past_deadline_does_not_wait() {
    machine::set_now(5);
    assert!(poll(pin!(sleep_until(5))).is_ready());
}

#[test]
fn random_timers_fire_in_order_and_cancelled_ones_never() {
    let mut seed = 7u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        seed >> 33
    };
    let mut sleeps: Vec<_> = (0..3000)
        .map(|_| {
            let deadline = random() % 10_000 + 1;
            let mut sleep = Box::pin(sleep_until(deadline));
            assert!(poll(sleep.as_mut()).is_pending());
            (deadline, sleep)
        })
        .collect();
    let mut now = 0;
    while !sleeps.is_empty() {
        let first = sleeps.iter().map(|(deadline, _)| *deadline).min().unwrap();
        assert_eq!(next_deadline(), Some(first));
        if random() % 2 == 0 {
            let victim = random() as usize % sleeps.len();
            drop(sleeps.swap_remove(victim));
        } else {
            now = now.max(first + random() % 20);
            machine::set_now(now);
            fire_timers(now);
            sleeps.retain(|(deadline, _)| *deadline > now);
        }
    }
    assert_eq!(next_deadline(), None);
}

#[test]
fn a_timer_is_cancelled_from_another_cpu() {
    set_cpus(2);
    let mut sleep = Box::pin(sleep_until(50));
    assert!(poll(sleep.as_mut()).is_pending());
    set_cpu(1);
    assert_eq!(next_deadline(), None);
    drop(sleep);
    set_cpu(0);
    assert_eq!(next_deadline(), None);
}

#[test]
fn a_timeout_ends_what_takes_too_long_and_nothing_else() {
    let log = Log::default();
    let out = log.clone();
    let _task = go(async move {
        assert_eq!(timeout_at(10, sleep_until(5)).await, Ok(()));
        out.note("in time");
        assert_eq!(timeout_at(10, sleep_until(15)).await, Err(Elapsed));
        out.note("too late");
        assert_eq!(timeout_at(0, async {}).await, Ok(()));
    });
    run_all();
    at(5);
    assert_eq!(log.take(), ["in time"]);
    at(10);
    assert_eq!(log.take(), ["too late"]);
    assert_eq!(next_deadline(), None);
}

struct Periodic {
    timer: Timer,
    count: AtomicU64,
}

impl Expire for Periodic {
    fn expired(&self, now: u64) {
        self.count.fetch_add(1, SeqCst);
        self.timer.arm(now + 10);
    }
}

#[test]
fn a_callback_may_arm_its_timer_again() {
    let object =
        Arc::new_cyclic(|me: &Weak<Periodic>| Periodic { timer: Timer::new(me.clone()), count: AtomicU64::new(0) });
    object.timer.arm(10);
    object.timer.arm(12);
    for now in [10, 12, 22, 25, 32] {
        fire_timers(now);
    }
    assert_eq!(object.count.load(SeqCst), 3);
    assert!(object.timer.cancel() && !object.timer.cancel());
    fire_timers(1000);
    assert_eq!(object.count.load(SeqCst), 3);
    object.timer.arm(2000);
    drop(object);
    assert_eq!(next_deadline(), None);
}
