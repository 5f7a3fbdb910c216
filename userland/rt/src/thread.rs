//! Threads and children on stacks of the caller's choosing, over clone.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::raw::general::*;
use crate::sys::{self, Result, check};

// SAFETY: the assembly defines it with these arguments, in the registers of the C convention.
unsafe extern "C" {
    fn rt_clone(
        flags: usize,
        stack: *mut u8,
        ptid: *mut u32,
        ctid: *mut u32,
        tls: usize,
        entry: extern "C" fn(usize) -> i32,
        argument: usize,
    ) -> isize;
}

/// What a thread or child on its own stack runs: its argument in, its exit status out.
pub type Entry = extern "C" fn(usize) -> i32;

/// The flags of an ordinary thread, as a libc gives them.
pub const THREAD_FLAGS: u32 = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

/// A thread to be joined: the word that the kernel clears and wakes when the thread is gone.
pub struct Join {
    word: AtomicU32,
}

impl Join {
    /// A slot for one thread. It stays where it is until [`Join::wait`] has returned.
    pub const fn new() -> Join {
        Join { word: AtomicU32::new(0) }
    }

    /// Starts a thread at `entry(argument)` on the stack that ends at `stack_top`.
    ///
    /// # Safety
    /// The stack is writable, large enough and nobody else's, and both it and `self` outlive the thread.
    pub unsafe fn spawn(&self, stack_top: *mut u8, entry: Entry, argument: usize) -> Result<i32> {
        let flags = THREAD_FLAGS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
        let word = self.word.as_ptr();
        // SAFETY: the caller answers for stack and slot; entry is a function that returns a status.
        let tid = unsafe { rt_clone(flags as usize, stack_top, word, word, 0, entry, argument) };
        check(tid).map(|tid| tid as i32)
    }

    /// Waits until the thread has gone and its stack may be used again.
    pub fn wait(&self) {
        loop {
            let tid = self.word.load(Ordering::Acquire);
            if tid == 0 {
                return;
            }
            // The kernel's wake at exit is on a shared futex, so this is not a private one.
            let _ = sys::futex_wait(&self.word, tid, 0);
        }
    }
}

impl Default for Join {
    fn default() -> Join {
        Join::new()
    }
}

/// Runs `entry(argument)` on another stack under any clone flags; gives the child's pid. With `CLONE_VM | CLONE_VFORK` this is vfork.
///
/// # Safety
/// The stack that ends at `stack_top` is writable, large enough and unused for as long as the child shares this memory.
pub unsafe fn clone_on(flags: u32, stack_top: *mut u8, entry: Entry, argument: usize) -> Result<i32> {
    // SAFETY: the caller answers for the stack; the thread id words are not asked for by flags that callers may pass here.
    let pid = unsafe {
        rt_clone(flags as usize, stack_top, core::ptr::null_mut(), core::ptr::null_mut(), 0, entry, argument)
    };
    check(pid).map(|pid| pid as i32)
}

/// Maps `len` bytes for a stack and gives its top.
pub fn map_stack(len: usize) -> Result<*mut u8> {
    let base = sys::mmap_anonymous(len)?;
    // SAFETY: one past the end of the mapping just made.
    Ok(unsafe { base.add(len) })
}
