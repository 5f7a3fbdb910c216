//! Short windows in which a wake or a signal could get lost, each opened on purpose: what real CPUs do at the same
//! moment is done here one after the other, in the order that does harm.

use super::*;

/// Once it is spawned a child may run, wait, and be looked for by others at any moment. They would wake a child, or set its
/// priority, in vain if they found it without a task.
#[test]
fn whoever_looks_for_the_task_of_a_new_child_waits_until_it_is_there() {
    on_machine(|first| {
        let id = child(first, clone::Flags::VM, vec![exit()], |current, params, when| {
            let thread = current.thread.clone();
            let closed = || thread.view.try_lock().is_none();
            let before = closed();
            let task = syscalls::run::spawn(current, params, when);
            assert!(before && closed(), "others can look while there is no task");
            task
        });
        assert!(thread(id).view.lock().task.is_some());
        drain(0);
        assert_eq!(is_over(first, id), Some(0));
    });
}

/// Long kernel work yields: 2,048 pages do not go in one poll.
#[test]
fn others_run_while_a_large_process_exits() {
    static POLLS: AtomicUsize = AtomicUsize::new(0);
    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    on_machine(|first| {
        let (size, protection) = (2048 * 4096, raw::PROT_READ | raw::PROT_WRITE);
        let flags = raw::MAP_PRIVATE | raw::MAP_ANONYMOUS | raw::MAP_POPULATE;
        let map = Act::Call(raw::__NR_mmap, [0, size, protection as usize, flags as usize]);
        let mark = Act::Meanwhile(|| BEFORE.store(POLLS.load(Ordering::Relaxed), Ordering::Relaxed));
        let id = child(first, clone::Flags::empty(), vec![map, mark, exit()], syscalls::run::spawn);
        while executor::run_next() == Step::Ran {
            POLLS.fetch_add(1, Ordering::Relaxed);
        }
        let polls = POLLS.load(Ordering::Relaxed) - BEFORE.load(Ordering::Relaxed);
        println!("the exit took {polls} polls");
        assert!(polls > 2);
        assert_eq!(is_over(first, id), Some(0));
    });
}

#[test]
fn a_requeue_without_memory_still_wakes_whom_it_took_out() {
    on_machine(|first| {
        let children: Vec<u32> =
            (0..6).map(|_| child(first, clone::Flags::VM, vec![wait_on(1), exit()], syscalls::run::spawn)).collect();
        (0..CPUS).for_each(drain);
        // One block holds four; for a fifth there is no memory.
        let [from, to] = [WORDS + 4, WORDS + 8].map(VirtAddr);
        let (woken, _) =
            sim::with_few_blocks(1, || now(futex::requeue(first, from, to, true, 5, 0, None))).expect("some are woken");
        (0..CPUS).for_each(drain);
        let over = children.iter().filter(|id| is_over(first, **id).is_some()).count();
        println!("woken by its own account: {woken}, and in truth: {over}");
        assert!((1..5).contains(&woken), "{woken}");
        assert_eq!(over, woken);
        let rest = futex::wake_private(first, from, u32::MAX, futex::ANY).expect("a wake");
        (0..CPUS).for_each(drain);
        assert_eq!(woken + rest, children.len());
    });
}

#[test]
fn a_leaving_thread_hands_on_every_signal_it_was_picked_for() {
    on_machine(|first| {
        static LEADER: Mutex<u32> = Mutex::new(0);
        // Two signals, which dump core and so wait to be taken, reach the process while its leader, the only one to take them both, is on its way out.
        let leaves = vec![
            wait_on(3),
            Act::Meanwhile(|| {
                let process = pid::find_process(*LEADER.lock().expect("no panic")).expect("it lives");
                for signal in [Signal::SIGQUIT, Signal::SIGXCPU] {
                    send::to_process(&process, Siginfo::user(signal, 0, 0)).expect("room");
                }
            }),
            exit(),
        ];
        let leader = child(first, clone::Flags::VM, leaves, syscalls::run::spawn);
        *LEADER.lock().expect("no panic") = leader;
        (0..CPUS).for_each(drain);
        // The other thread takes only the later of the two, which kills the process.
        let mut inside = Current { thread: thread(leader), ..fork_view(first) };
        let mask = SignalSet::EMPTY.with(Signal::SIGQUIT);
        process::signal::deliver::set_mask(&inside.thread, mask);
        let flags = clone::Flags::VM | clone::Flags::THREAD | clone::Flags::SIGHAND;
        child(&mut inside, flags, vec![wait_on(4), exit()], syscalls::run::spawn);
        process::signal::deliver::set_mask(&inside.thread, SignalSet::EMPTY);
        drop(inside);
        (0..CPUS).for_each(drain);
        futex::wake_private(first, VirtAddr(WORDS + 12), 1, futex::ANY).expect("a wake");
        (0..CPUS).for_each(drain);
        let status = is_over(first, leader);
        println!("the process: {status:?}, to die of {}", Signal::SIGXCPU.number());
        assert_eq!(status, Some(Signal::SIGXCPU.number().into()));
    });
}

#[test]
fn who_took_one_signal_of_two_leaves_the_other_to_who_waits_for_it_too() {
    on_machine(|first| {
        let (one, two) = (Signal::new(40).expect("a signal"), Signal::new(41).expect("a signal"));
        let both = SignalSet::EMPTY.with(one).with(two);
        first.thread.install();
        usercopy::write(VirtAddr(WORDS + 0x100), &both.0.to_ne_bytes()).expect("a page");
        let waits = || Act::Call(raw::__NR_rt_sigtimedwait, [WORDS + 0x100, 0, 0, 8]);
        process::signal::deliver::set_mask(&first.thread, both);
        let leader = child(first, clone::Flags::VM, vec![waits(), wait_on(6), exit()], syscalls::run::spawn);
        let mut inside = Current { thread: thread(leader), ..fork_view(first) };
        let flags = clone::Flags::VM | clone::Flags::THREAD | clone::Flags::SIGHAND;
        child(&mut inside, flags, vec![waits(), exit()], syscalls::run::spawn);
        process::signal::deliver::set_mask(&first.thread, SignalSet::EMPTY);
        drop(inside);
        (0..CPUS).for_each(drain);
        // Both are sent before anybody can take one, so it is the leader who is told of both.
        let process = pid::find_process(leader).expect("it lives");
        for signal in [one, two] {
            send::to_process(&process, Siginfo::user(signal, 0, 0)).expect("room");
        }
        (0..CPUS).for_each(drain);
        assert_eq!(process.threads().count(), 1, "the other thread has had its signal");
        futex::wake_private(first, VirtAddr(WORDS + 24), 1, futex::ANY).expect("a wake");
        (0..CPUS).for_each(drain);
        assert_eq!(is_over(first, leader), Some(0));
    });
}
