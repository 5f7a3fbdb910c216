//! What a process's memory looks like: maps, smaps, statm; and what it finds in it: its arguments and environment.
//!
//! All of it waits for the address space's lock, and what is read from pages for the pages.

use super::super::system::Labelled;
use super::super::text::{Buffer, Failed};
use super::Process;
use ::memory::Space;
use ::memory::space::{AreaInfo, AreaUsage, Flags, Totals};
use arch::addr::{PAGE_SIZE, VirtAddr};
use base::Errno;
use core::fmt::{self, Write};

type Text = Result<Buffer, Failed>;

/// Everything, from the lowest address on.
const START: VirtAddr = VirtAddr(0);

/// proc_pid_maps(5). Empty after exit.
pub async fn maps(process: Process) -> Text {
    let mut out = Buffer::default();
    let mut result = Ok(());
    if let Some(space) = process.space() {
        space
            .each_area(START, |area| {
                result = area.write_line(&mut out);
                result.is_ok()
            })
            .await;
    }
    result?;
    Ok(out)
}

/// The lines of smaps that are about amounts; `sum` for those that only the sum has. There is no swap, there are no huge
/// pages and no pages that wait to be freed, and no page of a file is shared but by mapping it.
fn write_usage(out: &mut Buffer, usage: &AreaUsage, sum: bool) -> fmt::Result {
    let whole = [("Rss", usage.rss), ("Pss", usage.pss), ("Pss_Dirty", usage.pss_dirty)];
    let kinds = [("Pss_Anon", usage.pss_anonymous), ("Pss_File", usage.pss - usage.pss_anonymous), ("Pss_Shmem", 0)];
    let parts = [
        ("Shared_Clean", usage.shared_clean),
        ("Shared_Dirty", usage.shared_dirty),
        ("Private_Clean", usage.private_clean),
        ("Private_Dirty", usage.private_dirty),
        ("Referenced", usage.referenced),
        ("Anonymous", usage.anonymous),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", usage.locked),
    ];
    let kinds = if sum { &kinds[..] } else { &[] };
    for (name, bytes) in whole.iter().chain(kinds).chain(&parts) {
        write_kib(out, name, *bytes)?;
    }
    Ok(())
}

fn write_kib(out: &mut Buffer, name: &'static str, bytes: usize) -> fmt::Result {
    writeln!(out, "{}{:8} kB", Labelled(name), bytes / 1024)
}

/// The names of the flags in smaps' VmFlags.
const VM_FLAGS: [(Flags, &str); 15] = [
    (Flags::READ, "rd"),
    (Flags::WRITE, "wr"),
    (Flags::EXEC, "ex"),
    (Flags::SHARED, "sh"),
    (Flags::MAY_READ, "mr"),
    (Flags::MAY_WRITE, "mw"),
    (Flags::MAY_EXEC, "me"),
    (Flags::GROWSDOWN, "gd"),
    (Flags::LOCKED, "lo"),
    (Flags::SEQUENTIAL, "sr"),
    (Flags::RANDOM, "rr"),
    (Flags::DONTFORK, "dc"),
    (Flags::NORESERVE, "nr"),
    (Flags::WIPEONFORK, "wf"),
    (Flags::DONTDUMP, "dd"),
];

fn write_area(out: &mut Buffer, area: &AreaInfo, usage: &AreaUsage) -> fmt::Result {
    area.write_line(out)?;
    write_kib(out, "Size", area.end().0 - area.start().0)?;
    write_kib(out, "KernelPageSize", PAGE_SIZE)?;
    write_kib(out, "MMUPageSize", PAGE_SIZE)?;
    write_usage(out, usage, false)?;
    out.write_str("THPeligible:    0\n")?;
    out.write_str("VmFlags: ")?;
    for (flag, name) in VM_FLAGS {
        if area.flags().contains(flag) {
            write!(out, "{name} ")?;
        }
    }
    out.write_char('\n')
}

/// proc_pid_smaps(5). Empty after exit.
pub async fn smaps(process: Process) -> Text {
    let mut out = Buffer::default();
    let mut result = Ok(());
    if let Some(space) = process.space() {
        space
            .each_usage(START, |area, usage| {
                result = write_area(&mut out, area, usage);
                result.is_ok()
            })
            .await;
    }
    result?;
    Ok(out)
}

/// /proc/PID/smaps_rollup: the sums. ESRCH after exit.
pub async fn rollup(process: Process) -> Text {
    let space = process.space().ok_or(Errno::ESRCH)?;
    let mut sum = AreaUsage::default();
    let mut range: Option<(usize, usize)> = None;
    space
        .each_usage(START, |area, usage| {
            range = Some((range.map_or(area.start().0, |(start, _)| start), area.end().0));
            add(&mut sum, usage);
            true
        })
        .await;
    let mut out = Buffer::default();
    let (start, end) = range.unwrap_or((0, 0));
    let head = alloc::format!("{start:08x}-{end:08x} ---p 00000000 00:00 0 ");
    writeln!(out, "{head:73}[rollup]")?;
    write_usage(&mut out, &sum, true)?;
    Ok(out)
}

fn add(sum: &mut AreaUsage, usage: &AreaUsage) {
    sum.rss += usage.rss;
    sum.pss += usage.pss;
    sum.pss_dirty += usage.pss_dirty;
    sum.pss_anonymous += usage.pss_anonymous;
    sum.shared_clean += usage.shared_clean;
    sum.shared_dirty += usage.shared_dirty;
    sum.private_clean += usage.private_clean;
    sum.private_dirty += usage.private_dirty;
    sum.referenced += usage.referenced;
    sum.anonymous += usage.anonymous;
    sum.locked += usage.locked;
}

/// Sizes of a process's memory; none after exit.
pub async fn totals(process: &Process) -> Option<Totals> {
    match process.space() {
        Some(space) => Some(space.totals().await),
        None => None,
    }
}

/// proc_pid_statm(5): size, resident, shared, text, lib (always 0), data and stack, dirty (always 0), in pages.
pub async fn statm(process: Process) -> Text {
    process.process()?;
    let t = totals(&process).await.unwrap_or_default();
    let mut out = Buffer::default();
    writeln!(out, "{} {} {} {} 0 {} 0", t.size, t.anonymous + t.file, t.file, t.exec, t.data + t.stack)?;
    Ok(out)
}

/// Reads `start..end` of the space, or as much of it as there is.
async fn copy(space: &Space, start: usize, end: usize, out: &mut Buffer) -> Result<(), Failed> {
    let mut chunk = alloc::vec![0; PAGE_SIZE];
    let mut budget = executor::Budget::new(64);
    let mut at = start;
    while at < end {
        let len = chunk.len().min(end - at);
        let Ok(n) = space.read_at(VirtAddr(at), &mut chunk[..len]).await else { break };
        out.push(&chunk[..n])?;
        at += n;
        if n < len {
            break;
        }
        budget.spend(1).await;
    }
    Ok(())
}

/// proc_pid_cmdline(5). A program that has overwritten the zero behind its last argument (setproctitle) has one
/// string, which may go on into its environment.
pub async fn command_line(process: Process) -> Text {
    let ((start, end), (_, env_end)) = process.process()?.shared.lock().strings;
    let mut out = Buffer::default();
    let Some(space) = process.space() else { return Ok(out) };
    copy(&space, start, end, &mut out).await?;
    if out.bytes().len() == end - start && out.bytes().last().is_some_and(|&last| last != 0) {
        // The environment lies right above the arguments.
        copy(&space, end, env_end.max(end), &mut out).await?;
        let zero = out.bytes().iter().position(|&byte| byte == 0);
        out.truncate(zero.unwrap_or(out.bytes().len()));
    }
    Ok(out)
}

/// proc_pid_auxv(5).
pub async fn auxv(process: Process) -> Text {
    let (start, end) = process.process()?.shared.lock().auxv;
    let mut out = Buffer::default();
    if let Some(space) = process.space() {
        copy(&space, start, end, &mut out).await?;
    }
    Ok(out)
}

/// proc_pid_environ(5).
pub async fn environ(process: Process) -> Text {
    let (_, (start, end)) = process.process()?.shared.lock().strings;
    let mut out = Buffer::default();
    if let Some(space) = process.space() {
        copy(&space, start, end, &mut out).await?;
    }
    Ok(out)
}
