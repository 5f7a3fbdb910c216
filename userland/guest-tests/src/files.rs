//! Files on the root file system and in /dev.

use rt::raw::errno::{EBADF, EEXIST, ENOENT};
use rt::raw::general::*;
use rt::sys::{self, Errno};

use crate::{Outcome, check, tests};

tests! {
    a_file_gives_back_what_was_written,
    o_excl_on_an_existing_file_is_eexist,
    an_unlinked_file_lives_until_it_is_closed,
    a_closed_descriptor_is_ebadf,
    dev_zero_reads_as_noughts_and_dev_null_is_at_its_end,
}

fn a_file_gives_back_what_was_written() -> Outcome {
    let path = c"/tmp/guest-tests-a";
    let fd = sys::open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)?;
    sys::write_all(fd, b"written")?;
    sys::close(fd)?;
    let fd = sys::open(path, O_RDONLY, 0)?;
    let mut buffer = [0u8; 16];
    check!(sys::read(fd, &mut buffer)? == 7);
    check!(&buffer[..7] == b"written");
    check!(sys::read(fd, &mut buffer)? == 0);
    sys::unlink(path)?;
    check!(sys::open(path, O_RDONLY, 0) == Err(Errno(ENOENT)));
    Ok(())
}

fn o_excl_on_an_existing_file_is_eexist() -> Outcome {
    let path = c"/tmp/guest-tests-b";
    sys::close(sys::open(path, O_RDWR | O_CREAT, 0o600)?)?;
    check!(sys::open(path, O_RDWR | O_CREAT | O_EXCL, 0o600) == Err(Errno(EEXIST)));
    sys::unlink(path)?;
    Ok(())
}

fn an_unlinked_file_lives_until_it_is_closed() -> Outcome {
    let path = c"/tmp/guest-tests-c";
    let fd = sys::open(path, O_RDWR | O_CREAT, 0o600)?;
    sys::unlink(path)?;
    sys::write_all(fd, b"still here")?;
    let mut buffer = [0u8; 16];
    // SAFETY: the buffer is writable for its length.
    let result = unsafe { rt::syscall4(__NR_pread64 as usize, fd as usize, buffer.as_mut_ptr() as usize, 16, 0) };
    check!(sys::check(result)? == 10);
    check!(&buffer[..10] == b"still here");
    Ok(())
}

fn a_closed_descriptor_is_ebadf() -> Outcome {
    let fd = sys::open(c"/dev/null", O_RDONLY, 0)?;
    sys::close(fd)?;
    check!(sys::close(fd) == Err(Errno(EBADF)));
    check!(sys::read(fd, &mut [0]) == Err(Errno(EBADF)));
    Ok(())
}

fn dev_zero_reads_as_noughts_and_dev_null_is_at_its_end() -> Outcome {
    let zero = sys::open(c"/dev/zero", O_RDONLY, 0)?;
    let mut buffer = [1u8; 5000];
    check!(sys::read(zero, &mut buffer)? == 5000);
    check!(buffer.iter().all(|&byte| byte == 0));
    let null = sys::open(c"/dev/null", O_RDWR, 0)?;
    check!(sys::read(null, &mut buffer)? == 0);
    check!(sys::write(null, &buffer)? == 5000);
    Ok(())
}
