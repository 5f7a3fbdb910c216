//! CPU time: what is counted, and what is done when it is used up.

use core::sync::atomic::{AtomicU32, Ordering};

use rt::raw::general::*;
use rt::signal;
use rt::sys::{self, Errno, check};
use rt::thread::{Join, map_stack};
use rt::{println, syscall2, syscall3, syscall4};

use crate::{Outcome, check, tests};

tests! {
    a_busy_program_uses_user_time,
    a_program_busy_with_calls_uses_system_time,
    sleeping_uses_no_cpu_time,
    a_process_has_the_time_of_its_threads_and_keeps_it,
    the_time_of_a_reaped_child_is_its_parents,
    cpu_clocks_go_on_in_another_thread_and_never_back,
    itimer_virtual_counts_user_time,
    itimer_prof_sends_sigprof_again_and_again,
    rlimit_cpu_sends_sigxcpu_and_then_sigkill,
    proc_stat_tells_of_busy_cpus,
    waiting_is_a_voluntary_switch,
}

const MS: u64 = 1_000_000;

/// Nanoseconds of user and of system time (RUSAGE_SELF 0, RUSAGE_CHILDREN -1).
fn usage(who: i32) -> Result<(u64, u64), Errno> {
    let words = rusage(who)?;
    Ok(((words[0] * 1_000_000 + words[1]) as u64 * 1000, (words[2] * 1_000_000 + words[3]) as u64 * 1000))
}

fn rusage(who: i32) -> Result<[i64; 18], Errno> {
    let mut words = [0i64; 18];
    // SAFETY: the structure is 18 words long.
    check(unsafe { syscall2(__NR_getrusage as usize, who as usize, words.as_mut_ptr() as usize) })?;
    Ok(words)
}

/// Runs in user mode until the process has used `ms` milliseconds more.
fn burn(ms: u64) {
    let end = sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID) + ms * MS;
    while sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID) < end {
        for turn in 0..200_000u32 {
            core::hint::black_box(turn);
        }
    }
}

fn a_busy_program_uses_user_time() -> Outcome {
    let before = usage(0)?;
    burn(300);
    let after = usage(0)?;
    let (user, system) = (after.0 - before.0, after.1 - before.1);
    println!("user {} us, system {} us", user / 1000, system / 1000);
    check!(user + system >= 290 * MS);
    check!(user > 4 * system);
    Ok(())
}

fn a_program_busy_with_calls_uses_system_time() -> Outcome {
    let before = usage(0)?;
    let zero = sys::open(c"/dev/zero", O_RDONLY, 0)?;
    let memory = sys::mmap_anonymous(1 << 20)?;
    // SAFETY: a mapping of that size, used by nobody else.
    let buffer = unsafe { core::slice::from_raw_parts_mut(memory, 1 << 20) };
    let end = sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID) + 300 * MS;
    while sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID) < end {
        sys::read(zero, buffer)?;
    }
    let after = usage(0)?;
    let (user, system) = (after.0 - before.0, after.1 - before.1);
    println!("user {} us, system {} us", user / 1000, system / 1000);
    check!(user + system >= 290 * MS);
    check!(system > 2 * user);
    Ok(())
}

fn sleeping_uses_no_cpu_time() -> Outcome {
    let before = sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    sys::sleep_ms(300);
    let used = sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
    println!("{} us", used / 1000);
    check!(used < 100 * MS);
    Ok(())
}

extern "C" fn burn_in_thread(_: usize) -> i32 {
    let end = sys::clock_ns(CLOCK_THREAD_CPUTIME_ID) + 100 * MS;
    while sys::clock_ns(CLOCK_THREAD_CPUTIME_ID) < end {}
    0
}

fn a_process_has_the_time_of_its_threads_and_keeps_it() -> Outcome {
    let before = sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    let own = sys::clock_ns(CLOCK_THREAD_CPUTIME_ID);
    let join = Join::new();
    // SAFETY: the stack is new, and the thread is waited for.
    unsafe { join.spawn(map_stack(16 * 1024)?, burn_in_thread, 0)? };
    join.wait();
    let process = sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
    let thread = sys::clock_ns(CLOCK_THREAD_CPUTIME_ID) - own;
    println!("process {} us, this thread {} us", process / 1000, thread / 1000);
    check!(process >= 100 * MS);
    check!(thread < 80 * MS);
    Ok(())
}

fn the_time_of_a_reaped_child_is_its_parents() -> Outcome {
    let child = match sys::fork()? {
        0 => {
            burn(200);
            sys::exit_group(0)
        }
        child => child,
    };
    check!(usage(-1)? == (0, 0));
    let mut status = 0i32;
    let mut words = [0i64; 18];
    let (status_at, words_at) = (&raw mut status as usize, words.as_mut_ptr() as usize);
    // SAFETY: there is room for the status and the usage.
    check(unsafe { syscall4(__NR_wait4 as usize, child as usize, status_at, 0, words_at) })?;
    let told = (words[0] + words[2]) * 1000 + (words[1] + words[3]) / 1000;
    let (user, system) = usage(-1)?;
    println!("wait4 tells of {told} ms, RUSAGE_CHILDREN of {} ms", (user + system) / MS);
    check!(told >= 195);
    check!((user + system) / MS >= 195);
    let mut ticks = [0u64; 4];
    // SAFETY: four words.
    check(unsafe { rt::syscall1(__NR_times as usize, ticks.as_mut_ptr() as usize) })?;
    println!("times: {ticks:?}");
    check!(ticks[2] + ticks[3] >= 18);
    Ok(())
}

static STOP: AtomicU32 = AtomicU32::new(0);

extern "C" fn spin(_: usize) -> i32 {
    while STOP.load(Ordering::Relaxed) == 0 {
        core::hint::spin_loop();
    }
    0
}

fn cpu_clocks_go_on_in_another_thread_and_never_back() -> Outcome {
    let join = Join::new();
    // SAFETY: the stack is new, and the thread is waited for.
    let thread = unsafe { join.spawn(map_stack(16 * 1024)?, spin, 0)? };
    // The clock of one thread (clock_getcpuclockid): the complement of its id, three bits up, 4 + 2 below.
    let clock = ((!(thread as u32)) << 3) | 6;
    let mut last = sys::clock_ns(clock);
    let first = last;
    let end = sys::clock_ns(CLOCK_MONOTONIC) + 300 * MS;
    let mut back = 0;
    // However long it takes until the other thread is let run.
    while sys::clock_ns(CLOCK_MONOTONIC) < end || last - first <= 20 * MS {
        let now = sys::clock_ns(clock);
        back += u32::from(now < last);
        last = now;
    }
    STOP.store(1, Ordering::Relaxed);
    join.wait();
    println!("the other thread used {} us meanwhile, and went back {back} times", (last - first) / 1000);
    check!(back == 0);
    Ok(())
}

static COUNT: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Sets an interval timer: microseconds to the first time and between the others. Gives what it was.
fn set_timer(which: u32, first: i64, interval: i64) -> Result<[i64; 4], Errno> {
    let (new, mut old) = ([0, interval, 0, first], [0i64; 4]);
    let (new, old_at) = (new.as_ptr() as usize, old.as_mut_ptr() as usize);
    // SAFETY: both are of four words.
    check(unsafe { syscall3(__NR_setitimer as usize, which as usize, new, old_at) })?;
    Ok(old)
}

fn itimer_virtual_counts_user_time() -> Outcome {
    signal::handle(SIGVTALRM, count, 0)?;
    set_timer(ITIMER_VIRTUAL, 100_000, 0)?;
    sys::sleep_ms(200);
    check!(COUNT.load(Ordering::Relaxed) == 0);
    let left = set_timer(ITIMER_VIRTUAL, 100_000, 0)?;
    println!("after sleeping, {} us are left", left[3]);
    check!(left[2] == 0 && left[3] > 50_000);
    burn(300);
    check!(COUNT.load(Ordering::Relaxed) == 1);
    check!(set_timer(ITIMER_VIRTUAL, 0, 0)? == [0; 4]);
    Ok(())
}

fn itimer_prof_sends_sigprof_again_and_again() -> Outcome {
    signal::handle(SIGPROF, count, SA_RESTART)?;
    let before = sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    set_timer(ITIMER_PROF, 20_000, 20_000)?;
    // One signal stands for all the times that a machine let pass which others kept busy.
    while COUNT.load(Ordering::Relaxed) < 10 {
        burn(20);
    }
    set_timer(ITIMER_PROF, 0, 0)?;
    let ms = (sys::clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before) / MS;
    let count = COUNT.load(Ordering::Relaxed);
    println!("{count} times in {ms} ms");
    check!(u64::from(count) <= ms / 20 + 1);
    Ok(())
}

fn rlimit_cpu_sends_sigxcpu_and_then_sigkill() -> Outcome {
    let child = match sys::fork()? {
        0 => {
            let limit = [1u64, 2];
            let _ = signal::handle(SIGXCPU, count, 0);
            // SAFETY: a pair of 64-bit numbers.
            unsafe { syscall4(__NR_prlimit64 as usize, 0, RLIMIT_CPU as usize, limit.as_ptr() as usize, 0) };
            burn(1500);
            if COUNT.load(Ordering::Relaxed) != 1 {
                sys::exit_group(1)
            }
            burn(10_000);
            sys::exit_group(2)
        }
        child => child,
    };
    let (_, status) = sys::wait4(child, 0)?;
    println!("ended with raw status {status:#x}");
    check!(status == SIGKILL as i32);
    Ok(())
}

/// The first line of /proc/stat: user, nice, system, idle in hundredths of a second.
fn cpu_line() -> Result<[u64; 4], Errno> {
    let file = sys::open(c"/proc/stat", O_RDONLY, 0)?;
    let mut text = [0u8; 256];
    let len = sys::read(file, &mut text)?;
    sys::close(file)?;
    let line = text[..len].split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    let mut numbers = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).skip(1);
    let mut number =
        || numbers.next().map_or(0, |word| word.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
    Ok([number(), number(), number(), number()])
}

fn proc_stat_tells_of_busy_cpus() -> Outcome {
    let before = cpu_line()?;
    burn(300);
    sys::sleep_ms(300);
    let after = cpu_line()?;
    println!("{before:?} {after:?}");
    check!(after[0] + after[1] >= before[0] + before[1] + 15);
    check!(after[3] >= before[3]);
    Ok(())
}

fn waiting_is_a_voluntary_switch() -> Outcome {
    let before = rusage(0)?;
    for _ in 0..5 {
        sys::sleep_ms(5);
    }
    let after = rusage(0)?;
    println!("voluntary {} to {}", before[16], after[16]);
    check!((5..20).contains(&(after[16] - before[16])));
    Ok(())
}
