//! What signals do to calls that wait, queues of signals, masks (signal(7), sigtimedwait(2)).

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::signal::{bit, handle, kill, mask, raise};
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{becomes, call, eventually, gettid, in_child, sender, start};
use crate::{Outcome, Why, check, tests};

tests! {
    calls_that_never_restart_fail_with_eintr,
    a_futex_wait_with_a_time_limit_fails_with_eintr_and_one_without_goes_on,
    an_interrupted_sleep_tells_what_is_left,
    a_sleep_goes_on_after_a_stop_with_the_time_that_is_left,
    a_poll_that_is_stopped_ends_at_its_time,
    a_signal_that_is_ignored_interrupts_nothing,
    realtime_signals_queue_in_order_and_standard_ones_merge,
    #[cfg(target_arch = "x86_64")]
    a_poll_that_was_stopped_ends_when_it_would_have,
    an_epoll_wait_is_ended_by_a_stop,
    sigqueue_is_refused_past_rlimit_sigpending,
    sigqueue_cannot_pretend_to_be_the_kernel,
    sigtimedwait_takes_what_is_pending_or_comes_or_times_out,
    a_process_signal_goes_to_a_thread_that_does_not_block_it,
    a_thread_signal_waits_for_its_thread,
    sa_nodefer_and_sa_resethand,
    sigsuspend_puts_the_mask_back,
    a_blocked_fault_kills,
    an_ignored_fault_kills,
    a_signal_to_a_group_reaches_the_children_of_forks_under_way,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

fn interrupted<T>(wait: impl FnOnce() -> Result<T, Errno>) -> Result<Option<Errno>, Why> {
    let child = sender(SIGUSR1, 1)?;
    let result = wait().err();
    check!(sys::wait4(child, 0)?.1 == 0);
    Ok(result)
}

fn calls_that_never_restart_fail_with_eintr() -> Outcome {
    handle(SIGUSR1, count, SA_RESTART)?;
    let pipe = sys::pipe(0)?;
    let second = [1i64, 0];
    let time = second.as_ptr() as usize;
    let set = bit(SIGUSR2);
    let epoll = call(__NR_epoll_create1, [0])?;
    let mut events = [0u64; 4];
    let eintr = Some(Errno::INTR);
    check!(interrupted(|| sys::poll(&mut [pollfd { fd: pipe[0], events: 1, revents: 0 }], 5000))? == eintr);
    check!(interrupted(|| call(__NR_pselect6, [0, 0, 0, 0, time, 0]))? == eintr);
    let buffer = events.as_mut_ptr() as usize;
    check!(interrupted(|| call(__NR_epoll_pwait, [epoll, buffer, 1, 5000, 0, 8]))? == eintr);
    check!(interrupted(|| call(__NR_rt_sigtimedwait, [&raw const set as usize, 0, time, 8]))? == eintr);
    check!(interrupted(|| call(__NR_clock_nanosleep, [CLOCK_MONOTONIC as usize, 0, time, 0]))? == eintr);
    check!(interrupted(|| call(__NR_nanosleep, [time, 0]))? == eintr);
    check!(interrupted(|| call(__NR_rt_sigsuspend, [&raw const set as usize, 8]))? == eintr);
    check!(COUNT.load(Ordering::SeqCst) == 7);
    Ok(())
}

fn a_futex_wait_with_a_time_limit_fails_with_eintr_and_one_without_goes_on() -> Outcome {
    handle(SIGUSR1, count, SA_RESTART)?;
    let word = AtomicU32::new(0);
    let until = sys::clock_ns(CLOCK_MONOTONIC) + 500_000_000;
    let (limit, half) = ([(until / 1_000_000_000) as i64, (until % 1_000_000_000) as i64], [0i64, 500_000_000]);
    for (command, time) in [(FUTEX_WAIT_BITSET, &limit), (FUTEX_WAIT, &half)] {
        let args = [word.as_ptr() as usize, command as usize, 0, time.as_ptr() as usize, 0, u32::MAX as usize];
        let result = interrupted(|| call(__NR_futex, args))?;
        println!("command {command}: {result:?}");
        check!(result == Some(Errno::INTR));
    }
    let page = sys::mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)?;
    // SAFETY: a zeroed page of its own, never unmapped.
    let shared: &AtomicU32 = unsafe { &*page.cast() };
    let parent = sys::getpid();
    let child = start(|| {
        sys::sleep_ms(20);
        kill(parent, SIGUSR1)?;
        sys::sleep_ms(20);
        check!(sys::futex_wake(shared, 1, 0) == Ok(1));
        Ok(())
    })?;
    check!(sys::futex_wait(shared, 0, 0) == Ok(()));
    check!(sys::wait4(child, 0)?.1 == 0);
    check!(COUNT.load(Ordering::SeqCst) == 3);
    Ok(())
}

fn an_interrupted_sleep_tells_what_is_left() -> Outcome {
    handle(SIGUSR1, count, 0)?;
    let (time, mut left) = ([2i64, 0], [0i64; 2]);
    let child = sender(SIGUSR1, 1)?;
    let at = left.as_mut_ptr() as usize;
    check!(call(__NR_nanosleep, [time.as_ptr() as usize, at]) == Err(Errno::INTR));
    // SAFETY: the kernel has written it.
    let left = unsafe { (&raw const left).read_volatile() };
    println!("left: {left:?}");
    check!(left[0] == 1 && left[1] < 999_000_000);
    sys::wait4(child, 0)?;
    Ok(())
}

/// Stops this process twice for 40 ms while `wait` goes on; gives how long that took in milliseconds.
fn stopped_meanwhile(wait: impl FnOnce() -> Result<(), Why>) -> Result<u64, Why> {
    let from = sys::clock_ns(CLOCK_MONOTONIC);
    let me = sys::getpid();
    let child = start(|| {
        for _ in 0..2 {
            sys::sleep_ms(20);
            kill(me, SIGSTOP)?;
            sys::sleep_ms(40);
            kill(me, SIGCONT)?;
        }
        Ok(())
    })?;
    wait()?;
    let took = (sys::clock_ns(CLOCK_MONOTONIC) - from) / 1_000_000;
    check!(sys::wait4(child, 0)?.1 == 0);
    Ok(took)
}

fn a_sleep_goes_on_after_a_stop_with_the_time_that_is_left() -> Outcome {
    let status = in_child(|| {
        let took = stopped_meanwhile(|| {
            let time = [0i64, 300_000_000];
            check!(call(__NR_nanosleep, [time.as_ptr() as usize, 0]) == Ok(0));
            Ok(())
        })?;
        println!("300 ms of sleep took {took} ms");
        check!((299..450).contains(&took) || took > 2000);
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn a_poll_that_is_stopped_ends_at_its_time() -> Outcome {
    let status = in_child(|| {
        let pipe = sys::pipe(0)?;
        let took = stopped_meanwhile(|| {
            check!(sys::poll(&mut [pollfd { fd: pipe[0], events: 1, revents: 0 }], 300) == Ok(0));
            Ok(())
        })?;
        println!("300 ms of ppoll took {took} ms");
        check!(took >= 299);
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn a_signal_that_is_ignored_interrupts_nothing() -> Outcome {
    rt::signal::set_action(SIGUSR1, &rt::signal::Action { handler: 1, ..Default::default() })?;
    let time = [0i64, 60_000_000];
    check!(interrupted(|| call(__NR_nanosleep, [time.as_ptr() as usize, 0]))?.is_none());
    Ok(())
}

static ORDER: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

extern "C" fn note(signal: i32, info: *mut siginfo_t, _: *mut core::ffi::c_void) {
    // SAFETY: the handler was installed with SA_SIGINFO; the value lies 24 bytes into the structure.
    let value = unsafe { info.cast::<u8>().add(24).cast::<usize>().read() };
    let at = COUNT.fetch_add(1, Ordering::SeqCst) as usize;
    ORDER[at.min(7)].store(signal as usize * 100 + value, Ordering::SeqCst);
}

/// rt_sigqueueinfo to this process, with a code and a value.
fn queue(signal: u32, code: i32, value: u64) -> Result<usize, Errno> {
    let mut info = [0u64; 16];
    info[0] = signal.into();
    info[1] = u64::from(code as u32);
    info[3] = value;
    call(__NR_rt_sigqueueinfo, [sys::getpid() as usize, signal as usize, info.as_ptr() as usize])
}

const SI_QUEUE: i32 = -1;

fn realtime_signals_queue_in_order_and_standard_ones_merge() -> Outcome {
    handle(40, note, SA_SIGINFO)?;
    handle(41, note, SA_SIGINFO)?;
    handle(SIGUSR1, note, SA_SIGINFO)?;
    // Each handler runs to its end before the next begins.
    let all = bit(40) | bit(41) | bit(SIGUSR1);
    mask(SIG_BLOCK, all)?;
    for value in 1..=3 {
        queue(41, SI_QUEUE, value)?;
        queue(40, SI_QUEUE, value)?;
        queue(SIGUSR1, SI_QUEUE, value)?;
    }
    let mut taken = [0usize; 7];
    for slot in &mut taken {
        let mut info = [0u64; 16];
        let got = call(__NR_rt_sigtimedwait, [&raw const all as usize, info.as_mut_ptr() as usize, 0, 8])?;
        // SAFETY: the kernel has written it.
        *slot = got * 100 + unsafe { info.as_ptr().add(3).read_volatile() } as usize;
    }
    println!("{taken:?}");
    check!(taken == [1001, 4001, 4002, 4003, 4101, 4102, 4103]);
    queue(40, SI_QUEUE, 9)?;
    mask(SIG_UNBLOCK, all)?;
    check!(ORDER[0].load(Ordering::SeqCst) == 4009);
    Ok(())
}

fn sigqueue_is_refused_past_rlimit_sigpending() -> Outcome {
    // As a user that nobody else is, whose signals are the only ones that count.
    crate::support::become_user(54_321)?;
    let limit = [3u64, 3];
    call(__NR_prlimit64, [0, RLIMIT_SIGPENDING as usize, limit.as_ptr() as usize, 0])?;
    mask(SIG_BLOCK, bit(40) | bit(SIGUSR1))?;
    for value in 0..3 {
        check!(queue(40, SI_QUEUE, value).is_ok());
    }
    check!(queue(40, SI_QUEUE, 3) == Err(Errno(EAGAIN)));
    // kill(2) is never refused for that.
    check!(raise(SIGUSR1) == Ok(()));
    check!(kill(sys::getpid(), 40) == Ok(()));
    let set = bit(40);
    for _ in 0..3 {
        call(__NR_rt_sigtimedwait, [&raw const set as usize, 0, 0, 8])?;
    }
    check!(queue(40, SI_QUEUE, 3).is_ok());
    Ok(())
}

fn sigqueue_cannot_pretend_to_be_the_kernel() -> Outcome {
    // To oneself everything may be sent.
    mask(SIG_BLOCK, bit(40))?;
    check!(queue(40, 5, 0).is_ok());
    let parent = sys::getpid();
    let status = in_child(|| {
        for (code, allowed) in [(0, false), (-6, false), (5, false), (SI_QUEUE, true), (-60, true)] {
            let mut info = [0u64; 16];
            info[1] = u64::from(code as u32);
            let result = call(__NR_rt_sigqueueinfo, [parent as usize, 40, info.as_ptr() as usize]);
            check!(result == if allowed { Ok(0) } else { Err(Errno(EPERM)) });
        }
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn sigtimedwait(set: u64, ms: i64) -> Result<usize, Errno> {
    let limit = [ms / 1000, ms % 1000 * 1_000_000];
    call(__NR_rt_sigtimedwait, [&raw const set as usize, 0, limit.as_ptr() as usize, 8])
}

fn sigtimedwait_takes_what_is_pending_or_comes_or_times_out() -> Outcome {
    mask(SIG_BLOCK, bit(SIGUSR1) | bit(SIGUSR2))?;
    raise(SIGUSR2)?;
    raise(SIGUSR1)?;
    check!(sigtimedwait(bit(SIGUSR1) | bit(SIGUSR2), 0) == Ok(SIGUSR1 as usize));
    check!(sigtimedwait(bit(SIGUSR1), 20) == Err(Errno::AGAIN));
    let child = sender(SIGUSR1, 1)?;
    check!(sigtimedwait(bit(SIGUSR1), 5000) == Ok(SIGUSR1 as usize));
    sys::wait4(child, 0)?;
    check!(sigtimedwait(bit(SIGUSR2), 0) == Ok(SIGUSR2 as usize));
    let bad = [0i64, -1];
    let set = bit(SIGUSR1);
    let args = [&raw const set as usize, 0, bad.as_ptr() as usize, 8];
    check!(call(__NR_rt_sigtimedwait, args) == Err(Errno(EINVAL)));
    check!(call(__NR_rt_sigtimedwait, [args[0], 0, 0, 4]) == Err(Errno(EINVAL)));
    Ok(())
}

static WHO: AtomicU32 = AtomicU32::new(0);
static STEP: AtomicU32 = AtomicU32::new(0);

extern "C" fn who(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    WHO.store(gettid() as u32, Ordering::SeqCst);
}

extern "C" fn be_there(_: usize) -> i32 {
    let _ = mask(SIG_UNBLOCK, bit(SIGUSR1));
    STEP.store(gettid() as u32, Ordering::SeqCst);
    while STEP.load(Ordering::SeqCst) != 0 {
        sys::sleep_ms(2);
    }
    0
}

fn a_process_signal_goes_to_a_thread_that_does_not_block_it() -> Outcome {
    handle(SIGUSR1, who, 0)?;
    mask(SIG_BLOCK, bit(SIGUSR1))?;
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    let tid = unsafe { join.spawn(map_stack(32 * 1024)?, be_there, 0)? };
    check!(becomes(&STEP, tid as u32));
    raise(SIGUSR1)?;
    check!(becomes(&WHO, tid as u32));
    STEP.store(0, Ordering::SeqCst);
    join.wait();
    Ok(())
}

extern "C" fn block_and_take(_: usize) -> i32 {
    STEP.store(gettid() as u32, Ordering::SeqCst);
    let took = sigtimedwait(bit(SIGUSR1), 5000) == Ok(SIGUSR1 as usize);
    WHO.store(if took { 77 } else { 78 }, Ordering::SeqCst);
    0
}

fn a_thread_signal_waits_for_its_thread() -> Outcome {
    handle(SIGUSR1, who, 0)?;
    mask(SIG_BLOCK, bit(SIGUSR1))?;
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    let tid = unsafe { join.spawn(map_stack(32 * 1024)?, block_and_take, 0)? };
    check!(becomes(&STEP, tid as u32));
    let me = sys::getpid() as usize;
    call(__NR_tgkill, [me, tid as usize, SIGUSR1 as usize])?;
    join.wait();
    check!(WHO.load(Ordering::SeqCst) == 77);
    check!(eventually(|| call(__NR_tgkill, [me, tid as usize, 0]) == Err(Errno(ESRCH))));
    check!(call(__NR_tgkill, [1, me, 0]) == Err(Errno(ESRCH)));
    check!(call(__NR_tgkill, [0, me, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_tkill, [0, 0]) == Err(Errno(EINVAL)));
    Ok(())
}

static DEPTH: AtomicU32 = AtomicU32::new(0);
static DEEPEST: AtomicU32 = AtomicU32::new(0);

extern "C" fn nest(signal: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    let depth = DEPTH.fetch_add(1, Ordering::SeqCst) + 1;
    DEEPEST.fetch_max(depth, Ordering::SeqCst);
    if COUNT.fetch_add(1, Ordering::SeqCst) < 2 {
        let _ = raise(signal as u32);
    }
    DEPTH.fetch_sub(1, Ordering::SeqCst);
}

fn sa_nodefer_and_sa_resethand() -> Outcome {
    handle(SIGUSR1, nest, 0)?;
    raise(SIGUSR1)?;
    check!(DEEPEST.load(Ordering::SeqCst) == 1 && COUNT.load(Ordering::SeqCst) == 3);
    COUNT.store(0, Ordering::SeqCst);
    handle(SIGUSR1, nest, SA_NODEFER)?;
    raise(SIGUSR1)?;
    check!(DEEPEST.load(Ordering::SeqCst) == 3 && COUNT.load(Ordering::SeqCst) == 3);
    handle(SIGURG, count, SA_RESETHAND)?;
    COUNT.store(0, Ordering::SeqCst);
    raise(SIGURG)?;
    raise(SIGURG)?;
    check!(COUNT.load(Ordering::SeqCst) == 1);
    Ok(())
}

fn sigsuspend_puts_the_mask_back() -> Outcome {
    handle(SIGUSR1, count, 0)?;
    mask(SIG_SETMASK, bit(SIGUSR1) | bit(SIGUSR2))?;
    raise(SIGUSR1)?;
    check!(COUNT.load(Ordering::SeqCst) == 0);
    let set = bit(SIGUSR2);
    check!(call(__NR_rt_sigsuspend, [&raw const set as usize, 8]) == Err(Errno::INTR));
    check!(COUNT.load(Ordering::SeqCst) == 1);
    check!(mask(SIG_BLOCK, 0)? == bit(SIGUSR1) | bit(SIGUSR2));
    Ok(())
}

/// Touches memory that is not there.
fn fault() {
    // SAFETY: it is not: the test is about what becomes of that.
    unsafe { core::ptr::with_exposed_provenance_mut::<u8>(16).write_volatile(1) };
}

fn a_blocked_fault_kills() -> Outcome {
    let status = in_child(|| {
        handle(SIGSEGV, count, 0)?;
        mask(SIG_BLOCK, bit(SIGSEGV))?;
        fault();
        Ok(())
    })?;
    check!(status & 0x7f == SIGSEGV as i32);
    Ok(())
}

fn an_ignored_fault_kills() -> Outcome {
    let status = in_child(|| {
        rt::signal::set_action(SIGSEGV, &rt::signal::Action { handler: 1, ..Default::default() })?;
        fault();
        Ok(())
    })?;
    check!(status & 0x7f == SIGSEGV as i32);
    Ok(())
}

fn a_signal_to_a_group_reaches_the_children_of_forks_under_way() -> Outcome {
    // A group of its own, in which everybody forks while it is killed: nobody survives.
    for _ in 0..10 {
        let leader = start(|| {
            call(__NR_setpgid, [0, 0])?;
            loop {
                if sys::fork()? == 0 {
                    sys::sleep_ms(60_000);
                }
                let _ = sys::wait4(-1, WNOHANG);
            }
        })?;
        check!(eventually(|| call(__NR_getpgid, [leader as usize]) == Ok(leader as usize)));
        sys::sleep_ms(10);
        kill(-leader, SIGKILL)?;
        check!(sys::wait4(leader, 0)? == (leader, SIGKILL as i32));
        check!(eventually(|| kill(-leader, 0) == Err(Errno(ESRCH))));
    }
    Ok(())
}

/// Runs `body` in a child that is stopped 100 ms later, for so many milliseconds, and goes on; gives its status.
fn stopped_on_the_way(stop_ms: u64, body: impl FnOnce() -> Outcome) -> Result<i32, Errno> {
    let child = crate::support::start(body)?;
    sys::sleep_ms(100);
    kill(child, SIGSTOP)?;
    sys::wait4(child, WUNTRACED)?;
    sys::sleep_ms(stop_ms);
    kill(child, SIGCONT)?;
    Ok(sys::wait4(child, 0)?.1)
}

/// (The other architecture has ppoll(2) alone, which begins anew with what was left when the stop came.)
#[cfg(target_arch = "x86_64")]
fn a_poll_that_was_stopped_ends_when_it_would_have() -> Outcome {
    let status = stopped_on_the_way(2500, || {
        let pipe = sys::pipe(0)?;
        let mut one = pollfd { fd: pipe[0], events: POLLIN as i16, revents: 0 };
        let before = sys::clock_ns(CLOCK_MONOTONIC);
        check!(call(__NR_poll, [&raw mut one as usize, 1, 2000]) == Ok(0));
        let took = sys::clock_ns(CLOCK_MONOTONIC) - before;
        // It is over when the stop is. Had it begun anew, it would have taken 4.6 s on a machine with nothing else to do.
        check!((2_000_000_000..4_500_000_000).contains(&took));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn an_epoll_wait_is_ended_by_a_stop() -> Outcome {
    for limit in [usize::MAX, 5000] {
        let status = stopped_on_the_way(300, || {
            let epoll = call(__NR_epoll_create1, [0])?;
            let mut event = [0u32; 4];
            let found = call(__NR_epoll_pwait, [epoll, event.as_mut_ptr() as usize, 1, limit, 0, 8]);
            check!(found == Err(Errno::INTR));
            Ok(())
        })?;
        check!(status == 0);
    }
    Ok(())
}
