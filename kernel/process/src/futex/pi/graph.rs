//! Who owns and who waits for what, and whose priority that raises.
//!
//! ```text
//! thread ──waits──► lock ──owner──► thread ──waits──► lock ──owner──► ...
//! ```
//!
//! A chain ends, for a wait that would close it is refused. The priority of each waiter counts for the owner of its lock, and
//! so on along the chain. All of it is under one lock, so that a chain does not change while it is followed; only threads
//! that wait for a lock, or own one that is waited for, are in it.

use super::super::Key;
use crate::thread::Thread;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, rank};
use core::sync::atomic::{AtomicUsize, Ordering};
use executor::spin::{SpinGuard, SpinLock};
use executor::{Class, RtPolicy};

/// One that waits for a lock.
pub(super) struct Waiter {
    pub ticket: u64,
    pub thread: Arc<Thread>,
    /// Its real-time priority, what it was lent included; 0 for none.
    prio: u8,
}

/// A futex that somebody waits for.
pub(super) struct Lock {
    pub owner: Arc<Thread>,
    /// The highest priority first, and among equals who came first.
    pub waiters: Vec<Waiter>,
    /// The owner before this one died with it: the word does not name this one yet.
    pub orphaned: bool,
}

/// All locks that somebody waits for.
pub(super) struct Graph {
    locks: BTreeMap<Key, Lock>,
    /// By the address of a thread's record: what it waits for.
    waits: BTreeMap<usize, Key>,
    /// The locks that each thread owns.
    owned: BTreeSet<(usize, Key)>,
    /// The own class of those that run by a priority that they were lent.
    lent: BTreeMap<usize, Class>,
}

static GRAPH: SpinLock<Graph> = SpinLock::new(
    rank::FUTEX_PI,
    Graph { locks: BTreeMap::new(), waits: BTreeMap::new(), owned: BTreeSet::new(), lent: BTreeMap::new() },
);

/// How many locks are in the graph.
static LOCKS: AtomicUsize = AtomicUsize::new(0);

/// The graph, for whoever needs it whole.
pub(super) fn lock() -> SpinGuard<'static, Graph> {
    GRAPH.lock()
}

/// Whether the graph is empty: nobody waits, nobody was lent anything. One load.
pub(super) fn is_empty() -> bool {
    LOCKS.load(Ordering::SeqCst) == 0
}

fn address(thread: &Thread) -> usize {
    core::ptr::from_ref(thread).addr()
}

fn real_time(class: Class) -> u8 {
    match class {
        Class::RealTime { prio, .. } => prio,
        _ => 0,
    }
}

impl Graph {
    pub fn get(&mut self, key: &Key) -> Option<&mut Lock> {
        self.locks.get_mut(key)
    }

    /// What a thread waits for.
    pub fn awaited_by(&self, thread: &Thread) -> Option<Key> {
        self.waits.get(&address(thread)).copied()
    }

    /// A lock that the thread owns.
    pub fn owned_by(&self, thread: &Thread) -> Option<Key> {
        let at = address(thread);
        self.owned.range((at, Key::FIRST)..).next().filter(|(owner, _)| *owner == at).map(|(_, key)| *key)
    }

    /// The class that the thread was given, whatever it runs by.
    pub fn own_class(&self, thread: &Thread) -> Class {
        self.lent.get(&address(thread)).copied().unwrap_or_else(|| thread.running_class())
    }

    /// Gives a thread another class, by which it runs unless it was lent a higher priority.
    pub fn set_class(&mut self, thread: &Arc<Thread>, class: Class) {
        match self.lent.get_mut(&address(thread)) {
            Some(own) => *own = class,
            None => thread.run_by(class),
        }
        self.settle(thread.clone());
    }

    /// Puts a thread into the line for a lock, which `owner` has if nobody waited for it so far. EDEADLK if the owner waits, in
    /// the end, for this thread.
    pub fn enqueue(&mut self, key: Key, owner: &Arc<Thread>, thread: &Arc<Thread>, ticket: u64) -> Result<(), Errno> {
        let mut at = self.locks.get(&key).map_or(owner, |lock| &lock.owner);
        loop {
            if Arc::ptr_eq(at, thread) {
                return Err(Errno::EDEADLK);
            }
            match self.waits.get(&address(at)).and_then(|awaited| self.locks.get(awaited)) {
                Some(lock) => at = &lock.owner,
                None => break,
            }
        }
        let prio = self.priority(thread);
        let unknown = || Lock { owner: owner.clone(), waiters: Vec::new(), orphaned: false };
        let lock = self.locks.entry(key).or_insert_with(unknown);
        let owner = lock.owner.clone();
        let room = lock.waiters.try_reserve(1);
        if room.is_ok() {
            lock.insert(Waiter { ticket, thread: thread.clone(), prio });
        }
        self.owned.insert((address(&owner), key));
        LOCKS.store(self.locks.len(), Ordering::SeqCst);
        if room.is_err() {
            self.tidy(key);
            return Err(Errno::ENOMEM);
        }
        self.waits.insert(address(thread), key);
        self.settle(owner);
        Ok(())
    }

    /// Takes a waiter out of the line, if it is there.
    pub fn leave(&mut self, key: Key, thread: &Arc<Thread>, ticket: u64) {
        let Some(lock) = self.locks.get_mut(&key) else { return };
        let Some(at) = lock.waiters.iter().position(|waiter| waiter.ticket == ticket) else { return };
        lock.waiters.remove(at);
        self.waits.remove(&address(thread));
        let owner = lock.owner.clone();
        self.tidy(key);
        self.settle(owner);
    }

    /// Makes the first in line the owner; gives it, to be woken. With `orphaned` it is told that the word does not name it.
    pub fn hand_over(&mut self, key: Key, orphaned: bool) -> Option<Arc<Thread>> {
        let lock = self.locks.get_mut(&key)?;
        let old = lock.owner.clone();
        lock.orphaned = orphaned;
        let next = if lock.waiters.is_empty() { None } else { Some(lock.waiters.remove(0)) };
        self.owned.remove(&(address(&old), key));
        match &next {
            Some(next) => {
                lock.owner = next.thread.clone();
                self.owned.insert((address(&next.thread), key));
                self.waits.remove(&address(&next.thread));
            }
            None => lock.orphaned = false,
        }
        self.tidy(key);
        self.settle(old);
        let Waiter { ticket, thread, .. } = next?;
        self.settle(thread.clone());
        thread.futex_wake.store(ticket, Ordering::Release);
        Some(thread)
    }

    /// Forgets a lock that nobody waits for and whose word is right.
    pub fn tidy(&mut self, key: Key) {
        if let Some(lock) = self.locks.get(&key)
            && lock.waiters.is_empty()
            && !lock.orphaned
        {
            self.owned.remove(&(address(&lock.owner), key));
            self.locks.remove(&key);
            LOCKS.store(self.locks.len(), Ordering::SeqCst);
        }
    }

    /// The highest priority among those who wait for what the thread owns.
    fn lent_to(&self, thread: &Thread) -> u8 {
        let at = address(thread);
        let owned = self.owned.range((at, Key::FIRST)..).take_while(|(owner, _)| *owner == at);
        let tops = owned.filter_map(|(_, key)| self.locks.get(key)?.waiters.first());
        tops.map(|waiter| waiter.prio).max().unwrap_or(0)
    }

    fn priority(&self, thread: &Thread) -> u8 {
        real_time(self.own_class(thread)).max(self.lent_to(thread))
    }

    /// Has a thread run by what is due to it, and all that wait in its chain.
    fn settle(&mut self, mut thread: Arc<Thread>) {
        loop {
            let own = self.own_class(&thread);
            let lent = self.lent_to(&thread);
            if lent > real_time(own) {
                let policy = if let Class::RealTime { policy, .. } = own { policy } else { RtPolicy::Fifo };
                self.lent.insert(address(&thread), own);
                thread.run_by(Class::RealTime { prio: lent, policy });
            } else if self.lent.remove(&address(&thread)).is_some() {
                thread.run_by(own);
            }
            let prio = lent.max(real_time(own));
            let Some(lock) = self.waits.get(&address(&thread)).and_then(|key| self.locks.get_mut(key)) else { return };
            let Some(at) = lock.waiters.iter().position(|waiter| Arc::ptr_eq(&waiter.thread, &thread)) else { return };
            if lock.waiters[at].prio == prio {
                return;
            }
            let mut waiter = lock.waiters.remove(at);
            waiter.prio = prio;
            lock.insert(waiter);
            thread = lock.owner.clone();
        }
    }
}

impl Lock {
    fn insert(&mut self, waiter: Waiter) {
        let at = self.waiters.partition_point(|other| other.prio >= waiter.prio);
        self.waiters.insert(at, waiter);
    }
}
