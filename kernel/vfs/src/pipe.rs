//! Pipes and FIFOs (pipe(7), fifo(7)).
//!
//! One lock protects the ring and the counts of open ends; one queue has readers and writers, told apart by their
//! interest. Data wakes one waiting reader, and a reader that leaves some wakes the next. Room wakes one
//! writer, only where a writer has found too little. SIGPIPE is the caller's: EPIPE says so.

use crate::file::{Caller, DATA, File, ROOM, read_result, write_result};
use crate::flags::OpenFlags;
use crate::inode::{Device, FileType, Inode, Metadata};
use crate::pipe_quota::Charge;
use crate::ring::Ring;
use crate::{clock, mount, ranks};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::addr::PAGE_SIZE;
use base::{Capability, Credentials, Errno, Error, Events, Result, Timespec};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use executor::WaitQueue;
use executor::spin::SpinLock;
use memory::io::{Dst, Src};

/// The largest write that is all or nothing.
pub const PIPE_BUF: usize = 4096;
/// Bytes that a new pipe takes.
pub const DEFAULT_CAPACITY: usize = 64 * 1024;
/// The largest F_SETPIPE_SZ without CAP_SYS_RESOURCE (/proc/sys/fs/pipe-max-size).
pub const MAX_CAPACITY: usize = 1024 * 1024;

/// What both ends share.
pub struct Pipe {
    state: SpinLock<State>,
    queue: WaitQueue,
    /// A writer has found too little room, and nobody has been woken for it since.
    starved: AtomicBool,
    ino: u64,
    created: Timespec,
}

struct State {
    ring: Ring,
    capacity: usize,
    /// Bytes that were taken and may come back ([`Pipe::lend`]): their room is kept.
    lent: usize,
    /// Whose memory it counts as; a FIFO is nobody's.
    charge: Option<Charge>,
    readers: u32,
    writers: u32,
    /// How many read ends and write ends there ever were, so that who waits for a peer knows that one has been there.
    reader_count: u32,
    writer_count: u32,
    /// How the bytes are divided, once a packet has been written; empty in a plain stream.
    #[expect(clippy::box_collection, reason = "packets are rare, and a pipe without them is to be small")]
    segments: Option<Box<VecDeque<Segment>>>,
}

/// A packet (O_DIRECT), or bytes between packets.
struct Segment {
    len: usize,
    packet: bool,
}

static NEXT_INO: AtomicU64 = AtomicU64::new(1);
static DEVICE: AtomicU32 = AtomicU32::new(0);

/// The device number of all pipes.
fn device() -> Device {
    let mut minor = DEVICE.load(Ordering::Relaxed);
    if minor == 0 {
        let new = mount::anonymous_device().minor;
        minor = match DEVICE.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => new,
            Err(first) => first,
        };
    }
    Device::new(0, minor)
}

impl Pipe {
    /// A pipe without ends, as a FIFO has it.
    pub fn new() -> Arc<Pipe> {
        Pipe::with(DEFAULT_CAPACITY, None)
    }

    fn with(capacity: usize, charge: Option<Charge>) -> Arc<Pipe> {
        Arc::new(Pipe {
            state: SpinLock::new(
                ranks::PIPE,
                State {
                    ring: Ring::new(),
                    capacity,
                    lent: 0,
                    charge,
                    readers: 0,
                    writers: 0,
                    reader_count: 0,
                    writer_count: 0,
                    segments: None,
                },
            ),
            queue: WaitQueue::new(),
            starved: AtomicBool::new(false),
            ino: NEXT_INO.fetch_add(1, Ordering::Relaxed),
            created: clock::now(),
        })
    }

    /// A new pipe's two ends: read, write (pipe(2)). It is small if its user has too many.
    pub fn pair(cred: &Credentials) -> (Arc<PipeEnd>, Arc<PipeEnd>) {
        let charge = Charge::new(cred, DEFAULT_CAPACITY / PAGE_SIZE, 2);
        let pipe = Pipe::with(charge.pages() * PAGE_SIZE, Some(charge));
        (pipe.end(true, false, Opening::Pipe), pipe.end(false, true, Opening::Pipe))
    }

    fn end(self: &Arc<Pipe>, reads: bool, writes: bool, opening: Opening) -> Arc<PipeEnd> {
        let mut state = self.state.lock();
        let (peers, count) =
            if reads { (state.writers, state.writer_count) } else { (state.readers, state.reader_count) };
        // A number that the count has left behind stands for: a peer has been there.
        let seen = if opening == Opening::Pipe || peers > 0 { count.wrapping_sub(1) } else { count };
        let waits = opening == Opening::Waits;
        if reads {
            state.readers += 1;
            state.reader_count = state.reader_count.wrapping_add(1);
        }
        if writes {
            state.writers += 1;
            state.writer_count = state.writer_count.wrapping_add(1);
        }
        drop(state);
        Arc::new(PipeEnd { pipe: self.clone(), reads, writes, seen, waits })
    }

    /// Opens a FIFO: ENXIO for a writer with O_NONBLOCK and without a reader.
    pub fn open_fifo(self: &Arc<Pipe>, flags: OpenFlags) -> Result<Arc<PipeEnd>> {
        let (reads, writes) = (flags.readable(), flags.writable());
        if !reads && !writes {
            return Err(Errno::EINVAL.into());
        }
        let nonblock = flags.contains(OpenFlags::NONBLOCK);
        if writes && !reads && nonblock && self.state.lock().readers == 0 {
            return Err(Errno::ENXIO.into());
        }
        let waits = !nonblock && reads != writes;
        let end = self.end(reads, writes, if waits { Opening::Waits } else { Opening::Fifo });
        // Openers that wait for this kind of peer are shared waiters, so all hear it.
        let peer = if reads { ROOM } else { DATA };
        self.queue.notify_all(if reads && writes { ROOM | DATA } else { peer }.bits());
        Ok(end)
    }

    fn read(&self, dst: &mut Dst) -> Result<usize> {
        if dst.is_full() {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.ring.is_empty() {
            return if state.writers == 0 { Ok(0) } else { Err(Error::WouldBlock) };
        }
        let n = if state.segments.is_none() { state.ring.drain(dst, usize::MAX) } else { state.drain_segments(dst) };
        let left = !state.ring.is_empty();
        drop(state);
        if n > 0 && self.starved.load(Ordering::Relaxed) {
            self.wake_writer();
        }
        if left {
            self.queue.notify_one(DATA.bits());
        }
        read_result(n, dst)
    }

    #[cold]
    fn wake_writer(&self) {
        self.starved.store(false, Ordering::Relaxed);
        if self.queue.notify_one(ROOM.bits()) > 0 {
            // There may be more than the one.
            self.starved.store(true, Ordering::Relaxed);
        }
    }

    fn write(&self, src: &mut Src, packets: bool) -> Result<usize> {
        let wanted = src.remaining();
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE.into());
        }
        if wanted == 0 {
            return Ok(0);
        }
        let room = state.room();
        let mut want = wanted.min(room);
        if packets {
            want = want.min(PIPE_BUF);
        }
        let whole = wanted <= PIPE_BUF;
        if room == 0 || (whole || packets) && room < wanted.min(PIPE_BUF) {
            self.starved.store(true, Ordering::Relaxed);
            return Err(Error::WouldBlock);
        }
        let lent = state.lent;
        state.ring.reserve(want + lent)?;
        if packets {
            state.begin_segments()?;
        }
        let n = state.ring.fill(src, want);
        if n < want && (whole || packets) {
            // All or nothing: the fault is resolved first.
            state.ring.unfill(n);
            drop(state);
            src.rewind(n);
            return write_result(0, src);
        }
        state.note_segment(n, packets);
        let left = state.room() > 0;
        drop(state);
        self.queue.notify_one(DATA.bits());
        if n < wanted {
            self.starved.store(true, Ordering::Relaxed);
        } else if left && self.starved.load(Ordering::Relaxed) {
            self.wake_writer();
        }
        write_result(n, src)
    }

    /// Takes bytes for somebody who may not get rid of all of them; [`Pipe::settle`] is to follow. As a read, it gives none where
    /// nobody writes any more; [`Error::WouldBlock`].
    pub fn lend(&self, buf: &mut [u8]) -> Result<Loan> {
        let mut state = self.state.lock();
        if state.ring.is_empty() {
            return if state.writers == 0 { Ok(Loan { len: 0, packet: false }) } else { Err(Error::WouldBlock) };
        }
        let mut dst = Dst::kernel(buf);
        let packet = state.segments.as_ref().and_then(|all| all.front()).is_some_and(|first| first.packet);
        let len = match state.segments {
            None => state.ring.drain(&mut dst, usize::MAX),
            Some(_) => state.drain_segments(&mut dst),
        };
        state.lent += len;
        Ok(Loan { len, packet })
    }

    /// Ends a loan; `back` is the end of what was lent and comes back to the front. (Who reads meanwhile gets what was behind it.)
    pub fn settle(&self, loan: Loan, back: &[u8]) {
        let mut state = self.state.lock();
        state.lent -= loan.len;
        state.put_back(back, loan.packet);
        let left = !state.ring.is_empty();
        drop(state);
        if back.len() < loan.len && self.starved.load(Ordering::Relaxed) {
            self.wake_writer();
        }
        if left {
            self.queue.notify_one(DATA.bits());
        }
    }

    /// Bytes that wait to be read (FIONREAD).
    pub fn available(&self) -> usize {
        self.state.lock().ring.len()
    }

    /// F_GETPIPE_SZ.
    pub fn capacity(&self) -> usize {
        self.state.lock().capacity
    }

    /// F_SETPIPE_SZ: rounds up to a power of two of pages. EBUSY if more bytes wait, EPERM above the limits
    /// unless the caller is privileged, EINVAL for a size that cannot be.
    pub fn set_capacity(&self, size: u32, cred: &Credentials) -> Result<usize> {
        let size = (size as usize).max(4096).next_power_of_two();
        if size > 1 << 31 {
            return Err(Errno::EINVAL.into());
        }
        if size > MAX_CAPACITY && !cred.has(Capability::SysResource) {
            return Err(Errno::EPERM.into());
        }
        let mut state = self.state.lock();
        if size < state.ring.len() {
            return Err(Errno::EBUSY.into());
        }
        if let Some(charge) = &mut state.charge
            && !charge.resize(cred, size / PAGE_SIZE)
        {
            return Err(Errno::EPERM.into());
        }
        let grown = size > state.capacity;
        state.capacity = size;
        drop(state);
        if grown {
            self.queue.notify_all(ROOM.bits());
        }
        Ok(size)
    }
}

/// Bytes that were taken from a pipe and may come back.
pub struct Loan {
    /// How many.
    pub len: usize,
    /// They were a packet, or its beginning.
    packet: bool,
}

impl State {
    /// Bytes that can be written.
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.ring.len() + self.lent)
    }

    fn put_back(&mut self, bytes: &[u8], packet: bool) {
        if bytes.is_empty() {
            return;
        }
        let behind = self.ring.len();
        self.ring.put_back(bytes);
        if packet || self.segments.is_some() {
            let segments = self.segments.get_or_insert_default();
            if segments.is_empty() && behind > 0 {
                segments.push_front(Segment { len: behind, packet: false });
            }
            segments.push_front(Segment { len: bytes.len(), packet });
        }
    }

    /// From now on segments are counted; what is there is the first. ENOMEM.
    fn begin_segments(&mut self) -> Result<()> {
        let len = self.ring.len();
        let segments = self.segments.get_or_insert_default();
        segments.try_reserve(2).map_err(|_| Errno::ENOMEM)?;
        if segments.is_empty() && len > 0 {
            segments.push_back(Segment { len, packet: false });
        }
        Ok(())
    }

    fn note_segment(&mut self, len: usize, packet: bool) {
        let Some(segments) = &mut self.segments else { return };
        match segments.back_mut() {
            Some(last) if !packet && !last.packet => last.len += len,
            _ => segments.push_back(Segment { len, packet }),
        }
    }

    /// Reads up to the end of the first packet; what does not fit of it is lost.
    fn drain_segments(&mut self, dst: &mut Dst) -> usize {
        let Some(segments) = &mut self.segments else { return 0 };
        let mut moved = 0;
        while let Some(first) = segments.front_mut() {
            if first.packet && moved > 0 {
                break;
            }
            let n = self.ring.drain(dst, first.len);
            moved += n;
            let packet = first.packet;
            if packet && dst.fault().is_none() {
                self.ring.skip(first.len - n);
                segments.pop_front();
                break;
            }
            first.len -= n;
            if first.len > 0 {
                break;
            }
            segments.pop_front();
            if packet {
                break;
            }
        }
        if segments.is_empty() {
            self.segments = None;
        }
        moved
    }
}

impl Inode for Pipe {
    fn metadata(&self) -> Metadata {
        Metadata::new(device(), self.ino, FileType::Fifo, 0o600, self.created)
    }

    fn kind(&self) -> FileType {
        FileType::Fifo
    }

    /// By /proc/PID/fd, for a FIFO is opened by its own inode. A pipe was born with both ends, so it waits for no peer:
    /// who reads what is left after the last writer went (a shell's `<(...)`) must come to the end.
    fn open(self: Arc<Self>, _: &Caller, flags: OpenFlags) -> Result<Arc<dyn File>> {
        let (reads, writes) = (flags.readable(), flags.writable());
        if !reads && !writes {
            return Err(Errno::EINVAL.into());
        }
        Ok(self.end(reads, writes, Opening::Pipe))
    }
}

/// How an end comes to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// An end of a pipe, which has had both ends since it was made.
    Pipe,
    /// A FIFO, without waiting for a peer.
    Fifo,
    /// A FIFO, and opening is not finished before there is a peer.
    Waits,
}

/// An end of a pipe, or both (a FIFO opened with O_RDWR).
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// How many peers there had been when this was opened.
    seen: u32,
    /// Opening is not finished before there is a peer.
    waits: bool,
}

impl PipeEnd {
    /// The pipe.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl File for PipeEnd {
    fn read(&self, _: &Caller, _: u64, dst: &mut Dst) -> Result<usize> {
        self.pipe.read(dst)
    }

    fn write(&self, caller: &Caller, _: u64, src: &mut Src) -> Result<usize> {
        self.pipe.write(src, caller.direct())
    }

    fn poll(&self, _: &Caller) -> Events {
        let state = self.pipe.state.lock();
        let mut events = Events::empty();
        if self.reads {
            if !state.ring.is_empty() {
                events |= DATA;
            }
            // A FIFO that no writer has opened yet has not been hung up.
            if state.writers == 0 && state.writer_count != self.seen {
                events |= Events::HUP;
            }
        }
        if self.writes {
            if state.room() >= PIPE_BUF {
                events |= ROOM;
            } else {
                // Whoever asks may be about to wait.
                self.pipe.starved.store(true, Ordering::Relaxed);
            }
            if state.readers == 0 {
                events |= Events::ERR;
            }
        }
        events
    }

    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn metadata(&self) -> Metadata {
        self.pipe.metadata()
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.pipe.clone())
    }

    fn label(&self) -> Vec<u8> {
        alloc::format!("pipe:[{}]", self.pipe.ino).into_bytes()
    }

    fn fallocate(&self, _: u32, _: u64, _: u64) -> Result<()> {
        Err(Errno::ESPIPE.into())
    }

    fn ioctl(&self, _: &Caller, request: u32, arg: usize) -> Result<usize> {
        if request != linux_raw_sys::ioctl::FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        memory::user::UserPtr::<i32>::from(arg).write(&(self.pipe.available() as i32))?;
        Ok(0)
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }

    fn finish_open(&self, _: &Caller) -> Result<()> {
        if !self.waits {
            return Ok(());
        }
        let state = self.pipe.state.lock();
        let (peers, count) =
            if self.reads { (state.writers, state.writer_count) } else { (state.readers, state.reader_count) };
        if peers > 0 || count != self.seen { Ok(()) } else { Err(Error::WouldBlock) }
    }

    fn close(&self) {
        let mut state = self.pipe.state.lock();
        let mut told = Events::empty();
        if self.reads {
            state.readers -= 1;
            if state.readers == 0 {
                told |= ROOM | Events::ERR;
            }
        }
        if self.writes {
            state.writers -= 1;
            if state.writers == 0 {
                told |= DATA | Events::HUP;
            }
        }
        if state.readers == 0 && state.writers == 0 {
            state.ring.clear();
            state.segments = None;
        }
        drop(state);
        if !told.is_empty() {
            self.pipe.queue.notify_all(told.bits());
        }
    }
}

#[cfg(test)]
mod tests;
