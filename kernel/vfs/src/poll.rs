//! Waiting for the first of several files, for poll(2), select(2) and their like.

use crate::description::Description;
use crate::file::Caller;
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::{Errno, Events, Result};
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use executor::{Wait, WaitQueue};

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

/// So many registrations are allocated between two looks at how much memory is left.
const CHUNK: usize = 64;

type Registration<'a> = Wait<'a, fn() -> Option<Infallible>>;

fn never() -> Option<Infallible> {
    None
}

/// What of `interest`, or of what is always reported, `description` is ready for.
pub fn ready(description: &Description, caller: &Caller, interest: Events) -> Events {
    description.poll(caller) & (interest | Events::ALWAYS)
}

/// Waits until `check` returns something. It is called once the watched files would tell, and after each of their
/// notifications. Up to two files are watched without an allocation. ENOMEM.
pub async fn wait_any<T>(watches: &[Watch<'_>], mut check: impl FnMut() -> Option<T>) -> Result<T> {
    match watches {
        [] | [_] | [_, _] => {
            let mut first = pin!(watches.first().and_then(Watch::wait));
            let mut second = pin!(watches.get(1).and_then(Watch::wait));
            poll_fn(|cx| {
                register(first.as_mut(), cx);
                register(second.as_mut(), cx);
                match check() {
                    Some(value) => Poll::Ready(Ok(value)),
                    None => Poll::Pending,
                }
            })
            .await
        }
        many => {
            let mut waits: Vec<Pin<Box<Registration>>> = Vec::new();
            waits.try_reserve_exact(many.len()).map_err(|_| Errno::ENOMEM)?;
            for some in many.chunks(CHUNK) {
                // The first few are in nobody's way.
                if !waits.is_empty() {
                    memory::admit(CHUNK * size_of::<Registration>()).map_err(|_| Errno::ENOMEM)?;
                }
                waits.extend(some.iter().filter_map(|watch| watch.wait().map(Box::pin)));
            }
            poll_fn(|cx| {
                for wait in &mut waits {
                    // It never ends by itself.
                    let _ = wait.as_mut().poll(cx);
                }
                match check() {
                    Some(value) => Poll::Ready(Ok(value)),
                    None => Poll::Pending,
                }
            })
            .await
        }
    }
}

fn register(wait: Pin<&mut Option<Registration<'_>>>, cx: &mut Context<'_>) {
    if let Some(wait) = wait.as_pin_mut() {
        // It never ends by itself.
        let _ = wait.poll(cx);
    }
}
