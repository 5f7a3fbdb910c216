//! What goes wrong on purpose: memory that is refused, user memory that faults although it is there. A simulator decides
//! each time.

use alloc::boxed::Box;
use std::cell::RefCell;

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chance {
    /// A request for a page, or for leave to use memory. It fails.
    Memory,
    /// An access of the kernel or the program to user memory. It faults.
    Access,
}

/// Says whether it goes wrong.
pub type Fate = Box<dyn FnMut(Chance) -> bool>;

std::thread_local! {
    static FATE: RefCell<Option<Fate>> = const { RefCell::new(None) };
}

/// Has `fate` decide on this host thread from now on; with `None` all goes well. Returns who decided before.
pub fn set_fate(fate: Option<Fate>) -> Option<Fate> {
    FATE.replace(fate)
}

/// Lets everything inside `f` go well.
pub fn spared<T>(f: impl FnOnce() -> T) -> T {
    let fate = set_fate(None);
    let result = f();
    set_fate(fate);
    result
}

/// Whether this goes wrong.
pub fn strikes(chance: Chance) -> bool {
    FATE.with_borrow_mut(|fate| fate.as_mut().is_some_and(|fate| fate(chance)))
}
