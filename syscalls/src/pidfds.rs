//! Descriptors of processes: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).

use crate::args::Args;
use crate::epolls::status;
use crate::files::install_new;
use crate::paths::{check_flags, file, install};
use crate::signals;
use crate::table::{Calls, fast};
use alloc::sync::Arc;
use base::{Errno, Result};
use linux_raw_sys::general as raw;
use process::pidfd::PidFd;
use process::{Current, Process, inspect, pid};
use vfs::Description;

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_pidfd_open, fast!(pidfd_open)),
    (raw::__NR_pidfd_send_signal, fast!(pidfd_send_signal)),
    (raw::__NR_pidfd_getfd, fast!(pidfd_getfd)),
];

/// PIDFD_THREAD: the descriptor is to name a thread.
const THREAD: u32 = raw::O_EXCL;

/// pidfd_open(2).
fn pidfd_open(current: &mut Current, args: &Args) -> Result<usize> {
    check_flags(args.uint(1), raw::O_NONBLOCK | THREAD)?;
    let number = u32::try_from(args.int(0)).ok().filter(|number| *number > 0).ok_or(Errno::EINVAL)?;
    let flags = status(args.uint(1) & raw::O_NONBLOCK | raw::O_CLOEXEC);
    if args.uint(1) & THREAD != 0 {
        let thread = pid::find_thread(number).ok_or(Errno::ESRCH)?;
        return install_new(current, PidFd::of_thread(&thread), flags);
    }
    let Some(process) = pid::find_process(number) else {
        // The number of a thread that does not lead is no process's.
        return Err(if pid::find_thread(number).is_some() { Errno::EINVAL } else { Errno::ESRCH }.into());
    };
    install_new(current, PidFd::new(process), flags)
}

/// The description of a pidfd. EBADF for what is none.
fn described(current: &Current, args: &Args, at: usize) -> Result<Arc<Description>> {
    let description = file(current, args, at)?;
    if description.file().as_any().is_none_or(|any| !any.is::<PidFd>()) {
        return Err(Errno::EBADF.into());
    }
    Ok(description)
}

/// What a description that is a pidfd's names. EBADF.
fn pidfd(description: &Description) -> Result<&PidFd> {
    let any = description.file().as_any().and_then(|any| any.downcast_ref::<PidFd>());
    Ok(any.ok_or(Errno::EBADF)?)
}

/// The process of a description that is a pidfd's. ESRCH once it is reaped.
fn process(description: &Description) -> Result<Arc<Process>> {
    Ok(pidfd(description)?.process().ok_or(Errno::ESRCH)?)
}

/// Whom waitid(2) with P_PIDFD waits for, and whether it only looks (PIDFD_NONBLOCK). EBADF, EINVAL.
pub fn waited_for(current: &Current, args: &Args) -> Result<(u32, bool)> {
    if args.int(1) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let description = described(current, args, 1)?;
    let number = pidfd(&description)?.number();
    Ok((number, description.flags().contains(vfs::OpenFlags::NONBLOCK)))
}

/// Flags of pidfd_send_signal(2): whom to send it to, whatever the descriptor names.
const TO_THREAD: u32 = 1;
const TO_PROCESS: u32 = 2;
const TO_GROUP: u32 = 4;

/// pidfd_send_signal(2), which takes an open /proc/PID too.
fn pidfd_send_signal(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(3);
    check_flags(flags, TO_THREAD | TO_PROCESS | TO_GROUP)?;
    if flags.count_ones() > 1 {
        return Err(Errno::EINVAL.into());
    }
    if let Some(found) = kernel::proc::process_of(&*file(current, args, 0)?) {
        let target = found?;
        return match flags {
            TO_GROUP => signals::send_to_group(current, target.id(), args),
            TO_THREAD => match target.pid().thread() {
                Some(leader) => signals::send_to_thread(current, &leader, args),
                None => Ok(0),
            },
            _ => signals::send_to(current, &target, args),
        };
    }
    let description = described(current, args, 0)?;
    let pidfd = pidfd(&description)?;
    match flags {
        TO_GROUP => signals::send_to_group(current, pidfd.number(), args),
        0 | TO_THREAD if flags != 0 || pidfd.is_of_thread() => match pidfd.thread() {
            Some(thread) => signals::send_to_thread(current, &thread, args),
            // A leader that has exited is there until its process is reaped; nothing reaches it.
            None if pidfd.number() == process(&description)?.id() => Ok(0),
            None => Err(Errno::ESRCH.into()),
        },
        _ => signals::send_to(current, &process(&description)?, args),
    }
}

/// pidfd_getfd(2): one more descriptor of what another process has open. EPERM unless it may be traced.
fn pidfd_getfd(current: &mut Current, args: &Args) -> Result<usize> {
    check_flags(args.uint(2), 0)?;
    let description = described(current, args, 0)?;
    let target = match pidfd(&description)?.is_of_thread() {
        true => pidfd(&description)?.thread(),
        false => process(&description)?.any_thread(),
    };
    let target = target.ok_or(Errno::ESRCH)?;
    let own = Arc::ptr_eq(&target.process, &current.thread.process);
    if !own && !inspect::may_attach(&current.cred, &target) {
        return Err(Errno::EPERM.into());
    }
    let files = target.view.lock().files.clone().ok_or(Errno::ESRCH)?;
    install(current, files.get(args.uint(1))?, true)
}
