//! Which function answers which number.

use crate::abi;
use crate::args::Args;
use crate::legacy::OLD;
use crate::wait::Slow;
use crate::{
    adjtimex, capabilities, copying, creation, epolls, fcntl, files, futex, identity, io, kcmp, mapping, membarrier,
    mounts, names, openat2, ownership, pidfds, polling, prctl, rseq, sched_attr, scheduling, signals, sizes, sockets,
    stat, system, sysv, time, timers, unshare, xattr,
};
use base::{Errno, Result};
use core::sync::atomic::{AtomicU64, Ordering};
use process::Current;

/// The half of a call that does not wait.
pub type Fast = fn(&mut Current) -> Result<usize>;

/// A call.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Tried first.
    pub fast: Fast,
    /// Goes on where `fast` would have to wait.
    pub slow: Slow,
}

/// One more than the highest number that any call has.
pub const COUNT: usize = 512;

/// How often each unknown number was called (`/proc/pollux/unknown_syscalls`).
static UNKNOWN: [AtomicU64; COUNT + 1] = [const { AtomicU64::new(0) }; COUNT + 1];

fn unknown(current: &mut Current, _: &Args) -> Result<usize> {
    let number = current.cx.syscall_number().min(COUNT);
    UNKNOWN[number].fetch_add(1, Ordering::Relaxed);
    Err(Errno::ENOSYS.into())
}

/// Each unknown number that was called, and how often; numbers past the table count as one.
pub fn unknown_calls() -> impl Iterator<Item = (usize, u64)> {
    UNKNOWN
        .iter()
        .enumerate()
        .map(|(number, count)| (number, count.load(Ordering::Relaxed)))
        .filter(|(_, count)| *count > 0)
}

/// A call that never waits: a function of the thread and the arguments. (A macro, so that each call has a function of its own that
/// reads those of its arguments that it looks at.)
macro_rules! fast {
    ($call:expr) => {
        $crate::table::slow!($call, $crate::wait::Slow::Never)
    };
}
pub(crate) use fast;

/// A call that may wait: what is tried first, and what goes on.
macro_rules! slow {
    ($call:expr, $slow:expr) => {
        $crate::table::Entry {
            fast: |current| {
                let call: fn(&mut process::Current, &$crate::args::Args) -> base::Result<usize> = $call;
                call(current, &$crate::args::Args(current.cx.syscall_args()))
            },
            slow: $slow,
        }
    };
}
pub(crate) use slow;

/// Numbers and what answers them: each family of calls has such a list at its head.
pub type Calls = &'static [(u32, Entry)];

/// All families.
const FAMILIES: &[Calls] = &[
    creation::CALLS,
    identity::CALLS,
    scheduling::CALLS,
    signals::CALLS,
    system::CALLS,
    prctl::CALLS,
    capabilities::CALLS,
    sched_attr::CALLS,
    rseq::CALLS,
    membarrier::CALLS,
    openat2::CALLS,
    time::CALLS,
    timers::CALLS,
    futex::CALLS,
    files::CALLS,
    fcntl::CALLS,
    io::CALLS,
    sizes::CALLS,
    copying::CALLS,
    names::CALLS,
    ownership::CALLS,
    stat::CALLS,
    xattr::CALLS,
    mounts::CALLS,
    pidfds::CALLS,
    kcmp::CALLS,
    adjtimex::CALLS,
    polling::CALLS,
    epolls::CALLS,
    mapping::CALLS,
    sockets::CALLS,
    sysv::semaphores::CALLS,
    sysv::messages::CALLS,
    sysv::segments::CALLS,
    unshare::CALLS,
    abi::CALLS,
];

/// The table.
pub static TABLE: [Entry; COUNT] = {
    let mut table = [fast!(unknown); COUNT];
    let families = FAMILIES;
    let mut f = 0;
    while f < families.len() {
        let mut i = 0;
        while i < families[f].len() {
            let (number, entry) = families[f][i];
            table[number as usize] = entry;
            i += 1;
        }
        f += 1;
    }
    let mut i = 0;
    while i < OLD.len() {
        let (call, entry) = OLD[i];
        if let Some(number) = abi::old_number(call) {
            table[number as usize] = entry;
        }
        i += 1;
    }
    table
};
