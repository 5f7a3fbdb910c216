//! recvfrom(2), recvmsg(2): one message, or bytes of a stream.
//!
//! A message that has been taken from the socket is a [`Delivery`] until all about it is stored. If storing meets an absent
//! page, the delivery is carried to the async half.

use super::control::Arrived;
use super::header::{HeaderPtr, Memory, MsgHdr, store_address};
use super::sending::COMPAT;
use super::waiting::{CHUNK, Limit, Step, drive};
use super::{socket_of, with};
use crate::args::Args;
use crate::fault;
use crate::park::Target;
use crate::paths::{caller, check_opened, opened};
use alloc::boxed::Box;
use arch::addr::VirtAddr;
use base::{Errno, Error, Events, Restart, Result};
use linux_raw_sys::net as abi;
use memory::user::UserPtr;
use net::socket::{MsgFlags, Received};
use net::{Address, Family, Socket};
use process::Current;
use vfs::Description;

/// A call, as its arguments give it.
#[derive(Clone, Copy)]
pub enum Form {
    /// recvfrom(2), whose arguments these are.
    Plain(Args),
    /// recvmsg(2), or an element of recvmmsg(2), with MSG_ flags.
    Message(HeaderPtr, u32),
}

/// Where a call puts what it gets.
struct Place {
    memory: Memory,
    flags: MsgFlags,
    name: VirtAddr,
    name_len: UserPtr<i32>,
    header: Option<(HeaderPtr, MsgHdr)>,
}

impl Form {
    #[inline]
    fn place(&self) -> Result<Place> {
        match self {
            Form::Plain(args) => Ok(Place {
                memory: Memory::one(args.addr(1), args.size(2))?,
                flags: MsgFlags::from_bits_retain(args.uint(3)),
                name: args.addr(4),
                name_len: args.ptr(5),
                header: None,
            }),
            Form::Message(_, flags) if flags & COMPAT != 0 => Err(Errno::EINVAL.into()),
            Form::Message(at, flags) => {
                let header = at.read()?;
                Ok(Place {
                    memory: Memory::many(&header)?,
                    flags: MsgFlags::from_bits_retain(*flags),
                    name: VirtAddr(header.name),
                    name_len: at.name_len(),
                    header: Some((*at, header)),
                })
            }
        }
    }
}

/// What was taken from the socket and is to be told.
#[derive(Default)]
struct Delivery {
    len: usize,
    from: Option<Address>,
    flags: MsgFlags,
    arrived: Arrived,
}

impl Delivery {
    #[inline]
    fn new(received: Received, len: usize) -> Delivery {
        let arrived = Arrived::new(received.rights, received.credential);
        Delivery { len, from: received.from, flags: received.flags, arrived }
    }

    /// Stores everything but the bytes. May be called again after a fault.
    #[inline]
    fn tell(&mut self, current: &Current, place: &Place) -> Result<usize> {
        if place.name.0 != 0 {
            store_address(self.from.as_ref(), place.name, place.name_len)?;
        }
        if let Some((at, header)) = &place.header {
            let kept = place.flags & MsgFlags::CMSG_CLOEXEC;
            let cloexec = !kept.is_empty();
            let (used, cut) = self.arrived.store(current, header.control, header.control_len, cloexec)?;
            at.flags().write(&(self.flags | cut | kept).bits())?;
            at.control_len().write(&used)?;
        }
        self.arrived.open();
        Ok(self.len)
    }
}

/// How far a call has come.
#[derive(Default)]
pub struct Progress {
    /// Bytes of a stream that are stored.
    done: usize,
    /// What is to be told before the call can end.
    told: Option<Box<Delivery>>,
}

/// Takes from the socket what there is now. `Err` says how the call goes on if that is not the end of it.
#[inline]
fn attempt(
    current: &Current,
    file: &Description,
    socket: &dyn Socket,
    place: &Place,
    done: &mut usize,
) -> core::result::Result<Delivery, Step> {
    let mut caller = caller(current, file);
    caller.set_nonblock(place.flags.contains(MsgFlags::DONTWAIT));
    let stream = socket.is_stream();
    let mut dst = place.memory.dst(*done);
    let room = dst.remaining();
    if stream {
        dst.limit(CHUNK);
    }
    let all = place.flags.contains(MsgFlags::WAITALL) && !place.flags.contains(MsgFlags::PEEK);
    match with(current, &caller, |cx| socket.recv(cx, &mut dst, place.flags, place.header.is_some())) {
        Ok(received) if !stream => {
            let len = received.len;
            Ok(Delivery::new(received, len))
        }
        Ok(received) => {
            *done += received.len;
            if received.len == 0
                && let Some(page) = dst.fault()
            {
                // Not the end: the first byte had nowhere to go.
                return Err(Step::Fault(page));
            }
            // Nothing more is taken after the end, with a message's control data, or twice the same.
            let last = received.len == 0 || !received.rights.is_empty() || place.flags.contains(MsgFlags::PEEK);
            if !last && received.len < room {
                match dst.fault() {
                    // Other bytes may be of another sender.
                    Some(page) if received.credential.is_none() => return Err(Step::Fault(page)),
                    None if dst.is_full() => return Err(Step::Yield),
                    None if all && !caller.nonblock() => return Err(Step::Wait),
                    _ => {}
                }
            }
            Ok(Delivery::new(received, *done))
        }
        Err(Error::Fault(page)) => Err(Step::Fault(page)),
        Err(Error::WouldBlock) if *done > 0 && (!all || caller.nonblock()) => {
            Ok(Delivery::new(Received::default(), *done))
        }
        Err(Error::WouldBlock) if caller.nonblock() => Err(Step::Done(Err(Errno::EAGAIN.into()))),
        Err(Error::WouldBlock) => Err(Step::Wait),
        Err(error) if *done > 0 => {
            if let Error::Errno(errno) = error {
                // The next call is told.
                socket.options().set_error(errno);
            }
            Ok(Delivery::new(Received::default(), *done))
        }
        Err(error) => Err(Step::Done(Err(error))),
    }
}

/// Reads the arguments, and receives or tells what was received.
#[inline]
fn step(current: &Current, file: &Description, form: &Form, progress: &mut Progress) -> Step {
    match try_step(current, file, form, progress) {
        Ok(step) => step,
        Err(error) => {
            if !matches!(error, Error::Fault(_)) {
                // It is not the socket that fails, so what has come counts for nothing.
                progress.done = 0;
            }
            Step::failed(error)
        }
    }
}

#[inline]
fn try_step(current: &Current, file: &Description, form: &Form, progress: &mut Progress) -> Result<Step> {
    let socket = socket_of(file)?;
    let place = form.place()?;
    if place.flags.bits() & abi::MSG_ERRQUEUE != 0 && socket.family() != Family::Unix {
        // IP_RECVERR is not offered, so there is nothing.
        return Err(Errno::EAGAIN.into());
    }
    if let Some(told) = &mut progress.told {
        return told.tell(current, &place).map(|len| Step::Done(Ok(len)));
    }
    let mut delivery = match attempt(current, file, socket, &place, &mut progress.done) {
        Ok(delivery) => delivery,
        Err(step) => return Ok(step),
    };
    match delivery.tell(current, &place) {
        Err(Error::Fault(page)) => {
            progress.told = Some(Box::new(delivery));
            Ok(Step::Fault(page))
        }
        other => other.map(|len| Step::Done(Ok(len))),
    }
}

#[inline]
fn receive_now(current: &mut Current, args: &Args, form: Form) -> Result<usize> {
    let file = Target::of(current, args)?;
    check_opened(&file)?;
    let mut progress = Progress::default();
    let result = match step(current, &file, &form, &mut progress) {
        Step::Done(result) => result,
        Step::Fault(page) if progress.done == 0 && progress.told.is_none() => Err(Error::Fault(page)),
        _ => {
            current.transferred = progress.done;
            current.carried = progress.told.map(|told| told as _);
            Err(Error::WouldBlock)
        }
    };
    result.map_err(|error| file.unready(current, error, Events::READABLE, Restart::IfAsked))
}

fn form(args: &Args) -> Form {
    Form::Message(HeaderPtr(args.addr(1)), args.uint(2))
}

/// recvfrom(2), and with that recv(2).
pub fn recvfrom(current: &mut Current, args: &Args) -> Result<usize> {
    receive_now(current, args, Form::Plain(*args))
}

/// recvmsg(2).
pub fn recvmsg(current: &mut Current, args: &Args) -> Result<usize> {
    receive_now(current, args, form(args))
}

/// Receives after what `progress` says, and waits as long as it takes.
#[expect(clippy::manual_async_fn, reason = "an argument of an async fn lies in its future twice")]
pub fn receive_on(
    current: &Current,
    file: &Description,
    form: &Form,
    mut progress: Progress,
) -> impl Future<Output = Result<usize>> + Send {
    async move {
        let limit = Limit { nanos: socket_of(file)?.receive_timeout(), late: Errno::EAGAIN };
        let result = drive(current, file, Events::READABLE, limit, || step(current, file, form, &mut progress)).await;
        match result {
            Err(_) if progress.done > 0 && progress.told.is_none() => tell(current, form, progress.done).await,
            result => result,
        }
    }
}

/// Ends a call that got `done` bytes of a stream before it was given up.
async fn tell(current: &Current, form: &Form, done: usize) -> Result<usize> {
    loop {
        let told = form.place().and_then(|place| Delivery::new(Received::default(), done).tell(current, &place));
        match told {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => return other,
        }
    }
}

#[expect(clippy::manual_async_fn, reason = "an argument of an async fn lies in its future twice")]
fn finish(current: &mut Current, args: &Args, form: Form) -> impl Future<Output = Result<usize>> + Send {
    async move {
        let told = current.carried.take().and_then(|carried| carried.downcast().ok());
        let progress = Progress { done: core::mem::take(&mut current.transferred), told };
        let file = opened(current, args, 0)?;
        receive_on(current, &file, &form, progress).await
    }
}

/// recvfrom(2) where it waits.
pub fn finish_recvfrom(current: &mut Current, args: &Args) -> impl Future<Output = Result<usize>> + Send {
    finish(current, args, Form::Plain(*args))
}

/// recvmsg(2) where it waits.
pub fn finish_recvmsg(current: &mut Current, args: &Args) -> impl Future<Output = Result<usize>> + Send {
    finish(current, args, form(args))
}
