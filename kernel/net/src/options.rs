//! Socket options (socket(7), ip(7), tcp(7)): their layout, and those that every socket has.
//!
//! An option is acted upon or refused with ENOPROTOOPT. All fields are atomics: options are read on
//! hot paths and changed rarely.

use crate::address::Family;
use base::{Capability, Credentials, Errno, Events, Result};
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use linux_raw_sys::net as abi;

/// The type of a socket (socket(2)), of those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Type {
    /// SOCK_STREAM.
    Stream = 1,
    /// SOCK_DGRAM.
    Datagram = 2,
    /// SOCK_SEQPACKET.
    SeqPacket = 5,
}

impl Type {
    /// The type with this number.
    pub fn from_number(number: i32) -> Option<Type> {
        match number {
            1 => Some(Type::Stream),
            2 => Some(Type::Datagram),
            5 => Some(Type::SeqPacket),
            _ => None,
        }
    }
}

/// The levels of socket options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// SOL_SOCKET.
    Socket,
    /// IPPROTO_IP.
    Ip,
    /// IPPROTO_TCP.
    Tcp,
    /// IPPROTO_IPV6.
    Ipv6,
    /// Any other.
    Other,
}

impl Level {
    /// The level with this number.
    pub fn from_number(number: i32) -> Level {
        match number {
            1 => Level::Socket,
            0 => Level::Ip,
            6 => Level::Tcp,
            41 => Level::Ipv6,
            _ => Level::Other,
        }
    }
}

/// `struct ucred`: who sent a message, or who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Credential {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Credential {
    /// What nobody's socket shows.
    pub const NONE: Credential = Credential { pid: 0, uid: u32::MAX, gid: u32::MAX };

    /// As the program sees it.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut out = [0; 12];
        out[..4].copy_from_slice(&self.pid.to_ne_bytes());
        out[4..8].copy_from_slice(&self.uid.to_ne_bytes());
        out[8..].copy_from_slice(&self.gid.to_ne_bytes());
        out
    }
}

/// net.core.wmem_max and rmem_max.
const BUFFER_MAX: u32 = 212_992;
/// The default of SO_SNDBUF and SO_RCVBUF: net.core.wmem_default.
pub const BUFFER_DEFAULT: u32 = 212_992;
const SNDBUF_MIN: u32 = 4_608;
const RCVBUF_MIN: u32 = 2_304;

/// The options that every socket has.
pub struct Options {
    reuse_address: AtomicBool,
    reuse_port: AtomicBool,
    keep_alive: AtomicBool,
    broadcast: AtomicBool,
    pass_credentials: AtomicBool,
    /// Seconds, or -1 when off.
    linger: AtomicI64,
    send_buffer: AtomicU32,
    receive_buffer: AtomicU32,
    /// In ns; 0 is none.
    send_timeout: AtomicU64,
    receive_timeout: AtomicU64,
    /// The pending error (SO_ERROR), 0 if none.
    error: AtomicU16,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            reuse_address: AtomicBool::new(false),
            reuse_port: AtomicBool::new(false),
            keep_alive: AtomicBool::new(false),
            broadcast: AtomicBool::new(false),
            pass_credentials: AtomicBool::new(false),
            linger: AtomicI64::new(-1),
            send_buffer: AtomicU32::new(BUFFER_DEFAULT),
            receive_buffer: AtomicU32::new(BUFFER_DEFAULT),
            send_timeout: AtomicU64::new(0),
            receive_timeout: AtomicU64::new(0),
            error: AtomicU16::new(0),
        }
    }
}

impl Options {
    /// What an accepted socket has from its listener.
    pub fn inherit(from: &Options) -> Options {
        let new = Options::default();
        new.reuse_address.store(from.reuse_address(), Relaxed);
        new.reuse_port.store(from.reuse_port(), Relaxed);
        new.keep_alive.store(from.keep_alive(), Relaxed);
        new.linger.store(from.linger.load(Relaxed), Relaxed);
        new.send_buffer.store(from.send_buffer.load(Relaxed), Relaxed);
        new.receive_buffer.store(from.receive_buffer.load(Relaxed), Relaxed);
        new.send_timeout.store(from.send_timeout.load(Relaxed), Relaxed);
        new.receive_timeout.store(from.receive_timeout.load(Relaxed), Relaxed);
        new.pass_credentials.store(from.pass_credentials(), Relaxed);
        new
    }

    /// SO_REUSEADDR.
    pub fn reuse_address(&self) -> bool {
        self.reuse_address.load(Relaxed)
    }

    /// SO_REUSEPORT.
    pub fn reuse_port(&self) -> bool {
        self.reuse_port.load(Relaxed)
    }

    /// SO_KEEPALIVE.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive.load(Relaxed)
    }

    /// SO_BROADCAST.
    pub fn broadcast(&self) -> bool {
        self.broadcast.load(Relaxed)
    }

    /// SO_PASSCRED.
    pub fn pass_credentials(&self) -> bool {
        self.pass_credentials.load(Relaxed)
    }

    /// SO_LINGER: seconds, if it is on.
    pub fn linger(&self) -> Option<u64> {
        u64::try_from(self.linger.load(Relaxed)).ok()
    }

    /// Bytes that may wait to be sent.
    pub fn send_buffer(&self) -> usize {
        self.send_buffer.load(Relaxed) as usize
    }

    /// Bytes that may wait to be received.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer.load(Relaxed) as usize
    }

    /// SO_SNDTIMEO in ns.
    pub fn send_timeout(&self) -> Option<u64> {
        Some(self.send_timeout.load(Relaxed)).filter(|ns| *ns != 0)
    }

    /// SO_RCVTIMEO in ns.
    pub fn receive_timeout(&self) -> Option<u64> {
        Some(self.receive_timeout.load(Relaxed)).filter(|ns| *ns != 0)
    }

    /// Whether a call that waits for `events` waits for a limited time only.
    #[inline]
    pub fn has_time_limit(&self, events: Events) -> bool {
        let limit = if events.contains(Events::OUT) { &self.send_timeout } else { &self.receive_timeout };
        limit.load(Relaxed) != 0
    }

    /// Makes `errno` the pending error.
    pub fn set_error(&self, errno: Errno) {
        self.error.store(errno.get(), Relaxed);
    }

    /// Whether an error is pending.
    pub fn has_error(&self) -> bool {
        self.error.load(Relaxed) != 0
    }

    /// Takes the pending error: the next call that asks reports it, once.
    pub fn take_error(&self) -> Result<()> {
        if self.error.load(Relaxed) == 0 {
            return Ok(());
        }
        match pending(self.error.swap(0, Relaxed)) {
            Some(errno) => Err(errno.into()),
            None => Ok(()),
        }
    }

    /// Sets an option of SOL_SOCKET.
    pub fn set(&self, cred: &Credentials, name: i32, value: &[u8]) -> Result<()> {
        match name as u32 {
            abi::SO_REUSEADDR => self.reuse_address.store(flag(value)?, Relaxed),
            abi::SO_REUSEPORT => self.reuse_port.store(flag(value)?, Relaxed),
            abi::SO_KEEPALIVE => self.keep_alive.store(flag(value)?, Relaxed),
            abi::SO_BROADCAST => self.broadcast.store(flag(value)?, Relaxed),
            abi::SO_SNDBUF => self.send_buffer.store(buffer(value, SNDBUF_MIN, BUFFER_MAX)?, Relaxed),
            abi::SO_RCVBUF => self.receive_buffer.store(buffer(value, RCVBUF_MIN, BUFFER_MAX)?, Relaxed),
            abi::SO_SNDBUFFORCE | abi::SO_RCVBUFFORCE => {
                if !cred.has(Capability::NetAdmin) {
                    return Err(Errno::EPERM.into());
                }
                if name as u32 == abi::SO_SNDBUFFORCE {
                    self.send_buffer.store(buffer(value, SNDBUF_MIN, 1 << 26)?, Relaxed);
                } else {
                    self.receive_buffer.store(buffer(value, RCVBUF_MIN, 1 << 26)?, Relaxed);
                }
            }
            abi::SO_LINGER => {
                let on = int(value)? != 0;
                let seconds = int(value.get(4..).unwrap_or_default())?;
                self.linger.store(if on { i64::from(seconds.max(0)) } else { -1 }, Relaxed);
            }
            abi::SO_SNDTIMEO_OLD | abi::SO_SNDTIMEO_NEW => self.send_timeout.store(timeout(value)?, Relaxed),
            abi::SO_RCVTIMEO_OLD | abi::SO_RCVTIMEO_NEW => self.receive_timeout.store(timeout(value)?, Relaxed),
            _ => return Err(Errno::ENOPROTOOPT.into()),
        }
        Ok(())
    }

    /// SO_PASSCRED, which only UNIX sockets have.
    pub fn set_pass_credentials(&self, on: bool) {
        self.pass_credentials.store(on, Relaxed);
    }

    /// Reads an option of SOL_SOCKET, all but SO_ACCEPTCONN and SO_PEERCRED.
    pub fn get(&self, family: Family, kind: Type, protocol: i32, name: i32, out: &mut [u8]) -> Result<usize> {
        let value = match name as u32 {
            abi::SO_REUSEADDR => self.reuse_address().into(),
            abi::SO_REUSEPORT => self.reuse_port().into(),
            abi::SO_KEEPALIVE => self.keep_alive().into(),
            abi::SO_BROADCAST => self.broadcast().into(),
            abi::SO_PASSCRED => self.pass_credentials().into(),
            abi::SO_SNDBUF => self.send_buffer.load(Relaxed) as i32,
            abi::SO_RCVBUF => self.receive_buffer.load(Relaxed) as i32,
            abi::SO_ERROR => self.error.swap(0, Relaxed).into(),
            abi::SO_TYPE => kind as i32,
            abi::SO_DOMAIN => family as i32,
            abi::SO_PROTOCOL => protocol,
            abi::SO_RCVLOWAT | abi::SO_SNDLOWAT => 1,
            abi::SO_DEBUG | abi::SO_DONTROUTE | abi::SO_OOBINLINE | abi::SO_PRIORITY | abi::SO_TIMESTAMP => 0,
            abi::SO_BINDTODEVICE => return Ok(0),
            abi::SO_LINGER => {
                let linger = self.linger.load(Relaxed);
                let mut value = [0; 8];
                value[..4].copy_from_slice(&i32::from(linger >= 0).to_ne_bytes());
                value[4..].copy_from_slice(&(linger.max(0) as i32).to_ne_bytes());
                return Ok(put(out, &value));
            }
            abi::SO_SNDTIMEO_OLD | abi::SO_SNDTIMEO_NEW => {
                return Ok(put_timeout(out, self.send_timeout.load(Relaxed)));
            }
            abi::SO_RCVTIMEO_OLD | abi::SO_RCVTIMEO_NEW => {
                return Ok(put_timeout(out, self.receive_timeout.load(Relaxed)));
            }
            _ => return Err(Errno::ENOPROTOOPT.into()),
        };
        Ok(put_int(out, value))
    }
}

/// The error number back as an [`Errno`], of those that a socket can have pending.
fn pending(number: u16) -> Option<Errno> {
    const ALL: [Errno; 7] = [
        Errno::ECONNREFUSED,
        Errno::ECONNRESET,
        Errno::EPIPE,
        Errno::ETIMEDOUT,
        Errno::ECONNABORTED,
        Errno::EHOSTUNREACH,
        Errno::ENETUNREACH,
    ];
    ALL.into_iter().find(|errno| errno.get() == number)
}

/// An `int` at the front of `value`; EINVAL if there is none.
pub fn int(value: &[u8]) -> Result<i32> {
    match value {
        [a, b, c, d, ..] => Ok(i32::from_ne_bytes([*a, *b, *c, *d])),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// An `int` as yes or no.
pub fn flag(value: &[u8]) -> Result<bool> {
    Ok(int(value)? != 0)
}

/// Twice the size asked for, as the peer's overhead is counted in (socket(7)), within bounds.
fn buffer(value: &[u8], min: u32, max: u32) -> Result<u32> {
    let asked = int(value)? as u32;
    Ok((asked.min(max) * 2).max(min))
}

/// A `struct timeval` in ns. EDOM if the microseconds are out of range; a negative time is none.
fn timeout(value: &[u8]) -> Result<u64> {
    let Some((seconds, micros)) = value.get(..16).map(|v| v.split_at(8)) else { return Err(Errno::EINVAL.into()) };
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        i64::from_ne_bytes(word)
    };
    let (seconds, micros) = (word(seconds), word(micros));
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno::EDOM.into());
    }
    if seconds < 0 {
        // Linux makes this "at once"; the shortest wait that is not "for ever" has the same effect.
        return Ok(1);
    }
    Ok((seconds as u64).saturating_mul(1_000_000_000).saturating_add(micros as u64 * 1000))
}

/// Writes as much of `value` as fits and returns how much that was.
pub fn put(out: &mut [u8], value: &[u8]) -> usize {
    let len = value.len().min(out.len());
    out[..len].copy_from_slice(&value[..len]);
    len
}

/// Writes an `int`.
pub fn put_int(out: &mut [u8], value: i32) -> usize {
    put(out, &value.to_ne_bytes())
}

fn put_timeout(out: &mut [u8], ns: u64) -> usize {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&((ns / 1_000_000_000) as i64).to_ne_bytes());
    value[8..].copy_from_slice(&((ns % 1_000_000_000 / 1000) as i64).to_ne_bytes());
    put(out, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_size_is_doubled_and_bounded() {
        let options = Options::default();
        let cred = Credentials::root();
        options.set(&cred, abi::SO_SNDBUF as i32, &1i32.to_ne_bytes()).unwrap();
        assert_eq!(options.send_buffer(), 4608);
        options.set(&cred, abi::SO_RCVBUF as i32, &i32::MAX.to_ne_bytes()).unwrap();
        assert_eq!(options.receive_buffer(), 425_984);
    }

    #[test]
    fn unknown_options_are_refused() {
        let options = Options::default();
        let refused = Err(Errno::ENOPROTOOPT.into());
        assert_eq!(options.set(&Credentials::root(), abi::SO_MARK as i32, &[0; 4]), refused);
        assert_eq!(options.set(&Credentials::root(), abi::SO_REUSEADDR as i32, &[0; 3]), Err(Errno::EINVAL.into()));
    }

    #[test]
    fn a_pending_error_is_told_once() {
        let options = Options::default();
        options.set_error(Errno::ECONNREFUSED);
        assert_eq!(options.take_error(), Err(Errno::ECONNREFUSED.into()));
        assert_eq!(options.take_error(), Ok(()));
    }
}
