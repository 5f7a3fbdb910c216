//! Who runs when: FIFO among equals, classes, weights, the wake slot, preemption.

use super::{Log, go, run_all};
use crate::{Class, RtPolicy, SchedParams, Step, machine, need_resched, preempt, run_next, spawn, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

fn class(class: Class) -> SchedParams {
    SchedParams { class, ..SchedParams::default() }
}

fn noting(log: &Log, name: &'static str, turns: usize) -> impl Future<Output = ()> + Send + use<> {
    let log = log.clone();
    async move {
        for _ in 0..turns {
            log.note(name);
            yield_now().await;
        }
    }
}

#[test]
fn equals_take_turns_in_order() {
    let log = Log::default();
    let _tasks = ["a", "b", "c"].map(|name| go(noting(&log, name, 3)));
    run_all();
    assert_eq!(log.take(), ["a", "b", "c", "a", "b", "c", "a", "b", "c"]);
}

#[test]
fn real_time_goes_first_by_priority() {
    let log = Log::default();
    let rt = |prio, policy| class(Class::RealTime { prio, policy });
    let _tasks = [
        spawn(noting(&log, "idle", 1), class(Class::Idle)),
        spawn(noting(&log, "fair", 1), SchedParams::default()),
        spawn(noting(&log, "rt1", 2), rt(1, RtPolicy::Fifo)),
        spawn(noting(&log, "rt99a", 2), rt(99, RtPolicy::RoundRobin)),
        spawn(noting(&log, "rt99b", 2), rt(99, RtPolicy::Fifo)),
    ];
    run_all();
    assert_eq!(log.take(), ["rt99a", "rt99b", "rt99a", "rt99b", "rt1", "rt1", "fair", "idle"]);
}

#[test]
fn a_task_is_runnable_while_it_waits_for_its_turn_and_not_while_it_waits_for_a_wake() {
    for kind in [Class::default(), Class::Idle, Class::RealTime { prio: 9, policy: RtPolicy::Fifo }] {
        let task = spawn(core::future::pending(), class(kind));
        for _ in 0..2 {
            assert!(task.is_runnable());
            assert_eq!(run_next(), Step::Ran);
            assert!(!task.is_runnable());
            task.wake();
        }
        // It is scheduled once more, to be dropped.
        drop(task);
        run_all();
    }
}

#[test]
fn a_promoted_task_that_waits_has_its_turn_by_its_new_class() {
    let log = Log::default();
    let fifo = |prio| Class::RealTime { prio, policy: RtPolicy::Fifo };
    let fair = go(noting(&log, "promoted", 1));
    let _others = [go(noting(&log, "fair", 1)), spawn(noting(&log, "rt", 1), class(fifo(5)))];
    fair.promote(fifo(9));
    run_all();
    assert_eq!(log.take(), ["promoted", "rt", "fair"]);
}

#[test]
fn a_running_task_that_is_lowered_is_outranked_at_once() {
    let fifo = |prio| Class::RealTime { prio, policy: RtPolicy::Fifo };
    let me: Arc<std::sync::OnceLock<crate::Task>> = Arc::default();
    let inner = me.clone();
    let running = async move {
        let _other = spawn(async {}, class(fifo(5)));
        assert!(!need_resched());
        inner.get().unwrap().promote(Class::default());
        assert!(need_resched());
    };
    assert!(me.set(spawn(running, class(fifo(9)))).is_ok());
    run_all();
}

/// Runs hogs of these nice values, each for its whole slice, and returns their run times.
fn hogs(nices: &[i8], turns: usize) -> Vec<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = nices
        .iter()
        .map(|&nice| {
            let stop = stop.clone();
            let hog = async move {
                while !stop.load(SeqCst) {
                    machine::advance(crate::slice_end() - crate::platform::now());
                    assert!(need_resched());
                    preempt().await;
                }
            };
            spawn(hog, class(Class::Fair { nice }))
        })
        .collect();
    for _ in 0..turns {
        assert_eq!(run_next(), Step::Ran);
    }
    stop.store(true, SeqCst);
    let times = tasks.iter().map(|task| task.runtime_ns()).collect();
    run_all();
    times
}

#[test]
fn shares_follow_the_weights_of_nice() {
    for (low, high) in [(0, 1), (0, 5), (-5, 5), (-20, 0), (0, 19), (10, 19), (-20, -10)] {
        let times = hogs(&[low, high], 20_000);
        let ratio = times[0] as f64 / times[1] as f64;
        let ideal = 1.25f64.powi(i32::from(high - low));
        assert!((ratio / ideal - 1.0).abs() < 0.05, "nice {low} and {high}: {ratio}, not {ideal}");
    }
}

#[test]
fn equal_weights_have_equal_shares() {
    let times = hogs(&[3; 7], 7_000);
    assert!(times.iter().all(|time| *time == times[0]), "{times:?}");
}

#[test]
fn nice_19_is_not_starved() {
    assert!(hogs(&[-20, -20, -20, 19], 50_000)[3] > 0);
}

/// Two tasks that wake each other and then wait, for ever.
fn ping_pong(stop: &Arc<AtomicBool>) -> [crate::Task; 2] {
    let turn = Arc::new(AtomicU64::new(0));
    let queue = Arc::new(crate::WaitQueue::new());
    [0, 1].map(|me| {
        let (turn, queue, stop) = (turn.clone(), queue.clone(), stop.clone());
        go(async move {
            while !stop.load(SeqCst) {
                let mine = || (turn.load(SeqCst) % 2 == me || stop.load(SeqCst)).then_some(());
                queue.wait_until(crate::ALL, mine).await;
                turn.fetch_add(1, SeqCst);
                queue.notify_all(crate::ALL);
            }
            queue.notify_all(crate::ALL);
        })
    })
}

#[test]
fn a_ping_pong_pair_does_not_starve_others() {
    let stop = Arc::new(AtomicBool::new(false));
    let _pair = ping_pong(&stop);
    let turns = Arc::new(AtomicU64::new(0));
    let (count, end) = (turns.clone(), stop.clone());
    let _other = go(async move {
        while !end.load(SeqCst) {
            count.fetch_add(1, SeqCst);
            yield_now().await;
        }
    });
    for _ in 0..1000 {
        assert_eq!(run_next(), Step::Ran);
    }
    let turns = turns.load(SeqCst);
    assert!((120..600).contains(&turns), "{turns} turns of 1000");
    stop.store(true, SeqCst);
    run_all();
}

#[test]
fn the_first_task_woken_goes_next_and_the_others_in_order() {
    let log = Log::default();
    let sleepers = ["x", "y", "z"].map(|name| {
        let (log, mut first) = (log.clone(), true);
        go(std::future::poll_fn(move |_| {
            if std::mem::take(&mut first) {
                return std::task::Poll::Pending;
            }
            log.note(name);
            std::task::Poll::Ready(())
        }))
    });
    run_all();
    let log2 = log.clone();
    let _waker = go(async move {
        sleepers.iter().for_each(crate::Task::wake);
        log2.note("waker");
    });
    let _other = go(noting(&log, "other", 1));
    run_all();
    assert_eq!(log.take(), ["waker", "x", "other", "y", "z"]);
}

#[test]
fn a_higher_class_preempts_and_the_preempted_keeps_its_turn() {
    let log = Log::default();
    let (log1, log2) = (log.clone(), log.clone());
    let _a = go(async move {
        let rt = class(Class::RealTime { prio: 1, policy: RtPolicy::Fifo });
        assert!(!need_resched());
        let _rt = spawn(async move { log2.note("rt") }, rt);
        assert!(need_resched());
        preempt().await;
        log1.note("a");
    });
    let _b = go(noting(&log, "b", 1));
    run_all();
    assert_eq!(log.take(), ["rt", "a", "b"]);
}

#[test]
fn a_task_that_is_often_preempted_keeps_no_more_than_its_slice() {
    let others = Arc::new(AtomicUsize::new(0));
    let count = others.clone();
    let _hog = go(async move {
        // Something real-time comes every half slice, for two slices in all.
        for _ in 0..4 {
            machine::advance(1_500_000);
            let _rt = spawn(async {}, class(Class::RealTime { prio: 1, policy: RtPolicy::Fifo }));
            preempt().await;
        }
        assert_eq!(count.load(SeqCst), 2, "the other has had its turn after each slice");
    });
    let _other = go(async move {
        for _ in 0..2 {
            others.fetch_add(1, SeqCst);
            yield_now().await;
        }
    });
    run_all();
}

#[test]
fn an_idle_task_that_gives_way_does_not_go_first_again() {
    let log = Log::default();
    let (log1, log2) = (log.clone(), log.clone());
    let _idle = spawn(
        async move {
            let _fair = go(async move { log2.note("fair") });
            while need_resched() {
                log1.note("idle gives way");
                preempt().await;
            }
        },
        class(Class::Idle),
    );
    run_all();
    assert_eq!(log.take(), ["idle gives way", "fair"]);
}

#[test]
fn long_work_in_steps_has_the_share_of_a_program() {
    let hogged = Arc::new(AtomicUsize::new(0));
    let count = hogged.clone();
    let _worker = go(async move {
        let mut budget = crate::Budget::new(1);
        for _ in 0..3000 {
            machine::advance(30_000);
            budget.spend(1).await;
        }
        // 90 ms of work, slice by slice.
        assert_eq!(count.load(SeqCst), 30);
    });
    let _hog = go(async move {
        for _ in 0..100 {
            hogged.fetch_add(1, SeqCst);
            machine::advance(3_000_000);
            preempt().await;
        }
    });
    run_all();
}

#[test]
fn an_idle_task_gives_way_at_once_but_a_fair_one_at_the_end_of_its_slice() {
    let _idle = spawn(
        async {
            let _fair = go(async {
                let _other = go(async {});
                assert!(!need_resched());
                assert_eq!(crate::next_deadline(), Some(crate::slice_end()));
                machine::set_now(crate::slice_end());
                assert!(need_resched());
            });
            assert!(need_resched());
        },
        class(Class::Idle),
    );
    run_all();
}

#[test]
fn a_real_time_task_with_only_lower_ones_waiting_keeps_the_cpu() {
    let rr = class(Class::RealTime { prio: 5, policy: RtPolicy::RoundRobin });
    let _rt = spawn(
        async {
            let _fair = go(async {});
            machine::set_now(crate::slice_end());
            assert!(!need_resched());
            assert!(crate::next_deadline().unwrap() > crate::platform::now());
        },
        rr,
    );
    run_all();
}

#[test]
fn alone_needs_no_tick() {
    let _task = go(async {
        assert_eq!(crate::next_deadline(), None);
    });
    run_all();
}

#[test]
fn run_time_is_what_the_polls_took() {
    let task = go(async {
        machine::advance(100);
        assert_eq!(crate::current_cpu_time(), Some(100));
        yield_now().await;
        machine::advance(11);
    });
    let _other = go(async { machine::advance(1000) });
    run_all();
    assert_eq!(task.runtime_ns(), 111);
}

#[test]
fn dropping_the_handle_does_not_cancel() {
    let log = Log::default();
    drop(go(noting(&log, "ran", 2)));
    run_all();
    assert_eq!(log.take(), ["ran", "ran"]);
}

#[test]
fn nice_and_class_can_be_changed_while_queued() {
    let task = go(async {});
    task.set_class(Class::Idle);
    task.set_nice(3);
    assert_eq!(task.class(), Class::Idle);
    task.set_class(Class::Batch { nice: 1 });
    task.set_nice(-3);
    assert_eq!(task.class(), Class::Batch { nice: -3 });
    task.set_class(Class::RealTime { prio: 7, policy: RtPolicy::Fifo });
    run_all();
    assert!(task.is_finished());
}

#[test]
fn a_budget_yields_when_used_up() {
    let mut budget = crate::Budget::new(3);
    assert_eq!([1, 1, 1, 1, 5].map(|n| budget.charge(n)), [false, false, true, false, true]);
}
