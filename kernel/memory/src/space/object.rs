//! What areas map apart from private anonymous memory: files, and shared anonymous memory.

use super::Space;
use crate::frames::{Frame, Kind};
use crate::ranks;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use arch::addr::PAGE_SIZE;
use base::Result;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use executor::spin::SpinLock;

/// What /proc/PID/maps tells of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// The inode number.
    pub inode: u64,
}

/// Something that can be mapped: pages by number, each in one frame that all mappings share. A file system
/// implements it for an open file. Nothing here waits, and everything may be called with a space's (asynchronous) lock held.
pub trait Object: Send + Sync {
    /// The frame of page `index`, to be read. A hole of a file may be filled. ENOMEM; another error makes the
    /// access end in SIGBUS.
    fn page(&self, index: u64) -> Result<Frame>;

    /// The frame of page `index`, to be written through a shared mapping: it is then dirty. Errors as for [`Object::page`].
    fn page_mut(&self, index: u64) -> Result<Frame> {
        self.page(index)
    }

    /// The frame of page `index` if it is there at no cost: for mapping the neighbours of a touched page.
    fn cached_page(&self, _index: u64) -> Option<Frame> {
        None
    }

    /// Length in bytes. Touching a page that lies behind it wholly ends in SIGBUS.
    fn size(&self) -> u64;

    /// Who maps it. Objects that stand for the same file share one.
    fn mappings(&self) -> &Mappings;

    /// One more area maps it.
    fn mapped(&self) {}

    /// One area less maps it.
    fn unmapped(&self) {}

    /// For /proc/PID/maps.
    fn identity(&self) -> Identity;

    /// Writes the path for /proc/PID/maps.
    fn name(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Frees the pages `start..end` (madvise MADV_REMOVE, fallocate with FALLOC_FL_PUNCH_HOLE); they read as zeros
    /// afterwards. EOPNOTSUPP if the object cannot.
    fn punch(&self, _start: u64, _end: u64) -> Result<()> {
        Err(base::Errno::EOPNOTSUPP.into())
    }
}

/// The spaces that map an object, once per area. Its spin lock is held for a few instructions.
pub struct Mappings {
    entries: SpinLock<Entries>,
}

struct Entries {
    spaces: BTreeMap<u64, Weak<Space>>,
    next: u64,
}

impl Default for Mappings {
    fn default() -> Self {
        Mappings::new()
    }
}

impl Mappings {
    /// Nobody.
    pub const fn new() -> Mappings {
        Mappings { entries: SpinLock::new(ranks::MAPPINGS, Entries { spaces: BTreeMap::new(), next: 0 }) }
    }

    /// Whether anybody maps it.
    pub fn is_empty(&self) -> bool {
        self.entries.lock().spaces.is_empty()
    }

    /// How many areas map it.
    pub fn len(&self) -> usize {
        self.entries.lock().spaces.len()
    }

    fn add(&self, space: &Weak<Space>) -> u64 {
        let mut entries = self.entries.lock();
        let key = entries.next;
        entries.next += 1;
        entries.spaces.insert(key, space.clone());
        key
    }

    fn remove(&self, key: u64) {
        let space = self.entries.lock().spaces.remove(&key);
        // May free the space's memory, so the lock is given back before.
        drop(space);
    }

    /// Unmaps the pages `start..end` wherever they are mapped, after a file was cut off or its pages were removed:
    /// the next access looks at the object again. With `private`, copies that a private mapping made go as well, as
    /// truncate wants it. Waits for other CPUs; to be called after the object has changed.
    pub async fn unmap(&self, start: u64, end: u64, private: bool) {
        let mut at = 0;
        loop {
            // One at a time, so that no lock is held meanwhile. A space that comes later sees the changed object.
            let (space, next) = {
                let entries = self.entries.lock();
                let found = entries.spaces.range(at..).find_map(|(key, space)| Some((space.upgrade()?, key + 1)));
                match found {
                    Some(found) => found,
                    None => return,
                }
            };
            at = next;
            space.unmap_object(self, start, end, private).await;
        }
    }
}

/// One area's mapping of an object.
pub(super) struct Backing {
    pub object: Arc<dyn Object>,
    /// Where in the object the area begins, in bytes; a multiple of the page size.
    pub offset: u64,
    space: Weak<Space>,
    key: u64,
}

impl Backing {
    pub fn new(object: Arc<dyn Object>, offset: u64, space: &Weak<Space>) -> Backing {
        let key = object.mappings().add(space);
        object.mapped();
        Backing { object, offset, space: space.clone(), key }
    }

    /// The same object from another offset.
    pub fn at(&self, offset: u64) -> Backing {
        Backing::new(self.object.clone(), offset, &self.space)
    }

    /// The same in another space.
    pub fn for_space(&self, space: &Weak<Space>) -> Backing {
        Backing::new(self.object.clone(), self.offset, space)
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.object.mappings().remove(self.key);
        self.object.unmapped();
    }
}

/// Shared anonymous memory (mmap(2), MAP_SHARED with MAP_ANONYMOUS; each mapping of /dev/zero is one as well): frames made
/// at the first touch, kept while anybody maps it.
pub struct SharedAnonymous {
    pages: SpinLock<BTreeMap<u64, Frame>>,
    mappings: Mappings,
    inode: u64,
}

impl Default for SharedAnonymous {
    fn default() -> Self {
        SharedAnonymous::new()
    }
}

impl SharedAnonymous {
    /// Memory that nobody has touched.
    pub fn new() -> SharedAnonymous {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        SharedAnonymous {
            pages: SpinLock::new(ranks::SHARED_PAGES, BTreeMap::new()),
            mappings: Mappings::new(),
            inode: NEXT.fetch_add(1, Relaxed),
        }
    }
}

impl Object for SharedAnonymous {
    fn page(&self, index: u64) -> Result<Frame> {
        let mut pages = self.pages.lock();
        if let Some(frame) = pages.get(&index) {
            return Ok(frame.clone());
        }
        let frame = Frame::alloc_zeroed(Kind::File)?;
        pages.insert(index, frame.clone());
        Ok(frame)
    }

    fn size(&self) -> u64 {
        u64::MAX - PAGE_SIZE as u64
    }

    fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    fn identity(&self) -> Identity {
        Identity { major: 0, minor: 1, inode: self.inode }
    }

    fn name(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("/dev/zero (deleted)")
    }

    fn punch(&self, start: u64, end: u64) -> Result<()> {
        let mut pages = self.pages.lock();
        let mut rest = pages.split_off(&start);
        let mut after = rest.split_off(&end);
        pages.append(&mut after);
        drop(pages);
        drop(rest);
        Ok(())
    }
}
