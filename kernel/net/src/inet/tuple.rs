//! Addresses, ports and four-tuples as the tables keep them, and where they stand in a packet.

use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address; IPv4 as its mapped IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ip(u128);

impl Ip {
    /// No address of any family.
    pub const ANY: Ip = Ip(0);

    /// As others know it.
    pub fn to_std(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(self.0)).to_canonical()
    }

    /// Whether it is an IPv4 address.
    pub fn is_v4(self) -> bool {
        self.0 >> 32 == 0xffff
    }

    /// Whether it stands for all addresses: 0.0.0.0 or ::.
    pub fn is_wildcard(self) -> bool {
        self.0 == 0 || self.0 == 0xffff << 32
    }

    /// Whether it is this machine's: 127.0.0.0/8 or ::1.
    pub fn is_loopback(self) -> bool {
        self.0 == 1 || self.0 >> 24 == 0x00ff_ff7f
    }

    /// The wildcard of the same family.
    pub fn wildcard(self) -> Ip {
        if self.is_v4() { Ip(0xffff << 32) } else { Ip(0) }
    }
}

impl From<IpAddr> for Ip {
    fn from(ip: IpAddr) -> Ip {
        Ip(match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        })
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// Address.
    pub ip: Ip,
    /// Port.
    pub port: u16,
}

/// A connection, seen from one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// This end.
    pub local: Point,
    /// The other.
    pub remote: Point,
}

impl Hash for Tuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The upper halves of the addresses are the same for all connections of a network.
        state.write_u64(self.local.ip.0 as u64 ^ (self.local.ip.0 >> 64) as u64);
        state.write_u64((self.remote.ip.0 as u64).rotate_left(32) ^ (self.remote.ip.0 >> 64) as u64);
        state.write_u64(u64::from(self.local.port) << 16 | u64::from(self.remote.port));
    }
}

/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// The protocol number of UDP.
pub const UDP: u8 = 17;

/// The flag of a TCP segment that resets.
pub const RST: u8 = 4;
/// The flag of a TCP segment that begins a connection.
pub const SYN: u8 = 2;
/// The flag of a TCP segment that acknowledges.
pub const ACK: u8 = 16;
/// The flag of a TCP segment that ends one direction.
pub const FIN: u8 = 1;

/// What the headers of a packet say, as far as it concerns where the packet goes.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// Source and destination seen by the receiver: `local` is the destination.
    pub tuple: Tuple,
    /// TCP or UDP.
    pub protocol: u8,
    /// The flags of a TCP segment.
    pub flags: u8,
    /// Where the TCP or UDP header begins.
    pub transport: usize,
    /// Where the payload begins.
    pub payload: usize,
    /// Where it ends.
    pub end: usize,
}

impl Headers {
    /// Reads the headers of an IP packet; `None` if it is malformed, a fragment, or neither TCP nor UDP.
    #[inline]
    pub fn of(packet: &[u8]) -> Option<Headers> {
        let (local, remote, protocol, transport, end) = match packet.first()? >> 4 {
            4 => {
                let head = packet.get(..20)?;
                let word = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
                let fragment = u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0;
                let end = usize::from(u16::from_be_bytes([head[2], head[3]]));
                if fragment {
                    return None;
                }
                let ip = |at: usize| Ip(0xffff << 32 | u128::from(word(at).to_bits()));
                (ip(16), ip(12), head[9], usize::from(head[0] & 15) * 4, end)
            }
            6 => {
                let head = packet.get(..40)?;
                let word = |at: usize| {
                    let mut word = [0; 16];
                    word.copy_from_slice(&head[at..at + 16]);
                    Ip(u128::from_be_bytes(word))
                };
                let end = 40 + usize::from(u16::from_be_bytes([head[4], head[5]]));
                (word(24), word(8), head[6], 40, end)
            }
            _ => return None,
        };
        if end > packet.len() {
            return None;
        }
        let head = packet.get(transport..end)?;
        let (flags, payload) = match protocol {
            TCP => {
                let head = head.get(..20)?;
                (head[13], transport + usize::from(head[12] >> 4) * 4)
            }
            UDP => {
                let head = head.get(..8)?;
                if usize::from(u16::from_be_bytes([head[4], head[5]])) != end - transport {
                    return None;
                }
                (0, transport + 8)
            }
            _ => return None,
        };
        if payload > end {
            return None;
        }
        let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let tuple = Tuple { local: Point { ip: local, port: port(2) }, remote: Point { ip: remote, port: port(0) } };
        Some(Headers { tuple, protocol, flags, transport, payload, end })
    }
}
