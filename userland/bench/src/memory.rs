//! Pages, and what a blocked thread or process holds of the kernel's memory.

use core::sync::atomic::{AtomicU32, Ordering};

use rt::raw::errno;
use rt::raw::general::*;
use rt::sys::{self, Errno, Result};
use rt::thread::Join;

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
    static JOINS: [Join; THREADS] = [const { Join::new() }; THREADS];
    GATE.store(0, Ordering::Relaxed);
    WAITING.store(0, Ordering::Relaxed);
    // A stack is one page, touched beforehand, so that it is not counted.
    let stacks = map_small(THREADS * PAGE)?;
    for thread in 0..THREADS {
        // SAFETY: inside the mapping.
        unsafe { stacks.add(thread * PAGE).write_volatile(1) };
    }
    let before = settled();
    let mut started = 0;
    let mut result = Ok(());
    for (index, join) in JOINS.iter().enumerate() {
        // SAFETY: each thread has a page of its own, and all are waited for below.
        match unsafe { join.spawn(stacks.add((index + 1) * PAGE), wait_at_gate, 0) } {
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
    JOINS.iter().take(started as usize).for_each(Join::wait);
    // SAFETY: no thread is left on the stacks.
    unsafe { sys::munmap(stacks, THREADS * PAGE)? };
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
