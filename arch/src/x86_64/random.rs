//! Seeds for the kernel's random number generator.

use super::features::{Features, has};
use super::time;
use core::arch::asm;

/// Tries an instruction that sets the carry flag when it has a value; a few times, as the manual advises.
macro_rules! hardware {
    ($instruction:literal) => {
        (0..10).find_map(|_| {
            let (value, ok): (u64, u8);
            // SAFETY: the caller looked for the instruction; it touches two registers.
            unsafe { asm!(concat!($instruction, " {}"), "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack)) };
            (ok != 0).then_some(value)
        })
    };
}

/// 32 bytes of entropy from the machine (hardware instructions, the boot loader) mixed with its
/// clocks. Whether a hardware source took part is the second value.
pub fn seed() -> ([u8; 32], bool) {
    let mut seed = [0; 32];
    let mut from_hardware = true;
    let mut state = time::wall_clock_at_boot();
    for chunk in seed.chunks_mut(8) {
        let mut value = None;
        if has(Features::RDSEED) {
            value = hardware!("rdseed");
        }
        if value.is_none() && has(Features::RDRAND) {
            value = hardware!("rdrand");
        }
        from_hardware &= value.is_some();
        // How long a few steps take varies a little; each reading is stirred in (splitmix64).
        for _ in 0..16 {
            state = (state ^ time::tsc()).wrapping_add(0x9e37_79b9_7f4a_7c15);
            state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            state ^= state >> 31;
        }
        chunk.copy_from_slice(&(state ^ value.unwrap_or(0)).to_le_bytes());
    }
    (seed, from_hardware)
}
