//! /proc/sys (proc_sys(5)): what of the kernel can be looked up and set by name.

use super::system::System;
use super::sysvipc;
use super::table::{Entry, dir, text};
use super::text::{Buffer, Failed, Shown, Text};
use crate::{names, random};
use alloc::vec::Vec;
use base::{Errno, Result, cred, rank};
use core::fmt::Write;
use core::sync::atomic::Ordering;
use executor::spin::SpinLock;
use ipc::limits;
use process::{dump, pid, users};
use tty::devpts;
use vfs::Caller;

type Entries = &'static [Entry<System>];

/// The directory.
pub static TABLE: Entries = &[dir("fs", FS), dir("kernel", KERNEL), dir("net", NET), dir("vm", VM)];

static FS: Entries = &[text("nr_open", Text::new(|_, out| number(out, vfs::fdtable::NR_OPEN)))];

/// A file that holds one limit of System V IPC.
macro_rules! limit {
    ($limit:expr) => {
        Text::new(|_, out| number(out, $limit.get())).store(|_, _, bytes| Ok($limit.set(parse(bytes)?)?))
    };
}

static KERNEL: Entries = &[
    text("cap_last_cap", Text::new(|_, out| number(out, cred::ALL_CAPABILITIES.ilog2()))),
    text("core_pattern", Text::new(|_, out| line(out, &dump::pattern())).store(set_core_pattern)),
    text("domainname", Text::new(|_, out| line(out, &names::get().domain)).store(set_domain)),
    text("hostname", Text::new(|_, out| line(out, &names::get().host)).store(set_host)),
    text("msgmax", limit!(limits::MSGMAX)),
    text("msgmnb", limit!(limits::MSGMNB)),
    text("msgmni", limit!(limits::MSGMNI)),
    text("osrelease", Text::new(|_, out| line(out, names::RELEASE.as_bytes()))),
    text("ostype", Text::new(|_, out| line(out, b"Linux"))),
    text("pid_max", Text::new(|_, out| number(out, pid::limit())).store(set_pid_max)),
    dir("pty", PTY),
    dir("random", RANDOM),
    text("sem", Text::new(sysvipc::semaphores).store(sysvipc::set_semaphores)),
    text("shmall", limit!(limits::SHMALL)),
    text("shmmax", limit!(limits::SHMMAX)),
    text("shmmni", limit!(limits::SHMMNI)),
    text("threads-max", Text::new(|_, out| number(out, users::threads_max())).store(set_threads_max)),
    text("version", Text::new(|_, out| line(out, names::VERSION.as_bytes()))),
];

static PTY: Entries = &[
    text("max", Text::new(|_, out| number(out, devpts::MAX.load(Ordering::Relaxed))).store(set_pty_max)),
    text("nr", Text::new(|_, out| number(out, devpts::OPEN.load(Ordering::Relaxed)))),
];

static RANDOM: Entries = &[
    text("boot_id", Text::new(|_, out| uuid(out, boot_id()))),
    text("uuid", Text::new(|_, out| uuid(out, new_uuid()))),
];

static NET: Entries = &[dir("core", NET_CORE)];

static NET_CORE: Entries = &[text("somaxconn", Text::new(show_somaxconn).store(set_somaxconn))];

static VM: Entries = &[
    text("max_map_count", Text::new(|_, out| number(out, memory::space::MAX_AREAS))),
    text("mmap_min_addr", Text::new(|_, out| number(out, memory::space::MIN_ADDR))),
    text("overcommit_memory", Text::new(|_, out| number(out, OVERCOMMIT_HEURISTIC)).store(set_overcommit)),
];

fn number(out: &mut Buffer, value: impl core::fmt::Display) -> Shown {
    Ok(writeln!(out, "{value}")?)
}

fn line(out: &mut Buffer, text: &[u8]) -> Shown {
    out.push(text)?;
    Ok(out.write_char('\n')?)
}

/// The number that was written. EINVAL.
pub fn parse(bytes: &[u8]) -> Result<u64> {
    let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    Ok(text.trim_matches(['\n', ' ', '\t', '\0']).parse().map_err(|_| Errno::EINVAL)?)
}

fn parse_u32(bytes: &[u8]) -> Result<u32> {
    Ok(u32::try_from(parse(bytes)?).map_err(|_| Errno::EINVAL)?)
}

/// The longest name of a host or domain (uname(2)).
const NAME: usize = 64;

/// The name that was written, up to the end of the line, cut to what there is room for.
fn name(bytes: &[u8]) -> Result<Vec<u8>> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | 0)).unwrap_or(bytes.len());
    Ok(bytes[..end.min(NAME)].to_vec())
}

fn set_host(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    names::set_host(name(bytes)?);
    Ok(())
}

fn set_domain(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    names::set_domain(name(bytes)?);
    Ok(())
}

fn set_core_pattern(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | 0)).unwrap_or(bytes.len());
    Ok(dump::set_pattern(&bytes[..end])?)
}

fn set_pid_max(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    Ok(pid::set_limit(parse_u32(bytes)?)?)
}

fn set_threads_max(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    Ok(users::set_threads_max(parse(bytes)?)?)
}

fn set_pty_max(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    let max = parse_u32(bytes)?;
    if max > devpts::MAX_MAX {
        return Err(Errno::EINVAL.into());
    }
    devpts::MAX.store(max, Ordering::Relaxed);
    Ok(())
}

/// A random UUID (version 4, RFC 9562).
fn new_uuid() -> [u8; 16] {
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// One UUID for as long as the system runs.
fn boot_id() -> [u8; 16] {
    static ID: SpinLock<Option<[u8; 16]>> = SpinLock::new(rank::PROC_FILES, None);
    *ID.lock().get_or_insert_with(new_uuid)
}

fn uuid(out: &mut Buffer, bytes: [u8; 16]) -> Shown {
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(out.write_char('\n')?)
}

fn show_somaxconn(_: &System, out: &mut Buffer) -> Shown {
    let network = super::network().ok_or(Failed::from(Errno::ENXIO))?;
    number(out, network.somaxconn())
}

fn set_somaxconn(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    let value = parse_u32(bytes)?;
    if value > i32::MAX as u32 {
        return Err(Errno::EINVAL.into());
    }
    super::network().ok_or(Errno::ENXIO)?.set_somaxconn(value);
    Ok(())
}

/// What mmap(2) does: only what could never be had is refused.
const OVERCOMMIT_HEURISTIC: u64 = 0;

/// The other policies do not exist.
fn set_overcommit(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    if parse(bytes)? == OVERCOMMIT_HEURISTIC { Ok(()) } else { Err(Errno::EINVAL.into()) }
}
