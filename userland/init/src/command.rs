//! The command that the harness left in the initramfs, and how a child becomes it.

use core::ffi::CStr;

use rt::raw::general::{O_RDONLY, SIG_SETMASK};
use rt::{eprintln, sys};

/// Where the harness writes the argument vector: strings that each end in NUL.
const RUN: &CStr = c"/etc/pollux-run";

/// The longest argument list in bytes, and the most arguments; the harness refuses more.
const BYTES: usize = 64 * 1024;
const ARGUMENTS: usize = 1024;

/// A command to run: its strings, and pointers to them for execve.
pub struct Command {
    argv: [*const u8; ARGUMENTS + 1],
}

static mut TEXT: [u8; BYTES] = [0; BYTES];

/// The environment of whatever init starts.
pub const ENVIRONMENT: [&CStr; 5] = [
    c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    c"HOME=/root",
    c"USER=root",
    c"SHELL=/bin/sh",
    c"TERM=linux",
];

/// Reads the command, if there is one.
pub fn load() -> Option<Command> {
    let fd = sys::open(RUN, O_RDONLY, 0).ok()?;
    // SAFETY: called once, by the only thread; the text is not written again.
    let text: &'static mut [u8; BYTES] = unsafe { &mut *core::ptr::addr_of_mut!(TEXT) };
    let mut used = 0;
    while used < BYTES - 1 {
        match sys::read(fd, &mut text[used..BYTES - 1]) {
            Ok(0) | Err(_) => break,
            Ok(count) => used += count,
        }
    }
    let _ = sys::close(fd);
    let mut argv = [core::ptr::null(); ARGUMENTS + 1];
    for (slot, argument) in argv[..ARGUMENTS].iter_mut().zip(text[..used].split_inclusive(|&byte| byte == 0)) {
        *slot = argument.as_ptr();
    }
    (!argv[0].is_null()).then_some(Command { argv })
}

impl Command {
    /// Becomes the command, searching PATH; a failure ends the process with the shell's 127 or 126.
    pub fn exec(&self) -> ! {
        // SAFETY: load() put a string that ends in NUL there.
        let name = unsafe { CStr::from_ptr(self.argv[0].cast()) };
        exec_in_path(name, &self.argv)
    }
}

/// Becomes `name`, found as a shell finds it, with `argv`, which ends with a null pointer.
pub fn exec_in_path(name: &CStr, argv: &[*const u8]) -> ! {
    let _ = rt::signal::mask(SIG_SETMASK, 0);
    let mut environment = [core::ptr::null(); ENVIRONMENT.len() + 1];
    for (slot, text) in environment.iter_mut().zip(ENVIRONMENT) {
        *slot = text.as_ptr().cast();
    }
    let mut last = rt::Errno(rt::raw::errno::ENOENT);
    for directory in ["", "/usr/local/sbin/", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"] {
        let direct = name.to_bytes().contains(&b'/');
        if direct != directory.is_empty() {
            continue;
        }
        let mut path = [0u8; 4096];
        let (prefix, name) = (directory.as_bytes(), name.to_bytes_with_nul());
        if prefix.len() + name.len() > path.len() {
            continue;
        }
        path[..prefix.len()].copy_from_slice(prefix);
        path[prefix.len()..prefix.len() + name.len()].copy_from_slice(name);
        if let Ok(path) = CStr::from_bytes_until_nul(&path) {
            // SAFETY: both vectors end with a null pointer and point to strings that end in NUL.
            let error = unsafe { sys::execve(path, argv.as_ptr(), environment.as_ptr()) };
            if error != rt::Errno(rt::raw::errno::ENOENT) {
                last = error;
            }
        }
    }
    eprintln!("init: cannot run {}: errno {}", name.to_str().unwrap_or("?"), last.0);
    sys::exit_group(if last.0 == rt::raw::errno::ENOENT { 127 } else { 126 })
}
