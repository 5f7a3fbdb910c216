//! Bad pointers in any argument: EFAULT, and nothing lost (each call's man page, "EFAULT").
//!
//! A table names for each call what its arguments are, one of which is the pointer. It is called with that pointer
//! going nowhere in every way there is.

use rt::raw::errno::{EAGAIN, EFAULT, ENOSYS};
use rt::raw::general::*;
use rt::raw::prctl::{PR_GET_NAME, PR_SET_NAME};
use rt::raw::{ioctl, net};
use rt::sys::{self, Errno};
use rt::{print, println};

use crate::{Outcome, check, tests};

tests! {
    a_bad_pointer_in_any_argument_is_efault,
    a_read_into_a_bad_buffer_loses_nothing_of_a_pipe,
    a_read_that_runs_into_a_bad_page_gives_what_fitted,
    recvfrom_into_a_bad_buffer_keeps_the_stream,
    pipe2_and_socketpair_with_a_bad_pointer_leave_no_descriptors,
    accept_with_a_bad_address_leaves_no_descriptor,
    recvmsg_with_a_bad_control_buffer_leaves_no_descriptor,
    wait_with_a_bad_status_pointer_is_efault,
    dequeuing_a_signal_into_a_bad_siginfo_is_efault,
    an_iovec_with_a_bad_entry_is_efault_or_gives_what_came_before,
}

/// What an argument is.
#[derive(Clone, Copy)]
enum Arg {
    /// The bad pointer.
    Bad,
    Is(usize),
}

/// What the kernel does with the memory, and so which pointers are bad.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Reads all of it.
    Reads,
    /// As `Reads`; null means that there is none.
    ReadsIfAny,
    /// Reads as far as it can: the end of a mapping is no error.
    ReadsSome,
    /// Reads a word that must be aligned: the end of a mapping is no error of this kind.
    ReadsWord,
    Writes,
    WritesIfAny,
    WritesSome,
    /// As `Writes`; null is another error.
    WritesNotNull,
}

impl Use {
    fn writes(self) -> bool {
        matches!(self, Use::Writes | Use::WritesIfAny | Use::WritesSome | Use::WritesNotNull)
    }
}

/// Memory around which pointers are bad.
struct Bad {
    unmapped: usize,
    read_only: usize,
    /// The last byte before an unmapped page; the byte is not nought.
    last: usize,
}

impl Bad {
    fn new() -> Result<Bad, Errno> {
        // First, so that it does not fill the hole.
        let read_only = sys::mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)? as usize;
        let memory = sys::mmap_anonymous(2 * 4096)?;
        // SAFETY: the second page is nobody's; the first one's last byte is in the mapping.
        unsafe {
            sys::munmap(memory.add(4096), 4096)?;
            memory.add(4095).write_volatile(b'x');
        }
        Ok(Bad { unmapped: memory as usize + 4096, read_only, last: memory as usize + 4095 })
    }

    /// Each bad pointer for this use, with what it is.
    fn pointers(&self, usage: Use) -> [Option<(&'static str, usize)>; 7] {
        let whole = !matches!(usage, Use::ReadsSome | Use::ReadsWord | Use::WritesSome);
        let null = !matches!(usage, Use::ReadsIfAny | Use::WritesIfAny | Use::WritesNotNull);
        [
            null.then_some(("null", 0)),
            Some(("unmapped", self.unmapped)),
            Some(("in the kernel's half", 0xffff_8000_0000_1000)),
            Some(("not canonical", 1 << 62)),
            Some(("at the top", usize::MAX - 4095)),
            usage.writes().then_some(("read-only", self.read_only)),
            whole.then_some(("across the end of a mapping", self.last)),
        ]
    }
}

fn raw(number: u32, args: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the tests here pass memory of their own, or none that there is.
    sys::check(unsafe { rt::syscall6(number as usize, a, b, c, d, e, f) })
}

/// How many descriptors are open, as far as low numbers go.
fn open_descriptors() -> usize {
    (0..256).filter(|&fd| raw(__NR_fcntl, [fd, F_GETFD as usize, 0, 0, 0, 0]).is_ok()).count()
}

fn socket_pair(kind: usize) -> Result<[i32; 2], Errno> {
    let mut fds = [0; 2];
    raw(__NR_socketpair, [net::AF_UNIX as usize, kind, 0, fds.as_mut_ptr() as usize, 0, 0])?;
    Ok(fds)
}

fn a_bad_pointer_in_any_argument_is_efault() -> Outcome {
    use Arg::{Bad as P, Is};
    use Use::*;
    let bad = Bad::new()?;
    let file = sys::open(c"/tmp/guest-tests-pointers", O_RDWR | O_CREAT, 0o600)? as usize;
    sys::write_all(file as i32, &[1; 8192])?;
    raw(__NR_lseek, [file, 0, 0, 0, 0, 0])?;
    let dir = sys::open(c"/", O_RDONLY | O_DIRECTORY, 0)? as usize;
    let [pipe_in, pipe_out] = sys::pipe(0)?.map(|fd| fd as usize);
    sys::write_all(pipe_out as i32, &[2; 100])?;
    let [stream, peer] = socket_pair(net::SOCK_STREAM as usize)?.map(|fd| fd as usize);
    sys::write_all(peer as i32, &[3; 100])?;
    let [messages, messages_peer] = socket_pair(net::SOCK_DGRAM as usize)?.map(|fd| fd as usize);
    let free = raw(__NR_socket, [net::AF_INET as usize, net::SOCK_STREAM as usize, 0, 0, 0, 0])?;
    let epoll = raw(__NR_epoll_create1, [0; 6])?;
    let event = [1u32, 0, 0, 0];
    raw(__NR_epoll_ctl, [epoll, EPOLL_CTL_ADD as usize, pipe_in, event.as_ptr() as usize, 0, 0])?;
    let timer = raw(__NR_timerfd_create, [CLOCK_MONOTONIC as usize, 0, 0, 0, 0, 0]).unwrap_or(0);
    let at = AT_FDCWD as isize as usize;
    let word = [0u64; 32];
    let word = word.as_ptr() as usize;
    let mut out = [0u64; 64];
    let out = out.as_mut_ptr() as usize;
    let path = c"/tmp/guest-tests-pointers".as_ptr() as usize;
    let (inet, unix) = (net::SOL_SOCKET as usize, net::AF_UNIX as usize);
    let mut soon = [0u64, 1];
    let soon = soon.as_mut_ptr() as usize;
    let mut sixteen = 16u32;
    let sixteen = &raw mut sixteen as usize;

    let table: &[(&str, u32, Use, &[Arg])] = &[
        ("read", __NR_read, WritesSome, &[Is(pipe_in), P, Is(10)]),
        ("read file", __NR_read, WritesSome, &[Is(file), P, Is(10)]),
        ("pread64", __NR_pread64, WritesSome, &[Is(file), P, Is(10), Is(0)]),
        ("write", __NR_write, ReadsSome, &[Is(pipe_out), P, Is(10)]),
        ("write file", __NR_write, ReadsSome, &[Is(file), P, Is(10)]),
        ("pwrite64", __NR_pwrite64, ReadsSome, &[Is(file), P, Is(10), Is(0)]),
        ("readv", __NR_readv, Reads, &[Is(pipe_in), P, Is(2)]),
        ("writev", __NR_writev, Reads, &[Is(pipe_out), P, Is(2)]),
        ("preadv", __NR_preadv, Reads, &[Is(file), P, Is(2), Is(0), Is(0)]),
        ("pwritev", __NR_pwritev, Reads, &[Is(file), P, Is(2), Is(0), Is(0)]),
        ("openat", __NR_openat, Reads, &[Is(at), P, Is(0), Is(0)]),
        ("openat2 how", __NR_openat2, Reads, &[Is(at), Is(path), P, Is(24)]),
        ("mkdirat", __NR_mkdirat, Reads, &[Is(at), P, Is(0)]),
        ("mknodat", __NR_mknodat, Reads, &[Is(at), P, Is(0o100600), Is(0)]),
        ("unlinkat", __NR_unlinkat, Reads, &[Is(at), P, Is(0)]),
        ("linkat from", __NR_linkat, Reads, &[Is(at), P, Is(at), Is(path), Is(0)]),
        ("linkat to", __NR_linkat, Reads, &[Is(at), Is(path), Is(at), P, Is(0)]),
        ("symlinkat from", __NR_symlinkat, Reads, &[P, Is(at), Is(path)]),
        ("symlinkat to", __NR_symlinkat, Reads, &[Is(path), Is(at), P]),
        ("renameat2 from", __NR_renameat2, Reads, &[Is(at), P, Is(at), Is(path), Is(0)]),
        ("renameat2 to", __NR_renameat2, Reads, &[Is(at), Is(path), Is(at), P, Is(0)]),
        ("readlinkat", __NR_readlinkat, WritesSome, &[Is(at), Is(c"/proc/self/exe".as_ptr() as usize), P, Is(20)]),
        ("readlinkat path", __NR_readlinkat, Reads, &[Is(at), P, Is(out), Is(20)]),
        ("newfstatat", __NR_newfstatat, Writes, &[Is(at), Is(path), P, Is(0)]),
        ("newfstatat path", __NR_newfstatat, ReadsSome, &[Is(at), P, Is(out), Is(0)]),
        ("fstat", __NR_fstat, Writes, &[Is(file), P]),
        ("statx", __NR_statx, Writes, &[Is(at), Is(path), Is(0), Is(0x7ff), P]),
        ("statfs", __NR_statfs, Writes, &[Is(path), P]),
        ("statfs path", __NR_statfs, Reads, &[P, Is(out)]),
        ("fstatfs", __NR_fstatfs, Writes, &[Is(file), P]),
        ("faccessat", __NR_faccessat, Reads, &[Is(at), P, Is(0)]),
        ("fchmodat", __NR_fchmodat, Reads, &[Is(at), P, Is(0o600)]),
        ("fchownat", __NR_fchownat, Reads, &[Is(at), P, Is(0), Is(0), Is(0)]),
        ("utimensat", __NR_utimensat, ReadsIfAny, &[Is(at), Is(path), P, Is(0)]),
        ("utimensat path", __NR_utimensat, ReadsIfAny, &[Is(at), P, Is(0), Is(0)]),
        ("truncate", __NR_truncate, Reads, &[P, Is(0)]),
        ("chdir", __NR_chdir, Reads, &[P]),
        ("getcwd", __NR_getcwd, Writes, &[P, Is(100)]),
        ("getdents64", __NR_getdents64, Writes, &[Is(dir), P, Is(1000)]),
        ("getxattr path", __NR_getxattr, Reads, &[P, Is(path), Is(out), Is(10)]),
        ("getxattr name", __NR_getxattr, Reads, &[Is(path), P, Is(out), Is(10)]),
        ("execve", __NR_execve, Reads, &[P, Is(word), Is(word)]),
        ("execve argv", __NR_execve, ReadsIfAny, &[Is(c"/bin/false".as_ptr() as usize), P, Is(word)]),
        ("execve envp", __NR_execve, ReadsIfAny, &[Is(c"/bin/false".as_ptr() as usize), Is(word), P]),
        ("fcntl F_SETLK", __NR_fcntl, Reads, &[Is(file), Is(F_SETLK as usize), P]),
        ("fcntl F_GETLK", __NR_fcntl, Reads, &[Is(file), Is(F_GETLK as usize), P]),
        ("ioctl FIONREAD", __NR_ioctl, Writes, &[Is(pipe_in), Is(ioctl::FIONREAD as usize), P]),
        ("ioctl FIONBIO", __NR_ioctl, Reads, &[Is(pipe_in), Is(ioctl::FIONBIO as usize), P]),
        ("sendfile", __NR_sendfile, ReadsIfAny, &[Is(pipe_out), Is(file), P, Is(1)]),
        ("splice", __NR_splice, ReadsIfAny, &[Is(file), P, Is(pipe_out), Is(0), Is(1), Is(0)]),
        ("pipe2", __NR_pipe2, Writes, &[P, Is(0)]),
        ("memfd_create", __NR_memfd_create, Reads, &[P, Is(0)]),
        ("epoll_ctl", __NR_epoll_ctl, Reads, &[Is(epoll), Is(EPOLL_CTL_ADD as usize), Is(stream), P]),
        ("epoll_pwait", __NR_epoll_pwait, Writes, &[Is(epoll), P, Is(4), Is(0), Is(0), Is(8)]),
        ("epoll_pwait mask", __NR_epoll_pwait, ReadsIfAny, &[Is(epoll), Is(out), Is(4), Is(0), P, Is(8)]),
        ("ppoll", __NR_ppoll, Reads, &[P, Is(1), Is(soon), Is(0), Is(8)]),
        ("ppoll time", __NR_ppoll, ReadsIfAny, &[Is(word), Is(0), P, Is(0), Is(8)]),
        ("pselect6", __NR_pselect6, ReadsIfAny, &[Is(8), P, Is(0), Is(0), Is(soon), Is(0)]),
        ("pselect6 time", __NR_pselect6, ReadsIfAny, &[Is(0), Is(0), Is(0), Is(0), P, Is(0)]),
        ("pselect6 mask", __NR_pselect6, ReadsIfAny, &[Is(0), Is(0), Is(0), Is(0), Is(soon), P]),
        ("timerfd_settime", __NR_timerfd_settime, Reads, &[Is(timer), Is(0), P, Is(0)]),
        ("timerfd_settime old", __NR_timerfd_settime, WritesIfAny, &[Is(timer), Is(0), Is(word), P]),
        ("timerfd_gettime", __NR_timerfd_gettime, Writes, &[Is(timer), P]),
        ("signalfd4", __NR_signalfd4, Reads, &[Is(usize::MAX), P, Is(8), Is(0)]),
        ("socketpair", __NR_socketpair, Writes, &[Is(unix), Is(1), Is(0), P]),
        ("bind", __NR_bind, Reads, &[Is(free), P, Is(16)]),
        ("connect", __NR_connect, Reads, &[Is(free), P, Is(16)]),
        ("getsockname", __NR_getsockname, Writes, &[Is(stream), P, Is(sixteen)]),
        ("getsockname length", __NR_getsockname, Reads, &[Is(stream), Is(out), P]),
        ("getpeername length", __NR_getpeername, Reads, &[Is(stream), Is(out), P]),
        ("getsockopt", __NR_getsockopt, Writes, &[Is(stream), Is(inet), Is(net::SO_TYPE as usize), P, Is(sixteen)]),
        ("getsockopt length", __NR_getsockopt, Reads, &[Is(stream), Is(inet), Is(net::SO_TYPE as usize), Is(out), P]),
        ("setsockopt", __NR_setsockopt, Reads, &[Is(stream), Is(inet), Is(net::SO_PASSCRED as usize), P, Is(4)]),
        ("sendto", __NR_sendto, ReadsSome, &[Is(stream), P, Is(10), Is(0), Is(0), Is(0)]),
        ("sendto message", __NR_sendto, Reads, &[Is(messages), P, Is(10), Is(0), Is(0), Is(0)]),
        ("recvfrom", __NR_recvfrom, WritesSome, &[Is(stream), P, Is(10), Is(0), Is(0), Is(0)]),
        ("sendmsg", __NR_sendmsg, Reads, &[Is(stream), P, Is(0)]),
        ("recvmsg", __NR_recvmsg, Reads, &[Is(stream), P, Is(0)]),
        ("sendmmsg", __NR_sendmmsg, Reads, &[Is(stream), P, Is(1), Is(0)]),
        ("rt_sigaction", __NR_rt_sigaction, ReadsIfAny, &[Is(10), P, Is(0), Is(8)]),
        ("rt_sigaction old", __NR_rt_sigaction, WritesIfAny, &[Is(10), Is(0), P, Is(8)]),
        ("rt_sigprocmask", __NR_rt_sigprocmask, ReadsIfAny, &[Is(0), P, Is(0), Is(8)]),
        ("rt_sigprocmask old", __NR_rt_sigprocmask, WritesIfAny, &[Is(0), Is(0), P, Is(8)]),
        ("rt_sigpending", __NR_rt_sigpending, Writes, &[P, Is(8)]),
        ("rt_sigsuspend", __NR_rt_sigsuspend, Reads, &[P, Is(8)]),
        ("rt_sigtimedwait", __NR_rt_sigtimedwait, Reads, &[P, Is(0), Is(soon), Is(8)]),
        ("rt_sigtimedwait time", __NR_rt_sigtimedwait, ReadsIfAny, &[Is(word), Is(0), P, Is(8)]),
        ("rt_sigqueueinfo", __NR_rt_sigqueueinfo, Reads, &[Is(sys::getpid() as usize), Is(0), P]),
        ("sigaltstack", __NR_sigaltstack, ReadsIfAny, &[P, Is(0)]),
        ("sigaltstack old", __NR_sigaltstack, WritesIfAny, &[Is(0), P]),
        ("nanosleep", __NR_nanosleep, Reads, &[P, Is(0)]),
        ("clock_nanosleep", __NR_clock_nanosleep, Reads, &[Is(1), Is(0), P, Is(0)]),
        ("clock_gettime", __NR_clock_gettime, Writes, &[Is(1), P]),
        ("clock_getres", __NR_clock_getres, WritesIfAny, &[Is(1), P]),
        ("gettimeofday", __NR_gettimeofday, WritesIfAny, &[P, Is(0)]),
        ("times", __NR_times, WritesIfAny, &[P]),
        ("getitimer", __NR_getitimer, Writes, &[Is(0), P]),
        ("setitimer", __NR_setitimer, ReadsIfAny, &[Is(0), P, Is(0)]),
        ("setitimer old", __NR_setitimer, WritesIfAny, &[Is(0), Is(word), P]),
        ("getrusage", __NR_getrusage, Writes, &[Is(0), P]),
        ("prlimit64 new", __NR_prlimit64, ReadsIfAny, &[Is(0), Is(RLIMIT_CORE as usize), P, Is(0)]),
        ("prlimit64 old", __NR_prlimit64, WritesIfAny, &[Is(0), Is(RLIMIT_CORE as usize), Is(0), P]),
        ("uname", __NR_uname, Writes, &[P]),
        ("sysinfo", __NR_sysinfo, Writes, &[P]),
        ("getrandom", __NR_getrandom, WritesSome, &[P, Is(100), Is(0)]),
        ("getresuid", __NR_getresuid, Writes, &[P, Is(out), Is(out)]),
        ("getresuid third", __NR_getresuid, Writes, &[Is(out), Is(out), P]),
        ("setgroups", __NR_setgroups, Reads, &[Is(4), P]),
        ("capget", __NR_capget, Reads, &[P, Is(out)]),
        ("getcpu", __NR_getcpu, WritesIfAny, &[P, Is(0), Is(0)]),
        ("prctl PR_SET_NAME", __NR_prctl, Reads, &[Is(PR_SET_NAME as usize), P]),
        ("prctl PR_GET_NAME", __NR_prctl, Writes, &[Is(PR_GET_NAME as usize), P]),
        ("sched_getaffinity", __NR_sched_getaffinity, Writes, &[Is(0), Is(128), P]),
        ("sched_setaffinity", __NR_sched_setaffinity, Reads, &[Is(0), Is(8), P]),
        ("sched_rr_get_interval", __NR_sched_rr_get_interval, Writes, &[Is(0), P]),
        ("sched_getparam", __NR_sched_getparam, WritesNotNull, &[Is(0), P]),
        ("get_robust_list", __NR_get_robust_list, Writes, &[Is(0), P, Is(out)]),
        ("futex wait", __NR_futex, ReadsWord, &[P, Is(FUTEX_WAIT as usize), Is(0), Is(soon)]),
        ("futex time", __NR_futex, ReadsIfAny, &[Is(word), Is(FUTEX_WAIT as usize), Is(1), P]),
        ("clone3", __NR_clone3, Reads, &[P, Is(88)]),
        ("mincore", __NR_mincore, WritesSome, &[Is(bad.read_only), Is(4096), P]),
    ];
    let mut wrong = 0;
    for (name, number, usage, args) in table {
        for (what, pointer) in bad.pointers(*usage).into_iter().flatten() {
            let mut values = [0; 6];
            for (value, arg) in values.iter_mut().zip(*args) {
                *value = match arg {
                    P => pointer,
                    Is(value) => *value,
                };
            }
            // An earlier call may have written what fitted.
            // SAFETY: the last byte of a mapping that is there.
            unsafe { (bad.last as *mut u8).write_volatile(b'x') };
            let result = raw(*number, values);
            // A call that a kernel does not have reads nothing.
            if result != Err(Errno(EFAULT)) && result != Err(Errno(ENOSYS)) {
                wrong += 1;
                print!("  {name} with a pointer {what}: ");
                match result {
                    Ok(value) => println!("{value} instead of EFAULT"),
                    Err(error) => println!("errno {} instead of EFAULT", error.0),
                }
            }
        }
    }
    sys::unlink(c"/tmp/guest-tests-pointers")?;
    check!(wrong == 0);
    // What was in the pipe is there still.
    let mut buffer = [0; 200];
    check!(sys::read(pipe_in as i32, &mut buffer)? == 100);
    check!(sys::read(stream as i32, &mut buffer)? == 100);
    // Half a message is none.
    let nothing = raw(__NR_recvfrom, [messages_peer, out, 10, net::MSG_DONTWAIT as usize, 0, 0]);
    check!(nothing == Err(Errno(EAGAIN)));
    Ok(())
}

fn a_read_into_a_bad_buffer_loses_nothing_of_a_pipe() -> Outcome {
    let bad = Bad::new()?;
    let pipe = sys::pipe(O_NONBLOCK)?;
    sys::write_all(pipe[1], b"kept")?;
    for (_, pointer) in bad.pointers(Use::WritesSome).into_iter().flatten() {
        check!(raw(__NR_read, [pipe[0] as usize, pointer, 4, 0, 0, 0]) == Err(Errno(EFAULT)));
    }
    let mut buffer = [0; 8];
    check!(sys::read(pipe[0], &mut buffer)? == 4 && buffer.starts_with(b"kept"));
    Ok(())
}

fn a_read_that_runs_into_a_bad_page_gives_what_fitted() -> Outcome {
    let bad = Bad::new()?;
    let file = sys::open(c"/tmp/guest-tests-partial", O_RDWR | O_CREAT | O_TRUNC, 0o600)?;
    sys::unlink(c"/tmp/guest-tests-partial")?;
    sys::write_all(file, b"0123456789")?;
    raw(__NR_lseek, [file as usize, 0, 0, 0, 0, 0])?;
    check!(raw(__NR_read, [file as usize, bad.last - 2, 10, 0, 0, 0]) == Ok(3));
    // The position has moved by as much.
    let mut buffer = [0; 16];
    check!(sys::read(file, &mut buffer)? == 7 && buffer.starts_with(b"3456789"));
    Ok(())
}

fn recvfrom_into_a_bad_buffer_keeps_the_stream() -> Outcome {
    let bad = Bad::new()?;
    let pair = socket_pair(net::SOCK_STREAM as usize)?;
    sys::write_all(pair[1], b"kept")?;
    check!(raw(__NR_recvfrom, [pair[0] as usize, bad.unmapped, 4, 0, 0, 0]) == Err(Errno(EFAULT)));
    let mut buffer = [0; 8];
    check!(sys::read(pair[0], &mut buffer)? == 4 && buffer.starts_with(b"kept"));
    Ok(())
}

fn pipe2_and_socketpair_with_a_bad_pointer_leave_no_descriptors() -> Outcome {
    let bad = Bad::new()?;
    let before = open_descriptors();
    for (_, pointer) in bad.pointers(Use::Writes).into_iter().flatten() {
        check!(raw(__NR_pipe2, [pointer, 0, 0, 0, 0, 0]) == Err(Errno(EFAULT)));
        check!(raw(__NR_socketpair, [net::AF_UNIX as usize, 1, 0, pointer, 0, 0]) == Err(Errno(EFAULT)));
    }
    check!(open_descriptors() == before);
    Ok(())
}

fn accept_with_a_bad_address_leaves_no_descriptor() -> Outcome {
    let bad = Bad::new()?;
    let listener = raw(__NR_socket, [net::AF_UNIX as usize, net::SOCK_STREAM as usize, 0, 0, 0, 0])?;
    let address = *b"\x01\0\0guest-tests-accept";
    raw(__NR_bind, [listener, address.as_ptr() as usize, address.len(), 0, 0, 0])?;
    raw(__NR_listen, [listener, 8, 0, 0, 0, 0])?;
    let mut sixteen = 16u32;
    for (pointer, length) in [(bad.unmapped, &raw mut sixteen as usize), (address.as_ptr() as usize, bad.unmapped)] {
        let client = raw(__NR_socket, [net::AF_UNIX as usize, net::SOCK_STREAM as usize, 0, 0, 0, 0])?;
        raw(__NR_connect, [client, address.as_ptr() as usize, address.len(), 0, 0, 0])?;
        let before = open_descriptors();
        check!(raw(__NR_accept4, [listener, pointer, length, 0, 0, 0]) == Err(Errno(EFAULT)));
        check!(open_descriptors() == before);
    }
    Ok(())
}

fn recvmsg_with_a_bad_control_buffer_leaves_no_descriptor() -> Outcome {
    let bad = Bad::new()?;
    let pair = socket_pair(net::SOCK_STREAM as usize)?;
    let byte = *b"b";
    let iovec = [byte.as_ptr() as usize, 1];
    let control = [20usize, 1 << 32 | net::SOL_SOCKET as usize, pair[0] as usize];
    let header = [0, 0, iovec.as_ptr() as usize, 1, control.as_ptr() as usize, 24, 0];
    raw(__NR_sendmsg, [pair[1] as usize, header.as_ptr() as usize, 0, 0, 0, 0])?;
    let before = open_descriptors();
    let mut byte = [0u8];
    let iovec = [byte.as_mut_ptr() as usize, 1];
    let header = [0, 0, iovec.as_ptr() as usize, 1, bad.unmapped, 24, 0];
    // Linux passes over a control buffer that is not there, and closes what was sent.
    let result = raw(__NR_recvmsg, [pair[0] as usize, header.as_ptr() as usize, 0, 0, 0, 0]);
    check!(result == Ok(1) || result == Err(Errno(EFAULT)));
    check!(open_descriptors() == before);
    Ok(())
}

fn wait_with_a_bad_status_pointer_is_efault() -> Outcome {
    let bad = Bad::new()?;
    for (_, pointer) in bad.pointers(Use::WritesIfAny).into_iter().flatten() {
        let child = match sys::fork()? {
            0 => sys::exit_group(0),
            child => child as usize,
        };
        check!(raw(__NR_wait4, [child, pointer, 0, 0, 0, 0]) == Err(Errno(EFAULT)));
    }
    Ok(())
}

fn dequeuing_a_signal_into_a_bad_siginfo_is_efault() -> Outcome {
    let bad = Bad::new()?;
    let set = rt::signal::bit(SIGUSR1);
    rt::signal::mask(SIG_BLOCK, set)?;
    rt::signal::raise(SIGUSR1)?;
    let none = [0u64; 2];
    let wait = |info| raw(__NR_rt_sigtimedwait, [&raw const set as usize, info, none.as_ptr() as usize, 8, 0, 0]);
    check!(wait(bad.unmapped) == Err(Errno(EFAULT)));
    // It was taken all the same.
    check!(wait(0) == Err(Errno(EAGAIN)));
    Ok(())
}

fn an_iovec_with_a_bad_entry_is_efault_or_gives_what_came_before() -> Outcome {
    let bad = Bad::new()?;
    let file = sys::open(c"/tmp/guest-tests-iovec", O_RDWR | O_CREAT | O_TRUNC, 0o600)?;
    sys::unlink(c"/tmp/guest-tests-iovec")?;
    let call = |number, entries: [[usize; 2]; 2]| raw(number, [file as usize, entries.as_ptr() as usize, 2, 0, 0, 0]);
    let text = *b"before";
    check!(call(__NR_writev, [[text.as_ptr() as usize, 6], [bad.unmapped, 6]]) == Ok(6));
    check!(call(__NR_writev, [[bad.unmapped, 6], [text.as_ptr() as usize, 6]]) == Err(Errno(EFAULT)));
    let mut buffer = [0; 16];
    let into = buffer.as_mut_ptr() as usize;
    check!(call(__NR_preadv, [[into, 2], [bad.unmapped, 6]]) == Ok(2));
    check!(call(__NR_preadv, [[bad.unmapped, 6], [into, 2]]) == Err(Errno(EFAULT)));
    check!(buffer.starts_with(b"be"));
    Ok(())
}
