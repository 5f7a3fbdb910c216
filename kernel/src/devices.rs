//! The devices that are always there, and the file system of their names (/dev).

use crate::console;
use crate::jobs::Jobs;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Credentials, Errno, Result, rank};
use executor::spin::SpinLock;
use executor::{Class, RtPolicy, SchedParams};
use tty::devpts::{Devpts, Options, Ptys};
use tty::line::Line;
use tty::tty::Tty;
use vfs::devices::{MEMORY_NODES, register_char, register_memory};
use vfs::inode::NewKind;
use vfs::mount::{Location, MountFlags, anonymous_device};
use vfs::path::Walk;
use vfs::tmpfs::{self, Tmpfs};
use vfs::{Caller, Device, File, FsContext, Mount, OpenFlags, names};

/// The console's port, as the terminal drives it.
struct Port;

impl Line for Port {
    fn write(&self, bytes: &[u8]) -> usize {
        console::write(bytes)
    }

    fn room(&self) -> usize {
        console::room()
    }

    fn unsent(&self) -> usize {
        console::queued()
    }
}

/// What terminals share.
struct Terminals {
    console: Arc<Tty>,
    jobs: Arc<dyn tty::job::Jobs>,
    ptys: Arc<Ptys>,
}

static TERMINALS: SpinLock<Option<Arc<Terminals>>> = SpinLock::new(rank::DEVICES, None);

fn terminals() -> Result<Arc<Terminals>> {
    Ok(TERMINALS.lock().clone().ok_or(Errno::ENXIO)?)
}

/// Brings received bytes to the console's terminal.
struct Receiver;

impl console::Listener for Receiver {
    fn received(&self, bytes: &[u8]) {
        if let Ok(terminals) = terminals() {
            // A terminal whose queue is full loses what comes, as a real one does.
            terminals.console.input(bytes);
        }
    }

    fn drained(&self) {
        if let Ok(terminals) = terminals() {
            terminals.console.output_ready();
        }
    }
}

fn open_serial(caller: &Caller, _: Device, flags: OpenFlags) -> Result<Arc<dyn File>> {
    tty::console::open_serial(&terminals()?.console, caller, flags)
}

fn open_console(caller: &Caller, _: Device, flags: OpenFlags) -> Result<Arc<dyn File>> {
    tty::console::open_console(&terminals()?.console, caller, flags)
}

fn open_current(caller: &Caller, _: Device, flags: OpenFlags) -> Result<Arc<dyn File>> {
    tty::console::open_current(&*terminals()?.jobs, caller, flags)
}

fn open_ptmx(caller: &Caller, _: Device, flags: OpenFlags) -> Result<Arc<dyn File>> {
    terminals()?.ptys.open_master(caller, flags)
}

const TTY: Device = Device::new(5, 0);
const CONSOLE: Device = Device::new(5, 1);
const PTMX: Device = Device::new(5, 2);

/// The console port's name and number on this machine.
fn port() -> (&'static [u8], Device) {
    match arch::console::NAME {
        "ttyAMA0" => (b"ttyAMA0", tty::console::TTYAMA0),
        _ => (b"ttyS0", tty::console::TTYS0),
    }
}

/// Registers the drivers.
pub fn init() {
    let jobs: Arc<dyn tty::job::Jobs> = Arc::new(Jobs);
    let (_, device) = port();
    let options = Options { gid: Some(5), ..Options::default() };
    let terminals = Terminals {
        console: tty::console::serial(device, Arc::new(Port), jobs.clone()),
        ptys: Ptys::new(options, anonymous_device(), jobs.clone()),
        jobs,
    };
    *TERMINALS.lock() = Some(Arc::new(terminals));
    process::exit::set_hook(&Jobs);
    register_memory(crate::random::fill);
    register_char(device, device.minor, open_serial);
    register_char(TTY, TTY.minor, open_current);
    register_char(CONSOLE, CONSOLE.minor, open_console);
    register_char(PTMX, PTMX.minor, open_ptmx);
}

/// Starts the console's driver. It comes before every program: who types Ctrl-C at a program that keeps the CPU busy
/// means just that.
pub fn start() {
    let class = Class::RealTime { prio: 50, policy: RtPolicy::Fifo };
    executor::spawn(console::drive(&Receiver), SchedParams { class, ..SchedParams::default() });
}

/// Makes the file system of device names.
fn devtmpfs() -> Result<Arc<Mount>> {
    let fs = Tmpfs::new(tmpfs::Options { mode: 0o755, name: "devtmpfs", ..tmpfs::Options::default() })?;
    let mount = Mount::new(fs, b"devtmpfs", MountFlags::empty());
    let root = mount.root();
    let cred = Credentials::root();
    let caller = Caller::kernel(&cred);
    let context = FsContext::new(root);
    context.set_umask(0);
    let walk = Walk::new(&caller, &context, None);
    let mut nodes: Vec<(&[u8], Device, u32)> =
        MEMORY_NODES.iter().map(|(name, device, mode)| (name.as_bytes(), *device, *mode)).collect();
    let (name, device) = port();
    nodes.extend([(name, device, 0o600), (b"tty", TTY, 0o666), (b"console", CONSOLE, 0o600), (b"ptmx", PTMX, 0o666)]);
    for (name, device, mode) in nodes {
        names::create(&walk, name, NewKind::CharDevice(device), mode)?;
    }
    for name in [&b"pts"[..], b"shm"] {
        names::create(&walk, name, NewKind::Directory, 0o755)?;
    }
    let links: [(&[u8], &[u8]); 4] = [
        (b"fd", b"/proc/self/fd"),
        (b"stdin", b"/proc/self/fd/0"),
        (b"stdout", b"/proc/self/fd/1"),
        (b"stderr", b"/proc/self/fd/2"),
    ];
    for (name, target) in links {
        names::create(&walk, name, NewKind::Symlink(target), 0o777)?;
    }
    Ok(mount)
}

/// Mounts /dev, /dev/pts and /dev/shm under `root`, making the directory where it is missing.
pub fn mount(root: &Location) -> Result<()> {
    let dev = devtmpfs()?;
    crate::mounts::attach(root, b"/dev", dev)?;
    let devpts = Mount::new(Devpts::new(terminals()?.ptys.clone()), b"devpts", MountFlags::NOSUID | MountFlags::NOEXEC);
    crate::mounts::attach(root, b"/dev/pts", devpts)?;
    let shm = Tmpfs::new(tmpfs::Options::default())?;
    crate::mounts::attach(root, b"/dev/shm", Mount::new(shm, b"tmpfs", MountFlags::NOSUID | MountFlags::NODEV))
}
