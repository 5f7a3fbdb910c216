//! Scheduling: yield, affinity, nice values, policies (sched(7)).

use crate::args::Args;
use crate::sched_attr::{self, Wanted};
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use alloc::sync::Arc;
use base::{Capability, Errno, Error, Result};
use executor::{Class, RtPolicy};
use linux_raw_sys::general as raw;
use process::limits::Resource;
use process::{Conditions, Current, Thread, pid, tree};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_sched_yield, slow!(sched_yield, Slow::SchedYield)),
    (raw::__NR_sched_getaffinity, fast!(getaffinity)),
    (raw::__NR_sched_setaffinity, fast!(setaffinity)),
    (raw::__NR_getpriority, fast!(getpriority)),
    (raw::__NR_setpriority, fast!(setpriority)),
    (raw::__NR_sched_getscheduler, fast!(getscheduler)),
    (raw::__NR_sched_setscheduler, fast!(setscheduler)),
    (raw::__NR_sched_getparam, fast!(getparam)),
    (raw::__NR_sched_setparam, fast!(setparam)),
    (raw::__NR_sched_get_priority_max, fast!(priority_max)),
    (raw::__NR_sched_get_priority_min, fast!(priority_min)),
    (raw::__NR_sched_rr_get_interval, fast!(rr_interval)),
    (raw::__NR_getcpu, fast!(getcpu)),
];

/// sched_yield(2), the half that does not wait: with nobody else to run here there is nothing to do.
fn sched_yield(_: &mut Current, _: &Args) -> Result<usize> {
    if executor::is_alone() { Ok(0) } else { Err(Error::WouldBlock) }
}

/// The thread an id names; the caller for 0. ESRCH.
pub fn thread(current: &Current, id: i32) -> Result<Arc<Thread>> {
    if id == 0 {
        return Ok(current.thread.clone());
    }
    Ok(u32::try_from(id).ok().and_then(pid::find_thread).ok_or(Errno::ESRCH)?)
}

/// Whether the caller may change how `target` is scheduled.
pub fn may_change(current: &Current, target: &Thread) -> bool {
    let theirs = target.cred();
    current.cred.euid == theirs.euid || current.cred.euid == theirs.uid || current.cred.has(Capability::SysNice)
}

fn online() -> u64 {
    let count = kernel::cpu::count();
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

fn getaffinity(current: &mut Current, args: &Args) -> Result<usize> {
    // The length is an `unsigned int`, and so is the number of bits, which may wrap.
    let len = args.uint(1);
    if !len.is_multiple_of(8) || (len.wrapping_mul(8) as usize) < kernel::cpu::count() {
        return Err(Errno::EINVAL.into());
    }
    let params = thread(current, args.int(0))?.sched_params();
    args.ptr::<u64>(2).write(&(params.affinity & online()))?;
    Ok(8)
}

fn setaffinity(current: &mut Current, args: &Args) -> Result<usize> {
    let mut bytes = [0; 8];
    let len = args.uint(1).min(8) as usize;
    args.ptr::<u8>(2).read_slice(&mut bytes[..len])?;
    let target = thread(current, args.int(0))?;
    if !may_change(current, &target) {
        return Err(Errno::EPERM.into());
    }
    let mask = u64::from_le_bytes(bytes) & online();
    if mask == 0 {
        return Err(Errno::EINVAL.into());
    }
    let must_move = target.view.lock().task.as_ref().is_some_and(|task| task.set_affinity(mask));
    if must_move {
        target.interrupt(Conditions::MIGRATE);
    }
    Ok(0)
}

/// The nice value of a class that has one, else 0.
pub fn nice_of(class: Class) -> i8 {
    match class {
        Class::Fair { nice } | Class::Batch { nice } => nice,
        _ => 0,
    }
}

/// The threads that getpriority(2) and setpriority(2) mean. A process is meant by its leader's id; ESRCH if there is none.
fn priority_targets(current: &Current, which: u32, who: i32) -> Result<alloc::vec::Vec<Arc<Thread>>> {
    let mut targets = alloc::vec::Vec::new();
    match which {
        raw::PRIO_PROCESS => targets.push(thread(current, who)?),
        raw::PRIO_PGRP => {
            let tree = tree::lock();
            let group = if who == 0 { tree::group_of(&tree, &current.thread.process) } else { who as u32 };
            if let Some(group) = tree::find_group(&tree, group) {
                targets.extend(group.members(&tree).filter_map(|process| process.any_thread()));
            }
        }
        raw::PRIO_USER => {
            let uid = if who == 0 { current.cred.uid } else { who as u32 };
            let theirs = pid::processes(1).filter(|process| process.uid() == uid);
            targets.extend(theirs.filter_map(|process| process.any_thread()));
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    if targets.is_empty() { Err(Errno::ESRCH.into()) } else { Ok(targets) }
}

/// How a thread is scheduled.
pub fn class_of(thread: &Thread) -> Class {
    thread.sched_params().class
}

/// getpriority(2): the raw call gives 20 minus the nice value.
fn getpriority(current: &mut Current, args: &Args) -> Result<usize> {
    let targets = priority_targets(current, args.uint(0), args.int(1))?;
    let best = targets.iter().map(|thread| nice_of(class_of(thread))).min().unwrap_or(0);
    Ok((20 - i32::from(best)) as usize)
}

fn setpriority(current: &mut Current, args: &Args) -> Result<usize> {
    let nice = args.int(2).clamp(-20, 19) as i8;
    let targets = priority_targets(current, args.uint(0), args.int(1))?;
    let mut result = Ok(0);
    for target in targets {
        if !may_change(current, &target) {
            result = Err(Errno::EPERM.into());
        } else if nice < nice_of(class_of(&target)) && !may_raise(current, &target, nice) {
            result = Err(Errno::EACCES.into());
        } else {
            match class_of(&target) {
                Class::Fair { .. } => target.set_class(Class::Fair { nice }),
                Class::Batch { .. } => target.set_class(Class::Batch { nice }),
                Class::RealTime { .. } | Class::Idle => {}
            }
        }
    }
    result
}

/// RLIMIT_NICE is 20 minus the lowest nice value allowed.
pub fn may_raise(current: &Current, target: &Thread, nice: i8) -> bool {
    current.cred.has(Capability::SysNice) || (20 - i64::from(nice)) as u64 <= target.limit(Resource::Nice)
}

/// `SCHED_*`.
pub fn policy_of(class: Class) -> u32 {
    match class {
        Class::RealTime { policy: RtPolicy::Fifo, .. } => raw::SCHED_FIFO,
        Class::RealTime { policy: RtPolicy::RoundRobin, .. } => raw::SCHED_RR,
        Class::Fair { .. } => raw::SCHED_NORMAL,
        Class::Batch { .. } => raw::SCHED_BATCH,
        Class::Idle => raw::SCHED_IDLE,
    }
}

/// SCHED_RESET_ON_FORK, which comes with the policy.
const RESET_ON_FORK: u32 = 0x4000_0000;

fn getscheduler(current: &mut Current, args: &Args) -> Result<usize> {
    if args.int(0) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let is = Wanted::of(&*thread(current, args.int(0))?);
    Ok((is.policy | if is.reset_on_fork { RESET_ON_FORK } else { 0 }) as usize)
}

fn setscheduler(current: &mut Current, args: &Args) -> Result<usize> {
    if args.int(0) < 0 || args.int(1) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let prio = args.ptr::<i32>(2).read()?;
    let target = thread(current, args.int(0))?;
    let policy = args.uint(1) & !RESET_ON_FORK;
    let reset_on_fork = args.uint(1) & RESET_ON_FORK != 0;
    let prio = u32::try_from(prio).map_err(|_| Errno::EINVAL)?;
    sched_attr::apply(current, &target, &Wanted { policy, prio, reset_on_fork, ..Wanted::of(&target) })
}

/// The real-time priority; 0 for other classes.
pub fn prio_of(class: Class) -> i32 {
    match class {
        Class::RealTime { prio, .. } => prio.into(),
        _ => 0,
    }
}

fn getparam(current: &mut Current, args: &Args) -> Result<usize> {
    if args.int(0) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let class = class_of(&*thread(current, args.int(0))?);
    args.ptr::<i32>(1).write(&prio_of(class))?;
    Ok(0)
}

fn setparam(current: &mut Current, args: &Args) -> Result<usize> {
    if args.int(0) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let prio = args.ptr::<i32>(1).read()?;
    let target = thread(current, args.int(0))?;
    let prio = u32::try_from(prio).map_err(|_| Errno::EINVAL)?;
    sched_attr::apply(current, &target, &Wanted { prio, ..Wanted::of(&target) })
}

fn priority_max(_: &mut Current, args: &Args) -> Result<usize> {
    match args.uint(0) {
        raw::SCHED_FIFO | raw::SCHED_RR => Ok(99),
        raw::SCHED_NORMAL | raw::SCHED_BATCH | raw::SCHED_IDLE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn priority_min(_: &mut Current, args: &Args) -> Result<usize> {
    match args.uint(0) {
        raw::SCHED_FIFO | raw::SCHED_RR => Ok(1),
        raw::SCHED_NORMAL | raw::SCHED_BATCH | raw::SCHED_IDLE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn rr_interval(current: &mut Current, args: &Args) -> Result<usize> {
    if args.int(0) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let class = class_of(&*thread(current, args.int(0))?);
    let slice = class.slice_ns().unwrap_or(0);
    args.ptr::<[i64; 2]>(1).write(&[(slice / 1_000_000_000) as i64, (slice % 1_000_000_000) as i64])?;
    Ok(0)
}

/// getcpu(2): there is one memory node.
fn getcpu(_: &mut Current, args: &Args) -> Result<usize> {
    let (cpu, node) = (args.ptr::<u32>(0), args.ptr::<u32>(1));
    if !cpu.is_null() {
        cpu.write(&(arch::cpu::id() as u32))?;
    }
    if !node.is_null() {
        node.write(&0)?;
    }
    Ok(0)
}
