//! What each operation costs, as `name value` lines: nanoseconds per operation, which are instructions in a machine
//! that counts them; bytes for the rows about memory. `bench` measures everything, `bench ROW...` some rows, `bench
//! list` names them; `ops=N` does each operation just N times (8 more to warm up). `bench cycles=N` makes and ends N processes and N threads, and prints the
//! free memory before and after. A row that cannot be measured prints `name failed` and why, and the others go on.
#![no_std]
#![no_main]

mod boot;
mod cycles;
mod memory;
mod process;
mod scale;
mod switch;
mod waiting;

use core::sync::atomic::{AtomicU64, Ordering};

use rt::raw::general::CLOCK_MONOTONIC;
use rt::{println, sys};

/// Measures one row and gives its value.
type Row = fn() -> sys::Result<u64>;

const ROWS: &[(&str, Row)] = &[
    ("boot", boot::power_on_to_init),
    ("memory_at_init", boot::free_at_init),
    ("getpid", switch::getpid),
    ("yield_alone", switch::yield_alone),
    ("yield_threads", switch::yield_threads),
    ("yield_processes", switch::yield_processes),
    ("pipe", switch::pipe),
    ("futex", switch::futex),
    ("eventfd", switch::eventfd),
    ("unix", switch::unix),
    ("tcp", switch::tcp),
    ("epoll", switch::epoll),
    ("signal", process::signal_self),
    ("page_fault", memory::first_write),
    ("mmap", memory::map_write_unmap),
    ("thread", process::thread),
    ("fork", process::fork),
    ("vfork", process::vfork),
    ("fork_exec", process::fork_exec),
    ("vfork_exec", process::vfork_exec),
    // Before the crowds, whose memory comes back late.
    ("process_bytes", memory::per_process),
    ("thread_bytes", memory::per_thread),
    ("wake_1000", scale::wake_readers),
    ("switch_2", scale::switch_2),
    ("switch_1000", scale::switch_1000),
    ("switch_10000", scale::switch_10000),
    ("switch_100000", scale::switch_100000),
    ("crowd", scale::create_crowd),
    ("crowd_bytes", scale::crowd_bytes),
    ("wait_1", waiting::wait_alone),
    ("wait_10000", waiting::wait_among),
];

rt::main!(run);

fn run(args: &rt::Args) -> i32 {
    match args.text(1) {
        // What an exec row starts: the least a program can do.
        "exit" => return 0,
        "list" => {
            ROWS.iter().for_each(|(name, _)| println!("{name}"));
            return 0;
        }
        _ => {}
    }
    let words = || (1..args.len()).map(|index| args.text(index));
    let number = |prefix| words().find_map(|word| word.strip_prefix(prefix)?.parse().ok());
    if let Some(count) = number("cycles=") {
        return match cycles::run(count) {
            Ok(()) => 0,
            Err(error) => {
                println!("cycles failed errno {}", error.0);
                1
            }
        };
    }
    let count = number("ops=");
    COUNT.store(count.unwrap_or(0), Ordering::Relaxed);
    let chosen = |name: &str| args.len() < 2 || words().any(|word| word == name);
    seed_random_numbers();
    let mut status = 0;
    for (name, row) in ROWS.iter().filter(|(name, _)| chosen(name)) {
        match row() {
            Ok(value) => println!("{name} {value}"),
            Err(error) => {
                println!("{name} failed errno {}", error.0);
                status = 1;
            }
        }
    }
    status
}

/// Waits until the kernel's random numbers are seeded. Linux takes some for each system call (to vary the kernel stack),
/// and until then each costs some 9,000 instructions on a machine without a random instruction.
fn seed_random_numbers() {
    let mut bytes = [0u8; 16];
    // SAFETY: the buffer is writable for its length. A kernel without the call has nothing to wait for.
    unsafe { rt::syscall3(rt::raw::general::__NR_getrandom as usize, bytes.as_mut_ptr() as usize, bytes.len(), 0) };
}

/// How many operations to do (`ops=N`); 0 for as many as a steady value needs.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The number of operations, where it was given.
fn operations() -> Option<u64> {
    Some(COUNT.load(Ordering::Relaxed)).filter(|count| *count > 0)
}

/// Runs `work(n)`, which gives the nanoseconds that n operations took, with n large enough for a steady value.
fn measure(mut work: impl FnMut(u64) -> sys::Result<u64>) -> sys::Result<u64> {
    const ENOUGH: u64 = 20_000_000;
    work(8)?;
    if let Some(count) = operations() {
        return Ok((work(count)? + count / 2) / count);
    }
    let mut count = 16;
    loop {
        let elapsed = work(count)?;
        if elapsed >= ENOUGH {
            return Ok((elapsed + count / 2) / count);
        }
        // Aim a little over the mark; an estimate from few operations is rough, so by eight times at most.
        count = (count * ENOUGH * 5 / 4 / elapsed.max(1)).clamp(count * 2, count * 8);
    }
}

/// The nanoseconds that `work` takes.
fn time(work: impl FnOnce() -> sys::Result<()>) -> sys::Result<u64> {
    let start = sys::clock_ns(CLOCK_MONOTONIC);
    work()?;
    Ok(sys::clock_ns(CLOCK_MONOTONIC) - start)
}
