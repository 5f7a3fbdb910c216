//! What threads and processes have used (times(2), getrusage(2)).

use crate::process::Process;
use crate::thread::Thread;
use base::rank;
use base::time::{NANOS_PER_SEC, USER_HZ};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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

/// What a CPU was doing when its tick came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It ran the program.
    User,
    /// It worked in the kernel for the program.
    System,
}

/// User and system time as they were last told, so that neither ever goes back.
#[derive(Clone, Copy, Default)]
struct Told {
    user: u64,
    system: u64,
    total: u64,
}

impl Told {
    /// Splits `total` in the ratio of `ticks` (user, system), each part no less than it was.
    fn split(&mut self, total: u64, ticks: (u32, u32)) -> (u64, u64) {
        self.total = self.total.max(total);
        let all = u128::from(ticks.0) + u128::from(ticks.1);
        // Without a single tick it is taken for user time.
        let system = u128::from(self.total) * u128::from(ticks.1) / all.max(1);
        self.system = (system as u64).clamp(self.system, self.total - self.user);
        self.user = self.total - self.system;
        (self.user, self.system)
    }
}

/// Counters of one thread, written by itself, read by anybody.
///
/// How long it has run is known exactly: the executor charges each poll. How much of that was spent in the program is
/// not measured, which would take two looks at the clock in each system call, but estimated from what the ticks of
/// its CPUs met.
pub struct ThreadTimes {
    user_ticks: AtomicU32,
    system_ticks: AtomicU32,
    told: SpinLock<Told>,
    faults: AtomicU64,
    switches: AtomicU64,
    involuntary: AtomicU64,
    /// When the thread was made, in nanoseconds since boot.
    pub started: AtomicU64,
}

fn bump(counter: &AtomicU64, by: u64) {
    // Only the thread itself writes, so a load and a store will do.
    counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}

impl ThreadTimes {
    /// When the thread was made, in nanoseconds since boot.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn new() -> ThreadTimes {
        ThreadTimes {
            user_ticks: AtomicU32::new(0),
            system_ticks: AtomicU32::new(0),
            told: SpinLock::new(rank::THREAD, Told::default()),
            faults: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            involuntary: AtomicU64::new(0),
            started: AtomicU64::new(arch::time::now()),
        }
    }

    /// A tick met the thread. Called by the thread itself.
    pub fn count_tick(&self, mode: Mode) {
        let counter = match mode {
            Mode::User => &self.user_ticks,
            Mode::System => &self.system_ticks,
        };
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// A page fault was answered.
    #[inline]
    pub fn count_fault(&self) {
        bump(&self.faults, 1);
    }

    /// The thread gave the CPU away, to wait or because it had to.
    #[inline]
    pub fn count_switch(&self) {
        bump(&self.switches, 1);
    }

    /// The switch to come is a preemption.
    pub fn count_involuntary_switch(&self) {
        bump(&self.involuntary, 1);
    }

    /// The run time as it may be told, where the executor says `runtime`: it never goes back.
    fn total(&self, runtime: u64) -> u64 {
        let mut told = self.told.lock();
        told.total = told.total.max(runtime);
        told.total
    }

    /// What it has used so far, where it has run for `runtime` nanoseconds.
    fn usage(&self, runtime: u64) -> Usage {
        let ticks = (self.user_ticks.load(Ordering::Relaxed), self.system_ticks.load(Ordering::Relaxed));
        let (user, system) = self.told.lock().split(runtime, ticks);
        let involuntary = self.involuntary.load(Ordering::Relaxed);
        Usage {
            user,
            system,
            minor_faults: self.faults.load(Ordering::Relaxed),
            major_faults: 0,
            voluntary_switches: self.switches.load(Ordering::Relaxed).saturating_sub(involuntary),
            involuntary_switches: involuntary,
            max_resident: 0,
        }
    }
}

impl Thread {
    fn runtime(&self) -> u64 {
        self.view.lock().task.as_ref().map_or(0, executor::Task::runtime_ns)
    }

    /// How long it has run, in nanoseconds, up to now.
    pub fn cpu_time(&self) -> u64 {
        self.times.total(self.runtime())
    }

    /// What it has used so far.
    pub fn usage(&self) -> Usage {
        self.times.usage(self.runtime())
    }
}

impl Process {
    /// How long its threads have run, in nanoseconds, up to now, those that exited included.
    pub fn cpu_time(&self) -> u64 {
        let shared = self.shared.lock();
        let exited = self.times.exited();
        exited.user + exited.system + shared.threads.values().map(|thread| thread.cpu_time()).sum::<u64>()
    }

    /// What all its threads have used so far, those that exited included.
    pub fn usage(&self) -> Usage {
        let shared = self.shared.lock();
        let mut usage = self.times.exited();
        for thread in shared.threads.values() {
            usage.add(&thread.usage());
        }
        usage
    }

    /// User and system time in clock ticks, all threads.
    pub fn ticks(&self) -> (u64, u64) {
        self.usage().ticks()
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

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn time_is_split_as_the_ticks_say() {
        let mut told = Told::default();
        assert_eq!(told.split(1000, (0, 0)), (1000, 0));
        let mut told = Told::default();
        assert_eq!(told.split(1000, (3, 1)), (750, 250));
        assert_eq!(told.split(0, (0, u32::MAX)), (750, 250), "a stale total takes nothing back");
    }

    #[test]
    fn neither_part_ever_goes_back() {
        let mut told = Told::default();
        let mut before = (0, 0);
        for (total, ticks) in [(100, (1, 0)), (200, (1, 9)), (300, (50, 9)), (301, (50, 900)), (9000, (51, 900))] {
            let after = told.split(total, ticks);
            println!("{total} by {ticks:?}: {after:?}");
            assert!(after.0 >= before.0 && after.1 >= before.1);
            assert_eq!(after.0 + after.1, total);
            before = after;
        }
    }
}
