//! Files about the system as a whole.

use super::table::{Owner, Subject};
use super::text::{Buffer, Shown};
use crate::tick::CpuTime;
use crate::{cpu, load, names};
use arch::addr::PAGE_SIZE;
use base::time::{NANOS_PER_SEC, USER_HZ};
use base::{Errno, Result};
use core::fmt::Write;
use memory::frames;
use process::{pid, users};
use vfs::Caller;

/// The system, as the subject of files.
#[derive(Clone, Copy)]
pub struct System;

impl Subject for System {
    const READ_ONLY: Errno = Errno::EIO;

    fn owner(&self) -> Result<Owner> {
        Ok(Owner { uid: 0, gid: 0, time: super::boot_time() })
    }

    fn may_inspect(&self, _: &Caller) -> bool {
        true
    }

    fn opened_by(&self, _: &Caller) -> System {
        System
    }
}

/// proc_cmdline(5).
pub fn command_line(_: &System, out: &mut Buffer) -> Shown {
    out.push(crate::cmdline::given())?;
    Ok(out.write_char('\n')?)
}

/// proc_sysrq-trigger(5): the first letter is a command.
pub fn sysrq(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    if let Some(&letter) = bytes.first() {
        crate::sysrq::handle(letter);
    }
    Ok(())
}

/// proc_cpuinfo(5).
pub fn cpuinfo(_: &System, out: &mut Buffer) -> Shown {
    for cpu in 0..cpu::count() {
        arch::cpu::describe(cpu, out)?;
    }
    Ok(())
}

/// proc_filesystems(5): the kinds that there are; none needs a device.
pub fn filesystems(_: &System, out: &mut Buffer) -> Shown {
    for name in ["rootfs", "tmpfs", "devtmpfs", "devpts", "proc"] {
        writeln!(out, "nodev\t{name}")?;
    }
    Ok(())
}

/// proc_loadavg(5).
pub fn loadavg(_: &System, out: &mut Buffer) -> Shown {
    for average in load::averages() {
        let (whole, part) = (average >> load::SHIFT, average & ((1 << load::SHIFT) - 1));
        write!(out, "{whole}.{:02} ", (part * 100) >> load::SHIFT)?;
    }
    let last = pid::last_number();
    Ok(writeln!(out, "{}/{} {last}", executor::runnable(), users::threads())?)
}

/// proc_meminfo(5). There is no swap, and nothing can be taken back from files, which have no other place.
pub fn meminfo(_: &System, out: &mut Buffer) -> Shown {
    let stats = frames::stats();
    let lines = [
        ("MemTotal", stats.total),
        ("MemFree", stats.free),
        ("MemAvailable", stats.free.saturating_sub(stats.reserve)),
        ("Buffers", 0),
        ("Cached", stats.file),
        ("SwapCached", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("AnonPages", stats.anonymous),
        ("Shmem", stats.file),
        ("Slab", stats.heap),
        ("SReclaimable", 0),
        ("SUnreclaim", stats.heap),
        ("PageTables", stats.tables),
    ];
    for (name, pages) in lines {
        let name = Labelled(name);
        writeln!(out, "{name}{:8} kB", pages * PAGE_SIZE / 1024)?;
    }
    Ok(())
}

/// Numbers of pages, as far as they are counted, under the names that proc_vmstat(5) has for them.
pub fn vmstat(_: &System, out: &mut Buffer) -> Shown {
    let stats = frames::stats();
    let lines = [
        ("nr_free_pages", stats.free),
        ("nr_anon_pages", stats.anonymous),
        ("nr_file_pages", stats.file),
        ("nr_shmem", stats.file),
        ("nr_slab_unreclaimable", stats.heap),
        ("nr_page_table_pages", stats.tables),
    ];
    for (name, pages) in lines {
        writeln!(out, "{name} {pages}")?;
    }
    Ok(())
}

/// A label with its colon, padded as /proc/meminfo and smaps have it.
pub struct Labelled(pub &'static str);

impl core::fmt::Display for Labelled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{:2$}", self.0, "", 15usize.saturating_sub(self.0.len()))
    }
}

const NANOS_PER_TICK: u64 = NANOS_PER_SEC / USER_HZ;

fn write_cpu(out: &mut Buffer, time: &CpuTime) -> Shown {
    let times = [time.user, time.nice, time.system, time.idle];
    let [user, nice, system, idle] = times.map(|nanos| nanos / NANOS_PER_TICK);
    // user nice system idle iowait irq softirq steal guest guest_nice. What interrupts cost is in system time.
    Ok(writeln!(out, " {user} {nice} {system} {idle} 0 0 0 0 0 0")?)
}

/// proc_stat(5). Interrupts and switches are not counted and have no line.
pub fn stat(_: &System, out: &mut Buffer) -> Shown {
    let all = (0..cpu::count()).map(CpuTime::of).fold(CpuTime::default(), CpuTime::plus);
    out.write_str("cpu ")?;
    write_cpu(out, &all)?;
    for cpu in 0..cpu::count() {
        write!(out, "cpu{cpu}")?;
        write_cpu(out, &CpuTime::of(cpu))?;
    }
    writeln!(out, "btime {}", super::boot_time().sec)?;
    writeln!(out, "processes {}", users::created())?;
    Ok(writeln!(out, "procs_running {}", executor::runnable())?)
}

/// proc_uptime(5).
pub fn uptime(_: &System, out: &mut Buffer) -> Shown {
    let idle = (0..cpu::count()).map(cpu::idle_time).sum::<u64>();
    let [up, idle] = [crate::time::monotonic(), idle].map(Hundredths);
    Ok(writeln!(out, "{up} {idle}")?)
}

/// Nanoseconds as seconds with two digits after the point.
struct Hundredths(u64);

impl core::fmt::Display for Hundredths {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{:02}", self.0 / NANOS_PER_SEC, self.0 % NANOS_PER_SEC / (NANOS_PER_SEC / 100))
    }
}

/// proc_version(5).
pub fn version(_: &System, out: &mut Buffer) -> Shown {
    Ok(writeln!(out, "Linux version {} {}", names::RELEASE, names::VERSION)?)
}
