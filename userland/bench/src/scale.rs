//! Many threads at once: waking a crowd, and whether a switch costs the same in one.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use rt::raw::general::*;
use rt::sys::{self, Result};
use rt::thread::Entry;

use crate::memory::{Stacks, settled};
use crate::{operations, time};

const MOST: usize = 100_000;
static READY: AtomicU32 = AtomicU32::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

/// A crowd of threads, each on a page of its own.
struct Crowd {
    stacks: Stacks,
    count: usize,
}

impl Crowd {
    /// Starts `count` threads and waits until each has said that it is there (`READY`).
    fn start(count: usize, entry: Entry) -> Result<Crowd> {
        READY.store(0, Ordering::Relaxed);
        GATE.store(0, Ordering::Relaxed);
        STOP.store(false, Ordering::Relaxed);
        allow_threads();
        let mut crowd = Crowd { stacks: Stacks::map(count)?, count: 0 };
        while crowd.count < count {
            match crowd.stacks.start(crowd.count, entry, 0) {
                Ok(_) => crowd.count += 1,
                Err(error) => {
                    crowd.stop();
                    crowd.finish()?;
                    return Err(error);
                }
            }
        }
        while (READY.load(Ordering::Relaxed) as usize) < count {
            sys::sched_yield();
        }
        Ok(crowd)
    }

    fn stop(&self) {
        STOP.store(true, Ordering::Relaxed);
        GATE.store(1, Ordering::Relaxed);
        let _ = sys::futex_wake(&GATE, MOST as u32, FUTEX_PRIVATE_FLAG);
        // Readers wake by the pipe's end.
        let writer = PIPE[1].swap(-1, Ordering::Relaxed);
        if writer >= 0 {
            let _ = sys::close(writer);
        }
    }

    fn finish(self) -> Result<()> {
        self.stacks.end(self.count)
    }
}

/// The number of threads is tied to the size of memory, and that of process numbers is small.
fn allow_threads() {
    for path in [c"/proc/sys/kernel/threads-max", c"/proc/sys/kernel/pid_max"] {
        if let Ok(fd) = sys::open(path, O_WRONLY, 0) {
            let _ = sys::write(fd, b"200000");
            let _ = sys::close(fd);
        }
    }
}

static PIPE: [AtomicI32; 2] = [AtomicI32::new(-1), AtomicI32::new(-1)];
static READ: AtomicU32 = AtomicU32::new(0);
const READERS: u32 = 1000;

/// Counts rounds; a reader that has had its byte waits here for the next, so that each byte wakes another reader.
static ROUND: AtomicU32 = AtomicU32::new(0);

extern "C" fn read_bytes(_: usize) -> i32 {
    let pipe = PIPE[0].load(Ordering::Relaxed);
    READY.fetch_add(1, Ordering::Relaxed);
    loop {
        let round = ROUND.load(Ordering::Relaxed);
        if !matches!(sys::read(pipe, &mut [0]), Ok(1)) {
            return 0;
        }
        if READ.fetch_add(1, Ordering::Relaxed) + 1 == READERS {
            let _ = sys::futex_wake(&READ, 1, FUTEX_PRIVATE_FLAG);
        }
        while ROUND.load(Ordering::Relaxed) == round {
            let _ = sys::futex_wait(&ROUND, round, FUTEX_PRIVATE_FLAG);
        }
    }
}

pub fn wake_readers() -> Result<u64> {
    let rounds = operations().map_or(10, |count| count.div_ceil(READERS.into()));
    let fds = sys::pipe(0)?;
    PIPE[0].store(fds[0], Ordering::Relaxed);
    PIPE[1].store(fds[1], Ordering::Relaxed);
    let crowd = Crowd::start(READERS as usize, read_bytes)?;
    let mut total = 0;
    let mut result = Ok(());
    for _ in 0..rounds {
        // Time for all to get back into the read.
        sys::sleep_ms(50);
        match one_wake(fds[1]) {
            Ok(elapsed) => total += elapsed,
            Err(error) => result = Err(error),
        }
        ROUND.fetch_add(1, Ordering::Relaxed);
        sys::futex_wake(&ROUND, READERS, FUTEX_PRIVATE_FLAG)?;
    }
    crowd.stop();
    crowd.finish()?;
    sys::close(fds[0])?;
    result.map(|()| total / (rounds * u64::from(READERS)))
}

/// From one write for all until the last reader has its byte.
fn one_wake(pipe: i32) -> Result<u64> {
    READ.store(0, Ordering::Relaxed);
    time(|| {
        sys::write_all(pipe, &[0; READERS as usize])?;
        loop {
            let read = READ.load(Ordering::Relaxed);
            if read == READERS {
                return Ok(());
            }
            let _ = sys::futex_wait(&READ, read, FUTEX_PRIVATE_FLAG);
        }
    })
}

static SWITCHES: AtomicU64 = AtomicU64::new(0);

static GATE: AtomicU32 = AtomicU32::new(0);

extern "C" fn yield_and_count(_: usize) -> i32 {
    READY.fetch_add(1, Ordering::Relaxed);
    // Those that started early must not take turns with the one that starts the others.
    while GATE.load(Ordering::Relaxed) == 0 && !STOP.load(Ordering::Relaxed) {
        let _ = sys::futex_wait(&GATE, 0, FUTEX_PRIVATE_FLAG);
    }
    while !STOP.load(Ordering::Relaxed) {
        let switch = SWITCHES.fetch_add(1, Ordering::Relaxed);
        if switch == BEGIN.load(Ordering::Relaxed) {
            BEGAN_NS.store(sys::clock_ns(CLOCK_MONOTONIC), Ordering::Relaxed);
        } else if switch == END.load(Ordering::Relaxed) {
            ENDED_NS.store(sys::clock_ns(CLOCK_MONOTONIC), Ordering::Relaxed);
            STOP.store(true, Ordering::Relaxed);
        }
        sys::sched_yield();
    }
    0
}

/// The switches at which timing begins and ends, and when that was. Whoever makes those switches reads the clock: with
/// many threads, a fair scheduler may not let the first one run for a long while.
static BEGIN: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static BEGAN_NS: AtomicU64 = AtomicU64::new(0);
static ENDED_NS: AtomicU64 = AtomicU64::new(0);

/// The cost of one switch among `threads` that all yield in turn.
fn switch_among(threads: usize) -> Result<u64> {
    let begin = 2 * threads as u64;
    let end = begin + (4 * threads as u64).max(20_000);
    SWITCHES.store(0, Ordering::Relaxed);
    BEGIN.store(begin, Ordering::Relaxed);
    END.store(end, Ordering::Relaxed);
    let crowd = Crowd::start(threads, yield_and_count)?;
    GATE.store(1, Ordering::Relaxed);
    sys::futex_wake(&GATE, threads as u32, FUTEX_PRIVATE_FLAG)?;
    crowd.finish()?;
    let elapsed = ENDED_NS.load(Ordering::Relaxed) - BEGAN_NS.load(Ordering::Relaxed);
    Ok(elapsed / (end - begin))
}

pub fn switch_2() -> Result<u64> {
    switch_among(2)
}

pub fn switch_1000() -> Result<u64> {
    switch_among(1000)
}

pub fn switch_10000() -> Result<u64> {
    switch_among(10_000)
}

pub fn switch_100000() -> Result<u64> {
    switch_among(MOST)
}

/// From the first clone until 100,000 threads have started, each on a page of its own, per thread.
pub fn create_crowd() -> Result<u64> {
    let mut crowd = None;
    let elapsed = time(|| {
        crowd = Some(Crowd::start(MOST, yield_and_count)?);
        Ok(())
    })?;
    if let Some(crowd) = crowd {
        crowd.stop();
        crowd.finish()?;
    }
    Ok(elapsed / MOST as u64)
}

/// The memory that 100,000 blocked threads take with their stacks of a page.
pub fn crowd_bytes() -> Result<u64> {
    let before = settled();
    let crowd = Crowd::start(MOST, yield_and_count)?;
    let after = settled();
    crowd.stop();
    crowd.finish()?;
    Ok(before.saturating_sub(after))
}
