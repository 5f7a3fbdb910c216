//! POSIX timers (timer_create(2)) and timerfd(2).

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use rt::raw::errno::{EFAULT, EINVAL, EOPNOTSUPP, EPERM};
use rt::raw::general::*;
use rt::signal;
use rt::sys::{self, Errno, check};
use rt::{println, syscall1, syscall2, syscall3, syscall4};

use crate::support::{become_user, call};
use crate::{Outcome, check, tests};

tests! {
    a_timerfd_counts_how_often_it_went_off,
    a_timerfd_of_an_absolute_time_that_has_passed_is_ready_at_once,
    a_timerfd_shows_in_epoll_and_stops_when_it_is_read,
    timerfd_gettime_tells_what_is_left,
    a_timer_sends_its_signal_with_its_value,
    a_timer_whose_signal_waits_counts_overruns,
    a_timer_of_a_nanosecond_holds_up_nobody_else,
    a_timer_of_cpu_time_goes_off_when_it_is_used,
    timers_are_not_inherited,
    a_deleted_timer_is_gone,
    a_timer_can_signal_one_thread,
    timers_of_no_clock_are_refused,
    adjtimex_tells_how_the_clock_is_kept,
}

const MS: u64 = 1_000_000;

/// The interval and the value as `struct itimerspec` has them.
fn spec(value: u64, every: u64) -> [u64; 4] {
    [every / 1_000_000_000, every % 1_000_000_000, value / 1_000_000_000, value % 1_000_000_000]
}

fn nanos(spec: [u64; 4]) -> (u64, u64) {
    (spec[2] * 1_000_000_000 + spec[3], spec[0] * 1_000_000_000 + spec[1])
}

fn timerfd(clock: u32, flags: u32) -> Result<i32, Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { syscall2(__NR_timerfd_create as usize, clock as usize, flags as usize) }).map(|fd| fd as i32)
}

fn set_fd(fd: i32, flags: u32, value: u64, every: u64) -> Result<(u64, u64), Errno> {
    let (new, mut old) = (spec(value, every), [0u64; 4]);
    let (new, old_at) = (new.as_ptr() as usize, old.as_mut_ptr() as usize);
    // SAFETY: both are of four words.
    check(unsafe { syscall4(__NR_timerfd_settime as usize, fd as usize, flags as usize, new, old_at) })?;
    Ok(nanos(old))
}

fn read_count(fd: i32) -> Result<u64, Errno> {
    let mut count = [0u8; 8];
    sys::read(fd, &mut count)?;
    Ok(u64::from_ne_bytes(count))
}

fn a_timerfd_counts_how_often_it_went_off() -> Outcome {
    let fd = timerfd(CLOCK_MONOTONIC, 0)?;
    let begin = sys::clock_ns(CLOCK_MONOTONIC);
    set_fd(fd, 0, 20 * MS, 20 * MS)?;
    let first = read_count(fd)?;
    check!(sys::clock_ns(CLOCK_MONOTONIC) - begin >= 20 * MS);
    sys::sleep_ms(110);
    let second = read_count(fd)?;
    let passed = (sys::clock_ns(CLOCK_MONOTONIC) - begin) / (20 * MS);
    println!("{first} and {second} in {passed} periods");
    check!(first >= 1 && second >= 5);
    check!(first + second <= passed);
    Ok(())
}

fn a_timerfd_of_an_absolute_time_that_has_passed_is_ready_at_once() -> Outcome {
    const TFD_TIMER_ABSTIME: u32 = 1;
    for clock in [CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME] {
        let fd = timerfd(clock, O_NONBLOCK)?;
        check!(read_count(fd) == Err(Errno::AGAIN));
        set_fd(fd, TFD_TIMER_ABSTIME, 1, 0)?;
        sys::sleep_ms(5);
        check!(read_count(fd)? == 1);
        check!(read_count(fd) == Err(Errno::AGAIN));
        set_fd(fd, TFD_TIMER_ABSTIME, sys::clock_ns(clock) + 20 * MS, 0)?;
        check!(read_count(fd) == Err(Errno::AGAIN));
        check!(sys::poll(&mut [pollfd { fd, events: POLLIN as i16, revents: 0 }], 1000)? == 1);
        check!(read_count(fd)? == 1);
    }
    Ok(())
}

fn a_timerfd_shows_in_epoll_and_stops_when_it_is_read() -> Outcome {
    let fd = timerfd(CLOCK_MONOTONIC, 0)?;
    // SAFETY: no memory is passed.
    let epoll = check(unsafe { syscall1(__NR_epoll_create1 as usize, 0) })?;
    let mut event = epoll_event { events: EPOLLIN, data: 7 };
    let at = &raw mut event as usize;
    // SAFETY: the event is alive.
    check(unsafe { syscall4(__NR_epoll_ctl as usize, epoll, EPOLL_CTL_ADD as usize, fd as usize, at) })?;
    let wait = |ms: usize| {
        let mut out = epoll_event { events: 0, data: 0 };
        let at = &raw mut out as usize;
        // SAFETY: there is room for one event, and no mask is given.
        check(unsafe { rt::syscall6(__NR_epoll_pwait as usize, epoll, at, 1, ms, 0, 8) })
    };
    check!(wait(0)? == 0);
    set_fd(fd, 0, 20 * MS, 0)?;
    check!(wait(1000)? == 1);
    check!(wait(0)? == 1);
    check!(read_count(fd)? == 1);
    check!(wait(30)? == 0);
    Ok(())
}

fn timerfd_gettime_tells_what_is_left() -> Outcome {
    let fd = timerfd(CLOCK_REALTIME, O_CLOEXEC)?;
    check!(set_fd(fd, 0, 10_000 * MS, 3 * MS)? == (0, 0));
    let mut now = [0u64; 4];
    // SAFETY: four words.
    check(unsafe { syscall2(__NR_timerfd_gettime as usize, fd as usize, now.as_mut_ptr() as usize) })?;
    let (left, every) = nanos(now);
    println!("{left} ns left, every {every}");
    check!(left > 9_000 * MS && left <= 10_000 * MS && every == 3 * MS);
    check!(set_fd(fd, 0, 0, 0)?.1 == 3 * MS);
    check!(set_fd(fd, 0, 0, 0)? == (0, 0));
    Ok(())
}

static COUNT: AtomicU32 = AtomicU32::new(0);
static VALUE: AtomicI32 = AtomicI32::new(0);
static THREAD: AtomicI32 = AtomicI32::new(0);

fn gettid() -> i32 {
    // SAFETY: touches no memory.
    unsafe { rt::syscall0(__NR_gettid as usize) as i32 }
}

extern "C" fn note(_: i32, info: *mut siginfo_t, _: *mut core::ffi::c_void) {
    // SAFETY: the handler was installed with SA_SIGINFO; a timer's value lies 24 bytes into the structure, its code 8.
    let (code, value) = unsafe { (info.cast::<i32>().add(2).read(), info.cast::<i32>().add(6).read()) };
    if code == -2 {
        VALUE.store(value, Ordering::Relaxed);
    }
    THREAD.store(gettid(), Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// `struct sigevent`: the value, the signal, the kind of notice and the thread.
fn timer(clock: u32, value: i32, signal: u32, notify: u32, thread: i32) -> Result<usize, Errno> {
    let mut event = [0u32; 16];
    (event[0], event[2], event[3], event[4]) = (value as u32, signal, notify, thread as u32);
    let mut id = 0u32;
    let (event, at) = (event.as_ptr() as usize, &raw mut id as usize);
    // SAFETY: both are alive and of the kernel's sizes.
    check(unsafe { syscall3(__NR_timer_create as usize, clock as usize, event, at) })?;
    Ok(id as usize)
}

fn set(id: usize, value: u64, every: u64) -> Result<(), Errno> {
    let new = spec(value, every);
    // SAFETY: the specification is four words; the old one is not asked for.
    check(unsafe { syscall4(__NR_timer_settime as usize, id, 0, new.as_ptr() as usize, 0) }).map(|_| ())
}

fn overrun(id: usize) -> Result<usize, Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { syscall1(__NR_timer_getoverrun as usize, id) })
}

fn a_timer_sends_its_signal_with_its_value() -> Outcome {
    signal::handle(SIGUSR1, note, SA_SIGINFO)?;
    let id = timer(CLOCK_MONOTONIC, 4711, SIGUSR1, SIGEV_SIGNAL, 0)?;
    set(id, 20 * MS, 0)?;
    sys::sleep_ms(60);
    println!("{} times, with {}", COUNT.load(Ordering::Relaxed), VALUE.load(Ordering::Relaxed));
    check!(COUNT.load(Ordering::Relaxed) == 1 && VALUE.load(Ordering::Relaxed) == 4711);
    set(id, 10 * MS, 10 * MS)?;
    sys::sleep_ms(105);
    set(id, 0, 0)?;
    let count = COUNT.load(Ordering::Relaxed);
    println!("{count} times");
    check!((4..=12).contains(&count));
    sys::sleep_ms(30);
    check!(COUNT.load(Ordering::Relaxed) == count);
    Ok(())
}

fn a_timer_whose_signal_waits_counts_overruns() -> Outcome {
    signal::handle(SIGUSR1, note, SA_SIGINFO)?;
    signal::mask(SIG_BLOCK, signal::bit(SIGUSR1))?;
    let id = timer(CLOCK_MONOTONIC, 1, SIGUSR1, SIGEV_SIGNAL, 0)?;
    // The next one is far away when the count is read, on a busy machine too.
    set(id, 200 * MS, 200 * MS)?;
    sys::sleep_ms(1050);
    signal::mask(SIG_UNBLOCK, signal::bit(SIGUSR1))?;
    let (count, missed) = (COUNT.load(Ordering::Relaxed), overrun(id)?);
    set(id, 0, 0)?;
    println!("{count} signal, {missed} overruns");
    check!(count == 1);
    check!(missed >= 4);
    Ok(())
}

fn a_timer_of_a_nanosecond_holds_up_nobody_else() -> Outcome {
    let child = match sys::fork()? {
        0 => {
            let _ = signal::handle(SIGUSR1, note, SA_SIGINFO);
            if let Ok(id) = timer(CLOCK_MONOTONIC, 1, SIGUSR1, SIGEV_SIGNAL, 0) {
                let _ = set(id, 1, 1);
            }
            // It comes no further than into its handler.
            loop {
                core::hint::spin_loop();
            }
        }
        child => child,
    };
    let begin = sys::clock_ns(CLOCK_MONOTONIC);
    for _ in 0..10 {
        sys::sleep_ms(5);
    }
    let took = (sys::clock_ns(CLOCK_MONOTONIC) - begin) / MS;
    signal::kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    println!("ten naps of 5 ms took {took} ms");
    check!(took < 2000);
    Ok(())
}

fn a_timer_of_cpu_time_goes_off_when_it_is_used() -> Outcome {
    for clock in [CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID] {
        COUNT.store(0, Ordering::Relaxed);
        signal::handle(SIGUSR1, note, SA_SIGINFO)?;
        let id = timer(clock, 1, SIGUSR1, SIGEV_SIGNAL, 0)?;
        set(id, 50 * MS, 0)?;
        sys::sleep_ms(100);
        check!(COUNT.load(Ordering::Relaxed) == 0);
        let end = sys::clock_ns(clock) + 150 * MS;
        while sys::clock_ns(clock) < end {
            for turn in 0..100_000u32 {
                core::hint::black_box(turn);
            }
        }
        check!(COUNT.load(Ordering::Relaxed) == 1);
    }
    Ok(())
}

fn timers_are_not_inherited() -> Outcome {
    let id = timer(CLOCK_MONOTONIC, 0, SIGUSR1, SIGEV_NONE, 0)?;
    check!(overrun(id)? == 0);
    let child = match sys::fork()? {
        0 => sys::exit_group(i32::from(overrun(id) == Err(Errno(EINVAL)))),
        child => child,
    };
    check!(sys::wait4(child, 0)? == (child, 1 << 8));
    Ok(())
}

fn a_deleted_timer_is_gone() -> Outcome {
    let id = timer(CLOCK_REALTIME, 0, SIGUSR1, SIGEV_SIGNAL, 0)?;
    set(id, 20 * MS, 20 * MS)?;
    // SAFETY: no memory is passed.
    check(unsafe { syscall1(__NR_timer_delete as usize, id) })?;
    check!(set(id, 1, 1) == Err(Errno(EINVAL)));
    // SIGUSR1 would end this process.
    sys::sleep_ms(60);
    Ok(())
}

fn a_timer_can_signal_one_thread() -> Outcome {
    signal::handle(SIGUSR1, note, SA_SIGINFO)?;
    let id = timer(CLOCK_MONOTONIC, 3, SIGUSR1, SIGEV_THREAD_ID, gettid())?;
    set(id, 5 * MS, 0)?;
    sys::sleep_ms(30);
    check!(THREAD.load(Ordering::Relaxed) == gettid());
    check!(timer(CLOCK_MONOTONIC, 3, SIGUSR1, SIGEV_THREAD_ID, 1) == Err(Errno(EINVAL)));
    Ok(())
}

fn timers_of_no_clock_are_refused() -> Outcome {
    check!(timer(77, 0, SIGUSR1, SIGEV_SIGNAL, 0) == Err(Errno(EINVAL)));
    check!(timer(CLOCK_MONOTONIC, 0, 65, SIGEV_SIGNAL, 0) == Err(Errno(EINVAL)));
    check!(timer(CLOCK_MONOTONIC, 0, SIGUSR1, 99, 0) == Err(Errno(EINVAL)));
    check!(timer(CLOCK_MONOTONIC_RAW, 0, SIGUSR1, SIGEV_SIGNAL, 0) == Err(Errno(EOPNOTSUPP)));
    check!(timerfd(CLOCK_PROCESS_CPUTIME_ID, 0) == Err(Errno(EINVAL)));
    check!(timerfd(CLOCK_MONOTONIC, 1) == Err(Errno(EINVAL)));
    let fd = timerfd(CLOCK_MONOTONIC, 0)?;
    check!(set_fd(fd, 0, u64::MAX, 1_000_000_000).is_err() || set_fd(fd, 0, 0, 0).is_ok());
    check!(set_fd(0, 0, 1, 1).is_err());
    Ok(())
}

/// adjtimex(2), clock_adjtime(2).
fn adjtimex_tells_how_the_clock_is_kept() -> Outcome {
    // `modes` and `tick` of a `struct timex` are its words 0 and 11.
    let mut timex = [0u64; 26];
    let at = timex.as_mut_ptr() as usize;
    check!(call(__NR_adjtimex, [at])? <= 5);
    let told = timex;
    check!((9_000..=11_000).contains(&told[11]) && told[10] < 1_000_000_000);
    check!(told[9].abs_diff(sys::clock_ns(CLOCK_REALTIME) / 1_000_000_000) <= 1);
    check!(call(__NR_clock_adjtime, [CLOCK_REALTIME as usize, at])? <= 5);
    check!(call(__NR_clock_adjtime, [CLOCK_MONOTONIC as usize, at]) == Err(Errno(EOPNOTSUPP)));
    check!(call(__NR_clock_adjtime, [1000, at]) == Err(Errno(EINVAL)));
    check!(call(__NR_adjtimex, [8]) == Err(Errno(EFAULT)));
    become_user(1000)?;
    // ADJ_FREQUENCY.
    let mut faster = [0u64; 26];
    faster[0] = 2;
    check!(call(__NR_adjtimex, [faster.as_mut_ptr() as usize]) == Err(Errno(EPERM)));
    let mut asked = [0u64; 26];
    check!(call(__NR_adjtimex, [asked.as_mut_ptr() as usize])? <= 5);
    Ok(())
}
