//! epoll(7).
//!
//! Each watched descriptor has an [`Item`], attached to its file's queue as an observer. A notification puts the item's slot on
//! the ready list, once, and wakes one waiter; epoll_wait looks at what is on that list and at nothing else.
//! What is level-triggered and still ready goes back to the end of the list.
//!
//! `EPOLL` protects the set of items, `EPOLL_READY` the list; files are asked and descriptions
//! dropped with neither held. The list always has room for every item, so a notification allocates nothing.

use crate::description::Description;
use crate::file::{Caller, DATA, File};
use crate::ranks;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result};
use bitflags::bitflags;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use executor::spin::SpinLock;
use executor::{Observer, ObserverId, WaitQueue};
use hashbrown::HashMap;

bitflags! {
    /// How a descriptor is watched: the upper bits of `events` in epoll_ctl(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Mode: u32 {
        /// EPOLLEXCLUSIVE.
        const EXCLUSIVE = 1 << 28;
        /// EPOLLWAKEUP.
        const WAKEUP = 1 << 29;
        /// EPOLLONESHOT.
        const ONESHOT = 1 << 30;
        /// EPOLLET.
        const EDGE = 1 << 31;
    }
}

/// How deep epoll descriptors may watch each other.
const MAX_NESTS: u32 = 5;

/// What a watched descriptor is known by.
type Key = (u32, usize);

/// An epoll instance.
pub struct Epoll {
    me: Weak<Epoll>,
    items: SpinLock<Items>,
    ready: Arc<Ready>,
    /// How long a chain of epolls above this one may be; never falls.
    height: AtomicU32,
}

#[derive(Default)]
struct Items {
    slots: Vec<Option<Arc<Item>>>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32>,
}

struct Ready {
    list: SpinLock<VecDeque<u32>>,
    queue: WaitQueue,
}

struct Item {
    slot: u32,
    key: Key,
    description: Weak<Description>,
    /// Interest and [`Mode`] as given; 0 once ONESHOT has fired.
    events: AtomicU32,
    data: AtomicU64,
    /// On the ready list.
    queued: AtomicBool,
    observer: SpinLock<Option<ObserverId>>,
    ready: Arc<Ready>,
}

impl Item {
    /// Puts the item on the ready list and wakes one waiter.
    fn enqueue(&self) {
        if self.events.load(Ordering::Relaxed) == 0 || self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.ready.list.lock().push_back(self.slot);
        self.ready.queue.notify_one(DATA.bits());
    }

    fn mode(&self) -> Mode {
        Mode::from_bits_truncate(self.events.load(Ordering::Relaxed))
    }

    /// What `description` is ready for, of what is asked.
    fn poll(&self, description: &Description, caller: &Caller) -> Events {
        let events = self.events.load(Ordering::Relaxed);
        if events == 0 {
            return Events::empty();
        }
        description.poll(caller) & (Events::from_bits_truncate(events) | Events::ALWAYS)
    }
}

impl Observer for Item {
    fn notified(&self, _mask: u32) {
        self.enqueue();
    }
}

fn interest(events: u32) -> u32 {
    (Events::from_bits_truncate(events) | Events::ALWAYS).bits()
}

/// Tells a description which epoll watches it.
pub(crate) struct Watcher {
    epoll: Weak<Epoll>,
    item: Weak<Item>,
}

impl Watcher {
    /// The description is gone.
    pub(crate) fn forget(self, file: &dyn File) {
        let Some(item) = self.item.upgrade() else { return };
        detach(&item, file);
        if let Some(epoll) = self.epoll.upgrade() {
            epoll.take_out(&item);
        }
    }
}

fn detach(item: &Item, file: &dyn File) {
    let id = item.observer.lock().take();
    if let (Some(id), Some(queue)) = (id, file.queue()) {
        queue.detach(id);
    }
}

/// Serialises the addition of epolls to epolls, so that two cannot close a loop together.
static NESTING: SpinLock<()> = SpinLock::new(ranks::EPOLL_NESTING, ());

impl Epoll {
    /// An epoll that watches nothing.
    pub fn new() -> Arc<Epoll> {
        Arc::new_cyclic(|me| Epoll {
            me: me.clone(),
            items: SpinLock::new(ranks::EPOLL, Items::default()),
            ready: Arc::new(Ready {
                list: SpinLock::new(ranks::EPOLL_READY, VecDeque::new()),
                queue: WaitQueue::new(),
            }),
            height: AtomicU32::new(0),
        })
    }

    /// The epoll behind a description. EINVAL if it is none.
    pub fn of(description: &Description) -> Result<&Epoll> {
        description.file().as_any().and_then(|any| any.downcast_ref()).ok_or(Errno::EINVAL.into())
    }

    /// EPOLL_CTL_ADD of `target`, which is open as `fd`. EPERM (cannot be polled), EINVAL (itself, or bad flags),
    /// EEXIST, ELOOP, ENOMEM.
    pub fn add(&self, caller: &Caller, fd: u32, target: &Arc<Description>, events: u32, data: u64) -> Result<()> {
        let queue = target.queue().ok_or(Errno::EPERM)?;
        let nested: Option<&Epoll> = target.file().as_any().and_then(|any| any.downcast_ref());
        check_flags(events, nested.is_some())?;
        if nested.is_some_and(|nested| core::ptr::eq(nested, self)) {
            return Err(Errno::EINVAL.into());
        }
        let nesting = nested.map(|_| NESTING.lock());
        if let Some(nested) = nested {
            let below = nested.depth(self, 1)?;
            let above = self.height.load(Ordering::Relaxed);
            if above + below >= MAX_NESTS {
                return Err(Errno::ELOOP.into());
            }
            nested.raise(above + 1);
        }
        let item = self.put_in(fd, target, events, data)?;
        drop(nesting);
        if let Err(error) = self.attach(&item, target, queue) {
            self.take_out(&item);
            return Err(error);
        }
        if !item.poll(target, caller).is_empty() {
            item.enqueue();
        }
        Ok(())
    }

    fn put_in(&self, fd: u32, target: &Arc<Description>, events: u32, data: u64) -> Result<Arc<Item>> {
        let key = (fd, Arc::as_ptr(target).addr());
        let mut items = self.items.lock();
        if items.by_key.contains_key(&key) {
            return Err(Errno::EEXIST.into());
        }
        let no_memory = |_| Error::Errno(Errno::ENOMEM);
        let room = items.slots.len() + 1;
        items.by_key.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        items.slots.try_reserve(1).map_err(no_memory)?;
        let spare = room - items.free.len();
        items.free.try_reserve(spare).map_err(no_memory)?;
        let mut list = self.ready.list.lock();
        let more = room.saturating_sub(list.len());
        list.try_reserve(more).map_err(no_memory)?;
        drop(list);
        let slot = match items.free.pop() {
            Some(slot) => slot,
            None => {
                items.slots.push(None);
                items.slots.len() as u32 - 1
            }
        };
        let item = Arc::new(Item {
            slot,
            key,
            description: Arc::downgrade(target),
            events: AtomicU32::new(events | Events::ALWAYS.bits()),
            data: AtomicU64::new(data),
            queued: AtomicBool::new(false),
            observer: SpinLock::new(ranks::WATCHERS, None),
            ready: self.ready.clone(),
        });
        items.slots[slot as usize] = Some(item.clone());
        items.by_key.insert(key, slot);
        Ok(item)
    }

    fn attach(&self, item: &Arc<Item>, target: &Description, queue: &WaitQueue) -> Result<()> {
        let mut watchers = target.watchers.lock();
        watchers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        watchers.push(Watcher { epoll: self.me.clone(), item: Arc::downgrade(item) });
        drop(watchers);
        let mask = interest(item.events.load(Ordering::Relaxed));
        let id = queue.attach(item.clone(), mask).map_err(|_| Errno::ENOMEM)?;
        *item.observer.lock() = Some(id);
        Ok(())
    }

    fn find(&self, fd: u32, target: &Arc<Description>) -> Result<Arc<Item>> {
        let items = self.items.lock();
        let slot = items.by_key.get(&(fd, Arc::as_ptr(target).addr())).ok_or(Errno::ENOENT)?;
        items.slots.get(*slot as usize).and_then(Clone::clone).ok_or(Errno::ENOENT.into())
    }

    /// What is watched by the descriptor `fd`, of several files that were (it was closed and used again while they stayed open
    /// elsewhere) the one with so many before it. ENOENT.
    pub fn watched_as(&self, fd: u32, before: usize) -> Result<Arc<Description>> {
        let items = self.items.lock();
        let mut files: Vec<usize> = Vec::new();
        for (_, file) in items.by_key.keys().filter(|key| key.0 == fd) {
            files.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            files.push(*file);
        }
        files.sort_unstable();
        let slot = files.get(before).and_then(|file| items.by_key.get(&(fd, *file))).ok_or(Errno::ENOENT)?;
        let item = items.slots[*slot as usize].clone();
        drop(items);
        Ok(item.and_then(|item| item.description.upgrade()).ok_or(Errno::ENOENT)?)
    }

    /// EPOLL_CTL_MOD. ENOENT, EINVAL (EXCLUSIVE).
    pub fn modify(&self, caller: &Caller, fd: u32, target: &Arc<Description>, events: u32, data: u64) -> Result<()> {
        let item = self.find(fd, target)?;
        if Mode::from_bits_truncate(events).contains(Mode::EXCLUSIVE) || item.mode().contains(Mode::EXCLUSIVE) {
            return Err(Errno::EINVAL.into());
        }
        item.data.store(data, Ordering::Relaxed);
        item.events.store(events | Events::ALWAYS.bits(), Ordering::Relaxed);
        let id = *item.observer.lock();
        if let (Some(id), Some(queue)) = (id, target.queue()) {
            queue.set_interest(id, interest(events));
        }
        if !item.poll(target, caller).is_empty() {
            item.enqueue();
        }
        Ok(())
    }

    /// EPOLL_CTL_DEL. ENOENT.
    pub fn remove(&self, fd: u32, target: &Arc<Description>) -> Result<()> {
        let item = self.find(fd, target)?;
        detach(&item, &**target.file());
        self.unwatch(target, &item);
        self.take_out(&item);
        Ok(())
    }

    fn unwatch(&self, target: &Description, item: &Arc<Item>) {
        let mut watchers = target.watchers.lock();
        let at = watchers.iter().position(|watcher| core::ptr::eq(watcher.item.as_ptr(), Arc::as_ptr(item)));
        let gone = at.map(|at| watchers.swap_remove(at));
        drop(watchers);
        drop(gone);
    }

    /// Takes an item, which is attached to nothing any more, out of the set and off the ready list.
    fn take_out(&self, item: &Arc<Item>) {
        let mut items = self.items.lock();
        let at = item.slot as usize;
        let ours = matches!(items.slots.get(at), Some(Some(there)) if Arc::ptr_eq(there, item));
        let gone = if ours {
            items.by_key.remove(&item.key);
            items.free.push(item.slot);
            items.slots[at].take()
        } else {
            None
        };
        if ours {
            item.events.store(0, Ordering::Relaxed);
            // A notification may be between the flag and the list; it is seen as stale when its slot comes up.
            self.ready.list.lock().retain(|slot| *slot != item.slot);
        }
        drop(items);
        drop(gone);
    }

    fn item(&self, slot: u32) -> Option<Arc<Item>> {
        self.items.lock().slots.get(slot as usize).and_then(Clone::clone)
    }

    /// Hands ready events (events, data) to `sink`, at most `max`, and returns how many it took. 0: await
    /// [`Epoll::queue`], exclusively, and call again. If `sink` fails, its event stays ready, and its error is
    /// returned only if it was the first.
    pub fn collect(&self, caller: &Caller, max: usize, mut sink: impl FnMut(u32, u64) -> Result<()>) -> Result<usize> {
        let mut list = self.ready.list.lock();
        let mut left = list.len();
        let mut first = list.pop_front();
        drop(list);
        let mut taken = 0;
        let mut stays = false;
        while left > 0 && taken < max {
            left -= 1;
            let Some(slot) = first.take().or_else(|| self.ready.list.lock().pop_front()) else { break };
            let Some(item) = self.item(slot) else { continue };
            // Before asking the file: what happens after the answer is then noted again.
            item.queued.store(false, Ordering::SeqCst);
            let Some(description) = item.description.upgrade() else { continue };
            let events = item.poll(&description, caller);
            if events.is_empty() {
                continue;
            }
            if let Err(error) = sink(events.bits(), item.data.load(Ordering::Relaxed)) {
                item.enqueue();
                return if taken == 0 { Err(error) } else { Ok(taken) };
            }
            taken += 1;
            let mode = item.mode();
            if mode.contains(Mode::ONESHOT) {
                item.events.store(0, Ordering::Relaxed);
            } else if !mode.contains(Mode::EDGE) && !item.queued.swap(true, Ordering::AcqRel) {
                self.ready.list.lock().push_back(slot);
                stays = true;
            }
        }
        // One wake may have been for several items; the next waiter is told of what is left, and of what stays ready.
        if taken > 0 && (left > 0 || stays) {
            self.ready.queue.notify_one(DATA.bits());
        }
        Ok(taken)
    }

    /// Whether something watched is ready; forgets what is not.
    fn any_ready(&self, caller: &Caller) -> bool {
        let mut left = self.ready.list.lock().len();
        while left > 0 {
            left -= 1;
            let Some(slot) = self.ready.list.lock().pop_front() else { break };
            let Some(item) = self.item(slot) else { continue };
            item.queued.store(false, Ordering::SeqCst);
            let Some(description) = item.description.upgrade() else { continue };
            if !item.poll(&description, caller).is_empty() {
                if !item.queued.swap(true, Ordering::AcqRel) {
                    self.ready.list.lock().push_front(slot);
                }
                return true;
            }
        }
        false
    }

    fn watched(&self) -> Vec<Arc<Description>> {
        let items = self.items.lock();
        items.slots.iter().flatten().filter_map(|item| item.description.upgrade()).collect()
    }

    /// How many epolls deep this one is, with `level` above it. ELOOP if it leads to `target`, or too deep.
    fn depth(&self, target: &Epoll, level: u32) -> Result<u32> {
        if core::ptr::eq(self, target) || level >= MAX_NESTS {
            return Err(Errno::ELOOP.into());
        }
        let mut deepest = level;
        for description in self.watched() {
            if let Ok(nested) = Epoll::of(&description) {
                deepest = deepest.max(nested.depth(target, level + 1)?);
            }
        }
        Ok(deepest)
    }

    /// Notes that this epoll has `height` others above it.
    fn raise(&self, height: u32) {
        if self.height.fetch_max(height, Ordering::Relaxed) >= height {
            return;
        }
        for description in self.watched() {
            if let Ok(nested) = Epoll::of(&description) {
                nested.raise(height + 1);
            }
        }
    }
}

/// EINVAL for flags that EXCLUSIVE excludes.
fn check_flags(events: u32, nested: bool) -> Result<()> {
    if !Mode::from_bits_truncate(events).contains(Mode::EXCLUSIVE) {
        return Ok(());
    }
    let allowed = DATA | crate::file::ROOM | Events::ALWAYS;
    let modes = Mode::EXCLUSIVE | Mode::EDGE | Mode::WAKEUP;
    if nested || events & !(allowed.bits() | modes.bits()) != 0 { Err(Errno::EINVAL.into()) } else { Ok(()) }
}

impl File for Epoll {
    fn poll(&self, caller: &Caller) -> Events {
        if self.any_ready(caller) { DATA } else { Events::empty() }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.ready.queue)
    }

    fn label(&self) -> Vec<u8> {
        b"anon_inode:[eventpoll]".to_vec()
    }

    fn show_info(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        let items: Vec<Arc<Item>> = self.items.lock().slots.iter().flatten().cloned().collect();
        for item in items {
            let (events, data) = (item.events.load(Ordering::Relaxed), item.data.load(Ordering::Relaxed));
            writeln!(out, "tfd: {:8} events: {events:8x} data: {data:16x}", item.key.0)?;
        }
        Ok(())
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }

    fn close(&self) {
        let items = core::mem::take(&mut *self.items.lock());
        for item in items.slots.into_iter().flatten() {
            item.events.store(0, Ordering::Relaxed);
            if let Some(description) = item.description.upgrade() {
                detach(&item, &**description.file());
                self.unwatch(&description, &item);
            }
        }
    }
}

#[cfg(test)]
mod tests;
