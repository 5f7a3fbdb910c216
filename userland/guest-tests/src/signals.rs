//! Signals: handlers, masks, and what they do to waits.

use core::sync::atomic::{AtomicU32, Ordering};

use rt::raw::general::*;
use rt::signal::{self, bit};
use rt::sys::{self, Errno};

use crate::{Outcome, check, tests};

tests! {
    a_handler_runs_before_kill_to_self_returns,
    a_blocked_signal_waits_until_it_is_unblocked,
    a_signal_interrupts_a_read_with_eintr,
    sa_restart_goes_on_with_the_read,
    the_default_action_of_sigterm_ends_the_process,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    COUNT.fetch_add(1, Ordering::Relaxed);
}

fn a_handler_runs_before_kill_to_self_returns() -> Outcome {
    signal::handle(SIGUSR1, count, 0)?;
    signal::raise(SIGUSR1)?;
    check!(COUNT.load(Ordering::Relaxed) == 1);
    Ok(())
}

fn a_blocked_signal_waits_until_it_is_unblocked() -> Outcome {
    signal::handle(SIGUSR1, count, 0)?;
    signal::mask(SIG_BLOCK, bit(SIGUSR1))?;
    signal::raise(SIGUSR1)?;
    signal::raise(SIGUSR1)?;
    check!(COUNT.load(Ordering::Relaxed) == 0);
    signal::mask(SIG_UNBLOCK, bit(SIGUSR1))?;
    check!(COUNT.load(Ordering::Relaxed) == 1);
    Ok(())
}

/// Reads from a pipe into which a child writes after it has sent a signal; gives the read's result.
fn read_with_signal(flags: u32) -> Result<sys::Result<usize>, crate::Why> {
    signal::handle(SIGUSR1, count, flags)?;
    let pipe = sys::pipe(0)?;
    let parent = sys::getpid();
    let child = match sys::fork()? {
        0 => {
            sys::sleep_ms(50);
            let _ = signal::kill(parent, SIGUSR1);
            sys::sleep_ms(50);
            let _ = sys::write(pipe[1], b"x");
            sys::exit_group(0)
        }
        child => child,
    };
    let result = sys::read(pipe[0], &mut [0]);
    sys::wait4(child, 0)?;
    Ok(result)
}

fn a_signal_interrupts_a_read_with_eintr() -> Outcome {
    check!(read_with_signal(0)? == Err(Errno::INTR));
    check!(COUNT.load(Ordering::Relaxed) == 1);
    Ok(())
}

fn sa_restart_goes_on_with_the_read() -> Outcome {
    check!(read_with_signal(SA_RESTART)? == Ok(1));
    check!(COUNT.load(Ordering::Relaxed) == 1);
    Ok(())
}

fn the_default_action_of_sigterm_ends_the_process() -> Outcome {
    let child = match sys::fork()? {
        0 => {
            let _ = signal::raise(SIGTERM);
            sys::exit_group(0)
        }
        child => child,
    };
    check!(sys::wait4(child, 0)? == (child, SIGTERM as i32));
    Ok(())
}
