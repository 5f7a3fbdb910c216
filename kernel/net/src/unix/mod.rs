//! AF_UNIX (unix(7)): stream, datagram and sequenced-packet sockets.
//!
//! * [`socket`]: the socket itself: naming, listening, connecting, options.
//! * [`channel`]: one direction of a connection. Its lock is all that a byte on its way takes.
//! * [`mail`]: datagrams waiting at their receiver.
//! * [`rights`]: descriptions on their way in messages.
//!
//! A connection is a [`channel::Pair`]: two channels and the two [`Endpoint`]s, which hold what the other end
//! needs of a socket: the queue to notify, the name, the credentials. Endpoints own nothing that
//! owns them, so a connection is freed with its two sockets.

pub mod channel;
mod file;
pub mod mail;
mod names;
pub mod rights;
pub mod socket;

pub use names::{Names, Node};
pub use rights::Rights;
pub use socket::{Endpoint, UnixSocket};
