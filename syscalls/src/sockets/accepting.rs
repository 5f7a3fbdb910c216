//! accept(2), accept4(2), connect(2).

use super::header::{read_address, store_address};
use super::waiting::{Limit, Step, drive};
use super::{describe, socket_of, with};
use crate::args::Args;
use crate::fault;
use crate::paths::{caller, check_flags, opened};
use alloc::boxed::Box;
use alloc::sync::Arc;
use base::{Errno, Error, Events, Result};
use linux_raw_sys::general as raw;
use net::Address;
use process::Current;
use process::limits::Resource;
use vfs::file::no_wait;
use vfs::{Description, FdTable, OpenFlags};

/// A connection that was taken and whose peer's address is still to be stored. Dropping it gives its number back.
struct Accepted {
    files: Arc<FdTable>,
    fd: u32,
    file: Option<Arc<Description>>,
    peer: Address,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.files.release(self.fd);
            drop(file);
        }
    }
}

impl Accepted {
    /// Stores the address, and opens the socket. May be called again after a fault.
    fn tell(&mut self, args: &Args) -> Result<usize> {
        if args.addr(1).0 != 0 {
            store_address(Some(&self.peer), args.addr(1), args.ptr(2))?;
        }
        if let Some(file) = self.file.take() {
            self.files.fill(self.fd, file);
        }
        Ok(self.fd as usize)
    }
}

/// Takes a connection. WouldBlock while there is none.
fn take(current: &Current, args: &Args, flags: u32) -> Result<Accepted> {
    let listener = opened(current, args, 0)?;
    check_flags(flags, raw::O_CLOEXEC | raw::O_NONBLOCK)?;
    let flags = OpenFlags::from_bits_truncate(flags);
    let socket = socket_of(&listener)?;
    let limit = current.thread.limit(Resource::Nofile);
    let fd = current.files.reserve(limit, flags.contains(OpenFlags::CLOEXEC))?;
    let caller = caller(current, &listener);
    let taken = with(current, &caller, |cx| socket.accept(cx));
    match if caller.nonblock() { no_wait(taken) } else { taken } {
        Ok((socket, peer)) => {
            Ok(Accepted { files: current.files.clone(), fd, file: Some(describe(socket, flags)), peer })
        }
        Err(error) => {
            current.files.release(fd);
            Err(error)
        }
    }
}

fn accept_now(current: &mut Current, args: &Args, flags: u32) -> Result<usize> {
    let mut accepted = take(current, args, flags)?;
    match accepted.tell(args) {
        Err(Error::Fault(_)) => {
            current.carried = Some(Box::new(accepted));
            Err(Error::WouldBlock)
        }
        other => other,
    }
}

/// accept(2).
pub fn accept(current: &mut Current, args: &Args) -> Result<usize> {
    accept_now(current, args, 0)
}

/// accept4(2).
pub fn accept4(current: &mut Current, args: &Args) -> Result<usize> {
    accept_now(current, args, args.uint(3))
}

/// accept(2) and accept4(2) where they wait.
pub async fn finish_accept(current: &mut Current, args: &Args, flags: u32) -> Result<usize> {
    let carried = current.carried.take().and_then(|carried| carried.downcast::<Accepted>().ok());
    let current = &*current;
    let mut accepted = match carried {
        Some(accepted) => accepted,
        None => {
            let file = opened(current, args, 0)?;
            let limit = Limit { nanos: socket_of(&file)?.receive_timeout(), late: Errno::EAGAIN };
            let mut taken = None;
            drive(current, &file, Events::READABLE, limit, || match take(current, args, flags) {
                Ok(accepted) => {
                    taken = Some(Box::new(accepted));
                    Step::Done(Ok(0))
                }
                Err(Error::WouldBlock) => Step::Wait,
                Err(error) => Step::failed(error),
            })
            .await?;
            taken.ok_or(Errno::EAGAIN)?
        }
    };
    loop {
        match accepted.tell(args) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => return other,
        }
    }
}

/// connect(2). Once it has begun, calling it again tells how it stands.
fn try_connect(current: &Current, args: &Args, file: &Description) -> Result<usize> {
    let socket = socket_of(file)?;
    let address = read_address(args.addr(1), args.int(2))?;
    let address = Address::decode(socket.family(), &address)?;
    let caller = caller(current, file);
    let result = with(current, &caller, |cx| socket.connect(cx, &address));
    if caller.nonblock() { no_wait(result) } else { result }?;
    Ok(0)
}

/// connect(2).
pub fn connect(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    try_connect(current, args, &file)
}

/// connect(2) where it waits: for the peer's answer, or for room in the backlog of a UNIX socket.
pub async fn finish_connect(current: &mut Current, args: &Args) -> Result<usize> {
    let current = &*current;
    let file = opened(current, args, 0)?;
    let socket = socket_of(&file)?;
    let late = if socket.family() == net::Family::Unix { Errno::EAGAIN } else { Errno::EINPROGRESS };
    let limit = Limit { nanos: socket.send_timeout(), late };
    drive(current, &file, Events::WRITABLE, limit, || match try_connect(current, args, &file) {
        Err(Error::WouldBlock) => Step::Wait,
        Err(error) => Step::failed(error),
        done => Step::Done(done),
    })
    .await
}
