//! Who uses which port, and which are free (ip(7), bind(2)).
//!
//! A binding is what bind(2), or connect(2) for a socket that was not bound, made. Connections are counted by
//! port beside them, since they hold the port after their listener is gone. Everything about a port lies
//! in one entry, so that a check costs what that port's sockets cost, however many others there are.

use super::tuple::{Ip, Point};
use crate::hash::Key;
use crate::ranks;
use alloc::vec::Vec;
use base::{Capability, Credentials, Errno, Result};
use executor::spin::SpinLock;
use hashbrown::HashMap;

/// net.ipv4.ip_local_port_range.
pub const EPHEMERAL: core::ops::RangeInclusive<u16> = 32768..=60999;
/// net.ipv4.ip_unprivileged_port_start.
const UNPRIVILEGED: u16 = 1024;

/// How a socket wants a port.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Address and port; port 0 asks for a free one.
    pub point: Point,
    /// Whether an IPv6 wildcard leaves IPv4 alone.
    pub v6_only: bool,
    /// SO_REUSEADDR.
    pub reuse_address: bool,
    /// SO_REUSEPORT, with the user that sockets must share.
    pub reuse_port: Option<u32>,
    /// Whether sharing by SO_REUSEADDR ends with listening (TCP).
    pub exclusive_listener: bool,
}

/// Names a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Where.
    pub point: Point,
    id: u64,
}

struct Holder {
    id: u64,
    claim: Claim,
    listening: bool,
}

#[derive(Default)]
struct Entry {
    holders: Vec<Holder>,
    /// Connections by local address: how many, and how many of them without SO_REUSEADDR.
    connections: Vec<(Ip, u32, u32)>,
}

struct State {
    ports: HashMap<u16, Entry, Key>,
    next_id: u64,
}

/// The ports of one protocol.
pub struct Ports {
    state: SpinLock<State>,
    random: fn() -> u64,
}

fn overlap(a: &Claim, b: &Claim) -> bool {
    let (x, y) = (a.point.ip, b.point.ip);
    if x == y {
        return true;
    }
    let covers = |claim: &Claim, other: Ip| {
        claim.point.ip.is_wildcard()
            && (claim.point.ip.is_v4() == other.is_v4() || !claim.point.ip.is_v4() && !claim.v6_only)
    };
    covers(a, y) || covers(b, x)
}

impl Entry {
    fn conflicts(&self, claim: &Claim, listening: bool, but: Option<u64>) -> bool {
        let clash = self.holders.iter().filter(|holder| Some(holder.id) != but).any(|holder| {
            let theirs = &holder.claim;
            let listener = claim.exclusive_listener && (listening || holder.listening);
            let by_address = claim.reuse_address && theirs.reuse_address && !listener;
            let by_port = claim.reuse_port.is_some() && claim.reuse_port == theirs.reuse_port;
            overlap(claim, theirs) && !by_address && !by_port
        });
        // A listener does not mind its own connections, so only a new binding asks.
        let connected = but.is_none()
            && self.connections.iter().any(|(ip, all, strict)| {
                let against = if claim.reuse_address || claim.reuse_port.is_some() { *strict } else { *all };
                let there = Claim { point: Point { ip: *ip, ..claim.point }, ..*claim };
                against > 0 && overlap(claim, &there)
            });
        clash || connected
    }

    fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.connections.is_empty()
    }
}

impl State {
    fn conflicts(&self, claim: &Claim) -> bool {
        self.ports.get(&claim.point.port).is_some_and(|entry| entry.conflicts(claim, false, None))
    }

    /// The entry of a port, made if there is none. ENOBUFS without memory.
    fn entry(&mut self, port: u16) -> Result<&mut Entry> {
        self.ports.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
        Ok(self.ports.entry(port).or_default())
    }

    fn hold(&mut self, claim: Claim) -> Result<Lease> {
        let id = self.next_id;
        self.next_id += 1;
        let entry = self.entry(claim.point.port)?;
        entry.holders.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
        entry.holders.push(Holder { id, claim, listening: false });
        Ok(Lease { point: claim.point, id })
    }
}

impl Ports {
    /// All ports free.
    pub fn new(key: Key, random: fn() -> u64) -> Ports {
        let state = State { ports: HashMap::with_hasher(key), next_id: 1 };
        Ports { state: SpinLock::new(ranks::PORTS, state), random }
    }

    /// Binds. EADDRINUSE, EACCES (a privileged port), ENOBUFS.
    pub fn bind(&self, cred: &Credentials, claim: Claim) -> Result<Lease> {
        if claim.point.port == 0 {
            return self.bind_free(claim, |_| false);
        }
        if claim.point.port < UNPRIVILEGED && !cred.has(Capability::NetBindService) {
            return Err(Errno::EACCES.into());
        }
        let mut state = self.state.lock();
        if state.conflicts(&claim) {
            return Err(Errno::EADDRINUSE.into());
        }
        state.hold(claim)
    }

    /// Binds to an ephemeral port that is free and not `taken`. EADDRINUSE if there is none, ENOBUFS. The search begins anywhere and
    /// first looks at ports that nobody uses at all.
    pub fn bind_free(&self, mut claim: Claim, taken: impl Fn(u16) -> bool) -> Result<Lease> {
        let count = u32::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
        let start = (self.random)() as u32 % count;
        let mut state = self.state.lock();
        let strict = Claim { reuse_address: false, reuse_port: None, ..claim };
        for i in 0..count {
            let port = EPHEMERAL.start() + ((start + i) % count) as u16;
            claim.point.port = port;
            let probe = Claim { point: claim.point, ..strict };
            if !state.conflicts(&probe) && !taken(port) {
                return state.hold(claim);
            }
        }
        Err(Errno::EADDRINUSE.into())
    }

    /// An ephemeral port for a connection, which may share it with connections to elsewhere: `taken` tells whether this one's
    /// four-tuple is in use. `None` if there is none.
    pub fn free_for_connection(&self, taken: impl Fn(u16) -> bool) -> Option<u16> {
        let count = u32::from(EPHEMERAL.end() - EPHEMERAL.start()) + 1;
        let start = (self.random)() as u32 % count;
        for i in 0..count {
            let port = EPHEMERAL.start() + ((start + i) % count) as u16;
            let held = self.state.lock().ports.get(&port).is_some_and(|entry| !entry.holders.is_empty());
            if !held && !taken(port) {
                return Some(port);
            }
        }
        None
    }

    /// The binding begins to listen. EADDRINUSE if another listens there.
    pub fn listen(&self, lease: Lease) -> Result<()> {
        let mut state = self.state.lock();
        let Some(entry) = state.ports.get_mut(&lease.point.port) else { return Ok(()) };
        let Some(at) = entry.holders.iter().position(|holder| holder.id == lease.id) else { return Ok(()) };
        let claim = entry.holders[at].claim;
        if entry.conflicts(&claim, true, Some(lease.id)) {
            return Err(Errno::EADDRINUSE.into());
        }
        entry.holders[at].listening = true;
        Ok(())
    }

    /// Ends a binding.
    pub fn release(&self, lease: Lease) {
        let mut state = self.state.lock();
        if let Some(entry) = state.ports.get_mut(&lease.point.port) {
            entry.holders.retain(|holder| holder.id != lease.id);
            if entry.is_unused() {
                state.ports.remove(&lease.point.port);
            }
        }
    }

    /// A connection has begun at `point`. ENOBUFS.
    pub fn connected(&self, point: Point, reuse_address: bool) -> Result<()> {
        let mut state = self.state.lock();
        let entry = state.entry(point.port)?;
        let strict = u32::from(!reuse_address);
        match entry.connections.iter_mut().find(|(ip, ..)| *ip == point.ip) {
            Some((_, all, some)) => {
                *all += 1;
                *some += strict;
            }
            None => entry.connections.push((point.ip, 1, strict)),
        }
        Ok(())
    }

    /// A connection at `point` is gone, its TIME-WAIT included.
    pub fn disconnected(&self, point: Point, reuse_address: bool) {
        let mut state = self.state.lock();
        let Some(entry) = state.ports.get_mut(&point.port) else { return };
        if let Some(at) = entry.connections.iter().position(|(ip, ..)| *ip == point.ip) {
            let (_, all, strict) = &mut entry.connections[at];
            *all = all.saturating_sub(1);
            *strict = strict.saturating_sub(u32::from(!reuse_address));
            if *all == 0 {
                entry.connections.swap_remove(at);
            }
        }
        if entry.is_unused() {
            state.ports.remove(&point.port);
        }
    }
}
