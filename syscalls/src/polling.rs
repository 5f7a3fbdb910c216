//! poll(2) and select(2).
//!
//! One pass over the descriptors looks at each and stores what it found. If none is ready, the half that waits
//! registers with all of them, and makes another pass when one of them is. Where there are many, both go over them in parts,
//! and let others run in between.

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
use core::ops::Range;
use linux_raw_sys::general as raw;
use memory::user::UserPtr;
use process::Current;
use process::current::Resume;
use process::limits::Resource;
use vfs::Description;
use vfs::poll::{Crowd, Watch, ready, wait_for_two};
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
    /// Forgets all.
    pub fn clear(&mut self) {
        self.few = [None, None];
        self.many.clear();
    }

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

    fn watch(&self, i: usize) -> Watch<'_> {
        let target = if i < 2 { self.few[i].as_ref() } else { self.many.get(i - 2) };
        match target {
            Some(target) => Watch::new(&target.file, target.interest),
            None => Watch { queue: None, interest: Events::empty() },
        }
    }

    /// Itself, if `added` says that all are there; else lets go of them.
    pub async fn complete(self, added: Result<usize>) -> Result<Targets> {
        match added {
            Ok(_) => Ok(self),
            Err(error) => {
                self.release().await;
                Err(error)
            }
        }
    }

    /// Lets go of them, a part at a time.
    async fn release(mut self) {
        while self.many.len() > PART {
            self.many.truncate(self.many.len() - PART);
            executor::preempt().await;
        }
    }
}

/// Descriptors that are gone over before others have their turn.
pub const PART: usize = 256;

/// What looks at some of a call's descriptors, and counts those that are ready. The parts of a pass come in order, each once. It
/// is told whether this pass is the call's last.
pub trait Look: FnMut(Range<usize>, bool) -> Result<usize> {}
impl<F: FnMut(Range<usize>, bool) -> Result<usize>> Look for F {}

/// Hands all of `count` to `each`, part by part, and lets others run in between; from the beginning again after a fault. The sum of
/// what it returned.
pub async fn in_parts(
    current: &Current,
    count: usize,
    mut each: impl FnMut(Range<usize>) -> Result<usize>,
) -> Result<usize> {
    let (mut from, mut sum) = (0, 0);
    loop {
        let to = count.min(from + PART);
        match each(from..to) {
            Err(Error::Fault(page)) => {
                fault::resolve(current, page).await?;
                (from, sum) = (0, 0);
            }
            Ok(n) if to == count => return Ok(sum + n),
            Ok(n) => {
                (from, sum) = (to, sum + n);
                executor::preempt().await;
            }
            error => return error,
        }
    }
}

/// Waits until `look` counts some of the call's descriptors, which `targets` are about; 0 when the time is up. It looks after each
/// notification, so that the call sleeps on even if a target is ready for what the call does not count.
pub async fn wait(
    current: &Current,
    targets: Targets,
    deadline: Option<u64>,
    count: usize,
    mut look: impl Look,
) -> Result<usize> {
    if !targets.many.is_empty() || count > PART {
        let mut crowd = Crowd::default();
        let result = wait_among(&mut crowd, &targets, deadline, current, count, look).await;
        while !crowd.is_empty() {
            crowd.shorten(PART);
            executor::preempt().await;
        }
        drop(crowd);
        targets.release().await;
        return result;
    }
    loop {
        let check = || match look(0..count, false) {
            Ok(0) => None,
            other => Some(other),
        };
        let two = [targets.watch(0), targets.watch(1)];
        match bounded(current, Restart::IfUnhandled, deadline, wait_for_two(two, check)).await? {
            Some(Err(Error::Fault(page))) => fault::resolve(current, page).await?,
            Some(other) => return other,
            None => return in_parts(current, count, |part| look(part, true)).await,
        }
    }
}

/// [`wait`] for many: they join `crowd`, whatever comes of it.
async fn wait_among<'a>(
    crowd: &mut Crowd<'a>,
    targets: &'a Targets,
    deadline: Option<u64>,
    current: &Current,
    count: usize,
    mut look: impl Look,
) -> Result<usize> {
    let watched = 2 + targets.many.len();
    crowd.reserve(watched)?;
    in_parts(current, watched, |part| {
        for i in part {
            crowd.push(&targets.watch(i))?;
        }
        Ok(0)
    })
    .await?;
    loop {
        crowd.begin();
        in_parts(current, crowd.len(), |part| {
            crowd.arm(part);
            Ok(0)
        })
        .await?;
        match in_parts(current, count, |part| look(part, false)).await? {
            0 => {}
            n => return Ok(n),
        }
        if bounded(current, Restart::IfUnhandled, deadline, crowd.sleep()).await?.is_none() {
            return in_parts(current, count, |part| look(part, true)).await;
        }
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
    if call.count > PART {
        return Err(Error::WouldBlock);
    }
    match call.pass(current, 0..call.count)? {
        0 if !call.bounds.is_over() => Err(Error::WouldBlock),
        n => Ok(n),
    }
}

impl Polling {
    /// Hands each entry of a part, with its number, to `each`.
    fn entries(&self, part: Range<usize>, mut each: impl FnMut(usize, &PollFd) -> Result<()>) -> Result<()> {
        let mut batch = [PollFd::default(); BATCH];
        for from in part.clone().step_by(BATCH) {
            let n = BATCH.min(part.end - from);
            self.fds.add(from).read_slice(&mut batch[..n])?;
            for (i, entry) in batch[..n].iter().enumerate() {
                each(from + i, entry)?;
            }
        }
        Ok(())
    }

    /// Looks at each descriptor of a part once, stores what it is ready for, and counts those that are. To do it again after a
    /// fault is harmless.
    fn pass(&self, current: &Current, part: Range<usize>) -> Result<usize> {
        let caller = current.caller();
        let mut count = 0;
        self.entries(part, |i, entry| {
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

    async fn targets(&self, current: &Current) -> Result<Targets> {
        let mut targets = Targets::default();
        let added = in_parts(current, self.count, |part| {
            if part.start == 0 {
                targets.clear();
            }
            self.entries(part, |_, entry| {
                // One that is not open is ready: the next pass reports it.
                if let Ok(fd) = u32::try_from(entry.fd)
                    && let Ok(file) = current.files.get(fd)
                {
                    targets.push(file, Events::from_bits_truncate(entry.events.into()))?;
                }
                Ok(())
            })?;
            Ok(0)
        })
        .await;
        targets.complete(added).await
    }

    /// A wait whose end the program cannot look up: interrupted, it goes on to the same end.
    async fn wait_until(&self, current: &mut Current, until: u64) -> Result<usize> {
        let result = self.wait(current, Some(until)).await;
        let Err(Error::Interrupted(_)) = result else { return result };
        current.resume = Some(Box::new(Resume::Poll { fds: self.fds.addr(), count: self.count as u32, until }));
        Err(Error::Interrupted(Restart::Resume))
    }

    async fn wait(&self, current: &Current, deadline: Option<u64>) -> Result<usize> {
        let look = |part, _| self.pass(current, part);
        if self.count > PART {
            // These have not been looked at.
            match in_parts(current, self.count, |part| look(part, false)).await? {
                0 if !self.bounds.is_over() => {}
                n => return Ok(n),
            }
        }
        wait(current, self.targets(current).await?, deadline, self.count, look).await
    }
}

/// Waits where no descriptor was ready, or where there are many.
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
