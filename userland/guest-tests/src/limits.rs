//! What limits hold: of a process, of a user (setrlimit(2)), and of the machine (/proc/sys/kernel).

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::raw::net;
use rt::signal;
use rt::sys::{self, Errno};

use crate::exhaustion::{alone, comes_back, raw, set_limit};
use crate::support::{become_user, in_child};
use crate::{Outcome, Why, check, tests};

tests! {
    descriptors_run_out_with_emfile,
    processes_run_out_with_eagain_for_their_user_alone,
    process_numbers_and_threads_of_the_machine_run_out_with_eagain,
    a_fork_bomb_under_rlimit_nproc_leaves_others_running,
    rlimit_as_and_rlimit_data_are_enomem,
    a_stack_beyond_its_limit_is_sigsegv,
}

fn descriptors_run_out_with_emfile() -> Outcome {
    set_limit(RLIMIT_NOFILE, 100)?;
    let null = sys::open(c"/dev/null", O_RDONLY, 0)? as usize;
    let last = loop {
        if let Err(error) = raw(__NR_dup, [null, 0, 0, 0, 0, 0]) {
            break error;
        }
    };
    check!(last == Errno(EMFILE));
    check!(sys::open(c"/dev/null", O_RDONLY, 0) == Err(Errno(EMFILE)));
    check!(sys::pipe(0) == Err(Errno(EMFILE)));
    check!(raw(__NR_socket, [net::AF_UNIX as usize, 1, 0, 0, 0, 0]) == Err(Errno(EMFILE)));
    check!(raw(__NR_epoll_create1, [0; 6]) == Err(Errno(EMFILE)));
    check!(raw(__NR_eventfd2, [0; 6]) == Err(Errno(EMFILE)));
    check!(raw(__NR_dup3, [null, 100, 0, 0, 0, 0]) == Err(Errno(EBADF)));
    check!(raw(__NR_fcntl, [null, F_DUPFD as usize, 100, 0, 0, 0]) == Err(Errno(EINVAL)));
    // Room for one: a pipe takes none of it.
    sys::close(99)?;
    check!(sys::pipe(0) == Err(Errno(EMFILE)));
    check!(sys::open(c"/dev/null", O_RDONLY, 0) == Ok(99));
    Ok(())
}

/// Forks until that fails, lets all children go, and sees that there is room again. How many there were, and the error.
fn fork_until_it_fails() -> Result<(u32, Errno), Why> {
    let gate = sys::pipe(0)?;
    let mut children = 0;
    let last = loop {
        match sys::fork() {
            Ok(0) => {
                let _ = sys::close(gate[1]);
                let _ = sys::read(gate[0], &mut [0]);
                sys::exit_group(0)
            }
            Ok(_) => children += 1,
            Err(error) => break error,
        }
    };
    sys::close(gate[1])?;
    for _ in 0..children {
        sys::wait4(-1, 0)?;
    }
    check!(in_child(|| Ok(()))? == 0);
    Ok((children, last))
}

fn processes_run_out_with_eagain_for_their_user_alone() -> Outcome {
    let status = in_child(|| {
        set_limit(RLIMIT_NPROC, 20)?;
        become_user(54_001)?;
        check!(fork_until_it_fails()? == (19, Errno::AGAIN));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

/// Writes a number to a file of /proc/sys; gives what was there.
fn replace(path: &core::ffi::CStr, value: &[u8]) -> Result<([u8; 16], usize), Errno> {
    let fd = sys::open(path, O_RDWR, 0)?;
    let mut old = [0; 16];
    let len = sys::read(fd, &mut old)?;
    raw(__NR_pwrite64, [fd as usize, value.as_ptr() as usize, value.len(), 0, 0, 0])?;
    sys::close(fd)?;
    Ok((old, len))
}

fn process_numbers_and_threads_of_the_machine_run_out_with_eagain() -> Outcome {
    if !alone() {
        return Ok(());
    }
    for (path, limit) in [(c"/proc/sys/kernel/pid_max", 500), (c"/proc/sys/kernel/threads-max", 200)] {
        let text: &[u8] = if limit == 500 { b"500" } else { b"200" };
        let (old, len) = replace(path, text)?;
        let outcome = fork_until_it_fails();
        replace(path, &old[..len])?;
        let (children, last) = outcome?;
        println!("{children} children");
        check!(last == Errno::AGAIN);
        check!((100..limit).contains(&children));
        check!(in_child(|| Ok(()))? == 0);
    }
    Ok(())
}

fn a_fork_bomb_under_rlimit_nproc_leaves_others_running() -> Outcome {
    let before = sys::memory().0;
    if sys::fork()? == 0 {
        if set_limit(RLIMIT_NPROC, 300).and_then(|()| become_user(54_002)).is_err() {
            sys::exit_group(1);
        }
        loop {
            let _ = sys::fork();
        }
    }
    let until = sys::clock_ns(CLOCK_MONOTONIC) + 1_000_000_000;
    let mut rounds = 0;
    while sys::clock_ns(CLOCK_MONOTONIC) < until || rounds < 3 {
        // Others fork as ever.
        check!(in_child(|| Ok(()))? == 0);
        rounds += 1;
    }
    let killer = || {
        let _ = become_user(54_002);
        let _ = signal::kill(-1, SIGKILL);
        Ok(())
    };
    // Children are orphaned as their parents are killed, and come here; some are born meanwhile.
    raw(__NR_prctl, [rt::raw::prctl::PR_SET_CHILD_SUBREAPER as usize, 1, 0, 0, 0, 0])?;
    loop {
        check!(in_child(killer)? == 0);
        match sys::wait4(-1, WNOHANG) {
            Err(_) => break,
            Ok((pid, status)) if pid > 0 => check!(status == SIGKILL as i32),
            Ok(_) => {}
        }
    }
    check!(comes_back(before));
    Ok(())
}

/// Touches every page of new memory until there is no more.
fn rlimit_as_and_rlimit_data_are_enomem() -> Outcome {
    let status = in_child(|| {
        set_limit(RLIMIT_DATA, 16 << 20)?;
        check!(sys::mmap_anonymous(32 << 20) == Err(Errno(ENOMEM)));
        // What is not private and writable is no data.
        sys::mmap(0, 32 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)?;
        let end = raw(__NR_brk, [0; 6])?;
        check!(raw(__NR_brk, [end + (32 << 20), 0, 0, 0, 0, 0])? == end);
        set_limit(RLIMIT_AS, 64 << 20)?;
        check!(sys::mmap(0, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == Err(Errno(ENOMEM)));
        let some = sys::mmap_anonymous(1 << 20)? as usize;
        let grown = raw(__NR_mremap, [some, 1 << 20, 128 << 20, MREMAP_MAYMOVE as usize, 0, 0]);
        check!(grown == Err(Errno(ENOMEM)));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

/// Uses a lot of stack.
#[inline(never)]
fn descend(depth: usize) -> usize {
    let mut room = [0u8; 1024];
    // SAFETY: a local.
    unsafe { room.as_mut_ptr().add(depth % 1024).write_volatile(1) };
    if depth == 0 { 0 } else { descend(depth - 1) + usize::from(room[depth % 1024]) }
}

fn a_stack_beyond_its_limit_is_sigsegv() -> Outcome {
    let limited = |depth| {
        in_child(|| {
            set_limit(RLIMIT_STACK, 1 << 20)?;
            check!(descend(depth) == depth);
            Ok(())
        })
    };
    check!(limited(500)? == 0);
    check!(limited(20_000)? & 0x7f == SIGSEGV as i32);
    Ok(())
}
