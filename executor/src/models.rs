//! Loom models: every interleaving of a few steps of the lock-free meeting points.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p executor --release loom`

mod loom_models {
    use crate::idle::Level;
    use crate::inbox::{Inbox, Overflow, Ring};
    use crate::wait::WaitQueue;
    use loom::sync::Arc;
    use loom::sync::atomic::{
        AtomicBool, AtomicUsize,
        Ordering::SeqCst,
        Ordering::{Acquire, Relaxed, Release},
    };
    use loom::thread;
    use std::collections::VecDeque;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Wake, Waker};

    /// A queue of one place, in the stead of crossbeam's, which is modelled in its own crate.
    struct One(loom::sync::Mutex<Option<u32>>);

    impl Ring<u32> for One {
        fn push(&self, task: u32) -> Result<(), u32> {
            let mut slot = self.0.lock().unwrap();
            if slot.is_some() {
                return Err(task);
            }
            *slot = Some(task);
            Ok(())
        }
        fn pop(&self) -> Option<u32> {
            self.0.lock().unwrap().take()
        }
    }

    impl Overflow<u32> for VecDeque<u32> {
        fn push(&mut self, task: u32) {
            self.push_back(task);
        }
        fn pop(&mut self) -> Option<u32> {
            self.pop_front()
        }
    }

    type TestInbox = Inbox<One, VecDeque<u32>>;

    fn inbox() -> TestInbox {
        Inbox::new(One(loom::sync::Mutex::new(None)), VecDeque::new())
    }

    fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(model);
    }

    /// Three tasks from two wakers, of which one or two overflow: each is found once, and while
    /// one is left `pending` says so.
    #[test]
    fn inbox_loses_nothing_when_it_overflows() {
        bounded(3, || {
            let inbox = Arc::new(inbox());
            let other = inbox.clone();
            let waker = thread::spawn(move || {
                other.push(1u32);
                other.push(2);
            });
            let third = inbox.clone();
            let second = thread::spawn(move || {
                third.push(4);
            });
            let mut found = Vec::new();
            if inbox.pending() {
                inbox.drain(|task: u32| found.push(task));
            }
            waker.join().unwrap();
            second.join().unwrap();
            assert_eq!(found.len() < 3, found.len() < 3 && inbox.pending());
            if inbox.pending() {
                inbox.drain(|task: u32| found.push(task));
            }
            found.sort_unstable();
            assert_eq!(found, [1, 2, 4]);
        });
    }

    /// A CPU goes to sleep while another wakes a task for it: if it sleeps, it is rung.
    #[test]
    fn idle_cpu_is_rung_or_does_not_sleep() {
        loom::model(|| {
            let shared = Arc::new((inbox(), Level::new(2), AtomicUsize::new(0)));
            let wakers: Vec<_> = (0..2)
                .map(|task| {
                    let shared = shared.clone();
                    thread::spawn(move || {
                        let (inbox, level, rings) = &*shared;
                        let first = inbox.push(task);
                        if first && level.after_push() == 0 {
                            rings.fetch_add(1, Relaxed);
                        }
                    })
                })
                .collect();
            let (inbox, level, rings) = &*shared;
            let mut found = 0;
            if inbox.pending() {
                inbox.drain(|_: u32| found += 1);
            }
            level.enter_idle();
            let sleeps = !inbox.pending();
            wakers.into_iter().for_each(|waker| waker.join().unwrap());
            assert!(!sleeps || found == 2 || rings.load(Relaxed) > 0);
        });
    }

    struct Woken(std::sync::atomic::AtomicBool);

    impl Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    fn flag() -> (std::sync::Arc<Woken>, Waker) {
        let woken = std::sync::Arc::new(Woken(std::sync::atomic::AtomicBool::new(false)));
        (woken.clone(), Waker::from(woken))
    }

    fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(waker))
    }

    /// The condition comes true while a task registers: it sees it, or is woken.
    #[test]
    fn wait_queue_wakes_whoever_did_not_see() {
        loom::model(|| {
            let shared = Arc::new((WaitQueue::new(), AtomicBool::new(false)));
            let other = shared.clone();
            let notifier = thread::spawn(move || {
                other.1.store(true, Release);
                other.0.notify_one(1);
            });
            let (woken, waker) = flag();
            let (queue, ready) = &*shared;
            let mut wait = pin!(queue.wait_until_exclusive(1, || ready.load(Acquire).then_some(())));
            let seen = poll(wait.as_mut(), &waker).is_ready();
            notifier.join().unwrap();
            assert!(seen || woken.0.load(SeqCst));
            assert!(seen || poll(wait, &waker).is_ready());
        });
    }

    /// One of two waiters is dropped, after a second poll, while one item is announced: whoever is
    /// left is woken, unless the item is gone.
    #[test]
    fn wait_queue_hands_on_when_a_waiter_is_cancelled() {
        bounded(3, || {
            let shared = Arc::new((WaitQueue::new(), AtomicUsize::new(0)));
            let other = shared.clone();
            let (queue, items) = &*shared;
            let take = || items.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).ok();
            let (_, first_waker) = flag();
            let (woken, second_waker) = flag();
            let mut first = Box::pin(queue.wait_until_exclusive(1, take));
            let mut second = pin!(queue.wait_until_exclusive(1, take));
            assert!(poll(first.as_mut(), &first_waker).is_pending());
            assert!(poll(second.as_mut(), &second_waker).is_pending());
            let notifier = thread::spawn(move || {
                other.1.fetch_add(1, SeqCst);
                other.0.notify_one(1);
            });
            let taken = poll(first.as_mut(), &first_waker).is_ready();
            drop(first);
            notifier.join().unwrap();
            assert!(taken || woken.0.load(SeqCst), "the item is left and nobody knows");
            assert_eq!(poll(second.as_mut(), &second_waker).is_ready(), !taken);
        });
    }

    /// Two items for two waiters, which are polled whenever they are woken and once besides: both
    /// are served.
    #[test]
    fn wait_queue_serves_those_who_register_again() {
        bounded(3, || {
            let shared = Arc::new((WaitQueue::new(), AtomicUsize::new(0)));
            let other = shared.clone();
            let (queue, items) = &*shared;
            let take = || items.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).ok();
            let flags = [flag(), flag()];
            let mut waits = [0, 1].map(|_| Some(Box::pin(queue.wait_until_exclusive(1, take))));
            let mut turn = |who: usize| {
                let served = waits[who].as_mut().is_some_and(|wait| poll(wait.as_mut(), &flags[who].1).is_ready());
                if served {
                    waits[who] = None;
                }
            };
            turn(0);
            turn(1);
            let notifier = thread::spawn(move || {
                for _ in 0..2 {
                    other.1.fetch_add(1, SeqCst);
                    other.0.notify_one(1);
                }
            });
            turn(0);
            notifier.join().unwrap();
            for _ in 0..3 {
                for who in [0, 1] {
                    if flags[who].0.0.swap(false, SeqCst) {
                        turn(who);
                    }
                }
            }
            assert!(waits.iter().all(Option::is_none));
        });
    }

    /// Two arrivals wait, of which one is dropped after a second poll, while one item is announced: the other is told or has seen
    /// it, unless the one has.
    #[test]
    fn an_arrival_is_neither_lost_nor_kept() {
        bounded(3, || {
            let shared = Arc::new((WaitQueue::new(), AtomicUsize::new(0)));
            let other = shared.clone();
            let (queue, items) = &*shared;
            let (_, first_waker) = flag();
            let (woken, second_waker) = flag();
            let mut first = Box::pin(queue.arrival(1, || items.load(SeqCst) > 0));
            let mut second = pin!(queue.arrival(1, || items.load(SeqCst) > 0));
            assert!(poll(first.as_mut(), &first_waker).is_pending());
            let notifier = thread::spawn(move || {
                other.1.fetch_add(1, SeqCst);
                other.0.notify_one(1);
            });
            let second_seen = poll(second.as_mut(), &second_waker).is_ready();
            let first_told = poll(first.as_mut(), &first_waker).is_ready();
            drop(first);
            notifier.join().unwrap();
            assert!(second_seen || first_told || woken.0.load(SeqCst), "the item is left and nobody knows");
        });
    }

    /// A lock is given back while one waiter is cancelled and another waits: it is not stuck.
    #[test]
    fn mutex_is_handed_on_when_a_waiter_is_cancelled() {
        bounded(3, || {
            let lock = Arc::new(crate::Mutex::new(()));
            let (_, first_waker) = flag();
            let (woken, second_waker) = flag();
            let held = lock.try_lock().unwrap();
            let mut first = Box::pin(lock.lock());
            let mut second = pin!(lock.lock());
            assert!(poll(first.as_mut(), &first_waker).is_pending());
            assert!(poll(second.as_mut(), &second_waker).is_pending());
            let theirs = lock.clone();
            std::mem::forget(held);
            let holder = thread::spawn(move || theirs.give_back_for_model());
            drop(first);
            holder.join().unwrap();
            assert!(woken.0.load(SeqCst));
            assert!(poll(second.as_mut(), &second_waker).is_ready());
        });
    }
}
