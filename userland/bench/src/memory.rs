//! Pages, and what a blocked thread or process holds of the kernel's memory.

use core::sync::atomic::{AtomicU32, Ordering};

use rt::raw::errno;
use rt::raw::general::*;
use rt::sys::{self, Errno, Result};
use rt::thread::{Entry, Join};

use crate::{measure, time};

/// Both architectures are run with 4 KiB pages.
pub const PAGE: usize = 4096;

/// Maps memory that stays in small pages.
pub fn map_small(len: usize) -> Result<*mut u8> {
    let memory = sys::mmap_anonymous(len)?;
    // SAFETY: advice about memory just mapped. A kernel without huge pages refuses it, and that is as good.
    unsafe { rt::syscall3(__NR_madvise as usize, memory as usize, len, MADV_NOHUGEPAGE as usize) };
    Ok(memory)
}

/// A page for each of many threads: its stack, and above that the word that says that it is gone. Nothing of this is among the
/// program's own data, of which a fork would copy what is in use.
pub struct Stacks {
    base: *mut u8,
    count: usize,
}

impl Stacks {
    pub fn map(count: usize) -> Result<Stacks> {
        Ok(Stacks { base: map_small(count * PAGE)?, count })
    }

    /// Touches them, so that they are there.
    pub fn touch(&self) {
        for thread in 0..self.count {
            // SAFETY: inside the mapping.
            unsafe { self.base.add(thread * PAGE).write_volatile(1) };
        }
    }

    fn join(&self, index: usize) -> &Join {
        // SAFETY: inside the mapping, aligned, zero as a new `Join` is, and above what the stack uses.
        unsafe { &*self.base.add((index + 1) * PAGE).cast::<Join>().sub(1) }
    }

    /// Starts a thread on the stack of that index, which no other has.
    pub fn start(&self, index: usize, entry: Entry, argument: usize) -> Result<i32> {
        // SAFETY: the page is this thread's alone, and stays until `end` has waited for it. The stack ends below the word.
        unsafe { self.join(index).spawn(self.base.add((index + 1) * PAGE - 64), entry, argument) }
    }

    /// Waits until the first `started` threads are gone, and gives the memory back.
    pub fn end(self, started: usize) -> Result<()> {
        (0..started).for_each(|index| self.join(index).wait());
        // SAFETY: no thread is left on the stacks.
        unsafe { sys::munmap(self.base, self.count * PAGE) }
    }
}

pub fn first_write() -> Result<u64> {
    measure(|count| {
        let len = count as usize * PAGE;
        let memory = map_small(len)?;
        let elapsed = time(|| {
            for page in 0..count as usize {
                // SAFETY: inside the mapping.
                unsafe { memory.add(page * PAGE).write_volatile(1) };
            }
            Ok(())
        });
        // SAFETY: nothing else uses the mapping.
        unsafe { sys::munmap(memory, len)? };
        elapsed
    })
}

pub fn map_write_unmap() -> Result<u64> {
    measure(|count| {
        time(|| {
            for _ in 0..count {
                let memory = sys::mmap_anonymous(PAGE)?;
                // SAFETY: the page is this loop's own.
                unsafe {
                    memory.write_volatile(1);
                    sys::munmap(memory, PAGE)?;
                }
            }
            Ok(())
        })
    })
}

/// What everything waits on in these rows.
static GATE: AtomicU32 = AtomicU32::new(0);
static WAITING: AtomicU32 = AtomicU32::new(0);

extern "C" fn wait_at_gate(_: usize) -> i32 {
    WAITING.fetch_add(1, Ordering::Relaxed);
    while GATE.load(Ordering::Relaxed) == 0 {
        let _ = sys::futex_wait(&GATE, 0, FUTEX_PRIVATE_FLAG);
    }
    0
}

pub fn per_thread() -> Result<u64> {
    const THREADS: usize = 2000;
    GATE.store(0, Ordering::Relaxed);
    WAITING.store(0, Ordering::Relaxed);
    // A stack is one page, touched beforehand, so that it is not counted.
    let stacks = Stacks::map(THREADS)?;
    stacks.touch();
    let before = settled();
    let mut started = 0;
    let mut result = Ok(());
    for index in 0..THREADS {
        match stacks.start(index, wait_at_gate, 0) {
            Ok(_) => started += 1,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    while WAITING.load(Ordering::Relaxed) < started {
        sys::sched_yield();
    }
    let after = settled();
    GATE.store(1, Ordering::Relaxed);
    sys::futex_wake(&GATE, u32::MAX >> 1, FUTEX_PRIVATE_FLAG)?;
    stacks.end(started as usize)?;
    result?;
    Ok(before.saturating_sub(after) / THREADS as u64)
}

pub fn per_process() -> Result<u64> {
    const PROCESSES: usize = 400;
    let (gate, ready) = (sys::pipe(0)?, sys::pipe(0)?);
    let before = settled();
    let mut started = 0;
    let mut result = Ok(());
    for _ in 0..PROCESSES {
        match sys::fork() {
            Ok(0) => {
                let _ = sys::close(gate[1]);
                let _ = sys::write(ready[1], &[0]);
                let _ = sys::read(gate[0], &mut [0]);
                sys::exit_group(0)
            }
            Ok(_) => started += 1,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    for _ in 0..started {
        if sys::read(ready[0], &mut [0])? != 1 {
            return Err(Errno(errno::EPIPE));
        }
    }
    let after = settled();
    sys::close(gate[1])?;
    for _ in 0..started {
        sys::wait4(-1, 0)?;
    }
    for fd in [gate[0], ready[0], ready[1]] {
        sys::close(fd)?;
    }
    result?;
    Ok(before.saturating_sub(after) / PROCESSES as u64)
}

/// Free memory, once what is being torn down or started has come to rest.
pub fn settled() -> u64 {
    sys::sleep_ms(100);
    sys::memory().0
}
