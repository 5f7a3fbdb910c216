//! The kernel's random numbers (random(4), getrandom(2)): ChaCha20, seeded from the machine. Each time that it computes it takes its
//! next key from its own output first, and what is handed out is erased, so that a later look at the state does not tell earlier
//! output.

use base::rank;
use executor::spin::SpinLock;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

static STATE: SpinLock<Option<State>> = SpinLock::new(rank::RANDOM, None);

/// The generator computes 256 bytes at once; 32 are its next key.
const POOL: usize = 256 - 32;

struct State {
    rng: ChaCha20Rng,
    /// Output that nobody was given yet, in the first `left` bytes. The others are zero.
    pool: [u8; POOL],
    left: usize,
}

impl State {
    fn new() -> State {
        State { rng: ChaCha20Rng::from_seed(arch::random::seed().0), pool: [0; POOL], left: 0 }
    }

    fn fill(&mut self, buf: &mut [u8]) {
        if buf.len() > POOL {
            self.rng.fill_bytes(buf);
            return self.rekey();
        }
        if buf.len() > self.left {
            self.rng.fill_bytes(&mut self.pool);
            self.rekey();
            self.left = POOL;
        }
        let given = &mut self.pool[self.left - buf.len()..self.left];
        buf.copy_from_slice(given);
        given.fill(0);
        self.left -= buf.len();
    }

    fn rekey(&mut self) {
        let mut key = [0; 32];
        self.rng.fill_bytes(&mut key);
        self.rng = ChaCha20Rng::from_seed(key);
    }
}

/// Seeds from the machine. Once, at boot.
pub fn init() {
    *STATE.lock() = Some(State::new());
}

/// Fills `buf`. Never waits.
pub fn fill(buf: &mut [u8]) {
    STATE.lock().get_or_insert_with(State::new).fill(buf);
}

/// A random number.
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_out_is_not_in_the_state() {
        arch::sim::boot(1, 1 << 20, [7; 32]);
        let mut state = State::new();
        let mut seen = alloc::collections::BTreeSet::new();
        for len in [1, 16, 48, 200, POOL, POOL + 1, 1000, 8].into_iter().cycle().take(100) {
            let mut buf = alloc::vec![0; len];
            state.fill(&mut buf);
            assert!(state.pool[state.left..].iter().all(|byte| *byte == 0));
            if len >= 16 {
                assert!(seen.insert(buf));
            }
        }
    }
}
