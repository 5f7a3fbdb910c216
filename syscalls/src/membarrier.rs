//! membarrier(2): a full memory barrier on other CPUs, so that the fast side of a program needs none.

use crate::args::Args;
use crate::table::{Calls, slow};
use crate::wait::Slow;
use base::{Errno, Error, Result};
use linux_raw_sys::general as nr;
use memory::space::Marks;
use memory::tlb;
use process::Current;

/// The family.
pub const CALLS: Calls = &[(nr::__NR_membarrier, slow!(begin, Slow::Membarrier))];

// `enum membarrier_cmd`.
const QUERY: u32 = 0;
const GLOBAL: u32 = 1;
const GLOBAL_EXPEDITED: u32 = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: u32 = 1 << 2;
const PRIVATE_EXPEDITED: u32 = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: u32 = 1 << 4;
/// Barriers that also serialize each core's instruction stream, and those that restart sequences, are not offered.
const OFFERED: u32 =
    GLOBAL | GLOBAL_EXPEDITED | REGISTER_GLOBAL_EXPEDITED | PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED;

/// Answers what needs no barrier: EINVAL for unknown commands and for flags, EPERM for a process that is not registered.
fn begin(current: &mut Current, args: &Args) -> Result<usize> {
    let (command, flags) = (args.uint(0), args.uint(1));
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let space = &current.space;
    match command {
        QUERY => Ok(OFFERED as usize),
        REGISTER_GLOBAL_EXPEDITED => {
            space.mark(Marks::GLOBAL_BARRIERS, true);
            Ok(0)
        }
        REGISTER_PRIVATE_EXPEDITED => {
            space.mark(Marks::PRIVATE_BARRIERS, true);
            Ok(0)
        }
        PRIVATE_EXPEDITED if !space.marks().contains(Marks::PRIVATE_BARRIERS) => Err(Errno::EPERM.into()),
        PRIVATE_EXPEDITED | GLOBAL | GLOBAL_EXPEDITED => Err(Error::WouldBlock),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Waits for the CPUs.
pub async fn barrier(current: &Current, args: &Args) -> Result<usize> {
    if args.uint(0) == PRIVATE_EXPEDITED {
        current.space.barrier().await;
    } else {
        // Those that registered are among those who run.
        let cpus = kernel::cpu::count();
        tlb::barrier_on(if cpus >= 64 { u64::MAX } else { (1 << cpus) - 1 }).await;
    }
    Ok(0)
}
