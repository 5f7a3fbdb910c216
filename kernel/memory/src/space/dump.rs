//! What a core file is made from.

use super::Space;
use super::table::load;
use crate::frames::Frame;
use arch::addr::{PAGE_SIZE, VirtAddr};
use arch::paging::Entry;

/// One more owner of the frame of a present entry. The space is held alone.
fn frame_of(entry: Entry) -> Frame {
    // SAFETY: the entry owns the frame, and the space is held alone.
    Frame::clone(&*unsafe { Frame::borrow(entry.addr()) })
}

impl Space {
    /// The first page at or after `from`, and below `end`, that has contents: one that was touched, or one of a mapped object.
    /// Nothing is made for it, whatever may be done with it. Waits for the space.
    pub async fn next_page(&self, from: VirtAddr, end: VirtAddr) -> Option<(VirtAddr, Frame)> {
        let inner = self.inner.write().await;
        let mut at = from.0;
        loop {
            let area = inner.areas.at_or_after(at)?;
            at = at.max(area.start);
            if at >= end.0 {
                return None;
            }
            let Some(backing) = &area.backing else {
                let mut found = None;
                inner.tables.walk(at, area.end.min(end.0), |addr, slot| {
                    found = Some((addr, load(slot)));
                    false
                });
                match found {
                    Some((addr, entry)) => return Some((VirtAddr(addr), frame_of(entry))),
                    None => at = area.end,
                }
                continue;
            };
            let present = inner.tables.find(at).map(load).filter(|entry| entry.is_present());
            let frame = match present {
                Some(entry) => Some(frame_of(entry)),
                None => backing.object.page(area.object_page(at)).ok(),
            };
            match frame {
                Some(frame) => return Some((VirtAddr(at), frame)),
                None => at += PAGE_SIZE,
            }
        }
    }
}
