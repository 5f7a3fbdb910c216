//! Socket addresses, and how programs lay them out (ip(7), ipv6(7), unix(7)).

use alloc::sync::Arc;
use base::{Errno, Result};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

/// The largest address that a program may pass (`struct sockaddr_storage`).
pub const MAX_LEN: usize = 128;
/// Where the name begins in `struct sockaddr_un`.
const UNIX_PATH: usize = 2;
/// The size of `struct sockaddr_un`.
const UNIX_LEN: usize = 110;
const INET4_LEN: usize = 16;
/// An IPv6 address without its scope, which is still accepted.
const INET6_MIN: usize = 24;
const INET6_LEN: usize = 28;

/// An address family (socket(2)), of those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Family {
    /// AF_UNIX.
    Unix = 1,
    /// AF_INET.
    Inet4 = 2,
    /// AF_INET6.
    Inet6 = 10,
}

impl Family {
    /// The family with this number; EAFNOSUPPORT for any other.
    pub fn from_number(number: i32) -> Result<Family> {
        match number {
            1 => Ok(Family::Unix),
            2 => Ok(Family::Inet4),
            10 => Ok(Family::Inet6),
            _ => Err(Errno::EAFNOSUPPORT.into()),
        }
    }
}

/// The name of a UNIX socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// It has none.
    Unnamed,
    /// In the abstract name space: the bytes after the zero byte.
    Abstract(Arc<[u8]>),
    /// In the file system: the path as it was given to bind(2), without a zero byte.
    Path(Arc<[u8]>),
}

/// A socket's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// AF_UNSPEC: connecting to it dissolves a connection.
    Unspecified,
    /// IPv4 address and port.
    Inet4(SocketAddrV4),
    /// IPv6 address and port.
    Inet6(SocketAddrV6),
    /// UNIX name.
    Unix(UnixAddress),
}

impl Address {
    /// Reads an address that a program passed to a socket of `family`. EINVAL if it is too short or too long;
    /// EAFNOSUPPORT if it is of another family (EINVAL for UNIX sockets, as Linux has it).
    pub fn decode(family: Family, bytes: &[u8]) -> Result<Address> {
        if bytes.len() > MAX_LEN || bytes.len() < 2 {
            return Err(Errno::EINVAL.into());
        }
        let given = u16::from_ne_bytes([bytes[0], bytes[1]]);
        if given == 0 {
            // bind(2) takes AF_UNSPEC with the wildcard address for AF_INET: programs depend on it.
            return Ok(Address::Unspecified);
        }
        match family {
            Family::Unix => {
                if bytes.len() > UNIX_LEN || given != Family::Unix as u16 {
                    return Err(Errno::EINVAL.into());
                }
                Ok(Address::Unix(match &bytes[UNIX_PATH..] {
                    [] => UnixAddress::Unnamed,
                    [0, name @ ..] => UnixAddress::Abstract(name.into()),
                    path => {
                        let end = path.iter().position(|b| *b == 0).unwrap_or(path.len());
                        UnixAddress::Path(path[..end].into())
                    }
                }))
            }
            Family::Inet4 => {
                let Some(fields) = bytes.get(..INET4_LEN) else { return Err(Errno::EINVAL.into()) };
                if given != Family::Inet4 as u16 {
                    return Err(Errno::EAFNOSUPPORT.into());
                }
                let port = u16::from_be_bytes([fields[2], fields[3]]);
                let ip = Ipv4Addr::new(fields[4], fields[5], fields[6], fields[7]);
                Ok(Address::Inet4(SocketAddrV4::new(ip, port)))
            }
            Family::Inet6 => {
                let Some(fields) = bytes.get(..INET6_MIN) else { return Err(Errno::EINVAL.into()) };
                if given != Family::Inet6 as u16 {
                    return Err(Errno::EAFNOSUPPORT.into());
                }
                let port = u16::from_be_bytes([fields[2], fields[3]]);
                let flow = u32::from_be_bytes([fields[4], fields[5], fields[6], fields[7]]);
                let mut ip = [0; 16];
                ip.copy_from_slice(&fields[8..24]);
                let scope = match bytes.get(24..28) {
                    Some(scope) => u32::from_ne_bytes([scope[0], scope[1], scope[2], scope[3]]),
                    None => 0,
                };
                Ok(Address::Inet6(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope)))
            }
        }
    }

    /// Lays the address out for a program, and returns how many bytes that takes.
    pub fn encode(&self, out: &mut [u8; MAX_LEN]) -> usize {
        out.fill(0);
        match self {
            Address::Unspecified => 2,
            Address::Inet4(addr) => {
                out[..2].copy_from_slice(&(Family::Inet4 as u16).to_ne_bytes());
                out[2..4].copy_from_slice(&addr.port().to_be_bytes());
                out[4..8].copy_from_slice(&addr.ip().octets());
                INET4_LEN
            }
            Address::Inet6(addr) => {
                out[..2].copy_from_slice(&(Family::Inet6 as u16).to_ne_bytes());
                out[2..4].copy_from_slice(&addr.port().to_be_bytes());
                out[4..8].copy_from_slice(&addr.flowinfo().to_be_bytes());
                out[8..24].copy_from_slice(&addr.ip().octets());
                out[24..28].copy_from_slice(&addr.scope_id().to_ne_bytes());
                INET6_LEN
            }
            Address::Unix(name) => {
                out[..2].copy_from_slice(&(Family::Unix as u16).to_ne_bytes());
                match name {
                    UnixAddress::Unnamed => UNIX_PATH,
                    UnixAddress::Abstract(name) => {
                        out[3..3 + name.len()].copy_from_slice(name);
                        UNIX_PATH + 1 + name.len()
                    }
                    // The zero byte counts, even where the path fills the field.
                    UnixAddress::Path(path) => {
                        out[2..2 + path.len()].copy_from_slice(path);
                        UNIX_PATH + path.len() + 1
                    }
                }
            }
        }
    }

    /// An Internet address as a socket of `family` shows it: IPv4 seen through AF_INET6 is mapped.
    pub(crate) fn inet(family: Family, ip: IpAddr, port: u16) -> Address {
        match (family, ip) {
            (Family::Inet6, IpAddr::V4(ip)) => Address::Inet6(SocketAddrV6::new(ip.to_ipv6_mapped(), port, 0, 0)),
            (_, IpAddr::V4(ip)) => Address::Inet4(SocketAddrV4::new(ip, port)),
            (_, IpAddr::V6(ip)) => Address::Inet6(SocketAddrV6::new(ip, port, 0, 0)),
        }
    }

    /// The IP address (unmapped) and port; `None` if it is none.
    pub(crate) fn ip(&self) -> Option<(IpAddr, u16)> {
        match self {
            Address::Inet4(addr) => Some((IpAddr::V4(*addr.ip()), addr.port())),
            Address::Inet6(addr) => Some((IpAddr::V6(*addr.ip()).to_canonical(), addr.port())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Error;

    fn errno(result: Result<Address>) -> Errno {
        match result {
            Err(Error::Errno(errno)) => errno,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_address_survives_the_round_trip() {
        let all = [
            (Family::Inet4, Address::Inet4(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1), 80))),
            (Family::Inet6, Address::Inet6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 7, 9))),
            (Family::Unix, Address::Unix(UnixAddress::Unnamed)),
            (Family::Unix, Address::Unix(UnixAddress::Abstract((*b"a\0b")[..].into()))),
            (Family::Unix, Address::Unix(UnixAddress::Path((*b"/run/x")[..].into()))),
        ];
        for (family, address) in all {
            let mut raw = [0; MAX_LEN];
            let len = address.encode(&mut raw);
            assert_eq!(Address::decode(family, &raw[..len]), Ok(address));
        }
    }

    #[test]
    fn lengths_and_families_are_refused_as_linux_does() {
        let mut raw = [0u8; 130];
        raw[0] = 2;
        assert_eq!(errno(Address::decode(Family::Inet4, &raw)), Errno::EINVAL);
        assert_eq!(errno(Address::decode(Family::Inet4, &raw[..1])), Errno::EINVAL);
        assert_eq!(errno(Address::decode(Family::Inet4, &raw[..15])), Errno::EINVAL);
        assert_eq!(errno(Address::decode(Family::Inet6, &raw[..28])), Errno::EAFNOSUPPORT);
        assert_eq!(errno(Address::decode(Family::Unix, &raw[..28])), Errno::EINVAL);
        raw[0] = 1;
        assert_eq!(errno(Address::decode(Family::Unix, &raw[..111])), Errno::EINVAL);
        assert_eq!(errno(Address::decode(Family::Inet4, &raw[..16])), Errno::EAFNOSUPPORT);
    }
}
