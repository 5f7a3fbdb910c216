//! What the executor asks of the machine, resolved at link time.
//!
//! The hooks are plain symbols and not a table of functions, so that link-time
//! optimisation puts "read the CPU number" into the run queue's code as the one
//! instruction that it is. Exactly one crate of a program calls [`platform!`](crate::platform).
#![allow(unsafe_code)] // The hooks are symbols of another crate.

/// The machine below the executor.
///
/// ```
/// struct Machine;
/// impl executor::Platform for Machine {
///     fn cpu_id() -> usize { 0 }
///     fn cpu_count() -> usize { 1 }
///     fn now() -> u64 { 0 }
///     fn ring(_cpu: usize) {}
/// }
/// executor::platform!(Machine);
/// # fn main() { assert!(!executor::has_work()); }
/// ```
pub trait Platform {
    /// The number of the CPU that runs this code, below [`cpu_count`](Platform::cpu_count).
    fn cpu_id() -> usize;
    /// How many CPUs the machine has, at most [`MAX_CPUS`](crate::MAX_CPUS). Never changes.
    fn cpu_count() -> usize;
    /// Monotonic time in nanoseconds.
    fn now() -> u64;
    /// Sends an interrupt to `cpu`, which ends its halt or its stay in user mode.
    fn ring(cpu: usize);
    /// The task that this CPU is about to poll ran, or was to run, on another one before.
    fn arrived() {}
    /// This CPU is about to poll a task, `now` being the time in nanoseconds, and has had none to poll before.
    fn resumed(_now: u64) {}
}

/// The symbols that [`platform!`](crate::platform) defines.
pub mod hooks {
    // SAFETY: the signatures are those that `platform!` writes, and a program that does not
    // call it does not link.
    unsafe extern "Rust" {
        /// [`Platform::cpu_id`](super::Platform::cpu_id).
        pub safe fn __executor_cpu_id() -> usize;
        /// [`Platform::cpu_count`](super::Platform::cpu_count).
        pub safe fn __executor_cpu_count() -> usize;
        /// [`Platform::now`](super::Platform::now).
        pub safe fn __executor_now() -> u64;
        /// [`Platform::ring`](super::Platform::ring).
        pub safe fn __executor_ring(cpu: usize);
        /// [`Platform::arrived`](super::Platform::arrived).
        pub safe fn __executor_arrived();
        /// [`Platform::resumed`](super::Platform::resumed).
        pub safe fn __executor_resumed(now: u64);
    }
}

#[inline(always)]
#[cfg_attr(loom, expect(dead_code))]
pub(crate) fn cpu_id() -> usize {
    hooks::__executor_cpu_id()
}
#[inline(always)]
#[cfg_attr(loom, expect(dead_code))]
pub(crate) fn cpu_count() -> usize {
    hooks::__executor_cpu_count()
}
#[inline(always)]
#[cfg_attr(loom, expect(dead_code))]
pub(crate) fn now() -> u64 {
    hooks::__executor_now()
}
#[inline(always)]
#[cfg_attr(loom, expect(dead_code))]
pub(crate) fn ring(cpu: usize) {
    hooks::__executor_ring(cpu)
}

#[inline(always)]
#[cfg_attr(loom, expect(dead_code))]
pub(crate) fn arrived() {
    hooks::__executor_arrived()
}

#[inline(always)]
#[cfg_attr(loom, expect(dead_code))]
pub(crate) fn resumed(now: u64) {
    hooks::__executor_resumed(now)
}

/// Makes a type the program's [`Platform`].
#[macro_export]
macro_rules! platform {
    ($machine:ty) => {
        const _: () = {
            #[unsafe(no_mangle)]
            fn __executor_cpu_id() -> usize {
                <$machine as $crate::Platform>::cpu_id()
            }
            #[unsafe(no_mangle)]
            fn __executor_cpu_count() -> usize {
                <$machine as $crate::Platform>::cpu_count()
            }
            #[unsafe(no_mangle)]
            fn __executor_now() -> u64 {
                <$machine as $crate::Platform>::now()
            }
            #[unsafe(no_mangle)]
            fn __executor_ring(cpu: usize) {
                <$machine as $crate::Platform>::ring(cpu)
            }
            #[unsafe(no_mangle)]
            fn __executor_arrived() {
                <$machine as $crate::Platform>::arrived()
            }
            #[unsafe(no_mangle)]
            fn __executor_resumed(now: u64) {
                <$machine as $crate::Platform>::resumed(now)
            }
        };
    };
}

/// Makes the simulated machine of [`machine`](crate::machine) the platform of a test or of an
/// example on the development machine: one CPU per thread that the test chooses, a clock that
/// it sets, and rings that it can read.
#[cfg(not(target_os = "none"))]
#[macro_export]
macro_rules! hosted_platform {
    () => {
        $crate::platform!($crate::machine::Hosted);
    };
}
