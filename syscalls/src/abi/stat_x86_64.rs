//! `struct stat` of x86_64.

use base::Timespec;
use vfs::Metadata;

/// Bytes in `struct stat`.
pub const STAT: usize = 144;

/// `metadata` as `struct stat`.
pub fn encode_stat(metadata: &Metadata) -> [u8; STAT] {
    let m = metadata;
    let mut words = [0u64; STAT / 8];
    words[0] = m.dev.encode();
    words[1] = m.ino;
    words[2] = m.nlink.into();
    words[3] = u64::from(m.st_mode()) | u64::from(m.uid) << 32;
    words[4] = m.gid.into();
    words[5] = m.rdev.encode();
    words[6] = m.size;
    words[7] = m.block_size.into();
    words[8] = m.blocks;
    for (i, Timespec { sec, nsec }) in [m.atime, m.mtime, m.ctime].into_iter().enumerate() {
        words[9 + 2 * i] = sec as u64;
        words[10 + 2 * i] = nsec as u64;
    }
    super::super::words_to_bytes(&words)
}
