//! Priority-inheriting futexes (futex(2), "Priority-inheritance futexes").
//!
//! The word holds its owner's id, and FUTEX_WAITERS as long as an unlock has to come here. A lock that nobody waits for is
//! known to its word alone. The first waiter makes it known to the [`graph`], which from then on says who owns it.

mod graph;
mod requeue;
#[cfg(test)]
mod tests;

pub use requeue::{requeue, wait_requeue};

use super::{Key, TABLE, TICKETS};
use crate::current::Current;
use crate::fault;
use crate::pid;
use crate::thread::Thread;
use alloc::sync::Arc;
use arch::addr::VirtAddr;
use base::{Errno, Error, Restart, Result};
use core::future::poll_fn;
use core::sync::atomic::Ordering;
use core::task::Poll;
use executor::Class;
use linux_raw_sys::general::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use memory::user::UserPtr;

/// A place in the line for a lock; dropping it gives it up.
struct Queued<'a> {
    thread: &'a Arc<Thread>,
    ticket: u64,
    key: Key,
}

impl Queued<'_> {
    fn is_owner(&self) -> bool {
        self.thread.futex_wake.load(Ordering::Acquire) == self.ticket
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if !self.is_owner() {
            graph::lock().leave(self.key, self.thread, self.ticket);
        }
    }
}

/// What comes of an attempt to take a lock.
enum Attempt<'a> {
    /// It is the caller's.
    Taken,
    /// The caller waits for it.
    Queued(Queued<'a>),
    /// The word has changed meanwhile.
    Again,
}

/// FUTEX_LOCK_PI: takes the lock, and waits for it until `deadline` (nanoseconds since boot). With `only_try`, FUTEX_TRYLOCK_PI:
/// EAGAIN instead of waiting.
///
/// EDEADLK where the wait would never end, ESRCH if the owner is gone, EINVAL where word and waiters do not fit, ETIMEDOUT,
/// EFAULT. A signal restarts the call; the program never sees it.
pub async fn lock(
    current: &Current,
    addr: VirtAddr,
    private: bool,
    deadline: Option<u64>,
    only_try: bool,
) -> Result<()> {
    let key = Key::find(current, addr, private).await?;
    let queued = loop {
        match attempt(&current.thread, key, addr, only_try) {
            Ok(Attempt::Taken) => return Ok(()),
            Ok(Attempt::Queued(queued)) => break queued,
            // Whoever changed it may do so for ever.
            Ok(Attempt::Again) => current.thread.killable(executor::yield_now()).await?,
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            Err(error) => return Err(error),
        }
    };
    let ended = sleep(&queued, deadline).await;
    if !give_up(&queued) {
        return claim(current, key, addr).await;
    }
    Err(ended.err().unwrap_or(Errno::ETIMEDOUT.into()))
}

/// Waits to be the owner.
async fn sleep(queued: &Queued<'_>, deadline: Option<u64>) -> Result<()> {
    let owner = poll_fn(|_| if queued.is_owner() { Poll::Ready(()) } else { Poll::Pending });
    match deadline {
        None => queued.thread.interruptible(Restart::Always, owner).await,
        Some(at) => queued.thread.interruptible(Restart::Always, executor::timeout_at(at, owner)).await.map(drop),
    }
}

/// Leaves the line. False if the lock was handed over before.
fn give_up(queued: &Queued<'_>) -> bool {
    let mut graph = graph::lock();
    let waits = !queued.is_owner();
    if waits {
        graph.leave(queued.key, queued.thread, queued.ticket);
    }
    waits
}

/// The id in a word.
fn owner_in(word: u32) -> u32 {
    word & FUTEX_TID_MASK
}

/// The thread with this id, if it may still own locks: looked up before the graph is locked.
fn living(id: u32) -> Option<Arc<Thread>> {
    pid::find_thread(id).filter(|thread| !thread.owns_nothing())
}

/// Whether somebody waits for the word in another way.
fn has_plain_waiters(key: Key) -> bool {
    TABLE[key.bucket()].lock().iter().any(|waiter| waiter.key == key)
}

/// Stores `new` in the word if it still is what was seen. Whether it was.
fn replace(addr: VirtAddr, seen: u32, new: u32) -> Result<bool> {
    Ok(UserPtr::<u32>::new(addr).compare_exchange(seen, new)? == seen)
}

fn attempt<'a>(me: &'a Arc<Thread>, key: Key, addr: VirtAddr, only_try: bool) -> Result<Attempt<'a>> {
    let word = UserPtr::<u32>::new(addr);
    let seen = word.load()?;
    if owner_in(seen) == me.id() {
        return Err(Errno::EDEADLK.into());
    }
    let named = living(owner_in(seen));
    let mut graph = graph::lock();
    if word.load()? != seen {
        return Ok(Attempt::Again);
    }
    let owner = match graph.get(&key) {
        Some(lock) if lock.orphaned || lock.owner.id() == owner_in(seen) => lock.owner.clone(),
        Some(_) => return Err(Errno::EINVAL.into()),
        None if owner_in(seen) == 0 => {
            let taken = replace(addr, seen, me.id() | seen & FUTEX_OWNER_DIED)?;
            return Ok(if taken { Attempt::Taken } else { Attempt::Again });
        }
        None if has_plain_waiters(key) => return Err(Errno::EINVAL.into()),
        None => named.ok_or(Errno::ESRCH)?,
    };
    if only_try {
        return Err(Errno::EAGAIN.into());
    }
    if !replace(addr, seen, seen | FUTEX_WAITERS)? {
        return Ok(Attempt::Again);
    }
    let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
    graph.enqueue(key, &owner, me, ticket)?;
    let queued = Queued { thread: me, ticket, key };
    // An owner that died before it could see this has let go of what it owned: this goes the same way.
    let died = owner.owns_nothing() && graph.get(&key).is_some_and(|lock| Arc::ptr_eq(&lock.owner, &owner));
    let heir = if died { graph.hand_over(key, true) } else { None };
    drop(graph);
    if let Some(heir) = heir {
        heir.wake();
    }
    Ok(Attempt::Queued(queued))
}

/// What a new owner does: where the one before it died, the word does not say so yet. EFAULT where it cannot; the lock then
/// goes to the next.
async fn claim(current: &Current, key: Key, addr: VirtAddr) -> Result<()> {
    loop {
        match try_claim(&current.thread, key, addr) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(Error::Fault(page)) if fault::resolve(current, page).await.is_ok() => {}
            Err(_) => {
                let next = graph::lock().hand_over(key, true);
                if let Some(next) = next {
                    next.wake();
                }
                return Err(Errno::EFAULT.into());
            }
        }
    }
}

fn try_claim(me: &Arc<Thread>, key: Key, addr: VirtAddr) -> Result<bool> {
    let mut graph = graph::lock();
    let Some(lock) = graph.get(&key).filter(|lock| lock.orphaned && Arc::ptr_eq(&lock.owner, me)) else {
        return Ok(true);
    };
    let seen = UserPtr::<u32>::new(addr).load()?;
    if !replace(addr, seen, me.id() | FUTEX_WAITERS | FUTEX_OWNER_DIED)? {
        return Ok(false);
    }
    lock.orphaned = false;
    graph.tidy(key);
    Ok(true)
}

/// FUTEX_UNLOCK_PI: gives the lock to the first in line. EPERM if it is not the caller's, EINVAL where word and owner do not
/// fit, EFAULT.
pub async fn unlock(current: &Current, addr: VirtAddr, private: bool) -> Result<()> {
    let key = Key::find(current, addr, private).await?;
    loop {
        match try_unlock(&current.thread, key, addr) {
            Ok(true) => return Ok(()),
            Ok(false) => current.thread.killable(executor::yield_now()).await?,
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            Err(error) => return Err(error),
        }
    }
}

fn try_unlock(me: &Arc<Thread>, key: Key, addr: VirtAddr) -> Result<bool> {
    let seen = UserPtr::<u32>::new(addr).load()?;
    if owner_in(seen) != me.id() {
        return Err(Errno::EPERM.into());
    }
    let mut graph = graph::lock();
    let Some(lock) = graph.get(&key) else { return replace(addr, seen, 0) };
    if !Arc::ptr_eq(&lock.owner, me) {
        return Err(Errno::EINVAL.into());
    }
    let next = lock.waiters.first().map_or(0, |next| next.thread.id() | FUTEX_WAITERS);
    if !replace(addr, seen, next)? {
        return Ok(false);
    }
    let next = graph.hand_over(key, false);
    drop(graph);
    if let Some(next) = next {
        next.wake();
    }
    Ok(true)
}

/// Whether the word of `key` is waited for as a lock, so that it is no business of FUTEX_WAKE and its like.
pub(super) fn is_lock(key: Key) -> bool {
    !graph::is_empty() && graph::lock().get(&key).is_some()
}

/// What a thread owns at its end, or when it executes another program, goes to those who wait for it.
pub(crate) fn release_owned(thread: &Arc<Thread>) {
    thread.set_owns_nothing(true);
    while !graph::is_empty() {
        let mut graph = graph::lock();
        let Some(key) = graph.owned_by(thread) else { return };
        let next = graph.hand_over(key, true);
        drop(graph);
        if let Some(next) = next {
            next.wake();
        }
    }
}

/// The class that a thread was given, also where it runs by a higher one because somebody waits for it.
pub(crate) fn own_class(thread: &Thread) -> Class {
    if graph::is_empty() { thread.running_class() } else { graph::lock().own_class(thread) }
}

/// Gives a thread another class.
pub(crate) fn set_class(thread: &Arc<Thread>, class: Class) {
    graph::lock().set_class(thread, class);
}
