//! Arguments by class: mostly what a call expects, sometimes what it must refuse.

use core::ffi::CStr;

use rt::raw::general::*;
use rt::raw::net;
use rt::sys;

/// xorshift64*: the same numbers for the same seed everywhere.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            rng.next();
        }
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// What an argument stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Anything at all.
    Any,
    Fd,
    /// Memory to read or write.
    Memory,
    Length,
    Path,
    /// A small number.
    Number,
    /// Few bits.
    Flags,
    Signal,
    Pid,
    /// A short struct timespec or timeval.
    Time,
    /// An array of iovecs, or a msghdr.
    Vector,
    /// A socket address.
    Address,
    Offset,
    /// An address for mmap and its like.
    Page,
    PageCount,
    /// A word for ioctl.
    Request,
    /// A futex word's value.
    Word,
}

const GOOD: usize = 64 * 1024;

/// Where arguments come from.
pub struct Values {
    /// Readable and writable; a page behind it is not mapped.
    good: usize,
    read_only: usize,
    worker: u32,
}

const PATHS: [&CStr; 20] = [
    c"f",
    c"g",
    c"d",
    c"d/f",
    c"l",
    c"l/l",
    c"p",
    c".",
    c"..",
    c"",
    c"/",
    c"/dev/null",
    c"/dev/zero",
    c"/dev/ptmx",
    c"/proc/self/fd/3",
    c"/proc/self/maps",
    c"/proc/self/status",
    c"/bin/true",
    c"/dev/full",
    c"nothing/there",
];

const REQUESTS: [u32; 16] = [
    0x5401,
    0x5402,
    0x5405,
    0x540b,
    0x540e,
    0x540f,
    0x5410,
    0x5413,
    0x5414,
    0x541b,
    0x5421,
    0x5422,
    0x5450,
    0x5451,
    0x8004_5430,
    0x4004_5431,
];

impl Values {
    pub fn new(rng: &mut Rng, worker: u32) -> Values {
        let good = sys::mmap_anonymous(GOOD + 4096).map_or(0, |memory| memory as usize);
        // SAFETY: the page behind the memory is nobody's.
        let _ = unsafe { sys::munmap((good + GOOD) as *mut u8, 4096) };
        let read_only = sys::mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0).map_or(0, |at| at as usize);
        let values = Values { good, read_only, worker };
        values.fill(rng);
        values
    }

    /// Opens some of everything, on low descriptors; works in a directory of the worker's own.
    pub fn open_files(&self) {
        let mut name = *b"/tmp/fuzz-A\0";
        name[10] += self.worker as u8;
        let Ok(path) = CStr::from_bytes_with_nul(&name) else { return };
        let call3 = |number: u32, a: usize, b: usize, c: usize| {
            // SAFETY: only numbers and strings that outlive the call are passed.
            unsafe { rt::syscall6(number as usize, a, b, c, 0, 0, 0) as usize }
        };
        let _ = sys::mkdir(path, 0o777);
        call3(__NR_chdir, path.as_ptr() as usize, 0, 0);
        let null = sys::open(c"/dev/null", O_RDWR, 0).unwrap_or(0);
        for fd in 0..3 {
            let _ = sys::dup3(null, fd, 0);
        }
        let _ = sys::mkdir(c"d", 0o777);
        for (path, flags) in
            [(c"f", O_RDWR | O_CREAT), (c"d", O_RDONLY), (c"/dev/zero", O_RDWR), (c"/dev/ptmx", O_RDWR)]
        {
            let _ = sys::open(path, flags | O_NOCTTY, 0o666);
        }
        let _ = sys::open(c"/proc/self/status", O_RDONLY, 0);
        let _ = (sys::pipe(0), sys::pipe(O_NONBLOCK));
        let pair = self.good;
        for kind in [1, 2, 5] {
            // SAFETY: the good memory has room for two descriptors.
            unsafe { rt::syscall4(__NR_socketpair as usize, net::AF_UNIX as usize, kind, 0, pair) };
        }
        for (family, kind) in [(net::AF_INET, 1), (net::AF_INET, 2), (net::AF_UNIX, 1), (net::AF_INET6, 1)] {
            call3(__NR_socket, family as usize, kind, 0);
        }
        call3(__NR_epoll_create1, 0, 0, 0);
        call3(__NR_eventfd2, 3, 0, 0);
        call3(__NR_timerfd_create, 1, 0, 0);
        call3(__NR_memfd_create, c"m".as_ptr() as usize, 0, 0);
    }

    /// Fills the memory with what structures are made of: small numbers, descriptors, pointers, flags.
    fn fill(&self, rng: &mut Rng) {
        for at in (0..GOOD).step_by(8) {
            let word = match rng.below(8) {
                0 | 1 => 0,
                2 => rng.below(40) as u64,
                3 => (self.good + rng.below(GOOD)) as u64,
                4 => 1 << rng.below(32),
                5 => rng.below(4096) as u64,
                6 => rng.below(16) as u64 | (rng.below(64) as u64) << 32,
                _ => rng.next(),
            };
            // SAFETY: inside the good memory, if there is any.
            unsafe { ((self.good + at) as *mut u64).write_volatile(word) };
        }
    }

    fn memory(&self, rng: &mut Rng) -> usize {
        match rng.below(16) {
            0 => 0,
            1 => rng.pick(&[1, 8, 4095, usize::MAX, usize::MAX - 4095, 1 << 47, (1 << 47) - 4096, 1 << 63]),
            2 => self.read_only,
            3 => self.good + GOOD - rng.below(64),
            4 => self.good + GOOD + rng.below(4096),
            5 => 0xffff_8000_0000_0000 + rng.below(1 << 40),
            _ => self.good + (rng.below(GOOD - 4096) & !7),
        }
    }

    fn put(&self, rng: &mut Rng, bytes: &[u8]) -> usize {
        let at = self.good + (rng.below(GOOD - 8192) & !15);
        // SAFETY: inside the good memory, unless a call took it away; then this worker ends.
        unsafe { (at as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        at
    }

    fn put_words(&self, rng: &mut Rng, words: &[u64]) -> usize {
        let mut bytes = [0u8; 128];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        self.put(rng, &bytes[..words.len() * 8])
    }

    fn path(&self, rng: &mut Rng) -> usize {
        if rng.one_in(20) {
            let len = rng.pick(&[255, 256, 4095, 4096]);
            let at = self.put(rng, b"");
            for i in 0..len {
                // SAFETY: as for `put`; the place leaves room for two pages.
                unsafe { ((at + i) as *mut u8).write_volatile(if i % 100 == 99 { b'/' } else { b'a' }) };
            }
            // SAFETY: as above.
            unsafe { ((at + len) as *mut u8).write_volatile(0) };
            return at;
        }
        let path = rng.pick(&PATHS);
        self.put(rng, path.to_bytes_with_nul())
    }

    fn address(&self, rng: &mut Rng) -> usize {
        match rng.below(3) {
            0 => self.put(rng, b"\x01\0sock\0"),
            1 => self.put(rng, b"\x01\0\0abstract"),
            _ => {
                let port = 40_000 + rng.below(8) as u16;
                let [high, low] = port.to_be_bytes();
                self.put(rng, &[2, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
            }
        }
    }

    /// A value of a class; one in twelve is of another.
    pub fn draw(&self, rng: &mut Rng, class: Class) -> usize {
        const OTHERS: [Class; 10] = [
            Class::Any,
            Class::Fd,
            Class::Memory,
            Class::Length,
            Class::Path,
            Class::Number,
            Class::Flags,
            Class::Pid,
            Class::Time,
            Class::Vector,
        ];
        let class = if class == Class::Any || rng.one_in(12) { rng.pick(&OTHERS) } else { class };
        match class {
            Class::Any => rng.next() as usize >> rng.below(64),
            Class::Fd => match rng.below(20) {
                0 => usize::MAX,
                1 => AT_FDCWD as isize as usize,
                2 => rng.below(300),
                _ => 3 + rng.below(32),
            },
            Class::Memory => self.memory(rng),
            Class::Length => match rng.below(12) {
                0 => usize::MAX >> rng.below(64),
                1 => 1 << rng.below(31),
                2 => 0,
                3 | 4 => rng.below(100_000),
                _ => rng.below(512),
            },
            Class::Path if rng.one_in(10) => self.memory(rng),
            Class::Path => self.path(rng),
            Class::Number => rng.below(20),
            Class::Flags => match rng.below(4) {
                0 => 0,
                1 => 1 << rng.below(32),
                2 => 1 << rng.below(32) | 1 << rng.below(32),
                _ => rng.next() as u32 as usize & rng.next() as usize & rng.next() as usize,
            },
            Class::Signal => rng.pick(&[0, 1, 2, 9, 10, 12, 14, 15, 17, 18, 19, 20, 23, 34, 40, 64, 65, usize::MAX]),
            Class::Pid => match rng.below(6) {
                0 => usize::MAX,
                1 | 2 => 0,
                3 => rng.below(40_000),
                4 => (-(sys::getpid() as isize)) as usize,
                _ => sys::getpid() as usize,
            },
            Class::Time if rng.one_in(8) => self.memory(rng),
            Class::Time => {
                let nanoseconds = if rng.one_in(20) { rng.next() } else { rng.below(3_000_000) as u64 };
                let seconds = if rng.one_in(20) { rng.next() } else { 0 };
                self.put_words(rng, &[seconds, nanoseconds, 0, 1_000_000])
            }
            Class::Vector if rng.one_in(8) => self.memory(rng),
            Class::Vector => {
                let mut words = [0; 16];
                for pair in words.chunks_exact_mut(2) {
                    pair[0] = self.memory(rng) as u64;
                    pair[1] = rng.below(5000) as u64;
                }
                self.put_words(rng, &words)
            }
            Class::Address => self.address(rng),
            Class::Offset => rng.pick(&[0, 1, 100, 4096, 1 << 20, 1 << 40, i64::MAX as usize, usize::MAX]),
            Class::Page if rng.one_in(3) => 0,
            Class::Page => (self.memory(rng) & !4095).wrapping_add(rng.below(4) * 0x1_0000_0000),
            Class::PageCount => rng.below(64) * rng.pick(&[4096, 4096, 4096, 1 << 16, 1, 1 << 30]),
            Class::Request => rng.pick(&REQUESTS) as usize,
            Class::Word => rng.pick(&[0, 1, 2, 0x8000_0000]),
        }
    }
}

/// Removes what workers left behind, as far as it goes.
pub fn remove_files() {
    for worker in 0..16u8 {
        let mut name = *b"/tmp/fuzz-A\0";
        name[10] += worker;
        let (Ok(path), Ok(child)) = (CStr::from_bytes_with_nul(&name), sys::fork()) else { return };
        if child == 0 {
            let argv = [c"rm".as_ptr().cast(), c"-rf".as_ptr().cast(), path.as_ptr().cast(), core::ptr::null()];
            // SAFETY: both vectors end with a null pointer.
            unsafe { sys::execve(c"/bin/rm", argv.as_ptr(), argv[3..].as_ptr()) };
            sys::exit_group(1);
        }
        let _ = sys::wait4(child, 0);
    }
}
