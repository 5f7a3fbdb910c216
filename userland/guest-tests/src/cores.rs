//! Core files (core(5)).

use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use rt::raw::errno::ENOENT;
use rt::raw::general::*;
use rt::signal;
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{becomes, call, start};
use crate::{Outcome, Why, check, tests};

tests! {
    a_core_file_holds_registers_and_memory_of_a_dead_program,
    no_core_file_without_a_limit_for_it,
    a_core_file_ends_at_its_limit,
    the_filter_says_what_of_the_memory_is_in_a_core_file,
}

const PATTERN: &CStr = c"/proc/sys/kernel/core_pattern";
const NAME: &CStr = c"/tmp/guest-tests-core.%s%%";
const PATH: &CStr = c"/tmp/guest-tests-core.11%";

fn read_all<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let fd = sys::open(path, O_RDONLY, 0)?;
    let mut len = 0;
    while len < buffer.len() {
        match sys::read(fd, &mut buffer[len..])? {
            0 => break,
            count => len += count,
        }
    }
    sys::close(fd)?;
    Ok(&buffer[..len])
}

fn write_to(path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let fd = sys::open(path, O_WRONLY, 0)?;
    sys::write_all(fd, text)?;
    sys::close(fd)
}

/// Runs `test` while core files have the name of these tests, where that may be changed.
fn with_pattern(test: fn() -> Outcome) -> Outcome {
    let mut room = [0u8; 256];
    let before = read_all(PATTERN, &mut room)?;
    if write_to(PATTERN, NAME.to_bytes()).is_err() {
        return Ok(());
    }
    let _ = sys::unlink(PATH);
    let outcome = test();
    write_to(PATTERN, before)?;
    let _ = sys::unlink(PATH);
    outcome
}

fn limit(bytes: u64) -> Result<usize, Errno> {
    let pair = [bytes, bytes];
    call(__NR_prlimit64, [0, RLIMIT_CORE as usize, pair.as_ptr() as usize, 0])
}

static MARK: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];
static READY: AtomicU32 = AtomicU32::new(0);

extern "C" fn wait_for_ever(_: usize) -> i32 {
    READY.store(1, SeqCst);
    loop {
        sys::sleep_ms(1000);
    }
}

/// A child with two threads that dies of SIGSEGV; its id and status.
fn die(prepare: impl FnOnce() -> Result<(), Why>) -> Result<(i32, i32), Errno> {
    let child = start(|| {
        MARK[2].store(0x1234_5678, SeqCst);
        prepare()?;
        let join = Join::new();
        // SAFETY: the stack is new, and both last as long as the process.
        unsafe { join.spawn(map_stack(16 * 1024)?, wait_for_ever, 0)? };
        check!(becomes(&READY, 1));
        signal::raise(SIGSEGV)?;
        Ok(())
    })?;
    sys::wait4(child, 0)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn half(bytes: &[u8], at: usize) -> u32 {
    word(bytes, at) as u32
}

/// Program headers: type, offset, address, bytes in the file, in memory.
fn headers(core: &[u8]) -> impl Iterator<Item = [u64; 5]> {
    let count = half(core, 56) as u16;
    (0..usize::from(count)).map(|i| {
        let at = 64 + 56 * i;
        [u64::from(half(core, at)), word(core, at + 8), word(core, at + 16), word(core, at + 32), word(core, at + 40)]
    })
}

/// Calls `each` for every note with its type and data.
fn notes(core: &[u8], mut each: impl FnMut(u32, &[u8])) {
    let Some([_, mut at, _, len, _]) = headers(core).find(|header| header[0] == 4) else { return };
    let end = at + len;
    while at + 12 <= end {
        let place = at as usize;
        let (owner, size, kind) = (half(core, place), half(core, place + 4), half(core, place + 8));
        let data = place + 12 + (owner as usize).next_multiple_of(4);
        each(kind, &core[data..data + size as usize]);
        at = (data + (size as usize).next_multiple_of(4)) as u64;
    }
}

const ROOM: usize = 8 << 20;

fn core_file() -> Result<&'static [u8], Errno> {
    let memory = sys::mmap_anonymous(ROOM)?;
    // SAFETY: the mapping is new and stays.
    read_all(PATH, unsafe { core::slice::from_raw_parts_mut(memory, ROOM) })
}

fn a_core_file_holds_registers_and_memory_of_a_dead_program() -> Outcome {
    with_pattern(|| {
        let (child, status) = die(|| Ok(limit(u64::MAX).map(drop)?))?;
        check!(status == SIGSEGV as i32 | 0x80);
        let core = core_file()?;
        check!(core.len() > 8192 && &core[..4] == b"\x7fELF" && half(core, 16) as u16 == 4);
        let (mut threads, mut seen, mut first, mut signal) = (0, [false; 4], 0, 0);
        notes(core, |kind, data| match kind {
            1 => {
                threads += 1;
                if threads == 1 {
                    first = half(data, 32) as i32;
                    signal = half(data, 12) as u16;
                }
            }
            2 => seen[0] = data.len() >= 512,
            3 => seen[1] = half(data, 24) as i32 == child && &data[40..51] == b"guest-tests",
            6 => seen[2] = (0..data.len() / 16).any(|i| word(data, i * 16) == 6 && word(data, i * 16 + 8) == 4096),
            0x4649_4c45 => seen[3] = word(data, 0) > 0,
            0x5349_4749 => seen[0] &= half(data, 0) == SIGSEGV,
            _ => {}
        });
        check!(threads == 2 && first == child && u32::from(signal) == SIGSEGV);
        check!(seen == [true; 4]);
        let at = MARK[2].as_ptr() as u64;
        let Some([_, offset, start, _, _]) =
            headers(core).find(|[kind, _, start, kept, _]| *kind == 1 && *start <= at && at < start + kept)
        else {
            check!(false);
            return Ok(());
        };
        check!(half(core, (offset + at - start) as usize) == 0x1234_5678);
        Ok(())
    })
}

fn no_core_file_without_a_limit_for_it() -> Outcome {
    with_pattern(|| {
        let (_, status) = die(|| Ok(limit(0).map(drop)?))?;
        check!(status == SIGSEGV as i32);
        check!(sys::open(PATH, O_RDONLY, 0) == Err(Errno(ENOENT)));
        // Nor of one that others may not look into.
        let (_, status) = die(|| {
            limit(u64::MAX)?;
            call(__NR_prctl, [rt::raw::prctl::PR_SET_DUMPABLE as usize, 0])?;
            Ok(())
        })?;
        check!(status == SIGSEGV as i32);
        check!(sys::open(PATH, O_RDONLY, 0) == Err(Errno(ENOENT)));
        Ok(())
    })
}

fn a_core_file_ends_at_its_limit() -> Outcome {
    with_pattern(|| {
        let (_, status) = die(|| Ok(limit(8192).map(drop)?))?;
        check!(status == SIGSEGV as i32 | 0x80);
        let core = core_file()?;
        check!(core.len() <= 8192 && &core[..4] == b"\x7fELF");
        Ok(())
    })
}

fn the_filter_says_what_of_the_memory_is_in_a_core_file() -> Outcome {
    with_pattern(|| {
        let at = sys::mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)? as u64;
        let kept = |core: &[u8]| headers(core).find(|header| header[2] == at).map(|header| header[3]);
        let mut text = [0u8; 32];
        check!(read_all(c"/proc/self/coredump_filter", &mut text)? == b"00000033\n");
        die(|| Ok(limit(u64::MAX).map(drop)?))?;
        check!(kept(core_file()?) == Some(4096));
        sys::unlink(PATH)?;
        die(|| {
            write_to(c"/proc/self/coredump_filter", b"0x31")?;
            Ok(limit(u64::MAX).map(drop)?)
        })?;
        check!(kept(core_file()?) == Some(0));
        sys::unlink(PATH)?;
        die(|| {
            call(__NR_madvise, [at as usize, 4096, MADV_DONTDUMP as usize])?;
            Ok(limit(u64::MAX).map(drop)?)
        })?;
        check!(kept(core_file()?) == Some(0));
        Ok(())
    })
}
