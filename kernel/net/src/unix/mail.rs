//! Datagrams that have arrived at a UNIX socket and were not read yet.
//!
//! The receiver's queue is short (`max_dgram_qlen`). A sender that finds it full is remembered, and notified when
//! the receiver makes room.

use super::rights::{Parcel, Rights};
use super::socket::Endpoint;
use crate::address::{Address, UnixAddress};
use crate::options::Credential;
use crate::ranks;
use crate::socket::{MsgFlags, OUT, Received, notify};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, Error, Result};
use executor::spin::SpinLock;
use memory::io::Dst;

/// net.unix.max_dgram_qlen.
const QUEUE_LEN: usize = 10;

/// A datagram.
pub struct Message {
    /// The bytes.
    pub data: Vec<u8>,
    /// Who sent it.
    pub from: UnixAddress,
    /// Descriptions.
    pub parcel: Parcel,
    /// The sender's credentials.
    pub credential: Credential,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    /// Senders that found it full.
    waiting: Vec<Weak<Endpoint>>,
    /// The socket is closed, or does not read any more.
    closed: bool,
}

/// The datagrams waiting at one socket.
pub struct Mail(SpinLock<State>);

impl Mail {
    /// None yet.
    pub fn new() -> Mail {
        Mail(SpinLock::new(ranks::UNIX_MAIL, State::default()))
    }

    /// Whether there is room; if not, `sender` is notified once there is.
    pub fn has_room(&self, sender: &Arc<Endpoint>) -> bool {
        let mut state = self.0.lock();
        if state.closed || state.messages.len() < QUEUE_LEN {
            return true;
        }
        let me = Arc::downgrade(sender);
        if !state.waiting.iter().any(|other| other.ptr_eq(&me)) {
            state.waiting.retain(|other| other.strong_count() > 0);
            state.waiting.push(me);
        }
        false
    }

    /// Leaves a message. ECONNREFUSED (with the message) once closed.
    pub fn post(&self, message: Message) -> Result<(), (Error, Message)> {
        let mut state = self.0.lock();
        if state.closed {
            return Err((Errno::ECONNREFUSED.into(), message));
        }
        if state.messages.try_reserve(1).is_err() {
            return Err((Errno::ENOBUFS.into(), message));
        }
        state.messages.push_back(message);
        Ok(())
    }

    /// Reads the first message. WouldBlock if there is none.
    pub fn read(
        &self,
        dst: &mut Dst,
        flags: MsgFlags,
        want_control: bool,
        pass_credentials: bool,
        rights: &Rights,
    ) -> Result<Received> {
        let mut state = self.0.lock();
        let Some(message) = state.messages.front_mut() else { return Err(Error::WouldBlock) };
        // After a fault the call comes again, with a destination that has part of the message.
        let skip = dst.done().min(message.data.len());
        let len = skip + dst.put(&message.data[skip..]);
        if let Some(fault) = dst.take_fault() {
            return Err(fault.into());
        }
        let mut out = Received { len, from: Some(Address::Unix(message.from.clone())), ..Received::default() };
        if len < message.data.len() {
            out.flags |= MsgFlags::TRUNC;
            if flags.contains(MsgFlags::TRUNC) {
                out.len = message.data.len();
            }
        }
        if pass_credentials {
            out.credential = Some(message.credential);
        }
        if flags.contains(MsgFlags::PEEK) {
            out.rights = message.parcel.copies();
            return Ok(out);
        }
        let was_full = state.messages.len() >= QUEUE_LEN;
        let Some(message) = state.messages.pop_front() else { return Err(Error::WouldBlock) };
        let waiting = if was_full { core::mem::take(&mut state.waiting) } else { Vec::new() };
        drop(state);
        if want_control {
            out.rights = rights.unpack(message.parcel);
        } else {
            rights.discard(message.parcel);
        }
        wake(waiting);
        Ok(out)
    }

    /// The length of the first message (FIONREAD), and whether there is one.
    pub fn pending(&self) -> Option<usize> {
        self.0.lock().messages.front().map(|message| message.data.len())
    }

    /// Whether the socket takes no more messages.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Takes no more messages; with `discard`, drops those that are there.
    pub fn close(&self, discard: bool, rights: &Rights) {
        let mut state = self.0.lock();
        state.closed = true;
        let waiting = core::mem::take(&mut state.waiting);
        let messages = if discard { core::mem::take(&mut state.messages) } else { VecDeque::new() };
        drop(state);
        for message in messages {
            rights.discard(message.parcel);
        }
        wake(waiting);
    }
}

impl Default for Mail {
    fn default() -> Self {
        Mail::new()
    }
}

fn wake(waiting: Vec<Weak<Endpoint>>) {
    for sender in waiting.iter().filter_map(Weak::upgrade) {
        notify(&sender.queue, OUT);
    }
}
