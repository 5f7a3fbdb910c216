//! Alternate signal stacks (sigaltstack(2)).

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::signal::{handle, raise};
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{call, in_child};
use crate::{Outcome, check, tests};

tests! {
    handlers_run_on_the_alternate_stack,
    an_alternate_stack_in_use_cannot_be_changed,
    autodisarm_takes_the_stack_away_while_a_handler_runs,
    an_alternate_stack_survives_fork_and_not_clone_vm,
}

static STACK: AtomicUsize = AtomicUsize::new(0);
static RESULT: AtomicU32 = AtomicU32::new(0);

fn altstack(base: usize, flags: u32, size: usize) -> Result<[usize; 3], Errno> {
    let (new, mut old) = ([base, flags as usize, size], [0usize; 3]);
    call(__NR_sigaltstack, [new.as_ptr() as usize, old.as_mut_ptr() as usize])?;
    // SAFETY: the kernel has written it.
    Ok(unsafe { (&raw const old).read_volatile() })
}

fn altstack_now() -> Result<[usize; 3], Errno> {
    let mut old = [0usize; 3];
    call(__NR_sigaltstack, [0, old.as_mut_ptr() as usize])?;
    // SAFETY: the kernel has written it.
    Ok(unsafe { (&raw const old).read_volatile() })
}

extern "C" fn look_at_stack(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    let local = 0u8;
    STACK.store(&raw const local as usize, Ordering::SeqCst);
    let flags = altstack_now().map_or(99, |old| old[1] as u32);
    let change = altstack(0, SS_DISABLE, 0);
    RESULT.store(flags << 8 | change.err().map_or(0, |error| error.0), Ordering::SeqCst);
}

const SIZE: usize = 64 * 1024;

fn handlers_run_on_the_alternate_stack() -> Outcome {
    let base = sys::mmap_anonymous(SIZE)? as usize;
    check!(altstack_now()?[1] == SS_DISABLE as usize);
    check!(altstack(base, 0, 100) == Err(Errno(ENOMEM)));
    check!(altstack(base, 0x40, SIZE) == Err(Errno(EINVAL)));
    altstack(base, 0, SIZE)?;
    check!(altstack_now()? == [base, 0, SIZE]);
    handle(SIGUSR1, look_at_stack, SA_ONSTACK)?;
    raise(SIGUSR1)?;
    let at = STACK.load(Ordering::SeqCst);
    check!((base..base + SIZE).contains(&at));
    handle(SIGUSR2, look_at_stack, 0)?;
    raise(SIGUSR2)?;
    check!(!(base..base + SIZE).contains(&STACK.load(Ordering::SeqCst)));
    Ok(())
}

fn an_alternate_stack_in_use_cannot_be_changed() -> Outcome {
    let base = sys::mmap_anonymous(SIZE)? as usize;
    altstack(base, 0, SIZE)?;
    handle(SIGUSR1, look_at_stack, SA_ONSTACK)?;
    raise(SIGUSR1)?;
    let told = RESULT.load(Ordering::SeqCst);
    println!("flags {}, error {}", told >> 8, told & 0xff);
    check!(told == SS_ONSTACK << 8 | EPERM);
    check!(altstack_now()? == [base, 0, SIZE]);
    Ok(())
}

fn autodisarm_takes_the_stack_away_while_a_handler_runs() -> Outcome {
    let base = sys::mmap_anonymous(SIZE)? as usize;
    altstack(base, SS_AUTODISARM, SIZE)?;
    handle(SIGUSR1, look_at_stack, SA_ONSTACK)?;
    raise(SIGUSR1)?;
    check!((base..base + SIZE).contains(&STACK.load(Ordering::SeqCst)));
    let told = RESULT.load(Ordering::SeqCst);
    println!("flags {:#x}, error {}", told >> 8, told & 0xff);
    check!(told == SS_DISABLE << 8);
    check!(altstack_now()? == [base, SS_AUTODISARM as usize, SIZE]);
    Ok(())
}

extern "C" fn tell_stack(_: usize) -> i32 {
    RESULT.store(altstack_now().map_or(99, |old| old[1] as u32), Ordering::SeqCst);
    0
}

fn an_alternate_stack_survives_fork_and_not_clone_vm() -> Outcome {
    let base = sys::mmap_anonymous(SIZE)? as usize;
    altstack(base, 0, SIZE)?;
    let status = in_child(|| {
        check!(altstack_now()? == [base, 0, SIZE]);
        Ok(())
    })?;
    check!(status == 0);
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    unsafe { join.spawn(map_stack(32 * 1024)?, tell_stack, 0)? };
    join.wait();
    check!(RESULT.load(Ordering::SeqCst) == SS_DISABLE);
    // SAFETY: the stack is new and never unmapped.
    let child =
        unsafe { rt::thread::clone_on(CLONE_VM | CLONE_VFORK | SIGCHLD, map_stack(32 * 1024)?, tell_stack, 0)? };
    sys::wait4(child, 0)?;
    check!(RESULT.load(Ordering::SeqCst) == 0);
    Ok(())
}
