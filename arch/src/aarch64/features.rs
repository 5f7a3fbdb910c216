//! What the CPUs can do, in the bits and names that Linux gives programs (AT_HWCAP, AT_HWCAP2, /proc/cpuinfo).
//!
//! Only what the kernel keeps for a program is told: no SVE, SME, pointer authentication, BTI or MTE, and no
//! emulated ID registers (HWCAP_CPUID).

use aarch64_cpu::registers::{
    ID_AA64ISAR0_EL1, ID_AA64ISAR1_EL1, ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1, ID_AA64PFR0_EL1, Readable,
};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static PAN: AtomicBool = AtomicBool::new(false);
static RNDR: AtomicBool = AtomicBool::new(false);
static HWCAP: AtomicU64 = AtomicU64::new(0);
static HWCAP2: AtomicU64 = AtomicU64::new(0);

/// Which ID register a feature is told by.
#[derive(Clone, Copy)]
enum Id {
    Isar0,
    Isar1,
    Mmfr2,
    Pfr0,
    Pfr1,
}

/// A feature: name in /proc/cpuinfo, register, lowest bit of the four-bit field, least value, hwcap bit (64
/// and up: AT_HWCAP2).
type Feature = (&'static str, Id, u32, u64, u32);

/// In the order of the bits. Fields of [`Id::Pfr0`] for FP and ASIMD are 15 where there is none.
const FEATURES: &[Feature] = &[
    ("fp", Id::Pfr0, 16, 0, 0),
    ("asimd", Id::Pfr0, 20, 0, 1),
    ("aes", Id::Isar0, 4, 1, 3),
    ("pmull", Id::Isar0, 4, 2, 4),
    ("sha1", Id::Isar0, 8, 1, 5),
    ("sha2", Id::Isar0, 12, 1, 6),
    ("crc32", Id::Isar0, 16, 1, 7),
    ("atomics", Id::Isar0, 20, 2, 8),
    ("fphp", Id::Pfr0, 16, 1, 9),
    ("asimdhp", Id::Pfr0, 20, 1, 10),
    ("asimdrdm", Id::Isar0, 28, 1, 12),
    ("jscvt", Id::Isar1, 12, 1, 13),
    ("fcma", Id::Isar1, 16, 1, 14),
    ("lrcpc", Id::Isar1, 20, 1, 15),
    ("dcpop", Id::Isar1, 0, 1, 16),
    ("sha3", Id::Isar0, 32, 1, 17),
    ("sm3", Id::Isar0, 36, 1, 18),
    ("sm4", Id::Isar0, 40, 1, 19),
    ("asimddp", Id::Isar0, 44, 1, 20),
    ("sha512", Id::Isar0, 12, 2, 21),
    ("asimdfhm", Id::Isar0, 48, 1, 23),
    ("dit", Id::Pfr0, 48, 1, 24),
    ("uscat", Id::Mmfr2, 32, 1, 25),
    ("ilrcpc", Id::Isar1, 20, 2, 26),
    ("flagm", Id::Isar0, 52, 1, 27),
    ("ssbs", Id::Pfr1, 4, 2, 28),
    ("sb", Id::Isar1, 36, 1, 29),
    ("dcpodp", Id::Isar1, 0, 2, 64),
    ("flagm2", Id::Isar0, 52, 2, 64 + 7),
    ("frint", Id::Isar1, 32, 1, 64 + 8),
    ("i8mm", Id::Isar1, 52, 1, 64 + 13),
    ("bf16", Id::Isar1, 44, 1, 64 + 14),
    ("dgh", Id::Isar1, 48, 1, 64 + 15),
    ("rng", Id::Isar0, 60, 1, 64 + 16),
];

fn field(id: Id, shift: u32) -> u64 {
    let value = match id {
        Id::Isar0 => ID_AA64ISAR0_EL1.get(),
        Id::Isar1 => ID_AA64ISAR1_EL1.get(),
        Id::Mmfr2 => ID_AA64MMFR2_EL1.get(),
        Id::Pfr0 => ID_AA64PFR0_EL1.get(),
        Id::Pfr1 => {
            let value;
            // SAFETY: only reads a register that is there on every AArch64 CPU.
            unsafe { asm!("mrs {}, id_aa64pfr1_el1", out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }
    };
    value >> shift & 15
}

/// Reads the ID registers of the boot CPU. The others are taken to be alike.
pub fn detect() {
    PAN.store(ID_AA64MMFR1_EL1.get() >> 20 & 15 != 0, Relaxed);
    RNDR.store(field(Id::Isar0, 60) != 0, Relaxed);
    let (mut low, mut high) = (0, 0);
    for &(_, id, shift, least, bit) in FEATURES {
        let value = field(id, shift);
        let none = matches!(id, Id::Pfr0) && value == 15;
        if value >= least && !none {
            if bit < 64 {
                low |= 1 << bit;
            } else {
                high |= 1 << (bit - 64);
            }
        }
    }
    HWCAP.store(low, Relaxed);
    HWCAP2.store(high, Relaxed);
}

/// Whether EL1 is kept from user memory by PSTATE.PAN.
#[inline(always)]
pub fn has_pan() -> bool {
    PAN.load(Relaxed)
}

/// Whether the CPU has a random number generator.
pub fn has_rndr() -> bool {
    RNDR.load(Relaxed)
}

/// AT_HWCAP.
pub fn hwcap() -> u64 {
    HWCAP.load(Relaxed)
}

/// AT_HWCAP2.
pub fn hwcap2() -> u64 {
    HWCAP2.load(Relaxed)
}

/// The names of the features that [`hwcap`] and [`hwcap2`] tell of.
pub fn names() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().filter_map(|&(name, _, _, _, bit)| {
        let word = if bit < 64 { hwcap() } else { hwcap2() };
        (word >> (bit % 64) & 1 != 0).then_some(name)
    })
}
