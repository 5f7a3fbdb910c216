//! Signals: sending, actions, masks, waiting for them (signal(7)).

use crate::args::Args;
use crate::creation::now;
use crate::frame;
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use alloc::sync::Arc;
use base::{Errno, Error, Restart, Result, Timespec};
use core::future::{pending, poll_fn};
use core::task::Poll;
use linux_raw_sys::general as raw;
use process::current::AltStack;
use process::signal::{Action, Disposition, SaFlags, Siginfo, Signal, SignalSet, code, deliver, info, send};
use process::{Current, Process, Thread, pid, tree};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_kill, fast!(kill)),
    (raw::__NR_tkill, fast!(tkill)),
    (raw::__NR_tgkill, fast!(tgkill)),
    (raw::__NR_rt_sigqueueinfo, fast!(sigqueueinfo)),
    (raw::__NR_rt_tgsigqueueinfo, fast!(tgsigqueueinfo)),
    (raw::__NR_rt_sigaction, fast!(sigaction)),
    (raw::__NR_rt_sigprocmask, fast!(sigprocmask)),
    (raw::__NR_rt_sigpending, fast!(sigpending)),
    (raw::__NR_rt_sigreturn, fast!(frame::sigreturn)),
    (raw::__NR_rt_sigsuspend, slow!(now, Slow::RtSigsuspend)),
    (raw::__NR_rt_sigtimedwait, slow!(now, Slow::RtSigtimedwait)),
    (raw::__NR_sigaltstack, fast!(sigaltstack)),
];

/// Bytes in the kernel's `sigset_t`.
const SIGSET: usize = 8;

fn signal(number: i32) -> Result<Option<Signal>> {
    if number == 0 {
        return Ok(None);
    }
    usize::try_from(number).ok().and_then(Signal::new).map(Some).ok_or(Errno::EINVAL.into())
}

fn from_me(current: &Current, signal: Signal) -> Siginfo {
    Siginfo::user(signal, current.thread.process.id(), current.cred.uid)
}

/// Whether the caller may signal the process. EPERM.
fn check(current: &Current, tree: &tree::Tree, target: &Process, signal: Option<Signal>) -> Result<(), Errno> {
    let Some(thread) = target.any_thread() else { return Ok(()) };
    let same_session = tree::session_of(tree, target) == tree::session_of(tree, &current.thread.process);
    if send::permitted(&current.cred, &thread.cred(), signal, same_session) { Ok(()) } else { Err(Errno::EPERM) }
}

fn kill(current: &mut Current, args: &Args) -> Result<usize> {
    let signal = signal(args.int(1))?;
    let info = signal.map(|signal| from_me(current, signal));
    match args.int(0) {
        i32::MIN => Err(Errno::ESRCH.into()),
        // Its own threads may send a process anything.
        id if id as u32 == current.thread.process.id() => {
            if let Some(signal) = signal {
                send::to_own_process(&current.thread, from_me(current, signal))?;
            }
            Ok(0)
        }
        id if id > 0 => {
            let process = match pid::find_process(id as u32) {
                Some(process) => process,
                // A thread's id names its process.
                None => pid::find_thread(id as u32).ok_or(Errno::ESRCH)?.process.clone(),
            };
            let tree = tree::lock();
            check(current, &tree, &process, signal)?;
            if let Some(signal) = signal {
                send::to_process_locked(&tree, &process, from_me(current, signal))?;
            }
            Ok(0)
        }
        0 => {
            let tree = tree::lock();
            let group = current.thread.process.links(&tree).group.clone();
            kill_all(current, &tree, group.members(&tree), info)
        }
        -1 => {
            // Everybody but the first process and the caller. Nobody is born while the tree is held.
            let tree = tree::lock();
            let own = current.thread.process.id();
            kill_all(current, &tree, pid::processes(2).filter(|process| process.id() != own), info)
        }
        group => {
            let tree = tree::lock();
            let group = tree::find_group(&tree, group.unsigned_abs()).ok_or(Errno::ESRCH)?;
            kill_all(current, &tree, group.members(&tree), info)
        }
    }
}

/// Succeeds if the signal could be sent to one of them; ESRCH if there is none, EPERM if none is permitted.
fn kill_all(
    current: &Current,
    tree: &tree::Tree,
    targets: impl Iterator<Item = Arc<Process>>,
    info: Option<Siginfo>,
) -> Result<usize> {
    let mut result = Err(Errno::ESRCH.into());
    for target in targets {
        match check(current, tree, &target, info.map(|info| info.signal)) {
            Ok(()) => {
                if let Some(info) = info {
                    send::to_process_locked(tree, &target, info)?;
                }
                result = Ok(0);
            }
            Err(errno) if result.is_err() => result = Err(errno.into()),
            Err(_) => {}
        }
    }
    result
}

/// The thread an id names, in the process `group` if one is given. `None` for a leader that has exited: its number is
/// taken until the process is reaped, and no signal has an effect. ESRCH, EINVAL.
fn thread(group: Option<i32>, id: i32) -> Result<(Arc<Process>, Option<Arc<Thread>>)> {
    if id <= 0 || group.is_some_and(|group| group <= 0) {
        return Err(Errno::EINVAL.into());
    }
    let thread = pid::find_thread(id as u32);
    let process = match &thread {
        Some(thread) => thread.process.clone(),
        None => pid::find_process(id as u32).ok_or(Errno::ESRCH)?,
    };
    if group.is_some_and(|group| process.id() != group as u32) {
        return Err(Errno::ESRCH.into());
    }
    Ok((process, thread))
}

fn tkill(current: &mut Current, args: &Args) -> Result<usize> {
    kill_thread(current, None, args.int(0), args.int(1))
}

fn tgkill(current: &mut Current, args: &Args) -> Result<usize> {
    kill_thread(current, Some(args.int(0)), args.int(1), args.int(2))
}

fn kill_thread(current: &Current, group: Option<i32>, id: i32, number: i32) -> Result<usize> {
    let signal = signal(number)?;
    let (process, target) = thread(group, id)?;
    if !Arc::ptr_eq(&process, &current.thread.process) {
        check(current, &tree::lock(), &process, signal)?;
    }
    if let (Some(signal), Some(target)) = (signal, target) {
        let info = Siginfo { code: code::TKILL, ..from_me(current, signal) };
        send::to_thread(&target, info)?;
    }
    Ok(0)
}

/// A siginfo that a program made. It must not look as if the kernel or kill(2) had sent it. EPERM.
fn forged(current: &Current, args: &Args, at: usize, signal: Signal, target: &Process) -> Result<Siginfo> {
    given(args, at, signal, core::ptr::eq(Arc::as_ptr(&current.thread.process), target))
}

/// As [`forged`]; to itself, which is `mine`, a process may send anything.
fn given(args: &Args, at: usize, signal: Signal, mine: bool) -> Result<Siginfo> {
    let info = Siginfo::decode(signal, &args.ptr::<[u8; info::SIZE]>(at).read()?);
    if !mine && (info.code >= 0 || info.code == code::TKILL) {
        return Err(Errno::EPERM.into());
    }
    Ok(info)
}

fn sigqueueinfo(current: &mut Current, args: &Args) -> Result<usize> {
    let number = signal(args.int(1))?;
    // As for kill(2), the number of any of its threads will do.
    let (process, _) = thread(None, args.int(0)).map_err(|_| Errno::ESRCH)?;
    let probe = number.unwrap_or(Signal::SIGCONT);
    let info = forged(current, args, 2, probe, &process)?;
    check(current, &tree::lock(), &process, number)?;
    if number.is_some() {
        send::to_process(&process, info)?;
    }
    Ok(0)
}

/// Sends a signal to a process that is named by a descriptor, with what the program says comes with it if it says so: the
/// second and the third argument.
pub fn send_to(current: &Current, target: &Arc<Process>, args: &Args) -> Result<usize> {
    let number = signal(args.int(1))?;
    let probe = number.unwrap_or(Signal::SIGCONT);
    let given = args.ptr::<[u8; info::SIZE]>(2);
    let info = if given.is_null() { from_me(current, probe) } else { forged(current, args, 2, probe, target)? };
    let tree = tree::lock();
    check(current, &tree, target, number)?;
    if number.is_some() {
        send::to_process_locked(&tree, target, info)?;
    }
    Ok(0)
}

/// As [`send_to`], to one thread.
pub fn send_to_thread(current: &Current, target: &Arc<Thread>, args: &Args) -> Result<usize> {
    let number = signal(args.int(1))?;
    let probe = number.unwrap_or(Signal::SIGCONT);
    let info = match args.ptr::<[u8; info::SIZE]>(2).is_null() {
        true => Siginfo { code: code::TKILL, ..from_me(current, probe) },
        false => forged(current, args, 2, probe, &target.process)?,
    };
    let tree = tree::lock();
    check(current, &tree, &target.process, number)?;
    if number.is_some() {
        send::to_thread_locked(&tree, target, info)?;
    }
    Ok(0)
}

/// As [`send_to`], to all of a process group. ESRCH.
pub fn send_to_group(current: &Current, group: u32, args: &Args) -> Result<usize> {
    let number = signal(args.int(1))?;
    let probe = number.unwrap_or(Signal::SIGCONT);
    let info = match args.ptr::<[u8; info::SIZE]>(2).is_null() {
        true => from_me(current, probe),
        // Others than the caller may be among them.
        false => given(args, 2, probe, false)?,
    };
    let tree = tree::lock();
    let group = tree::find_group(&tree, group).ok_or(Errno::ESRCH)?;
    kill_all(current, &tree, group.members(&tree), number.map(|_| info))
}

fn tgsigqueueinfo(current: &mut Current, args: &Args) -> Result<usize> {
    let number = signal(args.int(2))?;
    let (process, target) = thread(Some(args.int(0)), args.int(1))?;
    let probe = number.unwrap_or(Signal::SIGCONT);
    let info = forged(current, args, 3, probe, &process)?;
    check(current, &tree::lock(), &process, number)?;
    if let (Some(_), Some(target)) = (number, target) {
        send::to_thread(&target, info)?;
    }
    Ok(0)
}

/// `struct sigaction` of the raw call: handler, flags, restorer, mask. (aarch64 has the same layout; its restorer is unused.)
type RawAction = [u64; 4];

fn sigaction(current: &mut Current, args: &Args) -> Result<usize> {
    if args.size(3) != SIGSET {
        return Err(Errno::EINVAL.into());
    }
    let Some(signal) = signal(args.int(0))? else { return Err(Errno::EINVAL.into()) };
    let (new, old) = (args.ptr::<RawAction>(1), args.ptr::<RawAction>(2));
    let before = current.actions.get(signal);
    let change = if new.is_null() { None } else { Some(decode_action(new.read()?)) };
    if change.is_some() && signal.is_unstoppable() {
        return Err(Errno::EINVAL.into());
    }
    // Stored first: a fault here must leave the action as it was.
    if !old.is_null() {
        old.write(&encode_action(&before))?;
    }
    if let Some(action) = change {
        current.actions.set(signal, action);
        if action.ignores(signal) {
            discard(current, signal);
        }
    }
    Ok(0)
}

/// A pending signal that is now ignored is forgotten, blocked or not.
fn discard(current: &Current, signal: Signal) {
    let set = SignalSet::of(&[signal]);
    let mut shared = current.thread.process.shared.lock();
    shared.discard(set);
}

fn decode_action([handler, flags, restorer, mask]: RawAction) -> Action {
    let disposition = match handler {
        0 => Disposition::Default,
        1 => Disposition::Ignore,
        addr => Disposition::Handler(addr as usize),
    };
    Action {
        disposition,
        flags: SaFlags::from_bits_truncate(flags),
        restorer: restorer as usize,
        mask: SignalSet(mask).without(SignalSet::UNSTOPPABLE),
    }
}

fn encode_action(action: &Action) -> RawAction {
    let handler = match action.disposition {
        Disposition::Default => 0,
        Disposition::Ignore => 1,
        Disposition::Handler(addr) => addr as u64,
    };
    [handler, action.flags.bits(), action.restorer as u64, action.mask.0]
}

fn sigprocmask(current: &mut Current, args: &Args) -> Result<usize> {
    if args.size(3) != SIGSET {
        return Err(Errno::EINVAL.into());
    }
    let (new, old) = (args.ptr::<u64>(1), args.ptr::<u64>(2));
    let before = current.thread.mask();
    let after = if new.is_null() {
        before
    } else {
        let set = SignalSet(new.read()?);
        match args.uint(0) {
            raw::SIG_BLOCK => before.union(set),
            raw::SIG_UNBLOCK => before.without(set),
            raw::SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL.into()),
        }
    };
    if !old.is_null() {
        old.write(&before.0)?;
    }
    deliver::set_mask(&current.thread, after);
    Ok(0)
}

fn sigpending(current: &mut Current, args: &Args) -> Result<usize> {
    if args.size(1) > SIGSET {
        return Err(Errno::EINVAL.into());
    }
    let set = deliver::pending(&current.thread).intersection(current.thread.mask());
    args.ptr::<u8>(0).write_slice(&set.0.to_ne_bytes()[..args.size(1)])?;
    Ok(0)
}

/// pause(2).
pub async fn pause(current: &mut Current) -> Result<usize> {
    current.thread.interruptible(Restart::IfUnhandled, pending::<()>()).await?;
    Ok(0)
}

/// rt_sigsuspend(2): the old mask comes back after the handler that ends it.
pub async fn sigsuspend(current: &mut Current, args: &Args) -> Result<usize> {
    if args.size(1) != SIGSET {
        return Err(Errno::EINVAL.into());
    }
    let set = loop {
        match args.ptr::<u64>(0).read() {
            Ok(set) => break SignalSet(set),
            Err(page) => crate::fault::resolve(current, page).await?,
        }
    };
    suspend_mask(current, set);
    pause(current).await
}

/// Replaces the mask until a handler has run or the call ends (sigsuspend, ppoll, pselect, epoll_pwait).
pub fn suspend_mask(current: &mut Current, mask: SignalSet) {
    current.saved_mask = Some(current.thread.mask());
    deliver::set_mask(&current.thread, mask);
}

/// rt_sigtimedwait(2). EAGAIN when the time is up.
pub async fn sigtimedwait(current: &mut Current, args: &Args) -> Result<usize> {
    if args.size(3) != SIGSET {
        return Err(Errno::EINVAL.into());
    }
    let (wanted, deadline) = loop {
        match read_timedwait(args) {
            Err(Error::Fault(page)) => crate::fault::resolve(current, page).await?,
            other => break other?,
        }
    };
    let wanted = wanted.without(SignalSet::UNSTOPPABLE);
    let found = wait_for(current, wanted, deadline).await?;
    let Some(found) = found else { return Err(Errno::EAGAIN.into()) };
    let out = args.ptr::<[u8; info::SIZE]>(1);
    if !out.is_null() {
        while let Err(page) = out.write(&found.encode()) {
            crate::fault::resolve(current, page).await?;
        }
    }
    Ok(found.signal.number().into())
}

fn read_timedwait(args: &Args) -> Result<(SignalSet, Option<u64>)> {
    let wanted = SignalSet(args.ptr::<u64>(0).read()?);
    let time = args.ptr::<[i64; 2]>(2);
    if time.is_null() {
        return Ok((wanted, None));
    }
    let [sec, nsec] = time.read()?;
    let nanos = Timespec { sec, nsec }.to_nanos().ok_or(Errno::EINVAL)?;
    Ok((wanted, Some(kernel::time::monotonic().saturating_add(nanos))))
}

async fn wait_for(current: &Current, wanted: SignalSet, deadline: Option<u64>) -> Result<Option<Siginfo>> {
    let thread = &current.thread;
    if let Some(found) = deliver::take(thread, wanted) {
        return Ok(Some(found));
    }
    let waiting = thread.wait_for_signals(wanted);
    // Whoever queues a signal that is waited for wakes the thread, blocked or not.
    let arrives = poll_fn(|_| match deliver::take(thread, wanted) {
        Some(found) => Poll::Ready(found),
        None => Poll::Pending,
    });
    let result = match deadline {
        None => thread.interruptible(Restart::IfUnhandled, arrives).await.map(Some),
        Some(at) => thread.interruptible(Restart::IfUnhandled, executor::timeout_at(at, arrives)).await.map(Result::ok),
    };
    drop(waiting);
    // The wake for a signal in the set is also an interruption.
    let result = match result {
        Err(error) => deliver::take(thread, wanted).map(Some).ok_or(error),
        done => done,
    };
    deliver::leave_to_others(thread, wanted);
    result
}

/// `stack_t`: base, flags, size.
type RawStack = [u64; 3];

fn sigaltstack(current: &mut Current, args: &Args) -> Result<usize> {
    let (new, old) = (args.ptr::<RawStack>(0), args.ptr::<RawStack>(1));
    let before = encode_stack(current);
    let change = if new.is_null() { None } else { Some(decode_stack(current, new.read()?)?) };
    if !old.is_null() {
        old.write(&before)?;
    }
    if let Some(stack) = change {
        current.alt_stack = stack;
    }
    Ok(0)
}

/// The stack as sigaltstack(2) and a signal frame show it.
pub fn encode_stack(current: &Current) -> RawStack {
    let stack = &current.alt_stack;
    let mut flags = if stack.size == 0 {
        raw::SS_DISABLE
    } else if stack.contains(current.cx.sp()) {
        raw::SS_ONSTACK
    } else {
        0
    };
    if stack.autodisarm {
        flags |= raw::SS_AUTODISARM;
    }
    [stack.base as u64, flags.into(), stack.size as u64]
}

/// EPERM while on the stack, EINVAL for unknown flags, ENOMEM if it is too small.
pub fn decode_stack(current: &Current, [base, flags, size]: RawStack) -> Result<AltStack> {
    if current.alt_stack.size != 0 && current.alt_stack.contains(current.cx.sp()) {
        return Err(Errno::EPERM.into());
    }
    let flags = flags as u32;
    let autodisarm = flags & raw::SS_AUTODISARM != 0;
    match flags & !raw::SS_AUTODISARM {
        raw::SS_DISABLE => Ok(AltStack::default()),
        0 | raw::SS_ONSTACK => {
            if (size as usize) < arch::cpu::min_signal_stack().max(crate::abi::MINSIGSTKSZ) {
                return Err(Errno::ENOMEM.into());
            }
            Ok(AltStack { base: base as usize, size: size as usize, autodisarm })
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
