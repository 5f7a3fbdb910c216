//! Options of TCP sockets and of IP (tcp(7), ip(7), ipv6(7)).

use super::conn::Shared;
use crate::options::{flag, int, put_int};
use base::{Errno, Result};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use linux_raw_sys::net as abi;

/// IP_TTL.
const IP_TTL: i32 = 2;
/// IP_OPTIONS.
const IP_OPTIONS: i32 = 4;
/// IPV6_UNICAST_HOPS.
const IPV6_UNICAST_HOPS: i32 = 16;
/// IPV6_V6ONLY.
const IPV6_V6ONLY: i32 = 26;
/// IPV6_TCLASS.
const IPV6_TCLASS: i32 = 67;

/// Options below SOL_SOCKET. All are atomics, as in [`crate::options::Options`].
pub struct InetOptions {
    no_delay: AtomicBool,
    cork: AtomicBool,
    /// In seconds.
    keep_idle: AtomicU32,
    keep_interval: AtomicU32,
    keep_count: AtomicU32,
    /// In ms; 0 is the default.
    user_timeout: AtomicU64,
    tos: AtomicU8,
    /// 0 is the default.
    hop_limit: AtomicU8,
    v6_only: AtomicBool,
}

impl Default for InetOptions {
    fn default() -> InetOptions {
        InetOptions {
            no_delay: AtomicBool::new(false),
            cork: AtomicBool::new(false),
            keep_idle: AtomicU32::new(7200),
            keep_interval: AtomicU32::new(75),
            keep_count: AtomicU32::new(9),
            user_timeout: AtomicU64::new(0),
            tos: AtomicU8::new(0),
            hop_limit: AtomicU8::new(0),
            v6_only: AtomicBool::new(false),
        }
    }
}

impl InetOptions {
    /// What an accepted socket has from its listener.
    pub fn inherit(from: &InetOptions) -> InetOptions {
        let new = InetOptions::default();
        new.no_delay.store(from.no_delay(), Relaxed);
        new.cork.store(from.cork(), Relaxed);
        new.keep_idle.store(from.keep_idle.load(Relaxed), Relaxed);
        new.keep_interval.store(from.keep_interval.load(Relaxed), Relaxed);
        new.keep_count.store(from.keep_count(), Relaxed);
        new.user_timeout.store(from.user_timeout.load(Relaxed), Relaxed);
        new.tos.store(from.tos(), Relaxed);
        new.hop_limit.store(from.hop_limit.load(Relaxed), Relaxed);
        new.v6_only.store(from.v6_only(), Relaxed);
        new
    }

    /// TCP_NODELAY.
    pub fn no_delay(&self) -> bool {
        self.no_delay.load(Relaxed)
    }

    /// TCP_CORK.
    #[inline]
    pub fn cork(&self) -> bool {
        self.cork.load(Relaxed)
    }

    /// TCP_KEEPIDLE in ns.
    pub fn keep_idle(&self) -> u64 {
        u64::from(self.keep_idle.load(Relaxed)) * 1_000_000_000
    }

    /// TCP_KEEPINTVL in ns.
    pub fn keep_interval(&self) -> u64 {
        u64::from(self.keep_interval.load(Relaxed)) * 1_000_000_000
    }

    /// TCP_KEEPCNT.
    pub fn keep_count(&self) -> u32 {
        self.keep_count.load(Relaxed)
    }

    /// TCP_USER_TIMEOUT in ns: how long data may stay unacknowledged. As tcp_retries2 has it unless set.
    pub fn user_timeout(&self) -> u64 {
        match self.user_timeout.load(Relaxed) {
            0 => 924_600_000_000,
            ms => ms * 1_000_000,
        }
    }

    /// IP_TOS, IPV6_TCLASS.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.tos.load(Relaxed)
    }

    /// IP_TTL, IPV6_UNICAST_HOPS, if set.
    pub fn hop_limit(&self) -> Option<u8> {
        Some(self.hop_limit.load(Relaxed)).filter(|limit| *limit != 0)
    }

    /// IPV6_V6ONLY.
    pub fn v6_only(&self) -> bool {
        self.v6_only.load(Relaxed)
    }

    /// Sets an option of IPPROTO_IP.
    pub fn set_ip(&self, name: i32, value: &[u8]) -> Result<()> {
        // These take a single byte as well as an int.
        let number = match value {
            [byte] => i32::from(*byte),
            _ if name == IP_OPTIONS && value.is_empty() => 0,
            _ => int(value)?,
        };
        match name {
            _ if name == abi::IP_TOS as i32 => self.tos.store(number as u8, Relaxed),
            IP_TTL if number == -1 => self.hop_limit.store(0, Relaxed),
            IP_TTL if (1..256).contains(&number) => self.hop_limit.store(number as u8, Relaxed),
            IP_TTL => return Err(Errno::EINVAL.into()),
            IP_OPTIONS if value.is_empty() => {}
            _ => return Err(Errno::ENOPROTOOPT.into()),
        }
        Ok(())
    }

    /// Reads an option of IPPROTO_IP.
    pub fn get_ip(&self, name: i32, out: &mut [u8]) -> Result<usize> {
        match name {
            _ if name == abi::IP_TOS as i32 => Ok(put_int(out, self.tos().into())),
            IP_TTL => Ok(put_int(out, self.hop_limit().unwrap_or(64).into())),
            IP_OPTIONS => Ok(0),
            _ => Err(Errno::ENOPROTOOPT.into()),
        }
    }

    /// Sets an option of IPPROTO_IPV6; `bound` sockets cannot change IPV6_V6ONLY any more (EINVAL).
    pub fn set_ipv6(&self, name: i32, value: &[u8], bound: bool) -> Result<()> {
        match name {
            IPV6_V6ONLY if bound => return Err(Errno::EINVAL.into()),
            IPV6_V6ONLY => self.v6_only.store(flag(value)?, Relaxed),
            IPV6_TCLASS => match int(value)? {
                -1 => self.tos.store(0, Relaxed),
                class @ 0..=255 => self.tos.store(class as u8, Relaxed),
                _ => return Err(Errno::EINVAL.into()),
            },
            IPV6_UNICAST_HOPS => match int(value)? {
                -1 => self.hop_limit.store(0, Relaxed),
                hops @ 1..=255 => self.hop_limit.store(hops as u8, Relaxed),
                _ => return Err(Errno::EINVAL.into()),
            },
            _ => return Err(Errno::ENOPROTOOPT.into()),
        }
        Ok(())
    }

    /// Reads an option of IPPROTO_IPV6.
    pub fn get_ipv6(&self, name: i32, out: &mut [u8]) -> Result<usize> {
        let value = match name {
            IPV6_V6ONLY => self.v6_only().into(),
            IPV6_TCLASS => self.tos().into(),
            IPV6_UNICAST_HOPS => self.hop_limit().unwrap_or(64).into(),
            _ => return Err(Errno::ENOPROTOOPT.into()),
        };
        Ok(put_int(out, value))
    }
}

/// Sets an option of IPPROTO_TCP. What the connection itself has to know is passed on by the caller.
pub fn set_tcp(shared: &Shared, name: i32, value: &[u8]) -> Result<()> {
    let options = &shared.tcp;
    let within = |value: i32, most: i32| {
        if (1..=most).contains(&value) { Ok(value as u32) } else { Err(Errno::EINVAL) }
    };
    match name as u32 {
        abi::TCP_NODELAY => options.no_delay.store(flag(value)?, Relaxed),
        abi::TCP_CORK => options.cork.store(flag(value)?, Relaxed),
        abi::TCP_KEEPIDLE => options.keep_idle.store(within(int(value)?, 32767)?, Relaxed),
        abi::TCP_KEEPINTVL => options.keep_interval.store(within(int(value)?, 32767)?, Relaxed),
        abi::TCP_KEEPCNT => options.keep_count.store(within(int(value)?, 127)?, Relaxed),
        abi::TCP_USER_TIMEOUT => {
            let ms = u64::try_from(int(value)?).map_err(|_| Errno::EINVAL)?;
            options.user_timeout.store(ms, Relaxed);
        }
        _ => return Err(Errno::ENOPROTOOPT.into()),
    }
    Ok(())
}

/// Reads an option of IPPROTO_TCP, all but TCP_INFO and TCP_MAXSEG.
pub fn get_tcp(shared: &Shared, name: i32, out: &mut [u8]) -> Result<usize> {
    let options = &shared.tcp;
    let value = match name as u32 {
        abi::TCP_NODELAY => options.no_delay().into(),
        abi::TCP_CORK => options.cork().into(),
        abi::TCP_KEEPIDLE => options.keep_idle.load(Relaxed) as i32,
        abi::TCP_KEEPINTVL => options.keep_interval.load(Relaxed) as i32,
        abi::TCP_KEEPCNT => options.keep_count() as i32,
        abi::TCP_USER_TIMEOUT => options.user_timeout.load(Relaxed) as i32,
        _ => return Err(Errno::ENOPROTOOPT.into()),
    };
    Ok(put_int(out, value))
}
