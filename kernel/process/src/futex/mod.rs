//! Futexes (futex(2)): threads that wait for a word of user memory to change.
//!
//! A waiter is an entry in a bucket of a fixed table, found by the hash of its key. Its thread sleeps until
//! the entry's waker has taken it out of the bucket and said so in the thread's `futex_wake` word.
//! The bucket's lock covers both the look at the word and the queueing, so no wake falls between.

mod bucket;
mod many;
pub mod pi;

use crate::current::Current;
use crate::fault;
use crate::thread::Thread;
use alloc::sync::Arc;
use arch::addr::VirtAddr;
use base::{Errno, Error, Restart, Result, rank};
use bucket::Bucket;
use core::future::poll_fn;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Poll;
use executor::spin::{SpinGuard, SpinLock};
use memory::user::UserPtr;

pub use many::{Word, wait_any};

/// What identifies a futex: the address space and address, or the shared object and offset behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    space: usize,
    offset: u64,
}

/// Matches every waiter.
pub const ANY: u32 = u32::MAX;

struct Waiter {
    key: Key,
    bitset: u32,
    ticket: u64,
    thread: Arc<Thread>,
    kind: Kind,
}

/// How a waiter waits.
enum Kind {
    /// For one word.
    Single,
    /// For any of several: their common record, and its place there.
    Any(Arc<many::Group>, usize),
    /// To be moved to this lock (FUTEX_WAIT_REQUEUE_PI), and to nowhere else.
    Requeued(Key),
}

impl Waiter {
    /// Says that it was woken, under its bucket's lock. Its thread is to be woken after that.
    #[inline]
    fn set_woken(&self) {
        if let Kind::Any(group, place) = &self.kind {
            group.set_woken(*place);
        }
        self.thread.futex_wake.store(self.ticket, Ordering::Release);
    }

    /// Says that it was moved, under the locks of both buckets.
    fn moved(&mut self, to: Key) {
        self.key = to;
        match &self.kind {
            Kind::Any(group, place) => group.moved(*place, to),
            _ => *self.thread.futex_moved.lock() = Some(to),
        }
    }
}

const BUCKETS: usize = 1024;

static TABLE: [SpinLock<Bucket<Waiter>>; BUCKETS] = [const { SpinLock::new(rank::FUTEX, Bucket::new()) }; BUCKETS];

static TICKETS: AtomicU64 = AtomicU64::new(1);

impl Key {
    /// No key comes before it.
    const FIRST: Key = Key { space: 0, offset: 0 };

    /// The key of the word at `addr`. EINVAL if it is not aligned, EFAULT if it cannot be mapped. A private futex is known by
    /// its address; a shared one by the object it lies in, if it lies in one.
    pub async fn find(current: &Current, addr: VirtAddr, private: bool) -> Result<Key> {
        let own = Key::private(current, addr)?;
        if private {
            return Ok(own);
        }
        let shared = current.space.shared_location(addr).await?;
        Ok(shared.map_or(own, |(object, offset)| Key { space: object, offset }))
    }

    /// The key of a private futex. Errors as for [`Key::find`].
    #[inline]
    fn private(current: &Current, addr: VirtAddr) -> Result<Key> {
        if !addr.0.is_multiple_of(4) {
            return Err(Errno::EINVAL.into());
        }
        if addr >= arch::paging::USER_END {
            return Err(Errno::EFAULT.into());
        }
        Ok(Key { space: Arc::as_ptr(&current.space).addr(), offset: addr.0 as u64 })
    }

    fn bucket(&self) -> usize {
        let mixed = (self.space as u64 ^ self.offset.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 54) as usize % BUCKETS
    }
}

/// An entry in the table; dropping it takes it out, and hands on a wake that came meanwhile.
struct Queued<'a> {
    thread: &'a Arc<Thread>,
    ticket: u64,
    key: Key,
    consumed: bool,
}

impl Queued<'_> {
    fn is_woken(&self) -> bool {
        self.thread.futex_wake.load(Ordering::Acquire) == self.ticket
    }

    #[inline]
    fn woken(&self) -> impl Future<Output = ()> {
        poll_fn(|_| if self.is_woken() { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Where the entry is: a requeue may have moved it.
    fn remove(&self) {
        let mut key = self.key;
        loop {
            let mut bucket = TABLE[key.bucket()].lock();
            if let Some(at) = bucket.position(|waiter| waiter.ticket == self.ticket) {
                bucket.remove(at);
                return;
            }
            drop(bucket);
            if self.is_woken() {
                return;
            }
            // Not there and not woken: it was moved. Requeueing holds both locks, so it is somewhere.
            match self.moved() {
                Some(moved) => key = moved,
                None => return,
            }
        }
    }

    /// Where a requeue has moved the thread's wait to last, this one or one before.
    fn moved(&self) -> Option<Key> {
        *self.thread.futex_moved.lock()
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.consumed {
            return;
        }
        self.remove();
        if self.is_woken() {
            // Where the wake came from is one of these; a waiter that wakes for nothing looks at its word again.
            wake_key(self.key, 1, ANY);
            if let Some(moved) = self.moved() {
                wake_key(moved, 1, ANY);
            }
        }
    }
}

/// FUTEX_WAIT and FUTEX_WAIT_BITSET: waits while the word at `addr` is `value`, until woken by one of the bits
/// of `bitset`, or `deadline` (nanoseconds since boot). Errors: EAGAIN if the word differs, ETIMEDOUT, EINVAL, EFAULT.
pub async fn wait(
    current: &Current,
    addr: VirtAddr,
    private: bool,
    value: u32,
    bitset: u32,
    deadline: Option<u64>,
    restart: Restart,
) -> Result<()> {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = Key::find(current, addr, private).await?;
    let mut queued = loop {
        match enqueue(current, key, addr, value, bitset) {
            Ok(queued) => break queued,
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            Err(error) => return Err(error),
        }
    };
    let woken = queued.woken();
    let result = match deadline {
        None => current.thread.interruptible(restart, woken).await.map(|()| true),
        Some(at) => {
            let timed = executor::timeout_at(at, woken);
            current.thread.interruptible(restart, timed).await.map(|done| done.is_ok())
        }
    };
    if queued.is_woken() {
        queued.consumed = true;
        return Ok(());
    }
    match result {
        Ok(_) => Err(Errno::ETIMEDOUT.into()),
        Err(error) => Err(error),
    }
}

/// A thread's place in the table, on the way from [`queue_private`] to [`asleep`].
pub struct Ticket {
    ticket: u64,
    key: Key,
}

/// The half of an unlimited wait on a private futex that does not wait: looks at the word and queues the thread. WouldBlock: it
/// is queued, and [`asleep`] must follow. Errors as for [`wait`]; of a fault the word is to be made present.
#[inline]
pub fn queue_private(current: &mut Current, addr: VirtAddr, value: u32, bitset: u32) -> Result<()> {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = Key::private(current, addr)?;
    let ticket = push(current, key, addr, value, bitset, || Kind::Single)?;
    current.futex = Some(Ticket { ticket, key });
    Err(Error::WouldBlock)
}

/// Goes on with a wait after [`queue_private`].
#[inline]
pub async fn asleep(current: &mut Current) -> Result<()> {
    let Ticket { ticket, key } = current.futex.take().ok_or(Errno::EAGAIN)?;
    let mut queued = Queued { thread: &current.thread, ticket, key, consumed: false };
    let result = current.thread.interruptible(Restart::IfAsked, queued.woken()).await;
    if queued.is_woken() {
        queued.consumed = true;
        return Ok(());
    }
    result
}

fn enqueue<'a>(current: &'a Current, key: Key, addr: VirtAddr, value: u32, bitset: u32) -> Result<Queued<'a>> {
    let ticket = push(current, key, addr, value, bitset, || Kind::Single)?;
    Ok(Queued { thread: &current.thread, ticket, key, consumed: false })
}

/// Puts the thread into the table while the word is `value`; EAGAIN if it is not.
#[inline]
fn push(
    current: &Current,
    key: Key,
    addr: VirtAddr,
    value: u32,
    bitset: u32,
    kind: impl FnOnce() -> Kind,
) -> Result<u64> {
    let mut bucket = TABLE[key.bucket()].lock();
    if UserPtr::<u32>::new(addr).load()? != value {
        return Err(Errno::EAGAIN.into());
    }
    bucket.try_reserve().map_err(|_| Errno::ENOMEM)?;
    let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
    bucket.push_back(Waiter { key, bitset, ticket, thread: current.thread.clone(), kind: kind() });
    Ok(ticket)
}

/// FUTEX_WAKE and FUTEX_WAKE_BITSET: wakes up to `count` waiters on the word; returns how many. EINVAL, EFAULT.
pub async fn wake(current: &Current, addr: VirtAddr, private: bool, count: u32, bitset: u32) -> Result<usize> {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = Key::find(current, addr, private).await?;
    refuse_lock(key, wake_key(key, count, bitset))
}

/// What a call gives that woke `count` threads: EINVAL where nobody waits but for a lock.
#[inline]
fn refuse_lock(key: Key, count: usize) -> Result<usize> {
    if count == 0 && pi::is_lock(key) { Err(Errno::EINVAL.into()) } else { Ok(count) }
}

/// As [`wake`], for a private futex: never waits.
pub fn wake_private(current: &Current, addr: VirtAddr, count: u32, bitset: u32) -> Result<usize> {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = Key::private(current, addr)?;
    refuse_lock(key, wake_key(key, count, bitset))
}

/// Wakes one waiter on the id word of a thread that has exited: a joiner. The word may be awaited as shared or private.
pub(crate) async fn wake_exited(current: &Current, addr: VirtAddr) {
    for private in [false, true] {
        if let Ok(key) = Key::find(current, addr, private).await
            && wake_key(key, 1, ANY) > 0
        {
            return;
        }
    }
}

/// Few, since most calls wake one.
const BATCH: usize = 4;

/// The wakes themselves are issued outside the bucket's lock, a handful at a time.
fn wake_key(key: Key, count: u32, bitset: u32) -> usize {
    let mut total = 0;
    while total < count as usize {
        let mut batch: [Option<Arc<Thread>>; BATCH] = [const { None }; BATCH];
        let wanted = (count as usize - total).min(batch.len());
        let taken = take_matching(&mut TABLE[key.bucket()].lock(), key, bitset, &mut batch[..wanted]);
        for thread in batch[..taken].iter_mut().filter_map(Option::take) {
            thread.wake();
        }
        total += taken;
        if taken < wanted {
            break;
        }
    }
    total
}

/// Takes waiters out of a bucket and marks them woken. Returns how many.
fn take_matching(bucket: &mut Bucket<Waiter>, key: Key, bitset: u32, out: &mut [Option<Arc<Thread>>]) -> usize {
    let mut taken = 0;
    let mut at = 0;
    while taken < out.len()
        && let Some(waiter) = bucket.get(at)
    {
        if waiter.key != key || waiter.bitset & bitset == 0 || matches!(waiter.kind, Kind::Requeued(_)) {
            at += 1;
            continue;
        }
        // The first of a bucket, which it is most often, goes without moving the others.
        if let Some(waiter) = if at == 0 { bucket.pop_front() } else { bucket.remove(at) } {
            waiter.set_woken();
            out[taken] = Some(waiter.thread);
            taken += 1;
        }
    }
    taken
}

/// FUTEX_REQUEUE and FUTEX_CMP_REQUEUE: wakes up to `wake` waiters and moves up to `requeue` others to the word at `to`. With
/// `expected`, EAGAIN if the word at `from` differs. Returns how many were woken and how many moved.
pub async fn requeue(
    current: &Current,
    from: VirtAddr,
    to: VirtAddr,
    private: bool,
    wake: u32,
    requeue: u32,
    expected: Option<u32>,
) -> Result<(usize, usize)> {
    let from_key = Key::find(current, from, private).await?;
    let to_key = Key::find(current, to, private).await?;
    loop {
        match try_requeue(from, from_key, to_key, wake, requeue, expected) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => return other,
        }
    }
}

fn try_requeue(
    from: VirtAddr,
    from_key: Key,
    to_key: Key,
    wake: u32,
    requeue: u32,
    expected: Option<u32>,
) -> Result<(usize, usize)> {
    let (mut source, mut target) = lock_two(from_key.bucket(), to_key.bucket());
    if let Some(expected) = expected
        && UserPtr::<u32>::new(from).load()? != expected
    {
        return Err(Errno::EAGAIN.into());
    }
    let mut woken = 0;
    let mut moved = 0;
    let mut sleepers = alloc::vec::Vec::new();
    let mut at = 0;
    while let Some(waiter) = source.get(at) {
        if waiter.key != from_key {
            at += 1;
            continue;
        }
        if matches!(waiter.kind, Kind::Requeued(_)) {
            // It expects to be moved to a lock.
            if woken + moved == 0 {
                return Err(Errno::EINVAL.into());
            }
            break;
        }
        if woken < wake as usize {
            // Who was taken out is woken below, whatever happens: without memory for more, fewer are.
            if sleepers.try_reserve(1).is_err() {
                break;
            }
            if let Some(waiter) = source.remove(at) {
                waiter.set_woken();
                sleepers.push(waiter.thread);
                woken += 1;
            }
        } else if moved < requeue as usize {
            match &mut target {
                None => {
                    if let Some(waiter) = source.get_mut(at) {
                        waiter.moved(to_key);
                    }
                    at += 1;
                }
                Some(target) => {
                    if target.try_reserve().is_err() {
                        break;
                    }
                    if let Some(mut waiter) = source.remove(at) {
                        waiter.moved(to_key);
                        target.push_back(waiter);
                    }
                }
            }
            moved += 1;
        } else {
            break;
        }
    }
    drop((source, target));
    for thread in sleepers {
        thread.wake();
    }
    Ok((woken, moved))
}

type Locked = SpinGuard<'static, Bucket<Waiter>>;

/// Locks two buckets in the order of the table; the second is `None` if they are one.
fn lock_two(first: usize, second: usize) -> (Locked, Option<Locked>) {
    if first == second {
        return (TABLE[first].lock(), None);
    }
    if first < second {
        let a = TABLE[first].lock();
        let b = TABLE[second].lock_same_rank();
        (a, Some(b))
    } else {
        let b = TABLE[second].lock();
        let a = TABLE[first].lock_same_rank();
        (a, Some(b))
    }
}

/// FUTEX_WAKE_OP: changes the word at `second` by `operation` and wakes waiters on `first`, and on `second` if its old value compares
/// as asked.
pub async fn wake_op(
    current: &Current,
    first: VirtAddr,
    second: VirtAddr,
    private: bool,
    counts: (u32, u32),
    operation: u32,
) -> Result<usize> {
    let first_key = Key::find(current, first, private).await?;
    let second_key = Key::find(current, second, private).await?;
    let old = loop {
        match modify(second, operation) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    let mut woken = wake_key(first_key, counts.0, ANY);
    if compares(old, operation)? {
        woken += wake_key(second_key, counts.1, ANY);
    }
    Ok(woken)
}

/// Sign-extends the 12-bit field of `operation` at `shift`.
fn field(operation: u32, shift: u32) -> u32 {
    ((operation << (20 - shift)) as i32 >> 20) as u32
}

fn modify(addr: VirtAddr, operation: u32) -> Result<u32> {
    let word = UserPtr::<u32>::new(addr);
    let mut argument = field(operation, 12);
    if operation >> 31 != 0 {
        argument = 1u32.checked_shl(argument & 31).unwrap_or(0);
    }
    loop {
        let old = word.load()?;
        let new = match operation >> 28 & 7 {
            0 => argument,
            1 => old.wrapping_add(argument),
            2 => old | argument,
            3 => old & !argument,
            4 => old ^ argument,
            _ => return Err(Errno::ENOSYS.into()),
        };
        if word.compare_exchange(old, new)? == old {
            return Ok(old);
        }
    }
}

fn compares(old: u32, operation: u32) -> Result<bool> {
    let (old, argument) = (old as i32, field(operation, 0) as i32);
    Ok(match operation >> 24 & 15 {
        0 => old == argument,
        1 => old != argument,
        2 => old < argument,
        3 => old <= argument,
        4 => old > argument,
        5 => old >= argument,
        _ => return Err(Errno::ENOSYS.into()),
    })
}

#[cfg(test)]
mod tests;
