//! How many pages of pipe buffers each user may have (pipe(7), "/proc/sys/fs/pipe-user-pages-soft").
//!
//! A pipe is charged to the user who made it by its capacity, whatever of it is in use.

use crate::ranks;
use alloc::collections::BTreeMap;
use base::{Capability, Credentials};
use executor::spin::SpinLock;

/// Pages that a user without privilege may have: 1024 pipes of the ordinary size.
const SOFT: usize = 16_384;

/// Pages by user; none where there is no entry.
static USED: SpinLock<BTreeMap<u32, usize>> = SpinLock::new(ranks::PIPE_USERS, BTreeMap::new());

/// Pages charged to a user until dropped.
pub(crate) struct Charge {
    uid: u32,
    pages: usize,
}

/// Whether the limit does not hold for this user.
fn is_exempt(cred: &Credentials) -> bool {
    cred.has(Capability::SysResource) || cred.has(Capability::SysAdmin)
}

/// Changes what a user has by leave of `may`, which is told what it would be.
fn change(uid: u32, from: usize, to: usize, may: impl FnOnce(usize) -> bool) -> bool {
    let mut used = USED.lock();
    let total = used.get(&uid).map_or(0, |used| used.saturating_sub(from)) + to;
    if !may(total) {
        return false;
    }
    match total {
        0 => drop(used.remove(&uid)),
        _ => drop(used.insert(uid, total)),
    }
    true
}

impl Charge {
    /// Charges `pages`, or `fewer` to a user who would have too many.
    pub(crate) fn new(cred: &Credentials, pages: usize, fewer: usize) -> Charge {
        let uid = cred.uid;
        if change(uid, 0, pages, |total| total <= SOFT || is_exempt(cred)) {
            return Charge { uid, pages };
        }
        change(uid, 0, fewer, |_| true);
        Charge { uid, pages: fewer }
    }

    /// The pages that it stands for.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Charges another number of pages instead. False, and nothing changed, if it would be more than before and too many.
    pub(crate) fn resize(&mut self, cred: &Credentials, pages: usize) -> bool {
        let grows = pages > self.pages;
        let changed = change(self.uid, self.pages, pages, |total| !grows || total <= SOFT || is_exempt(cred));
        if changed {
            self.pages = pages;
        }
        changed
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        change(self.uid, self.pages, 0, |_| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_too_many_pages_gets_fewer_and_may_not_grow() {
        let cred = Credentials { uid: 77, effective: 0, ..Credentials::root() };
        let mut all: alloc::vec::Vec<Charge> = (0..1024).map(|_| Charge::new(&cred, 16, 2)).collect();
        assert!(all.iter().all(|charge| charge.pages() == 16));
        assert_eq!(Charge::new(&cred, 16, 2).pages(), 2);
        assert!(!all[0].resize(&cred, 32));
        assert!(all[0].resize(&Credentials::root(), 32));
        assert!(all[0].resize(&cred, 1));
        drop(all);
        assert_eq!(USED.lock().get(&77), None);
    }
}
