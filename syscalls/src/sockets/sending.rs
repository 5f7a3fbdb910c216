//! sendto(2), sendmsg(2): one message, or bytes of a stream.

use super::control;
use super::header::{HeaderPtr, Memory, read_address};
use super::waiting::{CHUNK, Limit, Step, drive};
use super::{socket_of, with};
use crate::args::Args;
use crate::paths::{caller, opened};
use crate::transfer::{partial, raise};
use arch::addr::VirtAddr;
use base::{Errno, Error, Events, Result};
use net::socket::{MsgFlags, SendArgs};
use net::{Address, Family, Socket, Type};
use process::{Current, Signal};
use vfs::Description;

/// MSG_CMSG_COMPAT: for the kernel's own use.
pub const COMPAT: u32 = 0x8000_0000;

/// A call, as its arguments give it.
#[derive(Clone, Copy)]
pub enum Form {
    /// sendto(2), whose arguments these are.
    Plain(Args),
    /// sendmsg(2), or an element of sendmmsg(2), with MSG_ flags.
    Message(HeaderPtr, u32),
}

/// To whom a message goes. Streams have their peer: a UNIX stream refuses an address, whatever it is, and TCP ignores it.
fn target(socket: &dyn Socket, at: VirtAddr, len: i32) -> Result<Option<Address>> {
    let raw = read_address(at, len)?;
    let unix = socket.family() == Family::Unix;
    if socket.kind() == Type::Stream {
        return Ok((unix && !raw.is_empty()).then_some(Address::Unspecified));
    }
    if unix && raw.is_empty() {
        return Ok(None);
    }
    Address::decode(socket.family(), &raw).map(Some)
}

/// Reads the arguments and sends what can be sent now, after the first `done` bytes.
#[inline]
fn step(current: &Current, file: &Description, form: &Form, done: &mut usize) -> Step {
    let result = match form {
        Form::Plain(args) => plain(current, file, args, done),
        Form::Message(header, flags) => message(current, file, *header, *flags, done),
    };
    result.unwrap_or_else(|error| match error {
        Error::Fault(page) => Step::Fault(page),
        error => Step::Done(partial(*done, error)),
    })
}

#[inline]
fn plain(current: &Current, file: &Description, args: &Args, done: &mut usize) -> Result<Step> {
    let socket = socket_of(file)?;
    let memory = Memory::one(args.addr(1), args.size(2))?;
    let to = match args.addr(4) {
        VirtAddr(0) => None,
        at => target(socket, at, args.int(5))?,
    };
    let mut args = SendArgs { to: to.as_ref(), flags: MsgFlags::from_bits_retain(args.uint(3)), ..SendArgs::default() };
    Ok(attempt(current, file, socket, &memory, &mut args, done))
}

fn message(current: &Current, file: &Description, at: HeaderPtr, flags: u32, done: &mut usize) -> Result<Step> {
    let socket = socket_of(file)?;
    if flags & COMPAT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let header = at.read()?;
    let to = match header.name_len {
        0 => None,
        // Longer than any address counts as the longest.
        len => target(socket, VirtAddr(header.name), len.min(net::address::MAX_LEN as i32))?,
    };
    let memory = Memory::many(&header)?;
    let mut args = SendArgs { to: to.as_ref(), flags: MsgFlags::from_bits_retain(flags), ..SendArgs::default() };
    // What went along has gone with the first byte.
    if header.control_len > 0 && *done == 0 {
        let sent = control::read(current, socket, header.control, header.control_len)?;
        (args.rights, args.credential) = (sent.rights, sent.credential);
    }
    Ok(attempt(current, file, socket, &memory, &mut args, done))
}

#[inline]
fn attempt(
    current: &Current,
    file: &Description,
    socket: &dyn Socket,
    memory: &Memory,
    args: &mut SendArgs,
    done: &mut usize,
) -> Step {
    let mut caller = caller(current, file);
    caller.set_nonblock(args.flags.contains(MsgFlags::DONTWAIT));
    let mut src = memory.src(*done);
    let left = src.remaining();
    if socket.is_stream() {
        src.limit(CHUNK);
    }
    match with(current, &caller, |cx| socket.send(cx, &mut src, args)) {
        Ok(n) => {
            *done += n;
            if n == left || !socket.is_stream() {
                return Step::Done(Ok(*done));
            }
            match src.fault() {
                Some(page) => Step::Fault(page),
                None if src.remaining() == 0 => Step::Yield,
                None if caller.nonblock() => Step::Done(Ok(*done)),
                None => Step::Wait,
            }
        }
        Err(Error::WouldBlock) if !caller.nonblock() => Step::Wait,
        Err(Error::WouldBlock) => Step::Done(partial(*done, Errno::EAGAIN.into())),
        Err(Error::Fault(page)) => Step::Fault(page),
        Err(error) => {
            if error == Error::Errno(Errno::EPIPE)
                && *done == 0
                && socket.is_stream()
                && !args.flags.contains(MsgFlags::NOSIGNAL)
            {
                raise(current, Signal::SIGPIPE);
            }
            Step::Done(partial(*done, error))
        }
    }
}

#[inline]
fn send_now(current: &mut Current, args: &Args, form: Form) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let mut done = 0;
    match step(current, &file, &form, &mut done) {
        Step::Done(result) => result,
        Step::Fault(page) if done == 0 => Err(Error::Fault(page)),
        _ => {
            current.transferred = done;
            Err(Error::WouldBlock)
        }
    }
}

fn form(args: &Args) -> Form {
    Form::Message(HeaderPtr(args.addr(1)), args.uint(2))
}

/// sendto(2), and with that send(2).
pub fn sendto(current: &mut Current, args: &Args) -> Result<usize> {
    send_now(current, args, Form::Plain(*args))
}

/// sendmsg(2).
pub fn sendmsg(current: &mut Current, args: &Args) -> Result<usize> {
    send_now(current, args, form(args))
}

/// Sends after the first `done` bytes, and waits as long as it takes.
#[expect(clippy::manual_async_fn, reason = "an argument of an async fn lies in its future twice")]
pub fn send_on(
    current: &Current,
    file: &Description,
    form: &Form,
    mut done: usize,
) -> impl Future<Output = Result<usize>> + Send {
    async move {
        let limit = Limit { nanos: socket_of(file)?.send_timeout(), late: Errno::EAGAIN };
        let result = drive(current, file, Events::WRITABLE, limit, || step(current, file, form, &mut done)).await;
        result.or_else(|error| partial(done, error))
    }
}

/// sendto(2) or sendmsg(2) where it waits.
#[expect(clippy::manual_async_fn, reason = "an argument of an async fn lies in its future twice")]
fn finish(current: &mut Current, args: &Args, form: Form) -> impl Future<Output = Result<usize>> + Send {
    async move {
        let done = core::mem::take(&mut current.transferred);
        match opened(current, args, 0) {
            Ok(file) => send_on(current, &file, &form, done).await,
            // Another thread has closed it meanwhile.
            Err(error) => partial(done, error),
        }
    }
}

/// sendto(2) where it waits.
pub fn finish_sendto(current: &mut Current, args: &Args) -> impl Future<Output = Result<usize>> + Send {
    finish(current, args, Form::Plain(*args))
}

/// sendmsg(2) where it waits.
pub fn finish_sendmsg(current: &mut Current, args: &Args) -> impl Future<Output = Result<usize>> + Send {
    finish(current, args, form(args))
}
