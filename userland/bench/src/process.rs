//! Signals, threads and processes: made, run to their end, and waited for.

use core::ffi::{CStr, c_void};

use rt::raw::general::*;
use rt::sys::{self, Result};
use rt::thread::{Entry, Join, clone_on, map_stack};

use crate::{measure, time};

extern "C" fn ignore(_: i32, _: *mut siginfo_t, _: *mut c_void) {}

pub fn signal_self() -> Result<u64> {
    let old = rt::signal::handle(SIGUSR1, ignore, 0)?;
    let pid = sys::getpid();
    let result = measure(|count| {
        time(|| {
            for _ in 0..count {
                rt::signal::kill(pid, SIGUSR1)?;
            }
            Ok(())
        })
    });
    rt::signal::set_action(SIGUSR1, &old)?;
    result
}

extern "C" fn nothing(_: usize) -> i32 {
    0
}

/// A thread as a libc makes it: a stack with a guard page is mapped, and unmapped after the join.
pub fn thread() -> Result<u64> {
    const STACK: usize = 64 * 1024;
    measure(|count| {
        time(|| {
            for _ in 0..count {
                let join = Join::new();
                let stack = map_stack(STACK)?;
                // SAFETY: the stack is new, its lowest page is not needed, and the thread is waited for before the
                // stack goes.
                unsafe {
                    let base = stack.sub(STACK);
                    sys::check(rt::syscall3(__NR_mprotect as usize, base as usize, 4096, PROT_NONE as usize))?;
                    join.spawn(stack, nothing, 0)?;
                    join.wait();
                    sys::munmap(base, STACK)?;
                }
            }
            Ok(())
        })
    })
}

/// Makes children by `make`, which gives a pid, and waits for each.
fn children(make: impl Fn() -> Result<i32>) -> Result<u64> {
    measure(|count| {
        time(|| {
            for _ in 0..count {
                let child = make()?;
                let (_, status) = sys::wait4(child, 0)?;
                if status != 0 {
                    return Err(rt::Errno(rt::raw::errno::ECHILD));
                }
            }
            Ok(())
        })
    })
}

fn forked(child: Entry) -> Result<u64> {
    children(|| match sys::fork()? {
        0 => sys::exit_group(child(0)),
        pid => Ok(pid),
    })
}

fn vforked(child: Entry) -> Result<u64> {
    const STACK: usize = 16 * 1024;
    let stack = map_stack(STACK)?;
    // SAFETY: the parent stands still until the child has left this memory, so the stack is used by one at a time.
    let result = children(|| unsafe { clone_on(CLONE_VM | CLONE_VFORK | SIGCHLD, stack, child, 0) });
    // SAFETY: nobody is left on it.
    unsafe { sys::munmap(stack.sub(STACK), STACK)? };
    result
}

/// Becomes this program again, which then ends at once.
extern "C" fn exec_self(_: usize) -> i32 {
    const PATH: &CStr = c"/usr/bin/bench";
    let argv = [PATH.as_ptr().cast(), c"exit".as_ptr().cast(), core::ptr::null()];
    // SAFETY: both vectors end with a null pointer.
    unsafe { sys::execve(PATH, argv.as_ptr(), argv[2..].as_ptr()) };
    1
}

pub fn fork() -> Result<u64> {
    forked(nothing)
}

pub fn vfork() -> Result<u64> {
    vforked(nothing)
}

pub fn fork_exec() -> Result<u64> {
    forked(exec_self)
}

pub fn vfork_exec() -> Result<u64> {
    vforked(exec_self)
}
