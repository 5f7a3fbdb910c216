//! Rules of flock(2) and of record locks (fcntl(2)).

use super::*;
use crate::fdtable::FdTable;
use crate::flags::OpenFlags;
use crate::tests::World;

fn world() -> (World, Arc<Description>, Arc<Description>) {
    let w = World::new();
    let flags = OpenFlags::RDWR | OpenFlags::CREAT;
    let (a, b) = (w.open("/f", flags).unwrap(), w.open("/f", flags).unwrap());
    (w, a, b)
}

fn record(owner: u64, kind: Kind, start: u64, end: u64) -> Record {
    Record { owner: OwnerKey::Table(owner), process: owner as u32, kind, start, end }
}

#[test]
fn flocks_exclude_and_go_with_the_description() {
    let (_w, a, b) = world();
    flock(&a, Some(Kind::Shared)).unwrap();
    flock(&b, Some(Kind::Shared)).unwrap();
    assert_eq!(flock(&a, Some(Kind::Exclusive)), Err(Error::WouldBlock));
    // The attempt gave up the shared lock.
    flock(&b, Some(Kind::Exclusive)).unwrap();
    drop(b);
    flock(&a, Some(Kind::Exclusive)).unwrap();
    flock(&a, None).unwrap();
    assert!(existing(key(&a)).is_none());
}

#[test]
fn record_locks_split_merge_and_conflict() {
    let (_w, a, _b) = world();
    set_record(&a, &record(1, Kind::Exclusive, 0, 99)).unwrap();
    clear_record(&a, OwnerKey::Table(1), 40, 59).unwrap();
    let wanted = record(2, Kind::Shared, 0, 1000);
    assert_eq!(conflict(&a, &wanted).map(|held| (held.start, held.end)), Some((0, 39)));
    set_record(&a, &record(2, Kind::Shared, 40, 59)).unwrap();
    assert_eq!(set_record(&a, &record(2, Kind::Shared, 59, 60)), Err(Error::WouldBlock));
    clear_record(&a, OwnerKey::Table(2), 0, 1000).unwrap();
    set_record(&a, &record(1, Kind::Exclusive, 40, 59)).unwrap();
    assert_eq!(of(&a).state.lock().records, [record(1, Kind::Exclusive, 0, 99)]);
    set_record(&a, &record(1, Kind::Shared, 10, 19)).unwrap();
    assert_eq!(of(&a).state.lock().records.len(), 3);
}

#[test]
fn closing_any_descriptor_releases_the_processs_locks() {
    let (_w, a, b) = world();
    let table = FdTable::new();
    table.open(a.clone(), 64, false).unwrap();
    table.open(b, 64, false).unwrap();
    table.note_record_lock();
    let OwnerKey::Table(me) = table.lock_owner() else { panic!() };
    set_record(&a, &record(me, Kind::Exclusive, 0, 9)).unwrap();
    assert!(conflict(&a, &record(0, Kind::Shared, 0, 0)).is_some());
    table.close(1).unwrap();
    assert!(conflict(&a, &record(0, Kind::Shared, 0, 0)).is_none());
}

#[test]
fn a_circle_of_waits_is_refused() {
    let (_w, a, _b) = world();
    set_record(&a, &record(1, Kind::Exclusive, 0, 0)).unwrap();
    set_record(&a, &record(2, Kind::Exclusive, 1, 1)).unwrap();
    let first = RecordWait::new(&a, &record(1, Kind::Exclusive, 1, 1)).unwrap();
    let second = RecordWait::new(&a, &record(2, Kind::Exclusive, 0, 0)).unwrap();
    assert_eq!(first.try_lock(), Err(Error::WouldBlock));
    assert_eq!(second.try_lock(), Err(Errno::EDEADLK.into()));
    drop(second);
    clear_record(&a, OwnerKey::Table(2), 1, 1).unwrap();
    assert_eq!(first.try_lock(), Ok(()));
}

#[test]
fn ranges_are_those_of_fcntl() {
    assert_eq!(range(10, -5, 3), Ok((5, 7)));
    assert_eq!(range(10, 0, -4), Ok((6, 9)));
    assert_eq!(range(10, 0, 0), Ok((10, i64::MAX as u64)));
    assert_eq!(range(0, 0, -1), Err(Errno::EINVAL.into()));
    assert_eq!(range(0, i64::MAX, 2), Err(Errno::EOVERFLOW.into()));
}
