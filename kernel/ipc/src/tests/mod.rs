//! Objects without programs: what becomes of sleepers, ids and undo lists.

use crate::limits::Limit;
use crate::msg::{self, Found, Message, QUEUES};
use crate::registry::Object;
use crate::sem::{self, Op, Operations, Outcome, SETS, Set, UndoList};
use crate::{ById, Caller, PRIVATE, Permissions, Registry};
use alloc::sync::Arc;
use base::{Credentials, Errno};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

const UNDO: u16 = 0x1000;

fn start() -> Credentials {
    memory::init(arch::sim::boot(1, 16 << 20, [5; 32]));
    Credentials::root()
}

fn by(cred: &Credentials, process: u32) -> Caller<'_> {
    Caller { cred, process }
}

fn ops(wanted: &[(u16, i16, u16)]) -> Operations {
    let mut ops = Operations::new(wanted.len()).unwrap();
    for (op, &(number, change, flags)) in ops.slots().iter_mut().zip(wanted) {
        *op = Op { number, change, flags };
    }
    ops
}

fn new_set(cred: &Credentials, count: i32) -> Arc<Set> {
    let id = sem::get(&by(cred, 1), PRIVATE, count, 0o600).unwrap();
    SETS.find(ById::Id(id)).unwrap()
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn sleeping<'a>(set: &'a Arc<Set>, who: &Caller, wanted: &[(u16, i16, u16)]) -> sem::Sleeping<'a> {
    match set.operate(who, ops(wanted), None, true) {
        Ok(Some(Outcome::Waits(sleeping))) => sleeping,
        _ => panic!("it did not wait"),
    }
}

fn done(set: &Arc<Set>, who: &Caller, wanted: &[(u16, i16, u16)], list: Option<&UndoList>) {
    assert!(matches!(set.operate(who, ops(wanted), list, true), Ok(Some(Outcome::Done))));
}

/// What a registry of the test's own holds.
struct Thing;

impl Object for Thing {
    fn permissions(&self) -> Permissions {
        Permissions::new(PRIVATE, 0o600, &Credentials::root())
    }

    fn set_id(&self, _: i32) {}
}

static LIMIT: Limit = Limit::new(2, 2);

fn put(things: &Registry<Thing>, cred: &Credentials) -> Result<i32, Errno> {
    things.get(&by(cred, 1), PRIVATE, 0o600, &LIMIT, |_| Ok(()), || Ok(Arc::new(Thing)))
}

#[test]
fn an_index_that_is_given_again_makes_another_id() {
    let cred = start();
    let things = Registry::new();
    let old = put(&things, &cred).unwrap();
    let thing = things.find(ById::Id(old)).unwrap();
    assert!(things.remove(old, &thing) && !things.remove(old, &thing));
    assert_eq!(things.find(ById::Id(old)).err(), Some(Errno::EINVAL));
    let new = put(&things, &cred).unwrap();
    assert_ne!(new, old);
    assert_eq!(things.find(ById::Id(old)).err(), Some(Errno::EIDRM));
    assert!(things.find(ById::Index(0)).is_ok());
}

#[test]
fn no_more_objects_than_the_limit() {
    let cred = start();
    let things = Registry::new();
    let ids = [put(&things, &cred).unwrap(), put(&things, &cred).unwrap()];
    assert_eq!(put(&things, &cred), Err(Errno::ENOSPC));
    assert_eq!(things.usage(), (2, 1));
    things.remove(ids[0], &things.find(ById::Id(ids[0])).unwrap());
    assert!(put(&things, &cred).is_ok());
}

#[test]
fn a_dying_object_keeps_its_id_until_its_last_user_goes() {
    let cred = start();
    let things = Registry::new();
    let id = put(&things, &cred).unwrap();
    let user = things.find(ById::Id(id)).unwrap();
    things.remove_when_unused(id, PRIVATE, &user);
    assert!(things.find(ById::Id(id)).is_ok());
    assert_eq!(things.usage().0, 1);
    drop(user);
    things.gone(id);
    assert_eq!(things.find(ById::Id(id)).err(), Some(Errno::EINVAL));
    assert_eq!(things.usage().0, 0);
}

#[test]
fn a_change_carries_out_what_it_makes_possible_one_after_the_other() {
    let cred = start();
    let set = new_set(&cred, 2);
    let chained = sleeping(&set, &by(&cred, 2), &[(1, -1, 0)]);
    let first = sleeping(&set, &by(&cred, 3), &[(0, -1, 0), (1, 1, 0)]);
    assert!(poll(chained.finished()).is_pending());
    done(&set, &by(&cred, 1), &[(0, 1, 0)], None);
    assert_eq!(poll(first.finished()), Poll::Ready(Ok(())));
    assert_eq!(poll(chained.finished()), Poll::Ready(Ok(())));
    assert_eq!(set.values(&by(&cred, 1)).unwrap(), [0, 0]);
    set.remove(&by(&cred, 1)).unwrap();
}

#[test]
fn who_gives_up_is_told_what_was_done_and_else_leaves_no_trace() {
    let cred = start();
    let set = new_set(&cred, 1);
    let who = by(&cred, 2);
    let late = sleeping(&set, &who, &[(0, -1, 0)]);
    drop(sleeping(&set, &who, &[(0, -5, 0)]));
    assert_eq!(set.waiters(&who, 0, false), Ok(1));
    done(&set, &who, &[(0, 1, 0)], None);
    // Its time was up, and its operation has happened.
    assert_eq!(late.give_up(), Some(Ok(())));
    assert_eq!(late.give_up(), None);
    assert_eq!(set.value(&who, 0), Ok(0));
    set.remove(&who).unwrap();
}

#[test]
fn only_the_last_to_leave_an_undo_list_has_it_carried_out() {
    let cred = start();
    let set = new_set(&cred, 1);
    let gone = new_set(&cred, 1);
    let list = Arc::new(UndoList::default());
    done(&set, &by(&cred, 2), &[(0, 3, UNDO)], Some(&list));
    done(&gone, &by(&cred, 2), &[(0, 3, UNDO)], Some(&list));
    gone.remove(&by(&cred, 1)).unwrap();
    drop(gone);
    let shared = list.clone();
    UndoList::leave(list, 2);
    assert_eq!(set.value(&by(&cred, 1), 0), Ok(3));
    let waits = sleeping(&set, &by(&cred, 4), &[(0, 0, 0)]);
    UndoList::leave(shared, 3);
    assert_eq!(poll(waits.finished()), Poll::Ready(Ok(())));
    assert_eq!(set.value(&by(&cred, 1), 0), Ok(0));
    set.remove(&by(&cred, 1)).unwrap();
}

#[test]
fn what_could_be_undone_only_in_part_is_refused_and_changes_nothing() {
    let cred = start();
    let set = new_set(&cred, 2);
    let list = UndoList::default();
    let who = by(&cred, 2);
    done(&set, &who, &[(0, 32_767, UNDO)], Some(&list));
    done(&set, &who, &[(0, -32_767, 0)], None);
    let refused = set.operate(&who, ops(&[(1, 1, UNDO), (0, 2, UNDO)]), Some(&list), true);
    assert_eq!(refused.err(), Some(Errno::ERANGE));
    assert_eq!(set.values(&who).unwrap(), [0, 0]);
    set.remove(&who).unwrap();
}

#[test]
fn a_receiver_that_gives_up_keeps_the_message_that_it_was_handed() {
    let cred = start();
    let who = by(&cred, 1);
    let queue = QUEUES.find(ById::Id(msg::get(&who, PRIVATE, 0o600).unwrap())).unwrap();
    let request = msg::Request::new(5, 10, 0).unwrap();
    let Ok(msg::Outcome::Waits(receiver)) = queue.receive(&who, request) else { panic!("it did not wait") };
    for kind in [4, 5] {
        queue.send(&who, Message::new(kind, 3).unwrap(), true).map(drop).unwrap();
    }
    assert!(matches!(receiver.give_up(), Some(Ok(Found::Received(Message { kind: 5, .. })))));
    let status = queue.status(None).unwrap();
    assert_eq!((status.messages, status.bytes), (1, 3));
    queue.remove(&who).unwrap();
}

#[test]
fn senders_get_in_by_turns_as_far_as_there_is_room() {
    let cred = start();
    let who = by(&cred, 1);
    let queue = QUEUES.find(ById::Id(msg::get(&who, PRIVATE, 0o600).unwrap())).unwrap();
    queue.set(&who, 0, 0, 0o600, 4).unwrap();
    queue.send(&who, Message::new(1, 4).unwrap(), true).map(drop).unwrap();
    let send = |len| match queue.send(&who, Message::new(2, len).unwrap(), false) {
        Ok(msg::Outcome::Waits(sleeping)) => sleeping,
        _ => panic!("there was room"),
    };
    let (first, second, third) = (send(3), send(2), send(1));
    let any = msg::Request::new(0, 10, 0).unwrap();
    assert!(matches!(queue.receive(&who, any), Ok(msg::Outcome::Done(_))));
    assert!(matches!(poll(first.finished()), Poll::Ready(Ok(Found::Sent))));
    assert!(poll(second.finished()).is_pending());
    assert!(matches!(poll(third.finished()), Poll::Ready(Ok(Found::Sent))));
    queue.remove(&who).unwrap();
    assert!(matches!(poll(second.finished()), Poll::Ready(Err(Errno::EIDRM))));
}
