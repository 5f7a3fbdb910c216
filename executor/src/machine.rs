//! The machine's scheduler state: one [`Cpu`](crate::cpu::Cpu) per CPU and two masks.
//!
//! On the target this is one static. On the development machine each thread has a machine of its
//! own, so that tests that run side by side do not meet; threads that play the CPUs of one
//! machine [`join`] it.

use crate::MAX_CPUS;
use crate::cpu::Cpu;
use core::sync::atomic::AtomicU64;

/// The state of all run queues, timers and inboxes.
pub struct Machine {
    pub(crate) cpus: [Cpu; MAX_CPUS],
    /// CPUs that have started.
    pub(crate) online: AtomicU64,
    /// CPUs that are idle and that nobody has rung yet for stealing.
    pub(crate) idle: AtomicU64,
    #[cfg(not(target_os = "none"))]
    hosted: hosted::State,
}

impl Machine {
    const fn new() -> Machine {
        Machine {
            cpus: [const { Cpu::new() }; MAX_CPUS],
            online: AtomicU64::new(0),
            idle: AtomicU64::new(0),
            #[cfg(not(target_os = "none"))]
            hosted: hosted::State::new(),
        }
    }
}

#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn get() -> &'static Machine {
    static MACHINE: Machine = Machine::new();
    &MACHINE
}

#[cfg(not(target_os = "none"))]
pub(crate) use hosted::get;
#[cfg(not(target_os = "none"))]
pub use hosted::{Hosted, advance, current, join, set_cpu, set_cpus, set_now, take_ring, take_rings};

#[cfg(not(target_os = "none"))]
mod hosted {
    use super::Machine;
    use crate::Platform;
    use core::cell::Cell;
    use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

    pub(super) struct State {
        cpus: AtomicUsize,
        now: AtomicU64,
        rings: AtomicU64,
    }

    impl State {
        pub(super) const fn new() -> State {
            State { cpus: AtomicUsize::new(1), now: AtomicU64::new(0), rings: AtomicU64::new(0) }
        }
    }

    std::thread_local! {
        static MACHINE: Cell<Option<&'static Machine>> = const { Cell::new(None) };
        static CPU: Cell<usize> = const { Cell::new(0) };
    }

    #[inline]
    pub(crate) fn get() -> &'static Machine {
        MACHINE.with(Cell::get).unwrap_or_else(create)
    }

    /// Apart, since the machine passes over the stack.
    #[cold]
    #[inline(never)]
    fn create() -> &'static Machine {
        // Wakers may name the machine for as long as the process lives.
        let machine: &'static Machine = alloc::boxed::Box::leak(alloc::boxed::Box::new(Machine::new()));
        MACHINE.with(|cell| cell.set(Some(machine)));
        machine
    }

    /// This thread's machine, for another thread to [`join`].
    pub fn current() -> &'static Machine {
        get()
    }

    /// Makes this thread CPU `cpu` of `machine`.
    ///
    /// ```
    /// # executor::hosted_platform!();
    /// # fn main() {
    /// use executor::machine;
    /// machine::set_cpus(2);
    /// let shared = machine::current();
    /// std::thread::spawn(move || machine::join(shared, 1)).join().unwrap();
    /// # }
    /// ```
    pub fn join(machine: &'static Machine, cpu: usize) {
        MACHINE.with(|cell| cell.set(Some(machine)));
        CPU.with(|cell| cell.set(cpu));
    }

    /// Makes this thread CPU `cpu` from here on, where [`Hosted`] is the platform.
    pub fn set_cpu(cpu: usize) {
        CPU.with(|cell| cell.set(cpu));
    }

    /// Says how many CPUs this thread's machine has, where [`Hosted`] is the platform.
    pub fn set_cpus(count: usize) {
        get().hosted.cpus.store(count.clamp(1, crate::MAX_CPUS), SeqCst);
    }

    /// Sets the machine's clock, in ns, where [`Hosted`] is the platform.
    pub fn set_now(ns: u64) {
        get().hosted.now.store(ns, SeqCst);
    }

    /// Moves the machine's clock on, where [`Hosted`] is the platform.
    pub fn advance(ns: u64) {
        get().hosted.now.fetch_add(ns, SeqCst);
    }

    /// The CPUs that were rung since the last call, one bit each, where [`Hosted`] is the platform.
    pub fn take_rings() -> u64 {
        get().hosted.rings.swap(0, SeqCst)
    }

    /// Whether `cpu` was rung since the last call, where [`Hosted`] is the platform.
    pub fn take_ring(cpu: usize) -> bool {
        get().hosted.rings.fetch_and(!(1 << cpu), SeqCst) >> cpu & 1 != 0
    }

    /// A simulated machine for tests and examples; see [`hosted_platform!`](crate::hosted_platform).
    ///
    /// ```
    /// executor::hosted_platform!();
    /// # fn main() {
    /// use executor::{Platform, machine::{self, Hosted}};
    /// machine::set_now(5);
    /// assert_eq!(Hosted::now(), 5);
    /// # }
    /// ```
    #[derive(Debug)]
    pub struct Hosted;

    impl Platform for Hosted {
        fn cpu_id() -> usize {
            CPU.with(Cell::get)
        }
        fn cpu_count() -> usize {
            get().hosted.cpus.load(SeqCst)
        }
        fn now() -> u64 {
            get().hosted.now.load(SeqCst)
        }
        fn ring(cpu: usize) {
            get().hosted.rings.fetch_or(1 << cpu, SeqCst);
        }
    }
}
