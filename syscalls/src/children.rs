//! wait4(2) and waitid(2).

use crate::args::Args;
use crate::{fault, pidfds};
use base::{Errno, Result};
use linux_raw_sys::general as raw;
use memory::user::UserPtr;
use process::signal::{Fields, Siginfo, Signal, info};
use process::times::Usage;
use process::wait::{self, Event, Options, Which};
use process::{Current, tree};

/// `struct rusage`, in 64-bit words.
pub type Rusage = [i64; 18];

/// What `struct rusage` tells of a usage.
pub fn rusage(usage: &Usage) -> Rusage {
    let mut out = [0; 18];
    let micros = |nanos: u64| (nanos / 1_000_000_000) as i64;
    out[0] = micros(usage.user);
    out[1] = (usage.user % 1_000_000_000 / 1000) as i64;
    out[2] = micros(usage.system);
    out[3] = (usage.system % 1_000_000_000 / 1000) as i64;
    out[4] = (usage.max_resident * 4) as i64;
    out[8] = usage.minor_faults as i64;
    out[9] = usage.major_faults as i64;
    out[16] = usage.voluntary_switches as i64;
    out[17] = usage.involuntary_switches as i64;
    out
}

/// Stores a result, resolving faults. The child is reaped by then, so a bad pointer is EFAULT all the same.
async fn store<T: memory::zerocopy::IntoBytes + memory::zerocopy::Immutable>(
    current: &Current,
    ptr: UserPtr<T>,
    value: &T,
) -> Result<()> {
    while let Err(page) = ptr.write(value) {
        fault::resolve(current, page).await?;
    }
    Ok(())
}

/// wait4(2).
pub async fn wait4(current: &mut Current, args: &Args) -> Result<usize> {
    let allowed =
        Options::NOHANG | Options::STOPPED | Options::CONTINUED | Options::NOTHREAD | Options::ALL | Options::CLONE;
    let options = Options::from_bits(args.uint(2)).filter(|options| allowed.contains(*options)).ok_or(Errno::EINVAL)?;
    let which = match args.int(0) {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => Which::Any,
        0 => Which::Group(own_group(current)),
        group if group < 0 => Which::Group(group.unsigned_abs()),
        pid => Which::Process(pid as u32),
    };
    let Some(event) = wait::wait(&current.thread, which, options | Options::EXITED).await? else { return Ok(0) };
    let status = args.ptr::<i32>(1);
    if !status.is_null() {
        store(current, status, &event.status).await?;
    }
    let usage = args.ptr::<Rusage>(3);
    if !usage.is_null() {
        store(current, usage, &rusage(&event.usage)).await?;
    }
    Ok(event.pid as usize)
}

fn own_group(current: &Current) -> u32 {
    tree::group_of(&tree::lock(), &current.thread.process)
}

/// waitid(2), with the rusage that the raw call has.
pub async fn waitid(current: &mut Current, args: &Args) -> Result<usize> {
    let options = Options::from_bits(args.uint(3)).ok_or(Errno::EINVAL)?;
    if !options.intersects(Options::EXITED | Options::STOPPED | Options::CONTINUED) {
        return Err(Errno::EINVAL.into());
    }
    let id = args.int(1);
    let (mut options, mut only_look) = (options, false);
    let which = match args.uint(0) {
        raw::P_PIDFD => {
            let (number, nonblock) = pidfds::waited_for(current, args)?;
            only_look = nonblock && !options.contains(Options::NOHANG);
            options.set(Options::NOHANG, nonblock || options.contains(Options::NOHANG));
            Which::Process(number)
        }
        raw::P_ALL => Which::Any,
        raw::P_PID if id > 0 => Which::Process(id as u32),
        raw::P_PGID if id == 0 => Which::Group(own_group(current)),
        raw::P_PGID if id > 0 => Which::Group(id as u32),
        _ => return Err(Errno::EINVAL.into()),
    };
    let event = wait::wait(&current.thread, which, options).await?;
    if only_look && event.is_none() {
        return Err(Errno::EAGAIN.into());
    }
    let usage = args.ptr::<Rusage>(4);
    if let Some(event) = &event
        && !usage.is_null()
    {
        store(current, usage, &rusage(&event.usage)).await?;
    }
    let out = args.ptr::<[u8; info::SIZE]>(2);
    if !out.is_null() {
        store(current, out, &describe(event.as_ref())).await?;
    }
    Ok(0)
}

/// The siginfo of an event; all zero when there is none.
fn describe(event: Option<&Event>) -> [u8; info::SIZE] {
    let Some(event) = event else { return [0; info::SIZE] };
    let fields = Fields::Child { pid: event.pid, uid: event.uid, status: event.info_status, utime: 0, stime: 0 };
    Siginfo { signal: Signal::SIGCHLD, code: event.code, fields }.encode()
}
