//! Packet buffers. Each CPU keeps a few that were used, so that a segment on its way costs no
//! allocation and no clearing.

use crate::ranks;
use alloc::vec::Vec;
use base::PerCpu;
use core::ops::{Deref, DerefMut};
use executor::spin::SpinLock;

/// What an IP packet of the loopback link may measure: a segment that fills a connection's ring.
pub const MTU: usize = RING + 60;
/// The largest ring of a connection.
pub const RING: usize = 8192;
/// What a buffer holds.
const CAPACITY: usize = MTU + 68;
/// How many spare buffers a CPU keeps.
const SPARES: usize = 8;

/// An IP packet.
pub struct Packet {
    /// Longer than the packet where the buffer is used again and again.
    buf: Vec<u8>,
    len: usize,
}

impl Packet {
    /// A packet that is as long as it says, for one that is kept. `None` without memory.
    pub fn exact(len: usize) -> Option<Packet> {
        let mut buf = Vec::new();
        buf.try_reserve_exact(len).ok()?;
        buf.resize(len, 0);
        Some(Packet { buf, len })
    }

    /// How long it can be made.
    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// Makes it `len` bytes long.
    ///
    /// Longer than the buffer is cut to the buffer.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.buf.len());
    }
}

impl Deref for Packet {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.buf[..self.len]
    }
}

impl DerefMut for Packet {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buf[..self.len]
    }
}

/// The spare buffers of all CPUs.
pub struct Pool(PerCpu<SpinLock<Vec<Vec<u8>>>>);

impl Pool {
    /// No spare buffers yet.
    pub fn new() -> Pool {
        Pool(PerCpu::from_fn(|_| SpinLock::new(ranks::POOL, Vec::new())))
    }

    /// A packet of up to [`MTU`] bytes; its contents are left over. `None` without memory.
    #[inline]
    pub fn take(&self) -> Option<Packet> {
        let spare = self.0.this().lock().pop();
        match spare {
            Some(buf) => Some(Packet { len: buf.len(), buf }),
            None => Packet::exact(CAPACITY),
        }
    }

    /// Gives a packet's buffer back.
    #[inline]
    pub fn put(&self, packet: Packet) {
        if packet.buf.len() != CAPACITY {
            return;
        }
        let mut spares = self.0.this().lock();
        if spares.len() < SPARES && (spares.capacity() > spares.len() || spares.try_reserve_exact(SPARES).is_ok()) {
            spares.push(packet.buf);
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Pool::new()
    }
}
