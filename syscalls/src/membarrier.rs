//! membarrier(2): a full memory barrier on other CPUs, so that the fast side of a program needs none; there, too, instructions
//! fetched anew, or restartable sequences begun anew.

use crate::args::Args;
use crate::paths::check_flags;
use crate::table::{Calls, slow};
use crate::wait::Slow;
use alloc::sync::Arc;
use base::{Errno, Error, Result};
use linux_raw_sys::general as nr;
use memory::space::Marks;
use memory::tlb;
use process::thread::Conditions;
use process::{Current, Process, pid};

/// The family.
pub const CALLS: Calls = &[(nr::__NR_membarrier, slow!(begin, Slow::Membarrier))];

// `enum membarrier_cmd`.
const QUERY: u32 = 0;
const GLOBAL: u32 = 1;
const GLOBAL_EXPEDITED: u32 = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: u32 = 1 << 2;
const PRIVATE_EXPEDITED: u32 = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: u32 = 1 << 4;
const PRIVATE_EXPEDITED_SYNC_CORE: u32 = 1 << 5;
const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: u32 = 1 << 6;
const PRIVATE_EXPEDITED_RSEQ: u32 = 1 << 7;
const REGISTER_PRIVATE_EXPEDITED_RSEQ: u32 = 1 << 8;

/// What there is of it.
const OFFERED: u32 = (REGISTER_PRIVATE_EXPEDITED_RSEQ << 1) - 1;

/// MEMBARRIER_CMD_FLAG_CPU: the third argument says which CPU is meant.
const FLAG_CPU: u32 = 1;

/// What a process registers for, by the command.
fn registration(command: u32) -> Option<Marks> {
    Some(match command {
        REGISTER_GLOBAL_EXPEDITED => Marks::GLOBAL_BARRIERS,
        REGISTER_PRIVATE_EXPEDITED => Marks::PRIVATE_BARRIERS,
        REGISTER_PRIVATE_EXPEDITED_SYNC_CORE => Marks::CORE_BARRIERS,
        REGISTER_PRIVATE_EXPEDITED_RSEQ => Marks::SEQUENCE_BARRIERS,
        _ => return None,
    })
}

/// What it has to be registered for.
fn needed(command: u32) -> Result<Marks> {
    Ok(match command {
        GLOBAL | GLOBAL_EXPEDITED => Marks::empty(),
        PRIVATE_EXPEDITED => Marks::PRIVATE_BARRIERS,
        PRIVATE_EXPEDITED_SYNC_CORE => Marks::CORE_BARRIERS,
        PRIVATE_EXPEDITED_RSEQ => Marks::SEQUENCE_BARRIERS,
        _ => return Err(Errno::EINVAL.into()),
    })
}

/// Answers what needs no barrier: EINVAL for unknown commands and for flags, EPERM for a process that is not registered.
fn begin(current: &mut Current, args: &Args) -> Result<usize> {
    let (command, flags) = (args.uint(0), args.uint(1));
    check_flags(flags, if command == PRIVATE_EXPEDITED_RSEQ { FLAG_CPU } else { 0 })?;
    if command == QUERY {
        return Ok(OFFERED as usize);
    }
    if let Some(mark) = registration(command) {
        current.space.mark(mark, true);
        return Ok(0);
    }
    if !current.space.marks().contains(needed(command)?) {
        return Err(Errno::EPERM.into());
    }
    Err(Error::WouldBlock)
}

/// Waits for the CPUs.
pub async fn barrier(current: &Current, args: &Args) -> Result<usize> {
    let cpus = kernel::cpu::count();
    match args.uint(0) {
        PRIVATE_EXPEDITED => current.space.barrier().await,
        PRIVATE_EXPEDITED_SYNC_CORE => current.space.refetch().await,
        // A CPU that is not there runs nothing.
        PRIVATE_EXPEDITED_RSEQ if args.uint(1) & FLAG_CPU != 0 && args.int(2) >= cpus as i32 => {}
        PRIVATE_EXPEDITED_RSEQ => {
            abort_sequences(current).await;
            current.space.barrier().await;
        }
        // Those that registered are among those who run.
        _ => tlb::barrier_on(if cpus >= 64 { u64::MAX } else { (1 << cpus) - 1 }).await,
    }
    Ok(0)
}

/// Has each thread in the caller's memory abort the sequence that it is in before its program goes on. One that runs does so once
/// it is interrupted. (Also where one CPU is meant: a sequence may be aborted at any time.)
async fn abort_sequences(current: &Current) {
    let abort = |process: &Process| {
        let shared = process.shared.lock();
        for thread in shared.threads.values() {
            thread.set(Conditions::RSEQ);
        }
        shared.threads.len()
    };
    let own = &current.thread.process;
    let threads = abort(own);
    // A thread and its record each hold the space.
    if Arc::strong_count(&current.space) <= 2 * threads {
        return;
    }
    let mut budget = executor::Budget::new(64);
    for process in pid::processes(1) {
        let space = process.any_thread().and_then(|thread| thread.view.lock().space.clone());
        if space.is_some_and(|space| Arc::ptr_eq(&space, &current.space)) && !Arc::ptr_eq(&process, own) {
            abort(&process);
        }
        budget.spend(1).await;
    }
}
