//! The kernel's random numbers (random(4), getrandom(2)): ChaCha20, seeded from the machine and rekeyed by its own
//! output after each request, so that a later look at the state does not tell earlier output.

use base::rank;
use executor::spin::SpinLock;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

static STATE: SpinLock<Option<ChaCha20Rng>> = SpinLock::new(rank::RANDOM, None);

/// Seeds from the machine. Once, at boot.
pub fn init() {
    let (seed, _) = arch::random::seed();
    *STATE.lock() = Some(ChaCha20Rng::from_seed(seed));
}

/// Fills `buf`. Never waits.
pub fn fill(buf: &mut [u8]) {
    let mut state = STATE.lock();
    let rng = state.get_or_insert_with(|| ChaCha20Rng::from_seed(arch::random::seed().0));
    rng.fill_bytes(buf);
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    *rng = ChaCha20Rng::from_seed(key);
}

/// A random number.
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
