//! Signals with which nothing is done but waiting for them, as signal(7), sigqueue(3), sigtimedwait(2) and sigpending(2) have it:
//! an independent model of their queues.
//!
//! Every program blocks the real-time signals [`FIRST`] to [`LAST`] before it does anything else, and none unblocks them. So
//! each that is sent lies in the queue of its process, or of its thread, until a wait takes it: the thread's own before the process's,
//! the lowest number first, those of one number in the order in which they were sent, each once and with its value.

use crate::model::{Model, Seen};
use std::collections::BTreeMap;

/// The signals.
pub const FIRST: u8 = 40;
pub const LAST: u8 = 43;
/// The same as a `sigset_t`.
pub const SET: u64 = 0xf << (FIRST - 1);

pub const fn is(signal: u8) -> bool {
    FIRST <= signal && signal <= LAST
}

/// One signal that was sent, with the value that came with it: 0 where kill(2) sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    pub signal: u8,
    pub value: u32,
}

impl Letter {
    fn is_in(self, set: u64) -> bool {
        set & 1 << (self.signal - 1) != 0
    }
}

/// Whose queue: a process's, or (second) that of a thread of it.
pub type Owner = (u32, u32);

/// Queues, those that are empty left out.
pub type Boxes = BTreeMap<Owner, Vec<Letter>>;

/// A wait.
struct Wait {
    process: u32,
    set: u64,
    /// What it might have taken at once.
    there: Vec<Letter>,
}

/// A letter that somebody has taken, one of these.
struct Taken {
    by: Vec<u32>,
    letter: Letter,
}

#[derive(Default)]
pub struct Mail {
    boxes: Boxes,
    /// What threads are sending and is in no queue yet.
    sending: BTreeMap<u32, Vec<(Owner, Letter)>>,
    waits: BTreeMap<u32, Wait>,
    taken: Vec<Taken>,
    /// What was pending for a thread when it began to ask.
    asked: BTreeMap<u32, u64>,
}

impl Mail {
    /// Thread `id` is about to send a letter to each of `owners`. What is for a thread that has exited is nobody's.
    pub fn sends(&mut self, id: u32, owners: &[Owner], letter: Letter, model: &Model) {
        let live = owners.iter().filter(|(process, thread)| *thread == 0 || model.has_thread(*process, *thread));
        self.sending.insert(id, live.map(|owner| (*owner, letter)).collect());
    }

    /// The call of thread `id` that sends is over; whether with success.
    pub fn sent(&mut self, id: u32, success: bool, model: &Model) {
        let left = self.sending.remove(&id).unwrap_or_default();
        for ((process, thread), letter) in left.into_iter().filter(|_| success) {
            let is_there = model.takes_signals(process) && (thread == 0 || model.has_thread(process, thread));
            assert!(!is_there, "{id} sent {letter:?} to {process} (thread {thread}), and it is not there");
        }
    }

    /// Thread `id` of `process` is about to wait for the signals of `set`.
    pub fn waits(&mut self, id: u32, process: u32, set: u64) {
        self.settle(id);
        let there = self.boxes_of(process, id).flatten().copied().filter(|letter| letter.is_in(set)).collect();
        self.waits.insert(id, Wait { process, set, there });
    }

    /// The wait of thread `id` is over, with this letter or because its time was up.
    pub fn waited(&mut self, id: u32, found: Option<Letter>) {
        let wait = self.waits.remove(&id).expect("it waits");
        match found {
            Some(letter) => {
                let at = self.taken.iter().position(|taken| taken.letter == letter && taken.by.contains(&id));
                let Some(at) = at else { panic!("{id} was given {letter:?}, which it did not take: {wait:?}") };
                self.taken.remove(at);
            }
            None => {
                let missed = self.boxes_of(wait.process, id).flatten().find(|now| {
                    // Those without a value look all the same.
                    now.value != 0 && wait.there.contains(now)
                });
                assert!(missed.is_none(), "{id} found nothing, and {missed:?} was there all the while");
            }
        }
        self.settle(id);
    }

    /// The wait of thread `id` ended with an error.
    pub fn interrupted(&mut self, id: u32) {
        self.waits.remove(&id);
        self.settle(id);
    }

    /// Thread `id` of `process` is about to ask what is pending.
    pub fn asks(&mut self, id: u32, process: u32) {
        let now = self.pending(id, process);
        self.asked.insert(id, now);
    }

    /// It was told this.
    pub fn told(&mut self, id: u32, process: u32, set: u64) {
        let (before, now) = (self.asked.remove(&id).expect("it asked"), self.pending(id, process));
        let set = set & SET;
        let fits = before & now & !set == 0 && set & !(before | now) == 0;
        assert!(fits, "{id} was told that {set:#x} are pending; {before:#x} were, {now:#x} are");
    }

    /// Whether thread `id`, which sleeps in a wait, has something to take.
    pub fn has_missed(&self, id: u32) -> Option<Letter> {
        let wait = self.waits.get(&id)?;
        self.choice(id, wait.process, wait.set).map(|(_, letter)| letter)
    }

    /// A thread has taken over its process's number.
    pub fn renamed(&mut self, old: u32, new: u32) {
        self.boxes.remove(&(new, new));
        if let Some(letters) = self.boxes.remove(&(new, old)) {
            self.boxes.insert((new, new), letters);
        }
        self.waits.remove(&old);
        self.sending.remove(&old);
    }

    /// Follows the kernel to where it is: one thread has run, in one poll, so that each queue has lost or gained one at most.
    pub fn meet(&mut self, seen: &Seen, model: &Model) {
        self.boxes.retain(|(process, thread), _| {
            model.has_threads(*process) && (*thread == 0 || model.has_thread(*process, *thread))
        });
        let theirs = |owner: &Owner| seen.get(&owner.0).and_then(|process| process.mail.get(&owner.1));
        let mut removed = None;
        for owner in self.boxes.keys() {
            let (ours, theirs) = (&self.boxes[owner], theirs(owner).map_or(&[][..], |letters| letters));
            if let Some(at) = the_one_removed(ours, theirs) {
                assert!(removed.is_none(), "queues lost several: those of {removed:?} and of {owner:?}");
                removed = Some((*owner, at));
            }
        }
        if let Some((owner, at)) = removed {
            self.take(owner, at);
        }
        // Who has died in this poll may have taken a letter in it.
        self.forget_the_dead(model);
        for (process, boxes) in seen.iter().map(|(id, process)| (*id, &process.mail)) {
            for (thread, theirs) in boxes {
                let ours = self.boxes.entry((process, *thread)).or_default();
                if theirs.len() == ours.len() + 1 {
                    let letter = theirs[theirs.len() - 1];
                    ours.push(letter);
                    self.arrives((process, *thread), letter);
                }
            }
        }
        self.boxes.retain(|_, letters| !letters.is_empty());
        for owner in self.boxes.keys() {
            assert_eq!(theirs(owner), self.boxes.get(owner), "the queue of {owner:?} (kernel, model)");
        }
        let count: usize = seen.values().map(|process| process.mail.len()).sum();
        assert_eq!(count, self.boxes.len(), "queues (kernel, model), which has {:?}", self.boxes);
    }

    fn arrives(&mut self, owner: Owner, letter: Letter) {
        let found = self.sending.values_mut().find_map(|letters| {
            let at = letters.iter().position(|sent| *sent == (owner, letter))?;
            Some(letters.remove(at))
        });
        assert!(found.is_some(), "{letter:?} came to {owner:?}, and nobody sent it");
    }

    /// The letter at `at` in the queue of `owner` is gone: somebody who waits for it must have been allowed to take it.
    fn take(&mut self, owner: Owner, at: usize) {
        let letter = self.boxes[&owner][at];
        let first = self.boxes[&owner].iter().position(|other| other.signal == letter.signal);
        let chooses = |(id, wait): (&u32, &Wait)| {
            (self.choice(*id, wait.process, wait.set) == Some((owner, letter)) && first == Some(at)).then_some(*id)
        };
        let by: Vec<u32> = self.waits.iter().filter_map(chooses).collect();
        assert!(
            !by.is_empty(),
            "{letter:?} left the queue of {owner:?} {:?}; these wait: {:?}",
            self.boxes[&owner],
            self.waits
        );
        self.boxes.get_mut(&owner).expect("as above").remove(at);
        self.taken.push(Taken { by, letter });
    }

    /// What a thread is to take of the signals of `set`, and where.
    fn choice(&self, id: u32, process: u32, set: u64) -> Option<(Owner, Letter)> {
        [(process, id), (process, 0)].into_iter().find_map(|owner| {
            let letters = self.boxes.get(&owner)?.iter().filter(|letter| letter.is_in(set));
            // The first of those with the lowest number.
            letters.min_by_key(|letter| letter.signal).map(|letter| (owner, *letter))
        })
    }

    fn pending(&self, id: u32, process: u32) -> u64 {
        self.boxes_of(process, id).flatten().fold(0, |set, letter| set | 1 << (letter.signal - 1))
    }

    fn boxes_of(&self, process: u32, id: u32) -> impl Iterator<Item = &Vec<Letter>> {
        [(process, id), (process, 0)].into_iter().filter_map(|owner| self.boxes.get(&owner))
    }

    /// Thread `id` is not in a wait: what it may have taken, somebody else has.
    fn settle(&mut self, id: u32) {
        for taken in &mut self.taken {
            taken.by.retain(|by| *by != id);
            assert!(!taken.by.is_empty(), "{id} took {:?}, and was not told", taken.letter);
        }
    }

    fn forget_the_dead(&mut self, model: &Model) {
        self.waits.retain(|id, wait| model.has_thread(wait.process, *id));
        self.taken.retain_mut(|taken| {
            taken.by.retain(|by| model.lives(*by));
            !taken.by.is_empty()
        });
    }
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "of process {} for {:#x}, at first {:?}", self.process, self.set, self.there)
    }
}

/// The place in `longer` of the one letter that `shorter` has not: the first, where several are alike.
fn the_one_removed(longer: &[Letter], shorter: &[Letter]) -> Option<usize> {
    let is_it = |at: &usize| longer[..*at] == shorter[..*at] && longer[at + 1..] == shorter[*at..];
    if longer.len() == shorter.len() + 1 { (0..longer.len()).find(is_it) } else { None }
}
