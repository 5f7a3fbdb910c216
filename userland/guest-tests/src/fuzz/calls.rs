//! Which calls are made, and what their arguments stand for.

use super::values::Class::{self, *};
use super::values::Rng;
use rt::raw::general::*;

/// A call to be made.
pub struct Call {
    pub number: usize,
    pub args: [Class; 6],
}

/// One past the numbers that are tried.
const END: usize = 470;

/// Calls whose arguments are known; all others get anything.
const KNOWN: &[(u32, &[Class])] = &[
    (__NR_read, &[Fd, Memory, Length]),
    (__NR_write, &[Fd, Memory, Length]),
    (__NR_readv, &[Fd, Vector, Number]),
    (__NR_writev, &[Fd, Vector, Number]),
    (__NR_pread64, &[Fd, Memory, Length, Offset]),
    (__NR_pwrite64, &[Fd, Memory, Length, Offset]),
    (__NR_preadv2, &[Fd, Vector, Number, Offset, Any, Flags]),
    (__NR_pwritev2, &[Fd, Vector, Number, Offset, Any, Flags]),
    (__NR_openat, &[Fd, Path, Flags, Number]),
    (__NR_openat2, &[Fd, Path, Memory, Length]),
    (__NR_close, &[Fd]),
    (__NR_close_range, &[Number, Number, Flags]),
    (__NR_dup, &[Fd]),
    (__NR_dup3, &[Fd, Fd, Flags]),
    (__NR_fcntl, &[Fd, Number, Memory]),
    (__NR_fcntl, &[Fd, Number, Number]),
    (__NR_ioctl, &[Fd, Request, Memory]),
    (__NR_lseek, &[Fd, Offset, Number]),
    (__NR_ftruncate, &[Fd, Offset]),
    (__NR_fallocate, &[Fd, Flags, Offset, PageCount]),
    (__NR_flock, &[Fd, Number]),
    (__NR_getdents64, &[Fd, Memory, Length]),
    (__NR_fstat, &[Fd, Memory]),
    (__NR_statx, &[Fd, Path, Flags, Flags, Memory]),
    (__NR_faccessat, &[Fd, Path, Number]),
    (__NR_fchmodat, &[Fd, Path, Number]),
    (__NR_fchownat, &[Fd, Path, Pid, Pid, Flags]),
    (__NR_mkdirat, &[Fd, Path, Number]),
    (__NR_mknodat, &[Fd, Path, Flags, Number]),
    (__NR_unlinkat, &[Fd, Path, Flags]),
    (__NR_linkat, &[Fd, Path, Fd, Path, Flags]),
    (__NR_symlinkat, &[Path, Fd, Path]),
    (__NR_renameat2, &[Fd, Path, Fd, Path, Number]),
    (__NR_readlinkat, &[Fd, Path, Memory, Length]),
    (__NR_utimensat, &[Fd, Path, Time, Flags]),
    (__NR_chdir, &[Path]),
    (__NR_getcwd, &[Memory, Length]),
    (__NR_truncate, &[Path, Offset]),
    (__NR_statfs, &[Path, Memory]),
    (__NR_getxattr, &[Path, Path, Memory, Length]),
    (__NR_setxattr, &[Path, Path, Memory, Length, Number]),
    (__NR_sendfile, &[Fd, Fd, Memory, Length]),
    (__NR_splice, &[Fd, Memory, Fd, Memory, Length, Flags]),
    (__NR_tee, &[Fd, Fd, Length, Flags]),
    (__NR_copy_file_range, &[Fd, Memory, Fd, Memory, Length, Number]),
    (__NR_vmsplice, &[Fd, Vector, Number, Flags]),
    (__NR_pipe2, &[Memory, Flags]),
    (__NR_eventfd2, &[Number, Flags]),
    (__NR_memfd_create, &[Path, Flags]),
    (__NR_epoll_create1, &[Flags]),
    (__NR_epoll_ctl, &[Fd, Number, Fd, Memory]),
    (__NR_epoll_pwait, &[Fd, Memory, Number, Number, Memory, Length]),
    (__NR_ppoll, &[Memory, Number, Time, Memory, Length]),
    (__NR_pselect6, &[Number, Memory, Memory, Memory, Time, Memory]),
    (__NR_timerfd_create, &[Number, Flags]),
    (__NR_timerfd_settime, &[Fd, Number, Time, Memory]),
    (__NR_signalfd4, &[Fd, Memory, Length, Flags]),
    (__NR_inotify_init1, &[Flags]),
    (__NR_socket, &[Number, Number, Number]),
    (__NR_socketpair, &[Number, Number, Number, Memory]),
    (__NR_bind, &[Fd, Address, Number]),
    (__NR_listen, &[Fd, Number]),
    (__NR_accept4, &[Fd, Memory, Memory, Flags]),
    (__NR_connect, &[Fd, Address, Number]),
    (__NR_sendto, &[Fd, Memory, Length, Flags, Address, Number]),
    (__NR_recvfrom, &[Fd, Memory, Length, Flags, Memory, Memory]),
    (__NR_sendmsg, &[Fd, Vector, Flags]),
    (__NR_recvmsg, &[Fd, Vector, Flags]),
    (__NR_sendmmsg, &[Fd, Vector, Number, Flags]),
    (__NR_recvmmsg, &[Fd, Vector, Number, Flags, Time]),
    (__NR_getsockopt, &[Fd, Number, Number, Memory, Memory]),
    (__NR_setsockopt, &[Fd, Number, Number, Memory, Length]),
    (__NR_getsockname, &[Fd, Memory, Memory]),
    (__NR_shutdown, &[Fd, Number]),
    (__NR_mmap, &[Page, PageCount, Number, Flags, Fd, Offset]),
    (__NR_mmap, &[Page, PageCount, Number, Number, Fd, Offset]),
    (__NR_munmap, &[Page, PageCount]),
    (__NR_mremap, &[Page, PageCount, PageCount, Number, Page]),
    (__NR_mprotect, &[Page, PageCount, Number]),
    (__NR_madvise, &[Page, PageCount, Number]),
    (__NR_mincore, &[Page, PageCount, Memory]),
    (__NR_msync, &[Page, PageCount, Number]),
    (__NR_mlock, &[Page, PageCount]),
    (__NR_brk, &[Page]),
    (__NR_futex, &[Memory, Number, Word, Time, Memory, Word]),
    (__NR_futex, &[Memory, Number, Word, Number, Memory, Word]),
    (__NR_set_robust_list, &[Memory, Length]),
    (__NR_clone, &[Flags, Memory, Memory, Memory, Memory]),
    (__NR_clone3, &[Memory, Length]),
    (__NR_wait4, &[Pid, Memory, Flags, Memory]),
    (__NR_waitid, &[Number, Pid, Memory, Flags, Memory]),
    (__NR_execve, &[Path, Vector, Vector]),
    (__NR_execveat, &[Fd, Path, Vector, Vector, Flags]),
    (__NR_kill, &[Pid, Signal]),
    (__NR_tgkill, &[Pid, Pid, Signal]),
    (__NR_rt_sigaction, &[Signal, Memory, Memory, Length]),
    (__NR_rt_sigprocmask, &[Number, Memory, Memory, Length]),
    (__NR_rt_sigtimedwait, &[Memory, Memory, Time, Length]),
    (__NR_rt_sigqueueinfo, &[Pid, Signal, Memory]),
    (__NR_sigaltstack, &[Memory, Memory]),
    (__NR_setitimer, &[Number, Time, Memory]),
    (__NR_timer_create, &[Number, Memory, Memory]),
    (__NR_timer_settime, &[Number, Number, Time, Memory]),
    (__NR_clock_nanosleep, &[Number, Number, Time, Memory]),
    (__NR_nanosleep, &[Time, Memory]),
    (__NR_setpgid, &[Pid, Pid]),
    (__NR_setsid, &[]),
    (__NR_getrandom, &[Memory, Length, Number]),
    (__NR_prctl, &[Number, Any, Any, Any, Any]),
    (__NR_prlimit64, &[Pid, Number, Memory, Memory]),
    (__NR_sched_setaffinity, &[Pid, Length, Memory]),
    (__NR_sched_setscheduler, &[Pid, Number, Memory]),
    (__NR_sched_yield, &[]),
    (__NR_getrusage, &[Number, Memory]),
    (__NR_pidfd_open, &[Pid, Flags]),
    (__NR_pidfd_send_signal, &[Fd, Signal, Memory, Flags]),
    (__NR_process_vm_readv, &[Pid, Vector, Number, Vector, Number, Flags]),
    (__NR_shmget, &[Number, PageCount, Flags]),
    (__NR_shmat, &[Number, Page, Flags]),
    (__NR_semget, &[Number, Number, Flags]),
    (__NR_semop, &[Number, Memory, Number]),
    (__NR_msgget, &[Number, Flags]),
    (__NR_msgsnd, &[Number, Memory, Length, Flags]),
    (__NR_msgrcv, &[Number, Memory, Length, Number, Flags]),
];

/// Draws a call: mostly one whose arguments are known.
pub fn draw(rng: &mut Rng, root: bool) -> Call {
    loop {
        let mut args = [Any; 6];
        let number = if rng.one_in(4) {
            rng.below(END)
        } else {
            let (number, known) = rng.pick(KNOWN);
            args[..known.len()].copy_from_slice(known);
            number as usize
        };
        let rare = [__NR_exit, __NR_exit_group, __NR_rt_sigreturn, __NR_kill, __NR_tgkill, __NR_tkill, __NR_munmap];
        let skip = rare.contains(&(number as u32)) && !rng.one_in(20);
        let too_much = root && NOT_AS_ROOT.contains(&(number as u32));
        if !skip && !too_much {
            return Call { number, args };
        }
    }
}

/// What a privileged process may do to the whole machine.
const NOT_AS_ROOT: &[u32] = &[
    __NR_reboot,
    __NR_kill,
    __NR_tkill,
    __NR_tgkill,
    __NR_rt_sigqueueinfo,
    __NR_rt_tgsigqueueinfo,
    __NR_pidfd_send_signal,
    __NR_process_vm_writev,
    __NR_ptrace,
    __NR_mount,
    __NR_umount2,
    __NR_pivot_root,
    __NR_chroot,
    __NR_move_mount,
    __NR_mount_setattr,
    __NR_setns,
    __NR_unshare,
    __NR_sethostname,
    __NR_setdomainname,
    __NR_clock_settime,
    __NR_settimeofday,
    __NR_clock_adjtime,
    __NR_adjtimex,
    __NR_init_module,
    __NR_finit_module,
    __NR_delete_module,
    __NR_kexec_load,
    __NR_swapon,
    __NR_swapoff,
    __NR_vhangup,
    __NR_setsid,
    __NR_setpgid,
    __NR_sched_setscheduler,
    __NR_sched_setparam,
    __NR_sched_setattr,
    __NR_setpriority,
    __NR_prlimit64,
    __NR_setrlimit,
    __NR_unlinkat,
    __NR_linkat,
    __NR_symlinkat,
    __NR_renameat,
    __NR_renameat2,
    __NR_mkdirat,
    __NR_mknodat,
    __NR_fchmodat,
    __NR_fchownat,
    __NR_fchmod,
    __NR_fchown,
    __NR_truncate,
    __NR_setxattr,
    __NR_bpf,
    __NR_syslog,
    #[cfg(target_arch = "x86_64")]
    __NR_unlink,
    #[cfg(target_arch = "x86_64")]
    __NR_rename,
    #[cfg(target_arch = "x86_64")]
    __NR_rmdir,
    #[cfg(target_arch = "x86_64")]
    __NR_link,
    #[cfg(target_arch = "x86_64")]
    __NR_symlink,
    #[cfg(target_arch = "x86_64")]
    __NR_mknod,
    #[cfg(target_arch = "x86_64")]
    __NR_mkdir,
    #[cfg(target_arch = "x86_64")]
    __NR_chmod,
    #[cfg(target_arch = "x86_64")]
    __NR_chown,
    #[cfg(target_arch = "x86_64")]
    __NR_lchown,
    #[cfg(target_arch = "x86_64")]
    __NR_iopl,
    #[cfg(target_arch = "x86_64")]
    __NR_ioperm,
];

/// Whether these arguments would undo the bounds of a run.
pub fn harms(number: usize, args: &[usize; 6], root: bool) -> bool {
    // A privileged fork has no bound but the machine's.
    let bomb = root && makes_child(number) && !args[0].is_multiple_of(8);
    // A user's own descendants may leave the process group, but root's must not be lost from sight.
    bomb || number == __NR_personality as usize
}

/// Whether a call gives 0 in a child.
pub fn makes_child(number: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    if [__NR_fork, __NR_vfork].contains(&(number as u32)) {
        return true;
    }
    [__NR_clone, __NR_clone3].contains(&(number as u32))
}
