//! One network: what its sockets share.

use crate::inet::Stack;
use crate::unix::{Names, Rights};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// What a network asks of the machine.
#[derive(Clone, Copy)]
pub struct Machine {
    /// Nanoseconds since boot.
    pub now: fn() -> u64,
    /// Bits that nobody can guess: initial sequence numbers, ephemeral ports, hash keys.
    pub random: fn() -> u64,
}

/// A network. The kernel has one; tests make their own.
pub struct Net {
    pub(crate) machine: Machine,
    somaxconn: AtomicU32,
    next_inode: AtomicU64,
    pub(crate) unix: Names,
    pub(crate) rights: Rights,
    pub(crate) inet: Stack,
}

impl Net {
    /// A network with the loopback link.
    pub fn new(machine: Machine) -> Arc<Net> {
        Arc::new(Net {
            machine,
            somaxconn: AtomicU32::new(4096),
            next_inode: AtomicU64::new(1),
            unix: Names::new(),
            rights: Rights::new(),
            inet: Stack::new(machine),
        })
    }

    /// net.core.somaxconn: what the backlog of a listener is cut to.
    pub fn somaxconn(&self) -> u32 {
        self.somaxconn.load(Relaxed)
    }

    /// Sets net.core.somaxconn, for listeners that start later.
    pub fn set_somaxconn(&self, value: u32) {
        self.somaxconn.store(value, Relaxed);
    }

    /// The TCP and UDP side.
    pub fn inet(&self) -> &Stack {
        &self.inet
    }

    /// The backlog that listen(2) gives for what the program asked. A negative number asks for the most.
    pub(crate) fn backlog(&self, asked: i32) -> usize {
        u32::try_from(asked).unwrap_or(u32::MAX).min(self.somaxconn()) as usize
    }

    /// A number for a new socket.
    pub(crate) fn inode(&self) -> u64 {
        self.next_inode.fetch_add(1, Relaxed)
    }
}
