//! select(2): as poll(2), with a bitmap for each of three conditions.

use crate::args::Args;
use crate::bounds::{Bounds, Unit};
use crate::fault;
use crate::polling::Targets;
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result};
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
    match call.pass(current, call.bounds.is_over())? {
        0 if !call.bounds.is_over() => Err(Error::WouldBlock),
        n => Ok(n),
    }
}

impl Selecting {
    /// Reads the bitmaps, as far as there are descriptors.
    fn read(&self, current: &Current) -> Result<Sets> {
        let count = usize::try_from(self.count).unwrap_or(0).min(current.files.capacity());
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

    /// Hands each descriptor that is asked about to `each`, with the bitmaps that name it.
    fn each(sets: &Sets, mut each: impl FnMut(usize, [bool; 3]) -> Result<()>) -> Result<()> {
        for word in 0..sets.words {
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

    /// Looks at each descriptor once and counts the bits that are set then. The bitmaps are stored if there are any, or if this
    /// is the `last` pass. EBADF.
    fn pass(&self, current: &Current, last: bool) -> Result<usize> {
        let caller = current.caller();
        let asked = self.read(current)?;
        let mut found = Sets::new(asked.words)?;
        let mut count = 0;
        Selecting::each(&asked, |fd, wanted| {
            let events = ready(&*current.files.get(fd as u32)?, &caller, Events::all());
            for i in 0..3 {
                if wanted[i] && events.intersects(CONDITIONS[i]) {
                    found.set_mut(i)[fd / WORD] |= 1 << (fd % WORD);
                    count += 1;
                }
            }
            Ok(())
        })?;
        if count > 0 || last {
            self.store(&asked, &found)?;
        }
        Ok(count)
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

    fn targets(&self, current: &Current) -> Result<Targets> {
        let mut targets = Targets::default();
        Selecting::each(&self.read(current)?, |fd, wanted| {
            let mut interest = Events::empty();
            for i in 0..3 {
                if wanted[i] {
                    interest |= CONDITIONS[i];
                }
            }
            targets.push(current.files.get(fd as u32)?, interest)
        })?;
        Ok(targets)
    }

    async fn wait(&self, current: &Current, deadline: Option<u64>) -> Result<usize> {
        let targets = loop {
            match self.targets(current) {
                Err(Error::Fault(page)) => fault::resolve(current, page).await?,
                other => break other?,
            }
        };
        targets.wait(current, deadline, |last| self.pass(current, last)).await
    }
}

/// Waits where no descriptor was ready.
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
        Selecting::each(&sets, |fd, wanted| {
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
