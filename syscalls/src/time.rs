//! Clocks and sleeping (time(7)).

use crate::args::Args;
use crate::creation::now;
use crate::fault;
use crate::polling;
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use alloc::boxed::Box;
use arch::addr::VirtAddr;
use base::time::{NANOS_PER_SEC, USER_HZ};
use base::{Capability, Errno, Error, Restart, Result, Timespec};
use kernel::time::{monotonic, monotonic_of, realtime, set_realtime};
use linux_raw_sys::general as raw;
use memory::user::UserPtr;
use process::current::Resume;
use process::{Current, futex, pid};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_clock_gettime, fast!(clock_gettime)),
    (raw::__NR_clock_settime, fast!(clock_settime)),
    (raw::__NR_clock_getres, fast!(clock_getres)),
    (raw::__NR_gettimeofday, fast!(gettimeofday)),
    (raw::__NR_settimeofday, fast!(settimeofday)),
    (raw::__NR_times, fast!(times)),
    (raw::__NR_getrusage, fast!(getrusage)),
    (raw::__NR_nanosleep, slow!(now, Slow::Nanosleep)),
    (raw::__NR_clock_nanosleep, slow!(now, Slow::ClockNanosleep)),
    (raw::__NR_restart_syscall, slow!(now, Slow::RestartSyscall)),
];

/// What a clock shows. EINVAL for one that does not exist.
pub fn read_clock(current: &Current, clock: i32) -> Result<u64> {
    if clock < 0 {
        return read_cpu_clock(current, clock);
    }
    match clock as u32 {
        raw::CLOCK_REALTIME | raw::CLOCK_REALTIME_COARSE => Ok(realtime()),
        raw::CLOCK_TAI => Ok(realtime()),
        raw::CLOCK_MONOTONIC | raw::CLOCK_MONOTONIC_RAW | raw::CLOCK_MONOTONIC_COARSE | raw::CLOCK_BOOTTIME => {
            Ok(monotonic())
        }
        raw::CLOCK_PROCESS_CPUTIME_ID => Ok(current.thread.process.cpu_time()),
        raw::CLOCK_THREAD_CPUTIME_ID => Ok(current.thread.cpu_time()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// A clock made by clock_getcpuclockid(3): the complement of an id, three bits up, with a kind below.
fn read_cpu_clock(current: &Current, clock: i32) -> Result<u64> {
    const PER_THREAD: i32 = 4;
    let id = !(clock >> 3) as u32;
    if clock & PER_THREAD != 0 {
        let thread = if id == 0 { current.thread.clone() } else { pid::find_thread(id).ok_or(Errno::EINVAL)? };
        return Ok(thread.cpu_time());
    }
    if id == 0 {
        return Ok(current.thread.process.cpu_time());
    }
    Ok(pid::find_process(id).ok_or(Errno::EINVAL)?.cpu_time())
}

fn raw_time(nanos: u64) -> [i64; 2] {
    let time = Timespec::from_nanos(nanos);
    [time.sec, time.nsec]
}

fn clock_gettime(current: &mut Current, args: &Args) -> Result<usize> {
    let time = read_clock(current, args.int(0))?;
    args.ptr::<[i64; 2]>(1).write(&raw_time(time))?;
    Ok(0)
}

fn clock_getres(current: &mut Current, args: &Args) -> Result<usize> {
    read_clock(current, args.int(0))?;
    let out = args.ptr::<[i64; 2]>(1);
    if !out.is_null() {
        out.write(&[0, 1])?;
    }
    Ok(0)
}

fn clock_settime(current: &mut Current, args: &Args) -> Result<usize> {
    if args.int(0) != raw::CLOCK_REALTIME as i32 {
        return Err(Errno::EINVAL.into());
    }
    let [sec, nsec] = args.ptr::<[i64; 2]>(1).read()?;
    let nanos = Timespec { sec, nsec }.to_nanos().ok_or(Errno::EINVAL)?;
    if !current.cred.has(Capability::SysTime) {
        return Err(Errno::EPERM.into());
    }
    set_realtime(nanos)?;
    Ok(0)
}

fn gettimeofday(_: &mut Current, args: &Args) -> Result<usize> {
    let (time, zone) = (args.ptr::<[i64; 2]>(0), args.ptr::<[i32; 2]>(1));
    if !time.is_null() {
        let now = Timespec::from_nanos(realtime());
        time.write(&[now.sec, now.nsec / 1000])?;
    }
    if !zone.is_null() {
        zone.write(&[0, 0])?;
    }
    Ok(0)
}

fn settimeofday(current: &mut Current, args: &Args) -> Result<usize> {
    let time = args.ptr::<[i64; 2]>(0);
    if time.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let [sec, micros] = time.read()?;
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno::EINVAL.into());
    }
    let nanos = Timespec { sec, nsec: micros * 1000 }.to_nanos().ok_or(Errno::EINVAL)?;
    if !current.cred.has(Capability::SysTime) {
        return Err(Errno::EPERM.into());
    }
    set_realtime(nanos)?;
    Ok(0)
}

fn times(current: &mut Current, args: &Args) -> Result<usize> {
    let process = &current.thread.process;
    let out = args.ptr::<[u64; 4]>(0);
    if !out.is_null() {
        let (user, system) = process.usage().ticks();
        let (child_user, child_system) = process.times.children().ticks();
        out.write(&[user, system, child_user, child_system])?;
    }
    Ok((monotonic() / (NANOS_PER_SEC / USER_HZ)) as usize)
}

fn getrusage(current: &mut Current, args: &Args) -> Result<usize> {
    const RUSAGE_THREAD: i32 = 1;
    let process = &current.thread.process;
    let mut usage = match args.int(0) {
        0 => process.usage(),
        -1 => process.times.children(),
        RUSAGE_THREAD => current.thread.usage(),
        _ => return Err(Errno::EINVAL.into()),
    };
    if args.int(0) >= 0 {
        usage.max_resident = usage.max_resident.max(current.space.rss_pages() as u64);
    }
    args.ptr::<crate::children::Rusage>(1).write(&crate::children::rusage(&usage))?;
    Ok(0)
}

async fn read_request(current: &Current, ptr: UserPtr<[i64; 2]>) -> Result<u64> {
    let [sec, nsec] = loop {
        match ptr.read() {
            Ok(words) => break words,
            Err(page) => fault::resolve(current, page).await?,
        }
    };
    Timespec { sec, nsec }.to_nanos().ok_or(Errno::EINVAL.into())
}

/// nanosleep(2).
pub async fn nanosleep(current: &mut Current, args: &Args) -> Result<usize> {
    let nanos = read_request(current, args.ptr(0)).await?;
    sleep_for(current, nanos, args.addr(1)).await
}

/// clock_nanosleep(2).
pub async fn clock_nanosleep(current: &mut Current, args: &Args) -> Result<usize> {
    const ABSOLUTE: u32 = raw::TIMER_ABSTIME;
    let clock = args.int(0);
    match u32::try_from(clock) {
        Ok(raw::CLOCK_REALTIME | raw::CLOCK_MONOTONIC | raw::CLOCK_BOOTTIME | raw::CLOCK_TAI) => {}
        // Sleeping on a CPU clock, or on a coarse one.
        Ok(raw::CLOCK_THREAD_CPUTIME_ID) => return Err(Errno::EINVAL.into()),
        _ => {
            read_clock(current, clock)?;
            return Err(Errno::EOPNOTSUPP.into());
        }
    }
    let nanos = read_request(current, args.ptr(2)).await?;
    if args.uint(1) & ABSOLUTE == 0 {
        return sleep_for(current, nanos, args.addr(3)).await;
    }
    let wall = clock as u32 == raw::CLOCK_REALTIME || clock as u32 == raw::CLOCK_TAI;
    let until = if wall { monotonic_of(nanos) } else { nanos };
    current.thread.interruptible(Restart::IfUnhandled, executor::sleep_until(until)).await?;
    Ok(0)
}

async fn sleep_for(current: &mut Current, nanos: u64, remaining: VirtAddr) -> Result<usize> {
    sleep(current, monotonic().saturating_add(nanos), remaining).await
}

/// A relative sleep that ends at `until`: interrupted by a handler, the remaining time is stored; else it is resumed.
async fn sleep(current: &mut Current, until: u64, remaining: VirtAddr) -> Result<usize> {
    let result = current.thread.interruptible(Restart::Resume, executor::sleep_until(until)).await;
    let Err(error) = result else { return Ok(0) };
    if remaining.0 != 0 {
        let left = raw_time(until.saturating_sub(monotonic()));
        while let Err(page) = UserPtr::<[i64; 2]>::new(remaining).write(&left) {
            fault::resolve(current, page).await?;
        }
    }
    current.resume = Some(Box::new(Resume::Sleep { until, remaining }));
    Err(error)
}

/// restart_syscall(2): goes on with what the thread noted; EINTR if it noted nothing.
pub async fn restart_syscall(current: &mut Current) -> Result<usize> {
    let noted = current.resume.take().ok_or(Errno::EINTR)?;
    match *noted {
        Resume::Sleep { until, remaining } => sleep(current, until, remaining).await,
        Resume::Poll { fds, count, until } => polling::resume(current, fds, count, until).await,
        Resume::Futex { addr, value, until, bitset, private } => {
            let result = futex::wait(current, addr, private, value, bitset, Some(until), Restart::Resume).await;
            if let Err(Error::Interrupted(_)) = result {
                current.resume = Some(noted);
            }
            result.map(|()| 0)
        }
    }
}
