//! Random system calls: whatever a program asks for, the kernel stays up, ends what it is told to end, and gives back
//! the memory.
//!
//! A run is a row of slices. In each, a few workers issue calls drawn from a seed for a fraction of a second, as a user
//! of their own; then all that user's processes are killed, and must be gone within a time. A worker that dies of its
//! own calls is replaced by one with the next seed. `guest-tests fuzz seed=N slices=N [workers=N] [root] [trace]` runs
//! as many slices as one likes; `root` leaves the workers all privilege, and keeps them from what only harms by right.

mod calls;
mod values;

use core::sync::atomic::{AtomicU64, Ordering};

use rt::raw::general::*;
use rt::raw::prctl::PR_SET_DUMPABLE;
use rt::signal::{self, Action, bit};
use rt::{println, sys};

use crate::{Outcome, check, tests};
pub use values::Rng;
use values::Values;

tests! { random_calls_leave_the_kernel_standing }

/// What a run does.
#[derive(Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub slices: u32,
    pub workers: u32,
    /// Workers keep all privilege.
    pub root: bool,
    /// Every call is printed before it is made.
    pub trace: bool,
}

/// The user that workers are.
const USER: usize = 54_321;

/// How long a slice takes.
const SLICE_MS: u64 = 250;

/// How long the end of a slice may take.
const END_MS: u64 = 10_000;

/// What each worker did last, for whoever looks at a hang: a number, and six arguments.
pub struct Last {
    words: *const AtomicU64,
}

impl Last {
    fn new(workers: u32) -> Result<Last, sys::Errno> {
        let len = workers as usize * 64;
        let memory = sys::mmap(0, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)?;
        Ok(Last { words: memory as *const AtomicU64 })
    }

    fn word(&self, worker: u32, index: usize) -> &AtomicU64 {
        // SAFETY: eight words of the shared mapping belong to each worker; they are only touched as atomics.
        unsafe { &*self.words.add(worker as usize * 8 + index) }
    }
}

/// Makes calls until the process is killed or ends itself.
fn work(plan: &Plan, worker: u32, seed: u64, last: &Last) -> ! {
    let _ = set_group(0);
    let mut rng = Rng::new(seed);
    let values = Values::new(&mut rng, worker);
    if !plan.root {
        become_user();
    }
    limit();
    values.open_files();
    let mut made = 0u32;
    loop {
        if made.is_multiple_of(64) {
            calm();
        }
        made = made.wrapping_add(1);
        let call = calls::draw(&mut rng, plan.root);
        let mut args = [0; 6];
        for (arg, class) in args.iter_mut().zip(call.args) {
            *arg = values.draw(&mut rng, class);
        }
        if calls::harms(call.number, &args, plan.root) {
            continue;
        }
        let words = [call.number, args[0], args[1], args[2], args[3], args[4], args[5]];
        for (index, word) in words.iter().enumerate() {
            last.word(worker, index).store(*word as u64, Ordering::Relaxed);
        }
        if plan.trace {
            rt::eprintln!("{} {}: {:x?}", sys::getpid(), call.number, args);
        }
        let [a, b, c, d, e, f] = args;
        // SAFETY: none: whatever this process does to itself, it is here to be destroyed.
        let result = unsafe { rt::syscall6(call.number, a, b, c, d, e, f) };
        if result == 0 && calls::makes_child(call.number) && !rng.one_in(4) {
            sys::exit_group(0);
        }
    }
}

/// Puts a process, or this one for 0, at the head of a group of its own.
fn set_group(pid: i32) -> Result<usize, sys::Errno> {
    // SAFETY: no memory is passed.
    sys::check(unsafe { rt::syscall2(__NR_setpgid as usize, pid as usize, 0) })
}

/// Takes the workers' user for this process.
fn become_user() {
    // SAFETY: no memory is passed but an empty list of groups.
    unsafe {
        rt::syscall2(__NR_setgroups as usize, 0, 0);
        rt::syscall3(__NR_setresgid as usize, USER, USER, USER);
        rt::syscall3(__NR_setresuid as usize, USER, USER, USER);
        rt::syscall2(__NR_prctl as usize, PR_SET_DUMPABLE as usize, 1);
    }
}

/// Bounds what this process and its children take.
fn limit() {
    let limits: [(u32, u64); 7] = [
        (RLIMIT_NPROC, 64),
        (RLIMIT_NOFILE, 200),
        (RLIMIT_AS, 256 << 20),
        (RLIMIT_FSIZE, 1 << 20),
        (RLIMIT_CORE, 0),
        (RLIMIT_MEMLOCK, 1 << 20),
        (RLIMIT_RTPRIO, 0),
    ];
    for (which, value) in limits {
        let pair = [value, value];
        // SAFETY: the limit is a pair of 64-bit numbers.
        unsafe { rt::syscall4(__NR_prlimit64 as usize, 0, which as usize, pair.as_ptr() as usize, 0) };
    }
}

extern "C" fn ignore(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {}

/// Undoes what would keep this worker from making calls, and lets an alarm end what waits.
fn calm() {
    let _ = signal::mask(SIG_SETMASK, 0);
    let _ = signal::handle(SIGALRM, ignore, 0);
    let _ = signal::set_action(SIGPIPE, &Action { handler: 1, ..Action::default() });
    let _ = signal::set_action(SIGXFSZ, &Action { handler: 1, ..Action::default() });
    let every = [0i64, 10_000, 0, 10_000];
    // SAFETY: the interval and the first time are pairs of 64-bit numbers.
    unsafe { rt::syscall3(__NR_setitimer as usize, ITIMER_REAL as usize, every.as_ptr() as usize, 0) };
}

/// Kills all processes of the workers' user.
fn kill_user() -> Result<(), sys::Errno> {
    let killer = match sys::fork()? {
        0 => {
            become_user();
            let _ = signal::kill(-1, SIGKILL);
            sys::exit_group(0)
        }
        child => child,
    };
    // Others that have ended go on the way.
    while sys::wait4(-1, __WALL)?.0 != killer {}
    Ok(())
}

/// Kills all that a slice has left running; gives whether everything was gone in time. Orphans come to this process, so
/// it is the last to hear of each.
fn end_all(plan: &Plan, workers: &[i32]) -> Result<bool, sys::Errno> {
    let until = sys::clock_ns(CLOCK_MONOTONIC) + END_MS * 1_000_000;
    while sys::clock_ns(CLOCK_MONOTONIC) < until {
        if plan.root {
            for worker in workers.iter().filter(|worker| **worker > 0) {
                let _ = signal::kill(-*worker, SIGKILL);
            }
        } else {
            kill_user()?;
        }
        loop {
            match sys::wait4(-1, __WALL | WNOHANG) {
                Ok((0, _)) => break,
                Ok(_) => {}
                Err(_) => return Ok(true),
            }
        }
        sys::sleep_ms(2);
    }
    Ok(false)
}

/// One slice; gives whether it ended as it should.
fn slice(plan: &Plan, next: &mut u64, last: &Last) -> Result<bool, sys::Errno> {
    let until = sys::clock_ns(CLOCK_MONOTONIC) + SLICE_MS * 1_000_000;
    let mut pids = [0i32; 16];
    let pids = &mut pids[..plan.workers as usize];
    while sys::clock_ns(CLOCK_MONOTONIC) < until {
        for (worker, pid) in pids.iter_mut().enumerate().filter(|(_, pid)| **pid == 0) {
            *next += 1;
            *pid = match sys::fork()? {
                0 => work(plan, worker as u32, *next, last),
                child => child,
            };
            // The child may be the first to run, so both do this; its calls cannot undo it in privileged runs.
            let _ = set_group(*pid);
        }
        while let Ok((pid, _)) = sys::wait4(-1, WNOHANG | __WALL)
            && pid > 0
        {
            for slot in pids.iter_mut().filter(|slot| **slot == pid) {
                *slot = 0;
                // Its group is not known by the slot any more, and may still have members.
                if plan.root {
                    let _ = signal::kill(-pid, SIGKILL);
                }
            }
        }
        sys::sleep_ms(2);
    }
    let ended = end_all(plan, pids)?;
    if !ended {
        for worker in 0..plan.workers {
            let call: [u64; 7] = core::array::from_fn(|index| last.word(worker, index).load(Ordering::Relaxed));
            println!("seed {next}: worker {worker} did not end; its last call was {call:x?}");
        }
    }
    Ok(ended)
}

/// Runs a plan; gives whether every slice ended as it should.
pub fn run(plan: &Plan) -> Result<bool, sys::Errno> {
    let last = Last::new(plan.workers)?;
    let mut next = plan.seed;
    // Orphans come to this process, so that it sees their end.
    // SAFETY: no memory is passed.
    unsafe { rt::syscall2(__NR_prctl as usize, rt::raw::prctl::PR_SET_CHILD_SUBREAPER as usize, 1) };
    signal::mask(SIG_BLOCK, bit(SIGCHLD))?;
    for _ in 0..plan.slices {
        if !slice(plan, &mut next, &last)? {
            return Ok(false);
        }
    }
    values::remove_files();
    Ok(true)
}

/// The command: reads the plan from the arguments.
pub fn command(args: &rt::Args) -> i32 {
    let word = |index| args.text(index);
    let number = |key: &str, or: u64| {
        let found = (2..args.len()).find_map(|index| word(index).strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        found.unwrap_or(or)
    };
    let has = |key: &str| (2..args.len()).any(|index| word(index) == key);
    let plan = Plan {
        seed: number("seed", sys::clock_ns(CLOCK_REALTIME) % 1_000_000),
        slices: number("slices", 40) as u32,
        workers: number("workers", 4).min(16) as u32,
        root: has("root"),
        trace: has("trace"),
    };
    println!("random calls: seed={} slices={} workers={}", plan.seed, plan.slices, plan.workers);
    // The first slices bring caches to their size.
    let warm = Plan { slices: 4.min(plan.slices), ..plan };
    let before = run(&warm).map(|_| sys::memory().0);
    let outcome = run(&plan);
    let after = sys::memory().0;
    if let Ok(before) = before {
        println!("free memory: {} KiB before, {} KiB after", before >> 10, after >> 10);
    }
    match outcome {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => {
            println!("errno {}", error.0);
            1
        }
    }
}

/// A short run with a seed of its own each time, which is printed.
pub fn random_calls_leave_the_kernel_standing() -> Outcome {
    let seed = sys::clock_ns(CLOCK_REALTIME) % 1_000_000_000;
    println!("random calls: seed={seed}");
    check!(run(&Plan { seed, slices: 8, workers: 4, root: false, trace: false })?);
    Ok(())
}
