//! Where the architectures differ in what programs see: the numbers that only one of them has, argument orders, the layouts
//! of signal frames and of `struct stat`.

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
#[path = "aarch64.rs"]
mod imp;

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
#[path = "x86_64.rs"]
mod imp;

#[cfg(not(target_os = "none"))]
#[path = "hosted.rs"]
mod imp;

pub use imp::*;

/// The bytes of a structure that is all words.
fn words_to_bytes<const WORDS: usize, const BYTES: usize>(words: &[u64; WORDS]) -> [u8; BYTES] {
    const { assert!(WORDS * 8 == BYTES) };
    let mut bytes = [0; BYTES];
    for (to, from) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *to = from.to_ne_bytes();
    }
    bytes
}
