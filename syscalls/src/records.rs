//! Argument records that may grow (clone3(2), openat2(2), sched_setattr(2)): a program says how long the one is that it
//! knows.

use arch::addr::{PAGE_SIZE, VirtAddr};
use base::{Errno, Result};
use memory::user::UserPtr;

/// Reads a record of `size` bytes as 64-bit words. EINVAL if it has fewer than `least` words; E2BIG if it is longer than a page, or if
/// what is longer than `WORDS` is not all zero. What it is short of reads as zero.
pub fn read<const WORDS: usize>(addr: VirtAddr, size: usize, least: usize) -> Result<[u64; WORDS]> {
    if size > PAGE_SIZE {
        return Err(Errno::E2BIG.into());
    }
    if size < least * 8 {
        return Err(Errno::EINVAL.into());
    }
    let at = |byte: usize| UserPtr::<u8>::new(VirtAddr(addr.0.wrapping_add(byte)));
    let mut words = [0; WORDS];
    for (i, word) in words.iter_mut().enumerate() {
        let mut bytes = [0; 8];
        let len = size.saturating_sub(i * 8).min(8);
        if len > 0 {
            at(i * 8).read_slice(&mut bytes[..len])?;
        }
        *word = u64::from_le_bytes(bytes);
    }
    for byte in WORDS * 8..size {
        if at(byte).read()? != 0 {
            return Err(Errno::E2BIG.into());
        }
    }
    Ok(words)
}
