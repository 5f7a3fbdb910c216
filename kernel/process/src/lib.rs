//! Threads and processes. A thread is one future ([`thread`]); what it shares with others hangs off
//! `Arc`s. How threads are born is in [`clone`], how they wait in [`wait`] and [`interrupt`], how they die in
//! [`exit`].
//!
//! The lock order is in [`base::rank`]: the tree lock (who is whose child, group and session
//! membership, who is a zombie) is outermost, then a process's own lock (threads, shared pending
//! signals, stop state), then the signal actions, then a thread's.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod alarm;
pub mod clone;
pub mod cpu_timers;
pub mod current;
pub mod dump;
pub mod exec;
pub mod exit;
pub mod fault;
pub mod futex;
pub mod inspect;
pub mod interrupt;
pub mod limits;
pub mod oom;
pub mod pid;
pub mod pidfd;
pub mod process;
mod reparent;
mod robust;
pub mod rseq;
pub mod signal;
pub mod signalfd;
pub mod thread;
pub mod timers;
pub mod times;
pub mod tree;
pub mod users;
pub mod wait;

pub use current::Current;
pub use pid::Pid;
pub use process::Process;
pub use signal::{Siginfo, Signal, SignalSet};
pub use thread::{Conditions, Thread};

#[cfg(test)]
executor::hosted_platform!();
