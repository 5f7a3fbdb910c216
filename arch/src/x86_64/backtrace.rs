//! Return addresses of the running code.

use super::kmap;
use core::arch::asm;

/// Calls `each` with the return addresses of the current call chain, innermost first. Goes by frame pointers, so the
/// image must be built with them.
pub fn walk(mut each: impl FnMut(usize)) {
    let mut frame: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    // Frames lie in the stacks' area at rising addresses; whatever breaks the rule ends the walk.
    while kmap::is_stack(frame) && frame.is_multiple_of(8) && frame % 4096 <= 4096 - 16 {
        // SAFETY: aligned, within one page, and of a stack in use up to its end: a frame pointer is only followed
        // upwards.
        let [next, back] = unsafe { (frame as *const [usize; 2]).read() };
        if back == 0 {
            break;
        }
        each(back);
        if next <= frame {
            break;
        }
        frame = next;
    }
}
