//! The lock order of this crate. A CPU takes these locks in rising rank only. They rank above those of
//! vfs, since a system call may hold a descriptor table or a file position when it comes here.
//!
//! Two ends of a connection are never locked together: a TCP segment goes through the receiver's
//! inbox, and the two directions of a UNIX connection have a lock each.

use executor::spin::Rank;

/// What a socket is at the moment: unconnected, listening, connected.
pub const STATE: Rank = Rank::new(150, "socket state");
/// Names of UNIX sockets that are not in the file system.
pub const UNIX_NAMES: Rank = Rank::new(152, "abstract socket names");
/// Connections that a UNIX listener has not accepted yet.
pub const UNIX_BACKLOG: Rank = Rank::new(154, "unix backlog");
/// One direction of a UNIX connection.
pub const UNIX_CHANNEL: Rank = Rank::new(156, "unix channel");
/// Datagrams that a UNIX socket has not read yet.
pub const UNIX_MAIL: Rank = Rank::new(158, "unix mail");
/// The name of a UNIX socket.
pub const UNIX_NAME: Rank = Rank::new(160, "unix name");
/// Descriptions on their way in messages, by user.
pub const UNIX_RIGHTS: Rank = Rank::new(162, "rights in flight");
/// One end of a TCP connection: the protocol's state and the buffers.
pub const TCP_CORE: Rank = Rank::new(164, "tcp connection");
/// Connections by four-tuple.
pub const TCP_TABLE: Rank = Rank::new(166, "tcp table");
/// Listeners by address and port.
pub const LISTENERS: Rank = Rank::new(168, "tcp listeners");
/// Connections that a TCP listener has not handed out yet.
pub const TCP_BACKLOG: Rank = Rank::new(170, "tcp backlog");
/// UDP sockets by address and port.
pub const UDP_TABLE: Rank = Rank::new(172, "udp table");
/// Who uses which port.
pub const PORTS: Rank = Rank::new(174, "ports");
/// Connections in TIME-WAIT.
pub const TIME_WAIT: Rank = Rank::new(176, "time-wait");
/// Segments that have arrived for a connection.
pub const TCP_INBOX: Rank = Rank::new(178, "tcp inbox");
/// Datagrams that a UDP socket has not read yet.
pub const UDP_QUEUE: Rank = Rank::new(180, "udp queue");
/// Deadlines of connections.
pub const TIMERS: Rank = Rank::new(182, "tcp timers");
/// Spare packet buffers of a CPU.
pub const POOL: Rank = Rank::new(184, "packet pool");
