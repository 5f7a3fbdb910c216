//! Tests of the executor on the simulated machine of `machine`. Each test thread has its own.

mod locks;
mod order;
mod smp;
mod timers;
mod waits;

use crate::{SchedParams, Step, Task, run_next, spawn};
use std::sync::{Arc, Mutex};

#[allow(unsafe_code)] // The platform's symbols, which the tests link with.
mod platform {
    crate::platform!(crate::machine::Hosted);
}

/// What tasks noted, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn go(future: impl Future<Output = ()> + Send + 'static) -> Task {
    spawn(future, SchedParams::default())
}

fn run_all() -> usize {
    let mut polls = 0;
    while run_next() == Step::Ran {
        polls += 1;
        assert!(polls < 10_000_000, "does not come to rest");
    }
    polls
}
