//! Rules of pipe(7) and fifo(7).

use super::*;
use crate::description::Description;
use crate::tests::{World, get, machine, put};
use alloc::sync::Arc;
use base::Credentials;

fn pair(flags: OpenFlags) -> (Arc<Description>, Arc<Description>) {
    machine();
    let (read, write) = Pipe::pair(&Credentials::root());
    (Description::new(read, None, flags), Description::new(write, None, OpenFlags::WRONLY | flags))
}

fn poll(end: &Description) -> Events {
    let cred = Credentials::root();
    end.poll(&end.caller(&cred, 1, 1))
}

#[test]
fn bytes_come_out_in_order() {
    let (r, w) = pair(OpenFlags::default());
    assert_eq!(get(&r, 1), Err(Error::WouldBlock));
    for round in 0..100u8 {
        assert_eq!(put(&w, &[round; 700]), Ok(700));
        assert_eq!(get(&r, 300).unwrap(), [round; 300]);
        assert_eq!(get(&r, 1000).unwrap(), [round; 400]);
    }
    assert_eq!(get(&w, 1), Err(Errno::EBADF.into()));
}

#[test]
fn small_writes_are_whole_and_large_ones_partial() {
    let (r, w) = pair(OpenFlags::default());
    assert_eq!(put(&w, &[1; 70_000]), Ok(DEFAULT_CAPACITY));
    assert_eq!(put(&w, b"x"), Err(Error::WouldBlock));
    assert!(!poll(&w).contains(Events::OUT));
    get(&r, 100).unwrap();
    assert_eq!(put(&w, &[2; 101]), Err(Error::WouldBlock));
    assert_eq!(put(&w, &[2; 5000]), Ok(100));
    assert_eq!(get(&r, 1 << 20).unwrap().len(), DEFAULT_CAPACITY);
}

#[test]
fn the_end_of_the_other_side_is_seen() {
    let (r, w) = pair(OpenFlags::default());
    put(&w, b"last").unwrap();
    drop(w);
    assert_eq!(poll(&r), DATA | Events::HUP);
    assert_eq!(get(&r, 10).unwrap(), b"last");
    assert_eq!(get(&r, 10).unwrap(), b"");
    let (r, w) = pair(OpenFlags::default());
    drop(r);
    assert_eq!(put(&w, b"x"), Err(Errno::EPIPE.into()));
    assert!(poll(&w).contains(Events::ERR));
}

#[test]
fn packets_stay_apart() {
    let (r, w) = pair(OpenFlags::DIRECT);
    put(&w, b"first").unwrap();
    put(&w, b"second").unwrap();
    assert_eq!(get(&r, 3).unwrap(), b"fir");
    assert_eq!(get(&r, 100).unwrap(), b"second");
    w.set_flags(OpenFlags::default());
    put(&w, b"a").unwrap();
    put(&w, b"b").unwrap();
    assert_eq!(get(&r, 100).unwrap(), b"ab");
}

#[test]
fn what_was_lent_keeps_its_room_and_comes_back_to_the_front() {
    let (r, w) = pair(OpenFlags::default());
    let any = r.file().as_any().unwrap();
    let pipe = any.downcast_ref::<PipeEnd>().unwrap().pipe();
    let mut buf = [0; 100];
    assert!(matches!(pipe.lend(&mut buf), Err(Error::WouldBlock)));
    // Around the end of the ring, too.
    for round in 0..200u8 {
        put(&w, &[round; 70]).unwrap();
        put(&w, &[100; 60]).unwrap();
        let loan = pipe.lend(&mut buf).unwrap();
        assert_eq!(loan.len, 100);
        pipe.settle(loan, &buf[40..100]);
        assert_eq!(get(&r, 30).unwrap(), [round; 30]);
        assert_eq!(get(&r, 1000).unwrap(), [100; 60]);
    }
    put(&w, &[1; DEFAULT_CAPACITY]).unwrap();
    let loan = pipe.lend(&mut buf).unwrap();
    assert_eq!(put(&w, b"x"), Err(Error::WouldBlock));
    pipe.settle(loan, &[1; 99]);
    assert_eq!(put(&w, b"x"), Ok(1));
    assert_eq!(get(&r, 1 << 20).unwrap().len(), DEFAULT_CAPACITY);
    drop(w);
    assert_eq!(pipe.lend(&mut buf).unwrap().len, 0);
}

#[test]
fn packets_that_come_back_stay_apart() {
    let (r, w) = pair(OpenFlags::DIRECT);
    let any = r.file().as_any().unwrap();
    let pipe = any.downcast_ref::<PipeEnd>().unwrap().pipe();
    let mut buf = [0; 100];
    put(&w, b"first").unwrap();
    let loan = pipe.lend(&mut buf).unwrap();
    put(&w, b"second").unwrap();
    pipe.settle(loan, &buf[2..5]);
    assert_eq!(get(&r, 100).unwrap(), b"rst");
    assert_eq!(get(&r, 100).unwrap(), b"second");
}

#[test]
fn the_capacity_can_be_changed_within_limits() {
    machine();
    let pipe = Pipe::new();
    let cred = Credentials { uid: 9, effective: 0, ..Credentials::root() };
    let (_r, w) = (pipe.end(true, false, Opening::Pipe), pipe.end(false, true, Opening::Pipe));
    assert_eq!(pipe.set_capacity(5000, &cred), Ok(8192));
    assert_eq!(pipe.set_capacity(2 << 20, &cred), Err(Errno::EPERM.into()));
    let w = Description::new(w, None, OpenFlags::WRONLY);
    put(&w, &[0; 5000]).unwrap();
    assert_eq!(pipe.set_capacity(1, &cred), Err(Errno::EBUSY.into()));
    assert_eq!(pipe.available(), 5000);
}

#[test]
fn a_fifo_waits_for_its_peer() {
    let w = World::new();
    w.make("/fifo", crate::inode::NewKind::Fifo, 0o644).unwrap();
    let (nonblock, wronly) = (OpenFlags::NONBLOCK, OpenFlags::WRONLY);
    assert_eq!(w.open("/fifo", wronly | nonblock).err(), Some(Errno::ENXIO.into()));
    let caller = Caller::kernel(&w.cred);
    let reader = w.open("/fifo", OpenFlags::default()).unwrap();
    assert_eq!(reader.file().finish_open(&caller), Err(Error::WouldBlock));
    assert!(!poll(&reader).contains(Events::HUP));
    let writer = w.open("/fifo", wronly).unwrap();
    assert_eq!(writer.file().finish_open(&caller), Ok(()));
    put(&writer, b"hi").unwrap();
    drop(writer);
    assert_eq!(reader.file().finish_open(&caller), Ok(()));
    assert_eq!(get(&reader, 10).unwrap(), b"hi");
    assert_eq!(get(&reader, 10).unwrap(), b"");
    assert!(poll(&reader).contains(Events::HUP));
    assert_eq!(reader.metadata().kind, FileType::Fifo);
}

#[test]
fn a_pipe_opened_again_waits_for_nobody_and_ends() {
    machine();
    let (reader, writer) = Pipe::pair(&Credentials::root());
    let writer = Description::new(writer, None, OpenFlags::WRONLY);
    put(&writer, b"left").unwrap();
    drop(writer);
    let root = Credentials::root();
    let caller = Caller::kernel(&root);
    let again = reader.pipe().clone().open(&caller, OpenFlags::default()).unwrap();
    assert_eq!(again.finish_open(&caller), Ok(()));
    let again = Description::new(again, None, OpenFlags::default());
    assert!(poll(&again).contains(Events::HUP));
    assert_eq!(get(&again, 10).unwrap(), b"left");
    assert_eq!(get(&again, 10).unwrap(), b"");
}

#[test]
fn a_fifo_opened_beside_its_writer_hears_that_the_writer_went() {
    let w = World::new();
    w.make("/fifo", crate::inode::NewKind::Fifo, 0o644).unwrap();
    let first = w.open("/fifo", OpenFlags::NONBLOCK).unwrap();
    let writer = w.open("/fifo", OpenFlags::WRONLY).unwrap();
    let second = w.open("/fifo", OpenFlags::NONBLOCK).unwrap();
    drop(writer);
    assert!(poll(&first).contains(Events::HUP));
    assert!(poll(&second).contains(Events::HUP));
}

#[test]
fn a_write_wakes_one_reader_who_wakes_the_next() {
    let (r, w) = pair(OpenFlags::default());
    let finished = Arc::new(AtomicU32::new(0));
    for _ in 0..3 {
        let (r, finished) = (r.clone(), finished.clone());
        let task = executor::spawn(
            async move {
                let queue = r.queue().unwrap();
                let take = || get(&r, 1).ok();
                queue.wait_until_exclusive(Events::READABLE.bits(), take).await;
                finished.fetch_add(1, Ordering::Relaxed);
            },
            Default::default(),
        );
        drop(task);
    }
    let run = || while executor::run_next() == executor::Step::Ran {};
    run();
    put(&w, b"a").unwrap();
    run();
    assert_eq!(finished.load(Ordering::Relaxed), 1);
    put(&w, b"bc").unwrap();
    run();
    assert_eq!(finished.load(Ordering::Relaxed), 3);
}
