//! Address-space numbers. There are fewer than spaces, so they are handed out in generations: when a
//! generation is used up the next begins, every CPU drops all its translations at its next switch, and spaces that
//! are active at that moment keep their number. A space whose generation is past gets a new number when it is
//! activated.

use arch::MAX_CPUS;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Bits of a context id below the generation: the number itself.
pub const ASID_BITS: u32 = 16;
const WORDS: usize = 1 << (ASID_BITS - 6);

pub const fn asid(id: u64) -> u16 {
    id as u16
}

const fn generation(id: u64) -> u64 {
    id >> ASID_BITS
}

/// The numbers of one generation. Protected by the lock that it lies in.
pub struct Asids {
    used: [u64; WORDS],
    /// Where the search goes on.
    next: usize,
    /// The ids that were active on each CPU when the generation began.
    reserved: [u64; MAX_CPUS],
    /// CPUs that have yet to drop all translations.
    stale: u64,
}

impl Asids {
    pub const fn new() -> Asids {
        Asids { used: [0; WORDS], next: 1, reserved: [0; MAX_CPUS], stale: 0 }
    }

    fn is_used(&self, asid: usize) -> bool {
        self.used[asid / 64] >> (asid % 64) & 1 != 0
    }

    fn mark(&mut self, asid: usize) {
        self.used[asid / 64] |= 1 << (asid % 64);
    }

    fn find(&mut self, count: usize) -> Option<usize> {
        let asid = (self.next..count).find(|asid| !self.is_used(*asid))?;
        self.next = asid + 1;
        Some(asid)
    }

    /// Gives the space that had the id `old` (0 for none) one of the current generation. `active` is what each CPU uses.
    pub fn renew(
        &mut self,
        old: u64,
        current: &AtomicU64,
        count: usize,
        active: impl Fn(usize) -> &'static AtomicU64,
    ) -> u64 {
        let now = current.load(Relaxed);
        if old != 0 && generation(old) == now {
            return old;
        }
        if old != 0 {
            let kept = now << ASID_BITS | u64::from(asid(old));
            let mut was_reserved = false;
            for id in self.reserved.iter_mut().filter(|id| **id == old) {
                *id = kept;
                was_reserved = true;
            }
            if was_reserved {
                return kept;
            }
            let number = usize::from(asid(old));
            if !self.is_used(number) {
                self.mark(number);
                return kept;
            }
        }
        if let Some(number) = self.find(count) {
            self.mark(number);
            return now << ASID_BITS | number as u64;
        }
        let now = now + 1;
        current.store(now, SeqCst);
        self.used = [0; WORDS];
        for cpu in 0..MAX_CPUS {
            // A CPU that finds zero there comes to the lock before it switches.
            let id = active(cpu).swap(0, SeqCst);
            if id != 0 {
                self.reserved[cpu] = id;
            }
            let number = usize::from(asid(self.reserved[cpu]));
            self.mark(number);
        }
        self.stale = !0;
        self.next = 1;
        // Fewer CPUs than numbers, so one is free; the kernel's own would be the answer otherwise, with which nothing is
        // cached across switches.
        let number = self.find(count).unwrap_or(0);
        self.mark(number);
        now << ASID_BITS | number as u64
    }

    /// Whether `cpu` must drop all its translations now.
    pub fn take_stale(&mut self, cpu: usize) -> bool {
        let stale = self.stale >> cpu & 1 != 0;
        self.stale &= !(1 << cpu);
        stale
    }
}
