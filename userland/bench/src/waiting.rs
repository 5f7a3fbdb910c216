//! Children and those who wait for them: what an exit costs, alone and while thousands of others wait.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rt::raw::errno;
use rt::raw::general::*;
use rt::sys::{self, Errno, Result};

use crate::memory::{PAGE, Stacks};
use crate::{operations, time};

const MOST: usize = 10_000;
/// Waiters that have begun, and those that have their child.
static WAITING: AtomicU32 = AtomicU32::new(0);
static REAPED: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicBool = AtomicBool::new(false);
/// Waiters stay until this opens, so that their own ends are not measured.
static GATE: AtomicU32 = AtomicU32::new(0);

extern "C" fn wait_for_child(pid: usize) -> i32 {
    let pid = pid as i32;
    WAITING.fetch_add(1, Ordering::Relaxed);
    if !matches!(sys::wait4(pid, 0), Ok((found, 0)) if found == pid) {
        FAILED.store(true, Ordering::Relaxed);
    }
    REAPED.fetch_add(1, Ordering::Relaxed);
    let _ = sys::futex_wake(&REAPED, 1, FUTEX_PRIVATE_FLAG);
    while GATE.load(Ordering::Relaxed) == 0 {
        let _ = sys::futex_wait(&GATE, 0, FUTEX_PRIVATE_FLAG);
    }
    0
}

/// Children, each of which waits for a word of its own, and a thread that waits for each child.
struct Family {
    /// In memory that children share. The last word counts those that have started.
    words: &'static [AtomicU32],
    stacks: Stacks,
    count: usize,
}

impl Family {
    fn start(count: usize) -> Result<Family> {
        let len = length(count);
        let memory = sys::mmap(0, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)?;
        // SAFETY: zeroed memory of that length, which stays until `end`, when nobody uses it any more.
        let words = unsafe { core::slice::from_raw_parts(memory.cast::<AtomicU32>(), 2 * count + 1) };
        let (words, pids) = words.split_at(count + 1);
        [&WAITING, &REAPED, &GATE].iter().for_each(|word| word.store(0, Ordering::Relaxed));
        // First the children: what a fork copies must not depend on how many there are.
        let mut family = Family { words, stacks: Stacks::map(count)?, count: 0 };
        for word in &words[..count] {
            match sys::fork() {
                Ok(0) => {
                    words[count].fetch_add(1, Ordering::Relaxed);
                    while word.load(Ordering::Relaxed) == 0 {
                        let _ = sys::futex_wait(word, 0, 0);
                    }
                    sys::exit_group(0)
                }
                Ok(pid) => pids[family.count].store(pid as u32, Ordering::Relaxed),
                Err(error) => {
                    for (word, pid) in words.iter().zip(&pids[..family.count]) {
                        release(word)?;
                        sys::wait4(pid.load(Ordering::Relaxed) as i32, 0)?;
                    }
                    return Err(error);
                }
            }
            family.count += 1;
        }
        for (index, pid) in pids.iter().enumerate() {
            family.stacks.start(index, wait_for_child, pid.load(Ordering::Relaxed) as usize)?;
        }
        while words[count].load(Ordering::Relaxed) < count as u32 || WAITING.load(Ordering::Relaxed) < count as u32 {
            sys::sched_yield();
        }
        // The last few are on their way into their waits.
        sys::sleep_ms(20);
        Ok(family)
    }

    /// Has one child exit, and waits until its waiter has it.
    fn exit(&self, index: usize) -> Result<()> {
        let reaped = REAPED.load(Ordering::Relaxed);
        release(&self.words[index])?;
        while REAPED.load(Ordering::Relaxed) == reaped {
            let _ = sys::futex_wait(&REAPED, reaped, FUTEX_PRIVATE_FLAG);
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        self.words[..self.count].iter().try_for_each(release)?;
        GATE.store(1, Ordering::Relaxed);
        sys::futex_wake(&GATE, u32::MAX >> 1, FUTEX_PRIVATE_FLAG)?;
        self.stacks.end(self.count)?;
        // SAFETY: no child is left that uses the words.
        unsafe { sys::munmap(self.words.as_ptr().cast_mut().cast(), length(self.count))? };
        if FAILED.load(Ordering::Relaxed) { Err(Errno(errno::ECHILD)) } else { Ok(()) }
    }
}

/// Bytes of the words for so many children, and their numbers.
fn length(count: usize) -> usize {
    ((2 * count + 1) * size_of::<AtomicU32>()).next_multiple_of(PAGE)
}

fn release(word: &AtomicU32) -> Result<()> {
    word.store(1, Ordering::Relaxed);
    sys::futex_wake(word, 1, 0).map(drop)
}

/// A child told to exit, its end, and its waiter, with nobody else there.
pub fn wait_alone() -> Result<u64> {
    let rounds = operations().unwrap_or(200);
    let mut total = 0;
    for _ in 0..rounds {
        let family = Family::start(1)?;
        let elapsed = time(|| family.exit(0));
        family.end()?;
        total += elapsed?;
    }
    Ok(total / rounds)
}

/// The same among 10,000 children with a waiter each.
pub fn wait_among() -> Result<u64> {
    let rounds = operations().map_or(1000, |count| count as usize).min(MOST);
    let family = Family::start(MOST)?;
    let elapsed = time(|| (0..rounds).try_for_each(|round| family.exit(round * (MOST / rounds))));
    family.end()?;
    Ok(elapsed? / rounds as u64)
}
