//! /proc/PID/stat, status and comm (proc_pid_stat(5), proc_pid_status(5), proc_pid_comm(5)).

use super::super::text::{Buffer, Failed, Shown};
use super::{Process, memory};
use ::memory::space::Totals;
use ::process::limits::Resource;
use ::process::signal::stop::StopState;
use ::process::thread::Name;
use ::process::times::Usage;
use ::process::{SignalSet, Thread, oom, tree};
use alloc::sync::Arc;
use arch::addr::PAGE_SIZE;
use base::time::{NANOS_PER_SEC, USER_HZ};
use base::{Capability, Credentials, Errno, Result};
use core::fmt::Write;
use executor::{Class, RtPolicy};
use linux_raw_sys::general as raw;
use tty::job::Jobs as _;
use vfs::Caller;

/// What of a process or thread comes from the process layer, looked at piece by piece: each line is true by itself.
struct Picture {
    name: Name,
    state: State,
    process: u32,
    parent: u32,
    group: u32,
    session: u32,
    exit_signal: u8,
    did_exec: bool,
    exit_status: i32,
    threads: usize,
    usage: Usage,
    children: Usage,
    class: Class,
    cpu: usize,
    affinity: u64,
    /// Pending for the thread, pending for the process, blocked, ignored, caught.
    signals: [SignalSet; 5],
    queued: usize,
    started: u64,
}

/// The state of a process or thread, by its letter and its name.
type State = (char, &'static str);

const RUNNING: State = ('R', "running");
const SLEEPING: State = ('S', "sleeping");
const STOPPED: State = ('T', "stopped");
const ZOMBIE: State = ('Z', "zombie");

impl Picture {
    /// ESRCH if the process is reaped or the thread gone.
    fn take(subject: &Process) -> Result<(Picture, Option<Arc<Thread>>), Errno> {
        let process = subject.process()?;
        let thread = subject.thread();
        if thread.is_none() && !subject.lasts() {
            return Err(Errno::ESRCH);
        }
        let (parent, group, session, exit_signal, did_exec, zombie) = {
            let tree = tree::lock();
            let parent = process.parent(&tree).map_or(0, |parent| parent.id());
            let links = process.links(&tree);
            let signal = links.exit_signal.map_or(0, |signal| signal.number());
            (parent, links.group.id(), links.group.session_id(), signal, links.did_exec, links.zombie)
        };
        let (last_name, stopped, threads, pending, queued, actions) = {
            let shared = process.shared.lock();
            let stopped = matches!(shared.stop, StopState::Stopped { .. });
            let (pending, actions) = (&shared.pending, shared.actions.clone());
            (shared.last_name, stopped, shared.threads.len(), pending.set(), pending.queued(), actions)
        };
        let mut picture = Picture {
            name: last_name,
            state: ZOMBIE,
            process: process.id(),
            parent,
            group,
            session,
            exit_signal,
            did_exec,
            exit_status: zombie.map_or(0, |zombie| zombie.status),
            threads,
            usage: process.usage(),
            children: process.times.children(),
            class: Class::default(),
            cpu: 0,
            affinity: u64::MAX,
            signals: [SignalSet::EMPTY; 5],
            queued,
            started: process.times.started,
        };
        let (ignored, caught) = actions.sets();
        picture.signals = [SignalSet::EMPTY, pending, SignalSet::EMPTY, ignored, caught];
        if let Some(thread) = &thread {
            picture.add_thread(thread, subject, stopped);
        }
        Ok((picture, thread))
    }

    fn add_thread(&mut self, thread: &Thread, subject: &Process, stopped: bool) {
        let leader_is_gone = !subject.task && !thread.is_leader();
        self.state = match () {
            () if leader_is_gone => ZOMBIE,
            () if thread.id() == subject.reader => RUNNING,
            () if stopped => STOPPED,
            () if thread.view.lock().task.as_ref().is_some_and(executor::Task::is_runnable) => RUNNING,
            () => SLEEPING,
        };
        if subject.task {
            self.usage = thread.usage();
            self.started = thread.times.started();
        }
        let (pending, queued) = {
            let pending = thread.signals.lock();
            (pending.set(), pending.queued())
        };
        self.queued += queued;
        self.class = thread.sched_params().class;
        let view = thread.view.lock();
        if !leader_is_gone {
            self.name = view.name;
        }
        if let Some(task) = &view.task {
            (self.cpu, self.affinity) = (task.cpu(), task.affinity());
        }
        let actions = view.actions.clone();
        drop(view);
        let (ignored, caught) = actions.sets();
        self.signals = [pending, self.signals[1], thread.mask(), ignored, caught];
    }

    /// The scheduling policy's number, the real-time priority, the nice value and the priority as ps shows it.
    fn scheduling(&self) -> (u32, u8, i8, i32) {
        match self.class {
            Class::Fair { nice } => (raw::SCHED_NORMAL, 0, nice, 20 + i32::from(nice)),
            Class::Batch { nice } => (raw::SCHED_BATCH, 0, nice, 20 + i32::from(nice)),
            Class::Idle => (raw::SCHED_IDLE, 0, 0, 20),
            Class::RealTime { prio, policy } => {
                let policy = if policy == RtPolicy::Fifo { raw::SCHED_FIFO } else { raw::SCHED_RR };
                (policy, prio, 0, -1 - i32::from(prio))
            }
        }
    }

    /// See [`flag`].
    fn flags(&self) -> u32 {
        let mut flags = if self.did_exec { 0 } else { flag::FORKED };
        if self.state == ZOMBIE {
            flags |= flag::EXITED;
            if self.exit_status & 0x7f != 0 {
                flags |= flag::SIGNALED;
            }
        }
        flags
    }

    /// The controlling terminal's device and its foreground group; 0 and -1 where there is none.
    fn terminal(&self) -> (u64, i64) {
        match crate::jobs::Jobs.terminal(self.process) {
            Some(tty) => (tty.device().encode(), i64::from(tty.session_and_foreground().1)),
            None => (0, -1),
        }
    }
}

/// The bytes of a name.
fn name_bytes(name: &Name) -> &[u8] {
    &name[..name.iter().position(|&byte| byte == 0).unwrap_or(name.len())]
}

/// What `flags` of proc_pid_stat(5) says, in the bits that Linux uses.
mod flag {
    /// It was forked and has not executed a program since (PF_FORKNOEXEC).
    pub const FORKED: u32 = 0x40;
    /// It has exited: it is on its way out, will not dump core, and does nothing that could be frozen (PF_EXITING,
    /// PF_POSTCOREDUMP, PF_NOFREEZE).
    pub const EXITED: u32 = 0x4 | 0x8 | 0x8000;
    /// A signal has ended it (PF_SIGNALED).
    pub const SIGNALED: u32 = 0x400;
}

/// proc_pid_stat(5): 52 fields. What does not exist here is 0, as the man page has it for fields that are gone.
pub async fn stat(subject: Process) -> Result<Buffer, Failed> {
    let (p, thread) = Picture::take(&subject)?;
    let totals = memory::totals(&subject).await.unwrap_or_default();
    let (rss_limit, strings) = {
        let process = subject.process()?;
        let strings = process.shared.lock().strings;
        (process.limits.get(Resource::Rss).soft, strings)
    };
    let visible = subject.trusted && thread.is_some();
    let ((arg_start, arg_end), (env_start, env_end)) = if visible { strings } else { Default::default() };
    let exit_code = if subject.trusted { p.exit_status } else { 0 };
    let (terminal, foreground) = p.terminal();
    let (policy, rt_priority, nice, priority) = p.scheduling();
    let (utime, stime) = p.usage.ticks();
    let (cutime, cstime) = p.children.ticks();
    let flags = p.flags();
    let started = p.started / (NANOS_PER_SEC / USER_HZ);
    let [pending, _, blocked, ignored, caught] = p.signals.map(|set| set.0 & (1 << 31) - 1);
    let mut out = Buffer::default();
    write!(out, "{} (", subject.id())?;
    out.push(name_bytes(&p.name))?;
    write!(out, ") {} {} {} {} {terminal} {foreground} {flags}", p.state.0, p.parent, p.group, p.session)?;
    write!(out, " {} {}", p.usage.minor_faults, p.children.minor_faults)?;
    write!(out, " {} {}", p.usage.major_faults, p.children.major_faults)?;
    write!(out, " {utime} {stime} {cutime} {cstime} {priority} {nice} {} 0 {started}", p.threads.max(1))?;
    write!(out, " {} {} {rss_limit}", totals.size * PAGE_SIZE, totals.anonymous + totals.file)?;
    // Code and stack bounds, registers.
    write!(out, " 0 0 0 0 0 {pending} {blocked} {ignored} {caught}")?;
    // Wait channel and swap; delays and guests; data and heap bounds.
    write!(out, " 0 0 0 {} {} {rt_priority} {policy} 0 0 0 0 0 0", p.exit_signal, p.cpu)?;
    writeln!(out, " {arg_start} {arg_end} {env_start} {env_end} {exit_code}")?;
    Ok(out)
}

/// proc_pid_status(5).
pub async fn status(subject: Process) -> Result<Buffer, Failed> {
    let (p, thread) = Picture::take(&subject)?;
    let totals = memory::totals(&subject).await;
    let mut out = Buffer::default();
    out.write_str("Name:\t")?;
    for &byte in name_bytes(&p.name) {
        match byte {
            b'\n' => out.push(b"\\n")?,
            b'\\' => out.push(b"\\\\")?,
            byte => out.push(&[byte])?,
        }
    }
    out.write_char('\n')?;
    if let Ok(fs) = subject.fs() {
        writeln!(out, "Umask:\t{:04o}", fs.umask())?;
    }
    let id = subject.id();
    writeln!(out, "State:\t{} ({})\nTgid:\t{}\nPid:\t{id}\nPPid:\t{}", p.state.0, p.state.1, p.process, p.parent)?;
    // Nobody traces: there is no ptrace(2).
    writeln!(out, "TracerPid:\t0")?;
    if let Some(thread) = &thread {
        show_ids(&thread.cred(), &mut out)?;
        let files = thread.view.lock().files.clone();
        writeln!(out, "FDSize:\t{}", files.map_or(0, |files| files.capacity()))?;
        show_groups(&thread.cred(), &mut out)?;
    } else {
        let uid = subject.process()?.uid();
        writeln!(out, "Uid:\t{uid}\t{uid}\t{uid}\t{uid}")?;
    }
    writeln!(out, "NStgid:\t{}\nNSpid:\t{id}\nNSpgid:\t{}\nNSsid:\t{}", p.process, p.group, p.session)?;
    if let Some(totals) = totals {
        show_memory(&totals, &mut out)?;
    }
    writeln!(out, "Threads:\t{}", p.threads.max(1))?;
    let limit = subject.process()?.limits.get(Resource::Sigpending).soft;
    writeln!(out, "SigQ:\t{}/{limit}", p.queued)?;
    for (label, set) in ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"].into_iter().zip(p.signals) {
        writeln!(out, "{label}:\t{:016x}", set.0)?;
    }
    if let Some(thread) = &thread {
        show_capabilities(&thread.cred(), &mut out)?;
        writeln!(out, "NoNewPrivs:\t{}", u32::from(thread.cred().no_new_privs))?;
    }
    show_cpus(p.affinity, &mut out)?;
    writeln!(out, "voluntary_ctxt_switches:\t{}", p.usage.voluntary_switches)?;
    writeln!(out, "nonvoluntary_ctxt_switches:\t{}", p.usage.involuntary_switches)?;
    Ok(out)
}

fn show_ids(cred: &Credentials, out: &mut Buffer) -> core::fmt::Result {
    writeln!(out, "Uid:\t{}\t{}\t{}\t{}", cred.uid, cred.euid, cred.suid, cred.fsuid)?;
    writeln!(out, "Gid:\t{}\t{}\t{}\t{}", cred.gid, cred.egid, cred.sgid, cred.fsgid)
}

fn show_groups(cred: &Credentials, out: &mut Buffer) -> core::fmt::Result {
    out.write_str("Groups:\t")?;
    for group in cred.groups.iter() {
        write!(out, "{group} ")?;
    }
    out.write_char('\n')
}

fn show_memory(totals: &Totals, out: &mut Buffer) -> core::fmt::Result {
    let lines = [
        ("VmSize", totals.size),
        ("VmLck", totals.locked),
        ("VmRSS", totals.anonymous + totals.file),
        ("RssAnon", totals.anonymous),
        ("RssFile", totals.file),
        ("VmData", totals.data),
        ("VmStk", totals.stack),
        ("VmSwap", 0),
    ];
    for (name, pages) in lines {
        writeln!(out, "{name}:\t{:8} kB", pages * PAGE_SIZE / 1024)?;
    }
    Ok(())
}

fn show_capabilities(cred: &Credentials, out: &mut Buffer) -> core::fmt::Result {
    let sets = [
        ("CapInh", cred.inheritable),
        ("CapPrm", cred.permitted),
        ("CapEff", cred.effective),
        ("CapBnd", cred.bounding),
        ("CapAmb", cred.ambient),
    ];
    for (label, set) in sets {
        writeln!(out, "{label}:\t{set:016x}")?;
    }
    Ok(())
}

fn show_cpus(affinity: u64, out: &mut Buffer) -> core::fmt::Result {
    let cpus = crate::cpu::count();
    let all = if cpus >= 64 { u64::MAX } else { (1 << cpus) - 1 };
    // A mask without a CPU that runs is taken for all.
    let mask = if affinity & all == 0 { all } else { affinity & all };
    if cpus > 32 {
        writeln!(out, "Cpus_allowed:\t{:08x},{:08x}", mask >> 32, mask & 0xffff_ffff)?;
    } else {
        writeln!(out, "Cpus_allowed:\t{mask:0width$x}", width = cpus.div_ceil(4))?;
    }
    out.write_str("Cpus_allowed_list:\t")?;
    let allowed = |cpu: usize| cpu < 64 && mask >> cpu & 1 != 0;
    let mut separator = "";
    let mut cpu = 0;
    while cpu < 64 {
        if !allowed(cpu) {
            cpu += 1;
            continue;
        }
        let first = cpu;
        while allowed(cpu + 1) {
            cpu += 1;
        }
        write!(out, "{separator}{first}")?;
        if cpu > first {
            write!(out, "-{cpu}")?;
        }
        separator = ",";
        cpu += 1;
    }
    out.write_char('\n')
}

/// proc_pid_comm(5).
pub fn comm(subject: &Process, out: &mut Buffer) -> Shown {
    let name = match subject.thread() {
        Some(thread) => thread.name(),
        None => subject.process()?.shared.lock().last_name,
    };
    out.push(name_bytes(&name))?;
    Ok(out.write_char('\n')?)
}

/// Renames a thread. EINVAL unless the caller is of the same process; longer names are cut to 15 bytes.
pub fn set_comm(subject: &Process, caller: &Caller, bytes: &[u8]) -> Result<()> {
    if subject.process()?.id() != caller.process {
        return Err(Errno::EINVAL.into());
    }
    let thread = subject.thread().ok_or(Errno::ESRCH)?;
    let mut name = [0; 16];
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()).min(15);
    name[..len].copy_from_slice(&bytes[..len]);
    thread.view.lock().name = name;
    Ok(())
}

/// proc_pid_task(5), `children`: those that the thread has.
pub fn children(subject: &Process, out: &mut Buffer) -> Shown {
    let tree = tree::lock();
    for child in subject.process()?.children(&tree, Some(subject.id())) {
        write!(out, "{} ", child.id())?;
    }
    Ok(())
}

/// proc_pid_oom_score(5): 667 for who is to blame for nothing, up to 1333 and more.
pub fn oom_score(subject: &Process, out: &mut Buffer) -> Shown {
    let total = (::memory::frames::total_bytes() / PAGE_SIZE) as i64;
    let score = oom::badness(&*subject.process()?).map_or(0, |badness| (1000 + badness * 1000 / total) * 2 / 3);
    Ok(writeln!(out, "{}", score.max(0))?)
}

/// proc_pid_oom_score_adj(5).
pub fn oom_score_adj(subject: &Process, out: &mut Buffer) -> Shown {
    Ok(writeln!(out, "{}", subject.process()?.oom.get())?)
}

/// Sets it. EINVAL, EACCES.
pub fn set_oom_score_adj(subject: &Process, caller: &Caller, bytes: &[u8]) -> Result<()> {
    let text = ::core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?.trim_matches(['\n', ' ', '\0']);
    let value = text.parse().map_err(|_| Errno::EINVAL)?;
    Ok(subject.process()?.oom.set(value, caller.cred.has(Capability::SysResource))?)
}

/// proc_pid_coredump_filter(5), in hexadecimal.
pub fn core_filter(subject: &Process, out: &mut Buffer) -> Shown {
    Ok(writeln!(out, "{:08x}", subject.process()?.core_filter())?)
}

/// Sets it: a number as strtol(3) reads it. EINVAL.
pub fn set_core_filter(subject: &Process, _: &Caller, bytes: &[u8]) -> Result<()> {
    let text = ::core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?.trim_matches(['\n', ' ', '\0']);
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None if text.starts_with('0') => u32::from_str_radix(text, 8),
        None => text.parse(),
    };
    subject.process()?.set_core_filter(number.map_err(|_| Errno::EINVAL)?);
    Ok(())
}
