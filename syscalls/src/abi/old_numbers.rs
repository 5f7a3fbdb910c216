//! The numbers of the old calls on x86_64.

use crate::legacy::Old;
use linux_raw_sys::general as nr;

/// The number of an old call: x86_64 has them all.
pub const fn old_number(call: Old) -> Option<u32> {
    Some(match call {
        Old::Fork => nr::__NR_fork,
        Old::Vfork => nr::__NR_vfork,
        Old::Pause => nr::__NR_pause,
        Old::Getpgrp => nr::__NR_getpgrp,
        Old::Time => nr::__NR_time,
        Old::Alarm => nr::__NR_alarm,
        Old::Open => nr::__NR_open,
        Old::Creat => nr::__NR_creat,
        Old::Dup2 => nr::__NR_dup2,
        Old::Pipe => nr::__NR_pipe,
        Old::Mkdir => nr::__NR_mkdir,
        Old::Rmdir => nr::__NR_rmdir,
        Old::Unlink => nr::__NR_unlink,
        Old::Rename => nr::__NR_rename,
        Old::Link => nr::__NR_link,
        Old::Symlink => nr::__NR_symlink,
        Old::Readlink => nr::__NR_readlink,
        Old::Mknod => nr::__NR_mknod,
        Old::Getdents => nr::__NR_getdents,
        Old::Access => nr::__NR_access,
        Old::Chmod => nr::__NR_chmod,
        Old::Chown => nr::__NR_chown,
        Old::Lchown => nr::__NR_lchown,
        Old::Utime => nr::__NR_utime,
        Old::Utimes => nr::__NR_utimes,
        Old::Futimesat => nr::__NR_futimesat,
        Old::Stat => nr::__NR_stat,
        Old::Lstat => nr::__NR_lstat,
        Old::Poll => nr::__NR_poll,
        Old::Select => nr::__NR_select,
        Old::EpollCreate => nr::__NR_epoll_create,
        Old::EpollWait => nr::__NR_epoll_wait,
        Old::Eventfd => nr::__NR_eventfd,
        Old::Signalfd => nr::__NR_signalfd,
    })
}
