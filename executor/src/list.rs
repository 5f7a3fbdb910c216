//! Nodes of waiting futures and the lists they are on.
//!
//! A node lives in the future that waits and is pinned there, so that waiting allocates nothing.
//! Everything in `Inner` belongs to the spin lock around the [`Lists`] that the node is used with;
//! a node is used with one `Lists` only, that of the object that its future borrows. `state` is
//! also read by the owner without the lock:
//!
//! ```text
//!            enlist                 take (one / all)
//!   Free ─────────────► Linked ─────────────────────► Given / Told
//!    ▲                    │ unlink (done, dropped)        │ reset by the owner
//!    └────────────────────┴───────────────────────────────┘
//! ```
//!
//! Whoever takes a node off its list stores the new state last and with Release and does not touch the node
//! again, so an owner that sees Given or Told may free it without the lock.
#![allow(unsafe_code)] // Links are raw pointers to pinned nodes.

use crate::sync::atomic::{AtomicU8, Ordering};
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr;
use core::task::Waker;

/// How a node stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// On no list.
    Free,
    /// On a list.
    Linked,
    /// Taken as the one to act; if it does not, another must.
    Given,
    /// Taken as one of all.
    Told,
}

const STATES: [State; 4] = [State::Free, State::Linked, State::Given, State::Told];

/// The lists of one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// Waiters that are all told.
    Shared,
    /// Waiters of whom one is told.
    Exclusive,
    /// Waiters that have been picked and are still to be woken.
    Picked,
}

struct Inner {
    next: *const Node,
    prev: *const Node,
    waker: Option<Waker>,
    which: Which,
    interest: u32,
    /// The mask of the notification that picked it.
    mask: u32,
    /// Whether it was picked as the one to act.
    given: bool,
}

/// A waiter's node, to be pinned.
pub(crate) struct Node {
    state: AtomicU8,
    inner: UnsafeCell<Inner>,
    _pin: PhantomPinned,
}

// SAFETY: `inner` is used under the lock of the node's lists only, or by the owner when the node is on none.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl Node {
    crate::sync::const_fn! {
        pub fn new() -> Node {
            Node {
                state: AtomicU8::new(State::Free as u8),
                inner: UnsafeCell::new(Inner {
                    next: ptr::null(),
                    prev: ptr::null(),
                    waker: None,
                    which: Which::Shared,
                    interest: 0,
                    mask: 0,
                    given: false,
                }),
                _pin: PhantomPinned,
            }
        }
    }

    #[inline]
    pub fn state(&self) -> State {
        STATES[(self.state.load(Ordering::Acquire) & 3) as usize]
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// After Given or Told: back to Free. Returns the mask that it was given.
    pub fn reset(self: Pin<&mut Self>) -> u32 {
        debug_assert!(self.state() != State::Linked);
        self.set_state(State::Free);
        // SAFETY: the node is on no list and this is the only reference to it.
        unsafe { (*self.inner.get()).mask }
    }
}

struct List {
    first: *const Node,
    last: *const Node,
}

impl List {
    const fn new() -> List {
        List { first: ptr::null(), last: ptr::null() }
    }
}

/// The lists of waiters of one object, to be kept in a spin lock.
pub(crate) struct Lists {
    lists: [List; 3],
    len: u32,
}

// SAFETY: the nodes are used under the lock around the lists only.
unsafe impl Send for Lists {}

/// The inside of a node.
///
/// # Safety
/// The node is alive, the caller holds the lock around its lists, and no other reference to the
/// inside is in use.
#[inline]
unsafe fn inner<'a>(node: *const Node) -> &'a mut Inner {
    // SAFETY: the contract says that this is the only use of the cell.
    unsafe { &mut *(*node).inner.get() }
}

impl Lists {
    pub const fn new() -> Lists {
        Lists { lists: [List::new(), List::new(), List::new()], len: 0 }
    }

    /// How many waiters there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    fn link(&mut self, node: *const Node, which: Which) {
        let list = &mut self.lists[which as usize];
        // SAFETY: `node` is alive and on no list; the last element is on this list and so alive. `&mut self`
        // shows that the lock is held.
        unsafe {
            let links = inner(node);
            links.which = which;
            links.prev = list.last;
            links.next = ptr::null();
            if list.last.is_null() {
                list.first = node;
            } else {
                inner(list.last).next = node;
            }
        }
        list.last = node;
    }

    fn cut(&mut self, node: *const Node) {
        // SAFETY: `node` is on a list of these, so it and its neighbours are alive.
        unsafe {
            let (prev, next, which) = {
                let links = inner(node);
                (links.prev, links.next, links.which)
            };
            let list = &mut self.lists[which as usize];
            if prev.is_null() {
                list.first = next;
            } else {
                inner(prev).next = next;
            }
            if next.is_null() {
                list.last = prev;
            } else {
                inner(next).prev = prev;
            }
        }
    }

    /// Puts a node at the end of a list, or renews the waker of one that is on a list. Returns a
    /// waker to drop once the lock is free.
    #[must_use]
    pub fn enlist(&mut self, node: Pin<&mut Node>, which: Which, interest: u32, waker: &Waker) -> Option<Waker> {
        // SAFETY: the lock is held. A linked node is in these lists; another one is its owner's.
        let links = unsafe { inner(&*node) };
        let old = match &links.waker {
            Some(old) if old.will_wake(waker) => None,
            _ => links.waker.replace(waker.clone()),
        };
        if node.state() != State::Linked {
            links.interest = interest;
            links.given = false;
            self.link(&*node, which);
            self.len += 1;
            node.set_state(State::Linked);
        }
        old
    }

    /// Takes a node off its list, if it is on one. Returns its waker, to drop once the lock is free, and
    /// whether it had been picked as the one to act for which mask.
    pub fn unlink(&mut self, node: Pin<&mut Node>) -> (Option<Waker>, Option<u32>) {
        if node.state() != State::Linked {
            return (None, None);
        }
        self.cut(&*node);
        self.len -= 1;
        // SAFETY: the lock is held and the node was on these lists.
        let links = unsafe { inner(&*node) };
        let taken = (links.waker.take(), links.given.then_some(links.mask));
        node.set_state(State::Free);
        taken
    }

    /// Picks waiters of `which` whose interest meets `mask`, at most `*quota`, as ones to act if
    /// `given`. The first go to the batch, the others to the list of those picked. True if there are such.
    #[inline]
    pub fn pick(&mut self, which: Which, mask: u32, quota: &mut usize, given: bool, batch: &mut Batch) -> bool {
        !self.lists[which as usize].first.is_null() && self.pick_some(which, mask, quota, given, batch)
    }

    fn pick_some(&mut self, which: Which, mask: u32, quota: &mut usize, given: bool, batch: &mut Batch) -> bool {
        let mut node = self.lists[which as usize].first;
        let mut more = false;
        while !node.is_null() && *quota > 0 {
            // SAFETY: the node is on a list of these, so alive, and the lock is held.
            let (next, meets) = unsafe { (inner(node).next, inner(node).interest & mask != 0) };
            if meets {
                *quota -= 1;
                // SAFETY: as above.
                unsafe {
                    inner(node).given = given;
                    inner(node).mask = mask;
                }
                if batch.is_full() {
                    self.cut(node);
                    self.link(node, Which::Picked);
                    more = true;
                } else {
                    self.take(node, batch);
                }
            }
            node = next;
        }
        more
    }

    /// Takes the first exclusive waiter as the one to act if `mask` meets it and there are no shared waiters: the common case, for
    /// which a batch is too much.
    #[inline]
    pub fn take_only(&mut self, mask: u32) -> Option<Waker> {
        let node = self.lists[Which::Exclusive as usize].first;
        if node.is_null() || !self.lists[Which::Shared as usize].first.is_null() {
            return None;
        }
        // SAFETY: the node is on a list of these, so it is alive, and the lock is held. Setting the state
        // is the last touch.
        unsafe {
            if inner(node).interest & mask == 0 || inner(node).waker.is_none() {
                return None;
            }
            self.cut(node);
            self.len -= 1;
            let links = inner(node);
            links.mask = mask;
            links.given = true;
            let waker = links.waker.take();
            (*node).set_state(State::Given);
            waker
        }
    }

    /// Moves picked waiters to the batch. True if there are more.
    pub fn take_picked(&mut self, batch: &mut Batch) -> bool {
        while !batch.is_full() {
            let node = self.lists[Which::Picked as usize].first;
            if node.is_null() {
                return false;
            }
            self.take(node, batch);
        }
        true
    }

    /// The interest of the first waiter of a list.
    pub fn first_interest(&self, which: Which) -> Option<u32> {
        let node = self.lists[which as usize].first;
        // SAFETY: the node is on a list of these, so alive, and `&self` shows that the lock is held.
        (!node.is_null()).then(|| unsafe { inner(node).interest })
    }

    /// Takes the first waiter of a list and marks it Given.
    pub fn give_first(&mut self, which: Which, batch: &mut Batch) {
        let node = self.lists[which as usize].first;
        if !node.is_null() {
            // SAFETY: as in `first_interest`.
            unsafe { inner(node).given = true };
            self.take(node, batch);
        }
    }

    fn take(&mut self, node: *const Node, batch: &mut Batch) {
        self.cut(node);
        self.len -= 1;
        // SAFETY: the node was on a list of these, so it is alive, and the lock is held. Setting the state
        // is the last touch.
        unsafe {
            let links = inner(node);
            let state = if links.given { State::Given } else { State::Told };
            if let Some(waker) = links.waker.take() {
                batch.push(waker);
            }
            (*node).set_state(state);
        }
    }
}

/// Few, since each wake clears room for so many; more are woken in several batches.
const BATCH: usize = 4;

/// Wakers that have been taken under a lock, to be woken when it is free.
pub(crate) struct Batch {
    wakers: [Option<Waker>; BATCH],
    len: usize,
}

impl Batch {
    pub const fn new() -> Batch {
        Batch { wakers: [const { None }; BATCH], len: 0 }
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.len == BATCH
    }

    #[inline]
    fn push(&mut self, waker: Waker) {
        if let Some(slot) = self.wakers.get_mut(self.len) {
            *slot = Some(waker);
            self.len += 1;
        }
    }

    /// Wakes all and empties the batch.
    #[inline]
    pub fn wake(&mut self) {
        for slot in &mut self.wakers[..self.len] {
            if let Some(waker) = slot.take() {
                waker.wake();
            }
        }
        self.len = 0;
    }
}
