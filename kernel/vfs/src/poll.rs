//! Waiting for the first of several files, for poll(2), select(2) and their like.

use crate::description::Description;
use crate::file::Caller;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use base::{Errno, Events, Result};
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::ops::Range;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use executor::{Wait, WaitQueue};
use futures_util::task::AtomicWaker;

/// A file to wait for, and what for.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Its queue; `None` never wakes.
    pub queue: Option<&'a WaitQueue>,
    /// What is waited for; ERR and HUP are besides.
    pub interest: Events,
}

impl<'a> Watch<'a> {
    /// `description`, for `interest`.
    pub fn new(description: &'a Description, interest: Events) -> Watch<'a> {
        Watch { queue: description.queue(), interest }
    }

    fn wait(&self) -> Option<Registration<'a>> {
        let interest = self.interest | Events::ALWAYS;
        self.queue.map(|queue| queue.wait_until(interest.bits(), never as fn() -> Option<Infallible>))
    }
}

type Registration<'a> = Wait<'a, fn() -> Option<Infallible>>;

fn never() -> Option<Infallible> {
    None
}

/// What of `interest`, or of what is always reported, `description` is ready for.
pub fn ready(description: &Description, caller: &Caller, interest: Events) -> Events {
    description.poll(caller) & (interest | Events::ALWAYS)
}

/// Waits until `check` returns something. It is called once the two files would tell, and after each of their notifications.
/// Allocates nothing.
pub async fn wait_for_two<T>(watches: [Watch<'_>; 2], mut check: impl FnMut() -> Option<T>) -> T {
    let mut first = pin!(watches[0].wait());
    let mut second = pin!(watches[1].wait());
    poll_fn(|cx| {
        register(first.as_mut(), cx);
        register(second.as_mut(), cx);
        match check() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        }
    })
    .await
}

/// So many registrations are allocated between two looks at how much memory is left.
const CHUNK: usize = 64;

/// Any number of files that are watched together, by one who does other things while they may tell: [`arm`](Crowd::arm) them,
/// look at them, and [`sleep`](Crowd::sleep), which ends at once if one of them has told since [`begin`](Crowd::begin).
pub struct Crowd<'a> {
    told: Arc<Told>,
    waker: Waker,
    waits: Vec<Pin<Box<Registration<'a>>>>,
}

/// What the files wake: it remembers that they did, for the task may be polled for other reasons in between.
struct Told {
    told: AtomicBool,
    sleeper: AtomicWaker,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.told.store(true, Ordering::SeqCst);
        self.sleeper.wake();
    }
}

impl Default for Crowd<'_> {
    fn default() -> Self {
        let told = Arc::new(Told { told: AtomicBool::new(false), sleeper: AtomicWaker::new() });
        Crowd { waker: told.clone().into(), told, waits: Vec::new() }
    }
}

impl<'a> Crowd<'a> {
    /// Makes room for so many more. ENOMEM.
    pub fn reserve(&mut self, n: usize) -> Result<()> {
        if n > CHUNK {
            memory::admit(n * size_of::<Pin<Box<Registration>>>()).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(self.waits.try_reserve_exact(n).map_err(|_| Errno::ENOMEM)?)
    }

    /// Adds a file, which does not tell yet. ENOMEM.
    pub fn push(&mut self, watch: &Watch<'a>) -> Result<()> {
        let Some(wait) = watch.wait() else { return Ok(()) };
        // The first few are in nobody's way.
        let n = self.waits.len();
        if n > 0 && n.is_multiple_of(CHUNK) {
            memory::admit(CHUNK * size_of::<Registration>()).map_err(|_| Errno::ENOMEM)?;
        }
        self.waits.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.waits.push(Box::pin(wait));
        Ok(())
    }

    /// How many may tell.
    pub fn len(&self) -> usize {
        self.waits.len()
    }

    /// Whether none can tell.
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// Forgets what was told.
    pub fn begin(&self) {
        self.told.told.store(false, Ordering::SeqCst);
    }

    /// Has some of the files tell, each once.
    pub fn arm(&mut self, which: Range<usize>) {
        let mut cx = Context::from_waker(&self.waker);
        for wait in &mut self.waits[which] {
            // It never ends by itself.
            let _ = wait.as_mut().poll(&mut cx);
        }
    }

    /// Waits until a file tells.
    pub async fn sleep(&self) {
        poll_fn(|cx| {
            self.told.sleeper.register(cx.waker());
            if self.told.told.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }

    /// Takes out the last `n`.
    pub fn shorten(&mut self, n: usize) {
        self.waits.truncate(self.waits.len().saturating_sub(n));
    }
}

fn register(wait: Pin<&mut Option<Registration<'_>>>, cx: &mut Context<'_>) {
    if let Some(wait) = wait.as_pin_mut() {
        // It never ends by itself.
        let _ = wait.poll(cx);
    }
}
