//! The Linux ABI: system call numbers ([`abi`], [`table`]), what a thread does between two of them ([`run`]), and one
//! file per family of calls.
//!
//! Most calls are plain functions that never wait: `fn(&mut Current, &Args) -> Result<usize>`. One that touches absent
//! user memory returns [`base::Error::Fault`] and is called again once the fault is resolved, so it must not
//! have had an effect by then. One that would wait returns [`base::Error::WouldBlock`] and goes on in
//! [`wait`], where the few calls that can wait have an async half. Errors become errno in [`run`] and nowhere else.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod abi;
mod adjtimex;
mod apart;
mod args;
mod bounds;
mod capabilities;
mod children;
mod copying;
mod coredump;
pub mod creation;
mod epolls;
mod execution;
mod fault;
mod fcntl;
mod files;
mod frame;
mod futex;
mod identity;
mod io;
mod kcmp;
mod legacy;
mod mapping;
mod membarrier;
mod mounts;
mod names;
mod openat2;
mod ownership;
mod park;
mod paths;
mod pidfds;
mod polling;
mod prctl;
mod records;
mod rseq;
pub mod run;
mod sched_attr;
mod scheduling;
mod select;
mod signals;
mod sizes;
mod sockets;
mod stat;
mod system;
mod sysv;
mod table;
mod tick;
mod time;
mod timers;
mod transfer;
mod unshare;
mod wait;
mod xattr;

pub use args::Args;
pub use execution::start_first;
