//! /proc/sysvipc (proc(5)).

use crate::registry::index_of;
use crate::{msg, sem, shm};
use core::fmt::{Result, Write};

const SEM_HEAD: &str = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime";
const MSG_HEAD: &str = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      \
                        stime      rtime      ctime";
const SHM_HEAD: &str = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      \
                        atime      dtime      ctime                   rss                  swap";

/// Calls `show` for every object of a registry, a batch at a time.
macro_rules! each {
    ($registry:expr, |$id:ident, $object:ident| $show:expr) => {{
        let mut index = 0;
        loop {
            let batch = $registry.from(index);
            let Some((last, _)) = batch.last() else { return Ok(()) };
            index = index_of(*last) + 1;
            for ($id, $object) in &batch {
                $show
            }
        }
    }};
}

/// The semaphore sets.
pub fn sem(out: &mut dyn Write) -> Result {
    writeln!(out, "{SEM_HEAD}")?;
    each!(sem::SETS, |id, set| {
        if let Ok(sem::Status { perm, operated, changed, count }) = set.status(None) {
            write!(out, "{:10} {id:10}  {:4o} {count:10}", perm.key, perm.mode)?;
            write!(out, " {:5} {:5} {:5} {:5}", perm.uid, perm.gid, perm.cuid, perm.cgid)?;
            writeln!(out, " {operated:10} {changed:10}")?;
        }
    })
}

/// The message queues.
pub fn msg(out: &mut dyn Write) -> Result {
    writeln!(out, "{MSG_HEAD}")?;
    each!(msg::QUEUES, |id, queue| {
        if let Ok(status) = queue.status(None) {
            let perm = status.perm;
            write!(out, "{:10} {id:10}  {:4o}", perm.key, perm.mode)?;
            write!(out, "  {:10} {:10} {:5} {:5}", status.bytes, status.messages, status.sender, status.receiver)?;
            write!(out, " {:5} {:5} {:5} {:5}", perm.uid, perm.gid, perm.cuid, perm.cgid)?;
            writeln!(out, " {:10} {:10} {:10}", status.sent, status.received, status.changed)?;
        }
    })
}

/// The segments. Nothing of them is swapped.
pub fn shm(out: &mut dyn Write) -> Result {
    writeln!(out, "{SHM_HEAD}")?;
    each!(shm::SEGMENTS, |id, segment| {
        if let Ok(status) = segment.status(None) {
            let perm = status.perm;
            write!(out, "{:10} {id:10}  {:4o} {:21}", perm.key, perm.mode, status.size)?;
            write!(out, " {:5} {:5}  {:5}", status.creator, status.process, status.count)?;
            write!(out, " {:5} {:5} {:5} {:5}", perm.uid, perm.gid, perm.cuid, perm.cgid)?;
            write!(out, " {:10} {:10} {:10}", status.attached, status.detached, status.changed)?;
            writeln!(out, " {:21} {:21}", status.resident, 0)?;
        }
    })
}
