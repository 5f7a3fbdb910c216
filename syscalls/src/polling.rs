//! poll(2) and select(2).
//!
//! One pass over the descriptors looks at each and stores what it found. If none is ready, the half that waits
//! registers with all of them, and makes another pass when one of them is.

use crate::args::Args;
use crate::bounds::{Bounds, Unit, bounded};
use crate::fault;
use crate::select;
use crate::table::{Calls, slow};
use crate::wait::Slow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::addr::VirtAddr;
use base::{Errno, Error, Events, Restart, Result};
use linux_raw_sys::general as raw;
use memory::user::UserPtr;
use process::Current;
use process::current::Resume;
use process::limits::Resource;
use vfs::Description;
use vfs::poll::{Watch, ready, wait_any};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The family.
pub const CALLS: Calls =
    &[(raw::__NR_ppoll, slow!(ppoll, Slow::Ppoll)), (raw::__NR_pselect6, slow!(select::pselect6, Slow::Pselect6))];

/// A description that is waited for.
struct Target {
    file: Arc<Description>,
    interest: Events,
}

/// So many targets get their place whatever memory is left.
const MODEST: usize = 64;

/// All of them; two are held without an allocation.
#[derive(Default)]
pub struct Targets {
    few: [Option<Target>; 2],
    many: Vec<Target>,
}

impl Targets {
    /// Adds one. ENOMEM.
    pub fn push(&mut self, file: Arc<Description>, interest: Events) -> Result<()> {
        let target = Target { file, interest };
        if let Some(place) = self.few.iter_mut().find(|place| place.is_none()) {
            *place = Some(target);
            return Ok(());
        }
        if self.many.len() == self.many.capacity() {
            // A program chooses how many there are: the kernel's reserve is not for many.
            if self.many.len() >= MODEST {
                memory::admit(2 * self.many.len() * size_of::<Target>()).map_err(|_| Errno::ENOMEM)?;
            }
            self.many.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        }
        self.many.push(target);
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = &Target> {
        self.few.iter().flatten().chain(&self.many)
    }

    /// Waits until `pass`, which looks at all the descriptors of the call, counts some; 0 when the time is up. It looks after
    /// each notification, so that the call sleeps on even if a target is ready for what the call does not count.
    /// `pass` is told whether it is the last, and is repeated after a fault.
    pub async fn wait(
        &self,
        current: &Current,
        deadline: Option<u64>,
        mut pass: impl FnMut(bool) -> Result<usize>,
    ) -> Result<usize> {
        let mut last = false;
        loop {
            let passed = if last {
                pass(true)
            } else {
                let check = || match pass(false) {
                    Ok(0) => None,
                    other => Some(other),
                };
                match self.notified(current, deadline, check).await? {
                    Some(passed) => passed,
                    None => {
                        last = true;
                        continue;
                    }
                }
            };
            match passed {
                Err(Error::Fault(page)) => fault::resolve(current, page).await?,
                other => return other,
            }
        }
    }

    async fn notified<T>(
        &self,
        current: &Current,
        deadline: Option<u64>,
        check: impl FnMut() -> Option<T>,
    ) -> Result<Option<T>> {
        let done = if self.many.is_empty() {
            let none = Watch { queue: None, interest: Events::empty() };
            let watch =
                |i: usize| self.few[i].as_ref().map_or(none, |target| Watch::new(&target.file, target.interest));
            let watches = [watch(0), watch(1)];
            bounded(current, Restart::IfUnhandled, deadline, wait_any(&watches, check)).await?
        } else {
            let mut watches = Vec::new();
            watches.try_reserve_exact(self.many.len() + 2).map_err(|_| Errno::ENOMEM)?;
            watches.extend(self.iter().map(|target| Watch::new(&target.file, target.interest)));
            bounded(current, Restart::IfUnhandled, deadline, wait_any(&watches, check)).await?
        };
        done.transpose()
    }
}

/// `struct pollfd`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PollFd {
    fd: i32,
    events: u16,
    revents: u16,
}

/// Where `revents` is.
const REVENTS: usize = 6;

/// Entries that are read at a time.
const BATCH: usize = 16;

/// The arguments of either call.
pub struct Polling {
    fds: UserPtr<PollFd>,
    count: usize,
    bounds: Bounds,
}

/// ppoll(2).
pub fn decode_ppoll(args: &Args) -> Result<Polling> {
    let bounds = Bounds::at(args, 2, Unit::Nanos)?.with_mask(args.ptr(3), args.size(4))?;
    Ok(Polling { fds: args.ptr(0), count: args.uint(1) as usize, bounds })
}

/// poll(2).
pub fn decode_poll(args: &Args) -> Result<Polling> {
    Ok(Polling { fds: args.ptr(0), count: args.uint(1) as usize, bounds: Bounds::millis(args.int(2)) })
}

fn ppoll(current: &mut Current, args: &Args) -> Result<usize> {
    start(current, decode_ppoll(args)?)
}

/// poll(2).
pub fn poll(current: &mut Current, args: &Args) -> Result<usize> {
    start(current, decode_poll(args)?)
}

fn start(current: &mut Current, call: Polling) -> Result<usize> {
    if call.count as u64 > current.thread.limit(Resource::Nofile) {
        return Err(Errno::EINVAL.into());
    }
    match call.pass(current)? {
        0 if !call.bounds.is_over() => Err(Error::WouldBlock),
        n => Ok(n),
    }
}

impl Polling {
    /// Hands each entry, with its number, to `each`.
    fn entries(&self, mut each: impl FnMut(usize, &PollFd) -> Result<()>) -> Result<()> {
        let mut batch = [PollFd::default(); BATCH];
        for from in (0..self.count).step_by(BATCH) {
            let n = BATCH.min(self.count - from);
            self.fds.add(from).read_slice(&mut batch[..n])?;
            for (i, entry) in batch[..n].iter().enumerate() {
                each(from + i, entry)?;
            }
        }
        Ok(())
    }

    /// Looks at each descriptor once, stores what it is ready for, and counts those that are. To do it again after a
    /// fault is harmless.
    fn pass(&self, current: &Current) -> Result<usize> {
        let caller = current.caller();
        let mut count = 0;
        self.entries(|i, entry| {
            let found = match u32::try_from(entry.fd) {
                Err(_) => Events::empty(),
                Ok(fd) => match current.files.get(fd) {
                    Ok(file) => ready(&file, &caller, Events::from_bits_truncate(entry.events.into())),
                    Err(_) => Events::NVAL,
                },
            };
            count += usize::from(!found.is_empty());
            self.fds.add(i).field::<u16>(REVENTS).write(&(found.bits() as u16))?;
            Ok(())
        })?;
        Ok(count)
    }

    fn targets(&self, current: &Current) -> Result<Targets> {
        let mut targets = Targets::default();
        self.entries(|_, entry| {
            // One that is not open is ready: the next pass reports it.
            if let Ok(fd) = u32::try_from(entry.fd)
                && let Ok(file) = current.files.get(fd)
            {
                targets.push(file, Events::from_bits_truncate(entry.events.into()))?;
            }
            Ok(())
        })?;
        Ok(targets)
    }

    /// A wait whose end the program cannot look up: interrupted, it goes on to the same end.
    async fn wait_until(&self, current: &mut Current, until: u64) -> Result<usize> {
        let result = self.wait(current, Some(until)).await;
        let Err(Error::Interrupted(_)) = result else { return result };
        current.resume = Some(Box::new(Resume::Poll { fds: self.fds.addr(), count: self.count as u32, until }));
        Err(Error::Interrupted(Restart::Resume))
    }

    async fn wait(&self, current: &Current, deadline: Option<u64>) -> Result<usize> {
        let targets = loop {
            match self.targets(current) {
                Err(Error::Fault(page)) => fault::resolve(current, page).await?,
                other => break other?,
            }
        };
        targets.wait(current, deadline, |_| self.pass(current)).await
    }
}

/// Waits where no descriptor was ready.
pub async fn finish_poll(current: &mut Current, args: &Args, decode: fn(&Args) -> Result<Polling>) -> Result<usize> {
    let call = loop {
        match decode(args) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    let deadline = call.bounds.deadline();
    if let (Some(until), true) = (deadline, call.bounds.is_unseen()) {
        return call.wait_until(current, until).await;
    }
    call.bounds.begin(current);
    let result = call.wait(current, deadline).await;
    call.bounds.end(current, deadline, result).await
}

/// Goes on with a poll(2) that was interrupted, and that no handler has seen.
pub async fn resume(current: &mut Current, fds: VirtAddr, count: u32, until: u64) -> Result<usize> {
    let call = Polling { fds: UserPtr::new(fds), count: count as usize, bounds: Bounds::default() };
    call.wait_until(current, until).await
}
