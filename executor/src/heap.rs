//! An intrusive pairing heap of timers: O(1) to arm, O(log n) amortised to fire and to cancel.
//!
//! A node lives in the future or object that waits and is pinned there. While it is armed it is in
//! the heap of one CPU, whose number is in `cpu`; everything in `links` belongs to that heap's
//! lock. A node that is not armed belongs to its owner alone.
#![allow(unsafe_code)] // Links are raw pointers to pinned nodes.

use crate::machine;
use crate::platform;
use crate::spin::{Rank, SpinGuard, SpinLock};
use crate::timer::Expire;
use alloc::sync::Weak;
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed};
use core::task::Waker;

const UNARMED: u32 = u32::MAX;

/// What happens when a timer fires.
pub(crate) enum Action {
    Wake(Waker),
    Call(Weak<dyn Expire>),
}

struct Links {
    deadline: u64,
    action: Option<Action>,
    child: *mut Node,
    sibling: *mut Node,
    /// The sibling before, or the parent of a first child.
    before: *mut Node,
}

/// A timer, to be pinned.
pub(crate) struct Node {
    cpu: AtomicU32,
    links: UnsafeCell<Links>,
    _pin: PhantomPinned,
}

// SAFETY: `links` is used under the lock of the heap that `cpu` names, or by the owner through
// `Pin<&mut Node>` or Drop when there is none. An action is Send and Sync, and the pointers are not
// tied to a CPU.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

/// The heap of one CPU.
pub(crate) struct Timers {
    heap: SpinLock<Heap>,
    /// The first deadline, in ns; u64::MAX if there is none. Changes under the lock.
    next: AtomicU64,
}

struct Heap {
    root: *mut Node,
}

// SAFETY: the nodes are used only under the lock around the heap.
unsafe impl Send for Heap {}

/// The links of a node.
///
/// # Safety
/// The node is alive, the caller holds the lock of the heap that it is or will be in (or owns it
/// unarmed), and no other reference to the links is in use.
#[inline]
unsafe fn links<'a>(node: *mut Node) -> &'a mut Links {
    // SAFETY: the contract says that this is the only use of the cell.
    unsafe { &mut *(*node).links.get() }
}

impl Heap {
    /// Joins two heaps; `a` goes first if both are due at once.
    ///
    /// # Safety
    /// Both are null or roots (no sibling, nothing before) of nodes under this heap's lock.
    unsafe fn meld(a: *mut Node, b: *mut Node) -> *mut Node {
        if a.is_null() || b.is_null() {
            return if a.is_null() { b } else { a };
        }
        // SAFETY: both are live nodes under the lock, and different ones.
        unsafe {
            let (first, second) = if links(a).deadline <= links(b).deadline { (a, b) } else { (b, a) };
            let child = links(first).child;
            if !child.is_null() {
                links(child).before = second;
            }
            links(second).sibling = child;
            links(second).before = first;
            links(first).child = second;
            first
        }
    }

    /// Joins a list of siblings into one heap, in two passes.
    ///
    /// # Safety
    /// `list` is null or the first of a list of nodes under this heap's lock that has been cut
    /// from its parent.
    unsafe fn join(mut list: *mut Node) -> *mut Node {
        let mut pairs: *mut Node = ptr::null_mut();
        // SAFETY: all nodes reached are of the list. Each is cut out before it is melded.
        unsafe {
            while !list.is_null() {
                let a = list;
                let b = links(a).sibling;
                list = if b.is_null() { b } else { links(b).sibling };
                for node in [a, b] {
                    if !node.is_null() {
                        links(node).sibling = ptr::null_mut();
                        links(node).before = ptr::null_mut();
                    }
                }
                let pair = Self::meld(a, b);
                links(pair).sibling = pairs;
                pairs = pair;
            }
            let mut root = ptr::null_mut();
            while !pairs.is_null() {
                let pair = pairs;
                pairs = links(pair).sibling;
                links(pair).sibling = ptr::null_mut();
                root = Self::meld(pair, root);
            }
            root
        }
    }

    /// # Safety
    /// `node` is pinned, in no heap, and given to this one until `remove`.
    unsafe fn insert(&mut self, node: *mut Node) {
        // SAFETY: `node` and `root` are different roots under this heap's lock.
        self.root = unsafe { Self::meld(self.root, node) };
    }

    /// # Safety
    /// `node` is in this heap.
    unsafe fn remove(&mut self, node: *mut Node) {
        // SAFETY: `node`, and what it links to, are in this heap and alive, since a node leaves its
        // heap before it dies.
        unsafe {
            let child = core::mem::replace(&mut links(node).child, ptr::null_mut());
            let rest = Self::join(child);
            if node == self.root {
                self.root = rest;
                return;
            }
            let sibling = core::mem::replace(&mut links(node).sibling, ptr::null_mut());
            let before = core::mem::replace(&mut links(node).before, ptr::null_mut());
            if links(before).child == node {
                links(before).child = sibling;
            } else {
                links(before).sibling = sibling;
            }
            if !sibling.is_null() {
                links(sibling).before = before;
            }
            self.root = Self::meld(self.root, rest);
        }
    }

    fn first(&self) -> u64 {
        // SAFETY: the root is in this heap, and `&self` shows that it is locked.
        if self.root.is_null() { u64::MAX } else { unsafe { links(self.root).deadline } }
    }
}

impl Timers {
    pub const fn new() -> Timers {
        Timers { heap: SpinLock::new(Rank::TIMERS, Heap { root: ptr::null_mut() }), next: AtomicU64::new(u64::MAX) }
    }

    /// The first deadline; u64::MAX if there is none.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next.load(Relaxed)
    }

    /// Takes out one timer that is due.
    pub fn pop_due(&self, now: u64) -> Option<Action> {
        let mut heap = self.heap.lock();
        if heap.root.is_null() || heap.first() > now {
            return None;
        }
        let node = heap.root;
        // SAFETY: the root is in this heap, which is locked. The store of UNARMED is the last touch:
        // from then on the owner may free the node.
        unsafe {
            heap.remove(node);
            self.next.store(heap.first(), Relaxed);
            let action = links(node).action.take();
            (*node).cpu.store(UNARMED, Ordering::Release);
            action
        }
    }
}

impl Node {
    pub const fn new() -> Node {
        Node {
            cpu: AtomicU32::new(UNARMED),
            links: UnsafeCell::new(Links {
                deadline: 0,
                action: None,
                child: ptr::null_mut(),
                sibling: ptr::null_mut(),
                before: ptr::null_mut(),
            }),
            _pin: PhantomPinned,
        }
    }

    /// Whether it waits in a heap.
    #[inline]
    pub fn is_armed(&self) -> bool {
        self.cpu.load(Ordering::Acquire) != UNARMED
    }

    /// Puts the timer into this CPU's heap, out of the one where it was.
    pub fn arm(self: Pin<&mut Self>, deadline: u64, action: Action) {
        self.cancel();
        let me = platform::cpu_id();
        let cpu = &machine::get().cpus[me];
        cpu.disturb();
        let timers = &cpu.timers;
        let mut heap = timers.heap.lock();
        // SAFETY: the node is pinned and its Drop takes it out of the heap, so it stays alive while it
        // is in there. It is unarmed and the caller has the only reference, so the links are ours.
        unsafe {
            let node = ptr::from_mut(self.get_unchecked_mut());
            links(node).deadline = deadline;
            links(node).action = Some(action);
            (*node).cpu.store(me as u32, Relaxed);
            heap.insert(node);
        }
        timers.next.store(heap.first(), Relaxed);
    }

    /// The heap that the node is in now, locked.
    fn lock(&self) -> Option<(&'static Timers, SpinGuard<'static, Heap>)> {
        let cpu = self.cpu.load(Ordering::Acquire);
        let timers = &machine::get().cpus.get(cpu as usize)?.timers;
        let heap = timers.heap.lock();
        // It may have fired in between. It cannot have moved: only its owner arms it.
        (self.cpu.load(Relaxed) == cpu).then_some((timers, heap))
    }

    /// Makes an armed timer wake `waker`; false if it is not armed any more.
    pub fn set_waker(&self, waker: &Waker) -> bool {
        let Some((_timers, heap)) = self.lock() else { return false };
        // SAFETY: the node is in the heap that `heap` locks.
        let links = unsafe { &mut *self.links.get() };
        let old = match &links.action {
            Some(Action::Wake(old)) if old.will_wake(waker) => None,
            _ => links.action.replace(Action::Wake(waker.clone())),
        };
        // A waker's drop may end a task, whose destructors may take locks.
        drop(heap);
        drop(old);
        true
    }

    /// Takes the timer out of its heap. False if it was not armed: it has fired, or is being fired.
    pub fn cancel(&self) -> bool {
        let Some((timers, mut heap)) = self.lock() else { return false };
        let node = ptr::from_ref(self).cast_mut();
        // SAFETY: the node is in the heap that `heap` locks.
        let action = unsafe {
            heap.remove(node);
            links(node).action.take()
        };
        timers.next.store(heap.first(), Relaxed);
        self.cpu.store(UNARMED, Ordering::Release);
        drop(heap);
        drop(action);
        true
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cancel();
    }
}
