//! Where packets arrive: the tables that say whose they are, and the list of who has something to do.

use super::conn::Conn;
use super::link::Link;
use super::listener::Listener;
use super::packet::{Packet, Pool};
use super::ports::Ports;
use super::reply::{self, Reply};
use super::tuple::{ACK, FIN, Headers, Ip, Point, RST, SYN, TCP, Tuple};
use super::udp::Udp;
use crate::hash::Key;
use crate::net::Machine;
use crate::ranks;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, Result};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use executor::spin::SpinLock;
use hashbrown::HashMap;

/// How many locks the table of connections has.
const SHARDS: usize = 16;
/// How long a four-tuple rests after its connection, in ns.
const TIME_WAIT: u64 = 60_000_000_000;
/// After which part of that a new connection from here may take it, in ns (tcp_tw_reuse).
const TIME_WAIT_REUSE: u64 = 1_000_000_000;
/// How many four-tuples rest at most (tcp_max_tw_buckets).
const TIME_WAIT_MAX: usize = 8192;

/// Whose a four-tuple is.
#[derive(Clone)]
enum Entry {
    Conn(Arc<Conn>),
    /// In TIME-WAIT until then; whether SO_REUSEADDR was set.
    Rest {
        until: u64,
        reuse: bool,
    },
}

type Shard = HashMap<Tuple, Entry, Key>;

/// Adds to those at `point`. ENOBUFS.
fn add<T>(table: &mut HashMap<Point, Vec<T>, Key>, point: Point, one: T) -> Result<()> {
    table.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
    let group = table.entry(point).or_default();
    group.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
    group.push(one);
    Ok(())
}

/// The tables of a network.
pub struct Stack {
    pub(crate) machine: Machine,
    pool: Pool,
    key: Key,
    shards: Box<[SpinLock<Shard>]>,
    resting: SpinLock<VecDeque<(Tuple, u64)>>,
    listeners: SpinLock<HashMap<Point, Vec<Arc<Listener>>, Key>>,
    /// The ports of TCP.
    pub(crate) tcp_ports: Ports,
    /// The ports of UDP.
    pub(crate) udp_ports: Ports,
    udp: SpinLock<HashMap<Point, Vec<Weak<Udp>>, Key>>,
    loopback: Box<dyn Link>,
    /// Bytes in the rings of all connections, by which the next one's are sized.
    ring_bytes: AtomicUsize,
}

/// What one call has to do: connections with segments in their inboxes.
pub struct Work<'a> {
    stack: &'a Stack,
    /// The time of the call, in ns.
    pub now: u64,
    few: [Option<Arc<Conn>>; 4],
    /// What does not fit, as when many connections end at once.
    many: Vec<Arc<Conn>>,
}

impl<'a> Work<'a> {
    /// The stack.
    pub fn stack(&self) -> &'a Stack {
        self.stack
    }

    /// A packet buffer.
    #[inline]
    pub(super) fn buffer(&self) -> Option<Packet> {
        self.stack.pool.take()
    }

    /// Takes a packet buffer back.
    #[inline]
    pub(super) fn give_back(&self, packet: Packet) {
        self.stack.pool.put(packet);
    }

    /// Sends a packet by the link that leads to its destination.
    #[inline]
    pub(super) fn transmit(&mut self, packet: Packet, headers: &Headers) {
        let stack = self.stack;
        stack.loopback.transmit(packet, headers, self);
    }

    /// `conn` has segments in its inbox.
    #[inline]
    pub(super) fn add(&mut self, conn: Arc<Conn>) {
        match self.few.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(conn),
            None => self.many.push(conn),
        }
    }

    /// Works the list off.
    #[inline]
    pub(super) fn run(&mut self) {
        loop {
            let next = self.few.iter_mut().find_map(Option::take);
            match next.or_else(|| self.many.pop()) {
                Some(conn) => conn.step(self),
                None => return,
            }
        }
    }
}

impl Stack {
    /// Empty tables over the loopback link.
    pub(crate) fn new(machine: Machine) -> Stack {
        let key = Key((machine.random)());
        let shard = || SpinLock::new(ranks::TCP_TABLE, HashMap::with_hasher(key));
        Stack {
            machine,
            pool: Pool::new(),
            key,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            resting: SpinLock::new(ranks::TIME_WAIT, VecDeque::new()),
            listeners: SpinLock::new(ranks::LISTENERS, HashMap::with_hasher(key)),
            tcp_ports: Ports::new(key, machine.random),
            udp_ports: Ports::new(key, machine.random),
            udp: SpinLock::new(ranks::UDP_TABLE, HashMap::with_hasher(key)),
            #[cfg(not(test))]
            loopback: Box::new(super::link::Loopback),
            #[cfg(test)]
            loopback: Box::new(crate::tests::Wire),
            ring_bytes: AtomicUsize::new(0),
        }
    }

    /// An empty work list for a call that is made now.
    #[inline]
    pub(crate) fn work(&self) -> Work<'_> {
        Work { stack: self, now: (self.machine.now)(), few: [const { None }; 4], many: Vec::new() }
    }

    #[inline]
    fn shard(&self, tuple: &Tuple) -> &SpinLock<Shard> {
        let ports = u64::from(tuple.local.port) << 16 | u64::from(tuple.remote.port);
        &self.shards[self.key.mix(ports, ports) as usize % SHARDS]
    }

    /// Takes a packet that has arrived by a link, and does what follows from it.
    pub fn receive(&self, packet: Packet) {
        let mut work = self.work();
        if let Some(headers) = Headers::of(&packet) {
            self.deliver(packet, &headers, &mut work);
        }
        work.run();
    }

    /// Hands a packet to whom it is for.
    #[inline]
    pub fn deliver(&self, packet: Packet, headers: &Headers, work: &mut Work) {
        if headers.protocol != TCP {
            self.deliver_datagram(packet, headers);
            return;
        }
        let entry = self.shard(&headers.tuple).lock().get(&headers.tuple).cloned();
        match entry {
            Some(Entry::Conn(conn)) => conn.put(packet, headers, work),
            Some(Entry::Rest { until, reuse }) => self.disturb(packet, headers, until, reuse, work),
            None => self.begin(packet, headers, work),
        }
    }

    /// A segment for a four-tuple that rests.
    #[cold]
    fn disturb(&self, packet: Packet, headers: &Headers, until: u64, reuse: bool, work: &mut Work) {
        if headers.flags & (SYN | ACK | RST) == SYN || until <= work.now {
            self.wake_rest(&headers.tuple, until, reuse);
            self.begin(packet, headers, work);
        } else if headers.flags & FIN != 0 {
            self.answer(Reply::Acknowledge, packet, headers, work);
        } else {
            work.give_back(packet);
        }
    }

    /// A segment that belongs to no connection: a listener's, or nobody's.
    #[cold]
    fn begin(&self, packet: Packet, headers: &Headers, work: &mut Work) {
        if headers.flags & (SYN | ACK | RST) == SYN
            && let Some(listener) = self.listener(&headers.tuple)
        {
            match listener.begin(&headers.tuple, work.now) {
                Some(conn) => conn.put(packet, headers, work),
                // The backlog is full. The client tries again.
                None => work.give_back(packet),
            }
            return;
        }
        self.answer(Reply::Reset, packet, headers, work);
    }

    fn answer(&self, reply: Reply, packet: Packet, headers: &Headers, work: &mut Work) {
        let Some(mut out) = work.buffer() else { return };
        let wanted = reply::write(reply, &packet, headers, &mut out);
        work.give_back(packet);
        match Headers::of(&out) {
            Some(headers) if wanted => work.transmit(out, &headers),
            _ => work.give_back(out),
        }
    }

    /// Who listens for a connection to that end of `tuple`.
    fn listener(&self, tuple: &Tuple) -> Option<Arc<Listener>> {
        let listeners = self.listeners.lock();
        let point = tuple.local;
        let places = [Some(point.ip), Some(point.ip.wildcard()), point.ip.is_v4().then_some(Ip::ANY)];
        for ip in places.into_iter().flatten() {
            let Some(group) = listeners.get(&Point { ip, ..point }) else { continue };
            let fits = |listener: &&Arc<Listener>| ip != Ip::ANY || !point.ip.is_v4() || !listener.shared.tcp.v6_only();
            // Of several with SO_REUSEPORT the four-tuple picks one.
            let count = group.iter().filter(fits).count();
            if count > 0 {
                let ports = u64::from(tuple.remote.port);
                let pick = self.key.mix(ports, ports) as usize % count;
                return group.iter().filter(fits).nth(pick).cloned();
            }
        }
        None
    }

    /// ENOBUFS.
    pub(super) fn add_listener(&self, point: Point, listener: Arc<Listener>) -> Result<()> {
        add(&mut self.listeners.lock(), point, listener)
    }

    pub(super) fn remove_listener(&self, point: Point, listener: &Arc<Listener>) {
        let mut listeners = self.listeners.lock();
        if let Some(group) = listeners.get_mut(&point) {
            group.retain(|other| !Arc::ptr_eq(other, listener));
            if group.is_empty() {
                listeners.remove(&point);
            }
        }
    }

    /// All listeners.
    pub(crate) fn listeners(&self) -> Vec<Arc<Listener>> {
        self.listeners.lock().values().flatten().cloned().collect()
    }

    /// Lists a connection. False if its four-tuple is in use, or without memory.
    pub(super) fn insert(&self, conn: &Arc<Conn>) -> bool {
        let mut shard = self.shard(&conn.tuple).lock();
        if shard.try_reserve(1).is_err() || shard.contains_key(&conn.tuple) {
            return false;
        }
        if self.tcp_ports.connected(conn.tuple.local, conn.shared.options.reuse_address()).is_err() {
            return false;
        }
        shard.insert(conn.tuple, Entry::Conn(conn.clone()));
        true
    }

    /// Takes a connection off the list; with `rest`, its four-tuple stays in TIME-WAIT.
    pub(super) fn remove(&self, conn: &Conn, rest: bool, now: u64) {
        let reuse = conn.shared.options.reuse_address();
        let until = now + TIME_WAIT;
        let mut shard = self.shard(&conn.tuple).lock();
        // The entry goes after the lock: it may hold the last reference.
        let gone =
            if rest { shard.insert(conn.tuple, Entry::Rest { until, reuse }) } else { shard.remove(&conn.tuple) };
        drop(shard);
        drop(gone);
        if !rest {
            self.tcp_ports.disconnected(conn.tuple.local, reuse);
            return;
        }
        let mut resting = self.resting.lock();
        let room = resting.try_reserve(1).is_ok();
        if room {
            resting.push_back((conn.tuple, until));
        }
        drop(resting);
        if !room {
            self.wake_rest(&conn.tuple, until, reuse);
        }
        self.end_rests(now);
    }

    /// Ends one TIME-WAIT.
    fn wake_rest(&self, tuple: &Tuple, until: u64, reuse: bool) {
        let mut shard = self.shard(tuple).lock();
        if matches!(shard.get(tuple), Some(Entry::Rest { until: found, .. }) if *found == until) {
            shard.remove(tuple);
            drop(shard);
            self.tcp_ports.disconnected(tuple.local, reuse);
        }
    }

    /// Ends those TIME-WAITs whose time is over, and the oldest if there are too many. Called whenever a port is wanted.
    pub(crate) fn end_rests(&self, now: u64) {
        loop {
            let mut resting = self.resting.lock();
            let due = resting.front().is_some_and(|(_, until)| *until <= now) || resting.len() > TIME_WAIT_MAX;
            let Some((tuple, until)) = due.then(|| resting.pop_front()).flatten() else { return };
            drop(resting);
            let reuse = match self.shard(&tuple).lock().get(&tuple) {
                Some(Entry::Rest { reuse, .. }) => *reuse,
                _ => continue,
            };
            self.wake_rest(&tuple, until, reuse);
        }
    }

    /// Whether a new connection may not have this four-tuple. One that has rested for a second is taken over.
    pub(super) fn is_taken(&self, tuple: &Tuple, now: u64) -> bool {
        let entry = self.shard(tuple).lock().get(tuple).cloned();
        match entry {
            None => false,
            Some(Entry::Rest { until, reuse }) if now + TIME_WAIT >= until + TIME_WAIT_REUSE => {
                self.wake_rest(tuple, until, reuse);
                false
            }
            Some(_) => true,
        }
    }

    /// All connections, and the four-tuples in TIME-WAIT.
    pub(crate) fn connections(&self) -> (Vec<Arc<Conn>>, Vec<Tuple>) {
        let (mut open, mut resting) = (Vec::new(), Vec::new());
        for shard in &self.shards {
            for (tuple, entry) in shard.lock().iter() {
                match entry {
                    Entry::Conn(conn) => open.push(conn.clone()),
                    Entry::Rest { .. } => resting.push(*tuple),
                }
            }
        }
        (open, resting)
    }

    /// How large the rings of a new connection are. The more connections there are, the smaller: ten thousand idle
    /// ones must not cost hundreds of megabytes.
    pub(super) fn ring_size(&self) -> usize {
        let ring = match self.ring_bytes.load(Relaxed) {
            0..0x100_0000 => super::packet::RING,
            0x100_0000..0x300_0000 => 4096,
            _ => 2048,
        };
        self.ring_bytes.fetch_add(2 * ring, Relaxed);
        ring
    }

    pub(super) fn ring_freed(&self, ring: usize) {
        self.ring_bytes.fetch_sub(2 * ring, Relaxed);
    }

    /// ENOBUFS.
    pub(super) fn add_udp(&self, point: Point, socket: Weak<Udp>) -> Result<()> {
        add(&mut self.udp.lock(), point, socket)
    }

    pub(super) fn remove_udp(&self, point: Point, socket: &Weak<Udp>) {
        let mut udp = self.udp.lock();
        if let Some(group) = udp.get_mut(&point) {
            group.retain(|other| !other.ptr_eq(socket));
            if group.is_empty() {
                udp.remove(&point);
            }
        }
    }

    /// All UDP sockets that are bound.
    pub(crate) fn udp_sockets(&self) -> Vec<Arc<Udp>> {
        let all: Vec<Weak<Udp>> = self.udp.lock().values().flatten().cloned().collect();
        all.iter().filter_map(Weak::upgrade).collect()
    }

    /// Whom a datagram between those points is for: the best match (a connected socket before one bound to the address before
    /// a wildcard).
    pub(super) fn find_udp(&self, tuple: &Tuple) -> Option<Arc<Udp>> {
        let point = tuple.local;
        let places = [Some(point.ip), Some(point.ip.wildcard()), point.ip.is_v4().then_some(Ip::ANY)];
        let mut candidates = Vec::new();
        let udp = self.udp.lock();
        for ip in places.into_iter().flatten() {
            candidates.extend(udp.get(&Point { ip, ..point }).into_iter().flatten().filter_map(Weak::upgrade));
        }
        drop(udp);
        candidates.retain(|socket| socket.accepts(tuple));
        let connected = candidates.iter().position(|socket| socket.is_connected());
        let index = connected.or(if candidates.is_empty() { None } else { Some(0) })?;
        Some(candidates.swap_remove(index))
    }

    /// Hands a datagram to the socket that it is for. False if there is none.
    fn deliver_datagram(&self, packet: Packet, headers: &Headers) -> bool {
        match self.find_udp(&headers.tuple) {
            Some(socket) => {
                socket.put(packet, headers);
                true
            }
            None => {
                // In place of an ICMP message, the sender is told as its reception would.
                let back = Tuple { local: headers.tuple.remote, remote: headers.tuple.local };
                if let Some(sender) = self.find_udp(&back) {
                    sender.refused();
                }
                false
            }
        }
    }
}
