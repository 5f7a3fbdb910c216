//! FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI: from a condition straight into the line for its lock.

use super::super::{Kind, Waiter};
use super::*;
use crate::futex;

/// FUTEX_WAIT_REQUEUE_PI: waits while the word at `addr` is `value`, to be moved to the lock at `lock` and to own it then.
///
/// Errors as for [`futex::wait`] and [`lock`](super::lock); EINVAL if both are one, EAGAIN too where a signal came after the move.
pub async fn wait_requeue(
    current: &Current,
    addr: VirtAddr,
    private: bool,
    value: u32,
    deadline: Option<u64>,
    lock: VirtAddr,
) -> Result<()> {
    let (from, to) = (Key::find(current, addr, private).await?, Key::find(current, lock, private).await?);
    if from == to {
        return Err(Errno::EINVAL.into());
    }
    let ticket = loop {
        match futex::push(current, from, addr, value, futex::ANY, || Kind::Requeued(to)) {
            Ok(ticket) => break ticket,
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            Err(error) => return Err(error),
        }
    };
    let waiting = Waiting { queued: Queued { thread: &current.thread, ticket, key: to }, from };
    let ended = sleep(&waiting.queued, deadline).await;
    match (waiting.give_up(), ended) {
        (Place::Owner, _) => claim(current, to, lock).await,
        (_, Ok(())) => Err(Errno::ETIMEDOUT.into()),
        // The word has changed since, so the call cannot be made again.
        (Place::Moved, Err(Error::Interrupted(_))) => Err(Errno::EAGAIN.into()),
        (_, Err(error)) => Err(error),
    }
}

/// A waiter that may have been moved.
struct Waiting<'a> {
    queued: Queued<'a>,
    from: Key,
}

/// Where a waiter was when it gave up.
#[derive(PartialEq, Eq)]
enum Place {
    /// Where it began.
    Unmoved,
    /// In the line for the lock.
    Moved,
    /// The lock is its own.
    Owner,
}

impl Waiting<'_> {
    fn give_up(&self) -> Place {
        let Queued { thread, ticket, key } = self.queued;
        // Moving takes the graph's lock, so it is in one place until this is done.
        let mut graph = graph::lock();
        if self.queued.is_owner() {
            return Place::Owner;
        }
        if graph.awaited_by(thread) == Some(key) {
            graph.leave(key, thread, ticket);
            return Place::Moved;
        }
        let mut bucket = TABLE[self.from.bucket()].lock();
        if let Some(at) = bucket.position(|waiter| waiter.ticket == ticket) {
            bucket.remove(at);
        }
        Place::Unmoved
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// FUTEX_CMP_REQUEUE_PI: gives the lock at `lock` to the first waiter on the word at `addr`, if it is free, and moves up to
/// `count` others, or one more where it is not. EAGAIN if the word is not `expected`, EINVAL where a waiter does not expect
/// this. Returns how many were woken or moved.
pub async fn requeue(
    current: &Current,
    addr: VirtAddr,
    lock: VirtAddr,
    private: bool,
    count: u32,
    expected: u32,
) -> Result<usize> {
    let (from, to) = (Key::find(current, addr, private).await?, Key::find(current, lock, private).await?);
    if from == to {
        return Err(Errno::EINVAL.into());
    }
    loop {
        match try_requeue(addr, lock, from, to, count, expected) {
            Ok(Some(moved)) => return Ok(moved),
            Ok(None) => current.thread.killable(executor::yield_now()).await?,
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            Err(error) => return Err(error),
        }
    }
}

/// One attempt; `None` where the lock's word has changed meanwhile.
fn try_requeue(addr: VirtAddr, lock: VirtAddr, from: Key, to: Key, count: u32, expected: u32) -> Result<Option<usize>> {
    let seen = UserPtr::<u32>::new(lock).load()?;
    let named = living(owner_in(seen));
    let mut graph = graph::lock();
    let mut bucket = TABLE[from.bucket()].lock();
    if UserPtr::<u32>::new(addr).load()? != expected {
        return Err(Errno::EAGAIN.into());
    }
    let waits = |waiter: &&Waiter| waiter.key == from;
    if bucket.iter().filter(waits).any(|waiter| !matches!(waiter.kind, Kind::Requeued(key) if key == to)) {
        return Err(Errno::EINVAL.into());
    }
    let waiting = bucket.iter().filter(waits).count();
    let Some(first) = bucket.iter().find(waits).map(|waiter| (waiter.thread.clone(), waiter.ticket)) else {
        return Ok(Some(0));
    };
    let most = count as usize + 1;
    let (mut done, mut woken) = (0, None);
    let owner = match graph.get(&to) {
        Some(held) if held.orphaned || held.owner.id() == owner_in(seen) => held.owner.clone(),
        Some(_) => return Err(Errno::EINVAL.into()),
        None if owner_in(seen) == 0 => {
            let others = if waiting.min(most) > 1 { FUTEX_WAITERS } else { 0 };
            if !replace(lock, seen, first.0.id() | seen & FUTEX_OWNER_DIED | others)? {
                return Ok(None);
            }
            if let Some(at) = bucket.position(|waiter| waiter.ticket == first.1) {
                bucket.remove(at);
            }
            first.0.futex_wake.store(first.1, Ordering::Release);
            (done, woken) = (1, Some(first.0.clone()));
            first.0
        }
        None => named.ok_or(Errno::ESRCH)?,
    };
    if done == 0 && !replace(lock, seen, seen | FUTEX_WAITERS)? {
        return Ok(None);
    }
    let mut failed = None;
    while done < most
        && let Some(at) = bucket.position(|waiter| waiter.key == from)
        && let Some(waiter) = bucket.get(at)
    {
        if let Err(errno) = graph.enqueue(to, &owner, &waiter.thread, waiter.ticket) {
            failed = Some(errno);
            break;
        }
        bucket.remove(at);
        done += 1;
    }
    // One that has just died let go of what it owned before; these it did not see.
    let orphans = owner.owns_nothing() && graph.get(&to).is_some_and(|held| Arc::ptr_eq(&held.owner, &owner));
    let heir = if orphans { graph.hand_over(to, true) } else { None };
    drop((bucket, graph));
    for thread in woken.into_iter().chain(heir) {
        thread.wake();
    }
    match failed {
        Some(errno) if done == 0 => Err(errno.into()),
        _ => Ok(Some(done)),
    }
}
