//! One end of a TCP connection: its inbox, its timer, and the lock around its [`Core`].
//!
//! Whoever sends a segment puts it into the inbox of the receiving end, under the inbox's own lock, and that
//! end on its work list unless it is on one already. [`Conn::step`] takes the segments out in their order
//! while it holds the end's lock, so two CPUs that come here at once do not mix them up.

use super::core::Core;
use super::listener::Listener;
use super::packet::Packet;
use super::stack::Work;
use super::tuple::{Headers, RST, Tuple};
use crate::net::Net;
use crate::options::Options;
use crate::ranks;
use crate::socket::notify;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use base::{Errno, Events, Result};
use core::sync::atomic::AtomicU64;
use executor::spin::{SpinGuard, SpinLock};
use executor::{Timer, WaitQueue};
use smoltcp::socket::tcp::State;

use super::options::InetOptions;

/// What a socket and its connection share.
pub struct Shared {
    /// Those who wait.
    pub queue: WaitQueue,
    /// Options of SOL_SOCKET.
    pub options: Options,
    /// Options below.
    pub tcp: InetOptions,
    /// The inode number of the socket, 0 while nobody has accepted it.
    pub inode: AtomicU64,
}

struct Inbox {
    packets: VecDeque<(Packet, Headers)>,
    /// It is on somebody's work list.
    listed: bool,
}

/// How many segments wait at most: what a window of small segments may hold. More are dropped, and sent again.
const INBOX_MAX: usize = 1024;

/// One end of a connection.
pub struct Conn {
    pub(super) me: Weak<Conn>,
    pub(super) net: Arc<Net>,
    /// Its addresses and ports.
    pub tuple: Tuple,
    /// Queue and options.
    pub shared: Arc<Shared>,
    /// The listener that it has a place with until it is complete.
    listener: Weak<Listener>,
    ring: usize,
    inbox: SpinLock<Inbox>,
    core: SpinLock<Core>,
    pub(super) timer: Timer,
}

impl Shared {
    /// A new socket's.
    pub(super) fn fresh() -> Arc<Shared> {
        Arc::new(Shared {
            queue: WaitQueue::new(),
            options: Options::default(),
            tcp: InetOptions::default(),
            inode: AtomicU64::new(0),
        })
    }
}

impl Conn {
    fn new(
        net: &Arc<Net>,
        tuple: &Tuple,
        shared: Arc<Shared>,
        listener: Weak<Listener>,
        now: u64,
        start: impl FnOnce(&mut Core) -> bool,
    ) -> Result<Arc<Conn>> {
        let ring = net.inet.ring_size();
        let core = Core::new(&shared, ring, (net.machine.random)(), now)
            .and_then(|mut core| if start(&mut core) { Ok(core) } else { Err(Errno::EADDRNOTAVAIL.into()) });
        let core = core.inspect_err(|_| net.inet.ring_freed(ring))?;
        let conn = Arc::new_cyclic(|me: &Weak<Conn>| Conn {
            me: me.clone(),
            net: net.clone(),
            tuple: *tuple,
            shared,
            listener,
            ring,
            inbox: SpinLock::new(ranks::TCP_INBOX, Inbox { packets: VecDeque::new(), listed: false }),
            core: SpinLock::new(ranks::TCP_CORE, core),
            timer: Timer::new(me.clone()),
        });
        if !net.inet.insert(&conn) {
            return Err(Errno::EADDRNOTAVAIL.into());
        }
        Ok(conn)
    }

    /// The end of a connection that is to be made. EADDRNOTAVAIL if the four-tuple is in use, ENOBUFS.
    pub(super) fn active(net: &Arc<Net>, tuple: &Tuple, shared: &Arc<Shared>, now: u64) -> Result<Arc<Conn>> {
        Conn::new(net, tuple, shared.clone(), Weak::new(), now, |core| core.connect(tuple))
    }

    /// The end of a connection that a SYN begins.
    pub(super) fn passive(
        net: &Arc<Net>,
        tuple: &Tuple,
        from: &Shared,
        listener: Weak<Listener>,
        now: u64,
    ) -> Option<Arc<Conn>> {
        let shared = Arc::new(Shared {
            queue: WaitQueue::new(),
            options: Options::inherit(&from.options),
            tcp: InetOptions::inherit(&from.tcp),
            inode: AtomicU64::new(0),
        });
        Conn::new(net, tuple, shared, listener, now, |core| core.listen(tuple)).ok()
    }

    /// Locks the protocol's state.
    #[inline]
    pub fn core(&self) -> SpinGuard<'_, Core> {
        self.core.lock()
    }

    /// Takes a segment, and gets onto the work list.
    #[inline]
    pub(super) fn put(self: Arc<Self>, packet: Packet, headers: &Headers, work: &mut Work) {
        let mut inbox = self.inbox.lock();
        if inbox.packets.len() >= INBOX_MAX || inbox.packets.try_reserve(1).is_err() {
            drop(inbox);
            work.give_back(packet);
            return;
        }
        inbox.packets.push_back((packet, *headers));
        let listed = core::mem::replace(&mut inbox.listed, true);
        drop(inbox);
        if !listed {
            work.add(self);
        }
    }

    /// Deals with the segments that have arrived.
    pub(super) fn step(&self, work: &mut Work) {
        let mut core = self.core();
        loop {
            let mut inbox = self.inbox.lock();
            let Some((packet, headers)) = inbox.packets.pop_front() else {
                inbox.listed = false;
                break;
            };
            drop(inbox);
            let before = core.state();
            core.arrive(&packet, &headers, work, &self.shared);
            work.give_back(packet);
            if headers.flags & RST != 0 && before != State::Closed && core.state() == State::Closed {
                self.shared.options.set_error(match before {
                    State::SynSent => Errno::ECONNREFUSED,
                    State::CloseWait => Errno::EPIPE,
                    _ => Errno::ECONNRESET,
                });
            }
        }
        self.settle(core, work);
    }

    /// After every change: looks what it means for the tables, the timer and those who wait, and lets go.
    #[inline]
    pub(super) fn settle<'a>(&'a self, mut core: SpinGuard<'a, Core>, work: &mut Work) {
        let state = core.state();
        let mut events = Events::empty();
        if !core.established || core.detached || !matches!(state, State::Established | State::CloseWait) {
            core = match self.progress(core, state, work) {
                Some(core) => core,
                None => return,
            };
            if self.shared.options.linger().is_some() {
                events = crate::socket::OUT;
            }
        }
        events |= core.news(&self.shared);
        self.arm(&mut core, work.now);
        drop(core);
        if !events.is_empty() {
            notify(&self.shared.queue, events);
        }
    }

    /// [`Conn::settle`] in a state that is not steady. `None` if the end is gone altogether.
    #[cold]
    fn progress<'a>(
        &'a self,
        mut core: SpinGuard<'a, Core>,
        state: State,
        work: &mut Work,
    ) -> Option<SpinGuard<'a, Core>> {
        let handshake = matches!(state, State::Listen | State::SynSent | State::SynReceived | State::Closed);
        if !core.established && !handshake {
            core.established = true;
            if let Some(listener) = self.listener.upgrade()
                && let Some(me) = self.me.upgrade()
            {
                drop(core);
                if !listener.complete(me) {
                    self.abort(work);
                    self.forsake(work);
                    return None;
                }
                core = self.core();
            }
        }
        let over = matches!(core.state(), State::Closed | State::TimeWait)
            // A reset took a connection that had begun back to where it came from.
            || core.state() == State::Listen && core.last_arrival > core.since;
        if over && !core.detached {
            core.detached = true;
            let rest = core.state() == State::TimeWait;
            if !core.established
                && let Some(listener) = self.listener.upgrade()
            {
                listener.failed();
            }
            self.timer.cancel();
            core.armed = u64::MAX;
            self.net.inet.remove(self, rest, work.now);
        }
        Some(core)
    }

    /// Ends the connection with a reset.
    pub(super) fn abort(&self, work: &mut Work) {
        let mut core = self.core();
        if core.state() != State::Closed {
            core.abort();
            core.pump(work, &self.shared);
        }
        self.settle(core, work);
    }

    /// Ends the connection because of `errno`, telling the peer.
    pub(super) fn fail(&self, core: &mut SpinGuard<'_, Core>, errno: Errno, work: &mut Work) {
        self.shared.options.set_error(errno);
        core.abort();
        core.pump(work, &self.shared);
    }

    /// Has what was written sent, and the end of it. Whether it has not arrived yet. What was not read forbids that: the connection
    /// will be reset.
    pub(super) fn send_all(&self, work: &mut Work) -> bool {
        let mut core = self.core();
        if core.readable() > 0 || core.state() == State::Closed {
            return false;
        }
        if !core.write_shut() {
            core.finish(work.now);
            core.pump(work, &self.shared);
        }
        let under_way =
            core.outstanding() > 0 || matches!(core.state(), State::FinWait1 | State::Closing | State::LastAck);
        self.settle(core, work);
        work.run();
        under_way
    }

    /// The descriptor is closed: what was written is still sent, what was not read resets the connection.
    pub(super) fn forsake(&self, work: &mut Work) {
        let mut core = self.core();
        core.orphan = true;
        core.since = work.now;
        let unread = core.readable() > 0;
        let linger = self.shared.options.linger();
        if core.state() != State::Closed && (unread || linger == Some(0)) {
            core.abort();
        } else {
            core.finish(work.now);
        }
        core.pump(work, &self.shared);
        self.settle(core, work);
    }

    /// What poll(2) shows.
    pub fn poll(&self) -> Events {
        use crate::socket::{IN, OUT};
        let core = self.core();
        let mut events = if self.shared.options.has_error() { Events::ERR } else { Events::empty() };
        let state = core.state();
        if matches!(state, State::SynSent | State::SynReceived | State::Listen) && !core.established {
            return events;
        }
        let closed = state == State::Closed;
        let end = core.at_end();
        if core.readable() > 0 || end {
            events |= IN;
        }
        if end {
            events |= Events::RDHUP;
        }
        if closed || end && core.write_shut() {
            events |= Events::HUP;
        }
        if closed || core.write_shut() || core.has_room(&self.shared) {
            events |= OUT;
        }
        events
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.net.inet.ring_freed(self.ring);
    }
}
