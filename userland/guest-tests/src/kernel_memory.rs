//! Programs that make the kernel use memory on their behalf until there is no more: they are refused or killed, the system
//! goes on, and the memory comes back.

use rt::raw::general::*;
use rt::signal;
use rt::sys::{self, Errno};

use crate::exhaustion::{alone, comes_back, raw, set_limit};
use crate::support::in_child;
use crate::{Outcome, check, tests};

tests! {
    full_pipes_that_take_all_memory_leave_others_running,
    polls_of_many_descriptors_that_take_all_memory_leave_others_running,
}

/// More processes than it takes.
const MOST: usize = 400;

/// So much is left for the kernel to use; what there is besides goes to a program first, which is quick.
const LEFT: u64 = 256 << 20;

/// Runs `fill` in one process after another until one of them says that it got no more, or is gone. Each stays until the end.
fn fill_memory(fill: fn(ready: i32) -> bool) -> Outcome {
    if !alone() {
        return Ok(());
    }
    let before = sys::memory().0;
    let ready = sys::pipe(0)?;
    let mut children = 1;
    if sys::fork()? == 0 {
        let len = before.saturating_sub(LEFT) as usize;
        if let Ok(memory) = sys::mmap_anonymous(len) {
            // SAFETY: the mapping is of that length, and nobody else's.
            unsafe { memory.write_bytes(1, len) };
        }
        stay(ready[1], b"f");
    }
    sys::read(ready[0], &mut [0])?;
    let mut refused = false;
    while !refused && children < MOST {
        match sys::fork() {
            Ok(0) => {
                // Where the kernel heeds it, these are the first to be killed.
                if let Ok(score) = sys::open(c"/proc/self/oom_score_adj", O_WRONLY, 0) {
                    let _ = sys::write(score, b"1000");
                    let _ = sys::close(score);
                }
                let _ = set_limit(RLIMIT_NOFILE, 200_000);
                stay(ready[1], if fill(ready[1]) { b"r" } else { b"f" });
            }
            Ok(_) => children += 1,
            Err(_) => break,
        }
        let mut wait = [pollfd { fd: ready[0], events: POLLIN as i16, revents: 0 }];
        let mut word = [0];
        match sys::poll(&mut wait, 3000) {
            Ok(1) => {
                sys::read(ready[0], &mut word)?;
                refused = word[0] == b'r';
            }
            // It is killed, or waits for memory.
            _ => refused = true,
        }
    }
    rt::println!("{children} processes until memory was used up");
    check!(children < MOST);
    signal::mask(SIG_BLOCK, signal::bit(SIGTERM))?;
    raw(__NR_kill, [0, SIGTERM as usize, 0, 0, 0, 0])?;
    for _ in 0..children {
        let (_, status) = sys::wait4(-1, 0)?;
        check!(status == SIGTERM as i32 || status == SIGKILL as i32);
    }
    check!(in_child(|| Ok(()))? == 0);
    // A kernel keeps some of a gigabyte's small objects for the next ones.
    check!(comes_back(before.saturating_sub(64 << 20)));
    Ok(())
}

/// Says something and waits for its end.
fn stay(ready: i32, word: &[u8]) -> ! {
    let _ = sys::write(ready, word);
    loop {
        sys::sleep_ms(1000);
    }
}

/// Whether an error says that memory was short.
fn is_shortage(error: Errno) -> bool {
    error == Errno(rt::raw::errno::ENOMEM) || error == Errno(rt::raw::errno::ENFILE)
}

/// Fills a thousand pipes.
fn fill_pipes(_: i32) -> bool {
    for _ in 0..1000 {
        let pipe = match sys::pipe(O_NONBLOCK) {
            Ok(pipe) => pipe,
            Err(error) => return is_shortage(error),
        };
        if let Err(error) = sys::write(pipe[1], &[1; 65536]) {
            return is_shortage(error);
        }
    }
    false
}

fn full_pipes_that_take_all_memory_leave_others_running() -> Outcome {
    fill_memory(fill_pipes)
}

/// Polls one descriptor a hundred thousand times at once.
fn poll_many(ready: i32) -> bool {
    const COUNT: usize = 100_000;
    let (Ok(memory), Ok(pipe)) = (sys::mmap_anonymous(COUNT * size_of::<pollfd>()), sys::pipe(0)) else { return true };
    // SAFETY: the mapping is large enough, aligned, and all zeroes are valid entries.
    let fds = unsafe { core::slice::from_raw_parts_mut(memory.cast::<pollfd>(), COUNT) };
    fds.fill(pollfd { fd: pipe[0], events: POLLPRI as i16, revents: 0 });
    // So long the parent takes this one to be settled.
    let _ = sys::write(ready, b"f");
    sys::poll(fds, -1).is_err_and(is_shortage)
}

fn polls_of_many_descriptors_that_take_all_memory_leave_others_running() -> Outcome {
    fill_memory(poll_many)
}
