//! What threads share, as kcmp(2) tells it, and what they cannot join (setns(2)).

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{become_user, call, in_child};
use crate::{Outcome, check, tests};

tests! {
    kcmp_tells_what_a_child_shares,
    kcmp_tells_what_a_thread_shares,
    kcmp_orders_what_is_not_shared,
    kcmp_compares_open_files,
    kcmp_finds_what_an_epoll_instance_watches,
    kcmp_is_for_those_who_may_inspect,
    setns_joins_nothing_but_namespaces,
}

const FILE: usize = 0;
const VM: usize = 1;
const FILES: usize = 2;
const FS: usize = 3;
const SIGHAND: usize = 4;
const IO: usize = 5;
const SYSVSEM: usize = 6;
const EPOLL: usize = 7;

fn kcmp(a: i32, b: i32, kind: usize, rest: [usize; 2]) -> Result<usize, Errno> {
    call(__NR_kcmp, [a as usize, b as usize, kind, rest[0], rest[1]])
}

/// For each kind of thing whether `a` and `b` share it.
fn shared(a: i32, b: i32) -> Result<[bool; 6], Errno> {
    let mut shared = [false; 6];
    for (at, kind) in [VM, FILES, FS, SIGHAND, IO, SYSVSEM].into_iter().enumerate() {
        shared[at] = kcmp(a, b, kind, [0, 0])? == 0;
    }
    println!("shared: {shared:?}");
    Ok(shared)
}

/// A child made with some clone flags, which exits when the gate that is given beside it is closed.
fn child_with(flags: u32) -> Result<(i32, i32), Errno> {
    let gate = sys::pipe(0)?;
    let child = call(__NR_clone, [(flags | SIGCHLD) as usize, 0, 0, 0, 0])? as i32;
    if child == 0 {
        if flags & CLONE_FILES == 0 {
            let _ = sys::close(gate[1]);
        }
        let _ = sys::read(gate[0], &mut [0]);
        sys::exit_group(0)
    }
    Ok((child, gate[1]))
}

fn kcmp_tells_what_a_child_shares() -> Outcome {
    let own = sys::getpid();
    for (flags, expected) in [
        // Nobody has I/O contexts, nor yet semaphores to be undone.
        (0, [false, false, false, false, true, true]),
        (CLONE_FILES, [false, true, false, false, true, true]),
        (CLONE_FS, [false, false, true, false, true, true]),
        (CLONE_SYSVSEM, [false, false, false, false, true, true]),
        // Now there is a list, and this child has none.
        (0, [false, false, false, false, true, false]),
    ] {
        let (child, gate) = child_with(flags)?;
        check!(shared(own, child)? == expected);
        check!(shared(child, child)? == [true; 6]);
        sys::write(gate, b"x")?;
        sys::close(gate)?;
        check!(sys::wait4(child, 0)? == (child, 0));
        check!(kcmp(own, child, VM, [0, 0]) == Err(Errno(ESRCH)));
    }
    Ok(())
}

extern "C" fn compare(main: usize) -> i32 {
    let own = call(__NR_gettid, []).unwrap_or(0) as i32;
    i32::from(!shared(own, main as i32).is_ok_and(|shared| shared[..4] == [true; 4]))
}

static COMPARED: core::sync::atomic::AtomicI32 = core::sync::atomic::AtomicI32::new(-1);

extern "C" fn compare_and_note(main: usize) -> i32 {
    COMPARED.store(compare(main), core::sync::atomic::Ordering::SeqCst);
    0
}

fn kcmp_tells_what_a_thread_shares() -> Outcome {
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    unsafe { join.spawn(map_stack(16 * 1024)?, compare_and_note, sys::getpid() as usize)? };
    join.wait();
    check!(COMPARED.load(core::sync::atomic::Ordering::SeqCst) == 0);
    Ok(())
}

fn kcmp_orders_what_is_not_shared() -> Outcome {
    let own = sys::getpid();
    let (first, gate) = child_with(0)?;
    let (second, other_gate) = child_with(0)?;
    for kind in [VM, FILES, FS, SIGHAND] {
        for (a, b) in [(own, first), (first, second), (own, second)] {
            let (there, back) = (kcmp(a, b, kind, [0, 0])?, kcmp(b, a, kind, [0, 0])?);
            check!(matches!((there, back), (1, 2) | (2, 1)));
            check!(kcmp(a, b, kind, [0, 0])? == there);
        }
    }
    for (child, gate) in [(first, gate), (second, other_gate)] {
        sys::write(gate, b"x")?;
        check!(sys::wait4(child, 0)? == (child, 0));
    }
    check!(kcmp(own, own, 8, [0, 0]) == Err(Errno(EINVAL)));
    check!(kcmp(own, own, usize::MAX, [0, 0]) == Err(Errno(EINVAL)));
    check!(kcmp(own, 0, VM, [0, 0]) == Err(Errno(ESRCH)));
    check!(kcmp(-1, own, VM, [0, 0]) == Err(Errno(ESRCH)));
    Ok(())
}

fn kcmp_compares_open_files() -> Outcome {
    let own = sys::getpid();
    let [a, b] = sys::pipe(0)?;
    let (child, gate) = child_with(0)?;
    let same = sys::dup3(a, 100, 0)?;
    let again = sys::open(c"/proc/self/exe", O_RDONLY, 0)?;
    let another = sys::open(c"/proc/self/exe", O_RDONLY, 0)?;
    let compare = |other, x: i32, y: i32| kcmp(own, other, FILE, [x as usize, y as usize]);
    check!(compare(own, a, same)? == 0 && compare(child, same, a)? == 0 && compare(child, b, b)? == 0);
    check!(compare(own, a, b)? != 0 && compare(own, again, another)? != 0);
    check!(compare(own, a, 1000) == Err(Errno(EBADF)) && compare(own, -1, a) == Err(Errno(EBADF)));
    check!(compare(child, a, again) == Err(Errno(EBADF)));
    sys::write(gate, b"x")?;
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn kcmp_finds_what_an_epoll_instance_watches() -> Outcome {
    let own = sys::getpid();
    let [a, b] = sys::pipe(0)?;
    let epoll = call(__NR_epoll_create1, [0])? as i32;
    let add = |fd: i32| {
        let event = [EPOLLIN, 0, 0, 0];
        call(__NR_epoll_ctl, [epoll as usize, EPOLL_CTL_ADD as usize, fd as usize, event.as_ptr() as usize])
    };
    add(a)?;
    // Watched by a number that is used twice: for each end of the pipe, which stay open by other numbers.
    sys::dup3(a, 50, 0)?;
    add(50)?;
    sys::dup3(b, 50, 0)?;
    add(50)?;
    sys::close(50)?;
    let find = |file: i32, slot: [u32; 3]| kcmp(own, own, EPOLL, [file as usize, slot.as_ptr() as usize]);
    let epoll_fd = epoll as u32;
    check!(find(a, [epoll_fd, a as u32, 0])? == 0 && find(b, [epoll_fd, a as u32, 0])? != 0);
    let first_is_a = find(a, [epoll_fd, 50, 0])? == 0;
    check!(find(if first_is_a { b } else { a }, [epoll_fd, 50, 1])? == 0);
    check!(find(a, [epoll_fd, 50, 2]) == Err(Errno(ENOENT)));
    check!(find(a, [epoll_fd, b as u32, 0]) == Err(Errno(ENOENT)));
    check!(find(a, [b as u32, a as u32, 0]) == Err(Errno(EINVAL)));
    check!(find(a, [1000, a as u32, 0]) == Err(Errno(EBADF)));
    check!(kcmp(own, own, EPOLL, [a as usize, 8]) == Err(Errno(EFAULT)));
    Ok(())
}

fn kcmp_is_for_those_who_may_inspect() -> Outcome {
    let parent = sys::getpid();
    let status = in_child(|| {
        become_user(1000)?;
        let own = sys::getpid();
        check!(kcmp(own, own, VM, [0, 0]) == Ok(0));
        check!(kcmp(own, parent, VM, [0, 0]) == Err(Errno(EPERM)));
        check!(kcmp(parent, own, VM, [0, 0]) == Err(Errno(EPERM)));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

/// setns(2), ERRORS.
fn setns_joins_nothing_but_namespaces() -> Outcome {
    let setns = |fd: i32, flags: u32| call(__NR_setns, [fd as usize, flags as usize]);
    let pipe = sys::pipe(0)?;
    check!(setns(-1, 0) == Err(Errno(EBADF)));
    check!(setns(1000, CLONE_NEWNS) == Err(Errno(EBADF)));
    check!(setns(pipe[0], 0) == Err(Errno(EINVAL)) && setns(pipe[0], CLONE_NEWNS) == Err(Errno(EINVAL)));
    let own = call(__NR_pidfd_open, [sys::getpid() as usize, 0])? as i32;
    check!(setns(own, 0) == Err(Errno(EINVAL)) && setns(own, CLONE_VM) == Err(Errno(EINVAL)));
    Ok(())
}
