//! System calls and hand-overs: what passing control to another thread or process costs, by each means there is.
//!
//! A partner answers until its input ends or it is told to stop. Round trips are counted whole; yields are counted as
//! switches, two for each round.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rt::raw::general::*;
use rt::raw::net::{AF_INET, AF_UNIX, IPPROTO_TCP, TCP_NODELAY, sockaddr_in};
use rt::sys::{self, Result, check};
use rt::thread::{Entry, Join, map_stack};

use crate::{measure, time};

/// Stack of a partner thread.
const STACK: usize = 16 * 1024;

pub fn getpid() -> Result<u64> {
    measure(|count| {
        time(|| {
            for _ in 0..count {
                sys::getpid();
            }
            Ok(())
        })
    })
}

pub fn yield_alone() -> Result<u64> {
    measure(yields)
}

fn yields(count: u64) -> Result<u64> {
    time(|| {
        for _ in 0..count {
            sys::sched_yield();
        }
        Ok(())
    })
}

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn yield_until_stopped(_: usize) -> i32 {
    while !STOP.load(Ordering::Relaxed) {
        sys::sched_yield();
    }
    0
}

/// The thread on the other side, and its stack, which goes with it: what later rows fork should not have it.
struct Partner {
    join: &'static Join,
    stack: *mut u8,
}

impl Partner {
    fn start(entry: Entry, argument: usize) -> Result<Partner> {
        static JOIN: Join = Join::new();
        let stack = map_stack(STACK)?;
        // SAFETY: the stack is new, and stays until `end` has waited for the thread.
        unsafe { JOIN.spawn(stack, entry, argument)? };
        Ok(Partner { join: &JOIN, stack })
    }

    /// Waits for its end, which the caller has brought about.
    fn end(self) -> Result<()> {
        self.join.wait();
        // SAFETY: nobody is left on the stack.
        unsafe { sys::munmap(self.stack.sub(STACK), STACK) }
    }
}

pub fn yield_threads() -> Result<u64> {
    STOP.store(false, Ordering::Relaxed);
    let partner = Partner::start(yield_until_stopped, 0)?;
    let round = measure(yields);
    STOP.store(true, Ordering::Relaxed);
    partner.end()?;
    Ok(round? / 2)
}

pub fn yield_processes() -> Result<u64> {
    let child = match sys::fork()? {
        0 => loop {
            sys::sched_yield();
        },
        child => child,
    };
    let round = measure(yields);
    rt::signal::kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    Ok(round? / 2)
}

/// One byte there and back through a process that echoes: it reads `theirs[0]` and writes `theirs[1]`.
fn echo_process(ours: [i32; 2], theirs: [i32; 2]) -> Result<u64> {
    let child = match sys::fork()? {
        0 => {
            let _ = (sys::close(ours[0]), sys::close(ours[1]));
            let mut byte = [0u8];
            while let Ok(1) = sys::read(theirs[0], &mut byte) {
                let _ = sys::write(theirs[1], &byte);
            }
            sys::exit_group(0)
        }
        child => child,
    };
    let _ = (sys::close(theirs[0]), sys::close(theirs[1]));
    let result = measure(|count| {
        time(|| {
            let mut byte = [0u8];
            for _ in 0..count {
                sys::write(ours[1], &byte)?;
                sys::read(ours[0], &mut byte)?;
            }
            Ok(())
        })
    });
    let _ = (sys::close(ours[0]), sys::close(ours[1]));
    sys::wait4(child, 0)?;
    result
}

pub fn pipe() -> Result<u64> {
    let (there, back) = (sys::pipe(0)?, sys::pipe(0)?);
    echo_process([back[0], there[1]], [there[0], back[1]])
}

pub fn unix() -> Result<u64> {
    let mut pair = [0i32; 2];
    let (family, kind) = (AF_UNIX as usize, SOCK_STREAM);
    // SAFETY: there is room for two descriptors.
    check(unsafe { rt::syscall4(__NR_socketpair as usize, family, kind, 0, pair.as_mut_ptr() as usize) })?;
    echo_process([pair[0]; 2], [pair[1]; 2])
}

const SOCK_STREAM: usize = 1;

pub fn tcp() -> Result<u64> {
    // SAFETY: all addresses and options live through their calls and have the sizes that are passed with them.
    unsafe {
        let socket = || check(rt::syscall3(__NR_socket as usize, AF_INET as usize, SOCK_STREAM, 0));
        let mut address: sockaddr_in = core::mem::zeroed();
        address.sin_family = AF_INET as _;
        address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        let (place, mut len) = (&raw mut address as usize, size_of::<sockaddr_in>() as u32);
        let listener = socket()?;
        check(rt::syscall3(__NR_bind as usize, listener, place, len as usize))?;
        check(rt::syscall2(__NR_listen as usize, listener, 1))?;
        check(rt::syscall3(__NR_getsockname as usize, listener, place, &raw mut len as usize))?;
        let ours = socket()?;
        check(rt::syscall3(__NR_connect as usize, ours, place, len as usize))?;
        let theirs = check(rt::syscall4(__NR_accept4 as usize, listener, 0, 0, 0))?;
        let on = 1u32;
        for fd in [ours, theirs] {
            let (level, option) = (IPPROTO_TCP as usize, TCP_NODELAY as usize);
            check(rt::syscall5(__NR_setsockopt as usize, fd, level, option, &raw const on as usize, 4))?;
        }
        sys::close(listener as i32)?;
        echo_process([ours as i32; 2], [theirs as i32; 2])
    }
}

static PING: AtomicU32 = AtomicU32::new(0);
static PONG: AtomicU32 = AtomicU32::new(0);

fn take(word: &AtomicU32) {
    while word.load(Ordering::Acquire) == 0 {
        let _ = sys::futex_wait(word, 0, FUTEX_PRIVATE_FLAG);
    }
    word.store(0, Ordering::Release);
}

fn give(word: &AtomicU32) {
    word.store(1, Ordering::Release);
    let _ = sys::futex_wake(word, 1, FUTEX_PRIVATE_FLAG);
}

extern "C" fn answer_futex(_: usize) -> i32 {
    loop {
        take(&PING);
        if STOP.load(Ordering::Relaxed) {
            return 0;
        }
        give(&PONG);
    }
}

pub fn futex() -> Result<u64> {
    STOP.store(false, Ordering::Relaxed);
    let partner = Partner::start(answer_futex, 0)?;
    let result = measure(|count| {
        time(|| {
            for _ in 0..count {
                give(&PING);
                take(&PONG);
            }
            Ok(())
        })
    });
    STOP.store(true, Ordering::Relaxed);
    give(&PING);
    partner.end()?;
    result
}

/// Adds one to an eventfd.
fn add(fd: i32) -> Result<()> {
    sys::write(fd, &1u64.to_ne_bytes()).map(|_| ())
}

/// Takes what an eventfd holds.
fn drain(fd: i32) -> Result<()> {
    sys::read(fd, &mut [0u8; 8]).map(|_| ())
}

fn new_eventfd() -> Result<i32> {
    // SAFETY: touches no memory.
    check(unsafe { rt::syscall2(__NR_eventfd2 as usize, 0, 0) }).map(|fd| fd as i32)
}

/// What a partner thread answers with: its descriptors, and an epoll set to wait in first, if there is one.
struct Answer {
    ping: i32,
    pong: i32,
    set: Option<i32>,
}

extern "C" fn answer_eventfd(answer: usize) -> i32 {
    // SAFETY: `eventfd_pair` passes its own, and waits for this thread.
    let answer = unsafe { &*(answer as *const Answer) };
    loop {
        let waited = answer.set.map_or(Ok(()), wait_in);
        if waited.and_then(|()| drain(answer.ping)).is_err() || STOP.load(Ordering::Relaxed) {
            return 0;
        }
        let _ = add(answer.pong);
    }
}

/// Round trips over two eventfds; with sets, each side waits in its own before it reads.
fn eventfd_pair(ping: i32, pong: i32, sets: Option<[i32; 2]>) -> Result<u64> {
    STOP.store(false, Ordering::Relaxed);
    let answer = Answer { ping, pong, set: sets.map(|sets| sets[1]) };
    let partner = Partner::start(answer_eventfd, &raw const answer as usize)?;
    let result = measure(|count| {
        time(|| {
            for _ in 0..count {
                add(ping)?;
                sets.map_or(Ok(()), |sets| wait_in(sets[0]))?;
                drain(pong)?;
            }
            Ok(())
        })
    });
    STOP.store(true, Ordering::Relaxed);
    add(ping)?;
    partner.end()?;
    let _ = (sys::close(ping), sys::close(pong));
    result
}

pub fn eventfd() -> Result<u64> {
    eventfd_pair(new_eventfd()?, new_eventfd()?, None)
}

pub fn epoll() -> Result<u64> {
    let (ping, pong) = (new_eventfd()?, new_eventfd()?);
    let sets = [new_set(pong)?, new_set(ping)?];
    let result = eventfd_pair(ping, pong, Some(sets));
    let _ = (sys::close(sets[0]), sys::close(sets[1]));
    result
}

/// A level-triggered epoll set with one descriptor in it.
fn new_set(fd: i32) -> Result<i32> {
    let event = epoll_event { events: EPOLLIN, data: 0 };
    // SAFETY: the event is readable and written nowhere.
    unsafe {
        let set = check(rt::syscall1(__NR_epoll_create1 as usize, 0))?;
        let event = &raw const event as usize;
        check(rt::syscall4(__NR_epoll_ctl as usize, set, EPOLL_CTL_ADD as usize, fd as usize, event))?;
        Ok(set as i32)
    }
}

fn wait_in(set: i32) -> Result<()> {
    let mut event = epoll_event { events: 0, data: 0 };
    let event = &raw mut event as usize;
    // SAFETY: there is room for one event; no time limit and no mask.
    check(unsafe { rt::syscall6(__NR_epoll_pwait as usize, set as usize, event, 1, usize::MAX, 0, 8) }).map(|_| ())
}
