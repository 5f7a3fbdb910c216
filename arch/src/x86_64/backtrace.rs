//! Return addresses of the running code.

use super::kmap;
use core::arch::asm;

/// Frames that are followed at most.
const LIMIT: usize = 64;

/// Calls `each` with the return addresses of the current call chain, innermost first. The image is built with frame
/// pointers. The chain ends where one leaves the stacks or does not ascend within its own; it goes on once on another
/// stack, which is where an exception came from that has a stack of its own.
#[inline(never)]
pub fn walk(mut each: impl FnMut(usize)) {
    let mut frame: usize;
    // SAFETY: only reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    let mut stack = kmap::stack_around(frame);
    let mut switched = false;
    for _ in 0..LIMIT {
        if !frame.is_multiple_of(8) || !stack.contains(&frame) || !stack.contains(&(frame + 15)) {
            return;
        }
        // SAFETY: the record lies on a kernel stack, all of which is mapped; nothing is written.
        let [next, link] = unsafe { (frame as *const [usize; 2]).read() };
        if link == 0 {
            return;
        }
        each(link);
        if !stack.contains(&next) && !switched {
            stack = kmap::stack_around(next);
            switched = true;
        } else if next <= frame {
            return;
        }
        frame = next;
    }
}
