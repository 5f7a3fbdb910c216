//! The system as a whole: uname(2), sysinfo(2), reboot(2), getrandom(2), limits.

use crate::abi;
use crate::args::Args;
use crate::table::{Calls, fast};
use base::{Capability, Errno, Result};
use linux_raw_sys::general as nr;
use memory::user::UserPtr;
use process::limits::{Limit, Resource};
use process::{Current, pid, users};

/// The family.
pub const CALLS: Calls = &[
    (nr::__NR_uname, fast!(uname)),
    (nr::__NR_sysinfo, fast!(sysinfo)),
    (nr::__NR_reboot, fast!(reboot)),
    (nr::__NR_getrandom, fast!(getrandom)),
    (nr::__NR_prlimit64, fast!(prlimit64)),
    (nr::__NR_getrlimit, fast!(getrlimit)),
    (nr::__NR_setrlimit, fast!(setrlimit)),
    (nr::__NR_sethostname, fast!(sethostname)),
    (nr::__NR_setdomainname, fast!(setdomainname)),
    (nr::__NR_syslog, fast!(syslog)),
];

/// Bytes of each field of `struct utsname`.
const FIELD: usize = 65;

fn uname(_: &mut Current, args: &Args) -> Result<usize> {
    let names = kernel::names::get();
    let mut out = [0u8; 6 * FIELD];
    let fields: [&[u8]; 6] = [
        b"Linux",
        &names.host,
        kernel::names::RELEASE.as_bytes(),
        kernel::names::VERSION.as_bytes(),
        abi::MACHINE.as_bytes(),
        &names.domain,
    ];
    for (slot, field) in out.chunks_exact_mut(FIELD).zip(fields) {
        let len = field.len().min(FIELD - 1);
        slot[..len].copy_from_slice(&field[..len]);
    }
    args.ptr::<u8>(0).write_slice(&out)?;
    Ok(0)
}

fn read_name(current: &Current, args: &Args) -> Result<alloc::vec::Vec<u8>> {
    if !current.cred.has(Capability::SysAdmin) {
        return Err(Errno::EPERM.into());
    }
    let len = usize::try_from(args.int(1)).ok().filter(|len| *len < FIELD).ok_or(Errno::EINVAL)?;
    args.ptr::<u8>(0).read_vec(len)
}

fn sethostname(current: &mut Current, args: &Args) -> Result<usize> {
    let name = read_name(current, args)?;
    kernel::names::set_host(name);
    Ok(0)
}

fn setdomainname(current: &mut Current, args: &Args) -> Result<usize> {
    let name = read_name(current, args)?;
    kernel::names::set_domain(name);
    Ok(0)
}

/// `struct sysinfo`: 112 bytes in words; the halves of word 10 are the number of processes and padding.
fn sysinfo(_: &mut Current, args: &Args) -> Result<usize> {
    let stats = memory::frames::stats();
    let page = arch::addr::PAGE_SIZE as u64;
    let loads = kernel::load::averages();
    let mut out = [0u64; 14];
    out[0] = kernel::time::monotonic() / 1_000_000_000;
    for (slot, load) in out[1..4].iter_mut().zip(loads) {
        // From the kernel's fixed point to the 16 bits of the call.
        *slot = load << 5;
    }
    out[4] = stats.total as u64 * page;
    out[5] = stats.free as u64 * page;
    out[10] = users::threads() & 0xffff;
    out[13] = 1;
    args.ptr::<[u64; 14]>(0).write(&out)?;
    Ok(0)
}

/// What reboot(2) must be given, so that nobody calls it by mistake.
const MAGIC1: u32 = 0xfee1_dead;
const MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
const CMD_RESTART: u32 = 0x0123_4567;
const CMD_HALT: u32 = 0xcdef_0123;
const CMD_POWER_OFF: u32 = 0x4321_fedc;

fn reboot(current: &mut Current, args: &Args) -> Result<usize> {
    if !current.cred.has(Capability::SysBoot) {
        return Err(Errno::EPERM.into());
    }
    if args.uint(0) != MAGIC1 || !MAGIC2.contains(&args.uint(1)) {
        return Err(Errno::EINVAL.into());
    }
    match args.uint(2) {
        CMD_POWER_OFF => kernel::shutdown::power_off(),
        CMD_RESTART => kernel::shutdown::restart(),
        CMD_HALT => kernel::shutdown::halt(),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn getrandom(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(2);
    if flags & !(nr::GRND_NONBLOCK | nr::GRND_RANDOM | nr::GRND_INSECURE) != 0
        || flags & (nr::GRND_RANDOM | nr::GRND_INSECURE) == nr::GRND_RANDOM | nr::GRND_INSECURE
    {
        return Err(Errno::EINVAL.into());
    }
    let len = args.size(1).min(i32::MAX as usize);
    let mut out = memory::io::Dst::user(args.addr(0), len);
    let mut chunk = [0; 256];
    // Interrupted by signals only between chunks, and only once something was given.
    while out.remaining() > 0 {
        let n = out.remaining().min(chunk.len());
        kernel::random::fill(&mut chunk[..n]);
        if out.put(&chunk[..n]) < n {
            break;
        }
        if out.done() >= 4096 && !current.thread.is_undisturbed() {
            break;
        }
    }
    match out.take_fault() {
        Some(fault) => Err(fault.into()),
        None => Ok(out.done()),
    }
}

fn limit_of(current: &Current, id: i32) -> Result<alloc::sync::Arc<process::Process>> {
    if id == 0 || id as u32 == current.thread.process.id() {
        return Ok(current.thread.process.clone());
    }
    let target = u32::try_from(id).ok().and_then(pid::find_process).ok_or(Errno::ESRCH)?;
    let theirs = target.any_thread().ok_or(Errno::ESRCH)?.cred();
    let cred = &current.cred;
    let same = [theirs.uid, theirs.euid, theirs.suid].iter().all(|id| *id == cred.uid)
        && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|id| *id == cred.gid);
    if same || cred.has(Capability::SysResource) { Ok(target) } else { Err(Errno::EPERM.into()) }
}

fn prlimit64(current: &mut Current, args: &Args) -> Result<usize> {
    let resource = Resource::new(args.uint(1) as usize)?;
    let (new, old) = (args.ptr::<[u64; 2]>(2), args.ptr::<[u64; 2]>(3));
    let change = if new.is_null() { None } else { Some(new.read()?) };
    let target = limit_of(current, args.int(0))?;
    let before = target.limits.get(resource);
    if !old.is_null() {
        old.write(&[before.soft, before.hard])?;
    }
    if let Some(limit) = change {
        set_limit(current, &target, resource, limit)?;
    }
    Ok(0)
}

fn set_limit(current: &Current, target: &process::Process, resource: Resource, [soft, hard]: [u64; 2]) -> Result<()> {
    if resource == Resource::Nofile && hard > u64::from(vfs::fdtable::NR_OPEN) {
        return Err(Errno::EPERM.into());
    }
    target.limits.set(resource, Limit { soft, hard }, current.cred.has(Capability::SysResource))?;
    Ok(())
}

fn getrlimit(current: &mut Current, args: &Args) -> Result<usize> {
    let limit = current.thread.process.limits.get(Resource::new(args.uint(0) as usize)?);
    args.ptr::<[u64; 2]>(1).write(&[limit.soft, limit.hard])?;
    Ok(0)
}

fn setrlimit(current: &mut Current, args: &Args) -> Result<usize> {
    let resource = Resource::new(args.uint(0) as usize)?;
    let limit = args.ptr::<[u64; 2]>(1).read()?;
    set_limit(current, &current.thread.process.clone(), resource, limit)?;
    Ok(0)
}

/// time(2), which only x86_64 has.
pub fn time(_: &mut Current, args: &Args) -> Result<usize> {
    let now = kernel::time::realtime() / 1_000_000_000;
    let out: UserPtr<u64> = args.ptr(0);
    if !out.is_null() {
        out.write(&now)?;
    }
    Ok(now as usize)
}

/// syslog(2): reading the whole log, its size, the console's level.
fn syslog(current: &mut Current, args: &Args) -> Result<usize> {
    const READ_ALL: i32 = 3;
    const CONSOLE_LEVEL: i32 = 8;
    const SIZE_BUFFER: i32 = 10;
    if !current.cred.has(Capability::Syslog) && !current.cred.has(Capability::SysAdmin) {
        return Err(Errno::EPERM.into());
    }
    match args.int(0) {
        READ_ALL => {
            let room = usize::try_from(args.int(2)).map_err(|_| Errno::EINVAL)?;
            let text = kernel::log::tail(room);
            args.ptr::<u8>(1).write_slice(&text)?;
            Ok(text.len())
        }
        CONSOLE_LEVEL => {
            let level = u8::try_from(args.int(2)).ok().filter(|level| (1..=8).contains(level)).ok_or(Errno::EINVAL)?;
            kernel::log::set_console_level(level);
            Ok(0)
        }
        SIZE_BUFFER => Ok(kernel::log::CAPACITY),
        _ => Err(Errno::EINVAL.into()),
    }
}
