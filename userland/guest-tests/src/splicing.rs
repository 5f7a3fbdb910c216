//! From and into pipes by splice(2).

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::signal;
use rt::sys::{self, Errno};

use crate::support::{call, in_state, start};
use crate::{Outcome, check, tests};

tests! {
    splice_moves_from_a_pipe_into_a_file,
    splice_moves_from_pipe_to_pipe,
    splice_waits_for_bytes_and_for_room,
    splice_loses_nothing_that_the_target_does_not_take,
    splice_stops_at_the_limit_of_a_file,
    splice_refuses_what_it_cannot,
}

const NONBLOCK: u32 = 2;

/// SIG_IGN.
const IGNORED: signal::Action = signal::Action { handler: 1, flags: 0, restorer: 0, mask: 0 };

/// splice with offsets for both files, if they are given.
fn splice(from: (i32, Option<&mut i64>), to: (i32, Option<&mut i64>), len: usize, flags: u32) -> Result<usize, Errno> {
    let at = |offset: Option<&mut i64>| offset.map_or(0, |offset| &raw mut *offset as usize);
    call(__NR_splice, [from.0 as usize, at(from.1), to.0 as usize, at(to.1), len, flags as usize])
}

fn file() -> Result<i32, Errno> {
    const PATH: &core::ffi::CStr = c"/tmp/guest-tests-splice";
    let fd = sys::open(PATH, O_RDWR | O_CREAT | O_TRUNC, 0o600)?;
    sys::unlink(PATH)?;
    Ok(fd)
}

/// What is in the file, from its beginning.
fn content(fd: i32, out: &mut [u8]) -> Result<&[u8], Errno> {
    let len = call(__NR_pread64, [fd as usize, out.as_mut_ptr() as usize, out.len(), 0])?;
    Ok(&out[..len])
}

fn splice_moves_from_a_pipe_into_a_file() -> Outcome {
    let (pipe, file) = (sys::pipe(0)?, file()?);
    let mut room = [0; 64];
    sys::write(pipe[1], b"0123456789")?;
    check!(splice((pipe[0], None), (file, None), 4, 0)? == 4);
    check!(splice((pipe[0], None), (file, None), 2, 0)? == 2);
    check!(content(file, &mut room)? == b"012345");
    let mut at = 8;
    check!(splice((pipe[0], None), (file, Some(&mut at)), 100, 0)? == 4);
    check!(at == 12 && content(file, &mut room)? == b"012345\0\x006789");
    // The position is where the splices without an offset left it.
    sys::write(file, b"x")?;
    check!(content(file, &mut room)?[..7] == *b"012345x");
    sys::close(pipe[1])?;
    check!(splice((pipe[0], None), (file, None), 100, 0)? == 0);
    Ok(())
}

fn splice_moves_from_pipe_to_pipe() -> Outcome {
    let (one, two) = (sys::pipe(0)?, sys::pipe(0)?);
    let mut room = [0; 64];
    sys::write(one[1], b"abcdef")?;
    check!(splice((one[0], None), (two[1], None), 4, 0)? == 4);
    check!(sys::read(two[0], &mut room)? == 4 && room[..4] == *b"abcd");
    check!(sys::read(one[0], &mut room)? == 2 && room[..2] == *b"ef");
    check!(splice((one[0], None), (two[1], None), 4, NONBLOCK) == Err(Errno(EAGAIN)));
    check!(splice((one[0], None), (two[1], None), 0, 0)? == 0);
    // More than a page, around the end of the ring.
    let block = [7u8; 5000];
    for _ in 0..20 {
        sys::write_all(one[1], &block)?;
        let mut moved = 0;
        while moved < block.len() {
            moved += splice((one[0], None), (two[1], None), block.len() - moved, 0)?;
        }
        let (mut copy, mut len) = ([0u8; 5000], 0);
        while len < copy.len() {
            len += sys::read(two[0], &mut copy[len..])?;
        }
        check!(copy == block);
    }
    Ok(())
}

fn fill(pipe: i32) -> Result<usize, Errno> {
    let mut total = 0;
    loop {
        let mut slot = [pollfd { fd: pipe, events: POLLOUT as i16, revents: 0 }];
        if sys::poll(&mut slot, 0)? == 0 {
            return Ok(total);
        }
        total += sys::write(pipe, &[1; 4096])?;
    }
}

fn splice_waits_for_bytes_and_for_room() -> Outcome {
    let (one, two) = (sys::pipe(0)?, sys::pipe(0)?);
    let full = fill(two[1])?;
    let child = start(|| {
        check!(splice((one[0], None), (two[1], None), 3, 0)? == 3);
        Ok(())
    })?;
    check!(in_state(child, b'S'));
    sys::write(one[1], b"xyz")?;
    sys::sleep_ms(20);
    check!(in_state(child, b'S'));
    let mut room = [0; 4096];
    for _ in 0..full / 4096 {
        check!(sys::read(two[0], &mut room)? == 4096);
    }
    check!(sys::wait4(child, 0)? == (child, 0));
    check!(sys::read(two[0], &mut room)? == 3 && room[..3] == *b"xyz");
    // The end of the source wakes it, too.
    let child = start(|| {
        sys::close(one[1])?;
        check!(splice((one[0], None), (two[1], None), 3, 0)? == 0);
        Ok(())
    })?;
    check!(in_state(child, b'S'));
    sys::close(one[1])?;
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn splice_loses_nothing_that_the_target_does_not_take() -> Outcome {
    let (one, two) = (sys::pipe(0)?, sys::pipe(0)?);
    let full = fill(two[1])?;
    sys::write(one[1], b"kept")?;
    check!(splice((one[0], None), (two[1], None), 4, NONBLOCK) == Err(Errno(EAGAIN)));
    sys::write(one[1], b" all")?;
    let mut room = [0; 64];
    check!(sys::read(one[0], &mut room)? == 8 && room[..8] == *b"kept all");
    // One that is broken takes nothing either.
    signal::set_action(SIGPIPE, &IGNORED)?;
    sys::close(two[0])?;
    check!(full > 0);
    sys::write(one[1], b"kept")?;
    check!(splice((one[0], None), (two[1], None), 4, 0) == Err(Errno(EPIPE)));
    check!(sys::read(one[0], &mut room)? == 4 && room[..4] == *b"kept");
    Ok(())
}

fn splice_stops_at_the_limit_of_a_file() -> Outcome {
    let (pipe, file) = (sys::pipe(0)?, file()?);
    signal::set_action(SIGXFSZ, &IGNORED)?;
    let limit = [5u64, 5];
    call(__NR_prlimit64, [0, RLIMIT_FSIZE as usize, limit.as_ptr() as usize, 0])?;
    let mut room = [0; 64];
    sys::write(pipe[1], b"0123456789")?;
    check!(splice((pipe[0], None), (file, None), 10, 0)? == 5);
    check!(splice((pipe[0], None), (file, None), 10, 0) == Err(Errno(EFBIG)));
    check!(content(file, &mut room)? == b"01234");
    check!(sys::read(pipe[0], &mut room)? == 5 && room[..5] == *b"56789");
    Ok(())
}

fn splice_refuses_what_it_cannot() -> Outcome {
    let (one, two, file) = (sys::pipe(0)?, sys::pipe(0)?, file()?);
    sys::write(one[1], b"x")?;
    let mut at = 0;
    check!(splice((one[0], None), (one[1], None), 1, 0) == Err(Errno(EINVAL)));
    check!(splice((file, None), (file, None), 1, 0) == Err(Errno(EINVAL)));
    check!(splice((one[0], Some(&mut at)), (two[1], None), 1, 0) == Err(Errno(ESPIPE)));
    check!(splice((one[0], None), (two[1], Some(&mut at)), 1, 0) == Err(Errno(ESPIPE)));
    check!(splice((one[1], None), (two[1], None), 1, 0) == Err(Errno(EBADF)));
    check!(splice((one[0], None), (two[0], None), 1, 0) == Err(Errno(EBADF)));
    check!(splice((one[0], None), (file, None), 1, 16) == Err(Errno(EINVAL)));
    call(__NR_fcntl, [file as usize, F_SETFL as usize, O_APPEND as usize])?;
    check!(splice((one[0], None), (file, None), 1, 0) == Err(Errno(EINVAL)));
    let mut byte = [0];
    check!(sys::read(one[0], &mut byte)? == 1);
    Ok(())
}
