//! What the addresses that programs give mean here: this machine, and nothing else yet.

use super::tuple::{Ip, Point};
use crate::address::{Address, Family};
use base::{Errno, Result};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The wildcard of a family.
pub(super) fn wildcard(family: Family) -> Ip {
    match family {
        Family::Inet4 => Ip::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        _ => Ip::ANY,
    }
}

/// The point that an address names for a socket of `family`. EAFNOSUPPORT if it is of another.
pub(super) fn point(family: Family, address: &Address) -> Result<Point> {
    let fits = matches!((family, address), (Family::Inet4, Address::Inet4(_)) | (Family::Inet6, Address::Inet6(_)));
    match address.ip() {
        Some((ip, port)) if fits => Ok(Point { ip: Ip::from(ip), port }),
        _ => Err(Errno::EAFNOSUPPORT.into()),
    }
}

/// The point that connect and sendto mean: the wildcard is this machine. ENETUNREACH for what is not.
pub(super) fn destination(family: Family, address: &Address) -> Result<Point> {
    let mut to = point(family, address)?;
    if to.ip.is_wildcard() {
        to.ip = Ip::from(match family {
            Family::Inet4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    if to.ip.is_loopback() { Ok(to) } else { Err(Errno::ENETUNREACH.into()) }
}

/// The address from which `to` is reached.
pub(super) fn source(to: Point) -> Ip {
    Ip::from(if to.ip.is_v4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) })
}

/// The point that bind means. EADDRNOTAVAIL for addresses that are not this machine's.
pub(super) fn bindable(family: Family, address: &Address, v6_only: bool) -> Result<Point> {
    let at = match (family, address) {
        (Family::Inet4, Address::Unspecified) => Point { ip: wildcard(family), port: 0 },
        _ => point(family, address)?,
    };
    if family == Family::Inet6 && at.ip.is_v4() && v6_only {
        return Err(Errno::EINVAL.into());
    }
    if at.ip.is_wildcard() || at.ip.is_loopback() { Ok(at) } else { Err(Errno::EADDRNOTAVAIL.into()) }
}
