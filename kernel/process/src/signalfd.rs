//! signalfd(2): reading signals from a file.
//!
//! Whoever reads takes its own signals. Waiting is for the process that made the file: another that inherited it reads its own
//! signals, too, but is not woken for them.

use crate::pid;
use crate::process::Process;
use crate::signal::{Fields, Siginfo, SignalSet, deliver};
use crate::thread::Thread;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result};
use core::sync::atomic::{AtomicU64, Ordering};
use executor::WaitQueue;
use memory::io::Dst;
use vfs::file::DATA;
use vfs::{Caller, File};

/// Bytes in a `struct signalfd_siginfo`.
const RECORD: usize = 128;

/// A signalfd.
pub struct SignalFd {
    process: Arc<Process>,
    set: AtomicU64,
}

impl SignalFd {
    /// For the signals of `set`, made by `process`.
    pub fn new(process: &Arc<Process>, set: SignalSet) -> Arc<SignalFd> {
        Arc::new(SignalFd { process: process.clone(), set: AtomicU64::new(set.0) })
    }

    /// Changes the set.
    pub fn set(&self, set: SignalSet) {
        self.set.store(set.0, Ordering::Relaxed);
        // What is pending already may be readable now.
        self.process.signals_changed.notify_all(DATA.bits());
    }

    fn wanted(&self) -> SignalSet {
        SignalSet(self.set.load(Ordering::Relaxed))
    }

    fn reader(&self, caller: &Caller) -> Option<Arc<Thread>> {
        pid::find_thread(caller.thread)
    }
}

fn encode(info: &Siginfo) -> [u8; RECORD] {
    let mut out = [0; RECORD];
    let mut put = |at: usize, value: u32| out[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    put(0, info.signal.number().into());
    put(8, info.code as u32);
    let mut long = None;
    match info.fields {
        Fields::None => {}
        Fields::Sender { pid, uid } => {
            put(12, pid);
            put(16, uid);
        }
        Fields::Value { pid, uid, value } => {
            put(12, pid);
            put(16, uid);
            put(44, value as u32);
            long = Some((48, value as u64));
        }
        Fields::Child { pid, uid, status, utime, stime } => {
            put(12, pid);
            put(16, uid);
            put(40, status as u32);
            out[56..64].copy_from_slice(&utime.to_ne_bytes());
            out[64..72].copy_from_slice(&stime.to_ne_bytes());
        }
        Fields::Fault { addr } => long = Some((72, addr as u64)),
        Fields::Timer { id, overrun, value } => {
            put(24, id as u32);
            put(32, overrun as u32);
            put(44, value as u32);
            long = Some((48, value as u64));
        }
        Fields::Raw([who, value, ..]) => {
            put(12, who as u32);
            put(16, (who >> 32) as u32);
            put(44, value as u32);
            long = Some((48, value));
        }
    }
    if let Some((at, value)) = long {
        out[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
    out
}

impl File for SignalFd {
    /// EINVAL if there is not room for one record.
    fn read(&self, caller: &Caller, _: u64, dst: &mut Dst) -> Result<usize> {
        if dst.remaining() < RECORD {
            return Err(Errno::EINVAL.into());
        }
        let Some(thread) = self.reader(caller) else { return Err(Error::WouldBlock) };
        let mut moved = 0;
        while dst.remaining() >= RECORD {
            if deliver::pending(&thread).intersection(self.wanted()).is_empty() {
                break;
            }
            // A signal that is taken must arrive: the memory for it is touched first.
            let touched = dst.zero(RECORD);
            dst.rewind(touched);
            if touched < RECORD {
                return vfs::file::read_result(moved, dst);
            }
            let Some(info) = deliver::take(&thread, self.wanted()) else { break };
            moved += dst.put(&encode(&info));
        }
        if moved == 0 { Err(Error::WouldBlock) } else { Ok(moved) }
    }

    fn poll(&self, caller: &Caller) -> Events {
        let pending = self.reader(caller).map_or(SignalSet::EMPTY, |thread| deliver::pending(&thread));
        if pending.intersection(self.wanted()).is_empty() { Events::empty() } else { DATA }
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.process.signals_changed)
    }

    fn label(&self) -> Vec<u8> {
        b"anon_inode:[signalfd]".to_vec()
    }

    fn show_info(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        writeln!(out, "sigmask:\t{:016x}", self.wanted().0)
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    #[test]
    fn a_record_says_who_sent_the_signal() {
        let record = encode(&Siginfo::user(Signal::SIGUSR1, 7, 1000));
        assert_eq!(record[..4], 10u32.to_ne_bytes());
        assert_eq!(record[12..20], [7u32.to_ne_bytes(), 1000u32.to_ne_bytes()].concat());
    }
}
