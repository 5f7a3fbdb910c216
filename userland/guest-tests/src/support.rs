//! What the tests of several modules need: calls by number, children, threads, waiting for what other threads do.

use core::sync::atomic::{AtomicU32, Ordering};

use rt::raw::general::*;
use rt::signal::kill;
use rt::sys::{self, Errno};

use crate::Why;

/// A system call by its number, with up to six arguments.
pub fn call<const N: usize>(number: u32, args: [usize; N]) -> Result<usize, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the tests here pass memory of their own, or none that there is.
    sys::check(unsafe { rt::syscall6(number as usize, a, b, c, d, e, f) })
}

/// The calling thread's id.
pub fn gettid() -> i32 {
    call(__NR_gettid, []).map_or(-1, |id| id as i32)
}

/// The parent's id.
pub fn getppid() -> i32 {
    call(__NR_getppid, []).map_or(-1, |id| id as i32)
}

/// Takes away all privilege, as a user that nobody else is.
pub fn become_user(id: usize) -> Result<(), Errno> {
    call(__NR_setresgid, [id, id, id])?;
    call(__NR_setresuid, [id, id, id]).map(|_| ())
}

/// Starts `body` in a child, whose status is 0 if it holds; gives the child's id.
pub fn start(body: impl FnOnce() -> Result<(), Why>) -> Result<i32, Errno> {
    match sys::fork()? {
        0 => match body() {
            Ok(()) => sys::exit_group(0),
            Err(why) => {
                match why {
                    Why::Condition(what, line) => rt::eprintln!("  in a child: {what} (line {line})"),
                    Why::Call(error) => rt::eprintln!("  in a child: errno {}", error.0),
                }
                sys::exit_group(1)
            }
        },
        child => Ok(child),
    }
}

/// Runs `body` in a child to its end; gives its raw status.
pub fn in_child(body: impl FnOnce() -> Result<(), Why>) -> Result<i32, Errno> {
    let child = start(body)?;
    sys::wait4(child, __WALL).map(|(_, status)| status)
}

/// Waits until `holds`, for as long as a machine that others keep busy may take: at most twenty seconds.
pub fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    for _ in 0..4000 {
        if holds() {
            return true;
        }
        sys::sleep_ms(5);
    }
    holds()
}

/// Waits until `word` holds `value`, as [`eventually`] does.
pub fn becomes(word: &AtomicU32, value: u32) -> bool {
    eventually(|| word.load(Ordering::SeqCst) == value)
}

/// The state letter of a process or thread in /proc, `?` if there is none.
pub fn state_of(path: &core::ffi::CStr) -> u8 {
    let Ok(fd) = sys::open(path, O_RDONLY, 0) else { return b'?' };
    let mut text = [0u8; 512];
    let len = sys::read(fd, &mut text).unwrap_or(0);
    let _ = sys::close(fd);
    // The name in parentheses may hold anything; the state follows the last of them.
    match text[..len].iter().rposition(|&byte| byte == b')') {
        Some(at) if at + 2 < len => text[at + 2],
        _ => b'?',
    }
}

/// `/proc/ID/stat` as a string.
pub fn stat_path(id: i32, out: &mut [u8; 32]) -> &core::ffi::CStr {
    *out = [0; 32];
    out[..6].copy_from_slice(b"/proc/");
    let (mut digits, mut at, mut left) = ([0u8; 10], 0, id as u32);
    loop {
        digits[at] = b'0' + (left % 10) as u8;
        at += 1;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    for i in 0..at {
        out[6 + i] = digits[at - 1 - i];
    }
    out[6 + at..6 + at + 5].copy_from_slice(b"/stat");
    core::ffi::CStr::from_bytes_until_nul(out).unwrap_or(c"")
}

/// Waits until the process `id` is in a state, as /proc shows it.
pub fn in_state(id: i32, state: u8) -> bool {
    let mut path = [0; 32];
    eventually(|| state_of(stat_path(id, &mut path)) == state)
}

/// A child that sends `signal` to this process every 20 ms, `times` times.
pub fn sender(signal: u32, times: u32) -> Result<i32, Errno> {
    let parent = sys::getpid();
    start(|| {
        for _ in 0..times {
            sys::sleep_ms(20);
            kill(parent, signal)?;
        }
        Ok(())
    })
}
