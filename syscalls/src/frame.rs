//! Signal frames: what a handler finds on its stack, and the way back (sigreturn(2)). The layouts are the
//! architectures' ([`crate::abi`]); the rules are here.

use crate::args::Args;
use crate::{abi, signals};
use base::{Error, Result};
use process::Current;
use process::current::AltStack;
use process::signal::{Action, SaFlags, Siginfo, Signal, SignalSet, deliver, send};

/// What a frame holds beside registers.
pub struct Saved {
    /// The mask to go back to.
    pub mask: SignalSet,
    /// The alternate stack as it was.
    pub stack: [u64; 3],
}

/// Builds the frame of a handler and makes the program go on in it. On a fault nothing has changed but memory
/// below the stack pointer. (Part of its few callers: it is on the way of every signal that is handled.)
#[inline(always)]
pub fn push(current: &mut Current, info: &Siginfo, action: &Action) -> Result<()> {
    let sp = current.cx.sp();
    let alt = current.alt_stack;
    let switch = action.flags.contains(SaFlags::ONSTACK) && alt.size != 0 && !alt.contains(sp);
    let top = if switch { alt.base + alt.size } else { abi::below_red_zone(sp) };
    let saved =
        Saved { mask: current.saved_mask.unwrap_or(current.thread.mask()), stack: signals::encode_stack(current) };
    let lowest = abi::push_frame(current, top, info, action, &saved)?;
    if alt.size != 0 && !switch && alt.contains(sp) && lowest < alt.base {
        // It ran off the alternate stack; there is nowhere to go.
        send::force(&current.thread, Siginfo::kernel(Signal::SIGSEGV));
    }
    if switch && alt.autodisarm {
        current.alt_stack = AltStack::default();
    }
    current.saved_mask = None;
    Ok(())
}

/// What becomes of a frame without sound vector registers: with the general ones, which the caller has restored, goes the mask, and the
/// rest is an error. (The simulator's programs have no vector registers.)
#[cfg(target_os = "none")]
#[cold]
pub fn unsound(current: &mut Current, mask: SignalSet) -> Error {
    deliver::set_mask(&current.thread, mask);
    base::Errno::EFAULT.into()
}

/// rt_sigreturn(2). A frame that is not one is SIGSEGV; if only its vector registers are none, then where the frame leads to, so
/// that a handler of that can return.
pub fn sigreturn(current: &mut Current, _: &Args) -> Result<usize> {
    match abi::pop_frame(current) {
        Ok(saved) => {
            deliver::set_mask(&current.thread, saved.mask);
            if let Ok(stack) = signals::decode_stack(current, saved.stack) {
                current.alt_stack = stack;
            }
            // The result register is part of what was restored.
            Ok(current.cx.syscall_result())
        }
        Err(fault @ Error::Fault(_)) => Err(fault),
        Err(_) => {
            send::force(&current.thread, Siginfo::kernel(Signal::SIGSEGV));
            Ok(0)
        }
    }
}
