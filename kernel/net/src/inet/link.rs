//! Where IP packets go.

use super::packet::Packet;
use super::stack::Work;
use super::tuple::Headers;

/// A link that takes IP packets: the loopback, or a network card below a driver.
///
/// A card's driver hands what it received to [`super::Stack::receive`]; sockets do not know by which link
/// they are reached.
pub trait Link: Send + Sync {
    /// Sends a packet, whose `headers` are as its receiver sees them. What reaches a connection of this machine at once goes on `work`. A link that has no
    /// room drops the packet. Called with a connection locked; must not wait.
    fn transmit(&self, packet: Packet, headers: &Headers, work: &mut Work);
}

/// The link whose packets arrive where they were sent from, at once and in order.
pub struct Loopback;

impl Link for Loopback {
    #[inline]
    fn transmit(&self, packet: Packet, headers: &Headers, work: &mut Work) {
        work.stack().deliver(packet, headers, work);
    }
}
