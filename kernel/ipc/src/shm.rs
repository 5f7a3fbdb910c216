//! Shared memory segments (shmget(2), shmat(2), shmctl(2)).
//!
//! A segment is an object that address spaces map. It is attached as often as it is mapped, so fork(2), execve(2), exit and
//! munmap(2) count by themselves. One that was removed lives on until its last mapping goes.

use crate::actor::actor;
use crate::perm::{self, Permissions};
use crate::registry::{Object, Registry};
use crate::{Caller, limits, now};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use arch::addr::{PAGE_SHIFT, PAGE_SIZE};
use base::{Capability, Errno, Result, rank};
use core::fmt;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use executor::spin::SpinLock;
use memory::space::{Identity, Mappings};
use memory::{Frame, Kind};

/// `SHM_HUGETLB` and `SHM_NORESERVE` among the flags of shmget(2).
const HUGE: u32 = 0o4000;
const NO_RESERVE: u32 = 0o10000;
/// `SHM_DEST` in a mode: removed, and still attached.
const DYING: u32 = 0o1000;
/// `SHM_LOCKED` in a mode.
const LOCKED: u32 = 0o2000;

/// All segments.
pub static SEGMENTS: Registry<Segment> = Registry::new();

/// Pages that all segments may have.
static PAGES: AtomicU64 = AtomicU64::new(0);

/// A segment.
pub struct Segment {
    id: AtomicI32,
    size: usize,
    creator: u32,
    pages: SpinLock<BTreeMap<u64, Frame>>,
    mappings: Mappings,
    state: SpinLock<State>,
}

struct State {
    perm: Permissions,
    attached: i64,
    detached: i64,
    changed: i64,
    process: u32,
    removed: bool,
}

/// What IPC_STAT tells of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Who may use it; the mode says whether it is locked and whether it is removed.
    pub perm: Permissions,
    /// Bytes.
    pub size: usize,
    /// When it was attached last, in seconds.
    pub attached: i64,
    /// When it was detached last.
    pub detached: i64,
    /// When it was made or changed by shmctl(2).
    pub changed: i64,
    /// The process that made it.
    pub creator: u32,
    /// The process that attached or detached last.
    pub process: u32,
    /// How often it is attached.
    pub count: usize,
    /// Bytes in memory.
    pub resident: usize,
}

/// What SHM_INFO tells of all segments.
pub struct Totals {
    /// Segments.
    pub segments: usize,
    /// Pages that they may have.
    pub pages: u64,
    /// Pages that they have.
    pub resident: u64,
    /// The highest index of a segment.
    pub highest: usize,
}

impl Totals {
    /// As of now.
    pub fn now() -> Totals {
        let (segments, highest) = SEGMENTS.usage();
        let mut resident = 0;
        each(|_, segment| resident += segment.pages.lock().len() as u64);
        Totals { segments, pages: PAGES.load(Relaxed), resident, highest }
    }
}

/// Calls `look` for every segment, ascending.
fn each(mut look: impl FnMut(i32, &Segment)) {
    let mut index = 0;
    loop {
        let found = SEGMENTS.from(index);
        let Some((last, _)) = found.last() else { return };
        index = crate::registry::index_of(*last) + 1;
        found.iter().for_each(|(id, segment)| look(*id, segment));
    }
}

/// shmget(2): the id. EINVAL for a size that is not possible, or larger than that of the segment that is there; ENOSPC,
/// ENOMEM (also for huge pages, of which there are none); and as for every registry.
pub fn get(caller: &Caller, key: i32, size: usize, flags: u32) -> Result<i32, Errno> {
    let fits = |segment: &Segment| if size > segment.size { Err(Errno::EINVAL) } else { Ok(()) };
    let make = || Segment::new(caller, Permissions::new(key, flags, caller.cred), size, flags);
    SEGMENTS.get(caller, key, flags, &limits::SHMMNI, fits, make)
}

impl Segment {
    fn new(caller: &Caller, perm: Permissions, size: usize, flags: u32) -> Result<Arc<Segment>, Errno> {
        if size == 0 || size as u64 > limits::SHMMAX.get() {
            return Err(Errno::EINVAL);
        }
        let bytes = size.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::ENOSPC)?;
        let pages = (bytes >> PAGE_SHIFT) as u64;
        // What could never be had at all is refused at once, as for private memory.
        let hopeless = flags & NO_RESERVE == 0 && bytes > memory::frames::total_bytes();
        if flags & HUGE != 0 || hopeless {
            return Err(Errno::ENOMEM);
        }
        let within = |all: u64| all.checked_add(pages).filter(|all| *all <= limits::SHMALL.get());
        PAGES.fetch_update(Relaxed, Relaxed, within).map_err(|_| Errno::ENOSPC)?;
        let state = State { perm, attached: 0, detached: 0, changed: now(), process: 0, removed: false };
        Ok(Arc::new(Segment {
            id: AtomicI32::new(0),
            size,
            creator: caller.process,
            pages: SpinLock::new(rank::IPC_PAGES, BTreeMap::new()),
            mappings: Mappings::new(),
            state: SpinLock::new(rank::IPC_OBJECT, state),
        }))
    }

    /// Its id.
    pub fn id(&self) -> i32 {
        self.id.load(Relaxed)
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    fn page_count(&self) -> u64 {
        self.size.div_ceil(PAGE_SIZE) as u64
    }

    /// Whether the caller may attach it as `wanted` says. EACCES.
    pub fn check(&self, caller: &Caller, wanted: u32) -> Result<(), Errno> {
        self.state.lock().perm.check(caller.cred, wanted)
    }

    /// IPC_STAT, and SHM_STAT_ANY without a caller. EACCES.
    pub fn status(&self, caller: Option<&Caller>) -> Result<Status, Errno> {
        let count = self.mappings.len();
        let resident = self.pages.lock().len() * PAGE_SIZE;
        let state = self.state.lock();
        if let Some(caller) = caller {
            state.perm.check(caller.cred, perm::READ)?;
        }
        Ok(Status {
            perm: state.perm,
            size: self.size,
            attached: state.attached,
            detached: state.detached,
            changed: state.changed,
            creator: self.creator,
            process: state.process,
            count,
            resident,
        })
    }

    /// IPC_SET. EPERM.
    pub fn set(&self, caller: &Caller, uid: u32, gid: u32, mode: u32) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.perm.check_owner(caller.cred)?;
        state.perm.set(uid, gid, mode);
        state.changed = now();
        Ok(())
    }

    /// SHM_LOCK and SHM_UNLOCK. Its pages are never anywhere but in memory, so there is only the right to it: EPERM for who does
    /// not own it or may lock nothing, ENOMEM where its owner has locked more than `limit` bytes (RLIMIT_MEMLOCK).
    pub fn lock(&self, caller: &Caller, locks: bool, limit: u64) -> Result<(), Errno> {
        let mut locked = self.size.next_multiple_of(PAGE_SIZE) as u64;
        let privileged = caller.cred.has(Capability::IpcLock);
        if locks && !privileged {
            each(|_, other| {
                let state = other.state.lock();
                if state.perm.mode & LOCKED != 0 && state.perm.uid == caller.cred.euid {
                    locked += other.page_count() << PAGE_SHIFT;
                }
            });
        }
        let mut state = self.state.lock();
        if !privileged {
            if ![state.perm.uid, state.perm.cuid].contains(&caller.cred.euid) || locks && limit == 0 {
                return Err(Errno::EPERM);
            }
            if locks && state.perm.mode & LOCKED == 0 && locked > limit {
                return Err(Errno::ENOMEM);
            }
        }
        state.perm.mode = if locks { state.perm.mode | LOCKED } else { state.perm.mode & !LOCKED };
        Ok(())
    }

    /// IPC_RMID: it goes once nobody has it attached; until then its key is nobody's. EPERM.
    pub fn remove(self: &Arc<Segment>, caller: &Caller) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.perm.check_owner(caller.cred)?;
        let key = core::mem::replace(&mut state.perm.key, crate::PRIVATE);
        state.perm.mode |= DYING;
        state.removed = true;
        drop(state);
        SEGMENTS.remove_when_unused(self.id(), key, self);
        Ok(())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        PAGES.fetch_sub(self.page_count(), Relaxed);
        if self.state.get_mut().removed {
            SEGMENTS.gone(self.id());
        }
    }
}

impl Object for Segment {
    fn permissions(&self) -> Permissions {
        self.state.lock().perm
    }

    fn set_id(&self, id: i32) {
        self.id.store(id, Relaxed);
    }
}

impl memory::space::Object for Segment {
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
        self.page_count() << PAGE_SHIFT
    }

    fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    fn mapped(&self) {
        let mut state = self.state.lock();
        (state.attached, state.process) = (now(), actor());
    }

    fn unmapped(&self) {
        let mut state = self.state.lock();
        (state.detached, state.process) = (now(), actor());
    }

    fn identity(&self) -> Identity {
        Identity { major: 0, minor: 1, inode: self.id() as u64 }
    }

    fn name(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "/SYSV{:08x} (deleted)", self.state.lock().perm.key)
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
