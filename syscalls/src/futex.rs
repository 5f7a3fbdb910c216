//! futex(2).

use crate::args::Args;
use crate::creation::now;
use crate::fault;
use crate::table::{Calls, slow};
use crate::wait::Slow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::addr::VirtAddr;
use base::{Errno, Error, Restart, Result, Timespec};
use linux_raw_sys::general as raw;
use memory::try_pin;
use process::Current;
use process::current::Resume;
use process::futex::{self, pi};

/// The family.
pub const CALLS: Calls =
    &[(raw::__NR_futex, slow!(begin, Slow::Futex)), (raw::__NR_futex_waitv, slow!(now, Slow::FutexWaitv))];

/// The most futexes of one futex_waitv(2).
const MOST: usize = raw::FUTEX_WAITV_MAX as usize;

/// futex_waitv(2). The time limit is absolute.
pub async fn waitv(current: &mut Current, args: &Args) -> Result<usize> {
    const KNOWN: u32 = raw::FUTEX_PRIVATE_FLAG | raw::FUTEX_32;
    let count = args.uint(1) as usize;
    if args.uint(2) != 0 || !(1..=MOST).contains(&count) || args.size(0) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut deadline = None;
    if args.size(3) != 0 {
        let wall = match args.uint(4) {
            raw::CLOCK_REALTIME => true,
            raw::CLOCK_MONOTONIC => false,
            _ => return Err(Errno::EINVAL.into()),
        };
        let nanos = read_time(current, args).await?;
        deadline = Some(if wall { kernel::time::monotonic_of(nanos) } else { nanos });
    }
    let mut words = Vec::new();
    words.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for i in 0..count {
        // Value, address, flags and what is reserved.
        let [value, addr, flags] = loop {
            match args.ptr::<[u64; 3]>(0).add(i).read() {
                Ok(words) => break words,
                Err(page) => fault::resolve(current, page).await?,
            }
        };
        let (flags, reserved) = (flags as u32, flags >> 32);
        if flags & !KNOWN != 0 || flags & raw::FUTEX_32 == 0 || reserved != 0 {
            return Err(Errno::EINVAL.into());
        }
        let private = flags & raw::FUTEX_PRIVATE_FLAG != 0;
        words.push(futex::Word { addr: VirtAddr(addr as usize), value: value as u32, private });
    }
    futex::wait_any(current, &words, deadline).await
}

/// Waking on a private futex never waits; of waiting for one without a time limit this is the first half.
fn begin(current: &mut Current, args: &Args) -> Result<usize> {
    const WAKE: u32 = raw::FUTEX_WAKE | raw::FUTEX_PRIVATE_FLAG;
    const WAIT: u32 = raw::FUTEX_WAIT | raw::FUTEX_PRIVATE_FLAG;
    match args.uint(1) {
        WAIT if args.size(3) == 0 => futex::queue_private(current, args.addr(0), args.uint(2), futex::ANY).map(|()| 0),
        WAKE => futex::wake_private(current, args.addr(0), at_least_one(args.uint(2)), futex::ANY),
        _ => Err(Error::WouldBlock),
    }
}

/// futex(2).
pub async fn futex(current: &mut Current, args: &Args) -> Result<usize> {
    let operation = args.uint(1);
    let private = operation & raw::FUTEX_PRIVATE_FLAG != 0;
    let realtime = operation & raw::FUTEX_CLOCK_REALTIME != 0;
    let command = operation & !(raw::FUTEX_PRIVATE_FLAG | raw::FUTEX_CLOCK_REALTIME);
    let (addr, value) = (args.addr(0), args.uint(2));
    const TIMED: [u32; 4] = [raw::FUTEX_WAIT, raw::FUTEX_WAIT_BITSET, raw::FUTEX_WAIT_REQUEUE_PI, raw::FUTEX_LOCK_PI2];
    if realtime && !TIMED.contains(&command) {
        return Err(Errno::ENOSYS.into());
    }
    match command {
        raw::FUTEX_WAIT | raw::FUTEX_WAIT_BITSET => wait(current, args, command, private, realtime).await,
        raw::FUTEX_WAKE => futex::wake(current, addr, private, at_least_one(value), futex::ANY).await,
        raw::FUTEX_WAKE_BITSET => futex::wake(current, addr, private, at_least_one(value), args.uint(5)).await,
        raw::FUTEX_REQUEUE | raw::FUTEX_CMP_REQUEUE => requeue(current, args, command, private).await,
        raw::FUTEX_WAKE_OP => {
            let counts = (at_least_one(value), at_least_one(args.uint(3)));
            futex::wake_op(current, addr, args.addr(4), private, counts, args.uint(5)).await
        }
        _ => try_pin(|| inherit(current, args, command, private, realtime))?.await,
    }
}

/// The operations on priority-inheriting futexes. Time limits are absolute.
async fn inherit(current: &Current, args: &Args, command: u32, private: bool, realtime: bool) -> Result<usize> {
    let addr = args.addr(0);
    match command {
        raw::FUTEX_LOCK_PI | raw::FUTEX_LOCK_PI2 => {
            let deadline = deadline(current, args, realtime || command == raw::FUTEX_LOCK_PI).await?;
            pi::lock(current, addr, private, deadline, false).await?;
        }
        raw::FUTEX_TRYLOCK_PI => pi::lock(current, addr, private, None, true).await?,
        raw::FUTEX_UNLOCK_PI => pi::unlock(current, addr, private).await?,
        raw::FUTEX_WAIT_REQUEUE_PI => {
            let deadline = deadline(current, args, realtime).await?;
            pi::wait_requeue(current, addr, private, args.uint(2), deadline, args.addr(4)).await?;
        }
        raw::FUTEX_CMP_REQUEUE_PI => {
            if args.int(2) != 1 || args.int(3) < 0 {
                return Err(Errno::EINVAL.into());
            }
            return pi::requeue(current, addr, args.addr(4), private, args.uint(3), args.uint(5)).await;
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

/// An absolute time limit, if there is one. EINVAL, EFAULT.
async fn deadline(current: &Current, args: &Args, realtime: bool) -> Result<Option<u64>> {
    if args.size(3) == 0 {
        return Ok(None);
    }
    let nanos = read_time(current, args).await?;
    Ok(Some(if realtime { kernel::time::monotonic_of(nanos) } else { nanos }))
}

/// A count of zero wakes one all the same, as Linux has it.
fn at_least_one(count: u32) -> u32 {
    count.max(1)
}

async fn requeue(current: &mut Current, args: &Args, command: u32, private: bool) -> Result<usize> {
    if args.int(2) < 0 || args.int(3) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let compare = command == raw::FUTEX_CMP_REQUEUE;
    let expected = compare.then(|| args.uint(5));
    let (woken, moved) =
        futex::requeue(current, args.addr(0), args.addr(4), private, args.uint(2), args.uint(3), expected).await?;
    Ok(woken + moved)
}

async fn wait(current: &mut Current, args: &Args, command: u32, private: bool, realtime: bool) -> Result<usize> {
    let relative = command == raw::FUTEX_WAIT;
    let bitset = if relative { futex::ANY } else { args.uint(5) };
    let mut deadline = None;
    if args.size(3) != 0 {
        let nanos = read_time(current, args).await?;
        deadline = Some(match (relative, realtime) {
            (true, _) => kernel::time::monotonic().saturating_add(nanos),
            (false, true) => kernel::time::monotonic_of(nanos),
            (false, false) => nanos,
        });
    }
    let (addr, value) = (args.addr(0), args.uint(2));
    // With a time limit, of either kind, it goes on only where no handler runs.
    let restart = if deadline.is_some() { Restart::Resume } else { Restart::IfAsked };
    let result = futex::wait(current, addr, private, value, bitset, deadline, restart).await;
    if let (Err(Error::Interrupted(_)), Some(until)) = (&result, deadline) {
        current.resume = Some(Box::new(Resume::Futex { addr, value, until, bitset, private }));
    }
    result.map(|()| 0)
}

async fn read_time(current: &Current, args: &Args) -> Result<u64> {
    let time = loop {
        match args.ptr::<[i64; 2]>(3).read() {
            Ok([sec, nsec]) => break Timespec { sec, nsec },
            Err(page) => fault::resolve(current, page).await?,
        }
    };
    time.to_nanos().ok_or(Errno::EINVAL.into())
}
