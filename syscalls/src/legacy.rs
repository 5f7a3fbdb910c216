//! The calls from before the architectures agreed: older forms of what the families have. Every architecture has
//! the code; [`crate::abi::old_number`] tells which of them have a number there.

use crate::creation::now;
use crate::table::{Entry, fast, slow};
use crate::wait::Slow;
use crate::{epolls, files, identity, names, ownership, polling, select, stat, system, timers};

/// An old call, by its name.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "each is the call of that name")]
pub enum Old {
    Fork,
    Vfork,
    Pause,
    Getpgrp,
    Time,
    Alarm,
    Open,
    Creat,
    Dup2,
    Pipe,
    Mkdir,
    Rmdir,
    Unlink,
    Rename,
    Link,
    Symlink,
    Readlink,
    Mknod,
    Getdents,
    Access,
    Chmod,
    Chown,
    Lchown,
    Utime,
    Utimes,
    Futimesat,
    Stat,
    Lstat,
    Poll,
    Select,
    EpollCreate,
    EpollWait,
    Eventfd,
    Signalfd,
}

/// What answers each.
pub const OLD: &[(Old, Entry)] = &[
    (Old::Fork, slow!(now, Slow::Fork)),
    (Old::Vfork, slow!(now, Slow::Vfork)),
    (Old::Pause, slow!(now, Slow::Pause)),
    (Old::Getpgrp, fast!(identity::getpgrp)),
    (Old::Time, fast!(system::time)),
    (Old::Alarm, fast!(timers::alarm)),
    (Old::Open, slow!(files::open, Slow::Open)),
    (Old::Creat, slow!(files::creat, Slow::Creat)),
    (Old::Dup2, fast!(files::dup2)),
    (Old::Pipe, fast!(files::pipe)),
    (Old::Mkdir, fast!(names::mkdir)),
    (Old::Rmdir, fast!(names::rmdir)),
    (Old::Unlink, fast!(names::unlink)),
    (Old::Rename, fast!(names::rename)),
    (Old::Link, fast!(names::link)),
    (Old::Symlink, fast!(names::symlink)),
    (Old::Readlink, fast!(names::readlink)),
    (Old::Mknod, fast!(names::mknod)),
    (Old::Getdents, fast!(names::getdents)),
    (Old::Access, fast!(ownership::access)),
    (Old::Chmod, fast!(ownership::chmod)),
    (Old::Chown, fast!(ownership::chown)),
    (Old::Lchown, fast!(ownership::lchown)),
    (Old::Utime, fast!(ownership::utime)),
    (Old::Utimes, fast!(ownership::utimes)),
    (Old::Futimesat, fast!(ownership::futimesat)),
    (Old::Stat, fast!(stat::stat)),
    (Old::Lstat, fast!(stat::lstat)),
    (Old::Poll, slow!(polling::poll, Slow::Poll)),
    (Old::Select, slow!(select::select, Slow::Select)),
    (Old::EpollCreate, fast!(epolls::epoll_create)),
    (Old::EpollWait, slow!(epolls::epoll_wait, Slow::EpollWait)),
    (Old::Eventfd, fast!(epolls::eventfd)),
    (Old::Signalfd, fast!(epolls::signalfd)),
];
