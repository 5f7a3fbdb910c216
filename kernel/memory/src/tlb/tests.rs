//! Rules of translation caches. The simulated machine caches nothing, so these hold the protocol: who is asked, who waits,
//! and when frames go.

use super::asid::ASID_BITS;
use super::*;
use crate::frames::{self, stats};
use crate::space::{Flags, Layout, Limits, MapRequest, Place, Space};
use crate::user::UserPtr;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use arch::irq::Irq;
use arch::sim;
use arch::trap::{Access, PageFault};
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};

const START: usize = 0x10_0000;
const RW: Flags = Flags::READ.union(Flags::WRITE);

fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn space() -> Arc<Space> {
    Space::new(Layout::new(VirtAddr(0x50_0000), 8 << 20, 0, 0)).unwrap()
}

/// A space with pages at START, touched and active on CPU 0.
fn touched(pages: usize) -> Arc<Space> {
    frames::init(sim::boot(4, 16 << 20, [5; 32]));
    let space = space();
    space.activate();
    let request = MapRequest::anonymous(Place::Fixed(VirtAddr(START)), pages * PAGE_SIZE, RW);
    poll(pin!(space.map(request, &Limits::NONE))).unwrap().unwrap();
    for page in 0..pages {
        let fault = PageFault { addr: VirtAddr(START + page * PAGE_SIZE), access: Access::Write };
        assert_eq!(space.try_fault(fault), Some(Ok(())));
    }
    space
}

/// Takes the interrupts of CPU `n` as its kernel would.
fn serve(n: usize) -> usize {
    sim::set_cpu(n);
    let mut taken = 0;
    irq::service(|irq| {
        assert_eq!(irq, Irq::Ipi);
        taken += 1;
        service();
    });
    sim::set_cpu(0);
    taken
}

#[test]
fn frames_go_only_after_every_cpu_has_let_go() {
    let space = touched(3);
    for cpu in [1, 2] {
        sim::set_cpu(cpu);
        space.activate();
    }
    sim::set_cpu(0);
    let mut unmap = pin!(space.unmap(VirtAddr(START), 3 * PAGE_SIZE));
    assert!(poll(unmap.as_mut()).is_none());
    assert_eq!(stats().anonymous, 3);
    assert_eq!(serve(1), 1);
    assert!(poll(unmap.as_mut()).is_none());
    assert_eq!(stats().anonymous, 3);
    assert_eq!(serve(2), 1);
    assert_eq!(poll(unmap), Some(Ok(())));
    assert_eq!(stats().anonymous, 0);
    assert_eq!(serve(3), 0);
}

#[test]
fn a_few_pages_of_a_space_that_is_used_here_alone_go_at_once() {
    let space = touched(3);
    assert_eq!(space.try_protect(VirtAddr(START), PAGE_SIZE, Flags::READ, &Limits::NONE), Some(Ok(true)));
    assert_eq!(space.try_unmap(VirtAddr(START), 3 * PAGE_SIZE), Some(Ok(true)));
    assert_eq!(stats().anonymous, 0);
    let again = MapRequest::anonymous(Place::Fixed(VirtAddr(START)), PAGE_SIZE, RW);
    assert_eq!(space.try_map(again, &Limits::NONE), Some(Ok(VirtAddr(START))));
}

#[test]
fn where_another_cpu_has_to_be_asked_nothing_is_done_at_once() {
    let space = touched(3);
    sim::set_cpu(1);
    space.activate();
    sim::set_cpu(0);
    assert_eq!(space.try_protect(VirtAddr(START), PAGE_SIZE, Flags::READ, &Limits::NONE), None);
    assert_eq!(space.try_unmap(VirtAddr(START), 3 * PAGE_SIZE), None);
    assert_eq!(stats().anonymous, 3);
    assert_eq!(serve(1), 0);
}

#[test]
fn a_cpu_that_comes_to_a_space_while_pages_go_is_asked_before_others_come() {
    let space = touched(3);
    // As if it had come after the look whether the space is private.
    sim::set_cpu(1);
    space.activate();
    sim::set_cpu(0);
    assert_eq!(space.unmap_unsettled(START, START + 2 * PAGE_SIZE), Ok(false));
    assert_eq!(stats().anonymous, 3);
    // Nothing is mapped and nothing changes until it has let go.
    let fault = PageFault { addr: VirtAddr(START + 2 * PAGE_SIZE), access: Access::Write };
    assert_eq!(space.try_fault(fault), None);
    let again = || MapRequest::anonymous(Place::Fixed(VirtAddr(START)), PAGE_SIZE, RW);
    assert_eq!(space.try_map(again(), &Limits::NONE), None);
    let mut settle = pin!(space.settle());
    assert!(poll(settle.as_mut()).is_none());
    assert_eq!(stats().anonymous, 3);
    assert_eq!(serve(1), 1);
    assert_eq!(poll(settle), Some(()));
    assert_eq!(stats().anonymous, 1);
    assert_eq!(space.try_fault(fault), Some(Ok(())));
    assert_eq!(space.try_map(again(), &Limits::NONE), Some(Ok(VirtAddr(START))));
}

#[test]
fn a_cpu_that_runs_another_space_is_not_asked() {
    let space = touched(1);
    let other = self::space();
    sim::set_cpu(1);
    space.activate();
    other.activate();
    sim::set_cpu(2);
    space.activate();
    leave();
    sim::set_cpu(0);
    assert_eq!(poll(pin!(space.unmap(VirtAddr(START), PAGE_SIZE))), Some(Ok(())));
    assert_eq!(serve(1) + serve(2), 0);
}

#[test]
fn giving_up_a_wait_does_not_free_what_others_may_reach() {
    let space = touched(2);
    sim::set_cpu(1);
    space.activate();
    sim::set_cpu(0);
    let mut unmap = Box::pin(space.unmap(VirtAddr(START), 2 * PAGE_SIZE));
    assert!(poll(unmap.as_mut()).is_none());
    drop(unmap);
    assert_eq!(stats().anonymous, 2);
    serve(1);
    drop(space);
    leave();
    sim::set_cpu(1);
    assert_eq!(stats().anonymous, 2);
    leave();
    assert_eq!(stats().anonymous, 0);
    assert_eq!(stats().tables, 0);
}

#[test]
fn a_copy_before_a_store_waits_for_the_others() {
    let parent = touched(1);
    let child = poll(pin!(parent.fork())).unwrap().unwrap();
    sim::set_cpu(1);
    parent.activate();
    sim::set_cpu(0);
    let store = PageFault { addr: VirtAddr(START), access: Access::Write };
    assert_eq!(parent.try_fault(store), None);
    let mut fault = pin!(parent.fault(store));
    assert!(poll(fault.as_mut()).is_none());
    // Nobody may use the page meanwhile: a reader on the other CPU faults and has to wait.
    sim::set_cpu(1);
    assert!(UserPtr::<u8>::from(START).read().is_err());
    assert_eq!(parent.try_fault(PageFault { access: Access::Read, ..store }), None);
    serve(1);
    assert_eq!(poll(fault), Some(Ok(())));
    sim::set_cpu(1);
    assert!(UserPtr::<u8>::from(START).read().is_ok());
    assert_eq!(stats().anonymous, 2);
    drop(child);
    assert_eq!(stats().anonymous, 1);
}

#[test]
fn a_space_that_ends_is_left_by_idle_cpus() {
    let space = touched(4);
    sim::set_cpu(3);
    space.activate();
    sim::set_cpu(0);
    leave();
    let mut clear = Box::pin(space.clear());
    assert!(poll(clear.as_mut()).is_none());
    assert_eq!(serve(3), 1);
    assert_eq!(poll(clear.as_mut()), Some(()));
    drop(clear);
    drop(space);
    assert_eq!((stats().anonymous, stats().tables), (0, 0));
}

#[test]
fn more_letters_than_fit_become_one() {
    let space = touched(1);
    let others: alloc::vec::Vec<_> = (0..LETTERS + 2).map(|_| self::space()).collect();
    sim::set_cpu(1);
    space.activate();
    let mut asked = alloc::vec::Vec::new();
    for other in others.iter().chain([&space]) {
        sim::set_cpu(1);
        other.activate();
        sim::set_cpu(0);
        let mut unmap = Box::pin(other.unmap(VirtAddr(START), PAGE_SIZE));
        let request = MapRequest::anonymous(Place::Fixed(VirtAddr(START)), PAGE_SIZE, RW);
        if !Arc::ptr_eq(other, &space) {
            unmap = Box::pin(other.unmap(VirtAddr(START), PAGE_SIZE));
            poll(pin!(other.map(request, &Limits::NONE))).unwrap().unwrap();
            let fault = PageFault { addr: VirtAddr(START), access: Access::Write };
            assert_eq!(other.try_fault(fault), Some(Ok(())));
        }
        assert!(poll(unmap.as_mut()).is_none());
        asked.push(unmap);
    }
    assert_eq!(serve(1), 1);
    for unmap in &mut asked {
        assert_eq!(poll(unmap.as_mut()), Some(Ok(())));
    }
}

#[test]
fn activating_the_active_space_does_nothing() {
    let space = touched(1);
    let owners = Arc::strong_count(&space);
    space.activate();
    assert_eq!(Arc::strong_count(&space), owners);
    sim::set_cpu(1);
    assert!(!pending());
}

#[test]
fn numbers_are_unique_in_a_generation_and_survive_it_where_in_use() {
    let mut asids = Asids::new();
    let generation = AtomicU64::new(1);
    let active: &'static [AtomicU64; MAX_CPUS] = Box::leak(Box::new([const { AtomicU64::new(0) }; MAX_CPUS]));
    let mut renew = |old| asids.renew(old, &generation, 10, |n| &active[n]);
    let first: BTreeSet<u64> = (0..9).map(|_| renew(0)).collect();
    assert_eq!(first.len(), 9);
    assert!(first.iter().all(|id| *id != 0 && id >> ASID_BITS == 1));
    assert_eq!(renew(1 << ASID_BITS | 4), 1 << ASID_BITS | 4);
    // The space with number 4 runs on CPU 2 when the numbers are used up.
    active[2].store(1 << ASID_BITS | 4, SeqCst);
    let new = renew(0);
    assert_eq!(new >> ASID_BITS, 2);
    let kept = renew(1 << ASID_BITS | 4);
    assert_eq!(kept, 2 << ASID_BITS | 4);
    let more: BTreeSet<u64> = (0..7).map(|_| renew(0)).collect();
    assert!(!more.contains(&kept) && !more.contains(&new));
    assert_eq!(more.len(), 7);
    assert!(more.iter().all(|id| id >> ASID_BITS == 2));
    assert_eq!(renew(0) >> ASID_BITS, 3);
    assert!(asids.take_stale(5));
    assert!(!asids.take_stale(5));
}
