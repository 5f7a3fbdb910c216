//! The crate's global state. On a machine there is one; on the development machine each simulated machine
//! (one per host thread) has its own, so that tests do not meet.

use crate::frames::Frames;
use crate::heap::Heap;
use crate::tlb::Tlb;

/// Everything global in this crate.
pub(crate) struct State {
    pub frames: Frames,
    pub heap: Heap,
    pub tlb: Tlb,
}

impl State {
    const fn new() -> State {
        State { frames: Frames::new(), heap: Heap::new(), tlb: Tlb::new() }
    }
}

#[cfg(target_os = "none")]
static STATE: State = State::new();

/// This machine's state.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn state() -> &'static State {
    &STATE
}

#[cfg(not(target_os = "none"))]
mod hosted {
    use super::State;
    use alloc::boxed::Box;
    use core::cell::Cell;

    std::thread_local! {
        // Leaked like the simulated RAM that it points into.
        static STATE: Cell<&'static State> = Cell::new(Box::leak(Box::new(State::new())));
    }

    pub(crate) fn state() -> &'static State {
        STATE.get()
    }

    /// A new machine is booted on this host thread: forgets the earlier one.
    pub(crate) fn reset() {
        STATE.set(Box::leak(Box::new(State::new())));
    }
}

#[cfg(not(target_os = "none"))]
pub(crate) use hosted::{reset, state};
