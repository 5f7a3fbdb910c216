//! eventfd(2): a counter that can be waited for.

use crate::file::{Caller, DATA, File, ROOM};
use crate::ranks;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Error, Events, Result};
use executor::WaitQueue;
use executor::spin::SpinLock;
use memory::io::{Dst, Src};

/// The largest value of the counter.
const MAX: u64 = u64::MAX - 1;

/// An eventfd.
pub struct EventFd {
    count: SpinLock<u64>,
    semaphore: bool,
    queue: WaitQueue,
}

impl EventFd {
    /// A counter that starts at `initial`; with `semaphore` (EFD_SEMAPHORE) a read takes one.
    pub fn new(initial: u32, semaphore: bool) -> Arc<EventFd> {
        Arc::new(EventFd { count: SpinLock::new(ranks::PIPE, initial.into()), semaphore, queue: WaitQueue::new() })
    }

    /// Adds `n`, up to the largest value: what the kernel signals.
    pub fn signal(&self, n: u64) {
        let mut count = self.count.lock();
        *count = count.saturating_add(n).min(MAX);
        drop(count);
        self.queue.notify_one(DATA.bits());
    }
}

impl File for EventFd {
    /// EINVAL if there is not room for 8 bytes.
    fn read(&self, _: &Caller, _: u64, dst: &mut Dst) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let mut count = self.count.lock();
        if *count == 0 {
            return Err(Error::WouldBlock);
        }
        let value = if self.semaphore { 1 } else { *count };
        if dst.put(&value.to_ne_bytes()) < 8 {
            drop(count);
            return Err(dst.take_fault().map_or(Errno::EFAULT.into(), Error::Fault));
        }
        *count -= value;
        let left = *count;
        drop(count);
        self.queue.notify_all(ROOM.bits());
        if left != 0 {
            self.queue.notify_one(DATA.bits());
        }
        Ok(8)
    }

    /// EINVAL for less than 8 bytes, and for the value 2^64 - 1.
    fn write(&self, _: &Caller, _: u64, src: &mut Src) -> Result<usize> {
        if src.remaining() < 8 {
            return Err(Errno::EINVAL.into());
        }
        let mut value = [0; 8];
        let n = src.take(&mut value);
        if n < 8 {
            src.rewind(n);
            return Err(src.take_fault().map_or(Errno::EFAULT.into(), Error::Fault));
        }
        let value = u64::from_ne_bytes(value);
        if value > MAX {
            return Err(Errno::EINVAL.into());
        }
        let mut count = self.count.lock();
        if value > MAX - *count {
            drop(count);
            src.rewind(8);
            return Err(Error::WouldBlock);
        }
        *count += value;
        drop(count);
        if self.semaphore && value > 1 {
            self.queue.notify_n(DATA.bits(), usize::try_from(value).unwrap_or(usize::MAX));
        } else if value > 0 {
            self.queue.notify_one(DATA.bits());
        }
        Ok(8)
    }

    fn poll(&self, _: &Caller) -> Events {
        let count = *self.count.lock();
        let mut events = Events::empty();
        if count > 0 {
            events |= Events::IN | Events::RDNORM;
        }
        if count < MAX {
            events |= Events::OUT | Events::WRNORM;
        }
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn label(&self) -> Vec<u8> {
        b"anon_inode:[eventfd]".to_vec()
    }

    fn show_info(&self, out: &mut dyn core::fmt::Write) -> core::fmt::Result {
        writeln!(out, "eventfd-count: {:16x}", *self.count.lock())
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Credentials;

    fn read(fd: &EventFd) -> Result<u64> {
        let cred = Credentials::root();
        let mut buf = [0; 8];
        fd.read(&Caller::kernel(&cred), 0, &mut Dst::kernel(&mut buf))?;
        Ok(u64::from_ne_bytes(buf))
    }

    fn write(fd: &EventFd, value: u64) -> Result<usize> {
        let cred = Credentials::root();
        fd.write(&Caller::kernel(&cred), 0, &mut Src::kernel(&value.to_ne_bytes()))
    }

    #[test]
    fn a_read_takes_all_and_a_semaphore_one() {
        let fd = EventFd::new(2, false);
        write(&fd, 3).unwrap();
        assert_eq!(read(&fd), Ok(5));
        assert_eq!(read(&fd), Err(Error::WouldBlock));
        let fd = EventFd::new(2, true);
        assert_eq!((read(&fd), read(&fd)), (Ok(1), Ok(1)));
        assert_eq!(read(&fd), Err(Error::WouldBlock));
    }

    #[test]
    fn the_counter_does_not_overflow() {
        let fd = EventFd::new(1, false);
        assert_eq!(write(&fd, u64::MAX), Err(Errno::EINVAL.into()));
        assert_eq!(write(&fd, MAX), Err(Error::WouldBlock));
        assert_eq!(write(&fd, MAX - 1), Ok(8));
        let cred = Credentials::root();
        assert!(!fd.poll(&Caller::kernel(&cred)).contains(Events::OUT));
    }
}
