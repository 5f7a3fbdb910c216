//! The text of /proc/net/{tcp,tcp6,udp,udp6,unix} (proc(5)).

use crate::inet::tcp::state_number;
use crate::inet::tuple::{Ip, Point};
use crate::net::Net;
use crate::options::Type;
use crate::socket::Socket;
use crate::{Address, UnixAddress};
use core::fmt::{Result, Write};
use core::net::IpAddr;
use core::sync::atomic::Ordering::Relaxed;

const TCP_HEAD: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

/// An address and port as these files show them: the address's words in this machine's byte order.
struct Shown(Point, bool);

impl core::fmt::Display for Shown {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> Result {
        let ip = self.0.ip.to_std();
        let bytes = match ip {
            IpAddr::V4(ip) if self.1 => ip.to_ipv6_mapped().octets(),
            IpAddr::V4(ip) => {
                let word = u32::from_ne_bytes(ip.octets());
                return write!(f, "{word:08X}:{:04X}", self.0.port);
            }
            IpAddr::V6(ip) => ip.octets(),
        };
        for word in bytes.chunks_exact(4) {
            write!(f, "{:08X}", u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))?;
        }
        write!(f, ":{:04X}", self.0.port)
    }
}

struct Line {
    local: Point,
    remote: Point,
    state: u8,
    sending: usize,
    receiving: usize,
    inode: u64,
}

fn line(out: &mut dyn Write, number: usize, v6: bool, line: &Line) -> Result {
    writeln!(
        out,
        "{number:4}: {} {} {:02X} {:08X}:{:08X} 00:00000000 00000000 {:5} {:8} {} 1 0000000000000000",
        Shown(line.local, v6),
        Shown(line.remote, v6),
        line.state,
        line.sending,
        line.receiving,
        0,
        0,
        line.inode
    )
}

impl Net {
    /// /proc/net/tcp, or with `v6` /proc/net/tcp6: listeners, connections, and four-tuples in TIME-WAIT.
    pub fn show_tcp(&self, v6: bool, out: &mut dyn Write) -> Result {
        writeln!(out, "{TCP_HEAD}")?;
        let mut number = 0;
        let nobody = |ip: Ip| Point { ip: ip.wildcard(), port: 0 };
        let mut show = |entry: Line| {
            if entry.local.ip.is_v4() == v6 {
                return Ok(());
            }
            number += 1;
            line(out, number - 1, v6, &entry)
        };
        for listener in self.inet.listeners() {
            let (pending, limit) = listener.pending();
            let (local, remote) = (listener.point, nobody(listener.point.ip));
            show(Line {
                local,
                remote,
                state: 10,
                sending: limit,
                receiving: pending,
                inode: listener.shared.inode.load(Relaxed),
            })?;
        }
        let (open, resting) = self.inet.connections();
        for conn in open {
            let core = conn.core();
            let (state, sending, receiving) = (state_number(core.state()), core.outstanding(), core.readable());
            drop(core);
            let (local, remote) = (conn.tuple.local, conn.tuple.remote);
            let inode = conn.shared.inode.load(Relaxed);
            show(Line { local, remote, state, sending, receiving, inode })?;
        }
        for tuple in resting {
            let (local, remote) = (tuple.local, tuple.remote);
            show(Line { local, remote, state: 6, sending: 0, receiving: 0, inode: 0 })?;
        }
        Ok(())
    }

    /// /proc/net/udp, or with `v6` /proc/net/udp6.
    pub fn show_udp(&self, v6: bool, out: &mut dyn Write) -> Result {
        writeln!(out, "{TCP_HEAD} ref pointer drops")?;
        for (number, socket) in self.inet.udp_sockets().iter().enumerate() {
            let (local, peer) = socket.points();
            if local.ip.is_v4() == v6 {
                continue;
            }
            let remote = peer.unwrap_or(Point { ip: local.ip.wildcard(), port: 0 });
            let state = if peer.is_some() { 1 } else { 7 };
            line(out, number, v6, &Line { local, remote, state, sending: 0, receiving: 0, inode: socket.inode() })?;
        }
        Ok(())
    }

    /// /proc/net/unix.
    pub fn show_unix(&self, out: &mut dyn Write) -> Result {
        writeln!(out, "Num       RefCount Protocol Flags    Type St Inode Path")?;
        for socket in self.unix.all() {
            let flags = if socket.is_listening() { 0x10000 } else { 0 };
            let state = if socket.kind() != Type::Datagram && socket.peer().is_ok() { 3 } else { 1 };
            let kind = socket.kind() as i32;
            write!(out, "{:016X}: {:08X} {:08X} {flags:08X} {kind:04X} {state:02X} {:5}", 0, 2, 0, socket.inode())?;
            if let Ok(Address::Unix(name)) = socket.local() {
                let (mark, bytes) = match &name {
                    UnixAddress::Unnamed => ("", &[][..]),
                    UnixAddress::Abstract(name) => (" @", &name[..]),
                    UnixAddress::Path(path) => (" ", &path[..]),
                };
                write!(out, "{mark}")?;
                for chunk in bytes.utf8_chunks() {
                    write!(out, "{}", chunk.valid())?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
