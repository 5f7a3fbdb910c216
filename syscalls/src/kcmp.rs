//! kcmp(2): whether two threads share something.

use crate::args::Args;
use crate::table::{Calls, fast};
use alloc::sync::Arc;
use base::{Errno, Result};
use core::cmp::Ordering;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use linux_raw_sys::general as raw;
use memory::user::UserPtr;
use process::thread::View;
use process::{Current, Thread, inspect, pid};
use vfs::epoll::Epoll;
use vfs::{Description, FdTable};

/// The family.
pub const CALLS: Calls = &[(raw::__NR_kcmp, fast!(kcmp))];

// `enum kcmp_type`.
const FILE: i32 = 0;
const VM: i32 = 1;
const FILES: i32 = 2;
const FS: i32 = 3;
const SIGHAND: i32 = 4;
const IO: i32 = 5;
const SYSVSEM: i32 = 6;
const EPOLL_TFD: i32 = 7;

/// kcmp(2): 0 for the same, else 1 or 2, an order that holds until the machine is started anew. ESRCH, EPERM for whom the caller
/// may not inspect, EINVAL for an unknown type; EBADF, and what [`watched`] gives.
fn kcmp(current: &mut Current, args: &Args) -> Result<usize> {
    let (a, b) = (inspected(current, args.int(0))?, inspected(current, args.int(1))?);
    let part_of = |thread: &Thread, part: fn(&View) -> usize| {
        let view = thread.view.lock();
        part(&view)
    };
    let of = |part| (part_of(&a, part), part_of(&b, part));
    let (a, b) = match args.int(2) {
        FILE => (address(&*open(&a, args.uint(3))?), address(&*open(&b, args.uint(4))?)),
        VM => of(|view| view.space.as_deref().map_or(0, address)),
        FILES => of(|view| view.files.as_deref().map_or(0, address)),
        FS => of(|view| view.fs.as_deref().map_or(0, address)),
        SIGHAND => of(|view| address(&*view.actions)),
        // What is asked of devices is not accounted to anybody, so all have the same: nothing.
        IO => (0, 0),
        SYSVSEM => of(|view| view.undo as usize),
        EPOLL_TFD => (address(&*open(&a, args.uint(3))?), address(&*watched(&b, args.ptr(4))?)),
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(match disguised(a).cmp(&disguised(b)) {
        Ordering::Equal => 0,
        Ordering::Less => 1,
        Ordering::Greater => 2,
    })
}

fn address<T>(object: &T) -> usize {
    core::ptr::from_ref(object).addr()
}

/// Orders addresses in a way that tells nothing about them.
fn disguised(address: usize) -> u64 {
    static SECRET: AtomicU64 = AtomicU64::new(0);
    let mut secret = SECRET.load(Relaxed);
    if secret == 0 {
        // Odd, so that no two addresses become one.
        let new = kernel::random::number() | 1;
        secret = SECRET.compare_exchange(0, new, Relaxed, Relaxed).map_or_else(|first| first, |_| new);
    }
    (address as u64 ^ secret.rotate_left(32)).wrapping_mul(secret)
}

/// ESRCH, EPERM.
fn inspected(current: &Current, number: i32) -> Result<Arc<Thread>> {
    let thread = u32::try_from(number).ok().and_then(pid::find_thread).ok_or(Errno::ESRCH)?;
    let own = Arc::ptr_eq(&thread.process, &current.thread.process);
    if !own && !inspect::may_attach(&current.cred, &thread) {
        return Err(Errno::EPERM.into());
    }
    Ok(thread)
}

/// What `fd` stands for in a thread. EBADF.
fn open(thread: &Thread, fd: u32) -> Result<Arc<Description>> {
    let files: Option<Arc<FdTable>> = thread.view.lock().files.clone();
    files.ok_or(Errno::EBADF)?.get(fd)
}

/// What the epoll instance and the descriptor in a `struct kcmp_epoll_slot` stand for. EFAULT, EBADF, EINVAL for what is no epoll
/// instance, ENOENT for what it does not watch.
fn watched(thread: &Thread, slot: UserPtr<[u32; 3]>) -> Result<Arc<Description>> {
    let [epoll, fd, before] = slot.read()?;
    let epoll = open(thread, epoll)?;
    Epoll::of(&epoll)?.watched_as(fd, before as usize)
}
