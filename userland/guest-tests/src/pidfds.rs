//! Descriptors of processes (pidfd_open(2)), and files that signal their owner (fcntl(2), O_ASYNC).

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use rt::raw::errno::{EBADF, ECHILD, EINVAL, EPERM, ESRCH};
use rt::raw::general::*;
use rt::raw::ioctl::FIOASYNC;
use rt::signal;
use rt::sys::{self, Errno, check};
use rt::thread::{Join, map_stack};
use rt::{println, syscall2, syscall3, syscall4, syscall5};

use crate::support::{become_user, call, eventually, stat_path};
use crate::{Outcome, check, tests};

tests! {
    a_pidfd_is_ready_once_the_process_has_exited,
    a_pidfd_carries_signals_and_not_to_those_who_were_reaped,
    an_open_directory_of_proc_carries_signals_too,
    waitid_takes_a_pidfd,
    clone_gives_the_parent_a_pidfd,
    a_pidfd_of_nobody_is_refused,
    a_pidfd_of_a_thread_is_ready_once_that_has_exited,
    a_pidfd_of_a_thread_carries_signals_to_that_thread,
    clone_gives_a_pidfd_of_a_thread,
    pidfd_getfd_gives_what_another_process_has_open,
    pidfd_getfd_is_for_those_who_may_trace,
    a_file_with_o_async_signals_its_owner,
    fioasync_off_ends_the_signals,
    f_setsig_says_which_file_and_why,
}

fn pidfd_open(pid: i32, flags: u32) -> Result<i32, Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { syscall2(__NR_pidfd_open as usize, pid as usize, flags as usize) }).map(|fd| fd as i32)
}

fn pidfd_signal(fd: i32, signal: u32) -> Result<usize, Errno> {
    // SAFETY: no siginfo is given.
    check(unsafe { syscall4(__NR_pidfd_send_signal as usize, fd as usize, signal as usize, 0, 0) })
}

/// waitid with P_PIDFD; gives what is in the siginfo as signal, code and status.
fn waitid(fd: i32, options: u32) -> Result<[i32; 3], Errno> {
    let mut info = [0i32; 32];
    let at = info.as_mut_ptr() as usize;
    // SAFETY: there is room for a siginfo, and no usage is asked for.
    check(unsafe { syscall5(__NR_waitid as usize, P_PIDFD as usize, fd as usize, at, options as usize, 0) })?;
    Ok([info[0], info[2], info[6]])
}

fn is_ready(fd: i32, ms: i64) -> Result<bool, Errno> {
    Ok(sys::poll(&mut [pollfd { fd, events: POLLIN as i16, revents: 0 }], ms)? == 1)
}

/// A child that exits with `status` once something was written to the pipe that is given beside it.
fn child_at_gate(status: i32) -> Result<(i32, i32), Errno> {
    let gate = sys::pipe(0)?;
    match sys::fork()? {
        0 => {
            let _ = sys::read(gate[0], &mut [0]);
            sys::exit_group(status)
        }
        child => Ok((child, gate[1])),
    }
}

fn a_pidfd_is_ready_once_the_process_has_exited() -> Outcome {
    let (child, gate) = child_at_gate(3)?;
    let fd = pidfd_open(child, 0)?;
    check!(!is_ready(fd, 20)?);
    sys::write(gate, b"x")?;
    check!(is_ready(fd, 5000)?);
    check!(sys::wait4(child, 0)? == (child, 3 << 8));
    check!(is_ready(fd, 0)?);
    Ok(())
}

fn a_pidfd_carries_signals_and_not_to_those_who_were_reaped() -> Outcome {
    let (child, _) = child_at_gate(0)?;
    let fd = pidfd_open(child, 0)?;
    check!(pidfd_signal(fd, 0)? == 0);
    pidfd_signal(fd, SIGTERM)?;
    check!(sys::wait4(child, 0)? == (child, SIGTERM as i32));
    check!(pidfd_signal(fd, 0) == Err(Errno(ESRCH)));
    check!(pidfd_signal(0, 0) == Err(Errno(EBADF)));
    Ok(())
}

/// pidfd_send_signal(2), NOTES.
fn an_open_directory_of_proc_carries_signals_too() -> Outcome {
    let (child, _) = child_at_gate(0)?;
    let mut room = [0; 32];
    let end = stat_path(child, &mut room).count_bytes() - "/stat".len();
    room[end] = 0;
    let path = CStr::from_bytes_until_nul(&room).unwrap_or_default();
    let fd = sys::open(path, O_RDONLY | O_DIRECTORY, 0)?;
    check!(pidfd_signal(fd, 0)? == 0);
    pidfd_signal(fd, SIGTERM)?;
    check!(sys::wait4(child, 0)? == (child, SIGTERM as i32));
    check!(pidfd_signal(fd, 0) == Err(Errno(ESRCH)));
    for other in [c"/proc", c"/proc/self/task", c"/proc/self/stat", c"/tmp"] {
        let fd = sys::open(other, O_RDONLY, 0)?;
        check!(pidfd_signal(fd, 0) == Err(Errno(EBADF)));
    }
    Ok(())
}

fn waitid_takes_a_pidfd() -> Outcome {
    let (child, gate) = child_at_gate(7)?;
    let fd = pidfd_open(child, O_NONBLOCK)?;
    check!(waitid(fd, WEXITED) == Err(Errno::AGAIN));
    sys::write(gate, b"x")?;
    check!(is_ready(fd, 5000)?);
    let told = waitid(fd, WEXITED)?;
    println!("signal, code and status: {told:?}");
    check!(told == [SIGCHLD as i32, 1, 7]);
    check!(waitid(fd, WEXITED) == Err(Errno(ECHILD)));
    check!(waitid(0, WEXITED) == Err(Errno(EBADF)));
    Ok(())
}

fn clone_gives_the_parent_a_pidfd() -> Outcome {
    let mut fd = -1i32;
    let at = &raw mut fd as usize;
    // SAFETY: a fork whose descriptor goes to a live word.
    let child = check(unsafe { syscall5(__NR_clone as usize, (CLONE_PIDFD | SIGCHLD) as usize, 0, at, 0, 0) })?;
    if child == 0 {
        sys::exit_group(5);
    }
    // SAFETY: the kernel has written it.
    let fd = unsafe { (&raw const fd).read_volatile() };
    check!(fd > 2);
    check!(is_ready(fd, 5000)?);
    check!(waitid(fd, WEXITED)?[2] == 5);
    // SAFETY: no memory is passed.
    check!(check(unsafe { syscall3(__NR_fcntl as usize, fd as usize, F_GETFD as usize, 0) })? == FD_CLOEXEC as usize);
    Ok(())
}

fn a_pidfd_of_nobody_is_refused() -> Outcome {
    check!(pidfd_open(0, 0) == Err(Errno(EINVAL)));
    check!(pidfd_open(-1, 0) == Err(Errno(EINVAL)));
    check!(pidfd_open(sys::getpid(), 1) == Err(Errno(EINVAL)));
    check!(pidfd_open(4_194_303, 0) == Err(Errno(ESRCH)));
    Ok(())
}

static COUNT: AtomicU32 = AtomicU32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static FILE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note(_: i32, info: *mut siginfo_t, _: *mut core::ffi::c_void) {
    // SAFETY: the handler was installed with SA_SIGINFO; the code lies 8 bytes into the structure, the descriptor 24.
    let (code, file) = unsafe { (info.cast::<i32>().add(2).read(), info.cast::<i32>().add(6).read()) };
    CODE.store(code, Ordering::Relaxed);
    FILE.store(file, Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Relaxed);
}

fn fcntl(fd: i32, command: u32, argument: usize) -> Result<usize, Errno> {
    // SAFETY: none of the commands here takes a pointer.
    check(unsafe { syscall3(__NR_fcntl as usize, fd as usize, command as usize, argument) })
}

/// Waits until the handler has run `count` times, or long enough.
fn signals(count: u32) -> bool {
    for _ in 0..200 {
        if COUNT.load(Ordering::Relaxed) >= count {
            break;
        }
        sys::sleep_ms(5);
    }
    COUNT.load(Ordering::Relaxed) == count
}

fn a_file_with_o_async_signals_its_owner() -> Outcome {
    signal::handle(SIGIO, note, SA_SIGINFO)?;
    let pipe = sys::pipe(0)?;
    fcntl(pipe[0], F_SETOWN, sys::getpid() as usize)?;
    check!(fcntl(pipe[0], F_GETOWN, 0)? == sys::getpid() as usize);
    sys::write(pipe[1], b"x")?;
    sys::sleep_ms(20);
    check!(COUNT.load(Ordering::Relaxed) == 0);
    fcntl(pipe[0], F_SETFL, O_NONBLOCK as usize | FASYNC as usize)?;
    check!(fcntl(pipe[0], F_GETFL, 0)? & FASYNC as usize != 0);
    sys::write(pipe[1], b"x")?;
    check!(signals(1));
    sys::read(pipe[0], &mut [0; 8])?;
    sys::write(pipe[1], b"x")?;
    check!(signals(2));
    Ok(())
}

fn fioasync_off_ends_the_signals() -> Outcome {
    signal::handle(SIGIO, note, SA_SIGINFO)?;
    let pipe = sys::pipe(0)?;
    fcntl(pipe[0], F_SETOWN, sys::getpid() as usize)?;
    let (on, off) = (1i32, 0i32);
    // SAFETY: the argument is an int.
    unsafe { sys::ioctl(pipe[0], FIOASYNC, &raw const on as usize)? };
    sys::write(pipe[1], b"x")?;
    check!(signals(1));
    // SAFETY: as above.
    unsafe { sys::ioctl(pipe[0], FIOASYNC, &raw const off as usize)? };
    check!(fcntl(pipe[0], F_GETFL, 0)? & FASYNC as usize == 0);
    sys::write(pipe[1], b"x")?;
    sys::sleep_ms(30);
    check!(COUNT.load(Ordering::Relaxed) == 1);
    Ok(())
}

fn f_setsig_says_which_file_and_why() -> Outcome {
    const REALTIME: u32 = 40;
    signal::handle(REALTIME, note, SA_SIGINFO)?;
    let pipe = sys::pipe(0)?;
    fcntl(pipe[0], F_SETOWN, sys::getpid() as usize)?;
    fcntl(pipe[0], F_SETSIG, REALTIME as usize)?;
    check!(fcntl(pipe[0], F_GETSIG, 0)? == REALTIME as usize);
    fcntl(pipe[0], F_SETFL, FASYNC as usize)?;
    sys::write(pipe[1], b"x")?;
    check!(signals(1));
    let (code, file) = (CODE.load(Ordering::Relaxed), FILE.load(Ordering::Relaxed));
    println!("code {code}, descriptor {file} (expected {})", pipe[0]);
    check!(code == 1 && file == pipe[0]);
    check!(fcntl(pipe[0], F_SETSIG, 65) == Err(Errno(EINVAL)));
    Ok(())
}

fn getfd(pidfd: i32, fd: i32, flags: usize) -> Result<i32, Errno> {
    call(__NR_pidfd_getfd, [pidfd as usize, fd as usize, flags]).map(|fd| fd as i32)
}

fn pidfd_getfd_gives_what_another_process_has_open() -> Outcome {
    let pipe = sys::pipe(0)?;
    let gate = sys::pipe(0)?;
    let child = match sys::fork()? {
        0 => {
            let _ = (sys::dup3(pipe[1], 77, 0), sys::write(gate[1], b"x"));
            sys::sleep_ms(60_000);
            sys::exit_group(0)
        }
        child => child,
    };
    sys::close(pipe[1])?;
    sys::read(gate[0], &mut [0])?;
    let pidfd = pidfd_open(child, 0)?;
    let fd = getfd(pidfd, 77, 0)?;
    check!(fcntl(fd, F_GETFD, 0)? == FD_CLOEXEC as usize);
    sys::write(fd, b"y")?;
    let mut byte = [0];
    check!(sys::read(pipe[0], &mut byte)? == 1 && byte == *b"y");
    check!(getfd(pidfd, 78, 0) == Err(Errno(EBADF)));
    check!(getfd(pidfd, 77, 1) == Err(Errno(EINVAL)));
    check!(getfd(pipe[0], 77, 0) == Err(Errno(EBADF)));
    signal::kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    check!(getfd(pidfd, 77, 0) == Err(Errno(ESRCH)));
    Ok(())
}

fn pidfd_getfd_is_for_those_who_may_trace() -> Outcome {
    let (child, gate) = child_at_gate(0)?;
    let pidfd = pidfd_open(child, 0)?;
    become_user(4321)?;
    check!(getfd(pidfd, 0, 0) == Err(Errno(EPERM)));
    sys::write(gate, b"x")?;
    Ok(())
}

static STAGE: AtomicU32 = AtomicU32::new(0);

extern "C" fn wait_for_the_end(_: usize) -> i32 {
    STAGE.store(call(__NR_gettid, []).map_or(1, |id| id as u32), Ordering::SeqCst);
    while STAGE.load(Ordering::SeqCst) != 2 {
        sys::sleep_ms(1);
    }
    0
}

const PIDFD_THREAD: u32 = O_EXCL;

/// What poll says of a descriptor.
fn events(fd: i32, ms: i64) -> Result<u32, Errno> {
    let mut one = [pollfd { fd, events: POLLIN as i16, revents: 0 }];
    sys::poll(&mut one, ms)?;
    Ok(one[0].revents as u32)
}

fn a_pidfd_of_a_thread_is_ready_once_that_has_exited() -> Outcome {
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    let tid = unsafe { join.spawn(map_stack(16 * 1024)?, wait_for_the_end, 0)? };
    let fd = match pidfd_open(tid, PIDFD_THREAD) {
        // Before Linux 6.9.
        Err(Errno(EINVAL)) => {
            check!(becomes_thread(tid));
            STAGE.store(2, Ordering::SeqCst);
            join.wait();
            return Ok(());
        }
        fd => fd?,
    };
    check!(pidfd_open(tid, 0).is_err());
    check!(events(fd, 20)? == 0);
    check!(pidfd_signal(fd, 0)? == 0);
    check!(becomes_thread(tid));
    STAGE.store(2, Ordering::SeqCst);
    check!(events(fd, 5000)? & POLLIN == POLLIN);
    join.wait();
    check!(eventually(|| pidfd_signal(fd, 0) == Err(Errno(ESRCH))));
    check!(eventually(|| events(fd, 0).is_ok_and(|found| found == POLLIN | POLLHUP)));
    check!(pidfd_open(tid, PIDFD_THREAD) == Err(Errno(ESRCH)));
    Ok(())
}

fn becomes_thread(tid: i32) -> bool {
    eventually(|| STAGE.load(Ordering::SeqCst) == tid as u32)
}

static TOLD: AtomicU32 = AtomicU32::new(0);

extern "C" fn note_thread(_: i32, info: *mut siginfo_t, _: *mut core::ffi::c_void) {
    // SAFETY: the handler was installed with SA_SIGINFO; the code lies 8 bytes into the structure.
    CODE.store(unsafe { info.cast::<i32>().add(2).read() }, Ordering::SeqCst);
    TOLD.store(call(__NR_gettid, []).map_or(1, |id| id as u32), Ordering::SeqCst);
}

fn a_pidfd_of_a_thread_carries_signals_to_that_thread() -> Outcome {
    signal::handle(SIGUSR1, note_thread, SA_SIGINFO)?;
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    let tid = unsafe { join.spawn(map_stack(16 * 1024)?, wait_for_the_end, 0)? };
    check!(becomes_thread(tid));
    if let Ok(fd) = pidfd_open(tid, PIDFD_THREAD) {
        pidfd_signal(fd, SIGUSR1)?;
        check!(eventually(|| TOLD.load(Ordering::SeqCst) == tid as u32));
        check!(CODE.load(Ordering::SeqCst) == -6);
        // The flag says whom, whatever the descriptor is.
        let own = pidfd_open(sys::getpid(), 0)?;
        let send = |fd: i32, flags: usize| call(__NR_pidfd_send_signal, [fd as usize, SIGUSR1 as usize, 0, flags]);
        send(own, 1)?;
        check!(eventually(|| TOLD.load(Ordering::SeqCst) == sys::getpid() as u32));
        check!(CODE.load(Ordering::SeqCst) == -6);
        TOLD.store(0, Ordering::SeqCst);
        send(own, 2)?;
        check!(eventually(|| TOLD.load(Ordering::SeqCst) != 0) && CODE.load(Ordering::SeqCst) == 0);
        check!(send(own, 3) == Err(Errno(EINVAL)) && send(own, 8) == Err(Errno(EINVAL)));
        // The tests run in sessions, and so in groups, of their own.
        TOLD.store(0, Ordering::SeqCst);
        send(own, 4)?;
        check!(eventually(|| TOLD.load(Ordering::SeqCst) != 0));
        check!(send(fd, 4) == Err(Errno(ESRCH)));
    }
    STAGE.store(2, Ordering::SeqCst);
    join.wait();
    Ok(())
}

fn clone_gives_a_pidfd_of_a_thread() -> Outcome {
    let mut fd = -1i32;
    // In pidfd, stack and stack_size; the flags are those of a thread.
    let stack = map_stack(16 * 1024)? as u64;
    let flags = u64::from(rt::thread::THREAD_FLAGS | CLONE_PIDFD);
    let record = [flags, &raw mut fd as u64, 0, 0, 0, stack - 16 * 1024, 16 * 1024, 0];
    match clone3_thread(&record)? {
        None => return Ok(()),
        Some(tid) => check!(tid > 0),
    }
    // SAFETY: the kernel has written it.
    let fd = unsafe { (&raw const fd).read_volatile() };
    check!(fd > 2);
    check!(events(fd, 5000)? & POLLIN == POLLIN);
    Ok(())
}

/// A thread that exits at once. `None` where the kernel makes no pidfds of threads.
fn clone3_thread(record: &[u64; 8]) -> Result<Option<usize>, Errno> {
    let result: isize;
    // SAFETY: the thread touches nothing: it exits by the next call.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor edi, edi",
            "mov eax, 60",
            "syscall",
            "2:",
            inlateout("rax") __NR_clone3 as isize => result,
            in("rdi") record.as_ptr(),
            in("rsi") 64,
            out("rcx") _,
            out("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x8, 93",
            "svc 0",
            "2:",
            inlateout("x0") record.as_ptr() as isize => result,
            in("x1") 64,
            in("x8") __NR_clone3 as usize,
        );
    }
    match check(result) {
        Err(Errno(EINVAL)) => Ok(None),
        other => other.map(Some),
    }
}
