//! Processes and threads made and ended by the million: memory in use must be afterwards what it was before.

use core::sync::atomic::{AtomicU32, Ordering};

use rt::println;
use rt::raw::errno;
use rt::raw::general::*;
use rt::sys::{self, Errno, Result};
use rt::thread::{Join, map_stack};

/// Makes and ends `count` of each, on all CPUs at once, and prints the free memory around it as `name BEFORE AFTER`, in bytes.
pub fn run(count: u64) -> Result<()> {
    for (name, cycle) in [("fork", fork as Cycle), ("thread", thread)] {
        // What the first ones leave in caches is no growth.
        on_all_cpus(1000, cycle)?;
        let before = settled();
        on_all_cpus(count, cycle)?;
        println!("{name} {before} {}", settled());
    }
    Ok(())
}

/// Free memory, once what has ended is torn down.
fn settled() -> u64 {
    sys::sleep_ms(500);
    sys::memory().0
}

type Cycle = fn() -> Result<()>;

/// Spreads `count` cycles over a process for each CPU.
fn on_all_cpus(count: u64, cycle: Cycle) -> Result<()> {
    let cpus = cpu_count();
    for _ in 0..cpus {
        if sys::fork()? == 0 {
            let done = (0..count / cpus).try_for_each(|_| cycle());
            sys::exit_group(i32::from(done.is_err()));
        }
    }
    let mut failed = false;
    for _ in 0..cpus {
        failed |= sys::wait4(-1, 0)?.1 != 0;
    }
    if failed { Err(Errno(errno::ECHILD)) } else { Ok(()) }
}

fn cpu_count() -> u64 {
    let mut mask = [0u64; 16];
    // SAFETY: the mask is writable for its length.
    let len =
        unsafe { rt::syscall3(__NR_sched_getaffinity as usize, 0, size_of_val(&mask), mask.as_mut_ptr() as usize) };
    let words = usize::try_from(len).unwrap_or(0) / 8;
    mask[..words].iter().map(|word| u64::from(word.count_ones())).sum::<u64>().max(1)
}

fn fork() -> Result<()> {
    match sys::fork()? {
        0 => sys::exit_group(0),
        pid => sys::wait4(pid, 0).map(drop),
    }
}

/// What threads have run, so that one that never did is noticed.
static RUN: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_me(_: usize) -> i32 {
    RUN.fetch_add(1, Ordering::Relaxed);
    0
}

fn thread() -> Result<()> {
    const STACK: usize = 16 * 1024;
    let (join, before) = (Join::new(), RUN.load(Ordering::Relaxed));
    let stack = map_stack(STACK)?;
    // SAFETY: the stack is new, and the thread is waited for before it goes.
    unsafe {
        join.spawn(stack, count_me, 0)?;
        join.wait();
        sys::munmap(stack.sub(STACK), STACK)?;
    }
    if RUN.load(Ordering::Relaxed) == before.wrapping_add(1) { Ok(()) } else { Err(Errno(errno::ESRCH)) }
}
