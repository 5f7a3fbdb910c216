//! Rules of /proc, on a machine with one process.

use super::*;
use ::process::Current;
use alloc::string::String;
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::trap::Access;
use base::{Credentials, Errno, Error};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use memory::io::{Dst, Src};
use memory::space::{Flags, Limits, MapRequest, Place};
use std::sync::{Mutex, MutexGuard};
use vfs::inode::NewKind;
use vfs::open::{Request, open};
use vfs::path::{Follow, Walk};
use vfs::tmpfs::{self, Tmpfs};
use vfs::{Caller, Description, FsContext, OpenFlags, names};

extern crate std;

/// The process layer's tables are the program's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

struct World {
    current: Current,
    cred: Credentials,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    fn new() -> World {
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        memory::init(arch::sim::boot(1, 32 << 20, [5; 32]));
        let fs = Tmpfs::new(tmpfs::Options { mode: 0o755, ..tmpfs::Options::default() }).unwrap();
        let root = Mount::new(fs, b"rootfs", MountFlags::empty()).root();
        mount(&root).unwrap();
        let current = ::process::clone::first(Arc::new(FsContext::new(root))).unwrap();
        World { current, cred: Credentials::root(), _alone: alone }
    }

    fn id(&self) -> u32 {
        self.current.thread.id()
    }

    fn walk<R>(&self, f: impl FnOnce(&Walk) -> R) -> R {
        let caller = Caller { cred: &self.cred, ..self.current.caller() };
        f(&Walk::new(&caller, &self.current.fs, None))
    }

    fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<Description>> {
        let request = Request { flags, mode: 0o644, umask: 0 };
        self.walk(|walk| open(walk, path.as_bytes(), &request))
    }

    fn read_some(&self, file: &Description, len: usize) -> Result<Vec<u8>> {
        let mut bytes = alloc::vec![0; len];
        let caller = file.caller(&self.cred, self.id(), self.id());
        loop {
            match file.read(&caller, &mut Dst::kernel(&mut bytes)) {
                Err(Error::WouldBlock) => {}
                result => {
                    bytes.truncate(result?);
                    return Ok(bytes);
                }
            }
        }
    }

    fn read(&self, path: &str) -> String {
        let file = self.open(path, OpenFlags::empty()).unwrap();
        String::from_utf8(self.read_some(&file, 1 << 16).unwrap()).unwrap()
    }

    fn write(&self, path: &str, text: &str) -> Result<usize> {
        let file = self.open(path, OpenFlags::WRONLY | OpenFlags::TRUNC)?;
        file.write(&file.caller(&self.cred, self.id(), self.id()), &mut Src::kernel(text.as_bytes()))
    }

    fn link(&self, path: &str) -> String {
        let text = self.walk(|walk| names::readlink(walk, &walk.resolve(path.as_bytes(), Follow::No)?));
        String::from_utf8(text.unwrap()).unwrap()
    }

    fn list(&self, path: &str, batch: usize) -> Vec<String> {
        let dir = self.open(path, OpenFlags::DIRECTORY).unwrap();
        let caller = dir.caller(&self.cred, self.id(), self.id());
        let mut names = Vec::new();
        loop {
            let before = names.len();
            let mut sink = |entry: vfs::inode::Entry| {
                let room = names.len() < before + batch;
                if room {
                    names.push(String::from_utf8(entry.name.to_vec()).unwrap());
                }
                room
            };
            dir.readdir(&caller, &mut sink).unwrap();
            if names.len() == before {
                return names;
            }
        }
    }

    /// Maps a page and has it written.
    fn map_page(&self, at: usize, bytes: &[u8]) {
        let prot = Flags::READ | Flags::WRITE;
        let request = MapRequest::anonymous(Place::Fixed(VirtAddr(at)), PAGE_SIZE, prot);
        run(self.current.space.map(request, &Limits::NONE)).unwrap();
        assert_eq!(run(self.current.space.write_at(VirtAddr(at), bytes)).unwrap(), bytes.len());
    }

    fn become_user(&mut self) {
        self.cred =
            Credentials { uid: 7, euid: 7, suid: 7, fsuid: 7, effective: 0, permitted: 0, ..Credentials::root() };
    }
}

#[test]
fn self_is_the_reader() {
    let w = World::new();
    let id = w.id();
    assert_eq!(w.link("/proc/self"), format!("{id}"));
    assert_eq!(w.link("/proc/thread-self"), format!("{id}/task/{id}"));
    assert_eq!(w.link("/proc/self/root"), "/");
    assert_eq!(w.link("/proc/self/cwd"), "/");
    assert_eq!(w.read("/proc/self/comm"), "init\n");
    assert_eq!(w.list("/proc/self/task", 1), [".", "..", &format!("{id}")]);
}

#[test]
fn a_listing_in_pieces_shows_each_name_once() {
    let w = World::new();
    let whole = w.list("/proc", usize::MAX);
    assert_eq!(w.list("/proc", 3), whole);
    for name in ["self", "meminfo", "sys", &format!("{}", w.id())] {
        assert_eq!(whole.iter().filter(|found| *found == name).count(), 1, "{name}");
    }
    let of_process = w.list("/proc/self", usize::MAX);
    for name in of_process.iter().filter(|name| !name.starts_with('.')) {
        w.walk(|walk| walk.resolve(format!("/proc/self/{name}").as_bytes(), Follow::No)).unwrap();
    }
}

#[test]
fn every_text_of_the_system_can_be_read() {
    let w = World::new();
    let mut dirs = alloc::vec![String::from("/proc")];
    let mut texts = 0;
    while let Some(dir) = dirs.pop() {
        for name in w.list(&dir, 7) {
            if name.starts_with('.') || ["self", "thread-self", "mounts", "sysrq-trigger"].contains(&&name[..]) {
                continue;
            }
            let path = format!("{dir}/{name}");
            let found = w.walk(|walk| walk.resolve(path.as_bytes(), Follow::No)).unwrap();
            match found.inode().kind() {
                vfs::FileType::Directory => dirs.push(path),
                vfs::FileType::Regular => {
                    let file = w.open(&path, OpenFlags::empty()).unwrap();
                    match w.read_some(&file, 1 << 16) {
                        // The one value that needs a network, which this machine has not.
                        Err(Error::Errno(Errno::ENXIO)) => assert!(path.ends_with("somaxconn")),
                        result => drop(result.unwrap()),
                    }
                    texts += 1;
                }
                _ => {}
            }
        }
    }
    assert!(texts > 50, "{texts}");
}

#[test]
fn stat_has_its_52_fields() {
    let w = World::new();
    assert_eq!(w.write("/proc/self/comm", "a) (b"), Ok(5));
    let stat = w.read("/proc/self/stat");
    let (head, tail) = stat.rsplit_once(") ").unwrap();
    assert_eq!(head, format!("{} (a) (b", w.id()));
    let fields: Vec<&str> = tail.trim_end().split(' ').collect();
    assert_eq!(fields.len(), 50);
    assert!(
        fields.iter().skip(1).all(|field| field.parse::<i64>().is_ok() || *field == "18446744073709551615"),
        "{stat}"
    );
    assert_eq!((fields[0], fields[17]), ("R", "1"));
}

#[test]
fn a_read_at_the_start_makes_the_text_anew() {
    let w = World::new();
    arch::sim::with(|machine| machine.now = 5_250_000_000);
    let file = w.open("/proc/uptime", OpenFlags::empty()).unwrap();
    assert_eq!(w.read_some(&file, 3).unwrap(), b"5.2");
    arch::sim::with(|machine| machine.now = 9_000_000_000);
    assert!(w.read_some(&file, 99).unwrap().starts_with(b"5 "), "the text of the first read");
    assert_eq!(w.read_some(&file, 99).unwrap(), b"");
    file.seek(0, vfs::description::Whence::Start).unwrap();
    assert!(w.read_some(&file, 99).unwrap().starts_with(b"9.00 "));
    assert_eq!(file.seek(0, vfs::description::Whence::End), Err(Errno::EINVAL.into()));
}

#[test]
fn smaps_counts_the_pages_in_memory() {
    let w = World::new();
    w.map_page(0x40_0000, b"x");
    let map = w.read("/proc/self/maps");
    assert!(map.starts_with("00400000-00401000 rw-p 00000000 00:00 0 "), "{map}");
    let smaps = w.read("/proc/self/smaps");
    for line in [
        "Size:                  4 kB",
        "Rss:                   4 kB",
        "Private_Dirty:         4 kB",
        "Shared_Dirty:          0 kB",
    ] {
        assert!(smaps.lines().any(|found| found == line), "{line}\n{smaps}");
    }
    let rollup = w.read("/proc/self/smaps_rollup");
    assert!(
        rollup.lines().next().unwrap().ends_with("[rollup]") && rollup.contains("Rss:                   4 kB\n"),
        "{rollup}"
    );
    assert_eq!(w.read("/proc/self/statm"), "1 1 0 0 0 1 0\n");
    assert!(w.read("/proc/self/status").contains("VmRSS:\t       4 kB\n"));
}

#[test]
fn arguments_are_read_from_the_programs_memory() {
    let w = World::new();
    w.map_page(0x40_0000, b"sh\0-c\0A=b\0");
    let at = 0x40_0000;
    w.current.thread.process.shared.lock().strings = ((at, at + 6), (at + 6, at + 10));
    assert_eq!(w.read("/proc/self/cmdline"), "sh\0-c\0");
    assert_eq!(w.read("/proc/self/environ"), "A=b\0");
    // setproctitle: the zero at the end is overwritten.
    run(w.current.space.write_at(VirtAddr(at), b"worker 1\0")).unwrap();
    assert_eq!(w.read("/proc/self/cmdline"), "worker 1");
}

#[test]
fn a_fault_in_the_middle_gives_what_came_before() {
    let w = World::new();
    w.map_page(0x40_0000, b"x");
    let at = 0x40_0000 + PAGE_SIZE;
    run(w.current.space.write_at(VirtAddr(at - 2), b"ab")).unwrap();
    w.current.thread.process.shared.lock().strings = ((at - 2, at + 9), (0, 0));
    assert_eq!(w.read("/proc/self/cmdline"), "ab");
    assert!(run(w.current.space.frame_at(VirtAddr(at), Access::Read)).is_err());
}

#[test]
fn descriptors_lead_to_what_is_open() {
    let w = World::new();
    w.walk(|walk| names::create(walk, b"/file", NewKind::Regular, 0o600)).unwrap();
    let file = w.open("/file", OpenFlags::RDWR).unwrap();
    let fd = w.current.files.open(file.clone(), 16, true).unwrap();
    assert_eq!(w.link(&format!("/proc/self/fd/{fd}")), "/file");
    let found = w.walk(|walk| walk.resolve(format!("/proc/self/fd/{fd}").as_bytes(), Follow::Yes)).unwrap();
    assert!(found.same(file.opened_as().unwrap()));
    let (pipe, _other) = vfs::pipe::Pipe::pair(&base::Credentials::root());
    let fd = w.current.files.open(Description::new(pipe, None, OpenFlags::empty()), 16, false).unwrap();
    assert!(w.link(&format!("/proc/self/fd/{fd}")).starts_with("pipe:["));
    assert_eq!(w.list("/proc/self/fd", 1).len(), 4);
}

#[test]
fn the_descriptor_of_its_own_fdinfo_can_be_read() {
    let w = World::new();
    w.walk(|walk| names::create(walk, b"/file", NewKind::Regular, 0o600)).unwrap();
    let fd = w.current.files.open(w.open("/file", OpenFlags::RDWR).unwrap(), 16, false).unwrap();
    let info = w.open(&format!("/proc/self/fdinfo/{fd}"), OpenFlags::empty()).unwrap();
    w.current.files.close(fd).unwrap();
    assert_eq!(w.current.files.open(info.clone(), 16, true), Ok(fd));
    let text = String::from_utf8(w.read_some(&info, 4096).unwrap()).unwrap();
    assert!(text.starts_with("pos:\t0\nflags:\t02"), "{text}");
}

#[test]
fn another_user_sees_neither_memory_nor_descriptors() {
    let mut w = World::new();
    let id = w.id();
    w.become_user();
    // Not the process itself.
    let caller = Caller { process: 0, thread: 0, cred: &w.cred, ..w.current.caller() };
    let walk = Walk::new(&caller, &w.current.fs, None);
    let request = Request { flags: OpenFlags::empty(), mode: 0, umask: 0 };
    let try_open = |name: &str| open(&walk, format!("/proc/{id}/{name}").as_bytes(), &request).map(drop);
    for name in ["environ", "maps", "smaps", "fd/0", "exe", "cwd", "root"] {
        assert_eq!(try_open(name), Err(Errno::EACCES.into()), "{name}");
    }
    for name in ["stat", "status", "cmdline", "comm", "statm", "limits"] {
        assert_eq!(try_open(name), Ok(()), "{name}");
    }
}

#[test]
fn values_are_set_as_a_whole_or_not() {
    let w = World::new();
    assert_eq!(w.write("/proc/sys/kernel/hostname", "node1\n"), Ok(6));
    assert_eq!(w.read("/proc/sys/kernel/hostname"), "node1\n");
    assert_eq!(w.write("/proc/sys/kernel/pid_max", "100\n"), Err(Errno::EINVAL.into()));
    assert_eq!(w.write("/proc/sys/kernel/pid_max", "x"), Err(Errno::EINVAL.into()));
    assert_eq!(w.write("/proc/sys/kernel/pid_max", "4194304\n"), Ok(8));
    assert_eq!(w.write("/proc/sys/vm/overcommit_memory", "1\n"), Err(Errno::EINVAL.into()));
    assert_eq!(w.write("/proc/version", "x"), Err(Errno::EIO.into()));
}

#[test]
fn the_sysrq_trigger_is_written_and_not_read() {
    let w = World::new();
    assert_eq!(w.write("/proc/sysrq-trigger", "h\n"), Ok(2), "a letter without a command only lists the others");
    let file = w.open("/proc/sysrq-trigger", OpenFlags::empty()).unwrap();
    assert_eq!(w.read_some(&file, 1), Err(Errno::EIO.into()));
}

/// It may wait for memory on its way out, which the kill gives up.
#[test]
fn a_process_that_ends_by_itself_can_be_killed_and_keeps_its_status() {
    let w = World::new();
    let thread = &w.current.thread;
    thread.process.begin_exit(3 << 8);
    assert!(!thread.has(::process::thread::Conditions::KILL));
    thread.process.exit_group(9);
    assert!(thread.has(::process::thread::Conditions::KILL));
    assert_eq!(thread.process.exit_status(), Some(3 << 8));
}

#[test]
fn a_zombie_has_a_state_and_no_memory() {
    let w = World::new();
    let (id, fs, cred) = (w.id(), w.current.fs.clone(), Credentials::root());
    w.map_page(0x40_0000, b"x");
    let World { current, _alone, .. } = w;
    let process = current.thread.process.clone();
    ::process::exit::finish(current, 3 << 8);
    let caller = Caller::kernel(&cred);
    let walk = Walk::new(&caller, &fs, None);
    let request = Request { flags: OpenFlags::empty(), mode: 0, umask: 0 };
    let read = |name: &str| -> Result<String> {
        let file = open(&walk, format!("/proc/{id}/{name}").as_bytes(), &request)?;
        let mut bytes = [0; 4096];
        let n = file.read(&caller, &mut Dst::kernel(&mut bytes))?;
        Ok(String::from_utf8(bytes[..n].to_vec()).unwrap())
    };
    assert!(read("stat").unwrap().starts_with(&format!("{id} (init) Z 0 {id} {id} 0 -1 ")));
    assert!(read("stat").unwrap().ends_with(" 768\n"), "the wait status");
    assert!(read("status").unwrap().contains("\nState:\tZ (zombie)\n"));
    assert_eq!(read("comm").as_deref(), Ok("init\n"));
    for name in ["maps", "smaps", "cmdline", "environ"] {
        assert_eq!(read(name).as_deref(), Ok(""), "{name}");
    }
    for name in ["cwd", "root", "exe", "fd", &format!("task/{id}")] {
        let file = read(name);
        assert!(matches!(file, Err(Error::Errno(Errno::ENOENT | Errno::EISDIR))), "{name}: {file:?}");
    }
    drop((process, _alone));
}
