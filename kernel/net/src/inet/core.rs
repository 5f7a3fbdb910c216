//! What the lock of a connection protects: the protocol's state and the buffers.
//!
//! smoltcp's rings have a fixed size, so they are small, and what does not fit overflows into queues that grow
//! as far as SO_SNDBUF and SO_RCVBUF allow. Small messages never leave the rings.
//!
//! When to acknowledge is decided here and not by smoltcp, which acknowledges whenever it is asked to
//! send: a segment that is answered by data within [`ACK_DELAY`] needs no acknowledgement of its own, so the connection
//! is simply not asked. It is asked at once when much is unacknowledged, when the program does not answer
//! (quick acknowledgement, as the first segments of a connection) and whenever the state is not a steady one.

use super::conn::Shared;
use super::packet::{MTU, Packet};
use super::stack::Work;
use super::tuple::{Headers, Tuple};
use crate::bytes::ByteQueue;
use alloc::vec::Vec;
use base::{Errno, Events, Result};
use memory::io::{Dst, Src};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{self, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpEndpoint};

/// How long an acknowledgement waits for data to ride on, in ns.
pub const ACK_DELAY: u64 = 40_000_000;
/// How many bytes may be unacknowledged before they are acknowledged at once.
const ACK_BYTES: usize = 2048;
/// smoltcp never retransmits or probes earlier, in ns.
pub const SHORTEST_RTO: u64 = 1_000_000_000;

/// What was last told to those who wait.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    arrived: u64,
    writable: bool,
    end: bool,
    closed: bool,
}

/// The protocol's state and the buffers of one end.
pub struct Core {
    iface: Interface,
    set: SocketSet<'static>,
    handle: SocketHandle,
    ring: usize,
    /// Bytes written that do not fit the ring.
    pub send: ByteQueue,
    /// Bytes received that were moved out of the ring to keep the window open.
    recv: ByteQueue,
    /// Bytes ever read.
    pub read: u64,
    /// Bytes in the ring that were never sent.
    unsent: usize,
    /// Bytes received since the last segment that was sent.
    unacknowledged: usize,
    /// When the acknowledgement is due; `u64::MAX` if none is.
    pub ack_due: u64,
    /// The program answers what it receives: acknowledgements can wait.
    interactive: bool,
    /// When the last segment arrived.
    pub last_arrival: u64,
    /// When the timer will fire; `u64::MAX` if it will not.
    pub armed: u64,
    /// Keep-alive probes sent since the last segment arrived, and when the next is due.
    pub probes: u32,
    pub next_probe: u64,
    /// Since when partial segments are held back (TCP_CORK, MSG_MORE); 0 if they are not.
    pub corked_since: u64,
    /// The program will not write any more, and whether the protocol knows.
    fin_wanted: bool,
    fin_given: bool,
    /// The program does not read any more.
    pub read_shut: bool,
    /// The descriptor is closed.
    pub orphan: bool,
    /// When the connection began, or became an orphan.
    pub since: u64,
    /// Since when something waits to be sent or acknowledged.
    pub busy_since: u64,
    /// It is in no table any more.
    pub detached: bool,
    /// The handshake was completed once.
    pub established: bool,
    told: Told,
}

/// The device of one poll: at most one packet in, and one out.
struct Port<'a> {
    incoming: Option<&'a [u8]>,
    slots: Slots,
}

struct Slots {
    /// The buffer for what is sent.
    spare: Option<Packet>,
    /// What was sent.
    out: Option<Packet>,
}

struct In<'t>(&'t [u8]);
struct Out<'t>(&'t mut Slots);

impl RxToken for In<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Out<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        match self.0.spare.take() {
            Some(mut packet) if len <= packet.capacity() => {
                packet.set_len(len);
                let result = f(&mut packet);
                self.0.out = Some(packet);
                result
            }
            // Tokens are given out with a buffer only, and nothing is larger than the MTU; were it so, it would be lost
            // and sent again.
            _ => f(&mut alloc::vec![0; len]),
        }
    }
}

/// Writes the type of service, which smoltcp leaves zero, into the IP header.
fn set_tos(packet: &mut [u8], tos: u8) {
    match packet {
        [head, field, ..] if *head >> 4 == 4 => *field = tos,
        [head, field, ..] => {
            *head = *head & 0xf0 | tos >> 4;
            *field = *field & 0x0f | tos << 4;
        }
        _ => {}
    }
}

impl Device for Port<'_> {
    type RxToken<'t>
        = In<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Out<'t>
    where
        Self: 't;

    #[inline]
    fn receive(&mut self, _now: Instant) -> Option<(In<'_>, Out<'_>)> {
        let incoming = self.incoming.take()?;
        Some((In(incoming), Out(&mut self.slots)))
    }

    #[inline]
    fn transmit(&mut self, _now: Instant) -> Option<Out<'_>> {
        self.slots.spare.as_ref()?;
        Some(Out(&mut self.slots))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = MTU;
        caps.checksum.ipv4 = Checksum::None;
        caps.checksum.tcp = Checksum::None;
        caps.checksum.udp = Checksum::None;
        caps
    }
}

fn instant(now: u64) -> Instant {
    Instant::from_micros((now / 1000) as i64)
}

fn endpoint(point: super::tuple::Point) -> IpEndpoint {
    IpEndpoint::new(IpAddress::from(point.ip.to_std()), point.port)
}

impl Core {
    /// A connection that has not begun, with rings of `ring` bytes. ENOBUFS.
    pub fn new(shared: &Shared, ring: usize, seed: u64, now: u64) -> Result<Core> {
        let buffer = || {
            let mut buffer = Vec::new();
            buffer.try_reserve_exact(ring).map_err(|_| Errno::ENOBUFS)?;
            buffer.resize(ring, 0);
            Ok::<_, Errno>(tcp::SocketBuffer::new(buffer))
        };
        let mut socket = tcp::Socket::new(buffer()?, buffer()?);
        // See the head of this file: smoltcp is asked when an acknowledgement is due.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(!shared.tcp.no_delay());
        socket.set_hop_limit(shared.tcp.hop_limit());
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut port = Port { incoming: None, slots: Slots { spare: None, out: None } };
        let mut iface = Interface::new(config, &mut port, instant(now));
        // Packets come here because they are this connection's, whatever the address.
        iface.set_any_ip(true);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Ok(Core {
            iface,
            set,
            handle,
            ring,
            send: ByteQueue::new(),
            recv: ByteQueue::new(),
            read: 0,
            unsent: 0,
            unacknowledged: 0,
            ack_due: u64::MAX,
            interactive: false,
            last_arrival: now,
            armed: u64::MAX,
            probes: 0,
            next_probe: u64::MAX,
            corked_since: 0,
            fin_wanted: false,
            fin_given: false,
            read_shut: false,
            orphan: false,
            since: now,
            busy_since: now,
            detached: false,
            established: false,
            told: Told::default(),
        })
    }

    #[inline]
    pub(super) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.handle)
    }

    #[inline]
    fn peek_socket(&self) -> &tcp::Socket<'static> {
        self.set.get(self.handle)
    }

    /// Begins to connect. False if the addresses do not go together.
    pub fn connect(&mut self, tuple: &Tuple) -> bool {
        let socket = self.set.get_mut::<tcp::Socket>(self.handle);
        socket.connect(self.iface.context(), endpoint(tuple.remote), endpoint(tuple.local)).is_ok()
    }

    /// Gets ready for the segment that begins the connection. False if the port is 0.
    pub fn listen(&mut self, tuple: &Tuple) -> bool {
        self.socket().listen(endpoint(tuple.local)).is_ok()
    }

    /// The state of the protocol (RFC 9293, 3.3.2).
    #[inline]
    pub fn state(&self) -> State {
        self.peek_socket().state()
    }

    /// Bytes that can be read.
    #[inline]
    pub fn readable(&self) -> usize {
        self.recv.len() + self.peek_socket().recv_queue()
    }

    /// Bytes that wait to be sent or acknowledged.
    #[inline]
    pub fn outstanding(&self) -> usize {
        self.send.len() + self.peek_socket().send_queue()
    }

    /// Whether nothing more will arrive.
    #[inline]
    pub fn at_end(&self) -> bool {
        self.read_shut
            || matches!(
                self.state(),
                State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
            )
    }

    /// Whether the program may write.
    #[inline]
    pub fn may_write(&self) -> bool {
        !self.fin_wanted && self.peek_socket().may_send()
    }

    /// Whether the program ended its direction.
    pub fn write_shut(&self) -> bool {
        self.fin_wanted
    }

    /// Whether poll(2) shows room: a third of the buffer.
    #[inline]
    pub fn has_room(&self, shared: &Shared) -> bool {
        self.outstanding() * 3 <= shared.options.send_buffer() * 2
    }

    /// Takes what one segment brings.
    pub fn arrive(&mut self, packet: &[u8], headers: &Headers, work: &mut Work, shared: &Shared) {
        let before = self.state();
        let payload = headers.end - headers.payload;
        let mut port = Port { incoming: Some(packet), slots: Slots { spare: work.buffer(), out: None } };
        if port.slots.spare.is_none() {
            return;
        }
        self.iface.poll_ingress_single(instant(work.now), &mut port, &mut self.set);
        self.flush(port, work, shared);
        self.last_arrival = work.now;
        if self.probes != 0 {
            self.probes = 0;
            self.socket().set_keep_alive(None);
        }
        if payload > 0 {
            self.unacknowledged += payload;
            self.ack_due = self.ack_due.min(work.now + ACK_DELAY);
        }
        if self.orphan && self.readable() > 0 {
            // Nobody will read it, and the sender must know.
            self.abort();
        }
        self.spill(shared);
        // With all that was sent acknowledged there is nothing to send but an acknowledgement.
        let steady = before == State::Established && self.state() == before && self.outstanding() == 0;
        let patient = self.interactive && self.unacknowledged < ACK_BYTES;
        if !steady || payload > 0 && !patient {
            self.pump(work, shared);
        }
    }

    /// Moves bytes out of the ring, once it is half full, as far as SO_RCVBUF allows.
    fn spill(&mut self, shared: &Shared) {
        let limit = shared.options.receive_buffer();
        let Core { set, handle, recv, ring, .. } = self;
        let socket = set.get_mut::<tcp::Socket>(*handle);
        while (socket.recv_queue() * 2 > *ring || !recv.is_empty() && socket.recv_queue() > 0) && recv.len() < limit {
            let moved = socket.recv(|bytes| {
                let n = if recv.push(bytes).is_ok() { bytes.len() } else { 0 };
                (n, n)
            });
            if !matches!(moved, Ok(n) if n > 0) {
                break;
            }
        }
    }

    /// Sends all that may be sent now, an acknowledgement included.
    pub fn pump(&mut self, work: &mut Work, shared: &Shared) {
        loop {
            self.feed(work.now, shared);
            let mut port = Port { incoming: None, slots: Slots { spare: work.buffer(), out: None } };
            let polled = self.iface.poll_egress(instant(work.now), &mut port, &mut self.set);
            let before = self.unsent;
            self.flush(port, work, shared);
            let more = self.unsent > 0 && self.unsent < before || !self.send.is_empty() && self.corked_since == 0;
            if polled == PollResult::None {
                // What came needed no acknowledgement after all (a probe, a repetition).
                self.unacknowledged = 0;
                self.ack_due = u64::MAX;
                return;
            }
            if matches!(self.state(), State::Established | State::CloseWait) && !more {
                return;
            }
        }
    }

    /// Moves bytes from the queue to the ring, and ends the direction once all are through.
    fn feed(&mut self, now: u64, shared: &Shared) {
        if !self.send.is_empty() {
            let held = self.corked_since != 0 && !self.fin_wanted && self.send.len() < self.ring;
            let Core { set, handle, send, unsent, .. } = self;
            let socket = set.get_mut::<tcp::Socket>(*handle);
            while !held && !send.is_empty() {
                match socket.send_slice(send.front()) {
                    Ok(n) if n > 0 => {
                        send.consume(n);
                        *unsent += n;
                    }
                    _ => break,
                }
            }
            if self.corked_since != 0 && !held {
                self.corked_since = if shared.tcp.cork() { now.max(1) } else { 0 };
            }
        }
        if self.fin_wanted && !self.fin_given && self.send.is_empty() {
            self.fin_given = true;
            self.socket().close();
        }
    }

    /// Puts what a poll sent on its way.
    #[inline]
    fn flush(&mut self, port: Port, work: &mut Work, shared: &Shared) {
        if let Some(mut packet) = port.slots.out {
            let tos = shared.tcp.tos();
            if tos != 0 {
                set_tos(&mut packet, tos);
            }
            // Whatever is sent acknowledges all that has arrived.
            self.unacknowledged = 0;
            self.ack_due = u64::MAX;
            if let Some(headers) = Headers::of(&packet) {
                self.unsent = self.unsent.saturating_sub(headers.end - headers.payload);
                work.transmit(packet, &headers);
            }
        }
        if let Some(spare) = port.slots.spare {
            work.give_back(spare);
        }
    }

    /// Takes bytes from the program, as many as the ring and SO_SNDBUF have room for; with `queue`, the overflow queue too. The number
    /// taken.
    pub fn write(&mut self, src: &mut Src, queue: bool, hold: bool, now: u64, shared: &Shared) -> Result<usize> {
        let outstanding = self.outstanding();
        if outstanding == 0 {
            self.busy_since = now;
        }
        let mut room = shared.options.send_buffer().saturating_sub(outstanding);
        if self.unacknowledged > 0 || self.read > 0 {
            self.interactive = true;
        }
        let mut taken = 0;
        if hold && self.corked_since == 0 {
            self.corked_since = now.max(1);
        }
        if self.send.is_empty() && !hold {
            // The ring has at most two pieces of free space.
            for _ in 0..2 {
                let result = self.socket().send(|free| {
                    let len = free.len().min(room);
                    let n = src.take(&mut free[..len]);
                    (n, n)
                });
                let n = result.unwrap_or(0);
                taken += n;
                room -= n;
                if n == 0 || src.remaining() == 0 {
                    break;
                }
            }
            self.unsent += taken;
        }
        if queue && room > 0 && src.remaining() > 0 && src.fault().is_none() {
            taken += self.send.fill(src, room)?;
        }
        Ok(taken)
    }

    /// Hands bytes to the program. The number, and whether the window may have opened.
    pub fn read(&mut self, dst: &mut Dst, peek: bool) -> (usize, bool) {
        let mut n = 0;
        let opened = !self.recv.is_empty() || self.peek_socket().recv_queue() * 2 > self.ring;
        if !self.recv.is_empty() {
            n = if peek { self.recv.peek(dst, 0, usize::MAX) } else { self.recv.drain(dst, usize::MAX) };
        }
        if dst.remaining() > 0 && dst.fault().is_none() && (self.recv.is_empty() || peek) {
            let socket = self.socket();
            if peek {
                let len = socket.recv_queue();
                n += socket.peek(len).map_or(0, |bytes| dst.put(bytes));
            } else {
                for _ in 0..2 {
                    if socket.recv_queue() == 0 || dst.remaining() == 0 || dst.fault().is_some() {
                        break;
                    }
                    let put = socket.recv(|bytes| {
                        let n = dst.put(bytes);
                        (n, n)
                    });
                    n += put.unwrap_or(0);
                }
            }
        }
        if !peek {
            self.read += n as u64;
        }
        (n, opened && !peek)
    }

    /// Tells the protocol of options that have changed.
    pub fn apply(&mut self, shared: &Shared) {
        let socket = self.socket();
        socket.set_nagle_enabled(!shared.tcp.no_delay());
        socket.set_hop_limit(shared.tcp.hop_limit());
    }

    /// The program will not write any more: a FIN follows what it wrote.
    pub fn finish(&mut self, now: u64) {
        self.busy_since = now;
        self.fin_wanted = true;
    }

    /// Ends the connection with a reset, which [`Core::pump`] sends.
    pub fn abort(&mut self) {
        self.send.clear();
        self.fin_wanted = true;
        self.fin_given = true;
        self.socket().abort();
    }

    /// When smoltcp wants to be asked next, in ns.
    pub fn protocol_deadline(&mut self, now: u64) -> Option<u64> {
        let at = self.iface.poll_at(instant(now), &self.set)?;
        Some((at.total_micros() as u64).saturating_mul(1000).saturating_add(999))
    }

    /// What has changed since this was last asked, for those who wait.
    pub fn news(&mut self, shared: &Shared) -> Events {
        let now = Told {
            arrived: self.read + self.readable() as u64,
            writable: self.has_room(shared) && (self.may_write() || self.state() == State::Closed),
            end: self.at_end(),
            closed: self.state() == State::Closed,
        };
        let before = core::mem::replace(&mut self.told, now);
        let mut events = Events::empty();
        if now.arrived > before.arrived {
            events |= crate::socket::IN;
        }
        if now.writable && !before.writable {
            events |= crate::socket::OUT;
        }
        if now.end && !before.end {
            events |= crate::socket::IN | Events::RDHUP;
        }
        if now.closed && !before.closed {
            events |= crate::socket::GONE;
        }
        events
    }
}
