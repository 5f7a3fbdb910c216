//! semget(2), semop(2), semtimedop(2), semctl(2).

use super::{IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, Perm, Record, caller};
use crate::abi;
use crate::args::Args;
use crate::fault;
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use base::{Errno, Error, Restart, Result, Timespec};
use ipc::sem::{self, Op, Operations, Outcome, SETS, Set, Totals};
use ipc::{ById, limits};
use linux_raw_sys::general as nr;
use process::Current;

/// The family.
pub const CALLS: Calls = &[
    (nr::__NR_semget, fast!(get)),
    (nr::__NR_semctl, fast!(control)),
    (nr::__NR_semop, slow!(|current, args| begin(current, args, false), Slow::Semop)),
    (nr::__NR_semtimedop, slow!(|current, args| begin(current, args, true), Slow::Semtimedop)),
];

/// Commands of semctl(2).
const GETPID: u32 = 11;
const GETVAL: u32 = 12;
const GETALL: u32 = 13;
const GETNCNT: u32 = 14;
const GETZCNT: u32 = 15;
const SETVAL: u32 = 16;
const SETALL: u32 = 17;
const SEM_STAT: u32 = 18;
const SEM_INFO: u32 = 19;
const SEM_STAT_ANY: u32 = 20;

/// semget(2).
fn get(current: &mut Current, args: &Args) -> Result<usize> {
    Ok(sem::get(&caller(current), args.int(0), args.int(1), args.uint(2))? as usize)
}

/// The operations, and how long to wait for them in nanoseconds. E2BIG, EINVAL.
fn read(args: &Args, timed: bool) -> Result<(Operations, Option<u64>)> {
    let mut limit = None;
    if timed && args.size(3) != 0 {
        let [sec, nsec] = args.ptr::<[i64; 2]>(3).read()?;
        limit = Some(Timespec { sec, nsec });
    }
    let count = args.uint(2) as usize;
    if count < 1 || args.int(0) < 0 {
        return Err(Errno::EINVAL.into());
    }
    if count as u64 > limits::SEMOPM.get() {
        return Err(Errno::E2BIG.into());
    }
    let mut ops = Operations::new(count)?;
    args.ptr::<Op>(1).read_slice(ops.slots())?;
    let nanos = limit.map(|limit| limit.to_nanos().ok_or(Errno::EINVAL)).transpose()?;
    Ok((ops, nanos))
}

/// What need not wait.
fn begin(current: &mut Current, args: &Args, timed: bool) -> Result<usize> {
    let (ops, _) = read(args, timed)?;
    let list = ops.undo().then(|| current.undo_list().clone());
    let set = SETS.find(ById::Id(args.int(0)))?;
    match set.operate(&caller(current), ops, list.as_deref(), false)? {
        Some(_) => Ok(0),
        None => Err(Error::WouldBlock),
    }
}

/// semop(2), and semtimedop(2) with `timed`, which fails with EAGAIN when the time is up. A signal ends the wait with EINTR, whether
/// a handler runs or not.
pub async fn finish(current: &mut Current, args: &Args, timed: bool) -> Result<usize> {
    let (ops, limit) = loop {
        match read(args, timed) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    let deadline = limit.map(|nanos| kernel::time::monotonic().saturating_add(nanos));
    let list = ops.undo().then(|| current.undo_list().clone());
    let set = SETS.find(ById::Id(args.int(0)))?;
    let outcome = set.operate(&caller(current), ops, list.as_deref(), true)?;
    let Some(Outcome::Waits(sleeping)) = outcome else { return Ok(0) };
    let finished = sleeping.finished();
    let ended = match deadline {
        None => current.thread.interruptible(Restart::Never, finished).await.map(Some),
        Some(at) => {
            let timed = executor::timeout_at(at, finished);
            current.thread.interruptible(Restart::Never, timed).await.map(core::result::Result::ok)
        }
    };
    let why = match ended {
        Ok(Some(result)) => return Ok(result.map(|()| 0)?),
        Ok(None) => Errno::EAGAIN.into(),
        Err(interrupted) => interrupted,
    };
    // They may have happened by now; then nothing has come between.
    match sleeping.give_up() {
        Some(result) => Ok(result.map(|()| 0)?),
        None => Err(why),
    }
}

/// semctl(2).
fn control(current: &mut Current, args: &Args) -> Result<usize> {
    let (id, number, command) = (args.int(0), args.int(1), args.uint(2));
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let who = &caller(current);
    let find = || SETS.find(ById::Id(id));
    let number = || usize::try_from(number).map_err(|_| Errno::EINVAL);
    match command {
        IPC_INFO | SEM_INFO => info(args, command == SEM_INFO),
        IPC_STAT => status(args, &*find()?, Some(who)).map(|_| 0),
        SEM_STAT => status(args, &*SETS.find(ById::Index(id))?, Some(who)),
        SEM_STAT_ANY => status(args, &*SETS.find(ById::Index(id))?, None),
        IPC_SET => {
            let Record { perm, .. } = Record::<{ TAIL }>::read(args, 3)?;
            find()?.set(who, perm.uid, perm.gid, perm.mode)?;
            Ok(0)
        }
        IPC_RMID => Ok(find()?.remove(who).map(|()| 0)?),
        GETVAL => Ok(find()?.value(who, number()?)?),
        GETPID => Ok(find()?.last_process(who, number()?)?),
        GETNCNT => Ok(find()?.waiters(who, number()?, false)?),
        GETZCNT => Ok(find()?.waiters(who, number()?, true)?),
        // The value is an int in a union that is as wide as a pointer.
        SETVAL => {
            let value = args.int(3);
            if !(0..=sem::MAX_VALUE).contains(&value) {
                return Err(Errno::ERANGE.into());
            }
            Ok(find()?.set_value(who, number()?, value).map(|()| 0)?)
        }
        GETALL => {
            args.ptr::<u16>(3).write_slice(&find()?.values(who)?)?;
            Ok(0)
        }
        SETALL => {
            let set = find()?;
            set.check_alter(who)?;
            let values = args.ptr::<u16>(3).read_vec(set.count())?;
            Ok(set.set_values(who, &values).map(|()| 0)?)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Words of `struct semid64_ds` behind its permissions.
const TAIL: usize = size_of_val(&abi::semaphore_status(0, 0, 0)) / 8;

/// IPC_STAT and its like; gives the id.
fn status(args: &Args, set: &Set, who: Option<&ipc::Caller>) -> Result<usize> {
    let status = set.status(who)?;
    let rest = abi::semaphore_status(status.operated, status.changed, status.count);
    Record { perm: Perm::of(&status.perm, set.id()), rest }.write(args, 3)?;
    Ok(set.id() as usize)
}

/// IPC_INFO and SEM_INFO: `struct seminfo`; gives the highest index in use.
fn info(args: &Args, of_use: bool) -> Result<usize> {
    // What Linux gives for limits that it does not have.
    const SEMUSZ: i32 = 20;
    let limit = |limit: &limits::Limit| i32::try_from(limit.get()).unwrap_or(i32::MAX);
    let (all, ops) = (limit(&limits::SEMMNS), limit(&limits::SEMOPM));
    let totals = Totals::now();
    let (sets, semaphores) = match of_use {
        true => (totals.sets as i32, totals.semaphores as i32),
        false => (SEMUSZ, sem::MAX_VALUE),
    };
    let info =
        [all, limit(&limits::SEMMNI), all, all, limit(&limits::SEMMSL), ops, ops, sets, sem::MAX_VALUE, semaphores];
    args.ptr::<[i32; 10]>(3).write(&info)?;
    Ok(totals.highest)
}
