//! Code that the kernel supplies to programs: one page that all of them map.

use super::object::{Identity, Mappings, Object};
use crate::frames::{Frame, Kind};
use alloc::sync::Arc;
use arch::addr::PAGE_SIZE;
use base::{Errno, Result};
use core::fmt;

/// A page whose contents never change. Programs map it without [`MAY_WRITE`](super::Flags::MAY_WRITE), so that no process has a
/// copy of its own: it costs neither a page nor, before it is touched, a page table.
pub struct Supplied {
    frame: Frame,
    mappings: Mappings,
    name: &'static str,
}

impl Supplied {
    /// A page that begins with `code`, of which a page is taken at most. `name` is for /proc/PID/maps. ENOMEM.
    pub fn new(name: &'static str, code: &[u8]) -> Result<Arc<Supplied>> {
        let frame = Frame::alloc_zeroed(Kind::File).map_err(|_| Errno::ENOMEM)?;
        frame.write(0, code);
        Ok(Arc::new(Supplied { frame, mappings: Mappings::new(), name }))
    }
}

impl Object for Supplied {
    fn page(&self, _index: u64) -> Result<Frame> {
        Ok(self.frame.clone())
    }

    fn size(&self) -> u64 {
        PAGE_SIZE as u64
    }

    fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    fn identity(&self) -> Identity {
        Identity::default()
    }

    fn name(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(self.name)
    }
}
