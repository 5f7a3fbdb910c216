//! Resource limits (getrlimit(2)).

use base::{Errno, rank};
use executor::spin::SpinLock;
use linux_raw_sys::general as raw;

/// No limit.
pub const INFINITY: u64 = u64::MAX;
/// How many resources there are.
pub const COUNT: usize = 16;

/// A resource, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "getrlimit(2) documents them")]
#[repr(u8)]
pub enum Resource {
    Cpu = raw::RLIMIT_CPU as u8,
    Fsize = raw::RLIMIT_FSIZE as u8,
    Data = raw::RLIMIT_DATA as u8,
    Stack = raw::RLIMIT_STACK as u8,
    Core = raw::RLIMIT_CORE as u8,
    Rss = raw::RLIMIT_RSS as u8,
    Nproc = raw::RLIMIT_NPROC as u8,
    Nofile = raw::RLIMIT_NOFILE as u8,
    Memlock = raw::RLIMIT_MEMLOCK as u8,
    As = raw::RLIMIT_AS as u8,
    Locks = raw::RLIMIT_LOCKS as u8,
    Sigpending = raw::RLIMIT_SIGPENDING as u8,
    Msgqueue = raw::RLIMIT_MSGQUEUE as u8,
    Nice = raw::RLIMIT_NICE as u8,
    Rtprio = raw::RLIMIT_RTPRIO as u8,
    Rttime = raw::RLIMIT_RTTIME as u8,
}

/// All resources with their names in /proc/PID/limits and the unit there.
pub const ALL: [(Resource, &str, &str); COUNT] = [
    (Resource::Cpu, "Max cpu time", "seconds"),
    (Resource::Fsize, "Max file size", "bytes"),
    (Resource::Data, "Max data size", "bytes"),
    (Resource::Stack, "Max stack size", "bytes"),
    (Resource::Core, "Max core file size", "bytes"),
    (Resource::Rss, "Max resident set", "bytes"),
    (Resource::Nproc, "Max processes", "processes"),
    (Resource::Nofile, "Max open files", "files"),
    (Resource::Memlock, "Max locked memory", "bytes"),
    (Resource::As, "Max address space", "bytes"),
    (Resource::Locks, "Max file locks", "locks"),
    (Resource::Sigpending, "Max pending signals", "signals"),
    (Resource::Msgqueue, "Max msgqueue size", "bytes"),
    (Resource::Nice, "Max nice priority", ""),
    (Resource::Rtprio, "Max realtime priority", ""),
    (Resource::Rttime, "Max realtime timeout", "us"),
];

impl Resource {
    /// The resource with this number; EINVAL if there is none.
    pub fn new(number: usize) -> Result<Resource, Errno> {
        ALL.iter().map(|(resource, ..)| *resource).find(|resource| *resource as usize == number).ok_or(Errno::EINVAL)
    }
}

/// A soft and a hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// How far an unprivileged process may raise the soft limit.
    pub hard: u64,
}

/// The limits of a process.
pub struct Limits(SpinLock<[Limit; COUNT]>);

impl Limits {
    /// Those of the first process, on a machine that can have `threads` threads.
    pub fn initial(threads: u64) -> Limits {
        let mut table = [Limit { soft: INFINITY, hard: INFINITY }; COUNT];
        let mut set = |resource: Resource, soft, hard| table[resource as usize] = Limit { soft, hard };
        set(Resource::Stack, 8 << 20, INFINITY);
        set(Resource::Core, 0, INFINITY);
        set(Resource::Nproc, threads / 2, threads / 2);
        set(Resource::Nofile, 1024, 4096);
        set(Resource::Memlock, 8 << 20, 8 << 20);
        set(Resource::Sigpending, threads / 2, threads / 2);
        set(Resource::Msgqueue, 819_200, 819_200);
        set(Resource::Nice, 0, 0);
        set(Resource::Rtprio, 0, 0);
        Limits(SpinLock::new(rank::THREAD, table))
    }

    /// A copy for a new process.
    pub fn fork(&self) -> Limits {
        Limits(SpinLock::new(rank::THREAD, *self.0.lock()))
    }

    /// One limit.
    pub fn get(&self, resource: Resource) -> Limit {
        self.0.lock()[resource as usize]
    }

    /// Changes one limit and returns the one before. EINVAL if soft exceeds hard, EPERM if the hard limit would
    /// rise and `privileged` (CAP_SYS_RESOURCE) is false.
    pub fn set(&self, resource: Resource, limit: Limit, privileged: bool) -> Result<Limit, Errno> {
        if limit.soft > limit.hard {
            return Err(Errno::EINVAL);
        }
        let mut table = self.0.lock();
        let slot = &mut table[resource as usize];
        if limit.hard > slot.hard && !privileged {
            return Err(Errno::EPERM);
        }
        Ok(core::mem::replace(slot, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hard_limit_rises_only_with_privilege() {
        let limits = Limits::initial(1000);
        let raised = Limit { soft: 5000, hard: 5000 };
        assert_eq!(limits.set(Resource::Nofile, raised, false), Err(Errno::EPERM));
        assert!(limits.set(Resource::Nofile, raised, true).is_ok());
        assert_eq!(limits.set(Resource::Nofile, Limit { soft: 2, hard: 1 }, true), Err(Errno::EINVAL));
        assert_eq!(limits.get(Resource::Nofile), raised);
    }
}
