//! System V IPC: semaphores, message queues, shared memory. What their control calls have in common is here.

pub mod messages;
pub mod segments;
pub mod semaphores;

use crate::args::Args;
use base::Result;
use ipc::{Caller, Permissions};
use memory::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use process::Current;

/// Commands of semctl(2), msgctl(2) and shmctl(2).
const IPC_RMID: u32 = 0;
const IPC_SET: u32 = 1;
const IPC_STAT: u32 = 2;
const IPC_INFO: u32 = 3;

/// Who calls.
fn caller(current: &Current) -> Caller<'_> {
    Caller { cred: &current.cred, process: current.thread.process.id() }
}

/// `struct ipc64_perm`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Perm {
    key: i32,
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    mode: u32,
    sequence: u32,
    padding: u32,
    unused: [u64; 2],
}

impl Perm {
    fn of(perm: &Permissions, id: i32) -> Perm {
        let Permissions { key, uid, gid, cuid, cgid, mode } = *perm;
        let sequence = id as u32 / ipc::limits::MOST as u32;
        Perm { key, uid, gid, cuid, cgid, mode, sequence, padding: 0, unused: [0; 2] }
    }
}

/// A structure that begins with permissions and goes on in words.
struct Record<const WORDS: usize> {
    perm: Perm,
    rest: [u64; WORDS],
}

impl<const WORDS: usize> Record<WORDS> {
    /// What IPC_SET is given as argument `i`.
    fn read(args: &Args, i: usize) -> Result<Record<WORDS>> {
        let perm = args.ptr::<Perm>(i);
        Ok(Record { perm: perm.read()?, rest: perm.add(1).cast::<[u64; WORDS]>().read()? })
    }

    /// What a `*_STAT` gives as argument `i`.
    fn write(&self, args: &Args, i: usize) -> Result<()> {
        let perm = args.ptr::<Perm>(i);
        perm.write(&self.perm)?;
        Ok(perm.add(1).cast::<[u64; WORDS]>().write(&self.rest)?)
    }
}
