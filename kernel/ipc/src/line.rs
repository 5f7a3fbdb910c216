//! Sleepers whose business is finished for them by whoever makes it possible: a semaphore operation that can be done now, a
//! message that has come. They stand in the order in which they came, and nobody overtakes one who could have gone.
//!
//! A line lies under the lock of its object. Its sleepers wait on the object's queue, each for a bit of its own ticket, so
//! that a notification wakes those whose business is done and few others.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use base::Errno;

/// A place in a line.
pub(crate) type Ticket = u64;

/// What the sleeper with this ticket waits for on its object's queue.
pub(crate) fn bit(ticket: Ticket) -> u32 {
    1 << (ticket % u64::from(u32::BITS))
}

/// Sleepers with their jobs, and the results of those whose job is done and who have not seen it.
pub(crate) struct Line<J, R> {
    waiting: VecDeque<(Ticket, J)>,
    done: Vec<(Ticket, R)>,
    next: Ticket,
}

impl<J, R> Line<J, R> {
    pub const fn new() -> Line<J, R> {
        Line { waiting: VecDeque::new(), done: Vec::new(), next: 0 }
    }

    /// Makes room for one more, so that [`Line::join`] and [`Line::finish`] cannot fail. ENOMEM.
    pub fn reserve(&mut self) -> Result<(), Errno> {
        self.waiting.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.done.try_reserve(self.waiting.len() + 1).map_err(|_| Errno::ENOMEM)
    }

    /// The last in line. There must be room.
    pub fn join(&mut self, job: J) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.waiting.push_back((ticket, job));
        ticket
    }

    pub fn jobs(&self) -> impl Iterator<Item = &J> {
        self.waiting.iter().map(|(_, job)| job)
    }

    pub fn job(&mut self, at: usize) -> Option<&mut J> {
        self.waiting.get_mut(at).map(|(_, job)| job)
    }

    /// The job at `at` is done: gives it, and the bit that its sleeper is to be woken by.
    pub fn finish(&mut self, at: usize, result: impl FnOnce(&mut J) -> R) -> u32 {
        let Some((ticket, mut job)) = self.waiting.remove(at) else { return 0 };
        self.done.push((ticket, result(&mut job)));
        bit(ticket)
    }

    /// All jobs are done with: the bits of all sleepers.
    pub fn finish_all(&mut self, mut result: impl FnMut(&mut J) -> R) -> u32 {
        let mut bits = 0;
        while !self.waiting.is_empty() {
            bits |= self.finish(0, &mut result);
        }
        bits
    }

    /// What became of a job, once: `None` while it waits.
    pub fn result(&mut self, ticket: Ticket) -> Option<R> {
        let at = self.done.iter().position(|(done, _)| *done == ticket)?;
        Some(self.done.swap_remove(at).1)
    }

    /// Steps out of the line. The result if the job was done after all.
    pub fn leave(&mut self, ticket: Ticket) -> Option<R> {
        match self.waiting.iter().position(|(waiting, _)| *waiting == ticket) {
            Some(at) => {
                self.waiting.remove(at);
                None
            }
            None => self.result(ticket),
        }
    }
}
