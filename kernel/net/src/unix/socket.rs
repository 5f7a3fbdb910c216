//! The UNIX socket: its states, and the calls that change them.
//!
//! ```text
//! Idle ──listen──► Listening          (stream, seqpacket; bound before)
//! Idle ──connect, socketpair──► Connected
//! Idle ◄──connect──► Talking           (datagram: a default receiver)
//! any ──close──► Closed
//! ```
//! The state's lock is held for the step itself; reading and writing take the connection out of it and let go.

use super::channel::{Channel, Pair};
use super::mail::Mail;
use super::names::Node;
use crate::address::{Address, UnixAddress};
use crate::net::Net;
use crate::options::{Credential, Options, Type};
use crate::ranks;
use crate::socket::{Context, GONE, IN, OUT, Shutdown, Socket, notify};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use executor::WaitQueue;
use executor::spin::SpinLock;
use vfs::Caller;

/// What the other end needs of a socket.
pub struct Endpoint {
    /// Those who wait for it.
    pub queue: WaitQueue,
    /// Its options.
    pub options: Options,
    /// Its name.
    pub(super) name: SpinLock<UnixAddress>,
    /// Who made it (socketpair, connect) or listens.
    pub(super) credential: SpinLock<Credential>,
    /// Datagrams for it.
    pub(super) mail: Mail,
}

/// What a socket is at the moment.
#[derive(Clone)]
pub(super) enum State {
    Idle,
    Listening(Arc<Backlog>),
    Connected(Connection),
    Talking(Arc<Endpoint>),
    Closed,
}

/// One end's view of a connection.
#[derive(Clone)]
pub(super) struct Connection {
    pub pair: Arc<Pair>,
    /// Which end it is: 0 or 1.
    pub side: usize,
}

impl Connection {
    pub fn outgoing(&self) -> &Channel {
        &self.pair.channels[self.side]
    }

    pub fn incoming(&self) -> &Channel {
        &self.pair.channels[1 - self.side]
    }

    pub fn peer(&self) -> &Arc<Endpoint> {
        &self.pair.ends[1 - self.side]
    }
}

/// Connections that were made and not accepted, and those who wait to make one.
pub(super) struct Backlog {
    queue: SpinLock<Pending>,
    listener: Arc<Endpoint>,
}

struct Pending {
    sockets: VecDeque<Arc<UnixSocket>>,
    limit: usize,
    waiting: Vec<Weak<Endpoint>>,
    closed: bool,
}

/// A UNIX socket.
pub struct UnixSocket {
    pub(super) me: Weak<UnixSocket>,
    pub(super) net: Arc<Net>,
    pub(super) kind: Type,
    pub(super) inode: u64,
    pub(super) end: Arc<Endpoint>,
    pub(super) state: SpinLock<State>,
    /// shutdown(2) of a datagram socket ended its writing.
    pub(super) mute: AtomicBool,
}

/// Who a caller is, for the other end.
pub(super) fn credential(caller: &Caller) -> Credential {
    Credential { pid: caller.process, uid: caller.cred.euid, gid: caller.cred.egid }
}

impl Endpoint {
    fn new(options: Options, name: UnixAddress, credential: Credential) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            queue: WaitQueue::new(),
            options,
            name: SpinLock::new(ranks::UNIX_NAME, name),
            credential: SpinLock::new(ranks::UNIX_NAME, credential),
            mail: Mail::new(),
        })
    }

    pub(super) fn address(&self) -> UnixAddress {
        self.name.lock().clone()
    }
}

impl UnixSocket {
    fn build(net: &Arc<Net>, kind: Type, end: Arc<Endpoint>, state: State) -> Arc<UnixSocket> {
        let inode = net.inode();
        let socket = Arc::new_cyclic(|me| UnixSocket {
            me: me.clone(),
            net: net.clone(),
            kind,
            inode,
            end,
            state: SpinLock::new(ranks::STATE, state),
            mute: AtomicBool::new(false),
        });
        net.unix.register(inode, socket.me.clone());
        socket
    }

    /// A socket that is not bound or connected.
    pub(crate) fn new(net: &Arc<Net>, _caller: &Caller, kind: Type) -> Arc<UnixSocket> {
        let end = Endpoint::new(Options::default(), UnixAddress::Unnamed, Credential::NONE);
        UnixSocket::build(net, kind, end, State::Idle)
    }

    /// Two sockets that are connected to each other.
    pub(crate) fn pair(net: &Arc<Net>, caller: &Caller, kind: Type) -> (Arc<UnixSocket>, Arc<UnixSocket>) {
        let end = || Endpoint::new(Options::default(), UnixAddress::Unnamed, credential(caller));
        let ends = [end(), end()];
        if kind == Type::Datagram {
            let [a, b] = ends;
            let first = UnixSocket::build(net, kind, a.clone(), State::Talking(b.clone()));
            return (first, UnixSocket::build(net, kind, b, State::Talking(a)));
        }
        let pair = Self::join(kind, ends);
        let make = |side: usize| {
            let connection = Connection { pair: pair.clone(), side };
            UnixSocket::build(net, kind, pair.ends[side].clone(), State::Connected(connection))
        };
        (make(0), make(1))
    }

    fn join(kind: Type, ends: [Arc<Endpoint>; 2]) -> Arc<Pair> {
        let records = kind == Type::SeqPacket;
        Arc::new(Pair { channels: [Channel::new(records), Channel::new(records)], ends })
    }

    /// The socket that `address` names.
    pub(super) fn find(&self, cx: &Context, address: &Address) -> Result<Arc<UnixSocket>> {
        let found = match address {
            Address::Unix(UnixAddress::Abstract(name)) => self.net.unix.find(name)?,
            Address::Unix(UnixAddress::Path(path)) => cx.paths.find(path)?.socket()?,
            _ => return Err(Errno::EINVAL.into()),
        };
        if found.kind != self.kind {
            return Err(Errno::EPROTOTYPE.into());
        }
        Ok(found)
    }

    pub(super) fn bind_to(&self, cx: &Context, address: &Address) -> Result<()> {
        let Address::Unix(wanted) = address else { return Err(Errno::EINVAL.into()) };
        let bound = *self.end.name.lock() != UnixAddress::Unnamed;
        let name = match wanted {
            // Binding again to no name in particular is no change.
            UnixAddress::Unnamed if bound => return Ok(()),
            UnixAddress::Abstract(_) if bound => return Err(Errno::EINVAL.into()),
            UnixAddress::Unnamed => UnixAddress::Abstract(self.net.unix.bind_any(&self.me)?),
            UnixAddress::Abstract(name) => {
                self.net.unix.bind(name, &self.me)?;
                wanted.clone()
            }
            // That the name cannot be made is told first.
            UnixAddress::Path(path) => {
                cx.paths.create(path, Node::new(self.me.clone()))?;
                wanted.clone()
            }
        };
        {
            let mut own = self.end.name.lock();
            if *own == UnixAddress::Unnamed {
                *own = name;
                return Ok(());
            }
        }
        // It had a name, or another thread has just given it one.
        match &name {
            UnixAddress::Path(path) => cx.paths.remove(path)?,
            UnixAddress::Abstract(name) => self.net.unix.unbind(name, &self.me),
            UnixAddress::Unnamed => {}
        }
        Err(Errno::EINVAL.into())
    }

    pub(super) fn start_listening(&self, cx: &Context, backlog: i32) -> Result<()> {
        if self.kind == Type::Datagram {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if *self.end.name.lock() == UnixAddress::Unnamed {
            return Err(Errno::EINVAL.into());
        }
        let limit = self.net.backlog(backlog);
        let mut state = self.state.lock();
        match &*state {
            State::Idle => {
                let pending = Pending { sockets: VecDeque::new(), limit, waiting: Vec::new(), closed: false };
                *state = State::Listening(Arc::new(Backlog {
                    queue: SpinLock::new(ranks::UNIX_BACKLOG, pending),
                    listener: self.end.clone(),
                }));
                *self.end.credential.lock() = credential(cx.caller);
                Ok(())
            }
            State::Listening(queue) => {
                let mut pending = queue.queue.lock();
                pending.limit = limit;
                let waiting = core::mem::take(&mut pending.waiting);
                drop(pending);
                drop(state);
                wake(waiting);
                Ok(())
            }
            _ => Err(Errno::EINVAL.into()),
        }
    }

    pub(super) fn connect_stream(&self, cx: &Context, address: &Address) -> Result<()> {
        if matches!(address, Address::Unspecified) {
            return Err(Errno::EINVAL.into());
        }
        let found = self.find(cx, address)?;
        let State::Listening(backlog) = found.state.lock().clone() else {
            return Err(Errno::ECONNREFUSED.into());
        };
        drop(found);
        let mut state = self.state.lock();
        match &*state {
            State::Idle => {}
            State::Connected(_) => return Err(Errno::EISCONN.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
        let listener = &backlog.listener;
        *self.end.credential.lock() = credential(cx.caller);
        let server =
            Endpoint::new(Options::inherit(&listener.options), listener.address(), *listener.credential.lock());
        let mut pending = backlog.queue.lock();
        if pending.closed {
            return Err(Errno::ECONNREFUSED.into());
        }
        if pending.sockets.len() > pending.limit {
            pending.waiting.retain(|other| other.strong_count() > 0);
            pending.waiting.push(Arc::downgrade(&self.end));
            return Err(Error::WouldBlock);
        }
        pending.sockets.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
        drop(pending);
        let pair = Self::join(self.kind, [self.end.clone(), server.clone()]);
        let accepted = UnixSocket::build_unlisted(
            &self.net,
            self.kind,
            server,
            State::Connected(Connection { pair: pair.clone(), side: 1 }),
        );
        let mut pending = backlog.queue.lock();
        if pending.closed || pending.sockets.try_reserve(1).is_err() {
            let closed = pending.closed;
            drop(pending);
            drop(state);
            drop(accepted);
            return Err(if closed { Errno::ECONNREFUSED } else { Errno::ENOBUFS }.into());
        }
        pending.sockets.push_back(accepted);
        drop(pending);
        *state = State::Connected(Connection { pair, side: 0 });
        drop(state);
        notify(&listener.queue, IN);
        notify(&self.end.queue, OUT);
        Ok(())
    }

    /// As [`UnixSocket::build`], for a caller that holds a lock above the list of sockets; it is listed when accepted.
    fn build_unlisted(net: &Arc<Net>, kind: Type, end: Arc<Endpoint>, state: State) -> Arc<UnixSocket> {
        let inode = net.inode();
        Arc::new_cyclic(|me| UnixSocket {
            me: me.clone(),
            net: net.clone(),
            kind,
            inode,
            end,
            state: SpinLock::new(ranks::STATE, state),
            mute: AtomicBool::new(false),
        })
    }

    pub(super) fn connect_datagram(&self, cx: &Context, address: &Address) -> Result<()> {
        if matches!(address, Address::Unspecified) {
            let mut state = self.state.lock();
            if matches!(*state, State::Talking(_)) {
                *state = State::Idle;
            }
            return Ok(());
        }
        let found = self.find(cx, address)?;
        self.check_allows(&found)?;
        let end = found.end.clone();
        drop(found);
        *self.state.lock() = State::Talking(end);
        notify(&self.end.queue, OUT);
        Ok(())
    }

    /// A datagram socket that is connected takes messages from its peer only (EPERM).
    pub(super) fn check_allows(&self, receiver: &UnixSocket) -> Result<()> {
        match &*receiver.state.lock() {
            State::Talking(to) if !Arc::ptr_eq(to, &self.end) => Err(Errno::EPERM.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn accept_one(&self) -> Result<(Arc<dyn Socket>, Address)> {
        let State::Listening(backlog) = self.state.lock().clone() else {
            return Err(if self.kind == Type::Datagram { Errno::EOPNOTSUPP } else { Errno::EINVAL }.into());
        };
        let mut pending = backlog.queue.lock();
        let Some(socket) = pending.sockets.pop_front() else { return Err(Error::WouldBlock) };
        let waiting = core::mem::take(&mut pending.waiting);
        drop(pending);
        wake(waiting);
        self.net.unix.register(socket.inode, socket.me.clone());
        let peer = match &*socket.state.lock() {
            State::Connected(connection) => connection.peer().address(),
            _ => UnixAddress::Unnamed,
        };
        Ok((socket, Address::Unix(peer)))
    }

    pub(super) fn shut(&self, how: Shutdown) -> Result<()> {
        let state = self.state.lock().clone();
        match state {
            State::Connected(connection) => {
                let mut events = Events::empty();
                if how.writes() {
                    connection.outgoing().shut();
                    events |= IN | Events::RDHUP;
                }
                if how.reads() {
                    connection.incoming().shut();
                    events |= OUT;
                }
                if how == Shutdown::Both {
                    events |= Events::HUP;
                }
                notify(&connection.peer().queue, events);
                notify(&self.end.queue, GONE);
                Ok(())
            }
            State::Talking(_) => {
                if how.writes() {
                    self.mute.store(true, Relaxed);
                }
                if how.reads() {
                    self.end.mail.close(false, &self.net.rights);
                }
                notify(&self.end.queue, GONE);
                Ok(())
            }
            _ => Err(Errno::ENOTCONN.into()),
        }
    }

    /// Whether it listens.
    pub(crate) fn is_listening(&self) -> bool {
        matches!(*self.state.lock(), State::Listening(_))
    }

    /// Whether a listener has a connection to give.
    pub(super) fn has_pending(backlog: &Backlog) -> bool {
        !backlog.queue.lock().sockets.is_empty()
    }

    /// Ends everything; what is closed once stays closed.
    pub(super) fn shut_down(&self) {
        let state = core::mem::replace(&mut *self.state.lock(), State::Closed);
        if matches!(state, State::Closed) {
            return;
        }
        self.net.unix.forget(self.inode);
        if let UnixAddress::Abstract(name) = self.end.address() {
            self.net.unix.unbind(&name, &self.me);
        }
        self.end.mail.close(true, &self.net.rights);
        match state {
            State::Listening(backlog) => {
                let mut pending = backlog.queue.lock();
                pending.closed = true;
                let sockets = core::mem::take(&mut pending.sockets);
                let waiting = core::mem::take(&mut pending.waiting);
                drop(pending);
                for socket in sockets {
                    // Nobody ever accepted it: to the client it was reset.
                    if let State::Connected(connection) = &*socket.state.lock() {
                        connection.peer().options.set_error(Errno::ECONNRESET);
                    }
                    socket.shut_down();
                }
                wake(waiting);
            }
            State::Connected(connection) => {
                let unread = connection.incoming().abandon(&self.net.rights);
                if unread {
                    connection.peer().options.set_error(Errno::ECONNRESET);
                }
                connection.outgoing().shut();
                notify(&connection.peer().queue, GONE);
            }
            State::Talking(peer) => notify(&peer.queue, OUT),
            State::Idle | State::Closed => {}
        }
        notify(&self.end.queue, GONE);
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.shut_down();
    }
}

fn wake(waiting: Vec<Weak<Endpoint>>) {
    for connector in waiting.iter().filter_map(Weak::upgrade) {
        notify(&connector.queue, OUT | IN);
    }
}

impl UnixSocket {
    /// The inode number.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }
}
