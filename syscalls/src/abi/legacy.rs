//! The calls that x86_64 has from before the architectures agreed: older forms of what [`crate::table`] has.

use crate::creation::now;
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use crate::{epolls, files, identity, names, ownership, polling, select, signals, stat, system};
use linux_raw_sys::general as nr;

/// Numbers and what answers them.
pub const LEGACY: Calls = &[
    (nr::__NR_fork, slow(now, Slow::Fork)),
    (nr::__NR_vfork, slow(now, Slow::Vfork)),
    (nr::__NR_pause, slow(now, Slow::Pause)),
    (nr::__NR_getpgrp, fast(identity::getpgrp)),
    (nr::__NR_arch_prctl, fast(super::arch_prctl)),
    (nr::__NR_time, fast(system::time)),
    (nr::__NR_alarm, fast(signals::alarm)),
    (nr::__NR_open, slow(files::open, Slow::Open)),
    (nr::__NR_creat, slow(files::creat, Slow::Creat)),
    (nr::__NR_dup2, fast(files::dup2)),
    (nr::__NR_pipe, fast(files::pipe)),
    (nr::__NR_mkdir, fast(names::mkdir)),
    (nr::__NR_rmdir, fast(names::rmdir)),
    (nr::__NR_unlink, fast(names::unlink)),
    (nr::__NR_rename, fast(names::rename)),
    (nr::__NR_link, fast(names::link)),
    (nr::__NR_symlink, fast(names::symlink)),
    (nr::__NR_readlink, fast(names::readlink)),
    (nr::__NR_mknod, fast(names::mknod)),
    (nr::__NR_getdents, fast(names::getdents)),
    (nr::__NR_access, fast(ownership::access)),
    (nr::__NR_chmod, fast(ownership::chmod)),
    (nr::__NR_chown, fast(ownership::chown)),
    (nr::__NR_lchown, fast(ownership::lchown)),
    (nr::__NR_utime, fast(ownership::utime)),
    (nr::__NR_utimes, fast(ownership::utimes)),
    (nr::__NR_futimesat, fast(ownership::futimesat)),
    (nr::__NR_stat, fast(stat::stat)),
    (nr::__NR_lstat, fast(stat::lstat)),
    (nr::__NR_poll, slow(polling::poll, Slow::Poll)),
    (nr::__NR_select, slow(select::select, Slow::Select)),
    (nr::__NR_epoll_create, fast(epolls::epoll_create)),
    (nr::__NR_epoll_wait, slow(epolls::epoll_wait, Slow::EpollWait)),
    (nr::__NR_eventfd, fast(epolls::eventfd)),
    (nr::__NR_signalfd, fast(epolls::signalfd)),
];
