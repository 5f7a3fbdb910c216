//! TCP and UDP over IPv4 and IPv6 (ip(7), ipv6(7), tcp(7), udp(7)).
//!
//! * [`tuple`]: addresses and four-tuples, and where they stand in a packet.
//! * [`packet`]: packet buffers. [`link`]: where packets go. [`stack`]: where they arrive: tables of connections, listeners,
//!   ports.
//! * [`conn`]: one end of a connection: its inbox, its timer, its lock. [`core`](mod@core) is what the lock
//!   protects: a smoltcp socket with an interface of its own, and the overflow of its buffers.
//! * [`tcp`], [`listener`], [`options`], [`udp`]: the sockets that programs see.
//!
//! A segment that is sent goes by its link to the stack, which finds the receiving connection and puts it into
//! that one's inbox; the connection goes on the sender's work list. When the sender has let go of its own lock it
//! works the list off. So two ends are never locked together, nothing recurses, and a packet costs the
//! same with two connections as with a million.

pub mod conn;
mod control;
mod core;
pub mod link;
pub mod listener;
pub mod options;
pub mod packet;
mod place;
pub mod ports;
mod reply;
pub mod stack;
pub mod tcp;
pub mod tuple;
pub mod udp;

pub use link::{Link, Loopback};
pub use packet::Packet;
pub use stack::{Stack, Work};
