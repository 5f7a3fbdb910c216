//! Rules of dup(2), close(2), fcntl(2) and close_range(2).

use super::*;
use crate::eventfd::EventFd;
use crate::flags::OpenFlags;
use crate::tests::machine;

fn file() -> Arc<Description> {
    Description::new(EventFd::new(0, false), None, OpenFlags::RDWR)
}

#[test]
fn the_lowest_free_number_is_taken() {
    machine();
    let table = FdTable::new();
    for fd in 0..300 {
        assert_eq!(table.open(file(), 1024, false), Ok(fd));
    }
    for fd in [200, 5, 64] {
        table.close(fd).unwrap();
    }
    let next: Vec<u32> = (0..4).map(|_| table.open(file(), 1024, false).unwrap()).collect();
    assert_eq!(next, [5, 64, 200, 300]);
    assert_eq!(table.close(301), Err(Errno::EBADF.into()));
    assert_eq!(table.dup_from(0, 500, 1024, false), Ok(500));
    assert_eq!(table.dup_from(0, 500, 1024, false), Ok(501));
    assert_eq!(table.open(file(), 1024, false), Ok(301));
}

#[test]
fn the_limit_holds() {
    machine();
    let table = FdTable::new();
    for _ in 0..4 {
        table.open(file(), 4, false).unwrap();
    }
    assert_eq!(table.open(file(), 4, false), Err(Errno::EMFILE.into()));
    assert_eq!(table.dup_from(0, 4, 4, false), Err(Errno::EINVAL.into()));
    assert_eq!(table.dup_to(0, 4, 4, false), Err(Errno::EBADF.into()));
    assert_eq!(table.dup_to(9, 2, 4, false), Err(Errno::EBADF.into()));
    assert!(table.open(file(), u64::MAX, false).is_ok());
}

#[test]
fn dup_to_closes_what_was_there_and_not_what_is_coming() {
    machine();
    let table = FdTable::new();
    let (a, b) = (file(), file());
    table.open(a.clone(), 64, false).unwrap();
    table.open(b.clone(), 64, true).unwrap();
    table.dup_to(0, 1, 64, false).unwrap();
    assert!(Arc::ptr_eq(&table.get(1).unwrap(), &a));
    assert_eq!(Arc::strong_count(&b), 1);
    assert_eq!(table.cloexec(1), Ok(false));
    let reserved = table.reserve(64, false).unwrap();
    assert_eq!(table.dup_to(0, reserved, 64, false), Err(Errno::EBUSY.into()));
    assert!(table.get(reserved).is_err());
    table.fill(reserved, b);
    assert!(table.get(reserved).is_ok());
    let reserved = table.reserve(64, false).unwrap();
    table.release(reserved);
    assert_eq!(table.reserve(64, false), Ok(reserved));
}

#[test]
fn exec_closes_and_fork_copies() {
    machine();
    let table = FdTable::new();
    for fd in 0..200u32 {
        table.open(file(), 1024, fd.is_multiple_of(3)).unwrap();
    }
    let copy = table.fork().unwrap();
    table.close_on_exec();
    assert!(table.get(0).is_err() && table.get(1).is_ok() && table.get(198).is_err());
    assert_eq!(copy.cloexec(198), Ok(true));
    copy.close_range(1..=u32::MAX);
    let mut open = Vec::new();
    copy.each(0, |fd, _| {
        open.push(fd);
        true
    });
    assert_eq!(open, [0]);
    assert_eq!(copy.open(file(), 1024, false), Ok(1));
}
