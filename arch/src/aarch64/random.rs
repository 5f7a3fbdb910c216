//! Seeds for the kernel's random number generator.

use super::features;
use aarch64_cpu::registers::{CNTVCT_EL0, Readable};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What the loader gave, folded.
static LOADER: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static LOADER_GAVE: AtomicBool = AtomicBool::new(false);

/// Rounds over the counter's jitter.
const ROUNDS: usize = 256;
/// How often RNDR is asked again when it has nothing yet.
const RETRIES: usize = 16;
/// Bytes of loader's seed from which on it counts as a hardware source.
const SEED_ENOUGH: usize = 16;

/// A bijection of 64-bit words that spreads every bit (the finaliser of splitmix64).
fn spread(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

fn mix(words: &mut [u64; 4], at: usize, input: u64) {
    words[at & 3] = spread(words[at & 3].rotate_left(17) ^ input ^ words[(at + 1) & 3]);
}

/// Takes the seeds of the device tree.
pub(super) fn init(seeds: &[&[u8]]) {
    let mut words = [0; 4];
    for (i, chunk) in seeds.iter().flat_map(|seed| seed.chunks(8)).enumerate() {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        mix(&mut words, i, u64::from_le_bytes(bytes));
    }
    for (slot, word) in LOADER.iter().zip(words) {
        slot.store(word, Relaxed);
    }
    LOADER_GAVE.store(seeds.iter().any(|seed| seed.len() >= SEED_ENOUGH), Relaxed);
}

/// A word of the CPU's generator (FEAT_RNG).
fn hardware() -> Option<u64> {
    if !features::has_rndr() {
        return None;
    }
    for _ in 0..RETRIES {
        let (word, ok): (u64, u64);
        // SAFETY: reads RNDR, which the ID register says is there; the flags tell whether it had a number.
        unsafe { asm!("mrs {}, s3_3_c2_c4_0", "cset {}, ne", out(reg) word, out(reg) ok, options(nomem, nostack)) };
        if ok != 0 {
            return Some(word);
        }
    }
    None
}

/// 32 bytes of entropy from the machine (hardware instructions, the boot loader) mixed with its
/// clocks. Whether a hardware source took part is the second value.
pub fn seed() -> ([u8; 32], bool) {
    let mut words = [0; 4];
    for (word, slot) in words.iter_mut().zip(&LOADER) {
        // Never gives the same twice from the loader's seed.
        *word = slot.load(Relaxed);
        slot.store(spread(*word ^ CNTVCT_EL0.get()), Relaxed);
    }
    let mut from_hardware = LOADER_GAVE.load(Relaxed);
    for i in 0..4 {
        if let Some(word) = hardware() {
            mix(&mut words, i, word);
            from_hardware = true;
        }
    }
    for i in 0..ROUNDS {
        mix(&mut words, i, CNTVCT_EL0.get());
    }
    let mut bytes = [0; 32];
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
    (bytes, from_hardware)
}
