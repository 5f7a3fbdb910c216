//! What is behind an address that several processes may share: how futexes know their word.

use super::{Flags, Inner, Space};
use crate::boxed::try_pin;
use arch::addr::VirtAddr;
use base::{Errno, Result};

impl Space {
    /// The shared object behind `addr`, as a number that stands for it while anybody maps it, and the offset of
    /// `addr` in it. `None` for private memory. EFAULT where nothing is mapped. Waits for the space.
    pub async fn shared_location(&self, addr: VirtAddr) -> Result<Option<(usize, u64)>> {
        match self.inner.try_read() {
            Some(inner) => shared_in(&inner, addr),
            // On the heap, for the sake of the many futures that await this one.
            None => try_pin(|| async { shared_in(&*self.inner.read().await, addr) })?.await,
        }
    }
}

fn shared_in(inner: &Inner, addr: VirtAddr) -> Result<Option<(usize, u64)>> {
    let area = inner.areas.at(addr.0).ok_or(Errno::EFAULT)?;
    let shared = area.flags.contains(Flags::SHARED);
    Ok(area.backing.as_ref().filter(|_| shared).map(|backing| {
        // Objects of one file share their list of mappings.
        let identity = core::ptr::from_ref(backing.object.mappings()).addr();
        (identity, backing.offset + (addr.0 - area.start) as u64)
    }))
}
