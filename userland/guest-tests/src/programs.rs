//! Files that are no programs, executed (execve(2), elf(5)): the manual's error, or an end by a signal as Linux has it.

use core::ffi::CStr;
use core::ptr;

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::sys::{self, Errno};

use crate::fuzz::Rng;
use crate::support::{call, in_child, start};
use crate::{Outcome, Why, check, tests};

tests! {
    files_that_are_no_programs_are_refused,
    a_script_without_a_sound_interpreter_is_refused,
    damaged_programs_are_refused_or_end_and_harm_nobody,
    a_file_that_is_open_for_writing_is_not_executed,
    a_file_that_is_executed_is_not_written,
    a_string_of_128_kib_is_too_long_for_a_program,
    who_has_waited_for_a_program_may_write_its_file,
    a_program_is_moved_by_a_multiple_of_its_alignment,
    alignments_beyond_all_addresses_move_no_program_out_of_user_space,
}

const PATH: &CStr = c"/tmp/guest-tests-program";

/// Makes the file hold `bytes` and be executable.
fn write_program(bytes: &[u8]) -> Result<(), Errno> {
    let _ = sys::unlink(PATH);
    let fd = sys::open(PATH, O_WRONLY | O_CREAT | O_TRUNC, 0o755)?;
    sys::write_all(fd, bytes)?;
    sys::close(fd)
}

fn execute(path: &CStr) -> Errno {
    let argv = [c"x".as_ptr().cast(), c"child".as_ptr().cast(), c"0".as_ptr().cast(), ptr::null()];
    // SAFETY: both vectors end with a null pointer.
    unsafe { sys::execve(path, argv.as_ptr(), argv[3..].as_ptr()) }
}

/// The error of an attempt to execute these bytes; none if they became a program, whatever its end.
fn error_of(bytes: &[u8]) -> Result<Option<Errno>, Errno> {
    write_program(bytes)?;
    let report = sys::pipe(O_CLOEXEC)?;
    let child = match sys::fork()? {
        0 => {
            let limit = [1u64, 1];
            // SAFETY: the limit is a pair of 64-bit numbers; no old one is asked for.
            unsafe { rt::syscall4(__NR_prlimit64 as usize, 0, RLIMIT_CPU as usize, limit.as_ptr() as usize, 0) };
            // SAFETY: as above, for an interval and a first time: what waits for ever has an end.
            unsafe { rt::syscall3(__NR_setitimer as usize, 0, [0u64, 0, 1, 0].as_ptr() as usize, 0) };
            let error = execute(PATH);
            let _ = sys::write(report[1], &error.0.to_ne_bytes());
            sys::exit_group(0)
        }
        child => child,
    };
    sys::close(report[1])?;
    let mut error = [0; 4];
    let count = sys::read(report[0], &mut error);
    sys::close(report[0])?;
    sys::wait4(child, 0)?;
    Ok((count == Ok(4)).then(|| Errno(u32::from_ne_bytes(error))))
}

/// This program's file, and how long it is.
fn own_file() -> Result<&'static mut [u8], Why> {
    let fd = sys::open(c"/proc/self/exe", O_RDONLY, 0)?;
    const ROOM: usize = 4 << 20;
    let memory = sys::mmap_anonymous(ROOM)?;
    // SAFETY: the mapping is new, and stays as long as the process.
    let memory = unsafe { core::slice::from_raw_parts_mut(memory, ROOM) };
    let mut len = 0;
    loop {
        match sys::read(fd, &mut memory[len..])? {
            0 => break,
            n => len += n,
        }
    }
    sys::close(fd)?;
    check!(len > 1000 && len < ROOM);
    Ok(&mut memory[..len])
}

fn files_that_are_no_programs_are_refused() -> Outcome {
    let file = own_file()?;
    check!(error_of(file)?.is_none());
    check!(error_of(b"")? == Some(Errno(ENOEXEC)));
    check!(error_of(b"\x7fELF")? == Some(Errno(ENOEXEC)));
    check!(error_of(&file[..63])? == Some(Errno(ENOEXEC)));
    check!(error_of(&file[..100])?.is_some());
    // Magic, type, machine, entries of the program header table, their size.
    for (at, byte) in [(0, 0), (16, 1), (18, 99), (56, 0), (54, 55)] {
        let old = file[at];
        file[at] = byte;
        let error = error_of(file)?;
        file[at] = old;
        check!(error == Some(Errno(ENOEXEC)));
    }
    check!(execute(c"/tmp") == Errno(EACCES));
    check!(execute(c"/dev/null") == Errno(EACCES));
    write_program(b"x")?;
    // SAFETY: the path ends in NUL.
    unsafe { rt::syscall3(__NR_fchmodat as usize, AT_FDCWD as isize as usize, PATH.as_ptr() as usize, 0o644) };
    check!(execute(PATH) == Errno(EACCES));
    sys::unlink(PATH)?;
    Ok(())
}

fn a_script_without_a_sound_interpreter_is_refused() -> Outcome {
    check!(error_of(b"#!/tmp/guest-tests-program\n")? == Some(Errno(ELOOP)));
    check!(error_of(b"#!\n")? == Some(Errno(ENOEXEC)));
    check!(error_of(b"#!   \n")? == Some(Errno(ENOEXEC)));
    check!(error_of(b"#!/no/such/interpreter\n")? == Some(Errno(ENOENT)));
    check!(error_of(b"#!/tmp\n")? == Some(Errno(EACCES)));
    check!(error_of(b"#!/dev/null/x\n")? == Some(Errno(ENOTDIR)));
    // A name that does not end within what is looked at.
    let mut long = [b'a'; 300];
    long[..3].copy_from_slice(b"#!/");
    check!(error_of(&long)? == Some(Errno(ENOEXEC)));
    sys::unlink(PATH)?;
    Ok(())
}

fn damaged_programs_are_refused_or_end_and_harm_nobody() -> Outcome {
    let seed = sys::clock_ns(CLOCK_REALTIME) % 1_000_000;
    rt::println!("damaged programs: seed={seed}");
    let mut rng = Rng::new(seed);
    let file = own_file()?;
    for _ in 0..60 {
        let mut old = [0; 512];
        old.copy_from_slice(&file[..512]);
        for _ in 0..=rng.below(4) {
            // Whole fields of the headers become numbers about which sums overflow, or single bytes anything.
            let field = rng.below(60) * 8;
            let value =
                rng.pick(&[0, 1, 0x1000, 0x7fff_ffff_f000, 0x8000_0000_0000, u64::MAX, u64::MAX - 4095, 1 << 63]);
            match rng.below(2) {
                0 => file[field..field + 8].copy_from_slice(&value.to_le_bytes()),
                _ => file[field + rng.below(8)] = rng.next() as u8,
            }
        }
        // Most keep the magic, or nothing else would be looked at.
        if !rng.one_in(8) {
            file[..20].copy_from_slice(&old[..20]);
        }
        let error = error_of(file)?;
        let expected = [
            ENOEXEC,
            ENOMEM,
            EINVAL,
            EPERM,
            EFAULT,
            ENOENT,
            ELIBBAD,
            EACCES,
            EIO,
            EEXIST,
            ENAMETOOLONG,
            E2BIG,
            EOVERFLOW,
        ];
        let good = error.is_none_or(|error| expected.contains(&error.0));
        if !good {
            rt::println!("  errno {}", error.map_or(0, |error| error.0));
        }
        check!(good);
        file[..512].copy_from_slice(&old);
    }
    check!(error_of(file)?.is_none());
    sys::unlink(PATH)?;
    Ok(())
}

fn a_file_that_is_open_for_writing_is_not_executed() -> Outcome {
    write_program(own_file()?)?;
    let fd = sys::open(PATH, O_WRONLY, 0)?;
    let status = in_child(|| {
        check!(execute(PATH) == Errno(ETXTBSY));
        sys::close(fd)?;
        // The parent has it open still.
        check!(execute(PATH) == Errno(ETXTBSY));
        Ok(())
    })?;
    check!(status == 0);
    sys::close(fd)?;
    // Reading it is no matter.
    let fd = sys::open(PATH, O_RDONLY, 0)?;
    check!(in_child(|| Err(execute(PATH).into()))? == 0);
    sys::close(fd)?;
    sys::unlink(PATH)?;
    Ok(())
}

fn a_file_that_is_executed_is_not_written() -> Outcome {
    write_program(own_file()?)?;
    let gate = sys::pipe(0)?;
    // Its writing end is closed by the execve. Trying to open the program would not do to wait
    // for that: while the file is open for writing, the execve fails.
    let executed = sys::pipe(O_CLOEXEC)?;
    let child = start(|| {
        // It reads its standard input to the end.
        sys::dup3(gate[0], 0, 0)?;
        sys::close(gate[1])?;
        let argv = [c"x".as_ptr().cast(), c"read".as_ptr().cast(), ptr::null()];
        // SAFETY: both vectors end with a null pointer.
        Err(unsafe { sys::execve(PATH, argv.as_ptr(), argv[2..].as_ptr()) }.into())
    })?;
    sys::close(executed[1])?;
    check!(sys::read(executed[0], &mut [0])? == 0);
    sys::close(executed[0])?;
    let busy = Err(Errno(ETXTBSY));
    check!(sys::open(PATH, O_WRONLY, 0) == busy.map(|()| 0));
    check!(sys::open(PATH, O_RDWR, 0) == busy.map(|()| 0));
    check!(sys::open(PATH, O_WRONLY | O_TRUNC, 0) == busy.map(|()| 0));
    check!(call(__NR_truncate, [PATH.as_ptr() as usize, 0]) == busy.map(|()| 0));
    let fd = sys::open(PATH, O_RDONLY, 0)?;
    sys::close(fd)?;
    sys::close(gate[1])?;
    check!(sys::wait4(child, 0)? == (child, 0));
    // It may be written once nobody executes it, and be unlinked while somebody does.
    let fd = sys::open(PATH, O_WRONLY, 0)?;
    sys::close(fd)?;
    sys::unlink(PATH)?;
    Ok(())
}

/// MAX_ARG_STRLEN of execve(2) counts the zero.
fn a_string_of_128_kib_is_too_long_for_a_program() -> Outcome {
    const LONGEST: usize = 128 << 10;
    write_program(b"\x7fELF")?;
    let memory = sys::mmap_anonymous(LONGEST + 1)?;
    // SAFETY: the mapping is new, and stays as long as the process.
    let memory = unsafe { core::slice::from_raw_parts_mut(memory, LONGEST + 1) };
    for (len, error) in [(LONGEST - 1, ENOEXEC), (LONGEST, E2BIG)] {
        memory[..len].fill(b'x');
        let argv = [memory.as_ptr().cast(), ptr::null()];
        // SAFETY: both vectors end with a null pointer, and the string with a zero.
        check!(unsafe { sys::execve(PATH, argv.as_ptr(), argv[1..].as_ptr()) } == Errno(error));
    }
    sys::unlink(PATH)?;
    Ok(())
}

/// The right to execute ends before the zombie can be seen.
fn who_has_waited_for_a_program_may_write_its_file() -> Outcome {
    write_program(own_file()?)?;
    for _ in 0..100 {
        in_child(|| {
            execute(PATH);
            Ok(())
        })?;
        sys::close(sys::open(PATH, O_WRONLY, 0)?)?;
    }
    sys::unlink(PATH)?;
    Ok(())
}

/// Exits with bits 12 to 19 of where it lies.
#[cfg(target_arch = "x86_64")]
const TELL: &[u8] = &[
    0x48, 0x8d, 0x3d, 0xf9, 0xff, 0xff, 0xff, // lea rdi, [rip - 7]
    0xc1, 0xef, 0x0c, // shr edi, 12
    0x81, 0xe7, 0xff, 0, 0, 0, // and edi, 0xff
    0xb8, 60, 0, 0, 0, // mov eax, 60
    0x0f, 0x05, // syscall
];
#[cfg(target_arch = "aarch64")]
const TELL: &[u8] = &[
    0, 0, 0, 0x10, // adr x0, .
    0, 0x4c, 0x4c, 0xd3, // ubfx x0, x0, #12, #8
    0xa8, 0x0b, 0x80, 0xd2, // mov x8, #93
    0x01, 0, 0, 0xd4, // svc #0
];

/// A position-independent program of one segment, to be read and executed, at an address with an alignment: what it does first is
/// to exit with bits 12 to 19 of where it lies as its status.
fn movable(vaddr: u64, align: u64) -> [u8; 256] {
    const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let mut file = [0; 256];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[3, 0, MACHINE as u8, 0, 1]);
    put(24, &(vaddr + 120).to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &[64, 0, 56, 0, 1]);
    put(64, &[1, 0, 0, 0, 5]);
    put(80, &vaddr.to_le_bytes());
    put(96, &256u64.to_le_bytes());
    put(104, &256u64.to_le_bytes());
    put(112, &align.to_le_bytes());
    put(120, TELL);
    file
}

/// A program of one segment, to be moved by multiples of 2 MiB.
fn a_program_is_moved_by_a_multiple_of_its_alignment() -> Outcome {
    write_program(&movable(0, 2 << 20))?;
    for _ in 0..8 {
        let status = in_child(|| Err(execute(PATH).into()))?;
        println!("bits 12 to 19 of its address: {:#x}", status >> 8);
        check!(status == 0);
    }
    sys::unlink(PATH)?;
    Ok(())
}

/// Nothing lies at a multiple of such alignments but 0, which only the privileged may map on Linux, and nobody here.
fn alignments_beyond_all_addresses_move_no_program_out_of_user_space() -> Outcome {
    for vaddr in [0, 0x7fff_ffff_d000] {
        for align in [1 << 46, 1 << 47, 1 << 48, 1 << 63] {
            write_program(&movable(vaddr, align))?;
            let status = in_child(|| Err(execute(PATH).into()))?;
            println!("alignment {align:#x} at {vaddr:#x}: status {status:#x}");
        }
    }
    sys::unlink(PATH)?;
    Ok(())
}
