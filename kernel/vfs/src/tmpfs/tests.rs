//! Rules of tmpfs files.

use super::*;
use crate::description::Whence;
use crate::file::Extent;
use crate::flags::OpenFlags;
use crate::inode::NewKind;
use crate::tests::{World, get, put};
use crate::{Caller, attributes};
use base::{Credentials, Error};
use memory::io::Dst;

const RDWR_NEW: OpenFlags = OpenFlags::RDWR.union(OpenFlags::CREAT);

#[test]
fn what_is_written_is_read_across_pages() {
    let w = World::new();
    let data: alloc::vec::Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
    let file = w.open("/f", RDWR_NEW).unwrap();
    file.seek(100, Whence::Start).unwrap();
    assert_eq!(put(&file, &data), Ok(10_000));
    file.seek(0, Whence::Start).unwrap();
    let all = get(&file, 20_000).unwrap();
    assert_eq!(all.len(), 10_100);
    assert!(all[..100].iter().all(|byte| *byte == 0));
    assert_eq!(all[100..], data);
    assert_eq!(file.metadata().blocks, 3 * 8);
    assert_eq!(get(&file, 1), Ok(alloc::vec![]));
}

#[test]
fn holes_take_no_space_and_are_found() {
    let w = World::new();
    let file = w.open("/f", RDWR_NEW).unwrap();
    let far = 1i64 << 40;
    file.seek(far, Whence::Start).unwrap();
    put(&file, b"end").unwrap();
    assert_eq!(file.metadata().blocks, 8);
    assert_eq!(file.seek(0, Whence::Extent(Extent::Data)), Ok(far as u64));
    assert_eq!(file.seek(far, Whence::Extent(Extent::Hole)), Ok(far as u64 + 3));
    assert_eq!(file.seek(0, Whence::Extent(Extent::Hole)), Ok(0));
    assert_eq!(file.seek(far + 3, Whence::Extent(Extent::Data)), Err(Errno::ENXIO.into()));
    file.file().fallocate(3, far as u64, 4096).unwrap();
    assert_eq!(file.metadata().blocks, 0);
    assert_eq!(file.file().fallocate(2, 0, 1), Err(Errno::EOPNOTSUPP.into()));
}

#[test]
fn truncation_zeros_what_comes_back() {
    let w = World::new();
    w.write("/f", &[7; 6000]);
    let (at, cred) = (w.find("/f").unwrap(), Credentials::root());
    let caller = Caller::kernel(&cred);
    attributes::truncate(&caller, &at, 10).unwrap();
    attributes::truncate(&caller, &at, 5000).unwrap();
    let back = w.read("/f");
    assert_eq!(back.len(), 5000);
    assert!(back[..10].iter().all(|byte| *byte == 7) && back[10..].iter().all(|byte| *byte == 0));
    assert_eq!(attributes::truncate(&caller, &at, -1), Err(Errno::EINVAL.into()));
}

#[test]
fn a_full_file_system_says_so_and_recovers() {
    let w = World::with(|options| Options { size: 8 * 4096, ..options });
    let file = w.open("/f", RDWR_NEW).unwrap();
    assert_eq!(put(&file, &[1; 9 * 4096]), Ok(8 * 4096));
    assert_eq!(put(&file, b"x"), Err(Errno::ENOSPC.into()));
    assert_eq!(w.root().mount.fs().statfs().blocks_free, 0);
    w.walk(|walk| crate::names::unlink(walk, b"/f")).unwrap();
    drop(file);
    assert_eq!(w.root().mount.fs().statfs().blocks_free, 8);
}

#[test]
fn all_frames_come_back() {
    let w = World::new();
    let before = memory::stats().file;
    for i in 0..20 {
        w.write(&alloc::format!("/f{i}"), &[1; 20_000]);
    }
    assert_eq!(memory::stats().file - before, 100);
    drop(w);
    assert_eq!(memory::stats().file, before);
}

#[test]
fn appends_go_to_the_end_wherever_the_position_is() {
    let w = World::new();
    w.write("/f", b"abc");
    let file = w.open("/f", OpenFlags::RDWR | OpenFlags::APPEND).unwrap();
    put(&file, b"def").unwrap();
    assert_eq!(file.position(), 6);
    let cred = Credentials::root();
    let mut buf = [0; 4];
    let n = file.read_at(&file.caller(&cred, 1, 1), 2, &mut Dst::kernel(&mut buf)).unwrap();
    assert_eq!(&buf[..n], b"cdef");
    assert_eq!(file.position(), 6);
}

#[test]
fn directory_positions_survive_changes() {
    let w = World::new();
    for name in ["a", "b", "c", "d"] {
        w.write(&alloc::format!("/{name}"), b"");
    }
    let dir = w.open("/", OpenFlags::DIRECTORY).unwrap();
    let cred = Credentials::root();
    let caller = dir.caller(&cred, 1, 1);
    let mut names: alloc::vec::Vec<alloc::string::String> = alloc::vec![];
    let mut take = |max: usize| {
        let mut taken = 0;
        dir.readdir(&caller, &mut |entry| {
            taken += 1;
            if taken > max {
                return false;
            }
            names.push(core::str::from_utf8(entry.name).unwrap().into());
            true
        })
        .unwrap();
    };
    take(4);
    w.walk(|walk| crate::names::unlink(walk, b"/a")).unwrap();
    w.walk(|walk| crate::names::unlink(walk, b"/c")).unwrap();
    w.write("/e", b"");
    take(10);
    assert_eq!(names, [".", "..", "a", "b", "d", "e"]);
}

#[test]
fn seals_hold() {
    let w = World::new();
    let caller = Caller::kernel(&w.cred);
    let plain = memfd(&caller, b"plain", false).unwrap();
    assert_eq!(add_seals(&plain, 4), Err(Errno::EPERM.into()));
    let file = memfd(&caller, b"x", true).unwrap();
    put(&file, b"hello").unwrap();
    let map = file.mmap(true).unwrap();
    assert_eq!(add_seals(&file, 8), Err(Errno::EBUSY.into()));
    drop(map);
    add_seals(&file, 0x0e).unwrap();
    assert_eq!(seals(&file), Ok(0x0e));
    assert_eq!(put(&file, b"y"), Err(Errno::EPERM.into()));
    let at = file.location();
    assert_eq!(at.inode().truncate(1), Err(Error::Errno(Errno::EPERM)));
    assert!(file.mmap(true).is_err() && file.mmap(false).is_ok());
    assert_eq!(file.describe(&w.root()), b"/memfd:x (deleted)");
    assert_eq!(file.metadata().nlink, 0);
}

#[test]
fn a_mapping_and_the_file_are_the_same_bytes() {
    let w = World::new();
    let file = w.open("/f", RDWR_NEW).unwrap();
    put(&file, &[1; 5000]).unwrap();
    let map = file.mmap(true).unwrap();
    map.page_mut(1).unwrap().write(0, b"mapped");
    file.seek(4096, Whence::Start).unwrap();
    assert_eq!(get(&file, 6).unwrap(), b"mapped");
    assert_eq!(map.size(), 5000);
    assert!(map.page(2).is_err());
    let mut name = alloc::string::String::new();
    map.name(&mut name).unwrap();
    assert_eq!(name, "/f");
}

#[test]
fn a_write_by_somebody_else_takes_set_user_id() {
    let mut w = World::new();
    let at = w.make("/f", NewKind::Regular, 0o6777).unwrap();
    w.become_user(3);
    let file = w.open("/f", OpenFlags::WRONLY).unwrap();
    let cred = w.cred.clone();
    file.write(&file.caller(&cred, 1, 1), &mut memory::io::Src::kernel(b"x")).unwrap();
    assert_eq!(at.inode().metadata().mode, 0o777);
}
