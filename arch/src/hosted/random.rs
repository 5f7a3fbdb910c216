//! Seeds for the kernel's random number generator.

use super::sim;

/// 32 bytes of entropy from the machine (hardware instructions, the boot loader) mixed with its
/// clocks. Whether a hardware source took part is the second value.
pub fn seed() -> ([u8; 32], bool) {
    sim::with(|s| (s.seed, true))
}
