//! unshare(2): a thread gets of its own what it shared. setns(2): it joins namespaces, of which there are none to join.

use crate::args::Args;
use crate::paths::{check_flags, file};
use crate::table::{Calls, fast};
use alloc::sync::Arc;
use base::{Errno, Result};
use linux_raw_sys::general as raw;
use process::Current;

/// The family.
pub const CALLS: Calls = &[(raw::__NR_unshare, fast!(unshare)), (raw::__NR_setns, fast!(setns))];

/// What can only be unshared by a thread that is alone in its process, which does not share it.
const ALONE: u32 = raw::CLONE_THREAD | ACTIONS;

/// What needs signal actions of its own: memory implies it.
const ACTIONS: u32 = raw::CLONE_SIGHAND | raw::CLONE_VM;

/// unshare(2). EINVAL for what a process with several threads shares, and for new namespaces, of which there are none; ENOMEM.
fn unshare(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(0);
    check_flags(flags, ALONE | raw::CLONE_FS | raw::CLONE_FILES | raw::CLONE_SYSVSEM)?;
    let alone = current.thread.process.shared.lock().threads.len() == 1;
    // The record of the thread and, of actions, its process hold references as well.
    let shares_actions = flags & ACTIONS != 0 && Arc::strong_count(&current.actions) > 3;
    let shares_memory = flags & raw::CLONE_VM != 0 && Arc::strong_count(&current.space) > 2;
    if flags & ALONE != 0 && !alone || shares_actions || shares_memory {
        return Err(Errno::EINVAL.into());
    }
    // What may fail goes first.
    let files = match flags & raw::CLONE_FILES != 0 && Arc::strong_count(&current.files) > 2 {
        true => Some(current.files.fork()?),
        false => None,
    };
    if let Some(files) = files {
        current.set_files(files);
    }
    if flags & raw::CLONE_FS != 0 && Arc::strong_count(&current.fs) > 2 {
        let own = Arc::new(current.fs.fork());
        current.set_fs(own);
    }
    if flags & raw::CLONE_SYSVSEM != 0 {
        current.leave_undo_list();
    }
    Ok(0)
}

/// setns(2). EBADF, and EINVAL: no descriptor stands for a namespace, and a pidfd's process has none of any kind.
fn setns(current: &mut Current, args: &Args) -> Result<usize> {
    file(current, args, 0)?;
    Err(Errno::EINVAL.into())
}
