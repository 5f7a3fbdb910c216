//! Wait queues: masks, exclusive waiters, hand-on, observers, dropping at any time.

use super::{Log, go, run_all};
use crate::{ALL, Arrival, Observer, WaitQueue};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(SeqCst)
    }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>, count: &Arc<Count>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(&Waker::from(count.clone())))
}

fn never() -> Option<()> {
    None
}

#[test]
fn masks_choose_who_is_woken() {
    let queue = WaitQueue::new();
    let (a, b) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut wait_a = Box::pin(queue.wait_until(1, never));
    let mut wait_b = Box::pin(queue.wait_until(2, never));
    assert!(poll(&mut wait_a, &a).is_pending() && poll(&mut wait_b, &b).is_pending());
    assert_eq!(queue.notify_all(4), 0);
    assert_eq!(queue.notify_one(2), 1);
    assert_eq!((a.get(), b.get()), (0, 1));
    assert_eq!(queue.notify_all(3), 1, "b has been woken and has not registered again");
    assert!(queue.is_empty());
}

#[test]
fn exclusive_waiters_are_woken_one_by_one_in_order_and_the_others_all() {
    let queue = WaitQueue::new();
    let counts: Vec<_> = (0..6).map(|_| Arc::new(Count::default())).collect();
    let mut waits: Vec<_> = (0..6)
        .map(|i| Box::pin(if i % 2 == 0 { queue.wait_until_exclusive(1, never) } else { queue.wait_until(1, never) }))
        .collect();
    for (wait, count) in waits.iter_mut().zip(&counts) {
        assert!(poll(wait, count).is_pending());
    }
    let seen = || counts.iter().map(|count| count.get()).collect::<Vec<_>>();
    assert_eq!(queue.notify_one(1), 4);
    assert_eq!(seen(), [1, 1, 0, 1, 0, 1]);
    assert_eq!(queue.notify_n(1, 5), 2);
    assert_eq!(seen(), [1; 6]);
}

#[test]
fn a_dropped_waiter_hands_its_wake_on() {
    let queue = WaitQueue::new();
    let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
    let mut waits: Vec<_> = (0..3).map(|_| Box::pin(queue.wait_until_exclusive(1, never))).collect();
    for (wait, count) in waits.iter_mut().zip(&counts) {
        assert!(poll(wait, count).is_pending());
    }
    queue.notify_one(1);
    drop(waits.remove(0));
    assert_eq!(counts[1].get(), 1);
    drop(waits.remove(1));
    assert_eq!(counts[1].get(), 1, "the last was not woken, so had nothing to hand on");
    drop(waits);
    assert!(queue.is_empty());
}

#[test]
fn a_waiter_that_takes_what_it_waited_for_keeps_its_wake() {
    let queue = WaitQueue::new();
    let items = AtomicUsize::new(0);
    let take = || items.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).ok();
    let (a, b) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut first = Box::pin(queue.wait_until_exclusive(1, take));
    let mut second = Box::pin(queue.wait_until_exclusive(1, take));
    assert!(poll(&mut first, &a).is_pending() && poll(&mut second, &b).is_pending());
    items.store(1, SeqCst);
    queue.notify_one(1);
    assert!(poll(&mut first, &a).is_ready());
    drop(first);
    assert_eq!(b.get(), 0);
}

#[test]
fn told_with_all_others_there_is_nothing_to_hand_on() {
    let queue = WaitQueue::new();
    let counts: Vec<_> = (0..2).map(|_| Arc::new(Count::default())).collect();
    let mut waits: Vec<_> = (0..2).map(|_| Box::pin(queue.wait_until_exclusive(1, never))).collect();
    assert!(poll(&mut waits[0], &counts[0]).is_pending());
    queue.notify_all(1);
    assert!(poll(&mut waits[1], &counts[1]).is_pending());
    drop(waits.remove(0));
    assert_eq!(counts[1].get(), 0);
}

#[test]
fn a_thousand_waiters_are_all_woken_once() {
    let queue = Arc::new(WaitQueue::new());
    let go_on = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let (queue, go_on) = (queue.clone(), go_on.clone());
            go(async move {
                queue.wait_until(ALL, || (go_on.load(SeqCst) > 0).then_some(())).await;
            })
        })
        .collect();
    assert_eq!(run_all(), 1000);
    assert_eq!(queue.notify_all(ALL), 1000);
    assert_eq!(run_all(), 1000, "none was ready, all wait again");
    go_on.store(1, SeqCst);
    assert_eq!(queue.notify_all(ALL), 1000);
    assert_eq!(run_all(), 1000);
    assert!(tasks.iter().all(|task| task.is_finished()));
    assert!(queue.is_empty());
}

/// Drops every other waiter from inside the first wake of a batch, while some are picked.
#[test]
fn waiters_may_be_dropped_by_a_wake() {
    type Waits = std::sync::Mutex<Vec<Pin<Box<dyn Future<Output = ()> + Send>>>>;
    struct Dropper(Arc<Waits>);
    impl Wake for Dropper {
        fn wake(self: Arc<Self>) {
            let mut waits = self.0.lock().unwrap();
            let gone: Vec<_> = std::mem::take(&mut *waits);
            drop(waits);
            drop(gone);
        }
    }
    for exclusive in [false, true] {
        let queue: &'static WaitQueue = Box::leak(Box::new(WaitQueue::new()));
        let waits: Arc<Waits> = Arc::default();
        let waker = Waker::from(Arc::new(Dropper(waits.clone())));
        for _ in 0..100 {
            let mut wait: Pin<Box<dyn Future<Output = ()> + Send>> = if exclusive {
                Box::pin(queue.wait_until_exclusive(1, never))
            } else {
                Box::pin(queue.wait_until(1, never))
            };
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            waits.lock().unwrap().push(wait);
        }
        assert_eq!(queue.notify_n(1, 50), if exclusive { 50 } else { 100 });
        assert!(queue.is_empty());
    }
}

#[test]
fn random_drops_leave_a_sound_queue() {
    let queue = WaitQueue::new();
    let count = Arc::new(Count::default());
    let mut seed = 3u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    let mut waits = Vec::new();
    for _ in 0..20_000 {
        match random() % 5 {
            0 | 1 => waits.push(Box::pin(match random() % 2 {
                0 => queue.wait_until(1 << (random() % 3), never),
                _ => queue.wait_until_exclusive(1 << (random() % 3), never),
            })),
            2 if !waits.is_empty() => drop(waits.swap_remove(random() % waits.len())),
            3 if !waits.is_empty() => {
                let at = random() % waits.len();
                assert!(poll(&mut waits[at], &count).is_pending());
            }
            _ => drop(queue.notify_n(random() as u32 % 8, random() % 40)),
        }
    }
    drop(waits);
    assert!(queue.is_empty());
}

struct Noting(Log, &'static str);

impl Observer for Noting {
    fn notified(&self, _mask: u32) {
        self.0.note(self.1);
    }
}

#[test]
fn observers_are_told_of_every_notification_that_meets_them() {
    let queue = WaitQueue::new();
    let log = Log::default();
    let a = queue.attach(Arc::new(Noting(log.clone(), "a")), 1).unwrap();
    let b = queue.attach(Arc::new(Noting(log.clone(), "b")), 3).unwrap();
    queue.notify_one(2);
    assert_eq!(log.take(), ["b"]);
    queue.notify_one(1);
    queue.notify_one(1);
    assert_eq!(log.take(), ["a", "b", "a", "b"]);
    assert!(queue.set_interest(a, 4) && queue.detach(b) && !queue.detach(b));
    queue.notify_all(3);
    assert!(log.take().is_empty());
    assert!(queue.detach(a) && queue.is_empty());
    let many: Vec<_> = (0..30).map(|_| queue.attach(Arc::new(Noting(log.clone(), "x")), 1).unwrap()).collect();
    queue.notify_all(1);
    assert_eq!(log.take().len(), 30);
    many.into_iter().for_each(|id| assert!(queue.detach(id)));
}

#[test]
fn an_arrival_is_told_once_or_seen_and_handed_on_when_dropped() {
    let queue = WaitQueue::new();
    let (a, b) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut first = Box::pin(queue.arrival(1, || false));
    let mut second = Box::pin(queue.arrival(1, || false));
    assert!(poll(&mut first, &a).is_pending() && poll(&mut second, &b).is_pending());
    assert!(poll(&mut first, &a).is_pending(), "woken for another reason, it stays where it is in the queue");
    assert_eq!(queue.notify_one(2), 0);
    assert_eq!(queue.notify_one(1), 1);
    assert_eq!((a.get(), b.get()), (1, 0));
    drop(first);
    assert_eq!(b.get(), 1, "the first was dropped with a wake that it has not used");
    assert_eq!(poll(&mut second, &b), Poll::Ready(Arrival::Told));
    assert!(queue.is_empty());
    let mut seen = Box::pin(queue.arrival(1, || true));
    assert_eq!(poll(&mut seen, &a), Poll::Ready(Arrival::Seen));
    assert!(queue.is_empty());
}

#[test]
fn one_exclusive_waiter_among_shared_ones_is_not_woken_alone() {
    let queue = WaitQueue::new();
    let (a, b) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut shared = Box::pin(queue.wait_until(1, never));
    let mut exclusive = Box::pin(queue.arrival(1, || false));
    assert!(poll(&mut shared, &a).is_pending() && poll(&mut exclusive, &b).is_pending());
    assert_eq!(queue.notify_one(1), 2);
    assert_eq!((a.get(), b.get()), (1, 1));
}

#[test]
fn a_wait_future_is_small() {
    assert!(size_of_val(&WaitQueue::new().wait_until(1, never)) <= 96);
    // Debug builds keep the rank in each spin lock.
    const { assert!(cfg!(debug_assertions) || size_of::<WaitQueue>() <= 120) };
}
