//! Rules of address spaces.

use super::*;
use crate::frames::{self, Frame, stats};
use crate::tlb;
use crate::user::UserPtr;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use arch::sim;
use arch::trap::{Access, PageFault};
use base::{Errno, Error};
use core::fmt;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use executor::spin::Rank;

mod bounds;
mod model;

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..100_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
    panic!("waits for ever");
}

const RW: Flags = Flags::READ.union(Flags::WRITE);
const PAGE: usize = PAGE_SIZE;

fn layout() -> Layout {
    Layout::new(VirtAddr(0x50_0000), 8 << 20, 0, 0)
}

fn machine(cpus: usize) {
    machine_with(cpus, 32 << 20);
}

fn machine_with(cpus: usize, ram: usize) {
    frames::init(sim::boot(cpus, ram, [3; 32]));
}

fn space() -> Arc<Space> {
    let space = Space::new(layout()).unwrap();
    space.activate();
    space
}

fn at(addr: usize) -> Place {
    Place::Fixed(VirtAddr(addr))
}

fn map(space: &Space, place: Place, pages: usize, prot: Flags) -> usize {
    run(space.map(MapRequest::anonymous(place, pages * PAGE, prot), &Limits::NONE)).unwrap().0
}

/// Stores a byte as a program would.
fn store(space: &Space, addr: usize, byte: u8) -> Result<(), FaultError> {
    touch(space, addr, |p| p.write(&byte))
}

fn read(space: &Space, addr: usize) -> Result<u8, FaultError> {
    touch(space, addr, |p| p.read())
}

fn touch<T>(
    space: &Space,
    addr: usize,
    mut access: impl FnMut(UserPtr<u8>) -> Result<T, PageFault>,
) -> Result<T, FaultError> {
    space.activate();
    for _ in 0..4 {
        match access(UserPtr::from(addr)) {
            Ok(value) => return Ok(value),
            Err(fault) => run(space.fault(fault))?,
        }
    }
    panic!("the fault at {addr:#x} is not resolved");
}

/// A file in memory.
struct File {
    pages: SpinLock<BTreeMap<u64, Frame>>,
    size: AtomicIsize,
    mappings: Mappings,
}

impl File {
    fn new(size: usize) -> Arc<File> {
        let pages = (0..size.div_ceil(PAGE) as u64)
            .map(|i| {
                let frame = Frame::alloc_zeroed(Kind::File).unwrap();
                frame.write(0, &[i as u8 + 100]);
                (i, frame)
            })
            .collect();
        Arc::new(File {
            pages: SpinLock::new(Rank::new(120, "test file"), pages),
            size: AtomicIsize::new(size as isize),
            mappings: Mappings::new(),
        })
    }

    fn truncate(&self, size: usize) {
        self.size.store(size as isize, Relaxed);
        let first = size.div_ceil(PAGE) as u64;
        drop(self.pages.lock().split_off(&first));
        run(self.mappings.unmap(first, u64::MAX, true));
    }
}

impl Object for File {
    fn page(&self, index: u64) -> base::Result<Frame> {
        self.pages.lock().get(&index).cloned().ok_or(Error::Errno(Errno::EIO))
    }
    fn cached_page(&self, index: u64) -> Option<Frame> {
        self.page(index).ok()
    }
    fn size(&self) -> u64 {
        self.size.load(Relaxed) as u64
    }
    fn mappings(&self) -> &Mappings {
        &self.mappings
    }
    fn identity(&self) -> Identity {
        Identity { major: 0, minor: 5, inode: 77 }
    }
    fn name(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("/lib/x.so")
    }
}

fn map_file(space: &Space, file: &Arc<File>, place: Place, pages: usize, flags: Flags) -> usize {
    let request = MapRequest {
        place,
        len: pages * PAGE,
        flags: flags | Flags::MAY,
        object: Some((file.clone(), 0)),
        populate: false,
    };
    run(space.map(request, &Limits::NONE)).unwrap().0
}

fn maps(space: &Space) -> alloc::string::String {
    let mut out = alloc::string::String::new();
    run(space.each_area(VirtAddr(0), |area| area.write_line(&mut out).is_ok()));
    out
}

#[test]
fn pages_appear_full_of_zeros_when_touched() {
    machine(1);
    let space = space();
    let start = map(&space, Place::Hint(VirtAddr(0)), 3, RW);
    assert_eq!(start + 3 * PAGE, layout().mmap_top.0);
    assert_eq!(read(&space, start + 5), Ok(0));
    store(&space, start + PAGE, 9).unwrap();
    assert_eq!(read(&space, start + PAGE), Ok(9));
    assert_eq!(space.rss_pages(), 2);
    assert_eq!(read(&space, start + 3 * PAGE), Err(FaultError::NoMapping));
}

#[test]
fn the_common_fault_needs_no_waiting() {
    machine(1);
    let space = space();
    let start = map(&space, Place::Hint(VirtAddr(0)), 3, RW);
    for page in 0..3 {
        let fault = PageFault { addr: VirtAddr(start + page * PAGE + 8), access: Access::Write };
        assert_eq!(space.try_fault(fault), Some(Ok(())));
    }
    assert_eq!(space.rss_pages(), 3);
}

#[test]
fn permissions_are_kept_and_can_be_changed() {
    machine(1);
    let space = space();
    let start = map(&space, at(0x10_0000), 4, Flags::READ);
    assert_eq!(store(&space, start, 1), Err(FaultError::BadPermission));
    assert_eq!(read(&space, start + PAGE), Ok(0));
    run(space.protect(VirtAddr(start + PAGE), 2 * PAGE, RW, false, &Limits::NONE)).unwrap();
    assert_eq!(store(&space, start + PAGE, 1), Ok(()));
    assert_eq!(store(&space, start + 3 * PAGE, 1), Err(FaultError::BadPermission));
    assert_eq!(maps(&space).lines().count(), 3);
    run(space.protect(VirtAddr(start), 4 * PAGE, Flags::empty(), false, &Limits::NONE)).unwrap();
    assert_eq!(maps(&space).lines().count(), 1);
    assert_eq!(read(&space, start + PAGE), Err(FaultError::BadPermission));
    run(space.protect(VirtAddr(start), 4 * PAGE, RW, false, &Limits::NONE)).unwrap();
    assert_eq!(read(&space, start + PAGE), Ok(1));
    let beyond = run(space.protect(VirtAddr(start), 5 * PAGE, RW, false, &Limits::NONE));
    assert_eq!(beyond, Err(Errno::ENOMEM));
}

#[test]
fn a_child_and_its_parent_do_not_see_each_others_stores() {
    machine(1);
    let before = stats();
    let parent = space();
    let start = map(&parent, at(0x10_0000), 8, RW);
    for page in 0..8 {
        store(&parent, start + page * PAGE, page as u8 + 1).unwrap();
    }
    let child = run(parent.fork()).unwrap();
    assert_eq!(child.rss_pages(), 8);
    let shared = stats().anonymous;
    store(&parent, start, 50).unwrap();
    store(&child, start + PAGE, 60).unwrap();
    assert_eq!(stats().anonymous, shared + 2);
    assert_eq!((read(&child, start), read(&parent, start)), (Ok(1), Ok(50)));
    assert_eq!((read(&child, start + PAGE), read(&parent, start + PAGE)), (Ok(60), Ok(2)));
    run(child.clear());
    drop(child);
    // The parent is alone again and writes in place.
    store(&parent, start + 7 * PAGE, 70).unwrap();
    assert_eq!(stats().anonymous, 8);
    run(parent.clear());
    drop(parent);
    tlb::leave();
    assert_eq!(stats(), before);
}

#[test]
fn advice_on_forking_is_heeded() {
    machine(1);
    let parent = space();
    for (i, advice) in [Advice::DontFork, Advice::WipeOnFork, Advice::KeepOnFork].into_iter().enumerate() {
        let start = map(&parent, at(0x10_0000 + i * 0x10_0000), 1, RW);
        store(&parent, start, 7).unwrap();
        run(parent.advise(VirtAddr(start), PAGE, advice)).unwrap();
    }
    let child = run(parent.fork()).unwrap();
    assert_eq!(read(&child, 0x10_0000), Err(FaultError::NoMapping));
    assert_eq!(read(&child, 0x20_0000), Ok(0));
    assert_eq!(read(&child, 0x30_0000), Ok(7));
}

#[test]
fn discarded_pages_read_as_zeros() {
    machine(1);
    let space = space();
    let start = map(&space, at(0x10_0000), 2, RW);
    store(&space, start, 7).unwrap();
    run(space.advise(VirtAddr(start), PAGE, Advice::DontNeed)).unwrap();
    assert_eq!(space.rss_pages(), 0);
    assert_eq!(read(&space, start), Ok(0));
    assert_eq!(run(space.advise(VirtAddr(start), 3 * PAGE, Advice::DontNeed)), Err(Errno::ENOMEM));
    assert_eq!(Advice::from_raw(999), None);
    run(space.advise(VirtAddr(start), 2 * PAGE, Advice::PopulateWrite)).unwrap();
    assert_eq!(space.rss_pages(), 2);
    let mut vec = [9; 2];
    run(space.resident(VirtAddr(start), &mut vec)).unwrap();
    assert_eq!(vec, [1, 1]);
}

#[test]
fn a_private_file_mapping_copies_at_the_first_store() {
    machine(1);
    let space = space();
    let file = File::new(3 * PAGE);
    let start = map_file(&space, &file, at(0x10_0000), 3, RW);
    assert_eq!(read(&space, start + PAGE), Ok(101));
    assert_eq!(space.rss_pages(), 3);
    store(&space, start + PAGE, 5).unwrap();
    store(&space, start + 2 * PAGE, 6).unwrap();
    let mut byte = [0];
    file.pages.lock()[&1].read(0, &mut byte);
    assert_eq!(byte, [101]);
    assert_eq!(read(&space, start + PAGE), Ok(5));
    assert_eq!(run(space.totals()).anonymous, 2);
}

#[test]
fn a_shared_file_mapping_writes_to_the_file() {
    machine(1);
    let space = space();
    let file = File::new(2 * PAGE);
    let start = map_file(&space, &file, at(0x10_0000), 2, RW | Flags::SHARED);
    let other = map_file(&space, &file, at(0x20_0000), 2, RW | Flags::SHARED);
    assert_eq!(read(&space, start), Ok(100));
    store(&space, start, 1).unwrap();
    assert_eq!(read(&space, other), Ok(1));
    let child = run(space.fork()).unwrap();
    store(&child, other, 2).unwrap();
    assert_eq!(read(&space, start), Ok(2));
}

#[test]
fn what_lies_behind_a_cut_file_is_gone() {
    machine(1);
    let space = space();
    let file = File::new(4 * PAGE);
    let start = map_file(&space, &file, at(0x10_0000), 4, RW);
    assert_eq!(read(&space, start + 3 * PAGE), Ok(103));
    store(&space, start + 2 * PAGE, 1).unwrap();
    file.truncate(2 * PAGE);
    assert_eq!(read(&space, start + 2 * PAGE), Err(FaultError::BeyondObject));
    assert_eq!(read(&space, start + 3 * PAGE), Err(FaultError::BeyondObject));
    assert_eq!(read(&space, start + PAGE), Ok(101));
    run(space.unmap(VirtAddr(start), 4 * PAGE)).unwrap();
    assert!(file.mappings.is_empty());
}

#[test]
fn shared_anonymous_memory_is_shared_with_children() {
    machine(1);
    let before = stats();
    let parent = space();
    let start = map(&parent, at(0x10_0000), 2, RW | Flags::SHARED);
    let child = run(parent.fork()).unwrap();
    store(&child, start, 8).unwrap();
    assert_eq!(read(&parent, start), Ok(8));
    run(parent.advise(VirtAddr(start), PAGE, Advice::Remove)).unwrap();
    assert_eq!(read(&child, start), Ok(0));
    drop((parent, child));
    tlb::leave();
    assert_eq!(stats(), before);
}

#[test]
fn a_stack_grows_to_its_limit_and_keeps_its_gap() {
    machine(1);
    let space = space();
    let top = 0x7000_0000;
    let limits = Limits { stack: 64 * PAGE, ..Limits::NONE };
    let request = MapRequest::anonymous(at(top - 2 * PAGE), 2 * PAGE, RW | Flags::GROWSDOWN);
    run(space.map(request, &limits)).unwrap();
    assert_eq!(store(&space, top - 60 * PAGE, 1), Ok(()));
    assert_eq!(store(&space, top - 65 * PAGE, 1), Err(FaultError::NoMapping));
    assert_eq!(run(space.totals()).stack, 60);
    // Something below it stops it 256 pages earlier.
    map(&space, at(top - 400 * PAGE), 84, RW);
    let limits = Limits { stack: 1000 * PAGE, ..Limits::NONE };
    run(space.map(MapRequest::anonymous(at(0x10_0000), PAGE, RW), &limits)).unwrap();
    assert_eq!(store(&space, top - 61 * PAGE, 1), Err(FaultError::NoMapping));
    run(space.unmap(VirtAddr(top - 400 * PAGE), 84 * PAGE)).unwrap();
    assert_eq!(store(&space, top - 61 * PAGE, 1), Ok(()));
}

#[test]
fn the_heap_grows_and_shrinks() {
    machine(1);
    let space = space();
    let base = layout().brk_start.0;
    let limits = Limits { data: 100 * PAGE, ..Limits::NONE };
    assert_eq!(run(space.brk(VirtAddr(0), &limits)).0, base);
    assert_eq!(run(space.brk(VirtAddr(base + 5000), &limits)).0, base + 5000);
    store(&space, base + 6000, 1).unwrap();
    assert!(maps(&space).ends_with("[heap]\n"));
    assert_eq!(run(space.brk(VirtAddr(base + 101 * PAGE), &limits)).0, base + 5000);
    assert_eq!(run(space.brk(VirtAddr(base + 10), &limits)).0, base + 10);
    assert_eq!(read(&space, base + 6000), Err(FaultError::NoMapping));
    map(&space, at(base + 4 * PAGE), 1, RW);
    assert_eq!(run(space.brk(VirtAddr(base + 6 * PAGE), &limits)).0, base + 10);
}

#[test]
fn a_mapping_moves_with_its_contents() {
    machine(1);
    let space = space();
    let start = map(&space, at(0x10_0000), 4, RW);
    for page in 0..4 {
        store(&space, start + page * PAGE, page as u8 + 1).unwrap();
    }
    map(&space, at(start + 4 * PAGE), 1, Flags::READ);
    let grow = |how| run(space.remap(VirtAddr(start), 4 * PAGE, 8 * PAGE, how, &Limits::NONE));
    assert_eq!(grow(Remap::default()), Err(Errno::ENOMEM));
    let moved = grow(Remap { may_move: true, ..Remap::default() }).unwrap().0;
    assert_eq!(read(&space, start), Err(FaultError::NoMapping));
    for page in 0..4 {
        assert_eq!(read(&space, moved + page * PAGE), Ok(page as u8 + 1));
    }
    assert_eq!(read(&space, moved + 7 * PAGE), Ok(0));
    // Shrinking stays in place; growing again is in place as well.
    assert_eq!(
        run(space.remap(VirtAddr(moved), 8 * PAGE, 2 * PAGE, Remap::default(), &Limits::NONE)).unwrap().0,
        moved
    );
    assert_eq!(
        run(space.remap(VirtAddr(moved), 2 * PAGE, 3 * PAGE, Remap::default(), &Limits::NONE)).unwrap().0,
        moved
    );
    assert_eq!(read(&space, moved + 2 * PAGE), Ok(0));
    let how = Remap { may_move: true, fixed: Some(VirtAddr(0x40_0000)), keep_old: true };
    assert_eq!(run(space.remap(VirtAddr(moved), 3 * PAGE, 3 * PAGE, how, &Limits::NONE)).unwrap().0, 0x40_0000);
    assert_eq!((read(&space, moved), read(&space, 0x40_0000)), (Ok(0), Ok(1)));
}

#[test]
fn places_are_honoured() {
    machine(1);
    let space = space();
    let start = map(&space, at(0x10_0000), 4, RW);
    let try_map = |place, len| run(space.map(MapRequest::anonymous(place, len, RW), &Limits::NONE)).map(|a| a.0);
    assert_eq!(try_map(Place::Free(VirtAddr(start + PAGE)), PAGE), Err(Errno::EEXIST));
    assert_eq!(try_map(Place::Hint(VirtAddr(0x20_0010)), PAGE), Ok(0x20_0000));
    assert_ne!(try_map(Place::Hint(VirtAddr(start)), PAGE), Ok(start));
    assert_eq!(try_map(at(0), PAGE), Err(Errno::EPERM));
    assert_eq!(try_map(at(0x1_0001), PAGE), Err(Errno::EINVAL));
    assert_eq!(try_map(Place::Hint(VirtAddr(0)), 0), Err(Errno::EINVAL));
    assert_eq!(try_map(Place::Hint(VirtAddr(0)), usize::MAX), Err(Errno::ENOMEM));
    assert_eq!(try_map(Place::Hint(VirtAddr(0)), 64 << 20), Err(Errno::ENOMEM));
    let limits = Limits { address_space: 8 * PAGE, ..Limits::NONE };
    let request = MapRequest::anonymous(Place::Hint(VirtAddr(0)), 4 * PAGE, RW);
    assert_eq!(run(space.map(request, &limits)), Err(Errno::ENOMEM));
}

#[test]
fn a_large_reservation_costs_nothing() {
    machine(1);
    let before = stats();
    let space = space();
    let start = map(&space, Place::Hint(VirtAddr(0)), (512 << 20) / PAGE, Flags::empty());
    run(space.unmap(VirtAddr(start), 512 << 20)).unwrap();
    assert_eq!(stats().tables, before.tables + 1);
}

#[test]
fn there_are_not_more_areas_than_allowed() {
    machine(1);
    let space = space();
    let mut failed = None;
    for i in 0..70_000usize {
        let prot = if i % 2 == 0 { RW } else { Flags::READ };
        let request = MapRequest::anonymous(Place::Hint(VirtAddr(0)), PAGE, prot);
        if let Err(error) = run(space.map(request, &Limits::NONE)) {
            failed = Some((i, error));
            break;
        }
    }
    assert_eq!(failed, Some((65_530, Errno::ENOMEM)));
}

#[test]
fn full_memory_is_an_error_and_not_the_end() {
    machine(1);
    let space = space();
    let start = map(&space, at(0x10_0000), 7000, RW);
    let more = map(&space, at(0x1000_0000), 7000, RW);
    let failed = (0..14_000).find(|i| {
        let addr = if *i < 7000 { start + i * PAGE } else { more + (i - 7000) * PAGE };
        store(&space, addr, 1) == Err(FaultError::OutOfMemory)
    });
    assert!(failed.is_some());
    run(space.unmap(VirtAddr(start), 7000 * PAGE)).unwrap();
    assert_eq!(store(&space, more + 6999 * PAGE, 1), Ok(()));
}

#[test]
fn another_program_can_be_read_and_written() {
    machine(1);
    let other = space();
    let start = map(&other, at(0x10_0000), 2, RW);
    tlb::leave();
    assert_eq!(run(other.write_at(VirtAddr(start + PAGE - 2), b"abcd")), Ok(4));
    let mut buf = [0; 8];
    assert_eq!(run(other.read_at(VirtAddr(start + 2 * PAGE - 4), &mut buf)), Ok(4));
    assert_eq!(run(other.read_at(VirtAddr(start + PAGE - 2), &mut buf[..4])), Ok(4));
    assert_eq!(&buf[..4], b"abcd");
    assert_eq!(run(other.read_at(VirtAddr(0x9000_0000), &mut buf)), Err(FaultError::NoMapping));
}

#[test]
fn maps_are_told_as_linux_tells_them() {
    machine(1);
    let space = space();
    let file = File::new(PAGE);
    map_file(&space, &file, at(0x10_0000), 1, Flags::READ | Flags::EXEC);
    map(&space, at(0x20_0000), 1, RW);
    let expected = "00100000-00101000 r-xp 00000000 00:05 77                                 /lib/x.so\n\
                    00200000-00201000 rw-p 00000000 00:00 0 \n";
    assert_eq!(maps(&space), expected);
}

#[test]
fn what_is_in_memory_is_counted_by_its_users() {
    machine(1);
    let parent = space();
    let start = map(&parent, at(0x10_0000), 4, RW);
    store(&parent, start, 1).unwrap();
    store(&parent, start + PAGE, 1).unwrap();
    let child = run(parent.fork()).unwrap();
    store(&child, start, 1).unwrap();
    let mut seen = Vec::new();
    run(parent.each_usage(VirtAddr(0), |_, usage| {
        seen.push(*usage);
        true
    }));
    assert_eq!(seen[0].rss, 2 * PAGE);
    assert_eq!(seen[0].pss, PAGE + PAGE / 2);
    assert_eq!((seen[0].shared_dirty, seen[0].private_dirty), (PAGE, PAGE));
}

#[test]
fn locked_memory_is_limited() {
    machine(1);
    let space = space();
    let start = map(&space, at(0x10_0000), 8, RW);
    let limits = Limits { memlock: 4 * PAGE, ..Limits::NONE };
    assert_eq!(run(space.lock(VirtAddr(start), 5 * PAGE, true, &limits)), Err(Errno::ENOMEM));
    assert_eq!(run(space.lock(VirtAddr(start + 1), 3 * PAGE, true, &limits)), Ok(()));
    assert_eq!((run(space.totals()).locked, space.rss_pages()), (4, 4));
    assert_eq!(run(space.advise(VirtAddr(start), PAGE, Advice::DontNeed)), Err(Errno::EINVAL));
    run(space.unlock_all());
    assert_eq!(run(space.totals()).locked, 0);
}
