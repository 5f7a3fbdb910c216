//! sendmmsg(2), recvmmsg(2): several messages with one call. Both are rare, and their futures are boxed.

use super::header::HeaderPtr;
use super::{receiving, sending, socket_of};
use crate::args::Args;
use crate::bounds::{Bounds, Unit};
use crate::fault;
use crate::paths::opened;
use base::{Error, Result};
use kernel::time::monotonic;
use linux_raw_sys::net as abi;
use memory::user::IOV_MAX;
use process::Current;

/// MSG_WAITFORONE: after the first message, none is waited for.
const WAIT_FOR_ONE: u32 = 0x1_0000;

/// Stores how long message `at` was.
async fn store_len(current: &Current, at: HeaderPtr, len: usize) -> Result<()> {
    loop {
        match at.count().write(&(len as u32)) {
            Ok(()) => return Ok(()),
            Err(page) => fault::resolve(current, page).await?,
        }
    }
}

/// What a call gives that has dealt with `count` messages when an error came.
fn some(count: usize, error: Error) -> Result<usize> {
    if count > 0 { Ok(count) } else { Err(error) }
}

/// sendmmsg(2).
pub async fn sendmmsg(current: &mut Current, args: &Args) -> Result<usize> {
    let current = &*current;
    let file = opened(current, args, 0)?;
    socket_of(&file)?;
    let (first, flags) = (HeaderPtr(args.addr(1)), args.uint(3));
    let most = (args.uint(2) as usize).min(IOV_MAX);
    for count in 0..most {
        let at = first.element(count);
        let sent = sending::send_on(current, &file, &sending::Form::Message(at, flags), 0).await;
        let stored = match sent {
            Ok(len) => store_len(current, at, len).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            return some(count, error);
        }
    }
    Ok(most)
}

/// recvmmsg(2). The time limit, if there is one, is looked at after each message, as it has always been.
pub async fn recvmmsg(current: &mut Current, args: &Args) -> Result<usize> {
    let bounds = loop {
        match Bounds::at(args, 4, Unit::Nanos) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    let deadline = bounds.deadline();
    let result = receive_all(current, args, deadline).await;
    match result {
        // What is left of the time is told with a result only.
        Ok(_) => bounds.end(current, deadline, result).await,
        Err(_) => result,
    }
}

async fn receive_all(current: &Current, args: &Args, deadline: Option<u64>) -> Result<usize> {
    let file = opened(current, args, 0)?;
    socket_of(&file)?;
    let first = HeaderPtr(args.addr(1));
    let most = (args.uint(2) as usize).min(IOV_MAX);
    let mut flags = args.uint(3);
    let wait_for_one = flags & WAIT_FOR_ONE != 0;
    flags &= !WAIT_FOR_ONE;
    for count in 0..most {
        let at = first.element(count);
        let form = receiving::Form::Message(at, flags);
        let received = receiving::receive_on(current, &file, &form, receiving::Progress::default()).await;
        let stored = match received {
            Ok(len) => store_len(current, at, len).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            return some(count, error);
        }
        if wait_for_one {
            flags |= abi::MSG_DONTWAIT;
        }
        if deadline.is_some_and(|deadline| monotonic() >= deadline) {
            return Ok(count + 1);
        }
    }
    Ok(most)
}
