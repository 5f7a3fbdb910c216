//! shmget(2), shmat(2), shmdt(2), shmctl(2).

use super::{IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, Perm, Record, caller};
use crate::args::Args;
use crate::creation::now;
use crate::mapping;
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use arch::addr::{PAGE_SIZE, VirtAddr};
use base::{Errno, Result};
use ipc::shm::{self, SEGMENTS, Segment, Totals};
use ipc::{ById, limits, perm};
use linux_raw_sys::general as nr;
use memory::space::{Flags, MapRequest, Place};
use process::Current;
use process::limits::Resource;

/// The family.
pub const CALLS: Calls = &[
    (nr::__NR_shmget, fast!(get)),
    (nr::__NR_shmctl, fast!(control)),
    (nr::__NR_shmat, slow!(now, Slow::Shmat)),
    (nr::__NR_shmdt, slow!(now, Slow::Shmdt)),
];

/// Commands of shmctl(2).
const SHM_LOCK: u32 = 11;
const SHM_UNLOCK: u32 = 12;
const SHM_STAT: u32 = 13;
const SHM_INFO: u32 = 14;
const SHM_STAT_ANY: u32 = 15;

/// Flags of shmat(2).
const SHM_RDONLY: u32 = 0o10000;
const SHM_RND: u32 = 0o20000;
const SHM_REMAP: u32 = 0o40000;
const SHM_EXEC: u32 = 0o100000;

/// shmget(2).
fn get(current: &mut Current, args: &Args) -> Result<usize> {
    Ok(shm::get(&caller(current), args.int(0), args.size(1), args.uint(2))? as usize)
}

/// shmat(2): gives the address. EINVAL, EIDRM, EACCES, ENOMEM.
pub async fn attach(current: &mut Current, args: &Args) -> Result<usize> {
    let (id, flags) = (args.int(0), args.uint(2));
    let (at, replaces) = (place(args.size(1), flags)?, flags & SHM_REMAP != 0);
    let segment = SEGMENTS.find(ById::Id(id))?;
    let mut may = Flags::READ | Flags::MAY_READ | Flags::MAY_EXEC;
    let mut wanted = perm::READ;
    if flags & SHM_RDONLY == 0 {
        may |= Flags::WRITE | Flags::MAY_WRITE;
        wanted |= perm::WRITE;
    }
    if flags & SHM_EXEC != 0 {
        may |= Flags::EXEC;
        wanted |= perm::EXEC;
    }
    segment.check(&caller(current), wanted)?;
    let place = match at {
        None => Place::Hint(VirtAddr(0)),
        Some(at) if replaces => Place::Fixed(at),
        Some(at) => Place::Free(at),
    };
    let len = segment.size();
    let flags = may | Flags::SHARED | Flags::ATTACHED;
    let request = MapRequest { place, len, flags, object: Some((segment, 0)), populate: false };
    match current.space.map(request, &mapping::limits(current)).await {
        Ok(at) => Ok(at.0),
        Err(Errno::EEXIST) => Err(Errno::EINVAL.into()),
        Err(other) => Err(other.into()),
    }
}

/// Where a segment goes; `None` for anywhere. EINVAL.
fn place(addr: usize, flags: u32) -> Result<Option<VirtAddr>> {
    let replaces = flags & SHM_REMAP != 0;
    let mut at = addr;
    if !at.is_multiple_of(PAGE_SIZE) {
        if flags & SHM_RND == 0 {
            return Err(Errno::EINVAL.into());
        }
        at -= at % PAGE_SIZE;
    }
    match at {
        0 if replaces => Err(Errno::EINVAL.into()),
        0 => Ok(None),
        _ => Ok(Some(VirtAddr(at))),
    }
}

/// shmdt(2). EINVAL.
pub async fn detach(current: &mut Current, args: &Args) -> Result<usize> {
    current.space.detach(args.addr(0)).await?;
    Ok(0)
}

/// shmctl(2).
fn control(current: &mut Current, args: &Args) -> Result<usize> {
    let (id, command) = (args.int(0), args.uint(1));
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let who = &caller(current);
    let find = || SEGMENTS.find(ById::Id(id));
    match command {
        IPC_INFO => limits_of_all(args),
        SHM_INFO => use_of_all(args),
        IPC_STAT => status(args, &*find()?, Some(who)).map(|_| 0),
        SHM_STAT => status(args, &*SEGMENTS.find(ById::Index(id))?, Some(who)),
        SHM_STAT_ANY => status(args, &*SEGMENTS.find(ById::Index(id))?, None),
        IPC_SET => {
            let Record { perm, .. } = Record::<TAIL>::read(args, 2)?;
            find()?.set(who, perm.uid, perm.gid, perm.mode)?;
            Ok(0)
        }
        IPC_RMID => Ok(find()?.remove(who).map(|()| 0)?),
        SHM_LOCK | SHM_UNLOCK => {
            let limit = current.thread.limit(Resource::Memlock);
            find()?.lock(who, command == SHM_LOCK, limit)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Words of `struct shmid64_ds` behind its permissions.
const TAIL: usize = 8;

/// IPC_STAT and its like; gives the id.
fn status(args: &Args, segment: &Segment, who: Option<&ipc::Caller>) -> Result<usize> {
    let status = segment.status(who)?;
    let processes = u64::from(status.creator) | u64::from(status.process) << 32;
    let rest = [
        status.size as u64,
        status.attached as u64,
        status.detached as u64,
        status.changed as u64,
        processes,
        status.count as u64,
        0,
        0,
    ];
    Record::<TAIL> { perm: Perm::of(&status.perm, segment.id()), rest }.write(args, 2)?;
    Ok(segment.id() as usize)
}

/// IPC_INFO: `struct shminfo64`; gives the highest index in use.
fn limits_of_all(args: &Args) -> Result<usize> {
    let (segments, pages) = (limits::SHMMNI.get(), limits::SHMALL.get());
    args.ptr::<[u64; 9]>(2).write(&[limits::SHMMAX.get(), 1, segments, segments, pages, 0, 0, 0, 0])?;
    Ok(Totals::now().highest)
}

/// SHM_INFO: `struct shm_info`; gives the highest index in use. Nothing is swapped.
fn use_of_all(args: &Args) -> Result<usize> {
    let totals = Totals::now();
    args.ptr::<[u64; 6]>(2).write(&[totals.segments as u64, totals.pages, totals.resident, 0, 0, 0])?;
    Ok(totals.highest)
}
