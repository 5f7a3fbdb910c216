//! What every socket can do (socket(2) and its family), and how one is made.
//!
//! A program's calls arrive here decoded. Nothing waits: [`base::Error::WouldBlock`] says to await the
//! socket's queue and call again, with the time limits that [`Socket::receive_timeout`] and
//! [`Socket::send_timeout`] give. EPIPE of a stream socket raises SIGPIPE unless MSG_NOSIGNAL was given; that is the
//! caller's to do ([`Socket::is_stream`]), as are MSG_DONTWAIT, the waiting of MSG_WAITALL, and MSG_CTRUNC and
//! MSG_CMSG_CLOEXEC, which come up where descriptors are handed out.

use crate::address::{Address, Family};
use crate::inet::tcp::Tcp;
use crate::inet::udp::Udp;
use crate::net::Net;
use crate::options::{Credential, Options, Type};
use crate::unix::{Node, UnixSocket};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Events, Result};
use bitflags::bitflags;
use executor::WaitQueue;
use memory::io::{Dst, Src};
use vfs::{Caller, Description, File};

/// What SCM_RIGHTS passes.
pub type Passed = Arc<Description>;

/// What a call on a socket knows beyond [`Caller`].
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Who calls.
    pub caller: &'a Caller<'a>,
    /// File names as the caller sees them.
    pub paths: &'a dyn Paths,
    /// RLIMIT_NOFILE: bounds how many descriptions one user may have on their way in messages.
    pub open_files_limit: u64,
}

/// The file system, as bind and connect of UNIX sockets need it: resolves names in the caller's root, current
/// directory and mount tree, with its permissions.
pub trait Paths {
    /// Makes a socket file at `path` that stands for `node`. EADDRINUSE if the name exists, else as mknod(2).
    fn create(&self, path: &[u8], node: Arc<Node>) -> Result<()>;
    /// Takes a socket file away again that was just made.
    fn remove(&self, path: &[u8]) -> Result<()>;
    /// What the socket file at `path` stands for. ECONNREFUSED if it is no socket; EACCES without write permission; else
    /// as open(2).
    fn find(&self, path: &[u8]) -> Result<Arc<Node>>;
}

/// A file system without sockets, for callers that have none to offer: every name fails with ENOENT.
pub struct NoPaths;

impl Paths for NoPaths {
    fn create(&self, _path: &[u8], _node: Arc<Node>) -> Result<()> {
        Err(Errno::ENOENT.into())
    }

    fn remove(&self, _path: &[u8]) -> Result<()> {
        Err(Errno::ENOENT.into())
    }

    fn find(&self, _path: &[u8]) -> Result<Arc<Node>> {
        Err(Errno::ENOENT.into())
    }
}

/// Which directions shutdown(2) ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}

impl Shutdown {
    /// From the number; EINVAL for any but 0, 1, 2.
    pub fn from_number(how: i32) -> Result<Shutdown> {
        match how {
            0 => Ok(Shutdown::Read),
            1 => Ok(Shutdown::Write),
            2 => Ok(Shutdown::Both),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// Whether reading ends.
    pub fn reads(self) -> bool {
        self != Shutdown::Write
    }

    /// Whether writing ends.
    pub fn writes(self) -> bool {
        self != Shutdown::Read
    }
}

bitflags! {
    /// The MSG_* flags of a call, and of a received message.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MsgFlags: u32 {
        /// MSG_OOB: refused by every socket here.
        const OOB = 0x1;
        /// MSG_PEEK.
        const PEEK = 0x2;
        /// MSG_CTRUNC.
        const CTRUNC = 0x8;
        /// MSG_TRUNC.
        const TRUNC = 0x20;
        /// MSG_DONTWAIT.
        const DONTWAIT = 0x40;
        /// MSG_EOR.
        const EOR = 0x80;
        /// MSG_WAITALL.
        const WAITALL = 0x100;
        /// MSG_NOSIGNAL.
        const NOSIGNAL = 0x4000;
        /// MSG_MORE.
        const MORE = 0x8000;
        /// MSG_CMSG_CLOEXEC.
        const CMSG_CLOEXEC = 0x4000_0000;
        /// Flags that are not named here (MSG_CONFIRM, MSG_DONTROUTE, ...) are hints.
        const _ = !0;
    }
}

/// What a message carries beside its bytes.
#[derive(Default)]
pub struct SendArgs<'a> {
    /// To whom.
    pub to: Option<&'a Address>,
    /// MSG_*.
    pub flags: MsgFlags,
    /// SCM_RIGHTS: taken with the first byte, so that a call that is continued does not pass it twice.
    pub rights: Vec<Passed>,
    /// SCM_CREDENTIALS, which must name the caller itself unless it is privileged (EPERM).
    pub credential: Option<Credential>,
}

/// What [`Socket::recv`] gives beside the bytes.
#[derive(Default)]
pub struct Received {
    /// Bytes received; with MSG_TRUNC, the real length of the datagram.
    pub len: usize,
    /// MSG_TRUNC and MSG_EOR where they apply.
    pub flags: MsgFlags,
    /// From whom, where that is not the connected peer.
    pub from: Option<Address>,
    /// SCM_RIGHTS.
    pub rights: Vec<Passed>,
    /// SCM_CREDENTIALS, if the socket asked for it.
    pub credential: Option<Credential>,
}

/// A socket.
pub trait Socket: File {
    /// The address family.
    fn family(&self) -> Family;

    /// Stream, datagram or sequenced packets.
    fn kind(&self) -> Type;

    /// The protocol number (SO_PROTOCOL).
    fn protocol(&self) -> i32;

    /// The options that all sockets have.
    fn options(&self) -> &Options;

    /// bind(2).
    fn bind(&self, cx: &Context, address: &Address) -> Result<()>;

    /// listen(2). `backlog` is as given; it is cut to `somaxconn` here.
    fn listen(&self, cx: &Context, backlog: i32) -> Result<()>;

    /// accept(2): the new socket and its peer. WouldBlock while there is none.
    fn accept(&self, cx: &Context) -> Result<(Arc<dyn Socket>, Address)>;

    /// connect(2). A call that has begun to connect gives EINPROGRESS to a caller that does not wait
    /// ([`Caller::nonblock`]) and EALREADY after that; to one that waits it gives WouldBlock, and its
    /// end once it is called again.
    fn connect(&self, cx: &Context, address: &Address) -> Result<()>;

    /// getsockname(2).
    fn local(&self) -> Result<Address>;

    /// getpeername(2).
    fn peer(&self) -> Result<Address>;

    /// send(2), sendto(2), sendmsg(2): the bytes taken.
    fn send(&self, cx: &Context, src: &mut Src, args: &mut SendArgs) -> Result<usize>;

    /// recv(2), recvfrom(2), recvmsg(2). `want_control` says that the caller can take ancillary data; without
    /// it passed descriptions are dropped.
    fn recv(&self, cx: &Context, dst: &mut Dst, flags: MsgFlags, want_control: bool) -> Result<Received>;

    /// shutdown(2).
    fn shutdown(&self, how: Shutdown) -> Result<()>;

    /// getsockopt(2): writes the value to `out`, cut to its length, and returns the length of the value.
    fn get_option(&self, level: i32, name: i32, out: &mut [u8]) -> Result<usize>;

    /// setsockopt(2).
    fn set_option(&self, cx: &Context, level: i32, name: i32, value: &[u8]) -> Result<()>;

    /// Whether EPIPE raises SIGPIPE.
    fn is_stream(&self) -> bool {
        self.kind() == Type::Stream
    }

    /// SO_RCVTIMEO in ns: how long accept and receiving wait before EAGAIN.
    fn receive_timeout(&self) -> Option<u64> {
        self.options().receive_timeout()
    }

    /// SO_SNDTIMEO in ns: how long connect (EINPROGRESS) and sending wait before EAGAIN.
    fn send_timeout(&self) -> Option<u64> {
        self.options().send_timeout()
    }
}

/// The socket behind an open file; ENOTSOCK if it is none.
pub fn as_socket(file: &dyn File) -> Result<&dyn Socket> {
    let any = file.as_any().ok_or(Errno::ENOTSOCK)?;
    if let Some(socket) = any.downcast_ref::<Tcp>() {
        return Ok(socket);
    }
    if let Some(socket) = any.downcast_ref::<UnixSocket>() {
        return Ok(socket);
    }
    if let Some(socket) = any.downcast_ref::<Udp>() {
        return Ok(socket);
    }
    Err(Errno::ENOTSOCK.into())
}

const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;

impl Net {
    /// socket(2), with the flags taken out of `kind`. EAFNOSUPPORT, EINVAL (no such type), ESOCKTNOSUPPORT (not in this
    /// family), EPROTONOSUPPORT (not with this type).
    pub fn socket(self: &Arc<Self>, caller: &Caller, family: i32, kind: i32, protocol: i32) -> Result<Arc<dyn Socket>> {
        if !(0..46).contains(&family) {
            return Err(Errno::EAFNOSUPPORT.into());
        }
        if !(0..11).contains(&kind) {
            return Err(Errno::EINVAL.into());
        }
        let family = Family::from_number(family)?;
        if family == Family::Unix {
            if protocol != 0 && protocol != Family::Unix as i32 {
                return Err(Errno::EPROTONOSUPPORT.into());
            }
            // A raw UNIX socket has always meant a datagram one.
            let kind =
                if kind == 3 { Type::Datagram } else { Type::from_number(kind).ok_or(Errno::ESOCKTNOSUPPORT)? };
            return Ok(UnixSocket::new(self, caller, kind));
        }
        if !(0..263).contains(&protocol) {
            return Err(Errno::EINVAL.into());
        }
        match Type::from_number(kind) {
            Some(Type::Stream) if protocol == 0 || protocol == IPPROTO_TCP => Ok(Tcp::new(self, family)),
            Some(Type::Datagram) if protocol == 0 || protocol == IPPROTO_UDP => Ok(Udp::new(self, family)),
            Some(Type::Stream | Type::Datagram) => Err(Errno::EPROTONOSUPPORT.into()),
            _ => Err(Errno::ESOCKTNOSUPPORT.into()),
        }
    }

    /// socketpair(2). Only UNIX sockets have it: EOPNOTSUPP for others.
    pub fn socket_pair(
        self: &Arc<Self>,
        caller: &Caller,
        family: i32,
        kind: i32,
        protocol: i32,
    ) -> Result<(Arc<dyn Socket>, Arc<dyn Socket>)> {
        if family != Family::Unix as i32 {
            self.socket(caller, family, kind, protocol)?;
            return Err(Errno::EOPNOTSUPP.into());
        }
        if protocol != 0 && protocol != Family::Unix as i32 {
            return Err(Errno::EPROTONOSUPPORT.into());
        }
        if !(0..11).contains(&kind) {
            return Err(Errno::EINVAL.into());
        }
        let kind = if kind == 3 { Type::Datagram } else { Type::from_number(kind).ok_or(Errno::ESOCKTNOSUPPORT)? };
        let (a, b) = UnixSocket::pair(self, caller, kind);
        Ok((a, b))
    }
}

/// What wakes those who wait for `events`.
#[inline]
pub(crate) fn notify(queue: &WaitQueue, events: Events) {
    queue.notify_all(events.bits());
}

/// Something to read.
pub(crate) const IN: Events = Events::IN.union(Events::RDNORM);
/// Room to write.
pub(crate) const OUT: Events = Events::OUT.union(Events::WRNORM);
/// The end in both directions.
pub(crate) const GONE: Events = IN.union(OUT).union(Events::RDHUP).union(Events::HUP).union(Events::ERR);
