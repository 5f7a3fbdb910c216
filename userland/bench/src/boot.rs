//! What init noted in its first moment (userland/init).

use rt::raw::errno;
use rt::raw::general::O_RDONLY;
use rt::sys::{self, Errno, Result};

/// The counter at init's first instructions: nanoseconds since power-on.
pub fn power_on_to_init() -> Result<u64> {
    note(0)
}

/// Free memory at that moment, in bytes. The harness, which knows how much there is, turns it into what is in use.
pub fn free_at_init() -> Result<u64> {
    note(1)
}

fn note(index: usize) -> Result<u64> {
    let fd = sys::open(c"/tmp/pollux-boot", O_RDONLY, 0)?;
    let mut text = [0u8; 128];
    let count = sys::read(fd, &mut text)?;
    sys::close(fd)?;
    core::str::from_utf8(&text[..count])
        .ok()
        .and_then(|text| text.split_whitespace().nth(index)?.parse().ok())
        .ok_or(Errno(errno::EINVAL))
}
