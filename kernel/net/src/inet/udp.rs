//! The UDP socket (udp(7)).
//!
//! A datagram is an IP packet from the moment it is sent: the sender copies the program's bytes into it, and the
//! receiver keeps the packet until the program reads it.

use super::conn::Shared;
use super::packet::Packet;
use super::place::{bindable, destination, source, wildcard};
use super::ports::{Claim, Lease};
use super::tuple::{Headers, Point, Tuple};
use crate::address::{Address, Family};
use crate::net::Net;
use crate::options::{Level, Options, Type, put_int};
use crate::ranks;
use crate::socket::{Context, GONE, IN, MsgFlags, OUT, Received, SendArgs, Shutdown, Socket, notify};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Credentials, Errno, Error, Events, Result, Timespec};
use core::any::Any;
use executor::WaitQueue;
use executor::spin::SpinLock;
use linux_raw_sys::net as abi;
use memory::io::{Dst, Src};
use memory::user::UserPtr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, IpRepr, UdpPacket, UdpRepr};
use vfs::{Caller, Device, File, FileType, Metadata};

/// The most that a datagram carries over IPv4.
const PAYLOAD_MAX: usize = 65507;
/// What a datagram costs of SO_RCVBUF beyond its bytes.
const OVERHEAD: usize = 256;

#[derive(Default)]
struct Place {
    lease: Option<Lease>,
    peer: Option<Point>,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    packets: VecDeque<(Packet, Headers)>,
    bytes: usize,
    read_shut: bool,
    write_shut: bool,
}

/// A UDP socket.
pub struct Udp {
    me: Weak<Udp>,
    net: Arc<Net>,
    family: Family,
    inode: u64,
    shared: Arc<Shared>,
    place: SpinLock<Place>,
    queue: SpinLock<Queue>,
}

impl Udp {
    pub(crate) fn new(net: &Arc<Net>, family: Family) -> Arc<Udp> {
        Arc::new_cyclic(|me| Udp {
            me: me.clone(),
            net: net.clone(),
            family,
            inode: net.inode(),
            shared: Shared::fresh(),
            place: SpinLock::new(ranks::STATE, Place::default()),
            queue: SpinLock::new(ranks::UDP_QUEUE, Queue::default()),
        })
    }

    /// The inode number.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Where it is bound and to what it is connected, for /proc/net.
    pub(crate) fn points(&self) -> (Point, Option<Point>) {
        let place = self.place.lock();
        let local = place.lease.map_or(Point { ip: wildcard(self.family), port: 0 }, |lease| lease.point);
        (local, place.peer)
    }

    /// Whether a datagram between those points may be for this socket.
    pub(super) fn accepts(&self, tuple: &Tuple) -> bool {
        let place = self.place.lock();
        let family = self.family == Family::Inet6 || tuple.local.ip.is_v4();
        let v6_only = tuple.local.ip.is_v4() && self.family == Family::Inet6 && self.shared.tcp.v6_only();
        family && !v6_only && place.peer.is_none_or(|peer| peer == tuple.remote)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.place.lock().peer.is_some()
    }

    /// A datagram has arrived. Without room it is dropped, as UDP has it.
    pub(super) fn put(&self, packet: Packet, headers: &Headers) {
        let mut queue = self.queue.lock();
        let cost = packet.len() + OVERHEAD;
        let room = queue.bytes == 0 || queue.bytes + cost <= self.shared.options.receive_buffer();
        if queue.read_shut || !room || queue.packets.try_reserve(1).is_err() {
            return;
        }
        queue.bytes += cost;
        queue.packets.push_back((packet, *headers));
        drop(queue);
        notify(&self.shared.queue, IN);
    }

    /// Nobody takes what this socket sent. Only a connected socket is told.
    pub(super) fn refused(&self) {
        if self.is_connected() {
            self.shared.options.set_error(Errno::ECONNREFUSED);
            notify(&self.shared.queue, Events::ERR | IN | OUT);
        }
    }

    fn claim(&self, cred: &Credentials, at: Point) -> Claim {
        Claim {
            point: at,
            v6_only: self.shared.tcp.v6_only(),
            reuse_address: self.shared.options.reuse_address(),
            reuse_port: self.shared.options.reuse_port().then_some(cred.euid),
            exclusive_listener: false,
        }
    }

    fn bind_at(&self, place: &mut Place, cred: &Credentials, at: Point) -> Result<Lease> {
        let lease = self.net.inet.udp_ports.bind(cred, self.claim(cred, at))?;
        if let Err(error) = self.net.inet.add_udp(lease.point, self.me.clone()) {
            self.net.inet.udp_ports.release(lease);
            return Err(error);
        }
        place.lease = Some(lease);
        Ok(lease)
    }

    fn send_to(&self, cred: &Credentials, src: &mut Src, to: Option<&Address>) -> Result<usize> {
        self.shared.options.take_error()?;
        if self.queue.lock().write_shut {
            return Err(Errno::EPIPE.into());
        }
        let len = src.remaining();
        if len > PAYLOAD_MAX || len + OVERHEAD > self.shared.options.send_buffer() {
            return Err(Errno::EMSGSIZE.into());
        }
        let mut place = self.place.lock();
        let to = match to {
            Some(address) => destination(self.family, address)?,
            None => place.peer.ok_or(Errno::EDESTADDRREQ)?,
        };
        if to.port == 0 {
            return Err(Errno::EINVAL.into());
        }
        let lease = match place.lease {
            Some(lease) => lease,
            None => self.bind_at(&mut place, cred, Point { ip: wildcard(self.family), port: 0 })?,
        };
        drop(place);
        let ip = if lease.point.ip.is_wildcard() { source(to) } else { lease.point.ip };
        if ip.is_v4() != to.ip.is_v4() {
            return Err(Errno::ENETUNREACH.into());
        }
        let packet = self.packet(src, len, Point { ip, port: lease.point.port }, to)?;
        let Some(headers) = Headers::of(&packet) else { return Err(Errno::EMSGSIZE.into()) };
        let mut work = self.net.inet.work();
        work.transmit(packet, &headers);
        work.run();
        Ok(len)
    }

    /// A packet with the next `len` bytes of `src`.
    fn packet(&self, src: &mut Src, len: usize, from: Point, to: Point) -> Result<Packet> {
        let (source, target) = (IpAddress::from(from.ip.to_std()), IpAddress::from(to.ip.to_std()));
        let repr = UdpRepr { src_port: from.port, dst_port: to.port };
        let hops = self.shared.tcp.hop_limit().unwrap_or(64);
        let ip = IpRepr::new(source, target, IpProtocol::Udp, repr.header_len() + len, hops);
        let head = ip.header_len() + repr.header_len();
        let mut packet = Packet::exact(head + len).ok_or(Errno::ENOBUFS)?;
        let n = src.take(&mut packet[head..]);
        if let Some(fault) = src.take_fault() {
            src.rewind(n);
            return Err(fault.into());
        }
        let caps = ChecksumCapabilities::ignored();
        ip.emit(&mut packet[..], &caps);
        let mut udp = UdpPacket::new_unchecked(&mut packet[ip.header_len()..]);
        udp.set_src_port(from.port);
        udp.set_dst_port(to.port);
        udp.set_len((repr.header_len() + len) as u16);
        udp.set_checksum(0);
        Ok(packet)
    }

    fn receive(&self, dst: &mut Dst, flags: MsgFlags) -> Result<Received> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        self.shared.options.take_error()?;
        let mut queue = self.queue.lock();
        let Some((packet, headers)) = queue.packets.front() else {
            return if queue.read_shut { Ok(Received::default()) } else { Err(Error::WouldBlock) };
        };
        let payload = packet.get(headers.payload..headers.end).unwrap_or_default();
        // After a fault the call comes again, with a destination that has part of the datagram.
        let skip = dst.done().min(payload.len());
        let len = skip + dst.put(&payload[skip..]);
        if let Some(fault) = dst.take_fault() {
            return Err(fault.into());
        }
        let remote = headers.tuple.remote;
        let from = Address::inet(self.family, remote.ip.to_std(), remote.port);
        let mut out = Received { len, from: Some(from), ..Received::default() };
        if len < payload.len() {
            out.flags |= MsgFlags::TRUNC;
            if flags.contains(MsgFlags::TRUNC) {
                out.len = payload.len();
            }
        }
        if !flags.contains(MsgFlags::PEEK)
            && let Some((packet, _)) = queue.packets.pop_front()
        {
            queue.bytes -= packet.len() + OVERHEAD;
        }
        Ok(out)
    }

    fn end(&self) {
        let mut place = self.place.lock();
        place.closed = true;
        let lease = place.lease.take();
        drop(place);
        if let Some(lease) = lease {
            self.net.inet.remove_udp(lease.point, &self.me);
            self.net.inet.udp_ports.release(lease);
        }
        notify(&self.shared.queue, GONE);
    }
}

impl File for Udp {
    fn read(&self, _caller: &Caller, _pos: u64, dst: &mut Dst) -> Result<usize> {
        self.receive(dst, MsgFlags::empty()).map(|received| received.len)
    }

    fn write(&self, caller: &Caller, _pos: u64, src: &mut Src) -> Result<usize> {
        self.send_to(caller.cred, src, None)
    }

    fn timeless_queue(&self, events: Events) -> Option<&WaitQueue> {
        if Socket::options(self).has_time_limit(events) { None } else { self.queue() }
    }

    fn poll(&self, _caller: &Caller) -> Events {
        let mut events = OUT;
        if self.shared.options.has_error() {
            events |= Events::ERR;
        }
        let queue = self.queue.lock();
        if !queue.packets.is_empty() || queue.read_shut {
            events |= IN;
        }
        if queue.read_shut {
            events |= Events::RDHUP;
            if queue.write_shut {
                events |= Events::HUP;
            }
        }
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.queue)
    }

    fn metadata(&self) -> Metadata {
        Metadata::new(Device::new(0, 8), self.inode, FileType::Socket, 0o777, Timespec::default())
    }

    fn label(&self) -> Vec<u8> {
        format!("socket:[{}]", self.inode).into_bytes()
    }

    fn ioctl(&self, _caller: &Caller, request: u32, arg: usize) -> Result<usize> {
        let amount = match request {
            linux_raw_sys::ioctl::FIONREAD => {
                let queue = self.queue.lock();
                queue.packets.front().map_or(0, |(_, headers)| headers.end - headers.payload)
            }
            linux_raw_sys::ioctl::TIOCOUTQ => 0,
            _ => return Err(Errno::ENOTTY.into()),
        };
        UserPtr::<i32>::from(arg).write(&(amount as i32))?;
        Ok(0)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn close(&self) {
        self.end();
    }
}

impl Socket for Udp {
    fn family(&self) -> Family {
        self.family
    }

    fn kind(&self) -> Type {
        Type::Datagram
    }

    fn protocol(&self) -> i32 {
        17
    }

    fn options(&self) -> &Options {
        &self.shared.options
    }

    fn bind(&self, cx: &Context, address: &Address) -> Result<()> {
        let at = bindable(self.family, address, self.shared.tcp.v6_only())?;
        let mut place = self.place.lock();
        if place.lease.is_some() || place.closed {
            return Err(Errno::EINVAL.into());
        }
        self.bind_at(&mut place, cx.caller.cred, at).map(drop)
    }

    fn listen(&self, _cx: &Context, _backlog: i32) -> Result<()> {
        Err(Errno::EOPNOTSUPP.into())
    }

    fn accept(&self, _cx: &Context) -> Result<(Arc<dyn Socket>, Address)> {
        Err(Errno::EOPNOTSUPP.into())
    }

    fn connect(&self, cx: &Context, address: &Address) -> Result<()> {
        let mut place = self.place.lock();
        if *address == Address::Unspecified {
            place.peer = None;
            return Ok(());
        }
        let to = destination(self.family, address)?;
        if place.lease.is_none() {
            let at = Point { ip: wildcard(self.family), port: 0 };
            self.bind_at(&mut place, cx.caller.cred, at)?;
        }
        place.peer = Some(to);
        Ok(())
    }

    fn local(&self) -> Result<Address> {
        let (local, peer) = self.points();
        let ip = match peer {
            Some(peer) if local.ip.is_wildcard() => source(peer),
            _ => local.ip,
        };
        Ok(Address::inet(self.family, ip.to_std(), local.port))
    }

    fn peer(&self) -> Result<Address> {
        let peer = self.place.lock().peer.ok_or(Errno::ENOTCONN)?;
        Ok(Address::inet(self.family, peer.ip.to_std(), peer.port))
    }

    fn send(&self, cx: &Context, src: &mut Src, args: &mut SendArgs) -> Result<usize> {
        // MSG_MORE would join datagrams; that is not offered.
        if args.flags.intersects(MsgFlags::OOB | MsgFlags::MORE) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        self.send_to(cx.caller.cred, src, args.to)
    }

    fn recv(&self, _cx: &Context, dst: &mut Dst, flags: MsgFlags, _want_control: bool) -> Result<Received> {
        self.receive(dst, flags)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        if !self.is_connected() {
            return Err(Errno::ENOTCONN.into());
        }
        let mut queue = self.queue.lock();
        queue.read_shut |= how.reads();
        queue.write_shut |= how.writes();
        drop(queue);
        notify(&self.shared.queue, GONE);
        Ok(())
    }

    fn get_option(&self, level: i32, name: i32, out: &mut [u8]) -> Result<usize> {
        match Level::from_number(level) {
            Level::Socket if name as u32 == abi::SO_ACCEPTCONN => Ok(put_int(out, 0)),
            Level::Socket => self.shared.options.get(self.family, Type::Datagram, 17, name, out),
            Level::Ip => self.shared.tcp.get_ip(name, out),
            Level::Ipv6 if self.family == Family::Inet6 => self.shared.tcp.get_ipv6(name, out),
            _ => Err(Errno::ENOPROTOOPT.into()),
        }
    }

    fn set_option(&self, cx: &Context, level: i32, name: i32, value: &[u8]) -> Result<()> {
        match Level::from_number(level) {
            Level::Socket => self.shared.options.set(cx.caller.cred, name, value),
            Level::Ip => self.shared.tcp.set_ip(name, value),
            Level::Ipv6 if self.family == Family::Inet6 => {
                let bound = self.place.lock().lease.is_some();
                self.shared.tcp.set_ipv6(name, value, bound)
            }
            _ => Err(Errno::ENOPROTOOPT.into()),
        }
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        self.end();
    }
}
