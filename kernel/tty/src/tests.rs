//! Terminals, pseudo-terminals and job control over a process layer that is a table.

use crate::console;
use crate::devpts::{Devpts, OPEN, Options, Ptys};
use crate::job::{self, Jobs, Place};
use crate::line::Line;
use crate::pty::Master;
use crate::termios::{Special, Termios2, Winsize};
use crate::tty::Tty;
use alloc::sync::Arc;
use base::{Credentials, Errno, Error, Events, Restart, Result};
use linux_raw_sys::general::*;
use memory::io::{Dst, Src};
use std::collections::HashMap;
use std::sync::Mutex;
use vfs::{Caller, Device, File, FileSystem, OpenFlags};

executor::hosted_platform!();

/// Processes are numbers; `sent` is what was signalled: ('g' group, 'l' leader of a session; id; signal).
#[derive(Default)]
struct Table {
    places: HashMap<u32, Place>,
    orphaned: Vec<u32>,
    ignored: Vec<u32>,
    terminals: HashMap<u32, Arc<Tty>>,
    detached: Vec<u32>,
    lost: HashMap<u32, u32>,
    sent: Vec<(char, u32, u32)>,
}

#[derive(Default)]
struct FakeJobs(Mutex<Table>);

impl FakeJobs {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap()
    }

    fn sent(&self) -> Vec<(char, u32, u32)> {
        core::mem::take(&mut self.table().sent)
    }
}

impl Jobs for FakeJobs {
    fn place(&self, process: u32) -> Option<Place> {
        let table = self.table();
        let mut place = *table.places.get(&process)?;
        place.attached = table.terminals.contains_key(&place.session) && !table.detached.contains(&process);
        Some(place)
    }
    fn session_of(&self, group: u32) -> Option<u32> {
        self.table().places.values().find(|place| place.group == group).map(|place| place.session)
    }
    fn is_orphaned(&self, group: u32) -> bool {
        self.table().orphaned.contains(&group)
    }
    fn signal_group(&self, group: u32, signal: u32) {
        executor::spin::assert_no_locks_held();
        self.table().sent.push(('g', group, signal));
    }
    fn signal_leader(&self, session: u32, signal: u32) {
        executor::spin::assert_no_locks_held();
        self.table().sent.push(('l', session, signal));
    }
    fn ignores(&self, _thread: u32, signal: u32) -> bool {
        self.table().ignored.contains(&signal)
    }
    fn terminal(&self, process: u32) -> Option<Arc<Tty>> {
        let place = self.place(process).filter(|place| place.attached)?;
        self.table().terminals.get(&place.session).cloned()
    }
    fn claim(&self, session: u32, terminal: Arc<Tty>) -> bool {
        executor::spin::assert_no_locks_held();
        self.table().terminals.try_insert_new(session, terminal)
    }
    fn release(&self, session: u32, foreground: u32) {
        let mut table = self.table();
        table.terminals.remove(&session);
        table.lost.insert(session, foreground);
    }
    fn lost_foreground(&self, session: u32) -> u32 {
        self.table().lost.remove(&session).unwrap_or(0)
    }
    fn detach(&self, process: u32) {
        self.table().detached.push(process);
    }
}

trait TryInsertNew {
    fn try_insert_new(&mut self, session: u32, terminal: Arc<Tty>) -> bool;
}

impl TryInsertNew for HashMap<u32, Arc<Tty>> {
    fn try_insert_new(&mut self, session: u32, terminal: Arc<Tty>) -> bool {
        if self.contains_key(&session) {
            return false;
        }
        self.insert(session, terminal).is_none()
    }
}

/// Session 10 has its leader 10 in group 10, and 20, 30 in groups 20, 30; 90 leads session 90.
struct World {
    jobs: Arc<FakeJobs>,
    ptys: Arc<Ptys>,
    fs: Arc<Devpts>,
    root: Credentials,
}

/// The count of open pseudo-terminals is one for the whole program, so tests that look at it take turns.
static TURN: Mutex<()> = Mutex::new(());

impl World {
    fn new() -> World {
        arch::sim::boot(1, 1 << 16, [0; 32]);
        let jobs = Arc::new(FakeJobs::default());
        for (process, session) in [(10, 10), (20, 10), (30, 10), (90, 90)] {
            let place = Place { session, group: process, leader: process == session, attached: false };
            jobs.table().places.insert(process, place);
        }
        let options = Options::parse("gid=5,mode=620,max=3").unwrap();
        let ptys = Ptys::new(options, Device::new(0, 9), jobs.clone());
        World { fs: Devpts::new(ptys.clone()), ptys, jobs, root: Credentials::root() }
    }

    fn caller(&self, process: u32) -> Caller<'_> {
        Caller { thread: process, process, ..Caller::kernel(&self.root) }
    }

    /// A pair; the slave is opened by process 10, whose terminal it becomes.
    fn pair(&self) -> (Arc<dyn File>, Arc<dyn File>) {
        let master = self.ptys.open_master(&self.caller(10), OpenFlags::RDWR).unwrap();
        let slave = peer(&master).open_peer(&self.caller(10), OpenFlags::RDWR).unwrap();
        (master, slave)
    }

    fn read(&self, process: u32, file: &Arc<dyn File>, max: usize) -> Result<String> {
        let mut buf = vec![0; max];
        let n = file.read(&self.caller(process), 0, &mut Dst::kernel(&mut buf))?;
        Ok(String::from_utf8_lossy(&buf[..n]).into_owned())
    }

    fn write(&self, process: u32, file: &Arc<dyn File>, text: &str) -> Result<usize> {
        file.write(&self.caller(process), 0, &mut Src::kernel(text.as_bytes()))
    }
}

fn peer(master: &Arc<dyn File>) -> &Master {
    master.as_any().and_then(|any| any.downcast_ref::<Master>()).unwrap()
}

fn errno<T>(errno: Errno) -> Result<T> {
    Err(errno.into())
}

#[test]
fn what_one_end_writes_the_other_reads() {
    let world = World::new();
    let (master, slave) = world.pair();
    assert_eq!(world.read(10, &master, 99), Err(Error::WouldBlock));
    assert_eq!(world.write(10, &slave, "hello\n"), Ok(6));
    assert_eq!(world.read(10, &master, 99).as_deref(), Ok("hello\r\n"));
    assert_eq!(world.write(10, &master, "typ"), Ok(3));
    assert_eq!(world.read(10, &slave, 99), Err(Error::WouldBlock));
    assert_eq!(world.write(10, &master, "ed\r"), Ok(3));
    assert_eq!(world.read(10, &slave, 99).as_deref(), Ok("typed\n"));
    assert_eq!(world.read(10, &master, 99).as_deref(), Ok("typed\r\n"), "echo");
}

#[test]
fn poll_tells_both_ends_apart() {
    let world = World::new();
    let (master, slave) = world.pair();
    let caller = world.caller(10);
    let out = Events::OUT | Events::WRNORM;
    let both = out | Events::IN | Events::RDNORM;
    assert_eq!((master.poll(&caller), slave.poll(&caller)), (out, out));
    world.write(10, &slave, "x").unwrap();
    assert_eq!((master.poll(&caller), slave.poll(&caller)), (both, out));
    world.write(10, &master, "line\r").unwrap();
    assert_eq!(slave.poll(&caller), both);
    slave.close();
    assert_eq!(master.poll(&caller), both | Events::HUP);
}

#[test]
fn buffers_are_bounded_and_nothing_is_lost() {
    let world = World::new();
    let (master, slave) = world.pair();
    let text = "0123456789abcdef".repeat(16 * 1024);
    let mut src = Src::kernel(text.as_bytes());
    let caller = world.caller(10);
    let mut got = String::new();
    let mut rounds = 0;
    while src.remaining() > 0 || slave.poll(&caller).is_empty() {
        match slave.write(&caller, 0, &mut src) {
            Ok(n) => assert!(n <= 80 * 1024, "{n} bytes at once"),
            Err(error) => assert_eq!(error, Error::WouldBlock),
        }
        got += &world.read(10, &master, 5000).unwrap();
        rounds += 1;
        assert!(rounds < 1000);
    }
    while let Ok(more) = world.read(10, &master, 5000) {
        got += &more;
    }
    assert!(got == text);
    // The other way, into a slave that nobody reads.
    let text = "a line\r".repeat(64 * 1024);
    let mut src = Src::kernel(text.as_bytes());
    let taken = master.write(&caller, 0, &mut src).unwrap();
    assert!((64 * 1024..80 * 1024).contains(&taken));
    assert_eq!(master.write(&caller, 0, &mut src), Err(Error::WouldBlock));
}

#[test]
fn closing_the_master_hangs_up_the_slave() {
    let world = World::new();
    let (master, slave) = world.pair();
    let tty = peer(&master).tty().clone();
    assert_eq!(tty.session_and_foreground(), (10, 10));
    tty.set_foreground(&world.caller(10), 20).unwrap();
    master.close();
    assert_eq!(world.jobs.sent(), [('l', 10, SIGHUP), ('l', 10, SIGCONT)]);
    assert_eq!(world.read(10, &slave, 9).as_deref(), Ok(""));
    assert_eq!(world.write(10, &slave, "x"), errno(Errno::EIO));
    assert!(slave.poll(&world.caller(10)).contains(Events::HUP | Events::IN));
    assert_eq!(slave.ioctl(&world.caller(10), linux_raw_sys::ioctl::TCGETS, 0), errno(Errno::EIO));
    assert!(world.jobs.terminal(10).is_none());
    // The foreground group follows when the leader exits.
    job::disassociate(&*world.jobs, 10);
    assert_eq!(world.jobs.sent(), [('g', 20, SIGHUP), ('g', 20, SIGCONT)]);
}

#[test]
fn closing_the_last_slave_gives_the_master_eio_until_it_is_opened_again() {
    let world = World::new();
    let (master, slave) = world.pair();
    let other = peer(&master).open_peer(&world.caller(20), OpenFlags::RDWR).unwrap();
    world.write(10, &slave, "last words").unwrap();
    slave.close();
    other.close();
    assert_eq!(world.read(10, &master, 99).as_deref(), Ok("last words"));
    assert_eq!(world.read(10, &master, 99), errno(Errno::EIO));
    let _again = peer(&master).open_peer(&world.caller(10), OpenFlags::RDWR).unwrap();
    assert_eq!(world.read(10, &master, 99), Err(Error::WouldBlock));
}

#[test]
fn numbers_are_the_smallest_free_ones_up_to_the_limit() {
    let _turn = TURN.lock();
    let world = World::new();
    let caller = world.caller(10);
    let open = || world.ptys.open_master(&caller, OpenFlags::RDWR);
    let before = OPEN.load(std::sync::atomic::Ordering::Relaxed);
    let masters: Vec<_> = (0..3).map(|_| open().unwrap()).collect();
    assert!(OPEN.load(std::sync::atomic::Ordering::Relaxed) >= before.min(3));
    assert!(matches!(open(), Err(Error::Errno(Errno::ENOSPC))));
    let slave = peer(&masters[1]).open_peer(&caller, OpenFlags::RDWR | OpenFlags::NOCTTY).unwrap();
    let mut masters = masters.into_iter();
    let (zero, one) = (masters.next().unwrap(), masters.next().unwrap());
    one.close();
    drop(one);
    assert!(matches!(open(), Err(Error::Errno(Errno::ENOSPC))), "the slave still has the number");
    slave.close();
    drop(slave);
    let again = open().unwrap();
    let mut label = String::new();
    again.show_info(&mut label).unwrap();
    assert_eq!(label, "tty-index:\t1\n");
    zero.close();
}

#[test]
fn the_directory_shows_open_pairs() {
    let _turn = TURN.lock();
    let world = World::new();
    let caller = world.caller(10);
    let root = world.fs.root();
    let names = || {
        let mut names = Vec::new();
        let mut position = 0;
        // One entry at a time, as a small buffer would have it.
        loop {
            let mut taken = None;
            position = root
                .readdir(&caller, position, &mut |entry| {
                    taken.is_none() && taken.replace(String::from_utf8_lossy(entry.name).into_owned()).is_none()
                })
                .unwrap();
            match taken {
                Some(name) => names.push(name),
                None => return names,
            }
        }
    };
    let _zero = world.ptys.open_master(&caller, OpenFlags::RDWR).unwrap();
    let one = world.ptys.open_master(&caller, OpenFlags::RDWR).unwrap();
    let _two = world.ptys.open_master(&caller, OpenFlags::RDWR).unwrap();
    assert_eq!(names(), ["ptmx", "0", "1", "2"]);
    let node = root.lookup(&caller, b"1").unwrap();
    let m = node.metadata();
    assert_eq!((m.st_mode(), m.uid, m.gid, m.rdev, m.ino), (0o020620, 0, 5, Device::new(136, 1), 4));
    assert!(matches!(node.clone().open(&caller, OpenFlags::RDWR), Err(Error::Errno(Errno::EIO))), "locked");
    one.close();
    assert_eq!(names(), ["ptmx", "0", "2"]);
    for name in ["1", "02", "+2", "", "ptm", "99999999999"] {
        assert!(matches!(root.lookup(&caller, name.as_bytes()), Err(Error::Errno(Errno::ENOENT))), "{name}");
    }
}

#[test]
fn characters_signal_the_foreground_group() {
    let world = World::new();
    let (master, slave) = world.pair();
    let tty = peer(&master).tty();
    tty.set_foreground(&world.caller(10), 20).unwrap();
    world.write(10, &slave, "unread output").unwrap();
    world.write(10, &master, "typed\x03more\x1a").unwrap();
    assert_eq!(world.jobs.sent(), [('g', 20, SIGINT), ('g', 20, SIGTSTP)]);
    assert_eq!(world.read(10, &master, 99).as_deref(), Ok("unread output^C^Z"), "echo not yet sent is flushed");
    tty.set_winsize(Winsize { row: 1, col: 2, xpixel: 0, ypixel: 0 });
    tty.set_winsize(Winsize { row: 1, col: 2, xpixel: 0, ypixel: 0 });
    assert_eq!(world.jobs.sent(), [('g', 20, SIGWINCH)]);
}

#[test]
fn use_from_the_background_is_stopped() {
    let world = World::new();
    let (master, slave) = world.pair();
    let tty = peer(&master).tty().clone();
    tty.set_foreground(&world.caller(10), 20).unwrap();
    world.write(10, &master, "x\r").unwrap();
    let stopped: Result<String> = Err(Error::Interrupted(Restart::IfAsked));
    assert_eq!(world.read(30, &slave, 9), stopped);
    assert_eq!(world.jobs.sent(), [('g', 30, SIGTTIN)]);
    assert_eq!(world.write(30, &slave, "y"), Ok(1), "writing is allowed without TOSTOP");
    assert!(tty.check_background(&world.caller(30), SIGTTOU).is_err());
    assert_eq!(world.jobs.sent(), [('g', 30, SIGTTOU)]);
    assert_eq!(world.read(90, &slave, 1).as_deref(), Ok("x"), "another session is not stopped");

    let mut termios = Termios2::SANE;
    termios.base.lflag |= TOSTOP;
    tty.lock().disc.set_termios(termios);
    assert!(world.write(30, &slave, "y").is_err());
    assert_eq!(world.jobs.sent(), [('g', 30, SIGTTOU)]);

    world.jobs.table().ignored = vec![SIGTTIN, SIGTTOU];
    assert_eq!(world.read(30, &slave, 9), errno(Errno::EIO));
    assert_eq!(world.write(30, &slave, "y"), Ok(1));
    world.jobs.table().ignored.clear();
    world.jobs.table().orphaned = vec![30];
    assert_eq!(world.read(30, &slave, 9), errno(Errno::EIO));
    assert_eq!(world.write(30, &slave, "y"), errno(Errno::EIO));
    assert_eq!(tty.check_background_spgrp(&world.caller(30)), errno(Errno::ENOTTY));
    assert_eq!(world.jobs.sent(), []);
    assert_eq!(world.read(20, &slave, 9).as_deref(), Ok("\n"), "the foreground goes on");
}

#[test]
fn a_controlling_terminal_is_for_one_session() {
    let world = World::new();
    let (master, slave) = world.pair();
    let tty = peer(&master).tty().clone();
    assert_eq!(tty.set_controlling(&world.caller(10), 0, true), Ok(()), "it is already");
    assert_eq!(tty.set_controlling(&world.caller(20), 0, true), errno(Errno::EPERM), "not a leader");
    assert_eq!(tty.set_controlling(&world.caller(90), 0, true), errno(Errno::EPERM), "taken");
    assert_eq!(tty.foreground_for(&world.caller(90), true), errno(Errno::ENOTTY));
    assert_eq!(tty.foreground_for(&world.caller(90), false), Ok(10), "the master may ask");
    assert_eq!(tty.set_foreground(&world.caller(90), 90), errno(Errno::ENOTTY));
    assert_eq!(tty.set_foreground(&world.caller(10), 90), errno(Errno::EPERM));
    assert_eq!(tty.set_foreground(&world.caller(10), 77), errno(Errno::ESRCH));
    assert_eq!(tty.set_foreground(&world.caller(10), -1), errno(Errno::EINVAL));
    assert_eq!(tty.set_controlling(&world.caller(90), 1, true), Ok(()), "stolen by CAP_SYS_ADMIN");
    assert_eq!(tty.session_for(&world.caller(90), true), Ok(90));
    assert!(world.jobs.terminal(10).is_none());
    let unprivileged = Credentials { effective: 0, ..Credentials::root() };
    let thief = Caller { cred: &unprivileged, ..world.caller(10) };
    assert_eq!(tty.set_controlling(&thief, 1, true), errno(Errno::EPERM));
    drop(slave);
}

#[test]
fn giving_the_terminal_up_hangs_up_the_foreground() {
    let world = World::new();
    let (master, _slave) = world.pair();
    let tty = peer(&master).tty().clone();
    tty.set_foreground(&world.caller(10), 20).unwrap();
    assert_eq!(tty.give_up(&world.caller(30)), Ok(()));
    assert!(world.jobs.terminal(30).is_none() && world.jobs.terminal(20).is_some());
    assert_eq!(tty.give_up(&world.caller(30)), errno(Errno::ENOTTY));
    assert_eq!(tty.give_up(&world.caller(10)), Ok(()));
    assert_eq!(world.jobs.sent(), [('g', 20, SIGHUP), ('g', 20, SIGCONT)]);
    assert_eq!(tty.session_and_foreground(), (0, 0));
    assert!(matches!(
        console::open_current(&*world.jobs, &world.caller(20), OpenFlags::RDWR),
        Err(Error::Errno(Errno::ENXIO))
    ));
}

#[test]
fn a_leader_that_exits_hangs_up_its_foreground_but_not_a_pseudo_terminal() {
    let world = World::new();
    let (_master, slave) = world.pair();
    job::disassociate(&*world.jobs, 10);
    assert_eq!(world.jobs.sent(), [('g', 10, SIGHUP), ('g', 10, SIGCONT)]);
    assert_eq!(world.write(20, &slave, "x"), Ok(1));
}

#[test]
fn vtime_becomes_a_deadline() {
    let world = World::new();
    let (master, slave) = world.pair();
    let tty = peer(&master).tty().clone();
    let set = |min, time| {
        let mut termios = Termios2::SANE;
        termios.base.lflag = 0;
        termios.base.cc[Special::Min as usize] = min;
        termios.base.cc[Special::Time as usize] = time;
        tty.lock().disc.set_termios(termios);
    };
    assert_eq!(slave.read_deadline(5), None, "canonical");
    set(1, 0);
    assert_eq!(slave.read_deadline(5), None);
    set(0, 3);
    assert_eq!(slave.read_deadline(5), Some(300_000_005), "from the call");
    set(2, 3);
    assert_eq!(slave.read_deadline(5), None, "not before the first byte");
    arch::sim::advance(1000);
    let now = arch::time::now();
    world.write(10, &master, "a").unwrap();
    assert_eq!(slave.read_deadline(5), Some(now + 300_000_000), "from the last byte");
    assert_eq!(slave.read_deadline(now + 7), Some(now + 300_000_007), "or from the call, if that came later");
    assert_eq!(world.read(10, &slave, 9), Err(Error::WouldBlock));
    let mut hasty = world.caller(10);
    hasty.set_nonblock(true);
    assert_eq!(slave.read(&hasty, 0, &mut Dst::kernel(&mut [0; 9])), Ok(1));
}

/// A serial port that takes a few bytes at a time.
#[derive(Default)]
struct Port(Mutex<(Vec<u8>, usize)>);

impl Line for Port {
    fn write(&self, bytes: &[u8]) -> usize {
        let mut port = self.0.lock().unwrap();
        let n = bytes.len().min(port.1);
        port.0.extend_from_slice(&bytes[..n]);
        port.1 -= n;
        n
    }
    fn room(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

#[test]
fn the_console_sends_when_the_port_is_ready_and_loses_nothing() {
    let world = World::new();
    let port = Arc::new(Port::default());
    let tty = console::serial(console::TTYS0, port.clone(), world.jobs.clone());
    let file = console::open_console(&tty, &world.caller(10), OpenFlags::RDWR).unwrap();
    assert!(world.jobs.terminal(10).is_none(), "opening the console makes it nobody's");
    assert_eq!(world.write(10, &file, "a\nb"), Err(Error::WouldBlock));
    port.0.lock().unwrap().1 = 2;
    assert_eq!(world.write(10, &file, "a\nb\tc\n"), Ok(6));
    assert_eq!(world.write(10, &file, "!"), Err(Error::WouldBlock));
    assert!(!file.poll(&world.caller(10)).contains(Events::OUT));
    port.0.lock().unwrap().1 = 99;
    tty.output_ready();
    assert_eq!(world.write(10, &file, "!"), Ok(1));
    assert_eq!(port.0.lock().unwrap().0, b"a\r\nb\tc\r\n!");

    // A session that uses it by its own name is hung up with its leader, the console is not.
    let own = console::open_serial(&tty, &world.caller(10), OpenFlags::RDWR).unwrap();
    assert!(world.jobs.terminal(10).is_some());
    job::disassociate(&*world.jobs, 10);
    assert_eq!(world.write(10, &own, "x"), errno(Errno::EIO));
    assert_eq!(world.write(10, &file, "x"), Ok(1));
    assert!(console::open_serial(&tty, &world.caller(90), OpenFlags::RDWR).is_ok());
    assert_eq!(tty.session_and_foreground(), (90, 90));
}

#[test]
fn mount_options_are_read_or_refused() {
    let options = Options::parse("gid=5,mode=620,ptmxmode=666,newinstance").unwrap();
    assert_eq!((options.uid, options.gid, options.mode, options.ptmxmode), (None, Some(5), 0o620, 0o666));
    for bad in ["gid", "gid=x", "mode=9", "max=99999", "what=1"] {
        assert_eq!(Options::parse(bad), errno(Errno::EINVAL), "{bad}");
    }
}
