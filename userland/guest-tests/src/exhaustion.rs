//! Everything that runs out: descriptors, processes, memory, room on a file system, kernel objects. The caller gets the
//! manual's error, everything else goes on, and afterwards the memory is there again.

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::raw::net;
use rt::signal;
use rt::sys::{self, Errno};

use crate::support::{become_user, in_child};
use crate::{Outcome, check, tests};

tests! {
    a_process_that_takes_all_memory_is_killed_and_others_go_on,
    a_full_file_system_is_enospc_and_empties_again,
    arguments_that_are_too_long_are_e2big,
    absurd_sizes_are_refused,
    thousands_of_full_pipes_give_their_memory_back,
    thousands_of_sockets_and_epolls_give_their_memory_back,
    an_epoll_that_watches_itself_is_refused,
    thousands_of_timers_fire_and_go,
    thousands_of_mappings_end_in_enomem_and_go,
    many_processes_share_memory_and_give_it_back,
}

pub fn raw(number: u32, args: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the tests here pass memory of their own, or none that there is.
    sys::check(unsafe { rt::syscall6(number as usize, a, b, c, d, e, f) })
}

pub fn set_limit(which: u32, value: u64) -> Result<(), Errno> {
    let pair = [value, value];
    raw(__NR_prlimit64, [0, which as usize, pair.as_ptr() as usize, 0, 0, 0]).map(|_| ())
}

/// Whether free memory comes back to what it was: what ends may end late, and some stays in caches. On a machine that is
/// shared, nothing can be said.
pub fn comes_back(before: u64) -> bool {
    const CACHES: u64 = 8 << 20;
    for _ in 0..100 {
        if !alone() || sys::memory().0 + CACHES >= before {
            return true;
        }
        sys::sleep_ms(10);
    }
    rt::eprintln!("  free memory: {} KiB before, {} KiB after", before >> 10, sys::memory().0 >> 10);
    false
}

/// Whether this kernel has the machine for itself: on a shared one, tests that fill memory would harm others.
pub fn alone() -> bool {
    sys::memory().1 <= 3 << 30
}

fn take_all() -> ! {
    const CHUNK: usize = 4 << 20;
    loop {
        let Ok(memory) = sys::mmap_anonymous(CHUNK) else {
            sys::sleep_ms(1);
            continue;
        };
        for at in (0..CHUNK).step_by(4096) {
            // SAFETY: inside the mapping just made.
            unsafe { memory.add(at).write_volatile(1) };
        }
    }
}

fn a_process_that_takes_all_memory_is_killed_and_others_go_on() -> Outcome {
    if !alone() {
        return Ok(());
    }
    let before = sys::memory().0;
    let bystander = match sys::fork()? {
        0 => {
            for _ in 0..100 {
                sys::sleep_ms(5);
            }
            sys::exit_group(7)
        }
        child => child,
    };
    let greedy = match sys::fork()? {
        0 => take_all(),
        child => child,
    };
    check!(sys::wait4(greedy, 0)? == (greedy, SIGKILL as i32));
    check!(in_child(|| Ok(()))? == 0);
    check!(sys::wait4(bystander, 0)? == (bystander, 7 << 8));
    check!(comes_back(before));
    Ok(())
}

fn a_full_file_system_is_enospc_and_empties_again() -> Outcome {
    let _ = sys::mkdir(c"/tmp/guest-tests-full", 0o700);
    let mounted = sys::mount(c"tmpfs", c"/tmp/guest-tests-full", c"size=2m,nr_inodes=50");
    if mounted == Err(Errno(EPERM)) {
        return Ok(());
    }
    mounted?;
    let before = sys::memory().0;
    let file = sys::open(c"/tmp/guest-tests-full/f", O_RDWR | O_CREAT, 0o600)?;
    let mut total = 0;
    let last = loop {
        match sys::write(file, &[1; 65536]) {
            Ok(n) => total += n,
            Err(error) => break error,
        }
    };
    check!(last == Errno(ENOSPC));
    check!(total == 2 << 20);
    check!(raw(__NR_ftruncate, [file as usize, 0, 0, 0, 0, 0]) == Ok(0));
    check!(sys::write(file, &[1; 4096]) == Ok(4096));
    let mut name = *b"/tmp/guest-tests-full/00\0";
    let mut made = 0;
    let last = loop {
        name[22] = b'0' + made / 10;
        name[23] = b'0' + made % 10;
        let path = core::ffi::CStr::from_bytes_with_nul(&name).unwrap_or(c"");
        match sys::open(path, O_RDWR | O_CREAT, 0o600).and_then(sys::close) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
    };
    check!(last == Errno(ENOSPC));
    check!(made == 48);
    sys::close(file)?;
    raw(__NR_umount2, [c"/tmp/guest-tests-full".as_ptr() as usize, 0, 0, 0, 0, 0])?;
    check!(comes_back(before));
    Ok(())
}

fn arguments_that_are_too_long_are_e2big() -> Outcome {
    static LONG: [u8; 200 * 1024] = {
        let mut bytes = [b'a'; 200 * 1024];
        bytes[200 * 1024 - 1] = 0;
        bytes
    };
    let execve = |argv: &[*const u8]| {
        let none = [ptr::null::<u8>()];
        // SAFETY: both vectors end with a null pointer.
        unsafe { sys::execve(c"/bin/false", argv.as_ptr(), none.as_ptr()) }
    };
    let status = in_child(|| {
        // One string of more than 32 pages.
        check!(execve(&[LONG.as_ptr(), ptr::null()]) == Errno(E2BIG));
        // More than a quarter of the stack's limit.
        set_limit(RLIMIT_STACK, 1 << 20)?;
        let part = LONG[100 * 1024..].as_ptr();
        check!(execve(&[part, part, part, part, ptr::null()]) == Errno(E2BIG));
        let mut many = [c"".as_ptr().cast::<u8>(); 40_000];
        many[39_999] = ptr::null();
        check!(execve(&many) == Errno(E2BIG));
        Ok(())
    })?;
    check!(status == 0);
    Ok(())
}

fn absurd_sizes_are_refused() -> Outcome {
    let at = AT_FDCWD as isize as usize;
    let pipe = sys::pipe(O_NONBLOCK)?;
    let (input, output) = (pipe[0] as usize, pipe[1] as usize);
    let mut buffer = [0u8; 64];
    let memory = buffer.as_mut_ptr() as usize;
    let socket = raw(__NR_socket, [net::AF_INET as usize, 2, 0, 0, 0, 0])?;
    let map = sys::mmap_anonymous(8192)? as usize;
    let private = (MAP_PRIVATE | MAP_ANONYMOUS) as usize;
    let (max, none) = (usize::MAX, usize::MAX);
    let big = [[memory, isize::MAX as usize], [memory, isize::MAX as usize]];
    let table: &[(&str, u32, [usize; 6], u32)] = &[
        ("mmap of nothing", __NR_mmap, [0, 0, 3, private, none, 0], EINVAL),
        ("mmap of everything", __NR_mmap, [0, max, 3, private, none, 0], ENOMEM),
        ("mmap of half", __NR_mmap, [0, 1 << 62, 3, private, none, 0], ENOMEM),
        ("mmap beyond user space", __NR_mmap, [1 << 62, 4096, 3, private | MAP_FIXED as usize, none, 0], ENOMEM),
        ("munmap of nothing", __NR_munmap, [map, 0, 0, 0, 0, 0], EINVAL),
        ("munmap of everything", __NR_munmap, [map, max, 0, 0, 0, 0], EINVAL),
        ("munmap beyond user space", __NR_munmap, [map, 1 << 62, 0, 0, 0, 0], EINVAL),
        ("mprotect of everything", __NR_mprotect, [map, max & !4095, 1, 0, 0, 0], ENOMEM),
        ("mremap to nothing", __NR_mremap, [map, 4096, 0, 0, 0, 0], EINVAL),
        ("mremap to everything", __NR_mremap, [map, 4096, max, 1, 0, 0], EINVAL),
        ("mremap that shrinks beyond user space", __NR_mremap, [map, 1 << 63, 4096, 0, 0, 0], EINVAL),
        ("mremap that shrinks what ends at the top", __NR_mremap, [map, max - map - 4095, 4096, 0, 0, 0], EINVAL),
        ("madvise of everything", __NR_madvise, [map, max, 4, 0, 0, 0], EINVAL),
        ("mincore of half", __NR_mincore, [map, 1 << 62, memory, 0, 0, 0], ENOMEM),
        ("readv of 1025", __NR_readv, [input, memory, 1025, 0, 0, 0], EINVAL),
        ("readv of -1", __NR_readv, [input, memory, max, 0, 0, 0], EINVAL),
        ("writev of 1025", __NR_writev, [output, memory, 1025, 0, 0, 0], EINVAL),
        ("writev of more than there can be", __NR_writev, [output, big[0].as_ptr() as usize, 2, 0, 0, 0], EFAULT),
        ("writev of a negative length", __NR_writev, [output, [memory, max].as_ptr() as usize, 1, 0, 0, 0], EINVAL),
        (
            "sendmsg with too many pieces",
            __NR_sendmsg,
            [socket, [0, 0, memory, 1025, 0, 0, 0].as_ptr() as usize, 0, 0, 0, 0],
            EMSGSIZE,
        ),
        ("sendto of too much", __NR_sendto, [socket, map, 1 << 20, 0, 0, 0], EMSGSIZE),
        ("bind with a long address", __NR_bind, [socket, memory, 1 << 20, 0, 0, 0], EINVAL),
        ("bind with a negative length", __NR_bind, [socket, memory, max, 0, 0, 0], EINVAL),
        ("setsockopt with a negative length", __NR_setsockopt, [socket, 1, 7, memory, max, 0], EINVAL),
        ("setsockopt with one byte", __NR_setsockopt, [socket, 1, 7, memory, 1, 0], EINVAL),
        ("epoll_pwait of none", __NR_epoll_pwait, [input, memory, 0, 0, 0, 8], EINVAL),
        ("epoll_pwait of -1", __NR_epoll_pwait, [input, memory, max, 0, 0, 8], EINVAL),
        ("ppoll of more than may be open", __NR_ppoll, [memory, 1 << 30, 0, 0, 8, 0], EINVAL),
        ("pselect6 of a negative number", __NR_pselect6, [max, 0, 0, 0, 0, 0], EINVAL),
        ("getgroups of a negative number", __NR_getgroups, [max, memory, 0, 0, 0, 0], EINVAL),
        ("setgroups of too many", __NR_setgroups, [65_537, memory, 0, 0, 0, 0], EINVAL),
        ("getcwd of too little", __NR_getcwd, [memory, 1, 0, 0, 0, 0], ERANGE),
        ("readlinkat of nothing", __NR_readlinkat, [at, c"/proc/self/exe".as_ptr() as usize, memory, 0, 0, 0], EINVAL),
        ("ftruncate to a negative length", __NR_ftruncate, [output, 1 << 63, 0, 0, 0, 0], EINVAL),
        ("clone3 of too little", __NR_clone3, [memory, 8, 0, 0, 0, 0], EINVAL),
        ("clone3 of too much", __NR_clone3, [memory, 1 << 20, 0, 0, 0, 0], E2BIG),
        ("openat2 of too much", __NR_openat2, [at, memory, memory, 1 << 20, 0, 0], E2BIG),
        ("sched_getaffinity of too little", __NR_sched_getaffinity, [0, 1, memory, 0, 0, 0], EINVAL),
        ("sched_getaffinity of a length past 32 bits", __NR_sched_getaffinity, [0, 1 << 32, memory, 0, 0, 0], EINVAL),
        ("sched_getaffinity of bits past 32 bits", __NR_sched_getaffinity, [0, 1 << 29, memory, 0, 0, 0], EINVAL),
        ("sched_getaffinity of bits past 64 bits", __NR_sched_getaffinity, [0, 1 << 61, memory, 0, 0, 0], EINVAL),
        ("sched_setaffinity of a length past 32 bits", __NR_sched_setaffinity, [0, 1 << 32, memory, 0, 0, 0], EINVAL),
        ("memfd_create with a long name", __NR_memfd_create, [LONG_NAME.as_ptr() as usize, 0, 0, 0, 0, 0], EINVAL),
        ("openat with a long name", __NR_openat, [at, LONG_NAME.as_ptr() as usize, 0, 0, 0, 0], ENAMETOOLONG),
        ("openat with a longer path", __NR_openat, [at, LONG_PATH.as_ptr() as usize, 0, 0, 0, 0], ENAMETOOLONG),
        ("pipe of a negative size", __NR_fcntl, [output, F_SETPIPE_SZ as usize, max, 0, 0, 0], EINVAL),
    ];
    let mut wrong = 0;
    for (name, number, args, expected) in table {
        let result = raw(*number, *args);
        if result != Err(Errno(*expected)) && result != Err(Errno(ENOSYS)) {
            wrong += 1;
            match result {
                Ok(value) => rt::println!("  {name}: {value:#x} instead of errno {expected}"),
                Err(error) => rt::println!("  {name}: errno {} instead of {expected}", error.0),
            }
        }
    }
    check!(wrong == 0);
    Ok(())
}

const LONG_NAME: [u8; 302] = {
    let mut name = [b'a'; 302];
    name[301] = 0;
    name
};

const LONG_PATH: [u8; 5000] = {
    let mut path = [b'/'; 5000];
    path[4999] = 0;
    path
};

fn thousands_of_full_pipes_give_their_memory_back() -> Outcome {
    let before = sys::memory().0;
    let status = in_child(|| {
        sys::raise_descriptor_limit(5000)?;
        let mut pipes = 0;
        let block = [7u8; 65_536];
        let mut filled = 0u64;
        while pipes < 2000 {
            let pipe = sys::pipe(O_NONBLOCK)?;
            filled += sys::write(pipe[1], &block)? as u64;
            pipes += 1;
        }
        check!(filled >= 2000 * 4096);
        Ok(())
    })?;
    check!(status == 0);
    // For a user there is a limit: pipes beyond it hold a page or two, but work.
    let status = in_child(|| {
        sys::raise_descriptor_limit(5000)?;
        become_user(54_003)?;
        let mut first = 0;
        let mut last = 0;
        for round in 0..1500 {
            let pipe = sys::pipe(O_NONBLOCK)?;
            last = sys::write(pipe[1], &[7; 65_536])?;
            if round == 0 {
                first = last;
            }
        }
        check!(first == 65_536);
        check!((4096..=8192).contains(&last));
        Ok(())
    })?;
    check!(status == 0);
    check!(comes_back(before));
    Ok(())
}

fn thousands_of_sockets_and_epolls_give_their_memory_back() -> Outcome {
    let before = sys::memory().0;
    let status = in_child(|| {
        sys::raise_descriptor_limit(9000)?;
        let epoll = raw(__NR_epoll_create1, [0; 6])?;
        for _ in 0..1500 {
            let mut pair = [0; 2];
            raw(
                __NR_socketpair,
                [net::AF_UNIX as usize, 1 | O_NONBLOCK as usize, 0, pair.as_mut_ptr() as usize, 0, 0],
            )?;
            sys::write_all(pair[0], &[1; 4096])?;
            let event = [1u32, 0, 0, 0];
            raw(__NR_epoll_ctl, [epoll, EPOLL_CTL_ADD as usize, pair[1] as usize, event.as_ptr() as usize, 0, 0])?;
            let other = raw(__NR_epoll_create1, [0; 6])?;
            raw(__NR_epoll_ctl, [other, EPOLL_CTL_ADD as usize, pair[1] as usize, event.as_ptr() as usize, 0, 0])?;
            raw(__NR_socket, [net::AF_INET as usize, 1, 0, 0, 0, 0])?;
        }
        let mut events = [[0u32; 4]; 64];
        let ready = raw(__NR_epoll_pwait, [epoll, events.as_mut_ptr() as usize, 64, 0, 0, 8])?;
        check!(ready == 64);
        Ok(())
    })?;
    check!(status == 0);
    check!(comes_back(before));
    Ok(())
}

fn an_epoll_that_watches_itself_is_refused() -> Outcome {
    let event = [1u32, 0, 0, 0];
    let new = || raw(__NR_epoll_create1, [0; 6]);
    let add = |to, what| raw(__NR_epoll_ctl, [to, EPOLL_CTL_ADD as usize, what, event.as_ptr() as usize, 0, 0]);
    let first = new()?;
    check!(add(first, first) == Err(Errno(EINVAL)));
    let second = new()?;
    add(first, second)?;
    check!(add(second, first) == Err(Errno(ELOOP)));
    let third = new()?;
    add(second, third)?;
    check!(add(third, first) == Err(Errno(ELOOP)));
    // Chains have an end.
    let mut last = third;
    let mut depth = 2;
    let error = loop {
        let next = new()?;
        match add(last, next) {
            Ok(_) => (last, depth) = (next, depth + 1),
            Err(error) => break error,
        }
        check!(depth < 10);
    };
    check!(error == Errno(ELOOP));
    Ok(())
}

static FIRED: AtomicU32 = AtomicU32::new(0);

extern "C" fn fired(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    FIRED.fetch_add(1, Ordering::Relaxed);
}

fn thousands_of_timers_fire_and_go() -> Outcome {
    let before = sys::memory().0;
    signal::handle(SIGALRM, fired, 0)?;
    for _ in 0..3 {
        for _ in 0..1000 {
            let mut id = 0i32;
            let made = raw(__NR_timer_create, [CLOCK_MONOTONIC as usize, 0, &raw mut id as usize, 0, 0, 0]);
            if made == Err(Errno(ENOSYS)) {
                return Ok(());
            }
            made?;
            let soon = [0u64, 0, 0, 1_000_000];
            raw(__NR_timer_settime, [id as usize, 0, soon.as_ptr() as usize, 0, 0, 0])?;
        }
        sys::sleep_ms(20);
        check!(FIRED.swap(0, Ordering::Relaxed) > 0);
        for id in 0..3000 {
            let _ = raw(__NR_timer_delete, [id, 0, 0, 0, 0, 0]);
        }
    }
    check!(comes_back(before));
    Ok(())
}

fn thousands_of_mappings_end_in_enomem_and_go() -> Outcome {
    let before = sys::memory().0;
    let status = in_child(|| {
        let mut made = 0;
        // Neighbours differ, so that each is an area of its own.
        let last = loop {
            let protection = if made % 2 == 0 { PROT_READ } else { PROT_NONE };
            match sys::mmap(0, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) {
                Ok(_) => made += 1,
                Err(error) => break error,
            }
            check!(made < 200_000);
        };
        check!(last == Errno(ENOMEM));
        check!(made > 60_000);
        Ok(())
    })?;
    check!(status == 0);
    check!(comes_back(before));
    Ok(())
}

fn many_processes_share_memory_and_give_it_back() -> Outcome {
    let before = sys::memory().0;
    let gate = sys::pipe(0)?;
    let memory = sys::mmap_anonymous(1 << 20)?;
    for _ in 0..200 {
        if sys::fork()? == 0 {
            for at in (0..1 << 20).step_by(4096) {
                // SAFETY: inside the mapping.
                unsafe { memory.add(at).write_volatile(1) };
            }
            let _ = sys::close(gate[1]);
            let _ = sys::read(gate[0], &mut [0]);
            sys::exit_group(0)
        }
    }
    sys::close(gate[1])?;
    for _ in 0..200 {
        check!(sys::wait4(-1, 0)?.1 == 0);
    }
    check!(comes_back(before));
    Ok(())
}
