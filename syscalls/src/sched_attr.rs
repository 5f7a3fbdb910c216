//! sched_setattr(2) and sched_getattr(2), and the rules by which all calls change a thread's policy (sched(7)).

use crate::args::Args;
use crate::records;
use crate::scheduling::{class_of, may_change, may_raise, nice_of, policy_of, prio_of, thread};
use crate::table::{Calls, fast};
use alloc::sync::Arc;
use arch::addr::PAGE_SIZE;
use base::{Capability, Errno, Error, Result};
use executor::{Class, RtPolicy};
use linux_raw_sys::general as raw;
use memory::user::UserPtr;
use process::limits::Resource;
use process::{Current, Thread};

/// The family.
pub const CALLS: Calls = &[(raw::__NR_sched_setattr, fast!(setattr)), (raw::__NR_sched_getattr, fast!(getattr))];

/// Bytes of the first version of `struct sched_attr`, and of the one with utilization clamps.
const FIRST: usize = 48;
const WORDS: usize = 7;

/// `sched_flags`.
mod flag {
    pub const RESET_ON_FORK: u64 = 1;
    pub const KEEP_POLICY: u64 = 8;
    pub const KEEP_PARAMS: u64 = 16;
    /// What is about utilization clamps.
    pub const CLAMPS: u64 = 0x60;
    pub const ALL: u64 = 0x7f;
}

/// What a thread is to be scheduled by.
pub struct Wanted {
    /// `SCHED_*`.
    pub policy: u32,
    /// The priority of a real-time policy; 0 for others.
    pub prio: u32,
    /// The nice value of a fair policy.
    pub nice: i8,
    /// Children are scheduled by default (SCHED_RESET_ON_FORK).
    pub reset_on_fork: bool,
}

impl Wanted {
    /// As the thread is scheduled now.
    pub fn of(target: &Thread) -> Wanted {
        let class = class_of(target);
        let prio = prio_of(class) as u32;
        Wanted { policy: policy_of(class), prio, nice: nice_of(class), reset_on_fork: target.resets_on_fork() }
    }

    fn class(&self) -> Result<Class, Errno> {
        let (prio, nice) = (self.prio as u8, self.nice);
        let class = match self.policy {
            raw::SCHED_NORMAL => Class::Fair { nice },
            raw::SCHED_BATCH => Class::Batch { nice },
            raw::SCHED_IDLE => Class::Idle,
            raw::SCHED_FIFO => Class::RealTime { prio, policy: RtPolicy::Fifo },
            raw::SCHED_RR => Class::RealTime { prio, policy: RtPolicy::RoundRobin },
            // SCHED_DEADLINE is not offered.
            _ => return Err(Errno::EINVAL),
        };
        let real_time = matches!(class, Class::RealTime { .. });
        if self.prio > 99 || real_time != (self.prio > 0) { Err(Errno::EINVAL) } else { Ok(class) }
    }
}

/// Schedules a thread otherwise. EINVAL for what is no policy or no priority of it, EPERM for what needs more privilege.
pub fn apply(current: &Current, target: &Arc<Thread>, wanted: &Wanted) -> Result<usize> {
    let class = wanted.class()?;
    let before = Wanted::of(target);
    if !current.cred.has(Capability::SysNice) && !within_limits(current, target, &before, wanted, class) {
        return Err(Errno::EPERM.into());
    }
    target.set_class(class);
    target.set_resets_on_fork(wanted.reset_on_fork);
    Ok(0)
}

/// Whether a change needs no privilege.
fn within_limits(current: &Current, target: &Thread, before: &Wanted, wanted: &Wanted, class: Class) -> bool {
    let limit = target.limit(Resource::Rtprio);
    let allowed = match class {
        Class::RealTime { .. } => {
            let same_policy = wanted.policy == before.policy;
            (same_policy || limit > 0) && (wanted.prio <= before.prio || u64::from(wanted.prio) <= limit)
        }
        Class::Idle => true,
        Class::Fair { nice } | Class::Batch { nice } => {
            let leaves_idle = before.policy == raw::SCHED_IDLE;
            (nice >= before.nice && !leaves_idle) || may_raise(current, target, nice)
        }
    };
    allowed && may_change(current, target) && (wanted.reset_on_fork || !before.reset_on_fork)
}

/// `struct sched_attr`, whose size is its own first field. E2BIG, after the size that is known was stored there, for an unknown one.
fn read_attr(addr: UserPtr<u32>) -> Result<(usize, [u64; WORDS])> {
    let size = match addr.read()? as usize {
        0 => FIRST,
        size => size,
    };
    let refused = |error| {
        addr.write(&(WORDS as u32 * 8))?;
        Err(error)
    };
    if !(FIRST..=PAGE_SIZE).contains(&size) {
        return refused(Errno::E2BIG.into());
    }
    match records::read(addr.addr(), size, 0) {
        Err(Error::Errno(Errno::E2BIG)) => refused(Errno::E2BIG.into()),
        words => Ok((size, words?)),
    }
}

fn setattr(current: &mut Current, args: &Args) -> Result<usize> {
    let addr = args.ptr::<u32>(1);
    if addr.is_null() || args.int(0) < 0 || args.uint(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (size, [head, flags, tail, ..]) = read_attr(addr)?;
    let (policy, nice, prio) = ((head >> 32) as u32, tail as i32, (tail >> 32) as u32);
    if flags & flag::CLAMPS != 0 && size < WORDS * 8 {
        return Err(Errno::EINVAL.into());
    }
    if (policy as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = thread(current, args.int(0))?;
    let now = Wanted::of(&target);
    if flags & !flag::ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & flag::CLAMPS != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let mut wanted = Wanted { policy, prio, nice: nice.clamp(-20, 19) as i8, reset_on_fork: false };
    if flags & flag::KEEP_POLICY != 0 {
        wanted.policy = now.policy;
    }
    if flags & flag::KEEP_PARAMS != 0 {
        // The policy must be one, but it is kept as well.
        (wanted.prio, wanted.nice) = (now.prio, now.nice);
        wanted.class()?;
        wanted.policy = now.policy;
    }
    wanted.reset_on_fork = flags & flag::RESET_ON_FORK != 0;
    apply(current, &target, &wanted)
}

fn getattr(current: &mut Current, args: &Args) -> Result<usize> {
    let size = args.uint(2) as usize;
    if args.size(1) == 0 || args.int(0) < 0 || !(FIRST..=PAGE_SIZE).contains(&size) || args.uint(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let is = Wanted::of(&*thread(current, args.int(0))?);
    let size = size.min(WORDS * 8);
    let mut words = [0u64; WORDS];
    words[0] = size as u64 | u64::from(is.policy) << 32;
    words[1] = if is.reset_on_fork { flag::RESET_ON_FORK } else { 0 };
    words[2] = u64::from(i32::from(is.nice) as u32) | u64::from(is.prio) << 32;
    for (i, word) in words[..size.div_ceil(8)].iter().enumerate() {
        let bytes = word.to_ne_bytes();
        let len = (size - i * 8).min(8);
        args.ptr::<u8>(1).add(i * 8).write_slice(&bytes[..len])?;
    }
    Ok(0)
}
