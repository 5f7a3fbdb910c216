//! futex_waitv(2): waiting for any of several futexes.

use super::{Key, Kind, TABLE, TICKETS, Waiter, wake_key};
use crate::current::Current;
use crate::fault;
use crate::thread::Thread;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::addr::VirtAddr;
use base::{Errno, Error, Restart, Result, rank};
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;
use executor::spin::SpinLock;
use memory::user::UserPtr;

/// One of the futexes.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Where it is.
    pub addr: VirtAddr,
    /// What it is expected to hold.
    pub value: u32,
    /// FUTEX_PRIVATE_FLAG.
    pub private: bool,
}

/// What the entries of one call have in common: who takes one out of the table or moves it says so here, by its place, under its
/// bucket's lock.
pub(super) struct Group {
    places: Vec<Place>,
}

struct Place {
    woken: AtomicBool,
    key: SpinLock<Key>,
}

impl Group {
    pub(super) fn set_woken(&self, place: usize) {
        if let Some(place) = self.places.get(place) {
            place.woken.store(true, Ordering::Release);
        }
    }

    pub(super) fn moved(&self, place: usize, to: Key) {
        if let Some(place) = self.places.get(place) {
            *place.key.lock() = to;
        }
    }

    fn first_woken(&self) -> Option<usize> {
        self.places.iter().position(|place| place.woken.load(Ordering::Acquire))
    }
}

/// Entries in the table; dropping them takes them out, and hands on the wakes that came meanwhile.
struct Queued {
    group: Arc<Group>,
    first_ticket: u64,
    /// How many of the places are in the table.
    count: usize,
}

impl Queued {
    fn remove_all(&mut self) {
        for (i, place) in self.group.places[..self.count].iter().enumerate() {
            let ticket = self.first_ticket + i as u64;
            while !place.woken.load(Ordering::Acquire) {
                let key = *place.key.lock();
                let mut bucket = TABLE[key.bucket()].lock();
                // Not there and not woken: it was moved since, and the next look knows where.
                if let Some(at) = bucket.position(|waiter| waiter.ticket == ticket) {
                    bucket.remove(at);
                    break;
                }
            }
        }
        self.count = 0;
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        let count = self.count;
        self.remove_all();
        for place in &self.group.places[..count] {
            if place.woken.load(Ordering::Acquire) {
                let key = *place.key.lock();
                wake_key(key, 1, super::ANY);
            }
        }
    }
}

/// Waits while each word holds what is expected of it, until one is woken or `deadline` (nanoseconds since boot). Returns which.
/// Errors: EAGAIN if a word differs, ETIMEDOUT, EINVAL, EFAULT, ENOMEM; a signal restarts or ends it.
pub async fn wait_any(current: &Current, words: &[Word], deadline: Option<u64>) -> Result<usize> {
    let mut places = Vec::new();
    places.try_reserve_exact(words.len()).map_err(|_| Errno::ENOMEM)?;
    for word in words {
        let key = Key::find(current, word.addr, word.private).await?;
        places.push(Place { woken: AtomicBool::new(false), key: SpinLock::new(rank::FUTEX_MOVED, key) });
    }
    let group = Arc::new(Group { places });
    let first_ticket = TICKETS.fetch_add(words.len() as u64, Ordering::Relaxed);
    let mut queued = Queued { group: group.clone(), first_ticket, count: 0 };
    while queued.count < words.len() {
        let place = queued.count;
        match push(&current.thread, &queued, words[place]) {
            Ok(()) => queued.count += 1,
            Err(error) => {
                queued.remove_all();
                if let Some(place) = group.first_woken() {
                    return Ok(place);
                }
                match error {
                    Error::Fault(page) => fault::resolve(current, page).await?,
                    error => return Err(error),
                }
            }
        }
    }
    let woken = poll_fn(|_| match group.first_woken() {
        Some(place) => Poll::Ready(place),
        None => Poll::Pending,
    });
    let result = match deadline {
        None => current.thread.interruptible(Restart::IfAsked, woken).await.map(Ok),
        Some(at) => current.thread.interruptible(Restart::IfAsked, executor::timeout_at(at, woken)).await,
    };
    queued.remove_all();
    // One that came last of all still counts.
    match (group.first_woken(), result) {
        (Some(place), _) => Ok(place),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(Errno::ETIMEDOUT.into()),
    }
}

/// Puts the next place into the table while its word is as expected.
fn push(thread: &Arc<Thread>, queued: &Queued, word: Word) -> Result<()> {
    let place = queued.count;
    let key = *queued.group.places[place].key.lock();
    let mut bucket = TABLE[key.bucket()].lock();
    if UserPtr::<u32>::new(word.addr).load()? != word.value {
        return Err(Errno::EAGAIN.into());
    }
    bucket.try_reserve().map_err(|_| Errno::ENOMEM)?;
    let ticket = queued.first_ticket + place as u64;
    let kind = Kind::Any(queued.group.clone(), place);
    bucket.push_back(Waiter { key, bitset: super::ANY, ticket, thread: thread.clone(), kind });
    Ok(())
}
