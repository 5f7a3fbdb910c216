//! Signal actions and masks as the kernel takes them, without a libc's layout in between.

use crate::raw::general::*;
use crate::sys::{self, Result, check};

// SAFETY: the assembly defines it; only its address is used.
unsafe extern "C" {
    fn rt_sigreturn();
}

/// The kernel's `struct sigaction` on both architectures (aarch64 has the restorer field too).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Action {
    /// The handler's address, or SIG_DFL (0) or SIG_IGN (1).
    pub handler: usize,
    /// `SA_*`.
    pub flags: usize,
    /// Where a handler returns to.
    pub restorer: usize,
    /// Signals blocked while the handler runs, bit n-1 for signal n.
    pub mask: u64,
}

/// A handler with the three arguments of SA_SIGINFO; without that flag only the first counts.
pub type Handler = extern "C" fn(i32, *mut siginfo_t, *mut core::ffi::c_void);

/// Sets a signal's action and gives the old one.
pub fn set_action(signal: u32, action: &Action) -> Result<Action> {
    let mut old = Action::default();
    // SAFETY: both point to actions in the kernel's layout; what the handler does is the caller's affair.
    check(unsafe {
        crate::syscall4(
            __NR_rt_sigaction as usize,
            signal as usize,
            &raw const *action as usize,
            &raw mut old as usize,
            8,
        )
    })?;
    Ok(old)
}

/// Installs `handler` for a signal, with the restorer that this architecture's kernel wants.
pub fn handle(signal: u32, handler: Handler, flags: u32) -> Result<Action> {
    let restorer = if cfg!(target_arch = "x86_64") { SA_RESTORER } else { 0 };
    let action = Action {
        handler: handler as usize,
        flags: (flags | restorer) as usize,
        restorer: if restorer != 0 { rt_sigreturn as *const () as usize } else { 0 },
        mask: 0,
    };
    set_action(signal, &action)
}

/// Changes this thread's mask (`SIG_BLOCK`, `SIG_UNBLOCK`, `SIG_SETMASK`) and gives the old one.
pub fn mask(how: u32, set: u64) -> Result<u64> {
    let mut old = 0u64;
    // SAFETY: both point to 64-bit sets on this stack.
    check(unsafe {
        crate::syscall4(__NR_rt_sigprocmask as usize, how as usize, &raw const set as usize, &raw mut old as usize, 8)
    })?;
    Ok(old)
}

/// The bit of `signal` in a mask.
pub const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// Sends `signal` to a process.
pub fn kill(pid: i32, signal: u32) -> Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { crate::syscall2(__NR_kill as usize, pid as usize, signal as usize) }).map(|_| ())
}

/// Sends `signal` to the calling process.
pub fn raise(signal: u32) -> Result<()> {
    kill(sys::getpid(), signal)
}
