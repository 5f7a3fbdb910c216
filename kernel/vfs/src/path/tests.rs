//! Rules of path_resolution(7), and of the calls that work on names.

use crate::flags::OpenFlags;
use crate::inode::{NewKind, RenameMode};
use crate::mount::{Mount, MountFlags};
use crate::path::Follow;
use crate::tests::World;
use crate::tmpfs::{Options, Tmpfs};
use crate::{attributes, names};
use base::{Errno, Error, Result};

fn errno<T>(result: Result<T>) -> Errno {
    match result {
        Err(Error::Errno(errno)) => errno,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("succeeded"),
    }
}

fn rename(w: &World, old: &str, new: &str, mode: RenameMode) -> Result<()> {
    w.walk(|walk| names::rename(walk, old.as_bytes(), walk, new.as_bytes(), mode))
}

#[test]
fn dots_and_slashes_lead_where_they_say() {
    let w = World::new();
    w.mkdir("/a");
    w.mkdir("/a/b");
    w.write("/a/b/f", b"x");
    assert_eq!(w.real("//a/./b/..//b/f"), "/a/b/f");
    assert_eq!(w.real("/../.."), "/");
    assert_eq!(errno(w.find("/a/b/f/")), Errno::ENOTDIR);
    assert_eq!(errno(w.find("/a/b/f/..")), Errno::ENOTDIR);
    assert_eq!(errno(w.find("")), Errno::ENOENT);
    assert_eq!(errno(w.find(&"n".repeat(256))), Errno::ENAMETOOLONG);
    assert_eq!(errno(w.find(&"n".repeat(255))), Errno::ENOENT);
    w.fs.set_cwd(w.find("/a/b").unwrap());
    assert_eq!(w.real("../b/f"), "/a/b/f");
}

#[test]
fn links_are_followed_forty_deep() {
    let w = World::new();
    w.mkdir("/d");
    w.write("/d/f", b"x");
    w.symlink("/abs", "/d");
    w.symlink("/d/rel", "../d/f");
    assert_eq!(w.real("/abs/rel"), "/d/f");
    w.symlink("/l1", "/d/f");
    for i in 2..=41 {
        w.symlink(&alloc::format!("/l{i}"), &alloc::format!("/l{}", i - 1));
    }
    assert_eq!(w.real("/l40"), "/d/f");
    assert_eq!(errno(w.find("/l41")), Errno::ELOOP);
    w.symlink("/me", "me");
    assert_eq!(errno(w.find("/me")), Errno::ELOOP);
    let at = w.walk(|walk| walk.resolve(b"/abs", Follow::No)).unwrap();
    assert_eq!(at.path(&w.root()).0, b"/abs");
    let at = w.walk(|walk| walk.resolve(b"/abs/", Follow::No)).unwrap();
    assert_eq!(at.path(&w.root()).0, b"/d");
    assert_eq!(errno(w.open("/abs", OpenFlags::NOFOLLOW)), Errno::ELOOP);
}

#[test]
fn every_directory_on_the_way_must_be_searchable() {
    let mut w = World::new();
    let a = w.mkdir("/a");
    w.write("/a/f", b"x");
    let cred = base::Credentials::root();
    attributes::chmod(&crate::Caller::kernel(&cred), &a, 0o700).unwrap();
    w.become_user(5);
    assert_eq!(errno(w.find("/a/f")), Errno::EACCES);
    assert!(w.find("/a").is_ok());
    assert_eq!(errno(w.open("/new", OpenFlags::CREAT | OpenFlags::WRONLY)), Errno::EACCES);
}

#[test]
fn a_chroot_is_not_left_by_dotdot() {
    let w = World::new();
    w.mkdir("/jail");
    w.mkdir("/jail/in");
    w.fs.set_root(w.find("/jail").unwrap());
    w.fs.set_cwd(w.find("/in").unwrap());
    assert_eq!(w.real("../../../in"), "/in");
    w.symlink("/up", "/../..");
    assert_eq!(w.real("/up"), "/");
}

#[test]
fn create_errors_are_linuxs() {
    let w = World::new();
    w.mkdir("/d");
    w.write("/f", b"");
    assert_eq!(errno(w.make("/d", NewKind::Directory, 0o755)), Errno::EEXIST);
    assert_eq!(errno(w.make("/", NewKind::Directory, 0o755)), Errno::EEXIST);
    assert_eq!(errno(w.make("/d/..", NewKind::Directory, 0o755)), Errno::EEXIST);
    assert_eq!(errno(w.make("/x/y", NewKind::Directory, 0o755)), Errno::ENOENT);
    assert_eq!(errno(w.make("/f/y", NewKind::Directory, 0o755)), Errno::ENOTDIR);
    assert_eq!(errno(w.make("/fifo/", NewKind::Fifo, 0o644)), Errno::ENOENT);
    assert!(w.make("/slash/", NewKind::Directory, 0o755).is_ok());
    let excl = OpenFlags::CREAT | OpenFlags::EXCL;
    assert_eq!(errno(w.open("/f", excl)), Errno::EEXIST);
    w.symlink("/dangling", "/nowhere");
    assert_eq!(errno(w.open("/dangling", excl)), Errno::EEXIST);
    assert!(w.open("/dangling", OpenFlags::CREAT).is_ok());
    assert!(w.find("/nowhere").is_ok());
    assert_eq!(errno(w.open("/d", OpenFlags::WRONLY)), Errno::EISDIR);
    assert_eq!(errno(w.open("/d", OpenFlags::CREAT)), Errno::EISDIR);
    assert_eq!(errno(w.open("/f", OpenFlags::DIRECTORY)), Errno::ENOTDIR);
}

#[test]
fn removal_errors_are_linuxs() {
    let w = World::new();
    w.mkdir("/d");
    w.mkdir("/d/e");
    w.write("/f", b"");
    let rmdir = |path: &str| w.walk(|walk| names::rmdir(walk, path.as_bytes()));
    let unlink = |path: &str| w.walk(|walk| names::unlink(walk, path.as_bytes()));
    assert_eq!(errno(rmdir("/d")), Errno::ENOTEMPTY);
    assert_eq!(errno(rmdir("/d/.")), Errno::EINVAL);
    assert_eq!(errno(rmdir("/d/e/..")), Errno::ENOTEMPTY);
    assert_eq!(errno(rmdir("/")), Errno::EBUSY);
    assert_eq!(errno(rmdir("/f")), Errno::ENOTDIR);
    assert_eq!(errno(unlink("/d")), Errno::EISDIR);
    assert_eq!(errno(unlink("/f/")), Errno::ENOTDIR);
    let inside = w.find("/d/e").unwrap();
    assert_eq!(w.find("/d").unwrap().inode().metadata().nlink, 3);
    rmdir("/d/e").unwrap();
    assert_eq!(w.find("/d").unwrap().inode().metadata().nlink, 2);
    assert_eq!(inside.describe(&w.root()), b"/d/e (deleted)");
    w.fs.set_cwd(inside);
    assert_eq!(errno(w.make("new", NewKind::Directory, 0o755)), Errno::ENOENT);
    rmdir("/d").unwrap();
    assert_eq!(errno(w.find("/d")), Errno::ENOENT);
}

#[test]
fn rename_replaces_exchanges_and_refuses() {
    let w = World::new();
    for dir in ["/a", "/a/sub", "/b"] {
        w.mkdir(dir);
    }
    w.write("/a/f", b"one");
    w.write("/b/g", b"two");
    let held = w.find("/a/f").unwrap();
    assert_eq!(errno(rename(&w, "/a/f", "/b/g", RenameMode::NoReplace)), Errno::EEXIST);
    rename(&w, "/a/f", "/b/g", RenameMode::Replace).unwrap();
    assert_eq!(w.read("/b/g"), b"one");
    assert_eq!(held.path(&w.root()).0, b"/b/g");
    assert_eq!(errno(w.find("/a/f")), Errno::ENOENT);
    assert_eq!(errno(rename(&w, "/a", "/a/sub/x", RenameMode::Replace)), Errno::EINVAL);
    assert_eq!(errno(rename(&w, "/a/sub", "/a", RenameMode::Replace)), Errno::ENOTEMPTY);
    assert_eq!(errno(rename(&w, "/b/g", "/a", RenameMode::Replace)), Errno::EISDIR);
    assert_eq!(errno(rename(&w, "/a", "/b/g", RenameMode::Replace)), Errno::ENOTDIR);
    assert_eq!(errno(rename(&w, "/a", "/b", RenameMode::Replace)), Errno::ENOTEMPTY);
    assert_eq!(errno(rename(&w, "/", "/b", RenameMode::Replace)), Errno::EBUSY);
    w.write("/top", b"three");
    rename(&w, "/b", "/top", RenameMode::Exchange).unwrap();
    assert_eq!(w.read("/b"), b"three");
    assert_eq!(w.read("/top/g"), b"one");
    rename(&w, "/a/sub", "/top/sub", RenameMode::Replace).unwrap();
    assert_eq!(w.find("/a").unwrap().inode().metadata().nlink, 2);
    assert_eq!(w.find("/top").unwrap().inode().metadata().nlink, 3);
    assert_eq!(w.real("/top/sub/.."), "/top");
    rename(&w, "/top/sub", "/a", RenameMode::Replace).unwrap();
    assert_eq!(w.find("/").unwrap().inode().metadata().nlink, 4);
}

#[test]
fn hard_links_share_a_file() {
    let w = World::new();
    w.write("/f", b"data");
    w.mkdir("/d");
    let link = |old: &str, new: &str| {
        let old = w.find(old)?;
        w.walk(|walk| names::link(walk, &old, new.as_bytes()))
    };
    link("/f", "/g").unwrap();
    assert_eq!(w.find("/g").unwrap().inode().metadata().nlink, 2);
    assert_eq!(errno(link("/d", "/e")), Errno::EPERM);
    assert_eq!(errno(link("/f", "/g")), Errno::EEXIST);
    rename(&w, "/f", "/g", RenameMode::Replace).unwrap();
    assert!(w.find("/f").is_ok());
    w.walk(|walk| names::unlink(walk, b"/f")).unwrap();
    assert_eq!(w.read("/g"), b"data");
}

#[test]
fn mounts_are_crossed_both_ways() {
    let w = World::new();
    w.mkdir("/mnt");
    w.mkdir("/mnt/hidden");
    let mount = Mount::new(Tmpfs::new(Options::default()).unwrap(), b"my tmp", MountFlags::NODEV);
    mount.attach(&w.find("/mnt").unwrap()).unwrap();
    assert_eq!(errno(w.find("/mnt/hidden")), Errno::ENOENT);
    w.mkdir("/mnt/seen");
    assert_eq!(w.real("/mnt/seen/../../mnt/seen"), "/mnt/seen");
    assert_eq!(errno(w.walk(|walk| names::rmdir(walk, b"/mnt"))), Errno::EBUSY);
    w.write("/f", b"");
    let f = w.find("/f").unwrap();
    assert_eq!(errno(w.walk(|walk| names::link(walk, &f, b"/mnt/f"))), Errno::EXDEV);
    let mut text = alloc::string::String::new();
    crate::mount::show_mounts(&w.root(), &mut text).unwrap();
    assert!(text.contains("my\\040tmp /mnt tmpfs rw,nodev,relatime"), "{text}");
    let open = w.open("/mnt/x", OpenFlags::CREAT).unwrap();
    assert_eq!(errno(mount.detach(false)), Errno::EBUSY);
    drop(open);
    mount.detach(false).unwrap();
    assert!(w.find("/mnt/hidden").is_ok());
}

#[test]
fn a_sticky_directory_protects_other_peoples_files() {
    let mut w = World::new();
    w.make("/tmp", NewKind::Directory, 0o1777).unwrap();
    w.write("/tmp/roots", b"");
    w.become_user(7);
    assert_eq!(errno(w.walk(|walk| names::unlink(walk, b"/tmp/roots"))), Errno::EPERM);
    w.write("/tmp/mine", b"");
    w.walk(|walk| names::unlink(walk, b"/tmp/mine")).unwrap();
}

#[test]
fn a_deep_tree_is_dropped_without_recursion() {
    let w = World::with(|options| Options { inodes: 1 << 20, ..options });
    for _ in 0..30_000 {
        let at = w.make("d", NewKind::Directory, 0o755).unwrap();
        w.fs.set_cwd(at);
    }
}
