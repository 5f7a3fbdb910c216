//! The per-CPU executor: run queues, tasks, wakers, timers, wait queues and locks.
//!
//! It knows nothing of Linux and nothing of a machine but what [`Platform`] says. Each CPU's main
//! loop calls [`fire_timers`] and [`run_next`], and [`enter_idle`] before it halts.
//!
//! A task, in async-task's terms (SCHEDULED and RUNNING are bits of one atomic word):
//!
//! ```text
//!            spawn
//!              │
//!              ▼   run_next                    Ready
//!   wake ─► queued ─────────► running ───────────────────► done
//!    ▲         ▲               │    │ wake
//!    │         │      Pending  │    ▼
//!    │         │               │   woken while running
//!    │         │               │    │ Pending: to the tail (yield_now), or the
//!    │         └───────────────┼────┘ head with its slice not used up (preempt)
//!    └───────── idle ◄─────────┘
//! ```
//!
//! An idle task is on no queue: its waker is in a wait queue, a timer or a lock. A queued task is
//! in its CPU's wake slot, real-time or fair part, in its inbox, or on the way to another CPU.
//!
//! Where to read on: `cpu` (choosing, waking, stealing), `balance`, `runqueue` and `calendar` (the order),
//! `inbox` and `idle` (what CPUs say to each other, and the memory order), `wait` and `list` (wait
//! queues), `lock`, `heap` and `timer`. `unsafe` is in `fifo`, `list`, `heap`, `spin`, `ring`,
//! `current`, the platform's symbols, and the pin projections of `wait`, `timer` and `lock`.
//!
//! Lock order: the executor's spin locks have the highest ranks ([`spin::Rank::EXECUTOR`] up), so a
//! wake or a notification may be issued under any lock of the kernel. No lock of the executor is
//! held while a waker, an observer or a timer's callback runs.
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod completion;
mod inbox;
mod list;
mod lock;
mod platform;
pub mod spin;
mod sync;
mod wait;

// The scheduler's state is static (loom's atomics cannot be), so the models
// exercise its parts: the inbox, the idle handshake and the wait queue.
#[cfg(not(loom))]
mod balance;
#[cfg(not(loom))]
mod budget;
#[cfg(not(loom))]
mod calendar;
#[cfg(not(loom))]
mod cpu;
#[cfg(not(loom))]
mod current;
#[cfg(not(loom))]
mod fifo;
#[cfg(not(loom))]
mod heap;
mod idle;
#[cfg(not(loom))]
pub mod machine;
#[cfg(not(loom))]
mod ring;
#[cfg(not(loom))]
mod runqueue;
#[cfg(not(loom))]
mod sched;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
mod timer;
#[cfg(not(loom))]
pub mod trace;
mod yields;

pub use completion::{Completion, Event};
pub use lock::{Mutex, MutexGuard, ReadGuard, RwLock, WriteGuard};
pub use platform::Platform;
#[doc(hidden)]
pub use platform::hooks as __hooks;
pub use wait::{ALL, Arrival, Awaited, Observer, ObserverId, Wait, WaitQueue};
pub use yields::{YieldNow, yield_now};

#[cfg(not(loom))]
pub use budget::Budget;
#[cfg(not(loom))]
pub use cpu::{
    Step, account, current_cpu_time, disturb, enter_idle, has_work, is_alone, is_quiet, is_settled, leave_idle,
    need_resched, next_deadline, run_next, runnable, slice_end, start,
};
#[cfg(not(loom))]
pub use sched::{Class, RtPolicy, SchedParams};
#[cfg(not(loom))]
pub use task::{Task, spawn, spawn_with};
#[cfg(not(loom))]
pub use timer::{Elapsed, Expire, Sleep, Timeout, Timer, fire_timers, sleep_until, timeout_at};
#[cfg(not(loom))]
pub use yields::{Preempt, preempt};

/// The largest number of CPUs that the executor serves.
pub const MAX_CPUS: usize = 64;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
