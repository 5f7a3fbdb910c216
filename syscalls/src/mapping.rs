//! Memory: mmap(2) and what works on mappings, brk(2), locking, memfd_create(2).
//!
//! All of these may have to wait for the address space. Those that are common have a half that does not, for a few pages of a
//! space that no other CPU uses.

use crate::args::Args;
use crate::creation::now;
use crate::fault;
use crate::paths::{check_flags, file, install};
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use alloc::sync::Arc;
use arch::addr::{PAGE_SIZE, VirtAddr};
use base::{Capability, Errno, Error, Result};
use linux_raw_sys::general as raw;
use memory::space::{Advice, Flags, Limits, MapRequest, Object, Place, Remap};
use process::Current;
use process::limits::Resource;
use vfs::mount::MountFlags;
use vfs::{Description, OpenFlags, tmpfs};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_mmap, slow!(mmap_now, Slow::Mmap)),
    (raw::__NR_munmap, slow!(munmap_now, Slow::Munmap)),
    (raw::__NR_mprotect, slow!(mprotect_now, Slow::Mprotect)),
    (raw::__NR_mremap, slow!(now, Slow::Mremap)),
    (raw::__NR_brk, slow!(brk_now, Slow::Brk)),
    (raw::__NR_madvise, slow!(now, Slow::Madvise)),
    (raw::__NR_mincore, slow!(now, Slow::Mincore)),
    (raw::__NR_msync, slow!(now, Slow::Msync)),
    (raw::__NR_mlock, slow!(now, Slow::Mlock)),
    (raw::__NR_mlock2, slow!(now, Slow::Mlock2)),
    (raw::__NR_munlock, slow!(now, Slow::Munlock)),
    (raw::__NR_mlockall, slow!(now, Slow::Mlockall)),
    (raw::__NR_munlockall, slow!(now, Slow::Munlockall)),
    (raw::__NR_memfd_create, fast!(memfd_create)),
];

/// What the caller may have. RLIMIT_MEMLOCK does not bind CAP_IPC_LOCK.
pub fn limits(current: &Current) -> Limits {
    let get = |resource| usize::try_from(current.thread.limit(resource)).unwrap_or(usize::MAX);
    let memlock = if current.cred.has(Capability::IpcLock) { usize::MAX } else { get(Resource::Memlock) };
    Limits { address_space: get(Resource::As), data: get(Resource::Data), stack: get(Resource::Stack), memlock }
}

fn protection(prot: u32) -> Flags {
    let mut flags = Flags::empty();
    flags.set(Flags::READ, prot & raw::PROT_READ != 0);
    flags.set(Flags::WRITE, prot & raw::PROT_WRITE != 0);
    flags.set(Flags::EXEC, prot & raw::PROT_EXEC != 0);
    flags
}

/// What a half that did not wait has done but for what other CPUs still have to: the other half waits for that. `None` where it has done
/// nothing. (It is noted among the bytes that a call has moved, of which these move none.)
fn outcome(current: &mut Current, done: Option<Result<bool, Errno>>) -> Result<usize> {
    if !done.ok_or(Error::WouldBlock)?? {
        current.transferred = 1;
        return Err(Error::WouldBlock);
    }
    Ok(0)
}

/// Whether the half that did not wait has left nothing but to wait for other CPUs, which this does.
async fn is_done(current: &mut Current) -> bool {
    let done = core::mem::take(&mut current.transferred) != 0;
    if done {
        current.space.settle().await;
    }
    done
}

fn mmap_now(current: &mut Current, args: &Args) -> Result<usize> {
    let request = request(current, args)?;
    let mapped = current.space.try_map(request, &limits(current));
    Ok(mapped.ok_or(Error::WouldBlock)??.0)
}

/// mmap(2).
pub async fn mmap(current: &mut Current, args: &Args) -> Result<usize> {
    let request = request(current, args)?;
    let address = current.space.map(request, &limits(current)).await?;
    Ok(address.0)
}

/// MAP_32BIT, on x86_64 only.
const LOW: u32 = 0x40;

/// What mmap(2)'s arguments ask for. EINVAL, EBADF, EACCES, ENODEV, EPERM; ENOMEM for memory that there is not: huge
/// pages, and addresses that fit 32 bits.
fn request(current: &Current, args: &Args) -> Result<MapRequest> {
    let (addr, len, prot, how) = (args.addr(0), args.size(1), args.uint(2), args.uint(3));
    let shared = match how & raw::MAP_TYPE {
        raw::MAP_PRIVATE => false,
        raw::MAP_SHARED => true,
        raw::MAP_SHARED_VALIDATE => {
            // Memory that writes through to persistent storage is the only behaviour that has to be known.
            if how & raw::MAP_SYNC != 0 {
                return Err(Errno::EOPNOTSUPP.into());
            }
            true
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    if len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let fixed = how & (raw::MAP_FIXED | raw::MAP_FIXED_NOREPLACE);
    if how & raw::MAP_HUGETLB != 0 || cfg!(target_arch = "x86_64") && how & LOW != 0 && fixed == 0 {
        return Err(Errno::ENOMEM.into());
    }
    let place = match fixed {
        0 => Place::Hint(addr),
        raw::MAP_FIXED => Place::Fixed(addr),
        _ => Place::Free(addr),
    };
    let mut flags = protection(prot);
    flags.set(Flags::SHARED, shared);
    flags.set(Flags::GROWSDOWN, how & raw::MAP_GROWSDOWN != 0);
    flags.set(Flags::NORESERVE, how & raw::MAP_NORESERVE != 0);
    flags.set(Flags::LOCKED, how & raw::MAP_LOCKED != 0);
    if flags.contains(Flags::LOCKED) && limits(current).memlock == 0 {
        return Err(Errno::EPERM.into());
    }
    let object = if how & raw::MAP_ANONYMOUS != 0 {
        flags |= Flags::MAY;
        None
    } else {
        if flags.contains(Flags::GROWSDOWN) {
            return Err(Errno::EINVAL.into());
        }
        let (object, may) = map_file(&*file(current, args, 4)?, flags)?;
        flags |= may;
        Some((object, args.size(5) as u64))
    };
    let populate = how & raw::MAP_POPULATE != 0 && how & raw::MAP_NONBLOCK == 0;
    Ok(MapRequest { place, len, flags, object, populate })
}

/// What a file gives to be mapped with `flags`, and what mprotect(2) may allow later.
fn map_file(file: &Description, flags: Flags) -> Result<(Arc<dyn Object>, Flags)> {
    if file.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    let mut may = Flags::MAY;
    if file.opened_as().is_some_and(|at| at.mount.flags().contains(MountFlags::NOEXEC)) {
        if flags.contains(Flags::EXEC) {
            return Err(Errno::EPERM.into());
        }
        may -= Flags::MAY_EXEC;
    }
    let writes = flags.contains(Flags::WRITE);
    if !flags.contains(Flags::SHARED) {
        return Ok((file.mmap(false)?, may));
    }
    if writes || file.flags().writable() {
        match file.mmap(true) {
            // Sealed: it may still be mapped to be read.
            Err(Error::Errno(Errno::EPERM)) if !writes => {}
            other => return Ok((other?, may)),
        }
    }
    Ok((file.mmap(false)?, may - Flags::MAY_WRITE))
}

fn munmap_now(current: &mut Current, args: &Args) -> Result<usize> {
    let done = current.space.try_unmap(args.addr(0), args.size(1));
    outcome(current, done)
}

/// munmap(2).
pub async fn munmap(current: &mut Current, args: &Args) -> Result<usize> {
    if is_done(current).await {
        return Ok(0);
    }
    current.space.unmap(args.addr(0), args.size(1)).await?;
    Ok(0)
}

/// What mprotect(2)'s third argument says. EINVAL for an unknown bit.
fn wanted(args: &Args) -> Result<u32> {
    let prot = args.uint(2);
    let grows = raw::PROT_GROWSDOWN | raw::PROT_GROWSUP;
    // PROT_SEM says what every machine can do anyway.
    check_flags(prot, raw::PROT_READ | raw::PROT_WRITE | raw::PROT_EXEC | raw::PROT_SEM | grows)?;
    if prot & raw::PROT_GROWSUP != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(prot)
}

fn mprotect_now(current: &mut Current, args: &Args) -> Result<usize> {
    let prot = wanted(args)?;
    if prot & raw::PROT_GROWSDOWN != 0 {
        return Err(Error::WouldBlock);
    }
    let done = current.space.try_protect(args.addr(0), args.size(1), protection(prot), &limits(current));
    outcome(current, done)
}

/// mprotect(2).
pub async fn mprotect(current: &mut Current, args: &Args) -> Result<usize> {
    if is_done(current).await {
        return Ok(0);
    }
    let prot = wanted(args)?;
    let grows_down = prot & raw::PROT_GROWSDOWN != 0;
    let limits = limits(current);
    current.space.protect(args.addr(0), args.size(1), protection(prot), grows_down, &limits).await?;
    Ok(0)
}

/// mremap(2).
pub async fn mremap(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(3);
    check_flags(flags, raw::MREMAP_MAYMOVE | raw::MREMAP_FIXED | raw::MREMAP_DONTUNMAP)?;
    let how = Remap {
        may_move: flags & raw::MREMAP_MAYMOVE != 0,
        fixed: (flags & raw::MREMAP_FIXED != 0).then(|| args.addr(4)),
        keep_old: flags & raw::MREMAP_DONTUNMAP != 0,
    };
    let limits = limits(current);
    let address = current.space.remap(args.addr(0), args.size(1), args.size(2), how, &limits).await?;
    Ok(address.0)
}

fn brk_now(current: &mut Current, args: &Args) -> Result<usize> {
    let end = current.space.try_brk(args.addr(0), &limits(current));
    Ok(end.ok_or(Error::WouldBlock)?.0)
}

/// brk(2): gives where the heap ends afterwards.
pub async fn brk(current: &mut Current, args: &Args) -> Result<usize> {
    Ok(current.space.brk(args.addr(0), &limits(current)).await.0)
}

/// madvise(2). EINVAL for advice that is not known.
pub async fn madvise(current: &mut Current, args: &Args) -> Result<usize> {
    let advice = Advice::from_raw(args.uint(2)).ok_or(Errno::EINVAL)?;
    current.space.advise(args.addr(0), args.size(1), advice).await?;
    Ok(0)
}

/// mincore(2), in pieces.
pub async fn mincore(current: &mut Current, args: &Args) -> Result<usize> {
    const PIECE: usize = 128;
    let (start, out) = (args.addr(0), args.ptr::<u8>(2));
    let pages = args.size(1).div_ceil(PAGE_SIZE);
    if !start.is_page_aligned() {
        return Err(Errno::EINVAL.into());
    }
    memory::user::check_range(start, args.size(1)).map_err(|_| Errno::ENOMEM)?;
    let mut resident = [0; PIECE];
    for done in (0..pages).step_by(PIECE) {
        let n = PIECE.min(pages - done);
        current.space.resident(VirtAddr(start.0 + done * PAGE_SIZE), &mut resident[..n]).await?;
        while let Err(page) = out.add(done).write_slice(&resident[..n]) {
            fault::resolve(current, page).await?;
        }
    }
    Ok(0)
}

/// msync(2).
pub async fn msync(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(2);
    check_flags(flags, raw::MS_ASYNC | raw::MS_INVALIDATE | raw::MS_SYNC)?;
    if flags & raw::MS_ASYNC != 0 && flags & raw::MS_SYNC != 0 {
        return Err(Errno::EINVAL.into());
    }
    current.space.sync(args.addr(0), args.size(1), flags & raw::MS_INVALIDATE != 0).await?;
    Ok(0)
}

/// EPERM for those who may lock nothing.
fn lock_limits(current: &Current) -> Result<Limits> {
    let limits = limits(current);
    if limits.memlock == 0 { Err(Errno::EPERM.into()) } else { Ok(limits) }
}

/// mlock(2).
pub async fn mlock(current: &mut Current, args: &Args) -> Result<usize> {
    let limits = lock_limits(current)?;
    current.space.lock(args.addr(0), args.size(1), true, &limits).await?;
    Ok(0)
}

/// mlock2(2).
pub async fn mlock2(current: &mut Current, args: &Args) -> Result<usize> {
    check_flags(args.uint(2), raw::MLOCK_ONFAULT)?;
    let limits = lock_limits(current)?;
    current.space.lock(args.addr(0), args.size(1), args.uint(2) == 0, &limits).await?;
    Ok(0)
}

/// munlock(2).
pub async fn munlock(current: &mut Current, args: &Args) -> Result<usize> {
    current.space.unlock(args.addr(0), args.size(1)).await?;
    Ok(0)
}

/// mlockall(2).
pub async fn mlockall(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(0);
    check_flags(flags, raw::MCL_CURRENT | raw::MCL_FUTURE | raw::MCL_ONFAULT)?;
    let (now, future) = (flags & raw::MCL_CURRENT != 0, flags & raw::MCL_FUTURE != 0);
    if !now && !future {
        return Err(Errno::EINVAL.into());
    }
    let limits = lock_limits(current)?;
    current.space.lock_all(now, future, flags & raw::MCL_ONFAULT == 0, &limits).await?;
    Ok(0)
}

/// munlockall(2).
pub async fn munlockall(current: &mut Current) -> Result<usize> {
    current.space.unlock_all().await;
    Ok(0)
}

/// The longest name of a memfd.
const MEMFD_NAME: usize = 249;

/// memfd_create(2). Huge pages are not offered (ENODEV, as where they are not built in).
fn memfd_create(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(1);
    if flags & raw::MFD_HUGETLB != 0 {
        return Err(Errno::ENODEV.into());
    }
    check_flags(flags, raw::MFD_CLOEXEC | raw::MFD_ALLOW_SEALING | raw::MFD_NOEXEC_SEAL | raw::MFD_EXEC)?;
    if flags & raw::MFD_EXEC != 0 && flags & raw::MFD_NOEXEC_SEAL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let name = args.str(0).read_vec(MEMFD_NAME, Errno::EINVAL)?;
    let no_exec = flags & raw::MFD_NOEXEC_SEAL != 0;
    let caller = current.caller();
    let file = tmpfs::memfd(&caller, &name, no_exec || flags & raw::MFD_ALLOW_SEALING != 0)?;
    if no_exec {
        vfs::attributes::chmod(&caller, &file.location(), 0o666)?;
        tmpfs::add_seals(&file, raw::F_SEAL_EXEC)?;
    }
    install(current, file, flags & raw::MFD_CLOEXEC != 0)
}
