//! System calls as functions, thin: the call's number, its arguments, and its error as an [`Errno`].

use core::ffi::CStr;
use core::sync::atomic::AtomicU32;

use crate::raw::general::*;
use crate::raw::{errno, system};
use crate::{syscall0, syscall1, syscall2, syscall3, syscall4, syscall5, syscall6};

/// An error number, positive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub u32);

/// What a system call gives.
pub type Result<T> = core::result::Result<T, Errno>;

impl Errno {
    /// The call was interrupted by a signal.
    pub const INTR: Errno = Errno(errno::EINTR);
    /// The operation would wait, or a limit was reached.
    pub const AGAIN: Errno = Errno(errno::EAGAIN);
}

/// Reads a raw result: values from -4095 to -1 are errors.
pub fn check(result: isize) -> Result<usize> {
    if (-4095..0).contains(&result) { Err(Errno(-result as u32)) } else { Ok(result as usize) }
}

/// Ends the process.
pub fn exit_group(status: i32) -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe { syscall1(__NR_exit_group as usize, status as usize) };
    }
}

/// The calling process's id.
pub fn getpid() -> i32 {
    // SAFETY: touches no memory.
    unsafe { syscall0(__NR_getpid as usize) as i32 }
}

/// Lets other runnable threads go first.
pub fn sched_yield() {
    // SAFETY: touches no memory.
    unsafe { syscall0(__NR_sched_yield as usize) };
}

/// Reads into `buffer`; 0 is the end.
pub fn read(fd: i32, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is writable for its length.
    check(unsafe { syscall3(__NR_read as usize, fd as usize, buffer.as_mut_ptr() as usize, buffer.len()) })
}

/// Writes from `buffer`; may write less.
pub fn write(fd: i32, buffer: &[u8]) -> Result<usize> {
    // SAFETY: the buffer is readable for its length.
    check(unsafe { syscall3(__NR_write as usize, fd as usize, buffer.as_ptr() as usize, buffer.len()) })
}

/// Writes all of `buffer`, going on after signals and short writes, and waiting where the descriptor is non-blocking.
pub fn write_all(fd: i32, mut buffer: &[u8]) -> Result<()> {
    while !buffer.is_empty() {
        match write(fd, buffer) {
            Ok(done) => buffer = &buffer[done..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [pollfd { fd, events: POLLOUT as i16, revents: 0 }], -1)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens `path` from the current directory.
pub fn open(path: &CStr, flags: u32, mode: u32) -> Result<i32> {
    let at = AT_FDCWD as isize as usize;
    // SAFETY: the path ends in NUL.
    check(unsafe { syscall4(__NR_openat as usize, at, path.as_ptr() as usize, flags as usize, mode as usize) })
        .map(|fd| fd as i32)
}

/// Closes a descriptor.
pub fn close(fd: i32) -> Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { syscall1(__NR_close as usize, fd as usize) }).map(|_| ())
}

/// Makes `to` a copy of `from` (dup3; `from` and `to` must differ).
pub fn dup3(from: i32, to: i32, flags: u32) -> Result<i32> {
    // SAFETY: touches no memory.
    check(unsafe { syscall3(__NR_dup3 as usize, from as usize, to as usize, flags as usize) }).map(|fd| fd as i32)
}

/// Makes a pipe: the reading end, then the writing end.
pub fn pipe(flags: u32) -> Result<[i32; 2]> {
    let mut fds = [0i32; 2];
    // SAFETY: there is room for two descriptors.
    check(unsafe { syscall2(__NR_pipe2 as usize, fds.as_mut_ptr() as usize, flags as usize) })?;
    Ok(fds)
}

/// Waits for readiness; the timeout is in milliseconds, negative for none. Gives how many descriptors are ready.
pub fn poll(fds: &mut [pollfd], timeout_ms: i64) -> Result<usize> {
    let limit = timespec { tv_sec: timeout_ms / 1000, tv_nsec: timeout_ms % 1000 * 1_000_000 };
    let limit = if timeout_ms < 0 { 0 } else { &raw const limit as usize };
    // SAFETY: the array and the timeout live through the call; no mask is given.
    check(unsafe { syscall5(__NR_ppoll as usize, fds.as_mut_ptr() as usize, fds.len(), limit, 0, 8) })
}

/// Duplicates the process: 0 in the child, the child's pid in the parent.
pub fn fork() -> Result<i32> {
    // SAFETY: an ordinary fork; the child gets a copy of this memory.
    check(unsafe { syscall5(__NR_clone as usize, SIGCHLD as usize, 0, 0, 0, 0) }).map(|pid| pid as i32)
}

/// Replaces the program; comes back only with an error.
///
/// # Safety
/// `argv` and `envp` are vectors of pointers to strings that end with a null pointer.
pub unsafe fn execve(path: &CStr, argv: *const *const u8, envp: *const *const u8) -> Errno {
    // SAFETY: the caller answers for the vectors.
    let result = unsafe { syscall3(__NR_execve as usize, path.as_ptr() as usize, argv as usize, envp as usize) };
    Errno(-result as u32)
}

/// Waits for a child (`pid` as in wait4); gives its pid and raw status. Pid 0 means that WNOHANG found none.
pub fn wait4(pid: i32, options: u32) -> Result<(i32, i32)> {
    let mut status = 0i32;
    loop {
        // SAFETY: the status word is writable and no rusage is asked for.
        let result = check(unsafe {
            syscall4(__NR_wait4 as usize, pid as usize, &raw mut status as usize, options as usize, 0)
        });
        match result {
            Err(Errno::INTR) => {}
            other => return other.map(|pid| (pid as i32, status)),
        }
    }
}

/// A raw wait status as a shell shows it: the exit status, or 128 and the signal.
pub fn shell_status(status: i32) -> i32 {
    if status & 0x7f == 0 { (status >> 8) & 0xff } else { 128 + (status & 0x7f) }
}

/// Maps `len` bytes of private anonymous memory.
pub fn mmap_anonymous(len: usize) -> Result<*mut u8> {
    mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
}

/// Maps memory (mmap). A fixed mapping over memory in use is the caller's mistake to avoid.
pub fn mmap(address: usize, len: usize, protection: u32, flags: u32, fd: i32, offset: usize) -> Result<*mut u8> {
    // SAFETY: without MAP_FIXED a new mapping harms nothing; with it, the caller chose memory that it owns.
    check(unsafe {
        syscall6(__NR_mmap as usize, address, len, protection as usize, flags as usize, fd as usize, offset)
    })
    .map(|address| address as *mut u8)
}

/// Unmaps memory.
///
/// # Safety
/// Nothing uses the memory any more.
pub unsafe fn munmap(address: *mut u8, len: usize) -> Result<()> {
    // SAFETY: the caller answers for the memory.
    check(unsafe { syscall2(__NR_munmap as usize, address as usize, len) }).map(|_| ())
}

/// Waits while `word` holds `value` (no time limit). `flags` is 0 or `FUTEX_PRIVATE_FLAG`.
pub fn futex_wait(word: &AtomicU32, value: u32, flags: u32) -> Result<()> {
    let op = (FUTEX_WAIT | flags) as usize;
    // SAFETY: the word is alive and aligned.
    check(unsafe { syscall4(__NR_futex as usize, word.as_ptr() as usize, op, value as usize, 0) }).map(|_| ())
}

/// Wakes up to `count` waiters of `word`; gives how many there were.
pub fn futex_wake(word: &AtomicU32, count: u32, flags: u32) -> Result<usize> {
    let op = (FUTEX_WAKE | flags) as usize;
    // SAFETY: the word is alive and aligned.
    check(unsafe { syscall3(__NR_futex as usize, word.as_ptr() as usize, op, count as usize) })
}

/// Reads a clock in nanoseconds.
pub fn clock_ns(clock: u32) -> u64 {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is writable; an unknown clock leaves it at nought.
    unsafe { syscall2(__NR_clock_gettime as usize, clock as usize, &raw mut time as usize) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sleeps for some milliseconds, to the end even if signals come.
pub fn sleep_ms(ms: u64) {
    let mut time = timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000) as i64 * 1_000_000 };
    let time = &raw mut time as usize;
    // SAFETY: the remaining time is written back to the same place when a signal interrupts.
    while check(unsafe { syscall4(__NR_clock_nanosleep as usize, CLOCK_MONOTONIC as usize, 0, time, time) })
        == Err(Errno::INTR)
    {}
}

/// Free and total memory in bytes, as sysinfo gives them.
pub fn memory() -> (u64, u64) {
    // SAFETY: a structure of integers, for which nought is a value.
    let mut info: system::sysinfo = unsafe { core::mem::zeroed() };
    // SAFETY: the structure is writable and of the kernel's size.
    unsafe { syscall1(__NR_sysinfo as usize, &raw mut info as usize) };
    let unit = u64::from(info.mem_unit);
    (info.freeram as u64 * unit, info.totalram as u64 * unit)
}

/// An ioctl with a pointer or a number as its argument.
///
/// # Safety
/// The argument is what the request takes.
pub unsafe fn ioctl(fd: i32, request: u32, argument: usize) -> Result<usize> {
    // SAFETY: the caller answers for the argument.
    check(unsafe { syscall3(__NR_ioctl as usize, fd as usize, request as usize, argument) })
}

/// Mounts a file system of `kind` on `target`.
pub fn mount(kind: &CStr, target: &CStr, data: &CStr) -> Result<()> {
    let (kind, target, data) = (kind.as_ptr() as usize, target.as_ptr() as usize, data.as_ptr() as usize);
    // SAFETY: all four strings end in NUL.
    check(unsafe { syscall5(__NR_mount as usize, kind, target, kind, 0, data) }).map(|_| ())
}

/// Makes a directory.
pub fn mkdir(path: &CStr, mode: u32) -> Result<()> {
    let at = AT_FDCWD as isize as usize;
    // SAFETY: the path ends in NUL.
    check(unsafe { syscall3(__NR_mkdirat as usize, at, path.as_ptr() as usize, mode as usize) }).map(|_| ())
}

/// Removes a name.
pub fn unlink(path: &CStr) -> Result<()> {
    let at = AT_FDCWD as isize as usize;
    // SAFETY: the path ends in NUL.
    check(unsafe { syscall3(__NR_unlinkat as usize, at, path.as_ptr() as usize, 0) }).map(|_| ())
}

/// Starts a session.
pub fn setsid() -> Result<i32> {
    // SAFETY: touches no memory.
    check(unsafe { syscall0(__NR_setsid as usize) }).map(|pid| pid as i32)
}

/// Powers the machine off, after writing back what is cached.
pub fn power_off() {
    // SAFETY: the magic numbers of reboot(2); nothing follows.
    unsafe {
        syscall0(__NR_sync as usize);
        syscall4(
            __NR_reboot as usize,
            LINUX_REBOOT_MAGIC1 as usize,
            LINUX_REBOOT_MAGIC2 as usize,
            LINUX_REBOOT_CMD_POWER_OFF as usize,
            0,
        );
    }
}

/// Opens the process to as many descriptors as `count` where the hard limit or privilege allows.
pub fn raise_descriptor_limit(count: u64) -> Result<()> {
    let limit = [count, count];
    // SAFETY: the limit is a pair of 64-bit numbers; the old one is not asked for.
    check(unsafe { syscall4(__NR_prlimit64 as usize, 0, RLIMIT_NOFILE as usize, limit.as_ptr() as usize, 0) })
        .map(|_| ())
}
