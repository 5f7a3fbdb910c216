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
use core::mem::{ManuallyDrop, MaybeUninit};
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
    /// The node's own while it is linked; who takes it off its list takes this too.
    waker: ManuallyDrop<Waker>,
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
    /// Written when the node is put on a list, so that making and moving a free one costs next to nothing.
    inner: UnsafeCell<MaybeUninit<Inner>>,
    _pin: PhantomPinned,
}

// SAFETY: `inner` is used under the lock of the node's lists only, or by the owner when the node is on none.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl Node {
    #[inline(always)]
    pub fn new() -> Node {
        let mut node = MaybeUninit::<Node>::uninit();
        // Not as one constant, whose unset bytes would be copied from place to place.
        // SAFETY: `state` is all of a node that must be set.
        unsafe {
            (&raw mut (*node.as_mut_ptr()).state).write(AtomicU8::new(State::Free as u8));
            node.assume_init()
        }
    }

    #[inline]
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) & 3 {
            0 => State::Free,
            1 => State::Linked,
            2 => State::Given,
            _ => State::Told,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// After Given or Told: back to Free.
    #[inline]
    pub fn reset(self: Pin<&mut Self>) {
        debug_assert!(matches!(self.state(), State::Given | State::Told));
        self.set_state(State::Free);
    }

    /// If Given, back to Free. Returns the mask that it was given.
    pub fn take_given(self: Pin<&mut Self>) -> Option<u32> {
        if self.state() != State::Given {
            return None;
        }
        self.set_state(State::Free);
        // SAFETY: the node is on no list and this is the only reference to it. It was on one before it was Given, so
        // what is inside was written.
        Some(unsafe { (*self.inner.get()).assume_init_ref().mask })
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
/// The node is alive and on a list, the caller holds the lock around its lists, and no other reference to the
/// inside is in use.
#[inline]
unsafe fn inner<'a>(node: *const Node) -> &'a mut Inner {
    // SAFETY: the contract says that this is the only use of the cell, and that it was written: `enlist` does so first.
    unsafe { (*(*node).inner.get()).assume_init_mut() }
}

/// The waker of a node that has just been taken off its list.
///
/// # Safety
/// As for [`inner`], but for the list; and this is called once for each time that the node was on one.
#[inline]
unsafe fn waker(node: *const Node) -> Waker {
    // SAFETY: per the contract nobody has taken the waker since `enlist` wrote it.
    unsafe { ManuallyDrop::take(&mut inner(node).waker) }
}

impl Lists {
    pub const fn new() -> Lists {
        Lists { lists: [List::new(), List::new(), List::new()], len: 0 }
    }

    /// How many waiters there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Appends a node to a list; gives the one before it.
    #[inline]
    fn append(&mut self, node: *const Node, which: Which) -> *const Node {
        let list = &mut self.lists[which as usize];
        let last = core::mem::replace(&mut list.last, node);
        if last.is_null() {
            list.first = node;
        } else {
            // SAFETY: the last element is on this list and so alive. `&mut self` shows that the lock is held.
            unsafe { inner(last).next = node };
        }
        last
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
    #[inline]
    pub fn enlist(&mut self, node: Pin<&mut Node>, which: Which, interest: u32, waker: &Waker) -> Option<Waker> {
        if node.state() == State::Linked {
            // SAFETY: the lock is held and the node is in these lists.
            let own = unsafe { &mut inner(&*node).waker };
            let renewed = !own.will_wake(waker);
            return renewed.then(|| core::mem::replace(&mut **own, waker.clone()));
        }
        self.link(node, which, interest, waker);
        None
    }

    /// Puts a node that is on no list at the end of one.
    #[inline]
    pub fn link(&mut self, node: Pin<&mut Node>, which: Which, interest: u32, waker: &Waker) {
        let links = Inner {
            next: ptr::null(),
            prev: self.append(&*node, which),
            waker: ManuallyDrop::new(waker.clone()),
            which,
            interest,
            mask: 0,
            given: false,
        };
        // SAFETY: a node on no list is its owner's, who has lent it; the lock, which is held, keeps others away from the
        // end of the list until it is written. What was there before had its waker taken.
        unsafe { (*node.inner.get()).write(links) };
        self.len += 1;
        node.set_state(State::Linked);
    }

    /// Takes a node off its list, if it is on one. Returns its waker, to drop once the lock is free, and
    /// whether it had been picked as the one to act for which mask.
    pub fn unlink(&mut self, node: Pin<&mut Node>) -> (Option<Waker>, Option<u32>) {
        if node.state() != State::Linked {
            return (None, None);
        }
        self.cut(&*node);
        self.len -= 1;
        // SAFETY: the lock is held and the node was on these lists until now.
        let taken = unsafe {
            let links = inner(&*node);
            let given = links.given.then_some(links.mask);
            (Some(waker(&*node)), given)
        };
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
                    let prev = self.append(node, Which::Picked);
                    // SAFETY: as above.
                    unsafe {
                        let links = inner(node);
                        (links.which, links.prev, links.next) = (Which::Picked, prev, ptr::null());
                    }
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
            if inner(node).interest & mask == 0 {
                return None;
            }
            self.cut(node);
            self.len -= 1;
            let links = inner(node);
            links.mask = mask;
            links.given = true;
            let waker = waker(node);
            (*node).set_state(State::Given);
            Some(waker)
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
            let state = if inner(node).given { State::Given } else { State::Told };
            batch.push(waker(node));
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
