//! What threads and processes have used (times(2), getrusage(2)).

use arch::MAX_CPUS;
use base::percpu::Padded;
use base::time::{NANOS_PER_SEC, USER_HZ};
use base::{PerCpu, rank};
use core::sync::atomic::{AtomicU64, Ordering};
use executor::spin::SpinLock;

/// An amount used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User time in nanoseconds.
    pub user: u64,
    /// System time in nanoseconds.
    pub system: u64,
    /// Page faults answered without waiting for a device.
    pub minor_faults: u64,
    /// Page faults that waited for a device.
    pub major_faults: u64,
    /// Times the thread gave the CPU away to wait.
    pub voluntary_switches: u64,
    /// Times it had to give the CPU away.
    pub involuntary_switches: u64,
    /// The largest resident set in pages.
    pub max_resident: u64,
}

impl Usage {
    /// Adds another's; the largest resident set counts, not the sum.
    pub fn add(&mut self, other: &Usage) {
        self.user += other.user;
        self.system += other.system;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
        self.max_resident = self.max_resident.max(other.max_resident);
    }

    /// User and system time in clock ticks.
    pub fn ticks(&self) -> (u64, u64) {
        let per_tick = NANOS_PER_SEC / USER_HZ;
        (self.user / per_tick, self.system / per_tick)
    }
}

/// Counters of one thread, written by itself, read by anybody.
#[derive(Default)]
pub struct ThreadTimes {
    user: AtomicU64,
    system: AtomicU64,
    faults: AtomicU64,
    voluntary: AtomicU64,
    involuntary: AtomicU64,
    /// When the thread was made, in nanoseconds since boot.
    pub started: AtomicU64,
}

fn bump(counter: &AtomicU64, by: u64) {
    // Only the thread itself writes, so a load and a store will do.
    counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}

/// What each CPU has spent in programs, in nanoseconds. Written by that CPU only.
static USER: PerCpu<AtomicU64> = PerCpu::new([const { Padded(AtomicU64::new(0)) }; MAX_CPUS]);

/// How long CPU `cpu` has been in programs since boot, in nanoseconds.
pub fn user_of(cpu: usize) -> u64 {
    USER.of(cpu).load(Ordering::Relaxed)
}

impl ThreadTimes {
    /// When the thread was made, in nanoseconds since boot.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn new() -> ThreadTimes {
        ThreadTimes { started: AtomicU64::new(arch::time::now()), ..ThreadTimes::default() }
    }

    /// `nanos` were spent in the program.
    #[inline]
    pub fn add_user(&self, nanos: u64) {
        bump(&self.user, nanos);
        bump(USER.this(), nanos);
    }

    /// `nanos` were spent in the kernel.
    #[inline]
    pub fn add_system(&self, nanos: u64) {
        bump(&self.system, nanos);
    }

    /// A page fault was answered.
    #[inline]
    pub fn count_fault(&self) {
        bump(&self.faults, 1);
    }

    /// The thread went to wait.
    #[inline]
    pub fn count_voluntary_switch(&self) {
        bump(&self.voluntary, 1);
    }

    /// The thread was preempted.
    pub fn count_involuntary_switch(&self) {
        bump(&self.involuntary, 1);
    }

    /// What it has used so far.
    pub fn usage(&self) -> Usage {
        Usage {
            user: self.user.load(Ordering::Relaxed),
            system: self.system.load(Ordering::Relaxed),
            minor_faults: self.faults.load(Ordering::Relaxed),
            major_faults: 0,
            voluntary_switches: self.voluntary.load(Ordering::Relaxed),
            involuntary_switches: self.involuntary.load(Ordering::Relaxed),
            max_resident: 0,
        }
    }
}

/// What the exited threads and the reaped children of a process have used.
pub struct ProcessTimes {
    /// When the process was made, in nanoseconds since boot.
    pub started: u64,
    exited: SpinLock<Usage>,
    children: SpinLock<Usage>,
}

impl ProcessTimes {
    pub(crate) fn new() -> ProcessTimes {
        ProcessTimes {
            started: arch::time::now(),
            exited: SpinLock::new(rank::THREAD, Usage::default()),
            children: SpinLock::new(rank::THREAD, Usage::default()),
        }
    }

    /// A thread has exited.
    pub(crate) fn thread_exited(&self, usage: &Usage) {
        self.exited.lock().add(usage);
    }

    /// A child was reaped.
    pub(crate) fn child_reaped(&self, usage: &Usage) {
        self.children.lock().add(usage);
    }

    /// What exited threads used.
    pub fn exited(&self) -> Usage {
        *self.exited.lock()
    }

    /// What reaped children used, theirs included.
    pub fn children(&self) -> Usage {
        *self.children.lock()
    }
}
