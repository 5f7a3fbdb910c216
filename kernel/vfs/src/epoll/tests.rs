//! Rules of epoll(7) and epoll_ctl(2).

use super::*;
use crate::eventfd::EventFd;
use crate::flags::OpenFlags;
use crate::pipe::Pipe;
use crate::tests::{World, get, machine, put};
use base::Credentials;

const IN: u32 = 1;

fn description(file: Arc<dyn File>) -> Arc<Description> {
    Description::new(file, None, OpenFlags::RDWR)
}

fn event() -> Arc<Description> {
    description(EventFd::new(0, false))
}

fn signal(event: &Description) {
    put(event, &1u64.to_ne_bytes()).unwrap();
}

fn with<R>(f: impl FnOnce(&Caller) -> R) -> R {
    let cred = Credentials::root();
    f(&Caller::kernel(&cred))
}

fn add(epoll: &Epoll, fd: u32, target: &Arc<Description>, events: u32) -> Result<()> {
    with(|caller| epoll.add(caller, fd, target, events, fd.into()))
}

/// The data of what is ready.
fn wait(epoll: &Epoll) -> Vec<u64> {
    let mut ready = alloc::vec![];
    let mut note = |_, data| {
        ready.push(data);
        Ok(())
    };
    with(|caller| epoll.collect(caller, 100, &mut note)).unwrap();
    ready
}

#[test]
fn level_triggered_reports_until_it_is_read() {
    machine();
    let (epoll, event) = (Epoll::new(), event());
    add(&epoll, 3, &event, IN).unwrap();
    assert_eq!(wait(&epoll), []);
    signal(&event);
    assert_eq!(wait(&epoll), [3]);
    assert_eq!(wait(&epoll), [3]);
    get(&event, 8).unwrap();
    assert_eq!(wait(&epoll), []);
}

#[test]
fn edge_triggered_reports_each_notification_once() {
    machine();
    let (epoll, event) = (Epoll::new(), event());
    signal(&event);
    add(&epoll, 3, &event, IN | Mode::EDGE.bits()).unwrap();
    assert_eq!(wait(&epoll), [3]);
    assert_eq!(wait(&epoll), []);
    signal(&event);
    assert_eq!(wait(&epoll), [3]);
}

#[test]
fn oneshot_reports_once_until_modified() {
    machine();
    let (epoll, event) = (Epoll::new(), event());
    let events = IN | Mode::ONESHOT.bits();
    add(&epoll, 3, &event, events).unwrap();
    signal(&event);
    assert_eq!(wait(&epoll), [3]);
    signal(&event);
    assert_eq!(wait(&epoll), []);
    with(|caller| epoll.modify(caller, 3, &event, events, 9)).unwrap();
    assert_eq!(wait(&epoll), [9]);
}

#[test]
fn control_errors_are_linuxs() {
    let w = World::new();
    let (epoll, event) = (Epoll::new(), event());
    let me = description(epoll.clone());
    w.write("/f", b"");
    let regular = w.open("/f", OpenFlags::RDWR).unwrap();
    assert_eq!(add(&epoll, 1, &regular, IN), Err(Errno::EPERM.into()));
    assert_eq!(add(&epoll, 1, &me, IN), Err(Errno::EINVAL.into()));
    assert_eq!(epoll.remove(3, &event), Err(Errno::ENOENT.into()));
    add(&epoll, 3, &event, IN).unwrap();
    assert_eq!(add(&epoll, 3, &event, IN), Err(Errno::EEXIST.into()));
    add(&epoll, 4, &event, IN).unwrap();
    let exclusive = IN | Mode::EXCLUSIVE.bits();
    let changed = with(|caller| epoll.modify(caller, 3, &event, exclusive, 0));
    assert_eq!(changed, Err(Errno::EINVAL.into()));
    assert_eq!(add(&epoll, 5, &event, exclusive | Mode::ONESHOT.bits()), Err(Errno::EINVAL.into()));
    assert!(Epoll::of(&event).is_err());
}

#[test]
fn nesting_reports_through_and_refuses_loops() {
    machine();
    let epolls: Vec<Arc<Epoll>> = (0..7).map(|_| Epoll::new()).collect();
    let fds: Vec<Arc<Description>> = epolls.iter().map(|epoll| description(epoll.clone())).collect();
    let event = event();
    add(&epolls[1], 1, &fds[0], IN).unwrap();
    assert_eq!(add(&epolls[0], 1, &fds[1], IN), Err(Errno::ELOOP.into()));
    add(&epolls[0], 2, &event, IN).unwrap();
    assert_eq!(wait(&epolls[1]), []);
    signal(&event);
    assert_eq!(wait(&epolls[1]), [1]);
    let deep = (2..7).find(|i| add(&epolls[*i], 1, &fds[i - 1], IN).is_err());
    assert_eq!(deep, Some(5));
}

#[test]
fn closing_the_last_descriptor_ends_the_watch() {
    machine();
    let epoll = Epoll::new();
    let (r, w) = Pipe::pair(&base::Credentials::root());
    let (r, w) = (description(r), description(w));
    add(&epoll, 3, &r, IN).unwrap();
    put(&w, b"x").unwrap();
    let copy = r.clone();
    drop(r);
    assert_eq!(wait(&epoll), [3]);
    drop(copy);
    assert_eq!(wait(&epoll), []);
    assert!(epoll.items.lock().by_key.is_empty());
    assert!(w.queue().unwrap().is_empty());
}

#[test]
fn closing_the_epoll_detaches_from_all() {
    machine();
    let (epoll, event) = (description(Epoll::new()), event());
    add(Epoll::of(&epoll).unwrap(), 3, &event, IN).unwrap();
    drop(epoll);
    assert!(event.queue().unwrap().is_empty());
    assert!(event.watchers.lock().is_empty());
}

#[test]
fn only_what_is_ready_is_looked_at() {
    machine();
    let epoll = Epoll::new();
    let events: Vec<Arc<Description>> = (0..1000).map(|_| event()).collect();
    for (fd, event) in events.iter().enumerate() {
        add(&epoll, fd as u32, event, IN).unwrap();
    }
    signal(&events[7]);
    signal(&events[3]);
    assert_eq!(epoll.ready.list.lock().len(), 2);
    assert_eq!(wait(&epoll), [7, 3]);
}
