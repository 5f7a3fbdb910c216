//! Birth and death: clone(2) and its kin, exit(2), set_tid_address(2), robust lists.

use crate::args::Args;
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use crate::{records, run};
use alloc::sync::Arc;
use arch::addr::VirtAddr;
use base::{Errno, Error, Result};
use linux_raw_sys::general as nr;
use memory::user::UserPtr;
use process::clone::{self, Flags, Request};
use process::{Conditions, Current, Signal, inspect, pid};

/// The family.
pub const CALLS: Calls = &[
    (nr::__NR_clone, slow!(now, Slow::Clone)),
    (nr::__NR_clone3, slow!(now, Slow::Clone3)),
    (nr::__NR_execve, slow!(now, Slow::Execve)),
    (nr::__NR_execveat, slow!(now, Slow::Execveat)),
    (nr::__NR_exit, fast!(exit)),
    (nr::__NR_exit_group, fast!(exit_group)),
    (nr::__NR_wait4, slow!(now, Slow::Wait4)),
    (nr::__NR_waitid, slow!(now, Slow::Waitid)),
    (nr::__NR_set_tid_address, fast!(set_tid_address)),
    (nr::__NR_set_robust_list, fast!(set_robust_list)),
    (nr::__NR_get_robust_list, fast!(get_robust_list)),
];

/// The fast half of a call that has none.
pub fn now(_: &mut Current, _: &Args) -> Result<usize> {
    Err(Error::WouldBlock)
}

/// clone(2). Unknown flag bits are ignored, as the call has always done.
pub async fn clone(current: &mut Current, args: &Args) -> Result<usize> {
    let word = args.size(0) as u64 & 0xffff_ffff;
    let (child_tid, tls) = crate::abi::clone_tail(args);
    let flags = Flags::from_bits_truncate(word & !0xff);
    if flags.contains(Flags::PIDFD | Flags::PARENT_SETTID) {
        return Err(Errno::EINVAL.into());
    }
    create(
        current,
        Request {
            flags,
            exit_signal: (word & 0xff) as u8,
            stack: args.size(1),
            tls,
            parent_tid: args.addr(2),
            child_tid,
            pidfd: args.addr(2),
            number: None,
        },
    )
    .await
}

/// fork(2).
pub async fn fork(current: &mut Current) -> Result<usize> {
    create(current, plain(Flags::empty())).await
}

/// vfork(2).
pub async fn vfork(current: &mut Current) -> Result<usize> {
    create(current, plain(Flags::VM | Flags::VFORK)).await
}

fn plain(flags: Flags) -> Request {
    let null = VirtAddr(0);
    let exit_signal = Signal::SIGCHLD.number();
    Request { flags, exit_signal, stack: 0, tls: 0, parent_tid: null, child_tid: null, pidfd: null, number: None }
}

async fn create(current: &mut Current, request: Request) -> Result<usize> {
    clone::clone(current, request, run::spawn).await.map(|id| id as usize)
}

/// Words of the longest `struct clone_args` known here, with set_tid and cgroup.
const CLONE3_WORDS: usize = 11;

/// clone3(2).
pub async fn clone3(current: &mut Current, args: &Args) -> Result<usize> {
    let read = || records::read(args.addr(0), args.size(1), 8).and_then(|record| check_clone3(&record, args.size(1)));
    let request = loop {
        match read() {
            Err(Error::Fault(page)) => crate::fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    create(current, request).await
}

fn check_clone3(record: &[u64; CLONE3_WORDS], size: usize) -> Result<Request> {
    let [word, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup] =
        *record;
    let invalid = Err(Errno::EINVAL.into());
    if set_tid_size > 32 || (set_tid == 0) != (set_tid_size == 0) {
        return invalid;
    }
    if exit_signal > 64 {
        return invalid;
    }
    let Some(flags) = Flags::from_bits(word) else { return invalid };
    if flags.contains(Flags::INTO_CGROUP) && (cgroup > i32::MAX as u64 || size < 88) {
        return invalid;
    }
    if flags.contains(Flags::DETACHED) || flags.contains(Flags::SIGHAND | Flags::CLEAR_SIGHAND) {
        return invalid;
    }
    if flags.intersects(Flags::THREAD | Flags::PARENT) && exit_signal != 0 {
        return invalid;
    }
    if (stack == 0) != (stack_size == 0) {
        return invalid;
    }
    let top = stack.checked_add(stack_size).filter(|top| *top <= arch::paging::USER_END.0 as u64);
    let Some(top) = top else { return invalid };
    let number = match set_tid_size {
        0 => None,
        1 => Some(UserPtr::<i32>::new(VirtAddr(set_tid as usize)).read()?),
        // There is one level of pid namespaces.
        _ => return invalid,
    };
    Ok(Request {
        flags,
        exit_signal: exit_signal as u8,
        stack: top as usize,
        tls: tls as usize,
        parent_tid: VirtAddr(parent_tid as usize),
        child_tid: VirtAddr(child_tid as usize),
        pidfd: VirtAddr(pidfd as usize),
        number,
    })
}

/// exit(2).
pub fn exit(current: &mut Current, args: &Args) -> Result<usize> {
    let status = (args.int(0) & 0xff) << 8;
    current.exiting = Some(status);
    current.thread.process.begin_exit(status);
    current.thread.set(Conditions::EXIT);
    Ok(0)
}

/// exit_group(2).
pub fn exit_group(current: &mut Current, args: &Args) -> Result<usize> {
    current.thread.process.exit_group((args.int(0) & 0xff) << 8);
    Ok(0)
}

/// set_tid_address(2).
pub fn set_tid_address(current: &mut Current, args: &Args) -> Result<usize> {
    current.clear_child_tid = args.addr(0);
    Ok(current.thread.id() as usize)
}

/// Bytes in `struct robust_list_head`.
const ROBUST_HEAD: usize = 24;

/// set_robust_list(2): EINVAL for any other length.
pub fn set_robust_list(current: &mut Current, args: &Args) -> Result<usize> {
    if args.size(1) != ROBUST_HEAD {
        return Err(Errno::EINVAL.into());
    }
    current.thread.view.lock().robust_list = args.addr(0);
    Ok(0)
}

/// get_robust_list(2). EPERM for a thread that the caller may not look into.
pub fn get_robust_list(current: &mut Current, args: &Args) -> Result<usize> {
    let thread = match args.int(0) {
        0 => current.thread.clone(),
        id => u32::try_from(id).ok().and_then(pid::find_thread).ok_or(Errno::ESRCH)?,
    };
    let own = Arc::ptr_eq(&thread.process, &current.thread.process);
    if !own && !inspect::may_attach(&current.cred, &thread) {
        return Err(Errno::EPERM.into());
    }
    let head = thread.view.lock().robust_list;
    args.ptr::<usize>(1).write(&head.0)?;
    args.ptr::<usize>(2).write(&ROBUST_HEAD)?;
    Ok(0)
}
