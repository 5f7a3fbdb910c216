//! The graph, without programs.

use super::graph;
use crate::Thread;
use crate::clone;
use crate::futex::Key;
use alloc::sync::Arc;
use base::Errno;
use executor::{Class, RtPolicy, SchedParams};
use vfs::mount::MountFlags;
use vfs::tmpfs::{Options, Tmpfs};
use vfs::{FsContext, Mount};

fn rt(prio: u8) -> Class {
    Class::RealTime { prio, policy: RtPolicy::Fifo }
}

/// A thread whose task is of this class and never runs.
fn thread(class: Class) -> Arc<Thread> {
    memory::init(arch::sim::boot(1, 16 << 20, [5; 32]));
    crate::users::set_threads_max(100).unwrap();
    let root = Mount::new(Tmpfs::new(Options::default()).unwrap(), b"rootfs", MountFlags::empty()).root();
    let thread = clone::first(Arc::new(FsContext::new(root))).unwrap().thread.clone();
    let params = SchedParams { class, ..SchedParams::default() };
    thread.view.lock().task = Some(executor::spawn(core::future::pending(), params));
    thread
}

fn key(offset: u64) -> Key {
    // A space of each test's own.
    Key { space: std::thread::current().name().map_or(1, |name| name.as_ptr().addr()), offset }
}

#[test]
fn a_priority_is_lent_along_the_chain_and_given_back() {
    let (low, middle, high) = (thread(Class::default()), thread(rt(10)), thread(rt(50)));
    let (a, b) = (key(8), key(16));
    let mut graph = graph::lock();
    graph.enqueue(a, &low, &middle, 1).unwrap();
    assert_eq!(low.running_class(), rt(10));
    graph.enqueue(b, &middle, &high, 2).unwrap();
    assert_eq!((low.running_class(), middle.running_class()), (rt(50), rt(50)));
    assert_eq!((graph.own_class(&low), graph.own_class(&middle)), (Class::default(), rt(10)));
    assert_eq!(graph.enqueue(b, &middle, &low, 3), Err(Errno::EDEADLK));
    graph.leave(b, &high, 2);
    assert_eq!((low.running_class(), middle.running_class()), (rt(10), rt(10)));
    assert!(Arc::ptr_eq(&graph.hand_over(a, false).unwrap(), &middle));
    assert_eq!(low.running_class(), Class::default());
    assert!(graph.get(&a).is_none() && graph.get(&b).is_none());
}

#[test]
fn a_circle_is_refused_however_long() {
    let [x, y, z] = [(); 3].map(|()| thread(Class::default()));
    let (a, b, c) = (key(8), key(16), key(24));
    let mut graph = graph::lock();
    graph.enqueue(a, &x, &y, 1).unwrap();
    graph.enqueue(b, &y, &z, 2).unwrap();
    assert_eq!(graph.enqueue(c, &z, &x, 3), Err(Errno::EDEADLK));
    graph.leave(a, &y, 1);
    graph.leave(b, &z, 2);
}

#[test]
fn a_changed_priority_changes_the_place_in_line() {
    let [owner, first, second] = [(); 3].map(|()| thread(Class::default()));
    let a = key(8);
    let mut graph = graph::lock();
    graph.enqueue(a, &owner, &first, 1).unwrap();
    graph.enqueue(a, &owner, &second, 2).unwrap();
    graph.set_class(&second, rt(5));
    assert_eq!(owner.running_class(), rt(5));
    // Its own class may change meanwhile; it runs by it once nothing is lent any more.
    graph.set_class(&owner, Class::Fair { nice: 7 });
    assert_eq!(owner.running_class(), rt(5));
    assert!(Arc::ptr_eq(&graph.hand_over(a, false).unwrap(), &second));
    assert_eq!(owner.running_class(), Class::Fair { nice: 7 });
    graph.leave(a, &first, 1);
    assert!(graph.get(&a).is_none());
}
