//! msgget(2), msgsnd(2), msgrcv(2), msgctl(2).

use super::{IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, Perm, Record, caller};
use crate::args::Args;
use crate::creation::now;
use crate::fault;
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use base::{Errno, Error, Restart, Result};
use ipc::msg::{self, Found, Message, Outcome, QUEUES, Queue, Request, Totals};
use ipc::{ById, NOWAIT, limits};
use linux_raw_sys::general as nr;
use process::Current;

/// The family.
pub const CALLS: Calls = &[
    (nr::__NR_msgget, fast!(get)),
    (nr::__NR_msgctl, fast!(control)),
    (nr::__NR_msgsnd, slow!(now, Slow::Msgsnd)),
    (nr::__NR_msgrcv, slow!(now, Slow::Msgrcv)),
];

/// Commands of msgctl(2).
const MSG_STAT: u32 = 11;
const MSG_INFO: u32 = 12;
const MSG_STAT_ANY: u32 = 13;

/// msgget(2).
fn get(current: &mut Current, args: &Args) -> Result<usize> {
    Ok(msg::get(&caller(current), args.int(0), args.uint(1))? as usize)
}

/// The message of msgsnd(2). EINVAL, ENOMEM.
fn read(args: &Args) -> Result<Message> {
    let kind = args.ptr::<i64>(1).read()?;
    let len = args.size(2);
    if len as u64 > limits::MSGMAX.get() || args.int(0) < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut message = Message::new(kind, len)?;
    args.ptr::<i64>(1).add(1).cast::<u8>().read_slice(&mut message.text)?;
    Ok(message)
}

/// msgsnd(2).
pub async fn finish_send(current: &mut Current, args: &Args) -> Result<usize> {
    let mut message = loop {
        match read(args) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    let queue = QUEUES.find(ById::Id(args.int(0)))?;
    loop {
        let Outcome::Waits(sleeping) = queue.send(&caller(current), message, args.uint(3) & NOWAIT != 0)? else {
            return Ok(0);
        };
        match wait(current, &sleeping).await? {
            Found::Again(Some(unsent)) => message = unsent,
            _ => return Ok(0),
        }
    }
}

/// msgrcv(2). A message whose place cannot be written is lost, as on Linux.
pub async fn finish_receive(current: &mut Current, args: &Args) -> Result<usize> {
    let (id, place, room, kind) = (args.int(0), args.ptr::<i64>(1), args.size(2), args.long(3));
    if id < 0 || room as isize <= -1 {
        return Err(Errno::EINVAL.into());
    }
    let request = Request::new(kind, room, args.uint(4))?;
    let queue = QUEUES.find(ById::Id(id))?;
    let message = loop {
        match queue.receive(&caller(current), request)? {
            Outcome::Done(message) => break message,
            Outcome::Waits(sleeping) => {
                if let Found::Received(message) = wait(current, &sleeping).await? {
                    break message;
                }
            }
        }
    };
    let text = &message.text[..message.text.len().min(room)];
    loop {
        let written = place.write(&message.kind).and_then(|()| place.add(1).cast::<u8>().write_slice(text));
        match written {
            Ok(()) => return Ok(text.len()),
            Err(page) => fault::resolve(current, page).await?,
        }
    }
}

/// Waits in the line of a queue. What has happened beats the signal that ends the wait.
async fn wait(current: &Current, sleeping: &msg::Sleeping<'_>) -> Result<Found> {
    match current.thread.interruptible(Restart::IfUnhandled, sleeping.finished()).await {
        Ok(found) => Ok(found?),
        Err(interrupted) => match sleeping.give_up() {
            Some(found) => Ok(found?),
            None => Err(interrupted),
        },
    }
}

/// msgctl(2).
fn control(current: &mut Current, args: &Args) -> Result<usize> {
    let (id, command) = (args.int(0), args.uint(1));
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let who = &caller(current);
    let find = || QUEUES.find(ById::Id(id));
    match command {
        IPC_INFO | MSG_INFO => info(args, command == MSG_INFO),
        IPC_STAT => status(args, &*find()?, Some(who)).map(|_| 0),
        MSG_STAT => status(args, &*QUEUES.find(ById::Index(id))?, Some(who)),
        MSG_STAT_ANY => status(args, &*QUEUES.find(ById::Index(id))?, None),
        IPC_SET => {
            let Record { perm, rest } = Record::<TAIL>::read(args, 2)?;
            find()?.set(who, perm.uid, perm.gid, perm.mode, rest[MAX_BYTES] as usize)?;
            Ok(0)
        }
        IPC_RMID => Ok(find()?.remove(who).map(|()| 0)?),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Words of `struct msqid64_ds` behind its permissions, and which of them says how many bytes there may be.
const TAIL: usize = 9;
const MAX_BYTES: usize = 5;

/// IPC_STAT and its like; gives the id.
fn status(args: &Args, queue: &Queue, who: Option<&ipc::Caller>) -> Result<usize> {
    let status = queue.status(who)?;
    let processes = u64::from(status.sender) | u64::from(status.receiver) << 32;
    let rest = [
        status.sent as u64,
        status.received as u64,
        status.changed as u64,
        status.bytes as u64,
        status.messages as u64,
        status.max_bytes as u64,
        processes,
        0,
        0,
    ];
    Record::<TAIL> { perm: Perm::of(&status.perm, queue.id()), rest }.write(args, 2)?;
    Ok(queue.id() as usize)
}

/// IPC_INFO and MSG_INFO: `struct msginfo`; gives the highest index in use.
fn info(args: &Args, of_use: bool) -> Result<usize> {
    // What Linux gives for limits that it does not have.
    const MSGSSZ: i32 = 16;
    const MSGSEG: i32 = 0xffff;
    let limit = |limit: &limits::Limit| i32::try_from(limit.get()).unwrap_or(i32::MAX);
    let (most, bytes) = (limit(&limits::MSGMNI), limit(&limits::MSGMNB));
    let totals = Totals::now();
    let [pool, map, headers] = match of_use {
        true => [totals.queues as i32, totals.messages as i32, totals.bytes as i32],
        false => [(i64::from(most) * i64::from(bytes) / 1024) as i32, bytes, bytes],
    };
    args.ptr::<[i32; 8]>(2).write(&[pool, map, limit(&limits::MSGMAX), bytes, most, MSGSSZ, headers, MSGSEG])?;
    Ok(totals.highest)
}
