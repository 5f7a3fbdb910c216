//! ioctl_tty(2) as a program calls it: with addresses of its own memory.

use arch::addr::PhysAddr;
use arch::paging::{Entry, LEVELS, Perm};
use base::{Credentials, Errno, Error, Result};
use linux_raw_sys::general::*;
use linux_raw_sys::ioctl::*;
use memory::io::{Dst, Src};
use memory::user::UserPtr;
use std::sync::Arc;
use tty::devpts::{Options, Ptys};
use tty::job::{Jobs, Place};
use tty::pty::Master;
use tty::termios::{Termios, Termios2, Winsize};
use tty::tty::Tty;
use vfs::{Caller, Device, File, OpenFlags};

executor::hosted_platform!();

/// Where the program's one page is.
const PAGE: usize = 0x40_0000;

/// Makes a machine with one user page at [`PAGE`].
fn boot() {
    let info = arch::sim::boot(1, 1 << 16, [0; 32]);
    let frame = |n: usize| PhysAddr(info.ranges[0].start.0 + (n as u64) * 4096);
    for level in 0..LEVELS {
        // Frame 0 is the root, the last one the page.
        let table = frame(LEVELS - 1 - level);
        let next = frame(LEVELS - level);
        let entry = if level == 0 { Entry::page(next, Perm::READ | Perm::WRITE) } else { Entry::table(next) };
        let index = PAGE >> (12 + 9 * level) & 511;
        // SAFETY: the frame is RAM of the machine that was just made, and nothing else uses it.
        unsafe { arch::physmap::to_ptr(table + index as u64 * 8).cast::<u64>().write(entry.bits()) };
    }
    // SAFETY: frame 0 is a page table that maps only a frame of its own.
    unsafe { arch::paging::activate(frame(0), 1, true) };
}

/// Nobody has a terminal.
struct Nobody;

impl Jobs for Nobody {
    fn place(&self, _: u32) -> Option<Place> {
        None
    }
    fn session_of(&self, _: u32) -> Option<u32> {
        None
    }
    fn is_orphaned(&self, _: u32) -> bool {
        false
    }
    fn signal_group(&self, _: u32, _: u32) {}
    fn signal_leader(&self, _: u32, _: u32) {}
    fn ignores(&self, _: u32, _: u32) -> bool {
        false
    }
    fn terminal(&self, _: u32) -> Option<Arc<Tty>> {
        None
    }
    fn claim(&self, _: u32, _: Arc<Tty>) -> bool {
        false
    }
    fn release(&self, _: u32, _: u32) {}
    fn lost_foreground(&self, _: u32) -> u32 {
        0
    }
    fn detach(&self, _: u32) {}
}

struct Pair {
    master: Arc<dyn File>,
    slave: Arc<dyn File>,
    root: Credentials,
}

impl Pair {
    fn new() -> Pair {
        boot();
        let root = Credentials::root();
        let ptys = Ptys::new(Options::default(), Device::new(0, 9), Arc::new(Nobody));
        let caller = Caller::kernel(&root);
        let master = ptys.open_master(&caller, OpenFlags::RDWR).unwrap();
        let peer = master.as_any().and_then(|any| any.downcast_ref::<Master>()).unwrap();
        let slave = peer.open_peer(&caller, OpenFlags::RDWR).unwrap();
        Pair { master, slave, root }
    }

    fn call(&self, file: &Arc<dyn File>, request: u32, arg: usize) -> Result<usize> {
        file.ioctl(&Caller::kernel(&self.root), request, arg)
    }

    /// The number that `request` writes.
    fn get(&self, file: &Arc<dyn File>, request: u32) -> i32 {
        assert_eq!(self.call(file, request, PAGE), Ok(0));
        UserPtr::<i32>::from(PAGE).read().unwrap()
    }

    /// `request` with the address of `value`.
    fn set(&self, file: &Arc<dyn File>, request: u32, value: i32) -> Result<usize> {
        UserPtr::<i32>::from(PAGE).write(&value).unwrap();
        self.call(file, request, PAGE)
    }

    fn write(&self, file: &Arc<dyn File>, text: &[u8]) {
        assert_eq!(file.write(&Caller::kernel(&self.root), 0, &mut Src::kernel(text)), Ok(text.len()));
    }

    fn read(&self, file: &Arc<dyn File>) -> Result<Vec<u8>> {
        let mut buf = vec![0; 99];
        let n = file.read(&Caller::kernel(&self.root), 0, &mut Dst::kernel(&mut buf))?;
        buf.truncate(n);
        Ok(buf)
    }
}

#[test]
fn settings_are_the_same_by_both_ends_and_both_structures() {
    let pair = Pair::new();
    pair.call(&pair.slave, TCGETS, PAGE).unwrap();
    let mut termios = UserPtr::<Termios>::from(PAGE).read().unwrap();
    assert_eq!(termios, Termios2::PTY.base);
    termios.lflag &= !ECHO;
    UserPtr::<Termios>::from(PAGE).write(&termios).unwrap();
    pair.call(&pair.master, TCSETSF, PAGE).unwrap();
    pair.call(&pair.slave, TCGETS2, PAGE).unwrap();
    let both = UserPtr::<Termios2>::from(PAGE).read().unwrap();
    assert_eq!((both.base, both.ospeed), (termios, 38400));
    pair.write(&pair.master, b"x\r");
    assert_eq!(pair.read(&pair.master), Err(Error::WouldBlock), "no echo any more");
    assert!(matches!(pair.call(&pair.slave, TCSETS, 0x1000), Err(Error::Fault(_))));
}

#[test]
fn the_window_size_is_kept_for_both_ends() {
    let pair = Pair::new();
    let size = Winsize { row: 24, col: 80, xpixel: 1, ypixel: 2 };
    UserPtr::<Winsize>::from(PAGE).write(&size).unwrap();
    pair.call(&pair.master, TIOCSWINSZ, PAGE).unwrap();
    UserPtr::<Winsize>::from(PAGE).write(&Winsize::default()).unwrap();
    pair.call(&pair.slave, TIOCGWINSZ, PAGE).unwrap();
    assert_eq!(UserPtr::<Winsize>::from(PAGE).read(), Ok(size));
}

#[test]
fn queues_can_be_counted_and_flushed() {
    let pair = Pair::new();
    pair.write(&pair.master, b"line\rmore");
    assert_eq!(pair.get(&pair.slave, FIONREAD), 5);
    assert_eq!(pair.get(&pair.master, FIONREAD), 10, "the echo");
    assert_eq!(pair.call(&pair.slave, TCFLSH, TCIFLUSH as usize), Ok(0));
    assert_eq!(pair.get(&pair.slave, FIONREAD), 0);
    assert_eq!(pair.call(&pair.slave, TCFLSH, TCOFLUSH as usize), Ok(0));
    assert_eq!(pair.get(&pair.master, FIONREAD), 10, "it has arrived");
    assert_eq!(pair.call(&pair.master, TCFLSH, TCIFLUSH as usize), Ok(0));
    assert_eq!(pair.get(&pair.master, FIONREAD), 0);
    assert_eq!(pair.call(&pair.slave, TCFLSH, 9), Err(Errno::EINVAL.into()));
}

#[test]
fn packet_mode_tells_what_happens() {
    let pair = Pair::new();
    assert_eq!(pair.get(&pair.master, TIOCGPKT), 0);
    pair.set(&pair.master, TIOCPKT, 1).unwrap();
    assert_eq!(pair.get(&pair.master, TIOCGPKT), 1);
    pair.write(&pair.slave, b"data");
    assert_eq!(pair.read(&pair.master).as_deref(), Ok(&b"\0data"[..]));
    assert_eq!(pair.call(&pair.slave, TCXONC, TCOOFF as usize), Ok(0));
    assert_eq!(pair.read(&pair.master).as_deref(), Ok(&[TIOCPKT_STOP as u8][..]));
    let caller = Caller::kernel(&pair.root);
    assert_eq!(pair.slave.write(&caller, 0, &mut Src::kernel(b"x")), Err(Error::WouldBlock));
    assert_eq!(pair.call(&pair.slave, TCXONC, TCOON as usize), Ok(0));
    assert_eq!(pair.read(&pair.master).as_deref(), Ok(&[TIOCPKT_START as u8][..]));
    pair.call(&pair.slave, TCFLSH, TCIOFLUSH as usize).unwrap();
    assert_eq!(pair.read(&pair.master).as_deref(), Ok(&[(TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE) as u8][..]));
    let mut termios = Termios2::SANE.base;
    termios.iflag &= !IXON;
    UserPtr::<Termios>::from(PAGE).write(&termios).unwrap();
    pair.call(&pair.slave, TCSETS, PAGE).unwrap();
    assert_eq!(pair.read(&pair.master).as_deref(), Ok(&[TIOCPKT_NOSTOP as u8][..]));
    assert_eq!(pair.read(&pair.master), Err(Error::WouldBlock));
}

#[test]
fn small_requests_answer_or_refuse() {
    let pair = Pair::new();
    assert_eq!(pair.get(&pair.master, TIOCGPTN), 0);
    assert_eq!(pair.get(&pair.master, TIOCGPTLCK), 1);
    pair.set(&pair.master, TIOCSPTLCK, 0).unwrap();
    assert_eq!(pair.get(&pair.master, TIOCGPTLCK), 0);
    assert_eq!(pair.get(&pair.slave, TIOCGETD), 0);
    assert_eq!(pair.set(&pair.slave, TIOCSETD, 3), Err(Errno::EINVAL.into()));
    assert_eq!(pair.get(&pair.slave, TIOCGDEV), 136 << 8);
    assert_eq!(pair.call(&pair.slave, TIOCEXCL, 0), Ok(0));
    assert_eq!(pair.get(&pair.slave, TIOCGEXCL), 1);
    for request in [TIOCGPTN, TIOCPKT, TIOCGPGRP, TIOCSPGRP, TIOCGSID, TIOCNOTTY, 0xdead] {
        assert_eq!(pair.call(&pair.slave, request, PAGE), Err(Errno::ENOTTY.into()), "{request:#x}");
    }
    assert_eq!(pair.call(&pair.master, 0xdead, PAGE), Err(Errno::ENOTTY.into()));
    assert_eq!(pair.set(&pair.slave, TIOCSTI, i32::from(b'q')), Ok(0));
    assert_eq!(pair.read(&pair.master).as_deref(), Ok(&b"q"[..]));
}
