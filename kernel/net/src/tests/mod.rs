//! Tests of the sockets as programs see them, over a simulated clock.

mod tcp;
mod transfer;
mod udp;
mod unix;

use crate::socket::{Context, MsgFlags, NoPaths, Received, SendArgs, Socket};
use crate::{Address, Machine, Net};
use alloc::sync::Arc;
use base::{Credentials, Errno, Error, Events, Result};
use core::cell::Cell;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use memory::io::{Dst, Src};
use vfs::Caller;

executor::hosted_platform!();

std::thread_local! {
    static NOW: Cell<u64> = const { Cell::new(1_000_000_000) };
    static SEED: Cell<u64> = const { Cell::new(1) };
}

/// The loopback as tests want it: one that loses packets, or is cut.
pub(crate) struct Wire;

std::thread_local! {
    /// Of how many packets one is lost, 0 for none; 1 for all.
    static LOSS: Cell<u64> = const { Cell::new(0) };
}

impl crate::inet::Link for Wire {
    fn transmit(
        &self,
        packet: crate::inet::Packet,
        headers: &crate::inet::tuple::Headers,
        work: &mut crate::inet::Work,
    ) {
        let loss = LOSS.get();
        if loss == 0 || !random().is_multiple_of(loss) {
            crate::inet::Loopback.transmit(packet, headers, work);
        }
    }
}

fn random() -> u64 {
    SEED.set(SEED.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    SEED.get() ^ SEED.get() >> 29
}

/// A machine for this thread.
pub(crate) fn machine() {
    memory::init(arch::sim::boot(1, 32 << 20, [7; 32]));
}

/// A network on this thread's clock.
fn net() -> Arc<Net> {
    machine();
    NOW.set(1_000_000_000);
    LOSS.set(0);
    Net::new(Machine { now: || NOW.get(), random })
}

/// Lets `ms` milliseconds pass, in steps that timers can see.
fn pass(ms: u64) {
    let mut left = ms;
    while left > 0 {
        let step = left.min(10);
        left -= step;
        NOW.set(NOW.get() + step * 1_000_000);
        executor::fire_timers(NOW.get());
    }
}

fn errno<T: core::fmt::Debug>(result: Result<T>) -> Errno {
    match result {
        Err(Error::Errno(errno)) => errno,
        other => panic!("{other:?}"),
    }
}

/// A program's process.
struct Process {
    cred: Credentials,
    pid: u32,
    nonblock: bool,
}

impl Process {
    fn new() -> Process {
        Process { cred: Credentials::root(), pid: 7, nonblock: false }
    }

    fn caller(&self) -> Caller<'_> {
        {
            let mut caller = Caller { thread: self.pid, process: self.pid, ..Caller::kernel(&self.cred) };
            caller.set_nonblock(self.nonblock);
            caller
        }
    }

    fn with<T>(&self, f: impl FnOnce(&Context) -> T) -> T {
        let caller = self.caller();
        f(&Context { caller: &caller, paths: &NoPaths, open_files_limit: 1024 })
    }

    fn socket(&self, net: &Arc<Net>, family: i32, kind: i32) -> Arc<dyn Socket> {
        net.socket(&self.caller(), family, kind, 0).unwrap()
    }

    fn bind(&self, socket: &dyn Socket, address: &Address) -> Result<()> {
        self.with(|cx| socket.bind(cx, address))
    }

    fn listen(&self, socket: &dyn Socket, backlog: i32) -> Result<()> {
        self.with(|cx| socket.listen(cx, backlog))
    }

    fn accept(&self, socket: &dyn Socket) -> Result<Arc<dyn Socket>> {
        self.with(|cx| socket.accept(cx)).map(|(socket, _)| socket)
    }

    fn connect(&self, socket: &dyn Socket, address: &Address) -> Result<()> {
        self.with(|cx| socket.connect(cx, address))
    }

    fn write(&self, socket: &dyn Socket, bytes: &[u8]) -> Result<usize> {
        socket.write(&self.caller(), 0, &mut Src::kernel(bytes))
    }

    fn send(&self, socket: &dyn Socket, bytes: &[u8], args: &mut SendArgs) -> Result<usize> {
        self.with(|cx| socket.send(cx, &mut Src::kernel(bytes), args))
    }

    fn read(&self, socket: &dyn Socket, max: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; max];
        let n = socket.read(&self.caller(), 0, &mut Dst::kernel(&mut buf))?;
        buf.truncate(n);
        Ok(buf)
    }

    fn recv(&self, socket: &dyn Socket, max: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received)> {
        let mut buf = vec![0; max];
        let received = self.with(|cx| socket.recv(cx, &mut Dst::kernel(&mut buf), flags, true))?;
        buf.truncate(received.len);
        Ok((buf, received))
    }

    fn poll(&self, socket: &dyn Socket) -> Events {
        socket.poll(&self.caller())
    }

    fn set(&self, socket: &dyn Socket, level: i32, name: u32, value: i32) -> Result<()> {
        self.with(|cx| socket.set_option(cx, level, name as i32, &value.to_ne_bytes()))
    }

    /// A listener at a free port of `family`, and its address.
    fn server(&self, net: &Arc<Net>, address: &Address, backlog: i32) -> (Arc<dyn Socket>, Address) {
        let family = if matches!(address, Address::Inet4(_)) { 2 } else { 10 };
        let server = self.socket(net, family, 1);
        self.bind(&*server, address).unwrap();
        self.listen(&*server, backlog).unwrap();
        let address = server.local().unwrap();
        (server, address)
    }

    /// Two ends of a TCP connection.
    fn tcp_pair(&self, net: &Arc<Net>) -> (Arc<dyn Socket>, Arc<dyn Socket>) {
        let (server, address) = self.server(net, &v4(0), 8);
        let client = self.socket(net, 2, 1);
        self.connect(&*client, &address).unwrap();
        let accepted = self.accept(&*server).unwrap();
        (client, accepted)
    }
}

fn v4(port: u16) -> Address {
    Address::Inet4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

fn v6(port: u16) -> Address {
    Address::Inet6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0))
}

/// Takes what a queue tells its observers, as epoll does.
struct Told(core::sync::atomic::AtomicU32);

impl executor::Observer for Told {
    fn notified(&self, mask: u32) {
        self.0.fetch_or(mask, core::sync::atomic::Ordering::Relaxed);
    }
}

fn observe(socket: &dyn Socket) -> Arc<Told> {
    let told = Arc::new(Told(Default::default()));
    socket.queue().unwrap().attach(told.clone(), u32::MAX).unwrap();
    told
}

impl Told {
    fn take(&self) -> Events {
        Events::from_bits_retain(self.0.swap(0, core::sync::atomic::Ordering::Relaxed))
    }
}
