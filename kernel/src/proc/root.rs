//! The top directory: what is about the system, and a directory for each process.

use super::process::{Directory as ProcessDirectory, Process};
use super::system::{self, System};
use super::table::{Entry, Subject, dir, find, link, list, made, metadata, text};
use super::text::{Buffer, Failed, Shown, Text, TextFile};
use super::{ADDED, NETWORK, Show, network};
use super::{sysctl, sysvipc};
use alloc::format;
use alloc::sync::Arc;
use base::{Errno, Result};
use core::fmt::Write;
use net::Net;
use process::pid;
use vfs::inode::{Entry as DirEntry, Link, Sink};
use vfs::{Caller, File, FileType, Inode, Metadata, OpenFlags};

const ROOT_INO: u64 = 1;

/// The inode number of the directory of process `pid`: past those of the tables.
pub const fn process_ino(pid: u32) -> u64 {
    1 << 30 | pid as u64
}

/// The position in the top directory of the process with id 0, had it one.
const PROCESSES: u64 = 256;

/// The directory of what is this kernel's own.
pub const OWN: &str = "pollux";

static TABLE: &[Entry<System>] = &[
    text("cmdline", Text::new(system::command_line)),
    text("cpuinfo", Text::new(system::cpuinfo)),
    text("filesystems", Text::new(system::filesystems)),
    text("loadavg", Text::new(system::loadavg)),
    text("meminfo", Text::new(system::meminfo)),
    link("mounts", |_, _| Ok(Link::Path(b"self/mounts".to_vec()))),
    made("net", |_, ino| Arc::new(Added { name: "net", ino })),
    made(OWN, |_, ino| Arc::new(Added { name: OWN, ino })),
    link("self", this_process),
    text("stat", Text::new(system::stat)),
    dir("sys", sysctl::TABLE),
    text("sysrq-trigger", Text::write_only(system::sysrq)),
    link("thread-self", this_thread),
    dir("sysvipc", sysvipc::TABLE),
    text("uptime", Text::new(system::uptime)),
    text("version", Text::new(system::version)),
    text("vmstat", Text::new(system::vmstat)),
];

fn this_process(_: &System, caller: &Caller) -> Result<Link> {
    if caller.process == 0 {
        return Err(Errno::ENOENT.into());
    }
    Ok(Link::Path(format!("{}", caller.process).into_bytes()))
}

fn this_thread(_: &System, caller: &Caller) -> Result<Link> {
    if caller.process == 0 {
        return Err(Errno::ENOENT.into());
    }
    Ok(Link::Path(format!("{}/task/{}", caller.process, caller.thread).into_bytes()))
}

/// A number as the names of processes and descriptors are written: no sign, no leading zeros.
pub fn parse_number(name: &[u8]) -> Option<u32> {
    let plain = name.iter().all(u8::is_ascii_digit) && (name.first() != Some(&b'0') || name.len() == 1);
    core::str::from_utf8(name).ok().filter(|_| plain)?.parse().ok()
}

/// The top directory.
pub struct Root;

impl Inode for Root {
    fn metadata(&self) -> Metadata {
        metadata(&System, ROOT_INO, FileType::Directory, 0o555)
    }

    fn lookup(&self, _: &Caller, name: &[u8]) -> Result<Arc<dyn Inode>> {
        match parse_number(name) {
            Some(number) => Ok(Arc::new(ProcessDirectory::new(Process::find(number)?, process_ino(number)))),
            None => find(TABLE, &System, ROOT_INO, name),
        }
    }

    fn readdir(&self, _: &Caller, from: u64, sink: &mut Sink) -> Result<u64> {
        let mut position = from;
        if position < PROCESSES {
            let (reached, all) = list(TABLE, ROOT_INO, position, sink);
            if !all {
                return Ok(reached);
            }
            position = PROCESSES;
        }
        for process in pid::processes(u32::try_from(position - PROCESSES).unwrap_or(u32::MAX)) {
            let id = process.id();
            let next = PROCESSES + u64::from(id) + 1;
            let name = format!("{id}");
            if !sink(DirEntry { name: name.as_bytes(), ino: process_ino(id), kind: FileType::Directory, next }) {
                return Ok(next - 1);
            }
            position = next;
        }
        Ok(position)
    }
}

/// A file that was added to a directory, or that depends on something which may not be there.
enum Source {
    Added(Show),
    Network(fn(&Net, &mut dyn Write) -> core::fmt::Result),
}

const NETWORK_FILES: [(&str, Source); 5] = [
    ("tcp", Source::Network(|net, out| net.show_tcp(false, out))),
    ("tcp6", Source::Network(|net, out| net.show_tcp(true, out))),
    ("udp", Source::Network(|net, out| net.show_udp(false, out))),
    ("udp6", Source::Network(|net, out| net.show_udp(true, out))),
    ("unix", Source::Network(|net, out| net.show_unix(out))),
];

/// A directory of files that come from elsewhere.
struct Added {
    name: &'static str,
    ino: u64,
}

impl Added {
    /// The file at `index`.
    fn entry(&self, index: usize) -> Option<(&'static str, Source)> {
        if self.name == OWN {
            let added = ADDED.lock();
            let (_, name, show) = added.iter().filter(|(dir, ..)| *dir == self.name).nth(index)?;
            return Some((*name, Source::Added(*show)));
        }
        NETWORK.lock().as_ref()?;
        NETWORK_FILES.into_iter().nth(index)
    }

    fn entries(&self) -> impl Iterator<Item = (usize, (&'static str, Source))> {
        (0..).map_while(|index| Some((index, self.entry(index)?)))
    }
}

impl Inode for Added {
    fn metadata(&self) -> Metadata {
        metadata(&System, self.ino, FileType::Directory, 0o555)
    }

    fn lookup(&self, _: &Caller, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let found = self.entries().find(|(_, (entry, _))| entry.as_bytes() == name);
        let (index, (_, source)) = found.ok_or(Errno::ENOENT)?;
        Ok(Arc::new(AddedFile { ino: self.ino << 6 | (index as u64 + 1), source: Arc::new(source) }))
    }

    fn readdir(&self, _: &Caller, from: u64, sink: &mut Sink) -> Result<u64> {
        let mut position = from.max(super::table::FIRST);
        for (index, (name, _)) in self.entries().skip((position - super::table::FIRST) as usize) {
            let ino = self.ino << 6 | (index as u64 + 1);
            if !sink(DirEntry { name: name.as_bytes(), ino, kind: FileType::Regular, next: position + 1 }) {
                break;
            }
            position += 1;
        }
        Ok(position)
    }
}

struct AddedFile {
    ino: u64,
    source: Arc<Source>,
}

/// What an [`AddedFile`] shows.
#[derive(Clone)]
struct Shows(Arc<Source>);

impl Subject for Shows {
    const READ_ONLY: Errno = Errno::EIO;

    fn owner(&self) -> Result<super::table::Owner> {
        System.owner()
    }

    fn may_inspect(&self, _: &Caller) -> bool {
        true
    }

    fn opened_by(&self, _: &Caller) -> Shows {
        self.clone()
    }
}

fn show_added(shows: &Shows, out: &mut Buffer) -> Shown {
    match &*shows.0 {
        Source::Added(show) => show(out)?,
        Source::Network(show) => show(&*network().ok_or(Failed::from(Errno::ENXIO))?, out)?,
    }
    Ok(())
}

static ADDED_TEXT: Text<Shows> = Text::new(show_added);

impl Inode for AddedFile {
    fn metadata(&self) -> Metadata {
        metadata(&System, self.ino, FileType::Regular, ADDED_TEXT.mode)
    }

    fn open(self: Arc<Self>, _: &Caller, _: OpenFlags) -> Result<Arc<dyn File>> {
        Ok(Arc::new(TextFile::new(Shows(self.source.clone()), &ADDED_TEXT)))
    }
}
