//! System V shared memory (shmget(2), shmat(2), shmdt(2), shmctl(2)).

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::sys::{self, Errno};

use crate::semaphores::{IPC_CREAT, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT, key, listed};
use crate::support::{become_user, call, in_child};
use crate::{Outcome, check, tests};

tests! {
    a_segment_is_shared_by_all_who_attach_it,
    a_fork_attaches_and_an_exit_detaches,
    exec_detaches,
    a_removed_segment_lives_until_it_is_detached,
    a_read_only_attachment_cannot_be_written,
    shmat_takes_only_places_that_suit,
    shmdt_finds_what_is_left_of_an_attachment,
    shmget_and_shmctl_refuse_what_is_wrong,
    a_segment_is_for_those_who_may_use_it,
    a_segment_can_be_locked_within_the_limit,
    shm_info_counts_what_there_is,
    proc_shows_the_segments,
}

const SHM_RDONLY: usize = 0o10000;
const SHM_RND: usize = 0o20000;
const SHM_REMAP: usize = 0o40000;
const PAGE: usize = 4096;

/// A segment that is removed when it goes out of scope.
struct Segment(usize);

impl Drop for Segment {
    fn drop(&mut self) {
        let _ = call(__NR_shmctl, [self.0, IPC_RMID, 0]);
    }
}

struct Status {
    mode: u32,
    size: u64,
    attached: u64,
    detached: u64,
    creator: u32,
    process: u32,
    count: u64,
}

impl Segment {
    fn new(size: usize) -> Result<Segment, Errno> {
        call(__NR_shmget, [IPC_PRIVATE, size, 0o600]).map(Segment)
    }

    fn attach(&self, at: usize, flags: usize) -> Result<usize, Errno> {
        call(__NR_shmat, [self.0, at, flags])
    }

    fn status(&self) -> Result<Status, Errno> {
        let mut words = [0u64; 14];
        call(__NR_shmctl, [self.0, IPC_STAT, words.as_mut_ptr() as usize])?;
        Ok(Status {
            mode: (words[2] >> 32) as u32,
            size: words[6],
            attached: words[7],
            detached: words[8],
            creator: words[10] as u32,
            process: (words[10] >> 32) as u32,
            count: words[11],
        })
    }
}

fn detach(at: usize) -> Result<usize, Errno> {
    call(__NR_shmdt, [at])
}

fn read(at: usize) -> u32 {
    // SAFETY: the tests pass attached memory.
    unsafe { (at as *const u32).read_volatile() }
}

fn write(at: usize, value: u32) {
    // SAFETY: as in `read`.
    unsafe { (at as *mut u32).write_volatile(value) }
}

fn a_segment_is_shared_by_all_who_attach_it() -> Outcome {
    let segment = Segment::new(2 * PAGE + 1)?;
    let status = segment.status()?;
    check!(status.size == 2 * PAGE as u64 + 1 && status.count == 0 && status.mode == 0o600);
    check!(status.creator == sys::getpid() as u32 && status.process == 0 && status.attached == 0);
    let (a, b) = (segment.attach(0, 0)?, segment.attach(0, 0)?);
    check!(a != b);
    check!(read(a + 2 * PAGE) == 0);
    write(a + PAGE, 7);
    check!(read(b + PAGE) == 7);
    let status = segment.status()?;
    check!(status.count == 2 && status.attached > 0 && status.detached == 0);
    check!(status.process == sys::getpid() as u32);
    detach(a)?;
    check!(detach(a) == Err(Errno(EINVAL)));
    check!(segment.status()?.count == 1 && segment.status()?.detached > 0);
    check!(read(b + PAGE) == 7);
    detach(b)?;
    // It keeps what is in it.
    let c = segment.attach(0, 0)?;
    check!(read(c + PAGE) == 7);
    Ok(())
}

fn a_fork_attaches_and_an_exit_detaches() -> Outcome {
    let segment = Segment::new(PAGE)?;
    let at = segment.attach(0, 0)?;
    let child = match sys::fork()? {
        0 => {
            let right = segment.status().is_ok_and(|status| status.count == 2);
            write(at, if right { 1 } else { 2 });
            sys::exit_group(0)
        }
        child => child,
    };
    check!(sys::wait4(child, 0)? == (child, 0));
    check!(read(at) == 1);
    let status = segment.status()?;
    check!(status.count == 1 && status.process == child as u32 && status.detached > 0);
    Ok(())
}

fn exec_detaches() -> Outcome {
    let segment = Segment::new(PAGE)?;
    let child = in_child(|| {
        segment.attach(0, 0)?;
        let argv = [c"guest-tests".as_ptr().cast(), c"child".as_ptr().cast(), c"3".as_ptr().cast(), core::ptr::null()];
        let envp = [core::ptr::null()];
        // SAFETY: both vectors end with a null pointer.
        Err(unsafe { sys::execve(c"/proc/self/exe", argv.as_ptr(), envp.as_ptr()) }.into())
    })?;
    check!(child == 3 << 8);
    check!(segment.status()?.count == 0);
    Ok(())
}

fn a_removed_segment_lives_until_it_is_detached() -> Outcome {
    let key = key(4);
    let id = call(__NR_shmget, [key, PAGE, IPC_CREAT | 0o600])?;
    let segment = Segment(id);
    let at = segment.attach(0, 0)?;
    call(__NR_shmctl, [id, IPC_RMID, 0])?;
    check!(segment.status()?.mode == 0o1600);
    // Its key names it no more, its id does.
    check!(call(__NR_shmget, [key, PAGE, 0]) == Err(Errno(ENOENT)));
    let other = segment.attach(0, 0)?;
    write(at, 5);
    check!(read(other) == 5);
    detach(at)?;
    check!(segment.status()?.count == 1);
    let new = Segment(call(__NR_shmget, [key, PAGE, IPC_CREAT | 0o600])?);
    check!(new.0 != id);
    detach(other)?;
    check!(matches!(segment.attach(0, 0), Err(Errno(EINVAL | EIDRM))));
    Ok(())
}

fn a_read_only_attachment_cannot_be_written() -> Outcome {
    let segment = Segment::new(PAGE)?;
    let at = segment.attach(0, SHM_RDONLY)?;
    check!(read(at) == 0);
    check!(call(__NR_mprotect, [at, PAGE, (PROT_READ | PROT_WRITE) as usize]) == Err(Errno(EACCES)));
    let status = in_child(|| {
        write(at, 1);
        Ok(())
    })?;
    check!(status & 0x7f == SIGSEGV as i32);
    Ok(())
}

fn shmat_takes_only_places_that_suit() -> Outcome {
    let segment = Segment::new(PAGE)?;
    let room = sys::mmap_anonymous(4 * PAGE)? as usize;
    write(room, 1);
    check!(segment.attach(room + 1, 0) == Err(Errno(EINVAL)));
    // There is something already.
    check!(segment.attach(room, 0) == Err(Errno(EINVAL)));
    check!(segment.attach(0, SHM_REMAP) == Err(Errno(EINVAL)));
    check!(segment.attach(room + 1, SHM_RND | SHM_REMAP)? == room);
    check!(read(room) == 0);
    // SAFETY: nobody uses it.
    unsafe { sys::munmap((room + PAGE) as *mut u8, PAGE) }?;
    check!(segment.attach(room + PAGE + 5, SHM_RND)? == room + PAGE);
    check!(segment.status()?.count == 2);
    check!(matches!(segment.attach(usize::MAX & !(PAGE - 1), 0), Err(Errno(EINVAL | ENOMEM))));
    check!(call(__NR_shmat, [usize::MAX, 0, 0]) == Err(Errno(EINVAL)));
    Ok(())
}

fn shmdt_finds_what_is_left_of_an_attachment() -> Outcome {
    let segment = Segment::new(4 * PAGE)?;
    let at = segment.attach(0, 0)?;
    // SAFETY: nobody uses it.
    unsafe { sys::munmap(at as *mut u8, PAGE) }?;
    check!(segment.status()?.count == 1);
    call(__NR_mprotect, [at + 2 * PAGE, PAGE, PROT_READ as usize])?;
    check!(segment.status()?.count == 3);
    check!(detach(at + PAGE) == Err(Errno(EINVAL)));
    check!(detach(at + 1) == Err(Errno(EINVAL)));
    detach(at)?;
    check!(segment.status()?.count == 0);
    // Other memory is none of its business.
    let other = sys::mmap_anonymous(PAGE)? as usize;
    check!(detach(other) == Err(Errno(EINVAL)));
    Ok(())
}

fn shmget_and_shmctl_refuse_what_is_wrong() -> Outcome {
    check!(call(__NR_shmget, [IPC_PRIVATE, 0, 0o600]) == Err(Errno(EINVAL)));
    check!(call(__NR_shmget, [IPC_PRIVATE, usize::MAX, 0o600]) == Err(Errno(EINVAL)));
    check!(matches!(call(__NR_shmget, [IPC_PRIVATE, 1 << 60, 0o600]), Err(Errno(ENOMEM | ENOSPC | EINVAL))));
    check!(call(__NR_shmget, [key(5), PAGE, 0]) == Err(Errno(ENOENT)));
    let segment = Segment(call(__NR_shmget, [key(5), PAGE, IPC_CREAT | 0o600])?);
    check!(call(__NR_shmget, [key(5), PAGE + 1, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_shmget, [key(5), 0, 0])? == segment.0);
    check!(call(__NR_shmctl, [segment.0, 99, 0]) == Err(Errno(EINVAL)));
    check!(call(__NR_shmctl, [segment.0, IPC_STAT, 8]) == Err(Errno(EFAULT)));
    check!(call(__NR_shmctl, [segment.0, IPC_SET, 8]) == Err(Errno(EFAULT)));
    check!(call(__NR_shmctl, [usize::MAX, IPC_STAT, 8]) == Err(Errno(EINVAL)));
    Ok(())
}

fn a_segment_is_for_those_who_may_use_it() -> Outcome {
    let segment = Segment(call(__NR_shmget, [key(6), PAGE, IPC_CREAT | 0o604])?);
    let status = in_child(|| {
        become_user(4242)?;
        check!(segment.attach(0, 0) == Err(Errno(EACCES)));
        check!(segment.attach(0, SHM_RDONLY).is_ok());
        check!(call(__NR_shmctl, [segment.0, IPC_RMID, 0]) == Err(Errno(EPERM)));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn a_segment_can_be_locked_within_the_limit() -> Outcome {
    const SHM_LOCK: usize = 11;
    const SHM_UNLOCK: usize = 12;
    let segment = Segment::new(PAGE)?;
    call(__NR_shmctl, [segment.0, SHM_LOCK, 0])?;
    check!(segment.status()?.mode == 0o2600);
    call(__NR_shmctl, [segment.0, SHM_UNLOCK, 0])?;
    check!(segment.status()?.mode == 0o600);
    let status = in_child(|| {
        let limit = [2 * PAGE as u64; 2];
        call(__NR_prlimit64, [0, RLIMIT_MEMLOCK as usize, limit.as_ptr() as usize, 0])?;
        become_user(4244)?;
        check!(call(__NR_shmctl, [segment.0, SHM_LOCK, 0]) == Err(Errno(EPERM)));
        let (large, small) = (Segment::new(3 * PAGE)?, Segment::new(2 * PAGE)?);
        check!(call(__NR_shmctl, [large.0, SHM_LOCK, 0]) == Err(Errno(ENOMEM)));
        check!(call(__NR_shmctl, [small.0, SHM_LOCK, 0])? == 0);
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn shm_info_counts_what_there_is() -> Outcome {
    const SHM_INFO: usize = 14;
    const SHM_STAT: usize = 13;
    let segment = Segment::new(3 * PAGE)?;
    let at = segment.attach(0, 0)?;
    write(at, 1);
    let mut info = [0u64; 6];
    let highest = call(__NR_shmctl, [0, SHM_INFO, info.as_mut_ptr() as usize])?;
    check!(info[0] as u32 >= 1 && info[1] >= 3 && info[2] >= 1);
    let mut words = [0u64; 14];
    let walk = (0..=highest)
        .any(|index| call(__NR_shmctl, [index, SHM_STAT, words.as_mut_ptr() as usize]).is_ok_and(|id| id == segment.0));
    check!(walk);
    let mut limits = [0u64; 9];
    check!(call(__NR_shmctl, [0, 3, limits.as_mut_ptr() as usize])? == highest);
    check!(limits[1] == 1 && limits[2] == 4096);
    Ok(())
}

fn proc_shows_the_segments() -> Outcome {
    let segment = Segment::new(PAGE)?;
    segment.attach(0, 0)?;
    check!(listed(c"/proc/sysvipc/shm", segment.0)?);
    let fd = sys::open(c"/proc/self/maps", O_RDONLY, 0)?;
    let mut text = [0u8; 8192];
    let mut len = 0;
    while let Ok(count @ 1..) = sys::read(fd, &mut text[len..]) {
        len += count;
    }
    check!(text[..len].windows(13).any(|piece| piece == b"/SYSV00000000"));
    Ok(())
}
