//! The first process of a guest that the harness boots.
//!
//! With /etc/pollux-run it runs one command and relays its streams over the console (`relay`); otherwise it runs a
//! shell on the console. Either way it powers off at the end. It makes no difference between kernels: what is
//! mounted already stays as it is.
#![no_std]
#![no_main]

mod command;
mod frame;
mod relay;
mod shell;

use core::ffi::CStr;

use rt::raw::general::{__NR_socket, O_NOCTTY, O_RDONLY, O_RDWR};
use rt::raw::net::AF_INET;
use rt::{eprintln, println, sys};

rt::main!(run);

fn run(_args: &rt::Args) -> i32 {
    // The first thing, so that it says when user space began and what the kernel had used up by then.
    let began = rt::counter_ns();
    let (free, _) = sys::memory();
    if sys::getpid() != 1 {
        eprintln!("init: this is the first process of a guest, not a command");
        return 1;
    }
    open_console();
    mount_all();
    bring_up_loopback();
    write_boot_record(began, free);
    match command::load() {
        Some(command) => relay::run(&command),
        None => shell::run(),
    }
    sys::power_off();
    loop {
        sys::sleep_ms(1000);
    }
}

/// The kernel opens /dev/console for init only if the node is there so early; if not, it is opened here.
fn open_console() {
    if sys::poll(&mut [], 0).is_ok() && fd_is_open(0) {
        return;
    }
    let _ = sys::mkdir(c"/dev", 0o755);
    let _ = sys::mount(c"devtmpfs", c"/dev", c"");
    if let Ok(fd) = sys::open(c"/dev/console", O_RDWR | O_NOCTTY, 0) {
        for to in (0..3).filter(|&to| to != fd) {
            let _ = sys::dup3(fd, to, 0);
        }
    }
}

fn fd_is_open(fd: i32) -> bool {
    // SAFETY: F_GETFD takes no pointer.
    unsafe {
        rt::syscall3(rt::raw::general::__NR_fcntl as usize, fd as usize, rt::raw::general::F_GETFD as usize, 0) >= 0
    }
}

/// Mounts what a shell expects. A directory that shows a file system's own file has it mounted already.
fn mount_all() {
    const MOUNTS: [(&CStr, &CStr, &CStr, &CStr); 6] = [
        (c"proc", c"/proc", c"", c"/proc/self"),
        (c"sysfs", c"/sys", c"", c"/sys/kernel"),
        (c"devtmpfs", c"/dev", c"", c"/dev/null"),
        (c"devpts", c"/dev/pts", c"mode=620,ptmxmode=666", c"/dev/pts/ptmx"),
        (c"tmpfs", c"/dev/shm", c"mode=1777", c"/dev/shm/."),
        (c"tmpfs", c"/tmp", c"mode=1777", c"/tmp/."),
    ];
    for (kind, target, data, witness) in MOUNTS {
        if exists(witness) {
            continue;
        }
        let _ = sys::mkdir(target, 0o755);
        // A kernel without this file system says so; the shell still works without it.
        let _ = sys::mount(kind, target, data);
    }
}

fn exists(path: &CStr) -> bool {
    match sys::open(path, O_RDONLY | rt::raw::general::O_PATH, 0) {
        Ok(fd) => sys::close(fd).is_ok(),
        Err(_) => false,
    }
}

/// Leaves in /tmp/pollux-boot what only the first moment shows; the benchmark program reports it.
fn write_boot_record(began: u64, free: u64) {
    use rt::raw::general::{O_CREAT, O_TRUNC, O_WRONLY};
    if let Ok(fd) = sys::open(c"/tmp/pollux-boot", O_WRONLY | O_CREAT | O_TRUNC, 0o644) {
        rt::print::print(
            fd,
            format_args!(
                "{began} {free}
"
            ),
        );
        let _ = sys::close(fd);
    } else {
        println!("init: cannot write /tmp/pollux-boot");
    }
}

/// Linux starts with the loopback interface down; a kernel whose loopback is always up may refuse this.
fn bring_up_loopback() {
    const SOCK_DGRAM: usize = 2;
    const SIOCSIFFLAGS: u32 = 0x8914;
    const UP_AND_RUNNING: u8 = 0x41;
    // SAFETY: a datagram socket, for its ioctl.
    let Ok(socket) = sys::check(unsafe { rt::syscall3(__NR_socket as usize, AF_INET as usize, SOCK_DGRAM, 0) }) else {
        return;
    };
    // struct ifreq: a name in 16 bytes, then flags.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16] = UP_AND_RUNNING;
    // SAFETY: the request has the size of struct ifreq.
    let _ = unsafe { sys::ioctl(socket as i32, SIOCSIFFLAGS, request.as_ptr() as usize) };
    let _ = sys::close(socket as i32);
}
