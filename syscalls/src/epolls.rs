//! epoll(7), and the files that are made to be polled: eventfd(2), signalfd(2).

use crate::args::Args;
use crate::bounds::{Bounds, Unit, bounded};
use crate::fault;
use crate::files::install_new;
use crate::park::Target;
use crate::paths::{check_flags, file};
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use base::{Errno, Error, Events, Restart, Result};
use linux_raw_sys::general as raw;
use memory::user::UserPtr;
use process::Current;
use process::signal::SignalSet;
use process::signalfd::SignalFd;
use vfs::epoll::{Epoll, Mode};
use vfs::eventfd::EventFd;
use vfs::{Description, OpenFlags};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_epoll_create1, fast!(epoll_create1)),
    (raw::__NR_epoll_ctl, fast!(epoll_ctl)),
    (raw::__NR_epoll_pwait, slow!(epoll_pwait, Slow::EpollPwait)),
    (raw::__NR_epoll_pwait2, slow!(epoll_pwait2, Slow::EpollPwait2)),
    (raw::__NR_eventfd2, fast!(eventfd2)),
    (raw::__NR_signalfd4, fast!(signalfd4)),
];

/// `struct epoll_event` in 32-bit words: events, then the data, which is aligned on some architectures only.
const EVENT_WORDS: usize = if cfg!(target_arch = "x86_64") { 3 } else { 4 };
/// Where the data begins.
const DATA: usize = EVENT_WORDS - 2;

type RawEvent = [u32; EVENT_WORDS];

fn encode(events: u32, data: u64) -> RawEvent {
    let mut event = [0; EVENT_WORDS];
    event[0] = events;
    event[DATA] = data as u32;
    event[DATA + 1] = (data >> 32) as u32;
    event
}

fn decode(event: RawEvent) -> (u32, u64) {
    (event[0], u64::from(event[DATA]) | u64::from(event[DATA + 1]) << 32)
}

/// The flags of an anonymous file: read and write, and what its maker asked for.
pub fn status(flags: u32) -> OpenFlags {
    OpenFlags::from_bits_truncate(flags) | OpenFlags::RDWR
}

fn create(current: &Current, flags: u32) -> Result<usize> {
    install_new(current, Epoll::new(), status(flags))
}

fn epoll_create1(current: &mut Current, args: &Args) -> Result<usize> {
    check_flags(args.uint(0), raw::O_CLOEXEC)?;
    create(current, args.uint(0))
}

/// epoll_create(2): the size only has to be positive.
pub fn epoll_create(current: &mut Current, args: &Args) -> Result<usize> {
    if args.int(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    create(current, 0)
}

fn epoll_ctl(current: &mut Current, args: &Args) -> Result<usize> {
    let (operation, fd) = (args.uint(1), args.uint(2));
    let (events, data) = match operation {
        raw::EPOLL_CTL_DEL => (0, 0),
        _ => decode(args.ptr::<RawEvent>(3).read()?),
    };
    let description = file(current, args, 0)?;
    let target = current.files.get(fd)?;
    if target.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    if target.queue().is_none() {
        return Err(Errno::EPERM.into());
    }
    let epoll = Epoll::of(&description)?;
    let caller = current.caller();
    // There is no suspend that EPOLLWAKEUP could prevent.
    let events = events & !Mode::WAKEUP.bits();
    match operation {
        raw::EPOLL_CTL_ADD => epoll.add(&caller, fd, &target, events, data)?,
        raw::EPOLL_CTL_MOD => epoll.modify(&caller, fd, &target, events, data)?,
        raw::EPOLL_CTL_DEL => epoll.remove(fd, &target)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// epoll_wait(2).
pub fn decode_wait(args: &Args) -> Result<Bounds> {
    Ok(Bounds::millis(args.int(3)))
}

/// epoll_pwait(2).
pub fn decode_pwait(args: &Args) -> Result<Bounds> {
    Bounds::millis(args.int(3)).with_mask(args.ptr(4), args.size(5))
}

/// epoll_pwait2(2): the time limit is not written back.
pub fn decode_pwait2(args: &Args) -> Result<Bounds> {
    let bounds = Bounds::at(args, 3, Unit::Nanos)?.with_mask(args.ptr(4), args.size(5))?;
    Ok(Bounds { remaining: None, ..bounds })
}

/// epoll_wait(2).
pub fn epoll_wait(current: &mut Current, args: &Args) -> Result<usize> {
    start(current, args, decode_wait(args)?)
}

fn epoll_pwait(current: &mut Current, args: &Args) -> Result<usize> {
    start(current, args, decode_pwait(args)?)
}

fn epoll_pwait2(current: &mut Current, args: &Args) -> Result<usize> {
    start(current, args, decode_pwait2(args)?)
}

/// How many events there is room for. EINVAL.
fn room(args: &Args) -> Result<usize> {
    let most = i32::MAX as usize / size_of::<RawEvent>();
    usize::try_from(args.int(2)).ok().filter(|max| (1..=most).contains(max)).ok_or(Errno::EINVAL.into())
}

#[inline]
fn start(current: &mut Current, args: &Args, bounds: Bounds) -> Result<usize> {
    let max = room(args)?;
    let description = Target::of(current, args)?;
    match collect(current, &description, args, max) {
        Ok(0) if bounds.is_plain() => {
            // A handler ends the call whatever its flags say (signal(7)).
            Err(description.unready(current, Error::WouldBlock, Events::IN, Restart::Never))
        }
        Ok(0) if !bounds.is_over() => Err(Error::WouldBlock),
        other => other.map_err(|error| description.unready(current, error, Events::IN, Restart::Never)),
    }
}

/// Stores the events that are ready.
#[inline]
fn collect(current: &Current, description: &Description, args: &Args, max: usize) -> Result<usize> {
    let mut out: UserPtr<RawEvent> = args.ptr(1);
    Epoll::of(description)?.collect(&current.caller(), max, |events, data| {
        out.write(&encode(events, data))?;
        out = out.add(1);
        Ok(())
    })
}

/// Waits where nothing was ready. Of several that wait for one epoll, an event wakes one.
#[expect(clippy::manual_async_fn, reason = "an argument of an async fn lies in its future twice")]
pub fn finish(
    current: &mut Current,
    args: &Args,
    decode: fn(&Args) -> Result<Bounds>,
) -> impl Future<Output = Result<usize>> + Send {
    async move {
        let bounds = loop {
            match decode(args) {
                Err(Error::Fault(page)) => fault::resolve(current, page).await?,
                other => break other?,
            }
        };
        let deadline = bounds.deadline();
        bounds.begin(current);
        let result = wait(current, args, deadline).await;
        bounds.end(current, deadline, result).await
    }
}

#[expect(clippy::manual_async_fn, reason = "an argument of an async fn lies in its future twice")]
fn wait(current: &Current, args: &Args, deadline: Option<u64>) -> impl Future<Output = Result<usize>> + Send {
    async move {
        let max = room(args)?;
        let description = file(current, args, 0)?;
        let queue = description.queue().ok_or(Errno::EINVAL)?;
        loop {
            let ready =
                queue.wait_until_exclusive(Events::IN.bits(), || match collect(current, &description, args, max) {
                    Ok(0) => None,
                    other => Some(other),
                });
            let ready = ready.after_failure();
            match bounded(current, Restart::Never, deadline, ready).await? {
                None => return Ok(0),
                Some(Err(Error::Fault(page))) => fault::resolve(current, page).await?,
                Some(other) => return other,
            }
        }
    }
}

fn make_eventfd(current: &Current, initial: u32, flags: u32) -> Result<usize> {
    check_flags(flags, raw::O_CLOEXEC | raw::O_NONBLOCK | raw::EFD_SEMAPHORE)?;
    let file = EventFd::new(initial, flags & raw::EFD_SEMAPHORE != 0);
    install_new(current, file, status(flags & !raw::EFD_SEMAPHORE))
}

fn eventfd2(current: &mut Current, args: &Args) -> Result<usize> {
    make_eventfd(current, args.uint(0), args.uint(1))
}

/// eventfd(2).
pub fn eventfd(current: &mut Current, args: &Args) -> Result<usize> {
    make_eventfd(current, args.uint(0), 0)
}

fn make_signalfd(current: &Current, args: &Args, flags: u32) -> Result<usize> {
    check_flags(flags, raw::O_CLOEXEC | raw::O_NONBLOCK)?;
    if args.size(2) != 8 {
        return Err(Errno::EINVAL.into());
    }
    let set = SignalSet(args.ptr::<u64>(1).read()?).without(SignalSet::UNSTOPPABLE);
    if args.int(0) == -1 {
        return install_new(current, SignalFd::new(&current.thread.process, set), status(flags));
    }
    let description = file(current, args, 0)?;
    let existing = description.file().as_any().and_then(|any| any.downcast_ref::<SignalFd>());
    existing.ok_or(Errno::EINVAL)?.set(set);
    Ok(args.uint(0) as usize)
}

fn signalfd4(current: &mut Current, args: &Args) -> Result<usize> {
    make_signalfd(current, args, args.uint(3))
}

/// signalfd(2).
pub fn signalfd(current: &mut Current, args: &Args) -> Result<usize> {
    make_signalfd(current, args, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_data() {
        let data = 0x1234_5678_9abc_def0;
        assert_eq!(decode(encode(5, data)), (5, data));
    }
}
