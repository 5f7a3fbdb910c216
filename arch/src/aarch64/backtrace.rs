//! Return addresses of the running code.

use super::tables;
use core::arch::asm;

/// Frames that are followed at most.
const LIMIT: usize = 64;

/// Calls `each` with the return addresses of the current call chain, innermost first. The image is
/// built with frame pointers; the chain ends where one leaves the stack or does not ascend.
#[inline(never)]
pub fn walk(mut each: impl FnMut(usize)) {
    let mut frame: usize;
    // SAFETY: only reads a register.
    unsafe { asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    let stack = tables::stack_around(frame);
    for _ in 0..LIMIT {
        if !frame.is_multiple_of(16) || !stack.contains(&frame) || !stack.contains(&(frame + 15)) {
            return;
        }
        // SAFETY: the record lies on the stack that this code runs on, which is mapped.
        let (next, link) = unsafe { (*(frame as *const usize), *((frame + 8) as *const usize)) };
        if link == 0 {
            return;
        }
        each(link);
        if next <= frame {
            return;
        }
        frame = next;
    }
}
