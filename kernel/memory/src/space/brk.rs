//! brk(2).

use super::area::Area;
use super::{Flags, Inner, Limits, Space, map};
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::USER_END;

const HEAP: Flags = Flags::READ.union(Flags::WRITE).union(Flags::MAY);

/// What moving the end of the heap takes.
enum Move {
    /// It is where it can be.
    Done(VirtAddr),
    /// Unmapping these addresses.
    Shrink(usize, usize),
    /// It has moved; these addresses are to be filled.
    Fill(usize, usize),
}

impl Inner {
    fn move_break(&mut self, to: VirtAddr, limits: &Limits) -> Move {
        self.limits = *limits;
        let base = self.layout.brk_start.0;
        let old = self.brk;
        if to.0 < base || to.0 >= USER_END.0 - PAGE_SIZE || to.0 - base > limits.data {
            return Move::Done(VirtAddr(old));
        }
        let (old_end, new_end) = (old.next_multiple_of(PAGE_SIZE), to.0.next_multiple_of(PAGE_SIZE));
        if new_end < old_end {
            return Move::Shrink(new_end, old_end);
        }
        if new_end > old_end {
            let flags = if self.lock_future { HEAP | Flags::LOCKED } else { HEAP };
            let pages = (new_end - old_end) / PAGE_SIZE;
            let near = self.areas.at_or_after(new_end).is_some_and(|next| next.guarded_start() < new_end);
            let full = self.areas.len() >= super::areas::MAX_AREAS || crate::admit(8192).is_err();
            if near
                || full
                || !self.areas.is_free(old_end, new_end)
                || map::check_growth(self, pages, 0, flags, limits).is_err()
            {
                return Move::Done(VirtAddr(old));
            }
            self.areas.insert(Area { start: old_end, end: new_end, flags, backing: None });
            if flags.contains(Flags::LOCKED) {
                self.brk = to.0;
                return Move::Fill(old_end, new_end);
            }
        }
        self.brk = to.0;
        Move::Done(to)
    }
}

impl Space {
    /// brk(2): moves the end of the heap to `to` if that is possible, and gives where it is then. Waits for the space, and
    /// for other CPUs if the heap shrinks.
    pub async fn brk(&self, to: VirtAddr, limits: &Limits) -> VirtAddr {
        let mut inner = self.write().await;
        match inner.move_break(to, limits) {
            Move::Done(at) => at,
            Move::Shrink(start, end) => {
                if self.unmap_locked(&mut inner, start, end).await.is_ok() {
                    inner.brk = to.0;
                }
                VirtAddr(inner.brk)
            }
            Move::Fill(start, end) => {
                drop(inner);
                // The heap has grown even if there is no memory for all of it now.
                let _ = self.populate(start, end, true).await;
                to
            }
        }
    }

    /// As [`Space::brk`], without waiting. `None`: that is not enough, and nothing was done.
    pub fn try_brk(&self, to: VirtAddr, limits: &Limits) -> Option<VirtAddr> {
        let mut inner = self.try_write().filter(|inner| !inner.lock_future)?;
        match inner.move_break(to, limits) {
            Move::Done(at) => Some(at),
            _ => None,
        }
    }
}
