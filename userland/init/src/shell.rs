//! Interactive mode: a shell on the console, with job control, until it exits.

use rt::raw::general::O_RDWR;
use rt::raw::ioctl::TIOCSCTTY;
use rt::{println, sys};

use crate::command;

/// Runs the shell and reaps every orphan until it exits.
pub fn run() {
    let shell = match sys::fork() {
        Ok(0) => become_shell(),
        Ok(pid) => pid,
        Err(error) => {
            println!("init: fork: errno {}", error.0);
            return;
        }
    };
    while let Ok((pid, status)) = sys::wait4(-1, 0) {
        if pid == shell {
            let status = sys::shell_status(status);
            if status != 0 {
                println!("init: the shell ended with status {status}");
            }
            return;
        }
    }
}

fn become_shell() -> ! {
    let _ = sys::setsid();
    // /dev/console never becomes a controlling terminal on Linux; the line behind it does.
    let line = if cfg!(target_arch = "x86_64") { c"/dev/ttyS0" } else { c"/dev/ttyAMA0" };
    for path in [line, c"/dev/console"] {
        let Ok(fd) = sys::open(path, O_RDWR, 0) else {
            continue;
        };
        // SAFETY: TIOCSCTTY takes a number.
        if unsafe { sys::ioctl(fd, TIOCSCTTY, 0) }.is_err() {
            let _ = sys::close(fd);
            continue;
        }
        for to in (0..3).filter(|&to| to != fd) {
            let _ = sys::dup3(fd, to, 0);
        }
        if fd > 2 {
            let _ = sys::close(fd);
        }
        break;
    }
    let argv: [*const u8; 2] = [c"-sh".as_ptr().cast(), core::ptr::null()];
    command::exec_in_path(c"/bin/sh", &argv)
}
