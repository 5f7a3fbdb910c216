//! Pipes and futexes.

use core::sync::atomic::AtomicU32;

use rt::raw::errno::{EFAULT, EPIPE};
use rt::raw::general::*;
use rt::signal;
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::{Outcome, check, tests};

tests! {
    a_pipe_gives_the_end_when_no_writer_is_left,
    a_pipe_without_readers_is_sigpipe_and_epipe,
    a_full_nonblocking_pipe_is_eagain,
    reading_into_nowhere_is_efault_and_loses_nothing,
    futex_wait_on_another_value_is_eagain,
    futex_wake_without_waiters_wakes_none,
    a_futex_on_an_untouched_page_has_its_waiter_once,
}

fn a_pipe_gives_the_end_when_no_writer_is_left() -> Outcome {
    let pipe = sys::pipe(0)?;
    sys::write_all(pipe[1], b"abc")?;
    sys::close(pipe[1])?;
    let mut buffer = [0u8; 8];
    check!(sys::read(pipe[0], &mut buffer)? == 3);
    check!(&buffer[..3] == b"abc");
    check!(sys::read(pipe[0], &mut buffer)? == 0);
    Ok(())
}

fn a_pipe_without_readers_is_sigpipe_and_epipe() -> Outcome {
    let pipe = sys::pipe(0)?;
    sys::close(pipe[0])?;
    let child = match sys::fork()? {
        0 => {
            let _ = sys::write(pipe[1], b"x");
            sys::exit_group(0)
        }
        child => child,
    };
    check!(sys::wait4(child, 0)? == (child, SIGPIPE as i32));
    signal::mask(SIG_BLOCK, signal::bit(SIGPIPE))?;
    check!(sys::write(pipe[1], b"x") == Err(Errno(EPIPE)));
    Ok(())
}

fn a_full_nonblocking_pipe_is_eagain() -> Outcome {
    let pipe = sys::pipe(O_NONBLOCK)?;
    let mut total = 0;
    let last = loop {
        match sys::write(pipe[1], &[0u8; 4096]) {
            Ok(count) => total += count,
            Err(error) => break error,
        }
    };
    check!(last == Errno::AGAIN);
    check!(total == 65536);
    Ok(())
}

fn reading_into_nowhere_is_efault_and_loses_nothing() -> Outcome {
    let pipe = sys::pipe(0)?;
    sys::write_all(pipe[1], b"kept")?;
    // SAFETY: the kernel refuses the address; nothing is written.
    let result = sys::check(unsafe { rt::syscall3(__NR_read as usize, pipe[0] as usize, 8, 4) });
    check!(result == Err(Errno(EFAULT)));
    let mut buffer = [0u8; 8];
    check!(sys::read(pipe[0], &mut buffer)? == 4);
    check!(&buffer[..4] == b"kept");
    Ok(())
}

fn futex_wait_on_another_value_is_eagain() -> Outcome {
    check!(sys::futex_wait(&AtomicU32::new(1), 0, FUTEX_PRIVATE_FLAG) == Err(Errno::AGAIN));
    Ok(())
}

fn futex_wake_without_waiters_wakes_none() -> Outcome {
    check!(sys::futex_wake(&AtomicU32::new(1), 1, FUTEX_PRIVATE_FLAG) == Ok(0));
    Ok(())
}

/// Waits without having looked, so that the kernel is the first to touch the word.
extern "C" fn wait_untouched(word: usize) -> i32 {
    // SAFETY: the word is in a mapping that lives as long as the test.
    let word = unsafe { AtomicU32::from_ptr(word as *mut u32) };
    i32::from(sys::futex_wait(word, 0, FUTEX_PRIVATE_FLAG).is_err())
}

/// The kernel's look at the word meets an absent page first: the wait that goes on after the fault is the only one.
fn a_futex_on_an_untouched_page_has_its_waiter_once() -> Outcome {
    let page = sys::mmap_anonymous(4096)?;
    let waiter = Join::new();
    // SAFETY: the stack is this thread's alone, and it is joined below.
    unsafe { waiter.spawn(map_stack(65536)?, wait_untouched, page as usize)? };
    // SAFETY: the mapping is there to the end.
    let word = unsafe { AtomicU32::from_ptr(page.cast()) };
    let mut woken = 0;
    for _ in 0..500 {
        sys::sleep_ms(10);
        woken = sys::futex_wake(word, 10, FUTEX_PRIVATE_FLAG)?;
        if woken > 0 {
            break;
        }
    }
    check!(woken == 1);
    waiter.wait();
    check!(sys::futex_wake(word, 10, FUTEX_PRIVATE_FLAG)? == 0);
    Ok(())
}
