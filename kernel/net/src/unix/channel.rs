//! One direction of a connection between two UNIX sockets.
//!
//! Bytes lie in a [`ByteQueue`]. Where that is not all, a [`Mark`] says what a stretch of them carries: a
//! record of a sequenced-packet socket, descriptions, credentials. A read never crosses a mark's
//! border. The one lock protects everything; descriptions are never dropped under it.

use super::rights::{Parcel, Rights};
use super::socket::Endpoint;
use crate::bytes::ByteQueue;
use crate::options::Credential;
use crate::ranks;
use crate::socket::{MsgFlags, Passed};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Error, Result};
use executor::spin::{SpinGuard, SpinLock};
use memory::io::{Dst, Src};

/// What a mark takes of the buffer, so that tiny messages with marks stay bounded.
const MARK_COST: usize = 128;

/// A stretch of the stream, in bytes counted from its beginning.
struct Mark {
    start: u64,
    end: u64,
    parcel: Parcel,
    credential: Option<Credential>,
}

struct State {
    bytes: ByteQueue,
    marks: VecDeque<Mark>,
    /// How many bytes were ever read.
    read: u64,
    /// Writing gives EPIPE, and reading the end of file once the bytes are used up.
    shut: bool,
    /// A writer found no room and was told so.
    starved: bool,
}

/// One direction of a connection.
pub struct Channel {
    /// Whether every write is a record.
    records: bool,
    state: SpinLock<State>,
}

/// Two channels and the two ends.
pub struct Pair {
    /// `channels[i]` carries what end `i` writes.
    pub channels: [Channel; 2],
    /// The ends.
    pub ends: [Arc<Endpoint>; 2],
}

/// What a write carries beside bytes.
pub struct Cargo<'a> {
    /// Taken when the first byte is.
    pub parcel: &'a mut Parcel,
    /// Who writes, if the reader wants to know.
    pub credential: Option<Credential>,
}

/// What a read gave beside bytes.
#[derive(Default)]
pub struct Unloaded {
    /// Bytes; with MSG_TRUNC the length of the record.
    pub len: usize,
    /// MSG_TRUNC, MSG_EOR.
    pub flags: MsgFlags,
    /// Descriptions.
    pub rights: Vec<Passed>,
    /// Credentials.
    pub credential: Option<Credential>,
    /// A writer that had found no room is to be notified.
    pub room: bool,
}

/// What poll(2) needs to know.
pub struct Readiness {
    /// There is something to read.
    pub readable: bool,
    /// There is room.
    pub writable: bool,
    /// See [`Channel::shut`].
    pub shut: bool,
}

impl State {
    fn used(&self) -> usize {
        self.bytes.len() + self.marks.len() * MARK_COST
    }

    fn written(&self) -> u64 {
        self.read + self.bytes.len() as u64
    }

    /// Writers that were turned away are called back at half, so that they do not come for a few bytes each.
    fn has_room(&self, limit: usize) -> bool {
        self.used() * 2 <= limit
    }
}

impl Channel {
    /// An empty channel.
    pub fn new(records: bool) -> Channel {
        Channel {
            records,
            state: SpinLock::new(
                ranks::UNIX_CHANNEL,
                State { bytes: ByteQueue::new(), marks: VecDeque::new(), read: 0, shut: false, starved: false },
            ),
        }
    }

    /// Writes to a stream: as many bytes as fit below `limit`. WouldBlock if there is no room, EPIPE once shut.
    pub fn write(&self, src: &mut Src, limit: usize, cargo: Cargo) -> Result<usize> {
        let mut state = self.state.lock();
        if state.shut {
            return Err(Errno::EPIPE.into());
        }
        let room = limit.saturating_sub(state.used());
        if room == 0 {
            state.starved = true;
            return Err(Error::WouldBlock);
        }
        let start = state.written();
        let marked = !cargo.parcel.is_empty() || cargo.credential.is_some();
        if marked {
            state.marks.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
        }
        let before = src.remaining();
        let n = state.bytes.fill(src, room)?;
        if n == 0 {
            return match src.take_fault() {
                Some(fault) => Err(fault.into()),
                None => Ok(0),
            };
        }
        if n < before {
            state.starved = true;
        }
        if marked {
            let parcel = core::mem::take(cargo.parcel);
            let end = start + n as u64;
            match state.marks.back_mut() {
                Some(last)
                    if parcel.is_empty()
                        && last.parcel.is_empty()
                        && last.end == start
                        && last.credential == cargo.credential =>
                {
                    last.end = end;
                }
                _ => state.marks.push_back(Mark { start, end, parcel, credential: cargo.credential }),
            }
        }
        Ok(n)
    }

    /// Writes one record, all or nothing. EMSGSIZE if it can never fit.
    pub fn write_record(&self, src: &mut Src, limit: usize, cargo: Cargo) -> Result<usize> {
        let len = src.remaining();
        if len + MARK_COST > limit {
            return Err(Errno::EMSGSIZE.into());
        }
        let mut state = self.state.lock();
        if state.shut {
            return Err(Errno::EPIPE.into());
        }
        if state.used() + len + MARK_COST > limit {
            state.starved = true;
            return Err(Error::WouldBlock);
        }
        state.marks.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
        let start = state.written();
        let before = state.bytes.len();
        let n = state.bytes.fill(src, len)?;
        if let Some(fault) = src.take_fault() {
            state.bytes.truncate(before);
            src.rewind(n);
            return Err(fault.into());
        }
        let parcel = core::mem::take(cargo.parcel);
        state.marks.push_back(Mark { start, end: start + n as u64, parcel, credential: cargo.credential });
        Ok(n)
    }

    /// Reads what there is, up to the next border. `Ok(None)` at the end of file; WouldBlock while there is nothing.
    /// Descriptions that the caller does not want go to `rights` to be dropped.
    #[inline(always)]
    pub fn read(
        &self,
        dst: &mut Dst,
        limit: usize,
        flags: MsgFlags,
        want_control: bool,
        rights: &Rights,
    ) -> Result<Option<Unloaded>> {
        let mut state = self.state.lock();
        if state.marks.is_empty() {
            if state.bytes.is_empty() {
                return if state.shut { Ok(None) } else { Err(Error::WouldBlock) };
            }
            let mut out = Unloaded::default();
            if flags.contains(MsgFlags::PEEK) {
                out.len = state.bytes.peek(dst, 0, usize::MAX);
            } else {
                out.len = state.bytes.drain(dst, usize::MAX);
                state.read += out.len as u64;
            }
            return Self::finish(&mut state, dst, limit, out);
        }
        self.read_with_marks(state, dst, limit, flags, want_control, rights)
    }

    #[inline(never)]
    fn read_with_marks(
        &self,
        mut state: SpinGuard<State>,
        dst: &mut Dst,
        limit: usize,
        flags: MsgFlags,
        want_control: bool,
        rights: &Rights,
    ) -> Result<Option<Unloaded>> {
        let mut unwanted = Parcel::default();
        let out = self.read_marked(&mut state, dst, limit, flags, want_control, rights, &mut unwanted);
        drop(state);
        rights.discard(unwanted);
        out
    }

    fn finish(state: &mut State, dst: &mut Dst, limit: usize, mut out: Unloaded) -> Result<Option<Unloaded>> {
        if out.len == 0
            && let Some(fault) = dst.take_fault()
        {
            return Err(fault.into());
        }
        if state.starved && state.has_room(limit) {
            state.starved = false;
            out.room = true;
        }
        Ok(Some(out))
    }

    #[allow(clippy::too_many_arguments, reason = "one call, and each is a different thing")]
    fn read_marked(
        &self,
        state: &mut State,
        dst: &mut Dst,
        limit: usize,
        flags: MsgFlags,
        want_control: bool,
        rights: &Rights,
        unwanted: &mut Parcel,
    ) -> Result<Option<Unloaded>> {
        let State { bytes, marks, read, .. } = state;
        let Some(mark) = marks.front_mut() else { return Err(Error::WouldBlock) };
        let mut out = Unloaded::default();
        let peek = flags.contains(MsgFlags::PEEK);
        let inside = mark.start <= *read;
        let border = if inside { mark.end } else { mark.start };
        let stretch = (border - *read) as usize;
        // A record that faulted half-way is read again from where the destination stands.
        let skip = if self.records { dst.done().min(stretch) } else { 0 };
        let n = bytes.peek(dst, skip, stretch - skip);
        if let Some(fault) = dst.fault()
            && (self.records || n == 0)
        {
            dst.take_fault();
            return Err(fault.into());
        }
        out.len = skip + n;
        if inside {
            out.credential = mark.credential;
            if peek {
                out.rights = mark.parcel.copies();
            } else if want_control {
                out.rights = rights.unpack(core::mem::take(&mut mark.parcel));
            } else {
                *unwanted = core::mem::take(&mut mark.parcel);
            }
        }
        let mut consumed = out.len;
        if self.records {
            out.flags |= MsgFlags::EOR;
            if out.len < stretch {
                out.flags |= MsgFlags::TRUNC;
                if flags.contains(MsgFlags::TRUNC) {
                    out.len = stretch;
                }
            }
            consumed = stretch;
        }
        if !peek {
            bytes.consume(consumed);
            *read += consumed as u64;
            if inside && *read >= mark.end {
                marks.pop_front();
            }
        }
        Self::finish(state, dst, limit, out)
    }

    /// How much can be read at once (FIONREAD): the bytes, or the first record.
    pub fn pending(&self) -> usize {
        let state = self.state.lock();
        match state.marks.front() {
            Some(mark) if self.records => (mark.end - mark.start) as usize,
            _ => state.bytes.len(),
        }
    }

    /// What it is ready for, with room for `limit` bytes in all. A writer that finds no room is remembered.
    pub fn readiness(&self, limit: usize) -> Readiness {
        let mut state = self.state.lock();
        let writable = state.shut || state.has_room(limit);
        state.starved |= !writable;
        Readiness { readable: !state.bytes.is_empty() || !state.marks.is_empty(), writable, shut: state.shut }
    }

    /// Ends this direction: writing gives EPIPE, and reading the end of file after what was written.
    pub fn shut(&self) {
        self.state.lock().shut = true;
    }

    /// The reader is gone: shuts the channel and drops what was not read. True if there was something.
    pub fn abandon(&self, rights: &Rights) -> bool {
        let mut state = self.state.lock();
        state.shut = true;
        let unread = !state.bytes.is_empty() || !state.marks.is_empty();
        state.bytes.clear();
        let marks = core::mem::take(&mut state.marks);
        drop(state);
        for mark in marks {
            rights.discard(mark.parcel);
        }
        unread
    }
}
