//! What /proc tells of a process, above all of one that is gone or on its way (proc(5)).

use core::ffi::CStr;

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::signal::kill;
use rt::sys::{self, Errno};

use crate::support::{call, in_state, start};
use crate::{Outcome, check, tests};

tests! {
    a_zombie_lists_its_first_thread,
    a_zombies_flags_say_that_it_has_exited_and_how,
    writing_a_file_of_a_process_that_is_only_read_is_einval,
    writing_a_file_of_the_system_that_is_only_read_is_eio,
    the_directories_of_a_reaped_process_can_not_be_listed,
}

/// /proc/PID followed by `rest`.
struct Path([u8; 48]);

impl Path {
    fn new(pid: i32, rest: &str) -> Path {
        let mut text = [0; 48];
        let mut digits = [0; 10];
        let (mut left, mut count) = (pid as u32, 0);
        while left > 0 {
            digits[count] = b'0' + (left % 10) as u8;
            (left, count) = (left / 10, count + 1);
        }
        text[..6].copy_from_slice(b"/proc/");
        for place in 0..count {
            text[6 + place] = digits[count - 1 - place];
        }
        text[6 + count..6 + count + rest.len()].copy_from_slice(rest.as_bytes());
        Path(text)
    }

    fn text(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// A child that has exited, or was killed, and is not reaped.
fn zombie(killed: bool) -> Result<i32, Errno> {
    let child = start(|| {
        if killed {
            sys::sleep_ms(60_000);
        }
        Ok(())
    })?;
    if killed {
        kill(child, SIGKILL)?;
    }
    if in_state(child, b'Z') { Ok(child) } else { Err(Errno(ETIME)) }
}

/// The names in an open directory but for "." and "..", at most three.
fn names(directory: i32) -> Result<([[u8; 12]; 3], usize), Errno> {
    let mut buffer = [0u8; 1024];
    let len = call(__NR_getdents64, [directory as usize, buffer.as_mut_ptr() as usize, buffer.len()])?;
    let (mut at, mut found, mut count) = (0, [[0; 12]; 3], 0);
    while at < len {
        let size = usize::from(u16::from_ne_bytes([buffer[at + 16], buffer[at + 17]]));
        let name = buffer[at + 19..at + size].split(|byte| *byte == 0).next().unwrap_or(&[]);
        if name != b"." && name != b".." && count < 3 && name.len() <= 12 {
            found[count][..name.len()].copy_from_slice(name);
            count += 1;
        }
        at += size;
    }
    Ok((found, count))
}

/// A field of a stat file after the name: 1 is the state, 7 the flags.
fn field(path: &CStr, number: usize) -> Result<u64, Errno> {
    let file = sys::open(path, O_RDONLY, 0)?;
    let mut text = [0; 512];
    let len = sys::read(file, &mut text)?;
    sys::close(file)?;
    let text = &text[..len];
    let after = text.iter().rposition(|byte| *byte == b')').map_or(&[][..], |at| &text[at + 2..]);
    let word = after.split(|byte| *byte == b' ').nth(number - 1).unwrap_or(&[]);
    Ok(word.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit.wrapping_sub(b'0'))))
}

fn a_zombie_lists_its_first_thread() -> Outcome {
    let child = zombie(false)?;
    let tasks = sys::open(Path::new(child, "/task").text(), O_RDONLY | O_DIRECTORY, 0)?;
    let (found, count) = names(tasks)?;
    check!(count == 1);
    let path = Path::new(child, "");
    check!(path.0[6..].starts_with(&found[0]));
    // Its own files are there, too.
    let mut path = Path::new(child, "/task/");
    let end = path.0.iter().position(|byte| *byte == 0).unwrap_or(0);
    let name_len = found[0].iter().position(|byte| *byte == 0).unwrap_or(0);
    path.0[end..end + name_len].copy_from_slice(&found[0][..name_len]);
    path.0[end + name_len..end + name_len + 5].copy_from_slice(b"/stat");
    check!(field(path.text(), 2)? == sys::getpid() as u64);
    sys::wait4(child, 0)?;
    check!(sys::open(path.text(), O_RDONLY, 0) == Err(Errno(ENOENT)));
    Ok(())
}

fn a_zombies_flags_say_that_it_has_exited_and_how() -> Outcome {
    const EXITING: u64 = 4;
    const FORKED: u64 = 0x40;
    const SIGNALED: u64 = 0x400;
    for killed in [false, true] {
        let child = zombie(killed)?;
        let flags = field(Path::new(child, "/stat").text(), 7)?;
        check!(flags & EXITING != 0);
        check!(flags & FORKED != 0);
        check!((flags & SIGNALED != 0) == killed);
        sys::wait4(child, 0)?;
    }
    check!(field(c"/proc/self/stat", 7)? & (EXITING | SIGNALED) == 0);
    Ok(())
}

fn writing_a_file_of_a_process_that_is_only_read_is_einval() -> Outcome {
    for path in [c"/proc/self/cmdline", c"/proc/self/stat", c"/proc/self/maps", c"/proc/self/limits"] {
        let file = sys::open(path, O_WRONLY, 0)?;
        check!(sys::write(file, b"x") == Err(Errno(EINVAL)));
        sys::close(file)?;
    }
    Ok(())
}

fn writing_a_file_of_the_system_that_is_only_read_is_eio() -> Outcome {
    for path in [c"/proc/meminfo", c"/proc/stat", c"/proc/vmstat"] {
        let file = sys::open(path, O_WRONLY, 0)?;
        check!(sys::write(file, b"x") == Err(Errno(EIO)));
        sys::close(file)?;
    }
    Ok(())
}

fn the_directories_of_a_reaped_process_can_not_be_listed() -> Outcome {
    let child = start(|| {
        sys::sleep_ms(60_000);
        Ok(())
    })?;
    let open = |rest| sys::open(Path::new(child, rest).text(), O_RDONLY | O_DIRECTORY, 0);
    let (process, tasks, files) = (open("")?, open("/task")?, open("/fd")?);
    kill(child, SIGKILL)?;
    sys::wait4(child, 0)?;
    for directory in [process, tasks, files] {
        check!(names(directory).err() == Some(Errno(ENOENT)));
    }
    Ok(())
}
