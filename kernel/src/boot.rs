//! From the machine's hand-over to the first program.

use crate::cmdline::CommandLine;
use crate::{cpu, devices, load, log, network, random, shutdown, time};
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::boot::{BootInfo, PhysRange};
use base::{Errno, Result};
use executor::{SchedParams, Task};
use process::Current;
use vfs::mount::{Location, MountFlags};
use vfs::tmpfs::{self, Tmpfs};
use vfs::{FsContext, Mount};

/// Where the first program is looked for when the command line does not say (init(1)).
const INITS: [&[u8]; 4] = [b"/sbin/init", b"/etc/init", b"/bin/init", b"/bin/sh"];

/// Starts the first process, which tries these programs in turn: the system call layer's.
pub type First = fn(Current, Vec<Vec<u8>>, CommandLine) -> Task;

/// Sets everything up and runs this CPU for ever. Called once, on the boot CPU.
pub fn boot(info: &'static BootInfo, first: First) -> ! {
    memory::init(info);
    log::init();
    crate::cmdline::keep(info.command_line);
    let line = CommandLine::parse(info.command_line);
    configure(&line);
    ::log::info!("Pollux {} on {} CPUs, {} MiB", env!("CARGO_PKG_VERSION"), info.cpus, info.ram_bytes >> 20);
    time::init();
    random::init();
    network::init();
    process::users::set_threads_max((info.ram_bytes / 8 / THREAD_BYTES).max(20)).unwrap_or_default();
    cpu::set_count(info.cpus);
    devices::init();
    match root(info.initrd) {
        Ok(root) => start(root, line, first),
        Err(errno) => shutdown::panic(&format_args!("no root file system: {errno:?}")),
    }
    devices::start();
    #[cfg(feature = "trace")]
    crate::proc::register("trace", crate::trace::show);
    executor::spawn(crate::signal_io::drive(), SchedParams::default());
    executor::spawn(load::sample(), SchedParams::default());
    arch::cpu::start_others(|_| cpu::run());
    cpu::run()
}

/// What a thread's record and future take at most, for `kernel.threads-max`.
const THREAD_BYTES: u64 = 4096;

fn configure(line: &CommandLine) {
    if line.quiet {
        log::set_console_level(4);
    }
    if let Some(level) = line.loglevel {
        log::set_console_level(level);
    }
    if let Some(seconds) = line.panic {
        shutdown::set_panic_timeout(seconds);
    }
}

/// A tmpfs with the initial file system in it, and /dev, /proc on top.
fn root(initrd: Option<PhysRange>) -> Result<Location> {
    let fs = Tmpfs::new(tmpfs::Options { mode: 0o755, name: "rootfs", ..tmpfs::Options::default() })?;
    let root = Mount::new(fs, b"rootfs", MountFlags::empty()).root();
    if let Some(range) = initrd {
        memory::with_boot_range(range, |archive| match vfs::cpio::unpack(&root, archive) {
            Ok(_) => {}
            Err(failure) => ::log::error!("the initial file system is damaged: {failure:?}"),
        });
    }
    devices::mount(&root)?;
    crate::proc::mount(&root)?;
    Ok(root)
}

fn start(root: Location, line: CommandLine, first: First) {
    let candidates = candidates(&line);
    let fs = Arc::new(FsContext::new(root));
    match process::clone::first(fs) {
        Ok(current) => {
            let thread = current.thread.clone();
            let task = first(current, candidates, line);
            thread.view.lock().task = Some(task);
        }
        Err(errno) => shutdown::panic(&format_args!("no first process: {errno:?}")),
    }
}

/// The programs to try, in order. After what `init=` names comes nothing: who asks for it means it.
fn candidates(line: &CommandLine) -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = line.rdinit.iter().chain(&line.init).cloned().collect();
    if line.rdinit.is_none() && line.init.is_none() {
        paths.push(b"/init".to_vec());
    }
    if line.init.is_none() {
        paths.extend(INITS.iter().map(|path| path.to_vec()));
    }
    paths
}

/// The first program cannot be started.
pub fn no_init(path: &[u8], errno: Errno) -> ! {
    let path = alloc::string::String::from_utf8_lossy(path);
    shutdown::panic(&format_args!("no working init found ({path}: {errno:?})"))
}
