//! What the system calls itself (uname(2)).

use alloc::vec::Vec;
use base::rank;
use executor::spin::SpinLock;

/// The Linux release whose interface is offered, and this kernel's own version.
pub const RELEASE: &str = concat!("6.1.0-pollux-", env!("CARGO_PKG_VERSION"));

/// What is built, and how.
pub const VERSION: &str = concat!("#1 SMP Pollux ", env!("CARGO_PKG_VERSION"));

/// The names that a privileged program may set.
#[derive(Clone, Default)]
pub struct Names {
    /// The node's name (sethostname(2)).
    pub host: Vec<u8>,
    /// Its domain (setdomainname(2)).
    pub domain: Vec<u8>,
}

static NAMES: SpinLock<Option<Names>> = SpinLock::new(rank::RANDOM, None);

/// The names as they are.
pub fn get() -> Names {
    let unset = || Names { host: b"(none)".to_vec(), domain: b"(none)".to_vec() };
    NAMES.lock().clone().unwrap_or_else(unset)
}

/// sethostname(2).
pub fn set_host(host: Vec<u8>) {
    let new = Names { host, ..get() };
    *NAMES.lock() = Some(new);
}

/// setdomainname(2).
pub fn set_domain(domain: Vec<u8>) {
    let new = Names { domain, ..get() };
    *NAMES.lock() = Some(new);
}
