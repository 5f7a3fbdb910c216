//! The one network of the machine: made at boot, and asked for where sockets are made.

use crate::{proc, random, time};
use alloc::sync::Arc;
use base::{Errno, Result, rank};
use executor::spin::SpinLock;
use net::{Machine, Net};

/// Held to copy the reference only.
static NETWORK: SpinLock<Option<Arc<Net>>> = SpinLock::new(rank::DEVICES, None);

/// Makes the network, on this machine's clock and random numbers. Once, at boot, after [`time::init`] and
/// [`random::init`].
pub fn init() {
    let network = Net::new(Machine { now: time::monotonic, random: random::number });
    proc::set_network(network.clone());
    *NETWORK.lock() = Some(network);
}

/// The network. ENETDOWN before there is one.
pub fn get() -> Result<Arc<Net>> {
    NETWORK.lock().clone().ok_or(Errno::ENETDOWN.into())
}
