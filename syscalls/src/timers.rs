//! Timers: setitimer(2), alarm(2), timer_create(2), timerfd_create(2).

use crate::args::Args;
use crate::epolls::status;
use crate::files::install_new;
use crate::paths::{check_flags, file};
use crate::table::{Calls, fast};
use alloc::sync::Arc;
use base::{Capability, Errno, Result, Timespec};
use kernel::time::monotonic_of;
use linux_raw_sys::general as raw;
use memory::user::UserPtr;
use process::timers::{Clock, Notice, PosixTimer};
use process::{Current, Signal, cpu_timers, pid};
use vfs::timerfd::TimerFd;

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_getitimer, fast!(getitimer)),
    (raw::__NR_setitimer, fast!(setitimer)),
    (raw::__NR_timer_create, fast!(timer_create)),
    (raw::__NR_timer_settime, fast!(timer_settime)),
    (raw::__NR_timer_gettime, fast!(timer_gettime)),
    (raw::__NR_timer_getoverrun, fast!(timer_getoverrun)),
    (raw::__NR_timer_delete, fast!(timer_delete)),
    (raw::__NR_timerfd_create, fast!(timerfd_create)),
    (raw::__NR_timerfd_settime, fast!(timerfd_settime)),
    (raw::__NR_timerfd_gettime, fast!(timerfd_gettime)),
];

fn timer_words((left, interval): (u64, u64)) -> [i64; 4] {
    let split = |nanos: u64| {
        // A timer that is about to go off still has a microsecond.
        let micros = nanos.div_ceil(1000) as i64;
        (micros / 1_000_000, micros % 1_000_000)
    };
    let (interval, left) = (split(interval), split(left));
    [interval.0, interval.1, left.0, left.1]
}

/// Which timer of CPU time a number means; `None` for ITIMER_REAL and for no timer.
fn cpu_timer(number: u32) -> Option<cpu_timers::Which> {
    match number {
        raw::ITIMER_VIRTUAL => Some(cpu_timers::Which::Virtual),
        raw::ITIMER_PROF => Some(cpu_timers::Which::Prof),
        _ => None,
    }
}

/// The nanoseconds that the interval timer with this number has left, and its interval. EINVAL if there is none.
fn interval_timer(current: &Current, number: u32) -> Result<(u64, u64)> {
    let process = &current.thread.process;
    match cpu_timer(number) {
        Some(which) => Ok(process.cpu_timer(which)),
        None if number == raw::ITIMER_REAL => Ok(process.alarm.get()),
        None => Err(Errno::EINVAL.into()),
    }
}

/// getitimer(2).
fn getitimer(current: &mut Current, args: &Args) -> Result<usize> {
    let timer = interval_timer(current, args.uint(0))?;
    args.ptr::<[i64; 4]>(1).write(&timer_words(timer))?;
    Ok(0)
}

/// setitimer(2).
fn setitimer(current: &mut Current, args: &Args) -> Result<usize> {
    let before = interval_timer(current, args.uint(0))?;
    let [interval, interval_micros, value, value_micros] = args.ptr::<[i64; 4]>(1).read()?;
    let nanos = |sec: i64, micros: i64| {
        if !(0..1_000_000).contains(&micros) {
            return Err(Errno::EINVAL);
        }
        Timespec { sec, nsec: micros * 1000 }.to_nanos().ok_or(Errno::EINVAL)
    };
    let (value, interval) = (nanos(value, value_micros)?, nanos(interval, interval_micros)?);
    let old = args.ptr::<[i64; 4]>(2);
    if !old.is_null() {
        old.write(&timer_words(before))?;
    }
    let process = &current.thread.process;
    match cpu_timer(args.uint(0)) {
        None => drop(process.alarm.set(value, interval)),
        Some(which) => process.set_cpu_timer(which, value, interval),
    }
    Ok(0)
}

/// alarm(2), which only x86_64 has: the seconds that were left, rounded up.
pub fn alarm(current: &mut Current, args: &Args) -> Result<usize> {
    let value = u64::from(args.uint(0)) * 1_000_000_000;
    let (left, _) = current.thread.process.alarm.set(value, 0);
    Ok(left.div_ceil(1_000_000_000) as usize)
}

/// `struct itimerspec`: the interval, then the value, each in seconds and nanoseconds.
type TimerSpec = [i64; 4];

/// A value and an interval in nanoseconds. EINVAL.
fn decode_spec([every_sec, every_nsec, sec, nsec]: TimerSpec) -> Result<(u64, u64)> {
    let nanos = |sec, nsec| Timespec { sec, nsec }.to_nanos().ok_or(Errno::EINVAL);
    Ok((nanos(sec, nsec)?, nanos(every_sec, every_nsec)?))
}

fn encode_spec((value, every): (u64, u64)) -> TimerSpec {
    let (value, every) = (Timespec::from_nanos(value), Timespec::from_nanos(every));
    [every.sec, every.nsec, value.sec, value.nsec]
}

/// When a timer is to go off that was given `value`: relative to `now`, or absolute; 0 for never.
fn deadline(value: u64, absolute: bool, realtime: bool, now: u64) -> u64 {
    match (value, absolute) {
        (0, _) => 0,
        (value, false) => now.saturating_add(value),
        // A time that has passed is one at once, not never.
        (value, true) if realtime => monotonic_of(value).max(1),
        (value, true) => value,
    }
}

/// The clock of a timer. EINVAL for one that does not exist; EOPNOTSUPP for one that cannot have timers here: those that wake
/// a sleeping machine, and the CPU time of others.
fn timer_clock(current: &Current, clock: i32) -> Result<Clock> {
    /// The clock of a thread, from its id (clock_getcpuclockid(3)).
    const PER_THREAD: i32 = 4;
    let own = Arc::downgrade(&current.thread);
    if clock < 0 {
        let id = !(clock >> 3) as u32;
        if clock & PER_THREAD == 0 {
            let own = id == 0 || id == current.thread.process.id();
            return if own { Ok(Clock::Process) } else { Err(Errno::EOPNOTSUPP.into()) };
        }
        let thread = if id == 0 { current.thread.clone() } else { pid::find_thread(id).ok_or(Errno::EINVAL)? };
        let own = Arc::ptr_eq(&thread.process, &current.thread.process);
        return if own { Ok(Clock::Thread(Arc::downgrade(&thread))) } else { Err(Errno::EOPNOTSUPP.into()) };
    }
    match clock as u32 {
        raw::CLOCK_REALTIME | raw::CLOCK_TAI => Ok(Clock::Realtime),
        raw::CLOCK_MONOTONIC | raw::CLOCK_BOOTTIME => Ok(Clock::Monotonic),
        raw::CLOCK_PROCESS_CPUTIME_ID => Ok(Clock::Process),
        raw::CLOCK_THREAD_CPUTIME_ID => Ok(Clock::Thread(own)),
        raw::CLOCK_REALTIME_ALARM | raw::CLOCK_BOOTTIME_ALARM | raw::CLOCK_MONOTONIC_RAW => {
            Err(Errno::EOPNOTSUPP.into())
        }
        raw::CLOCK_REALTIME_COARSE | raw::CLOCK_MONOTONIC_COARSE => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `struct sigevent`, as words: the value, signal and kind of notice, and the thread for SIGEV_THREAD_ID. EINVAL.
fn notice(current: &Current, event: [u64; 8]) -> Result<(Notice, Option<usize>)> {
    let signal = || Signal::new((event[1] as u32) as usize).ok_or(Errno::EINVAL);
    let value = Some(event[0] as usize);
    match (event[1] >> 32) as u32 {
        raw::SIGEV_NONE => Ok((Notice::Nobody, value)),
        // For the kernel SIGEV_THREAD is a signal that the library takes.
        raw::SIGEV_SIGNAL | raw::SIGEV_THREAD => Ok((Notice::Process(signal()?), value)),
        raw::SIGEV_THREAD_ID => {
            let thread = pid::find_thread(event[2] as u32).ok_or(Errno::EINVAL)?;
            if !Arc::ptr_eq(&thread.process, &current.thread.process) {
                return Err(Errno::EINVAL.into());
            }
            Ok((Notice::Thread(signal()?, Arc::downgrade(&thread)), value))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn timer_create(current: &mut Current, args: &Args) -> Result<usize> {
    let clock = timer_clock(current, args.int(0))?;
    let event = args.ptr::<[u64; 8]>(1);
    let (notice, value) = match event.is_null() {
        true => (Notice::Process(Signal::SIGALRM), None),
        false => notice(current, event.read()?)?,
    };
    // Absent memory shows before there is a timer.
    let out = args.ptr::<i32>(2);
    out.write(&0)?;
    let process = &current.thread.process;
    let id = process.create_timer(clock, notice, value)?;
    if let Err(fault) = out.write(&id) {
        process.timers.delete(id)?;
        return Err(fault.into());
    }
    Ok(0)
}

fn timer(current: &Current, args: &Args) -> Result<Arc<PosixTimer>> {
    Ok(current.thread.process.timers.get(args.int(0))?)
}

fn timer_settime(current: &mut Current, args: &Args) -> Result<usize> {
    let spec = args.ptr::<TimerSpec>(2);
    if spec.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let (value, every) = decode_spec(spec.read()?)?;
    let timer = timer(current, args)?;
    let old = args.ptr::<TimerSpec>(3);
    if !old.is_null() {
        old.write(&encode_spec(timer.get()))?;
    }
    let absolute = args.uint(1) & raw::TIMER_ABSTIME != 0;
    timer.set(deadline(value, absolute, timer.is_realtime(), timer.now()), every);
    Ok(0)
}

fn timer_gettime(current: &mut Current, args: &Args) -> Result<usize> {
    let timer = timer(current, args)?;
    args.ptr::<TimerSpec>(1).write(&encode_spec(timer.get()))?;
    Ok(0)
}

fn timer_getoverrun(current: &mut Current, args: &Args) -> Result<usize> {
    Ok(timer(current, args)?.overrun() as usize)
}

fn timer_delete(current: &mut Current, args: &Args) -> Result<usize> {
    current.thread.process.timers.delete(args.int(0))?;
    Ok(0)
}

/// timerfd_create(2). The clocks that wake a sleeping machine are not offered (EOPNOTSUPP).
fn timerfd_create(current: &mut Current, args: &Args) -> Result<usize> {
    check_flags(args.uint(1), raw::O_CLOEXEC | raw::O_NONBLOCK)?;
    match args.uint(0) {
        raw::CLOCK_REALTIME | raw::CLOCK_MONOTONIC | raw::CLOCK_BOOTTIME => {}
        raw::CLOCK_REALTIME_ALARM | raw::CLOCK_BOOTTIME_ALARM if !current.cred.has(Capability::WakeAlarm) => {
            return Err(Errno::EPERM.into());
        }
        raw::CLOCK_REALTIME_ALARM | raw::CLOCK_BOOTTIME_ALARM => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    install_new(current, TimerFd::new(args.uint(0)), status(args.uint(1)))
}

/// Calls `f` with the timerfd that the first argument names. EBADF, EINVAL.
fn with_timerfd<T>(current: &Current, args: &Args, f: impl FnOnce(&TimerFd) -> Result<T>) -> Result<T> {
    let description = file(current, args, 0)?;
    f(description.file().as_any().and_then(|any| any.downcast_ref::<TimerFd>()).ok_or(Errno::EINVAL)?)
}

fn write_spec(out: UserPtr<TimerSpec>, spec: (u64, u64)) -> Result<()> {
    Ok(out.write(&encode_spec(spec))?)
}

/// timerfd_settime(2). TFD_TIMER_CANCEL_ON_SET is not offered (EINVAL).
fn timerfd_settime(current: &mut Current, args: &Args) -> Result<usize> {
    const ABSOLUTE: u32 = 1;
    check_flags(args.uint(1), ABSOLUTE)?;
    let (value, every) = decode_spec(args.ptr::<TimerSpec>(2).read()?)?;
    with_timerfd(current, args, |timer| {
        let old = args.ptr::<TimerSpec>(3);
        if !old.is_null() {
            write_spec(old, timer.get())?;
        }
        let realtime = timer.clock() == raw::CLOCK_REALTIME;
        timer.set(deadline(value, args.uint(1) & ABSOLUTE != 0, realtime, kernel::time::monotonic()), every);
        Ok(0)
    })
}

fn timerfd_gettime(current: &mut Current, args: &Args) -> Result<usize> {
    with_timerfd(current, args, |timer| write_spec(args.ptr(1), timer.get()).map(|()| 0))
}
