//! fork, execve, exit and wait.

use rt::raw::errno::{ECHILD, ENOENT};
use rt::raw::general::*;
use rt::raw::prctl::{PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG};
use rt::sys::{self, Errno};
use rt::thread::{Join, clone_on, map_stack};

use crate::{Outcome, check, tests};

tests! {
    a_child_sees_its_own_copy_of_memory,
    wait_gives_the_exit_status,
    wait_gives_the_signal_that_killed,
    wait_without_children_is_echild,
    wait_nohang_gives_nought_while_the_child_runs,
    an_orphan_is_given_to_init,
    the_parent_s_death_may_stop_a_child_and_let_it_go_on,
    execve_of_nothing_is_enoent,
    execve_runs_the_program_with_its_arguments,
    vfork_holds_the_parent_until_the_child_exits,
    a_thread_shares_memory_and_its_end_wakes_the_joiner,
}

fn a_child_sees_its_own_copy_of_memory() -> Outcome {
    let mut value = 1;
    let place = &raw mut value;
    let child = match sys::fork()? {
        0 => {
            // SAFETY: a local that lives on in the child's copy of the stack.
            unsafe { place.write_volatile(2) };
            sys::exit_group(0)
        }
        child => child,
    };
    sys::wait4(child, 0)?;
    // SAFETY: as above.
    check!(unsafe { place.read_volatile() } == 1);
    Ok(())
}

fn wait_gives_the_exit_status() -> Outcome {
    let child = match sys::fork()? {
        0 => sys::exit_group(0x1_2A),
        child => child,
    };
    check!(sys::wait4(child, 0)? == (child, 0x2A00));
    Ok(())
}

fn wait_gives_the_signal_that_killed() -> Outcome {
    let child = match sys::fork()? {
        0 => loop {
            sys::sleep_ms(1000);
        },
        child => child,
    };
    rt::signal::kill(child, SIGKILL)?;
    check!(sys::wait4(child, 0)? == (child, SIGKILL as i32));
    Ok(())
}

fn wait_without_children_is_echild() -> Outcome {
    check!(sys::wait4(-1, 0) == Err(Errno(ECHILD)));
    Ok(())
}

fn wait_nohang_gives_nought_while_the_child_runs() -> Outcome {
    let gate = sys::pipe(0)?;
    let child = match sys::fork()? {
        0 => {
            let _ = sys::close(gate[1]);
            let _ = sys::read(gate[0], &mut [0]);
            sys::exit_group(0)
        }
        child => child,
    };
    check!(sys::wait4(child, WNOHANG)?.0 == 0);
    sys::close(gate[1])?;
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn an_orphan_is_given_to_init() -> Outcome {
    let report = sys::pipe(0)?;
    let child = match sys::fork()? {
        0 => {
            let parent = sys::getpid();
            if let Ok(0) = sys::fork() {
                // SAFETY: touches no memory.
                let now = || unsafe { rt::syscall0(__NR_getppid as usize) } as i32;
                while now() == parent {
                    sys::sleep_ms(1);
                }
                let _ = sys::write(report[1], &now().to_ne_bytes());
            }
            sys::exit_group(0)
        }
        child => child,
    };
    sys::wait4(child, 0)?;
    let mut parent = [0u8; 4];
    check!(sys::read(report[0], &mut parent)? == 4);
    check!(i32::from_ne_bytes(parent) == 1);
    Ok(())
}

/// A grandchild that asked for `signal` on its parent's death and then stopped or waits. Its parent has died, in the first
/// case once it had stopped; this process is its parent now.
fn orphan_with(signal: u32, stops: bool) -> Result<i32, sys::Errno> {
    prctl(PR_SET_CHILD_SUBREAPER, 1)?;
    let (asks, report) = (sys::pipe(0)?, sys::pipe(0)?);
    let parent = match sys::fork()? {
        0 => {
            let child = sys::fork().unwrap_or(0);
            if child == 0 {
                let asked = prctl(PR_SET_PDEATHSIG, signal as usize).is_ok();
                let _ = sys::write(asks[1], &sys::getpid().to_ne_bytes());
                if stops {
                    let _ = rt::signal::raise(SIGSTOP);
                    sys::exit_group(if asked { 7 } else { 1 });
                }
                loop {
                    sys::sleep_ms(1000);
                }
            }
            let mut asker = [0u8; 4];
            let _ = sys::read(asks[0], &mut asker);
            if stops {
                let _ = sys::wait4(child, WUNTRACED);
            }
            let _ = sys::write(report[1], &asker);
            sys::exit_group(0)
        }
        parent => parent,
    };
    let mut child = [0u8; 4];
    sys::read(report[0], &mut child)?;
    sys::wait4(parent, 0)?;
    Ok(i32::from_ne_bytes(child))
}

fn prctl(option: u32, value: usize) -> Result<usize, sys::Errno> {
    // SAFETY: neither of the options that are used here passes memory.
    sys::check(unsafe { rt::syscall2(__NR_prctl as usize, option as usize, value) })
}

fn the_parent_s_death_may_stop_a_child_and_let_it_go_on() -> Outcome {
    let child = orphan_with(SIGSTOP, false)?;
    check!(sys::wait4(child, WUNTRACED)? == (child, (SIGSTOP << 8 | 0x7f) as i32));
    rt::signal::kill(child, SIGKILL)?;
    check!(sys::wait4(child, 0)? == (child, SIGKILL as i32));
    let child = orphan_with(SIGCONT, true)?;
    check!(sys::wait4(child, 0)? == (child, 7 << 8));
    Ok(())
}

fn execve_of_nothing_is_enoent() -> Outcome {
    let argv = [c"x".as_ptr().cast(), core::ptr::null()];
    // SAFETY: both vectors end with a null pointer.
    let error = unsafe { sys::execve(c"/no/such/program", argv.as_ptr(), argv[1..].as_ptr()) };
    check!(error == Errno(ENOENT));
    Ok(())
}

fn execve_runs_the_program_with_its_arguments() -> Outcome {
    let child = match sys::fork()? {
        0 => {
            let argv =
                [c"guest-tests".as_ptr().cast(), c"child".as_ptr().cast(), c"77".as_ptr().cast(), core::ptr::null()];
            // SAFETY: both vectors end with a null pointer.
            unsafe { sys::execve(c"/proc/self/exe", argv.as_ptr(), argv[3..].as_ptr()) };
            sys::exit_group(1)
        }
        child => child,
    };
    check!(sys::wait4(child, 0)? == (child, 77 << 8));
    Ok(())
}

extern "C" fn write_slowly(place: usize) -> i32 {
    sys::sleep_ms(30);
    // SAFETY: the caller passes a word that outlives this child.
    unsafe { (place as *mut u32).write_volatile(7) };
    3
}

fn vfork_holds_the_parent_until_the_child_exits() -> Outcome {
    let mut word = 0u32;
    let place = &raw mut word;
    let stack = map_stack(16 * 1024)?;
    // SAFETY: the stack is new and the word outlives the child.
    let child = unsafe { clone_on(CLONE_VM | CLONE_VFORK | SIGCHLD, stack, write_slowly, place as usize)? };
    // SAFETY: a local word.
    check!(unsafe { place.read_volatile() } == 7);
    check!(sys::wait4(child, 0)? == (child, 3 << 8));
    Ok(())
}

fn a_thread_shares_memory_and_its_end_wakes_the_joiner() -> Outcome {
    let mut word = 0u32;
    let place = &raw mut word;
    let join = Join::new();
    // SAFETY: the stack is new, and the thread is waited for while both it and the word live.
    unsafe { join.spawn(map_stack(16 * 1024)?, write_slowly, place as usize)? };
    join.wait();
    // SAFETY: a local word.
    check!(unsafe { place.read_volatile() } == 7);
    Ok(())
}
