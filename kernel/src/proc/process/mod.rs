//! /proc/PID and /proc/PID/task/TID (proc_pid(5)).
//!
//! A directory holds the process's [`Pid`], and a `Pid` that is held is not given out again: what is reached through an
//! open /proc/PID is this process or, once it is gone, nothing (ESRCH).

mod fd;
mod memory;
mod status;

use super::root::parse_number;
use super::table::{self, Entry, Owner, Subject, made, metadata, private_link, text};
use super::text::{Buffer, Failed, Shown, Text};
use ::process::limits::{self, INFINITY};
use ::process::{Pid, Thread, inspect};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Capability, Errno, Result, Timespec};
use core::fmt::Write;
use vfs::inode::{Entry as DirEntry, Link, Sink};
use vfs::mount::{Location, show_mountinfo, show_mounts};
use vfs::{Caller, FileType, FsContext, Inode, Metadata};

/// A process or one of its threads, as the subject of files.
#[derive(Clone)]
pub struct Process {
    pid: Arc<Pid>,
    /// It is the thread that is meant: /proc/PID/task/TID.
    task: bool,
    /// The thread that opened the file.
    reader: u32,
    /// That thread may see addresses.
    trusted: bool,
}

impl Process {
    /// The process of this id or, as Linux has it, of the thread of this id. ENOENT.
    pub fn find(number: u32) -> Result<Process> {
        let pid = Pid::find(number).ok_or(Errno::ENOENT)?;
        let process = Process { pid, task: false, reader: 0, trusted: false };
        process.process().map_err(|_| Errno::ENOENT)?;
        Ok(process)
    }

    /// The number that the files show.
    fn id(&self) -> u32 {
        self.pid.number()
    }

    /// ESRCH once it is reaped.
    fn process(&self) -> Result<Arc<::process::Process>, Errno> {
        match self.pid.process() {
            Some(process) => Ok(process),
            None => self.pid.thread().map(|thread| thread.process.clone()).ok_or(Errno::ESRCH),
        }
    }

    /// The thread that is meant, or one that stands for the process: the leader, if it lives. `None`: it has exited.
    fn thread(&self) -> Option<Arc<Thread>> {
        if !self.task {
            return self.process().ok()?.any_thread();
        }
        let thread = self.pid.thread()?;
        let live = thread.process.shared.lock().threads.contains_key(&thread.id());
        live.then_some(thread)
    }

    /// Whether it is shown although it may have exited: a process is until it is reaped, and so is its first thread.
    fn lasts(&self) -> bool {
        !self.task || self.pid.process().is_some()
    }

    /// Root and current directory. ENOENT after exit.
    fn fs(&self) -> Result<Arc<FsContext>> {
        let thread = self.thread().ok_or(Errno::ENOENT)?;
        let fs = thread.view.lock().fs.clone();
        Ok(fs.ok_or(Errno::ENOENT)?)
    }

    fn space(&self) -> Option<Arc<::memory::Space>> {
        self.thread()?.view.lock().space.clone()
    }
}

impl Subject for Process {
    const READ_ONLY: Errno = Errno::EINVAL;

    fn owner(&self) -> Result<Owner> {
        let process = self.process().map_err(|_| Errno::ENOENT)?;
        let started = crate::time::realtime().saturating_sub(crate::time::monotonic()) + process.times.started;
        let time = Timespec::from_nanos(started);
        Ok(match self.thread() {
            Some(thread) => {
                let cred = thread.cred();
                Owner { uid: cred.euid, gid: cred.egid, time }
            }
            None if !self.lasts() => return Err(Errno::ENOENT.into()),
            None => Owner { uid: process.uid(), gid: 0, time },
        })
    }

    /// PTRACE_MODE_READ with the file-system ids (ptrace(2)): oneself, the same ids and no more privileges, or CAP_SYS_PTRACE.
    fn may_inspect(&self, caller: &Caller) -> bool {
        if self.process().is_ok_and(|process| process.id() == caller.process) || caller.cred.has(Capability::SysPtrace)
        {
            return true;
        }
        let Some(thread) = self.thread() else { return false };
        inspect::may_read(caller.cred, &thread)
    }

    fn opened_by(&self, caller: &Caller) -> Process {
        Process { reader: caller.thread, trusted: self.may_inspect(caller), ..self.clone() }
    }
}

/// What /proc/PID and /proc/PID/task/TID have in common.
macro_rules! common {
    ($($more:expr),* $(,)?) => {
        &[
            text("auxv", Text::later(|process| alloc::boxed::Box::pin(memory::auxv(process))).private(0o400)),
            text("cmdline", Text::later(|process| alloc::boxed::Box::pin(memory::command_line(process)))),
            text("comm", Text::new(status::comm).store(status::set_comm)),
            private_link("cwd", cwd),
            text("environ", Text::later(|process| alloc::boxed::Box::pin(memory::environ(process))).private(0o400)),
            private_link("exe", exe),
            made("fd", |process, ino| Arc::new(fd::Directory::new(process.clone(), ino, fd::Kind::Links))),
            made("fdinfo", |process, ino| Arc::new(fd::Directory::new(process.clone(), ino, fd::Kind::Infos))),
            text("limits", Text::new(limits)),
            text("maps", Text::later(|process| alloc::boxed::Box::pin(memory::maps(process))).private(0o444)),
            text("mountinfo", Text::new(|process, out| mounts(process, out, show_mountinfo))),
            text("oom_score", Text::new(status::oom_score)),
            text("oom_score_adj", Text::new(status::oom_score_adj).store(status::set_oom_score_adj)),
            text("mounts", Text::new(|process, out| mounts(process, out, show_mounts))),
            private_link("root", root),
            text("smaps", Text::later(|process| alloc::boxed::Box::pin(memory::smaps(process))).private(0o444)),
            text("smaps_rollup", Text::later(|process| alloc::boxed::Box::pin(memory::rollup(process))).private(0o444)),
            text("stat", Text::later(|process| alloc::boxed::Box::pin(status::stat(process)))),
            text("statm", Text::later(|process| alloc::boxed::Box::pin(memory::statm(process)))),
            text("status", Text::later(|process| alloc::boxed::Box::pin(status::status(process)))),
            $($more),*
        ]
    };
}

static THREAD: &[Entry<Process>] = common![text("children", Text::new(status::children))];
static PROCESS: &[Entry<Process>] = common![
    text("coredump_filter", Text::new(status::core_filter).store(status::set_core_filter)),
    made("task", |process, ino| Arc::new(Tasks { process: process.clone(), ino })),
];

/// /proc/PID.
pub type Directory = table::Directory<Process>;

impl Directory {
    /// The directory of `process` with this inode number.
    pub fn new(process: Process, ino: u64) -> Directory {
        Directory { entries: if process.task { THREAD } else { PROCESS }, subject: process, ino }
    }

    /// The process, unless this is a thread's directory. ESRCH once it is reaped.
    pub fn process(&self) -> Option<Result<Arc<::process::Process>, Errno>> {
        (!self.subject.task).then(|| self.subject.process())
    }
}

fn cwd(process: &Process, _: &Caller) -> Result<Link> {
    Ok(Link::Location(process.fs()?.cwd()))
}

fn root(process: &Process, _: &Caller) -> Result<Link> {
    Ok(Link::Location(process.fs()?.root()))
}

fn exe(process: &Process, _: &Caller) -> Result<Link> {
    // A process that has exited runs nothing.
    process.thread().ok_or(Errno::ENOENT)?;
    let executable = process.process()?.shared.lock().executable.clone();
    Ok(Link::Location(executable.ok_or(Errno::ENOENT)?.location().clone()))
}

fn mounts(process: &Process, out: &mut Buffer, show: fn(&Location, &mut dyn Write) -> core::fmt::Result) -> Shown {
    let fs = process.fs().map_err(|_| Failed::from(Errno::EINVAL))?;
    Ok(show(&fs.root(), out)?)
}

/// A limit's value in proc_pid_limits(5).
struct Value(u64);

impl core::fmt::Display for Value {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.0 == INFINITY { f.pad("unlimited") } else { f.pad(&format!("{}", self.0)) }
    }
}

fn limits(process: &Process, out: &mut Buffer) -> Shown {
    let process = process.process()?;
    writeln!(out, "{:<25} {:<20} {:<20} {:<10}", "Limit", "Soft Limit", "Hard Limit", "Units")?;
    for (resource, name, unit) in limits::ALL {
        let limit = process.limits.get(resource);
        write!(out, "{name:<25} {:<20} {:<20} ", Value(limit.soft), Value(limit.hard))?;
        if !unit.is_empty() {
            write!(out, "{unit:<10}")?;
        }
        out.write_char('\n')?;
    }
    Ok(())
}

/// The inode number of the directory of a thread: past those of processes.
fn thread_ino(tid: u32) -> u64 {
    1 << 31 | u64::from(tid)
}

/// /proc/PID/task.
struct Tasks {
    process: Process,
    ino: u64,
}

impl Tasks {
    /// The threads that live, and the first one, which stays until the process is reaped. In rising order.
    fn threads(&self) -> Result<Vec<u32>> {
        let process = self.process.process().map_err(|_| Errno::ENOENT)?;
        let mut ids = Vec::new();
        let shared = process.shared.lock();
        ids.try_reserve(shared.threads.len() + 1).map_err(|_| Errno::ENOMEM)?;
        ids.extend(shared.threads.keys());
        drop(shared);
        if let Err(place) = ids.binary_search(&process.id()) {
            ids.insert(place, process.id());
        }
        Ok(ids)
    }
}

impl Inode for Tasks {
    fn metadata(&self) -> Metadata {
        let mut metadata = metadata(&self.process, self.ino, FileType::Directory, 0o555);
        metadata.nlink += self.threads().map_or(0, |threads| threads.len() as u32);
        metadata
    }

    fn lookup(&self, _: &Caller, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let number = parse_number(name).ok_or(Errno::ENOENT)?;
        let process = self.process.process().map_err(|_| Errno::ENOENT)?;
        if number != process.id() && !process.shared.lock().threads.contains_key(&number) {
            return Err(Errno::ENOENT.into());
        }
        let pid = Pid::find(number).ok_or(Errno::ENOENT)?;
        let thread = Process { pid, task: true, reader: 0, trusted: false };
        Ok(Arc::new(Directory::new(thread, thread_ino(number))))
    }

    fn readdir(&self, _: &Caller, from: u64, sink: &mut Sink) -> Result<u64> {
        let mut position = from.max(table::FIRST);
        for tid in self.threads()? {
            let at = table::FIRST + u64::from(tid);
            if at < position {
                continue;
            }
            let name = format!("{tid}");
            if !sink(DirEntry { name: name.as_bytes(), ino: thread_ino(tid), kind: FileType::Directory, next: at + 1 })
            {
                return Ok(at);
            }
            position = at + 1;
        }
        Ok(position)
    }
}
