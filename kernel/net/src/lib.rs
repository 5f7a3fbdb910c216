//! Sockets: AF_UNIX, and TCP and UDP over IPv4 and IPv6.
//!
//! * [`socket`]: what every socket can do, and how one is made. [`address`] and [`options`] hold the
//!   parts of that which are plain data.
//! * [`unix`]: stream, datagram and sequenced-packet sockets within the machine.
//! * [`inet`]: TCP (the protocol itself is smoltcp's) and UDP. A segment finds its connection by a hash
//!   of the four-tuple and touches nothing else. Packets leave by a [`inet::Link`]; the loopback link hands
//!   them straight to the receiving end.
//! * [`proc`]: what /proc/net tells of all this.
//!
//! Nothing here waits. An operation that would have to returns [`base::Error::WouldBlock`]; the caller
//! awaits the socket's queue and calls again. Locks are spin locks in the order of [`ranks`].
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod address;
mod bytes;
mod hash;
pub mod inet;
mod net;
pub mod options;
pub mod proc;
pub mod ranks;
pub mod socket;
pub mod unix;

pub use address::{Address, Family, UnixAddress};
pub use net::{Machine, Net};
pub use options::{Level, Type};
pub use socket::{Context, Passed, Paths, Received, SendArgs, Shutdown, Socket, as_socket};

#[cfg(test)]
mod tests;
