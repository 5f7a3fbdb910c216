//! brk(2).

use super::area::Area;
use super::{Flags, Limits, Space, map};
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::USER_END;

const HEAP: Flags = Flags::READ.union(Flags::WRITE).union(Flags::MAY);

impl Space {
    /// brk(2): moves the end of the heap to `to` if that is possible, and gives where it is then. Waits for the space, and
    /// for other CPUs if the heap shrinks.
    pub async fn brk(&self, to: VirtAddr, limits: &Limits) -> VirtAddr {
        let mut inner = self.write().await;
        inner.limits = *limits;
        let base = inner.layout.brk_start.0;
        let old = inner.brk;
        if to.0 < base || to.0 >= USER_END.0 - PAGE_SIZE || to.0 - base > limits.data {
            return VirtAddr(old);
        }
        let (old_end, new_end) = (old.next_multiple_of(PAGE_SIZE), to.0.next_multiple_of(PAGE_SIZE));
        if new_end < old_end {
            if self.unmap_locked(&mut inner, new_end, old_end).await.is_err() {
                return VirtAddr(old);
            }
        } else if new_end > old_end {
            let flags = if inner.lock_future { HEAP | Flags::LOCKED } else { HEAP };
            let pages = (new_end - old_end) / PAGE_SIZE;
            let near = inner.areas.at_or_after(new_end).is_some_and(|next| next.guarded_start() < new_end);
            let full = inner.areas.len() >= super::areas::MAX_AREAS || crate::admit(8192).is_err();
            if near
                || full
                || !inner.areas.is_free(old_end, new_end)
                || map::check_growth(&inner, pages, 0, flags, limits).is_err()
            {
                return VirtAddr(old);
            }
            inner.areas.insert(Area { start: old_end, end: new_end, flags, backing: None });
            inner.brk = to.0;
            if flags.contains(Flags::LOCKED) {
                drop(inner);
                // The heap has grown even if there is no memory for all of it now.
                let _ = self.populate(old_end, new_end, true).await;
            }
            return to;
        }
        inner.brk = to.0;
        to
    }
}
