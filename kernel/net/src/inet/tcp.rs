//! The TCP socket that a program holds.
//!
//! ```text
//! Idle ──bind──► Idle (with a lease on its port) ──listen──► Listening
//! Idle ──connect──► Connected ◄── made by accept
//! ```
//! Connected covers a connection from its SYN to long after its end; [`Conn`] knows the rest.

use super::conn::{Conn, Shared};
use super::core::Core;
use super::listener::Listener;
use super::options;
use super::place::{bindable, destination, source, wildcard};
use super::ports::{Claim, Lease};
use super::tuple::{Point, Tuple};
use crate::address::{Address, Family};
use crate::net::Net;
use crate::options::{Level, Options, Type, flag, put, put_int};
use crate::ranks;
use crate::socket::{Context, GONE, IN, MsgFlags, OUT, Received, SendArgs, Shutdown, Socket, notify};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Credentials, Errno, Error, Events, Result, Timespec};
use core::any::Any;
use core::sync::atomic::Ordering::Relaxed;
use executor::WaitQueue;
use executor::spin::{SpinGuard, SpinLock};
use linux_raw_sys::net as abi;
use memory::io::{Dst, Src};
use memory::user::UserPtr;
use smoltcp::socket::tcp::State as Protocol;
use vfs::{Caller, Device, File, FileType, Metadata};

enum State {
    Idle,
    Listening(Arc<Listener>),
    Connected(Arc<Conn>),
    Closed,
}

struct Inner {
    state: State,
    lease: Option<Lease>,
    /// connect(2) has begun and nobody was told its end.
    connecting: bool,
}

/// A TCP socket.
pub struct Tcp {
    net: Arc<Net>,
    family: Family,
    inode: u64,
    shared: Arc<Shared>,
    inner: SpinLock<Inner>,
}

impl Tcp {
    fn build(net: &Arc<Net>, family: Family, shared: Arc<Shared>, state: State) -> Arc<Tcp> {
        let inode = net.inode();
        shared.inode.store(inode, Relaxed);
        Arc::new(Tcp {
            net: net.clone(),
            family,
            inode,
            shared,
            inner: SpinLock::new(ranks::STATE, Inner { state, lease: None, connecting: false }),
        })
    }

    pub(crate) fn new(net: &Arc<Net>, family: Family) -> Arc<Tcp> {
        Tcp::build(net, family, Shared::fresh(), State::Idle)
    }

    #[inline]
    fn conn(&self) -> Option<Arc<Conn>> {
        match &self.inner.lock().state {
            State::Connected(conn) => Some(conn.clone()),
            _ => None,
        }
    }

    fn listener(&self) -> Option<Arc<Listener>> {
        match &self.inner.lock().state {
            State::Listening(listener) => Some(listener.clone()),
            _ => None,
        }
    }

    fn claim(&self, cred: &Credentials, at: Point) -> Claim {
        Claim {
            point: at,
            v6_only: self.shared.tcp.v6_only(),
            reuse_address: self.shared.options.reuse_address(),
            reuse_port: self.shared.options.reuse_port().then_some(cred.euid),
            exclusive_listener: true,
        }
    }

    /// Waits for, or tells, the end of a connect that has begun.
    fn connected(&self, conn: &Conn, inner: &mut Inner, nonblock: bool, first: bool) -> Result<()> {
        if inner.connecting {
            let core = conn.core();
            let pending = !core.established && core.state() != Protocol::Closed;
            drop(core);
            if pending || first && nonblock {
                return Err(match (nonblock, first) {
                    (true, true) => Errno::EINPROGRESS.into(),
                    (true, false) => Errno::EALREADY.into(),
                    _ => Error::WouldBlock,
                });
            }
            inner.connecting = false;
            let error = self.shared.options.take_error();
            if !conn.core().established {
                // It can be tried again.
                inner.state = State::Idle;
                return error.and(Err(Errno::ECONNABORTED.into()));
            }
            return error;
        }
        Err(Errno::EISCONN.into())
    }

    fn start(&self, inner: &mut Inner, to: Point, now: u64) -> Result<Arc<Conn>> {
        self.net.inet.end_rests(now);
        let inet = &self.net.inet;
        let ip = match inner.lease {
            Some(lease) if !lease.point.ip.is_wildcard() => lease.point.ip,
            _ => source(to),
        };
        if ip.is_v4() != to.ip.is_v4() {
            return Err(Errno::ENETUNREACH.into());
        }
        let tuple = |port| Tuple { local: Point { ip, port }, remote: to };
        let port = match inner.lease {
            Some(lease) => lease.point.port,
            None => inet
                .tcp_ports
                .free_for_connection(|port| inet.is_taken(&tuple(port), now))
                .ok_or(Errno::EADDRNOTAVAIL)?,
        };
        if inet.is_taken(&tuple(port), now) {
            return Err(Errno::EADDRNOTAVAIL.into());
        }
        Conn::active(&self.net, &tuple(port), &self.shared, now)
    }

    #[inline]
    fn receive(&self, dst: &mut Dst, flags: MsgFlags) -> Result<usize> {
        let Some(conn) = self.conn() else { return Err(Errno::ENOTCONN.into()) };
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EINVAL.into());
        }
        let mut core = conn.core();
        let peek = flags.contains(MsgFlags::PEEK);
        let (n, opened) = if flags.contains(MsgFlags::TRUNC) && !peek {
            discard(&mut core, dst.remaining())
        } else {
            core.read(dst, peek)
        };
        if opened {
            let mut work = self.net.inet.work();
            core.pump(&mut work, &self.shared);
            conn.settle(core, &mut work);
            work.run();
            return Ok(n);
        }
        if n > 0 {
            return Ok(n);
        }
        if let Some(fault) = dst.take_fault() {
            return Err(fault.into());
        }
        if dst.remaining() == 0 && core.readable() > 0 {
            return Ok(0);
        }
        self.nothing(core)
    }

    /// Why there is nothing to read.
    #[cold]
    fn nothing(&self, core: SpinGuard<Core>) -> Result<usize> {
        self.shared.options.take_error()?;
        if core.at_end() {
            return Ok(0);
        }
        Err(Error::WouldBlock)
    }

    #[inline]
    fn transmit(&self, src: &mut Src, more: bool) -> Result<usize> {
        let Some(conn) = self.conn() else { return Err(Errno::EPIPE.into()) };
        let mut total = 0;
        let mut work = self.net.inet.work();
        let hold = more || self.shared.tcp.cork();
        loop {
            let mut core = conn.core();
            if !core.may_write() {
                return if total > 0 { Ok(total) } else { self.unwritable(core) };
            }
            if !more && !hold {
                core.corked_since = 0;
            }
            // First by the ring alone: what the peer takes at once needs no queue.
            let n = core.write(src, false, hold, work.now, &self.shared)?;
            let queued = if n == 0 { core.write(src, true, hold, work.now, &self.shared)? } else { 0 };
            total += n + queued;
            if n + queued > 0 || hold {
                core.pump(&mut work, &self.shared);
            }
            conn.settle(core, &mut work);
            work.run();
            if let Some(fault) = src.fault() {
                if total == 0 {
                    src.take_fault();
                    return Err(fault.into());
                }
                return Ok(total);
            }
            if src.remaining() == 0 {
                return Ok(total);
            }
            if n + queued == 0 {
                return if total > 0 { Ok(total) } else { Err(Error::WouldBlock) };
            }
        }
    }

    /// Why nothing can be written.
    #[cold]
    fn unwritable(&self, core: SpinGuard<Core>) -> Result<usize> {
        if !core.established && core.state() != Protocol::Closed && !core.write_shut() {
            return Err(Error::WouldBlock);
        }
        drop(core);
        self.shared.options.take_error()?;
        Err(Errno::EPIPE.into())
    }

    fn end(&self) {
        let mut inner = self.inner.lock();
        let state = core::mem::replace(&mut inner.state, State::Closed);
        let lease = inner.lease.take();
        drop(inner);
        let mut work = self.net.inet.work();
        match state {
            State::Listening(listener) => listener.stop(&mut work),
            State::Connected(conn) => conn.forsake(&mut work),
            State::Idle | State::Closed => {}
        }
        work.run();
        if let Some(lease) = lease {
            self.net.inet.tcp_ports.release(lease);
        }
        notify(&self.shared.queue, GONE);
    }

    /// `struct tcp_info`, as far as its fields are known here: the state, and the times since data came.
    fn info(&self, out: &mut [u8]) -> usize {
        let mut info = [0u8; 104];
        info[0] = match &self.inner.lock().state {
            State::Idle | State::Closed => 7,
            State::Listening(_) => 10,
            State::Connected(conn) => {
                let core = conn.core();
                let age = ((self.net.inet.machine.now)().saturating_sub(core.last_arrival) / 1_000_000) as u32;
                info[52..56].copy_from_slice(&age.to_ne_bytes());
                info[16..20].copy_from_slice(&(super::packet::RING as u32).to_ne_bytes());
                info[20..24].copy_from_slice(&(super::packet::RING as u32).to_ne_bytes());
                state_number(core.state())
            }
        };
        put(out, &info)
    }
}

/// Drops up to `max` bytes that have arrived (MSG_TRUNC of a stream).
fn discard(core: &mut Core, max: usize) -> (usize, bool) {
    let mut scratch = [0; 256];
    let (mut total, mut opened) = (0, false);
    while total < max {
        let len = (max - total).min(scratch.len());
        let (n, more) = core.read(&mut Dst::kernel(&mut scratch[..len]), false);
        opened |= more;
        total += n;
        if n == 0 {
            break;
        }
    }
    (total, opened)
}

/// The number of a state, as /proc/net/tcp and TCP_INFO have it.
pub(crate) fn state_number(state: Protocol) -> u8 {
    match state {
        Protocol::Established => 1,
        Protocol::SynSent => 2,
        Protocol::SynReceived | Protocol::Listen => 3,
        Protocol::FinWait1 => 4,
        Protocol::FinWait2 => 5,
        Protocol::TimeWait => 6,
        Protocol::Closed => 7,
        Protocol::CloseWait => 8,
        Protocol::LastAck => 9,
        Protocol::Closing => 11,
    }
}

impl File for Tcp {
    #[inline]
    fn read(&self, _caller: &Caller, _pos: u64, dst: &mut Dst) -> Result<usize> {
        self.receive(dst, MsgFlags::empty())
    }

    #[inline]
    fn write(&self, _caller: &Caller, _pos: u64, src: &mut Src) -> Result<usize> {
        self.transmit(src, false)
    }

    fn timeless_queue(&self, events: Events) -> Option<&WaitQueue> {
        if Socket::options(self).has_time_limit(events) { None } else { self.queue() }
    }

    fn poll(&self, _caller: &Caller) -> Events {
        let inner = self.inner.lock();
        match &inner.state {
            State::Connected(conn) => conn.poll(),
            State::Listening(listener) if listener.pending().0 > 0 => IN,
            State::Listening(_) => Events::empty(),
            State::Idle | State::Closed => {
                let error = if self.shared.options.has_error() { Events::ERR } else { Events::empty() };
                OUT | Events::HUP | error
            }
        }
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
        let conn = self.conn();
        let amount = match request {
            linux_raw_sys::ioctl::FIONREAD if self.listener().is_some() => return Err(Errno::EINVAL.into()),
            linux_raw_sys::ioctl::FIONREAD => conn.map_or(0, |conn| conn.core().readable()),
            linux_raw_sys::ioctl::TIOCOUTQ => conn.map_or(0, |conn| conn.core().outstanding()),
            _ => return Err(Errno::ENOTTY.into()),
        };
        UserPtr::<i32>::from(arg).write(&(amount.min(i32::MAX as usize) as i32))?;
        Ok(0)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn lingers(&self) -> bool {
        self.shared.options.linger().is_some_and(|seconds| seconds > 0)
    }

    fn linger(&self) -> Option<u64> {
        let seconds = self.shared.options.linger().filter(|seconds| *seconds > 0)?;
        self.conn()?.send_all(&mut self.net.inet.work()).then(|| seconds.saturating_mul(1_000_000_000))
    }

    fn close(&self) {
        self.end();
    }
}

impl Socket for Tcp {
    fn family(&self) -> Family {
        self.family
    }

    fn kind(&self) -> Type {
        Type::Stream
    }

    fn protocol(&self) -> i32 {
        6
    }

    fn options(&self) -> &Options {
        &self.shared.options
    }

    fn bind(&self, cx: &Context, address: &Address) -> Result<()> {
        let at = bindable(self.family, address, self.shared.tcp.v6_only())?;
        let mut inner = self.inner.lock();
        if inner.lease.is_some() || !matches!(inner.state, State::Idle) {
            return Err(Errno::EINVAL.into());
        }
        self.net.inet.end_rests((self.net.machine.now)());
        inner.lease = Some(self.net.inet.tcp_ports.bind(cx.caller.cred, self.claim(cx.caller.cred, at))?);
        Ok(())
    }

    fn listen(&self, cx: &Context, backlog: i32) -> Result<()> {
        let limit = self.net.backlog(backlog);
        let mut inner = self.inner.lock();
        match &inner.state {
            State::Listening(listener) => {
                listener.set_limit(limit);
                return Ok(());
            }
            State::Idle => {}
            _ => return Err(Errno::EINVAL.into()),
        }
        let ports = &self.net.inet.tcp_ports;
        let lease = match inner.lease {
            Some(lease) => lease,
            None => {
                let any = Point { ip: wildcard(self.family), port: 0 };
                ports.bind(cx.caller.cred, self.claim(cx.caller.cred, any))?
            }
        };
        inner.lease = Some(lease);
        ports.listen(lease)?;
        inner.state = State::Listening(Listener::start(&self.net, lease.point, &self.shared, limit)?);
        Ok(())
    }

    fn accept(&self, _cx: &Context) -> Result<(Arc<dyn Socket>, Address)> {
        let listener = self.listener().ok_or(Errno::EINVAL)?;
        let conn = listener.accept()?;
        let remote = conn.tuple.remote;
        let peer = Address::inet(self.family, remote.ip.to_std(), remote.port);
        let shared = conn.shared.clone();
        Ok((Tcp::build(&self.net, self.family, shared, State::Connected(conn)), peer))
    }

    fn connect(&self, cx: &Context, address: &Address) -> Result<()> {
        let mut inner = self.inner.lock();
        let nonblock = cx.caller.nonblock();
        if *address == Address::Unspecified {
            // The connection is given up, and the socket can be used again.
            let state = core::mem::replace(&mut inner.state, State::Idle);
            inner.connecting = false;
            drop(inner);
            let mut work = self.net.inet.work();
            match state {
                State::Connected(conn) => {
                    conn.abort(&mut work);
                    conn.forsake(&mut work);
                }
                State::Listening(listener) => listener.stop(&mut work),
                State::Idle | State::Closed => {}
            }
            work.run();
            return Ok(());
        }
        match &inner.state {
            State::Connected(conn) => {
                let conn = conn.clone();
                return self.connected(&conn, &mut inner, nonblock, false);
            }
            State::Listening(_) => return Err(Errno::EISCONN.into()),
            State::Closed => return Err(Errno::EINVAL.into()),
            State::Idle => {}
        }
        let to = destination(self.family, address)?;
        if to.port == 0 {
            return Err(Errno::ECONNREFUSED.into());
        }
        let mut work = self.net.inet.work();
        let conn = self.start(&mut inner, to, work.now)?;
        inner.state = State::Connected(conn.clone());
        inner.connecting = true;
        drop(inner);
        let mut core = conn.core();
        core.pump(&mut work, &self.shared);
        conn.settle(core, &mut work);
        work.run();
        let mut inner = self.inner.lock();
        self.connected(&conn, &mut inner, nonblock, true)
    }

    fn local(&self) -> Result<Address> {
        let inner = self.inner.lock();
        let at = match (&inner.state, inner.lease) {
            (State::Connected(conn), _) => conn.tuple.local,
            (_, Some(lease)) => lease.point,
            _ => Point { ip: wildcard(self.family), port: 0 },
        };
        Ok(Address::inet(self.family, at.ip.to_std(), at.port))
    }

    fn peer(&self) -> Result<Address> {
        let conn = self.conn().ok_or(Errno::ENOTCONN)?;
        let core = conn.core();
        if !core.established || matches!(core.state(), Protocol::Closed | Protocol::TimeWait) {
            return Err(Errno::ENOTCONN.into());
        }
        let remote = conn.tuple.remote;
        Ok(Address::inet(self.family, remote.ip.to_std(), remote.port))
    }

    fn send(&self, _cx: &Context, src: &mut Src, args: &mut SendArgs) -> Result<usize> {
        if args.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        // An address is ignored by a stream that is connected.
        self.transmit(src, args.flags.contains(MsgFlags::MORE))
    }

    fn recv(&self, _cx: &Context, dst: &mut Dst, flags: MsgFlags, _want_control: bool) -> Result<Received> {
        Ok(Received { len: self.receive(dst, flags)?, ..Received::default() })
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        if let Some(listener) = self.listener() {
            if how.reads() {
                let mut work = self.net.inet.work();
                self.inner.lock().state = State::Idle;
                listener.stop(&mut work);
                work.run();
                notify(&self.shared.queue, GONE);
            }
            return Ok(());
        }
        let conn = self.conn().ok_or(Errno::ENOTCONN)?;
        let mut work = self.net.inet.work();
        let mut core = conn.core();
        if matches!(core.state(), Protocol::Closed | Protocol::SynSent) {
            return Err(Errno::ENOTCONN.into());
        }
        if how.reads() {
            core.read_shut = true;
        }
        if how.writes() {
            core.finish(work.now);
            core.pump(&mut work, &self.shared);
        }
        conn.settle(core, &mut work);
        work.run();
        notify(&self.shared.queue, conn.poll());
        Ok(())
    }

    fn get_option(&self, level: i32, name: i32, out: &mut [u8]) -> Result<usize> {
        match Level::from_number(level) {
            Level::Socket if name as u32 == abi::SO_ACCEPTCONN => Ok(put_int(out, self.listener().is_some().into())),
            Level::Socket => self.shared.options.get(self.family, Type::Stream, 6, name, out),
            Level::Tcp if name as u32 == abi::TCP_INFO => Ok(self.info(out)),
            Level::Tcp if name as u32 == abi::TCP_MAXSEG => Ok(put_int(out, super::packet::RING as i32)),
            Level::Tcp => options::get_tcp(&self.shared, name, out),
            Level::Ip => self.shared.tcp.get_ip(name, out),
            Level::Ipv6 if self.family == Family::Inet6 => self.shared.tcp.get_ipv6(name, out),
            _ => Err(Errno::ENOPROTOOPT.into()),
        }
    }

    fn set_option(&self, cx: &Context, level: i32, name: i32, value: &[u8]) -> Result<()> {
        match Level::from_number(level) {
            Level::Socket => self.shared.options.set(cx.caller.cred, name, value)?,
            Level::Tcp => options::set_tcp(&self.shared, name, value)?,
            Level::Ip => return self.shared.tcp.set_ip(name, value),
            Level::Ipv6 if self.family == Family::Inet6 => {
                let bound = self.inner.lock().lease.is_some();
                return self.shared.tcp.set_ipv6(name, value, bound);
            }
            _ => return Err(Errno::ENOPROTOOPT.into()),
        }
        // Some options take effect at once.
        if let Some(conn) = self.conn() {
            let mut work = self.net.inet.work();
            let mut core = conn.core();
            core.apply(&self.shared);
            if name as u32 == abi::TCP_CORK && !flag(value)? {
                core.corked_since = 0;
            }
            core.pump(&mut work, &self.shared);
            conn.settle(core, &mut work);
            work.run();
        }
        Ok(())
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        if !matches!(self.inner.get_mut().state, State::Closed) {
            self.end();
        }
    }
}
