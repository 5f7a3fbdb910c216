//! An intrusive first-in first-out list of runnable tasks.
//!
//! The link is a word in the task's metadata, so putting a task on a queue allocates nothing.
//! A list is circular and known by its last element: an empty one is a null pointer.
#![allow(unsafe_code)] // Links are raw pointers to tasks.

use crate::sched::Entity;
use core::cell::Cell;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

pub(crate) type Ready = async_task::Runnable<Entity>;

/// The next task of the list that a task is on.
#[derive(Default)]
pub(crate) struct Link(Cell<Option<NonNull<()>>>);

// SAFETY: a link is read and written only by `Fifo`, for tasks whose `Runnable` it owns. There is
// at most one `Runnable` of a task at a time, it is on at most one list, and every use of a list
// is through `&mut Fifo`, so no two CPUs touch a link at once.
unsafe impl Sync for Link {}
// SAFETY: as above; the pointer is not tied to a CPU.
unsafe impl Send for Link {}

/// A list of tasks, owned.
pub(crate) struct Fifo {
    last: Option<NonNull<()>>,
}

// SAFETY: the list owns the `Runnable`s that its pointers stand for, and those are Send.
unsafe impl Send for Fifo {}

/// The scheduling data of a task on a list.
///
/// # Safety
/// `task` came from `Runnable::into_raw` and has not been turned back since, for all of `'a`.
#[inline]
unsafe fn entity<'a>(task: NonNull<()>) -> &'a Entity {
    // SAFETY: per the contract the pointer is a live Runnable; ManuallyDrop keeps this second view
    // of it from giving up its reference. The metadata lives in the task's allocation and not in
    // the Runnable, so the reference outlives the view, for as long as the list owns the task.
    unsafe {
        let view = ManuallyDrop::new(Ready::from_raw(task));
        &*core::ptr::from_ref(view.metadata())
    }
}

impl Fifo {
    pub const fn new() -> Fifo {
        Fifo { last: None }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    #[inline]
    pub fn push_back(&mut self, task: Ready) {
        self.last = Some(self.insert(task));
    }

    #[inline]
    pub fn push_front(&mut self, task: Ready) {
        let task = self.insert(task);
        self.last.get_or_insert(task);
    }

    /// Links `task` between the last and the first element.
    #[inline]
    fn insert(&mut self, task: Ready) -> NonNull<()> {
        let task = task.into_raw();
        // SAFETY: `task` has just been given up by `into_raw`, and `last` is on this list, which
        // owns it. Both live until this list gives them back.
        unsafe {
            match self.last {
                None => entity(task).link.0.set(Some(task)),
                Some(last) => {
                    let last = &entity(last).link.0;
                    entity(task).link.0.set(last.replace(Some(task)));
                }
            }
        }
        task
    }

    #[inline]
    pub fn pop_front(&mut self) -> Option<Ready> {
        let last = self.last?;
        // SAFETY: `last` and what follows it are on this list, which owns them. The first is
        // unlinked before it is turned back into the Runnable, so that happens once.
        unsafe {
            let first = entity(last).link.0.get()?;
            if first == last {
                self.last = None;
            } else {
                entity(last).link.0.set(entity(first).link.0.get());
            }
            Some(Ready::from_raw(first))
        }
    }

    /// Takes out the first task that `wanted` accepts, looking at no more than `*looks` tasks and
    /// counting them down.
    pub fn take_first(&mut self, looks: &mut u32, wanted: impl Fn(&Entity) -> bool) -> Option<Ready> {
        let last = self.last?;
        let mut before = last;
        while *looks > 0 {
            *looks -= 1;
            // SAFETY: `before` and its successor are on this list, which owns them and is not
            // changed in this loop except by unlinking the task that is given back.
            unsafe {
                let task = entity(before).link.0.get()?;
                if wanted(entity(task)) {
                    if task == before {
                        self.last = None;
                    } else {
                        entity(before).link.0.set(entity(task).link.0.get());
                        if task == last {
                            self.last = Some(before);
                        }
                    }
                    return Some(Ready::from_raw(task));
                }
                if task == last {
                    return None;
                }
                before = task;
            }
        }
        None
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        while let Some(task) = self.pop_front() {
            drop(task);
        }
    }
}
