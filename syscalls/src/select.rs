//! select(2): as poll(2), with a bitmap for each of three conditions.

use crate::args::Args;
use crate::bounds::{Bounds, Unit};
use crate::fault;
use crate::polling::{PART, Targets, in_parts, wait};
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result};
use core::ops::Range;
use memory::user::UserPtr;
use process::Current;
use vfs::poll::ready;

/// Words of one bitmap that stay off the heap: 1024 descriptors.
const INLINE: usize = 16;
/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// What each bitmap asks for.
const CONDITIONS: [Events; 3] = [
    Events::IN.union(Events::RDNORM).union(Events::RDBAND).union(Events::HUP).union(Events::ERR),
    Events::OUT.union(Events::WRNORM).union(Events::WRBAND).union(Events::ERR),
    Events::PRI,
];

/// Three bitmaps of equal length, one after another.
struct Sets {
    few: [u64; 3 * INLINE],
    many: Vec<u64>,
    words: usize,
}

impl Sets {
    fn new(words: usize) -> Result<Sets> {
        let mut many = Vec::new();
        if words > INLINE {
            many.try_reserve_exact(3 * words).map_err(|_| Errno::ENOMEM)?;
            many.resize(3 * words, 0);
        }
        Ok(Sets { few: [0; 3 * INLINE], many, words })
    }

    fn set(&self, i: usize) -> &[u64] {
        let all: &[u64] = if self.words > INLINE { &self.many } else { &self.few };
        &all[i * self.words..(i + 1) * self.words]
    }

    fn set_mut(&mut self, i: usize) -> &mut [u64] {
        let all: &mut [u64] = if self.words > INLINE { &mut self.many } else { &mut self.few };
        &mut all[i * self.words..(i + 1) * self.words]
    }
}

/// The arguments of either call.
pub struct Selecting {
    count: i32,
    sets: [UserPtr<u64>; 3],
    bounds: Bounds,
}

fn decode(args: &Args, bounds: Bounds) -> Selecting {
    Selecting { count: args.int(0), sets: [args.ptr(1), args.ptr(2), args.ptr(3)], bounds }
}

/// pselect6(2): the last argument points to the mask and its size.
pub fn decode_pselect(args: &Args) -> Result<Selecting> {
    let mut bounds = Bounds::at(args, 4, Unit::Nanos)?;
    let mask = args.ptr::<[usize; 2]>(5);
    if !mask.is_null() {
        let [ptr, size] = mask.read()?;
        bounds = bounds.with_mask(UserPtr::from(ptr), size)?;
    }
    Ok(decode(args, bounds))
}

/// select(2).
pub fn decode_select(args: &Args) -> Result<Selecting> {
    Ok(decode(args, Bounds::at(args, 4, Unit::Micros)?))
}

/// pselect6(2).
pub fn pselect6(current: &mut Current, args: &Args) -> Result<usize> {
    start(current, decode_pselect(args)?)
}

/// select(2).
pub fn select(current: &mut Current, args: &Args) -> Result<usize> {
    start(current, decode_select(args)?)
}

fn start(current: &mut Current, call: Selecting) -> Result<usize> {
    if call.count < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut passes = Passes::new(&call, current)?;
    if passes.count > PART {
        return Err(Error::WouldBlock);
    }
    match passes.look(0..passes.count, call.bounds.is_over())? {
        0 if !call.bounds.is_over() => Err(Error::WouldBlock),
        n => Ok(n),
    }
}

impl Selecting {
    /// Reads the bitmaps of so many descriptors.
    fn read(&self, count: usize) -> Result<Sets> {
        let mut sets = Sets::new(count.div_ceil(WORD))?;
        let past = count % WORD;
        for (i, ptr) in self.sets.iter().enumerate() {
            if !ptr.is_null() {
                let set = sets.set_mut(i);
                ptr.read_slice(set)?;
                if past != 0
                    && let Some(last) = set.last_mut()
                {
                    *last &= (1 << past) - 1;
                }
            }
        }
        Ok(sets)
    }

    /// Hands each descriptor of a part that is asked about to `each`, with the bitmaps that name it. Parts begin with a word.
    fn each(sets: &Sets, part: Range<usize>, mut each: impl FnMut(usize, [bool; 3]) -> Result<()>) -> Result<()> {
        for word in part.start / WORD..part.end.div_ceil(WORD) {
            let masks = [0, 1, 2].map(|i| sets.set(i)[word]);
            let mut left = masks[0] | masks[1] | masks[2];
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                each(word * WORD + bit, masks.map(|mask| mask >> bit & 1 != 0))?;
            }
        }
        Ok(())
    }

    /// The bitmaps are arguments and results at once. They are stored unchanged first, so that a fault leaves them as they were.
    fn store(&self, asked: &Sets, found: &Sets) -> Result<()> {
        for sets in [asked, found] {
            for (i, ptr) in self.sets.iter().enumerate() {
                if !ptr.is_null() {
                    ptr.write_slice(sets.set(i))?;
                }
            }
        }
        Ok(())
    }

    async fn targets(&self, current: &Current, count: usize) -> Result<Targets> {
        let mut targets = Targets::default();
        let mut asked = None;
        let added = in_parts(current, count, |part| {
            if part.start == 0 {
                targets.clear();
                asked = Some(self.read(count)?);
            }
            let Some(asked) = &asked else { return Ok(0) };
            Selecting::each(asked, part, |fd, wanted| {
                let mut interest = Events::empty();
                for i in 0..3 {
                    if wanted[i] {
                        interest |= CONDITIONS[i];
                    }
                }
                targets.push(current.files.get(fd as u32)?, interest)
            })?;
            Ok(0)
        })
        .await;
        targets.complete(added).await
    }

    async fn wait(&self, current: &Current, deadline: Option<u64>) -> Result<usize> {
        let mut passes = Passes::new(self, current)?;
        let count = passes.count;
        let mut look = |part, last| passes.look(part, last);
        if count > PART {
            // These have not been looked at.
            let over = self.bounds.is_over();
            match in_parts(current, count, |part| look(part, over)).await? {
                0 if !over => {}
                n => return Ok(n),
            }
        }
        wait(current, self.targets(current, count).await?, deadline, count, look).await
    }
}

/// Passes over the descriptors of a call, one after another.
struct Passes<'a> {
    call: &'a Selecting,
    current: &'a Current,
    /// How many there are to look at. The table of descriptors may grow meanwhile; what the call is about does not.
    count: usize,
    /// The bitmaps, as this pass began.
    asked: Sets,
    found: Sets,
    /// Bits in `found`.
    set: usize,
}

impl<'a> Passes<'a> {
    fn new(call: &'a Selecting, current: &'a Current) -> Result<Passes<'a>> {
        let count = usize::try_from(call.count).unwrap_or(0).min(current.files.capacity());
        Ok(Passes { call, current, count, asked: Sets::new(0)?, found: Sets::new(0)?, set: 0 })
    }

    /// Looks at each descriptor of a part once and counts the bits that are set then. The bitmaps are stored at the end of the pass if
    /// any of theirs is set, or if this is the `last` pass. EBADF.
    fn look(&mut self, part: Range<usize>, last: bool) -> Result<usize> {
        if part.start == 0 {
            self.asked = self.call.read(self.count)?;
            self.found = Sets::new(self.asked.words)?;
            self.set = 0;
        }
        let caller = self.current.caller();
        let before = self.set;
        Selecting::each(&self.asked, part.clone(), |fd, wanted| {
            let events = ready(&*self.current.files.get(fd as u32)?, &caller, Events::all());
            for i in 0..3 {
                if wanted[i] && events.intersects(CONDITIONS[i]) {
                    self.found.set_mut(i)[fd / WORD] |= 1 << (fd % WORD);
                    self.set += 1;
                }
            }
            Ok(())
        })?;
        if part.end == self.count && (self.set > 0 || last) {
            self.call.store(&self.asked, &self.found)?;
        }
        Ok(self.set - before)
    }
}

/// Waits where no descriptor was ready, or where there are many.
pub async fn finish(current: &mut Current, args: &Args, decode: fn(&Args) -> Result<Selecting>) -> Result<usize> {
    let call = loop {
        match decode(args) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    let deadline = call.bounds.deadline();
    call.bounds.begin(current);
    let result = call.wait(current, deadline).await;
    call.bounds.end(current, deadline, result).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_descriptor_comes_once_with_all_that_is_asked() {
        let mut sets = Sets::new(2).unwrap();
        sets.set_mut(0)[0] = 1 << 3;
        sets.set_mut(2)[0] = 1 << 3;
        sets.set_mut(1)[1] = 1;
        let mut seen = Vec::new();
        Selecting::each(&sets, 0..2 * WORD, |fd, wanted| {
            seen.push((fd, wanted));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(3, [true, false, true]), (64, [false, true, false])]);
    }

    #[test]
    fn large_sets_are_three_of_equal_length() {
        let mut sets = Sets::new(INLINE + 1).unwrap();
        sets.set_mut(2)[INLINE] = 7;
        assert_eq!((sets.set(0).len(), sets.set(2)[INLINE], sets.set(1)[INLINE]), (INLINE + 1, 7, 0));
    }
}
