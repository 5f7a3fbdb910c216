//! poll(2) and select(2).

use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

use rt::raw::errno::{EBADF, EINTR};
use rt::raw::general::*;
use rt::signal::handle;
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::exhaustion::set_limit;
use crate::support::sender;
use crate::{Outcome, check, tests};

tests! {
    poll_sees_a_pipe_become_readable,
    select_sleeps_where_a_file_is_ready_for_something_else,
    poll_sleeps_where_the_number_names_another_file,
    a_poll_of_thousands_sees_the_one_that_becomes_ready,
    a_poll_of_thousands_ends_at_once_in_time_and_by_a_signal,
    a_select_of_a_thousand_waits_and_ends_like_a_small_one,
}

/// select(2) for reading and for exceptional conditions.
fn select(count: i32, read: Option<&mut Set>, except: Option<&mut Set>, ms: usize) -> Result<usize, Errno> {
    let limit = [ms / 1000, ms % 1000 * 1_000_000];
    let [read, except] = [read, except].map(|set| set.map_or(null_mut(), |set| set.as_mut_ptr()) as usize);
    // SAFETY: the sets hold 1,024 bits, and the limit is a `timespec`.
    sys::check(unsafe {
        rt::syscall6(__NR_pselect6 as usize, count as usize, read, 0, except, limit.as_ptr() as usize, 0)
    })
}

/// What select(2) takes.
type Set = [u64; 16];

fn poll_sees_a_pipe_become_readable() -> Outcome {
    let pipe = sys::pipe(0)?;
    let mut wait = [pollfd { fd: pipe[0], events: POLLIN as i16, revents: 0 }];
    check!(sys::poll(&mut wait, 0)? == 0);
    let child = match sys::fork()? {
        0 => {
            sys::sleep_ms(30);
            let _ = sys::write(pipe[1], b"x");
            sys::exit_group(0)
        }
        child => child,
    };
    check!(sys::poll(&mut wait, 5000)? == 1);
    check!(wait[0].revents == POLLIN as i16);
    sys::wait4(child, 0)?;
    Ok(())
}

/// A pipe without a writer is at its end, which is readable but no exceptional condition.
fn select_sleeps_where_a_file_is_ready_for_something_else() -> Outcome {
    let pipe = sys::pipe(0)?;
    sys::close(pipe[1])?;
    let mut set = [0u64; 16];
    set[0] = 1 << pipe[0];
    let from = sys::clock_ns(CLOCK_MONOTONIC);
    let found = select(pipe[0] + 1, None, Some(&mut set), 50)?;
    check!(found == 0 && set[0] == 0);
    check!(sys::clock_ns(CLOCK_MONOTONIC) - from >= 50_000_000);
    sys::close(pipe[0])?;
    Ok(())
}

/// Has the first of the numbers name the third's file, and lets the file that had it become readable.
extern "C" fn take_the_number(numbers: usize) -> i32 {
    // SAFETY: the array lives until this thread was joined, and nobody writes to it.
    let [watched, writer, other] = unsafe { *(numbers as *const [i32; 3]) };
    sys::sleep_ms(30);
    let taken = sys::dup3(other, watched, 0).and_then(|_| sys::write(writer, b"x"));
    i32::from(taken.is_err())
}

/// The wait is for the file that the number named at first; what counts is the file that it names at the end.
fn poll_sleeps_where_the_number_names_another_file() -> Outcome {
    let (pipe, other) = (sys::pipe(0)?, sys::pipe(0)?);
    // Keeps the pipe's reading end open.
    sys::dup3(pipe[0], 100, 0)?;
    let numbers = [pipe[0], pipe[1], other[0]];
    let taker = Join::new();
    // SAFETY: the stack is this thread's alone, and it is joined below.
    unsafe { taker.spawn(map_stack(65536)?, take_the_number, numbers.as_ptr() as usize)? };
    let mut wait = [pollfd { fd: pipe[0], events: POLLIN as i16, revents: 0 }];
    let found = sys::poll(&mut wait, 200);
    taker.wait();
    check!(found? == 0);
    Ok(())
}

/// Entries of a large poll.
const MANY: usize = 3000;

/// Writes to the pipe after a while.
fn write_later(pipe: [i32; 2]) -> Result<i32, Errno> {
    match sys::fork()? {
        0 => {
            sys::sleep_ms(30);
            sys::exit_group(i32::from(sys::write(pipe[1], b"x").is_err()))
        }
        child => Ok(child),
    }
}

fn a_poll_of_thousands_sees_the_one_that_becomes_ready() -> Outcome {
    set_limit(RLIMIT_NOFILE, MANY as u64)?;
    let (silent, pipe) = (sys::pipe(0)?, sys::pipe(0)?);
    let mut wait = [pollfd { fd: silent[0], events: POLLIN as i16, revents: -1 }; MANY];
    wait[MANY - 7].fd = pipe[0];
    let child = write_later(pipe)?;
    check!(sys::poll(&mut wait, 5000)? == 1);
    check!(wait.iter().position(|entry| entry.revents != 0) == Some(MANY - 7));
    check!(wait[MANY - 7].revents == POLLIN as i16);
    check!(sys::wait4(child, 0)? == (child, 0));
    // Now it is ready from the first, and a number that names nothing is told as well.
    wait[1].fd = 2000;
    wait[2].fd = -1;
    check!(sys::poll(&mut wait, 5000)? == 2);
    check!(wait[1].revents == POLLNVAL as i16 && wait[2].revents == 0);
    Ok(())
}

extern "C" fn count(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

static COUNT: AtomicU32 = AtomicU32::new(0);

fn a_poll_of_thousands_ends_at_once_in_time_and_by_a_signal() -> Outcome {
    set_limit(RLIMIT_NOFILE, MANY as u64)?;
    let pipe = sys::pipe(0)?;
    let mut wait = [pollfd { fd: pipe[0], events: POLLIN as i16, revents: -1 }; MANY];
    check!(sys::poll(&mut wait, 0)? == 0);
    check!(wait.iter().all(|entry| entry.revents == 0));
    let from = sys::clock_ns(CLOCK_MONOTONIC);
    check!(sys::poll(&mut wait, 50)? == 0);
    check!(sys::clock_ns(CLOCK_MONOTONIC) - from >= 50_000_000);
    handle(SIGUSR1, count, SA_RESTART)?;
    let child = sender(SIGUSR1, 5)?;
    check!(sys::poll(&mut wait, 5000) == Err(Errno(EINTR)));
    check!(COUNT.load(Ordering::SeqCst) > 0);
    while sys::wait4(child, 0) == Err(Errno(EINTR)) {}
    Ok(())
}

fn a_select_of_a_thousand_waits_and_ends_like_a_small_one() -> Outcome {
    let pipe = sys::pipe(0)?;
    for fd in 500..1000 {
        sys::dup3(pipe[0], fd, 0)?;
    }
    let asked: Set = core::array::from_fn(|word| if (500 / 64 + 1..1000 / 64).contains(&word) { !0 } else { 0 });
    let all = asked.iter().map(|word| word.count_ones() as usize).sum();
    let mut set = asked;
    check!(select(1000, Some(&mut set), None, 0)? == 0 && set == [0; 16]);
    set = asked;
    let child = write_later(pipe)?;
    check!(select(1000, Some(&mut set), None, 5000)? == all && set == asked);
    check!(sys::wait4(child, 0)? == (child, 0));
    // What is not open is an error, and what was asked stays.
    sys::close(800)?;
    check!(select(1000, Some(&mut set), None, 5000) == Err(Errno(EBADF)) && set == asked);
    Ok(())
}
