//! Message queues (msgget(2), msgsnd(2), msgrcv(2), msgctl(2)).
//!
//! A sender hands its message to the first receiver in line that takes its type, or puts it into the queue; one whose message
//! does not fit stands in line with it, and whoever makes room puts it in.

use crate::line::{Line, Ticket, bit};
use crate::perm::{self, Permissions};
use crate::registry::{Object, Registry};
use crate::{Caller, NOWAIT, limits, now};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Capability, Errno, rank};
use core::future::Future;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};
use executor::WaitQueue;
use executor::spin::SpinLock;

const MSG_NOERROR: u32 = 0o10000;
const MSG_EXCEPT: u32 = 0o20000;
const MSG_COPY: u32 = 0o40000;

/// All queues.
pub static QUEUES: Registry<Queue> = Registry::new();

/// Messages and bytes in all queues.
static MESSAGES: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type, positive.
    pub kind: i64,
    /// What it says.
    pub text: Vec<u8>,
}

impl Message {
    /// A message with room for `len` bytes. ENOMEM.
    pub fn new(kind: i64, len: usize) -> Result<Message, Errno> {
        memory::admit(len).map_err(|_| Errno::ENOMEM)?;
        let mut text = Vec::new();
        text.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        text.resize(len, 0);
        Ok(Message { kind, text })
    }
}

/// Which message a receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    Kind(i64),
    Except(i64),
    /// The lowest type that is not above this.
    Lowest(i64),
}

impl Wanted {
    fn takes(self, kind: i64) -> bool {
        match self {
            Wanted::Any => true,
            Wanted::Kind(wanted) => kind == wanted,
            Wanted::Except(other) => kind != other,
            Wanted::Lowest(most) => kind <= most,
        }
    }
}

/// What msgrcv(2) asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    wanted: Wanted,
    /// The message at this place is copied and stays (MSG_COPY).
    copied: Option<i64>,
    /// Bytes that there is room for.
    room: usize,
    /// What does not fit is cut off (MSG_NOERROR).
    cut: bool,
    no_wait: bool,
}

impl Request {
    /// From the arguments of the call. EINVAL where MSG_COPY comes with MSG_EXCEPT or without IPC_NOWAIT.
    pub fn new(kind: i64, room: usize, flags: u32) -> Result<Request, Errno> {
        let no_wait = flags & NOWAIT != 0;
        let copies = flags & MSG_COPY != 0;
        if copies && (flags & MSG_EXCEPT != 0 || !no_wait) {
            return Err(Errno::EINVAL);
        }
        let wanted = match kind {
            0 => Wanted::Any,
            ..0 => Wanted::Lowest(kind.checked_neg().unwrap_or(i64::MAX)),
            _ if flags & MSG_EXCEPT != 0 => Wanted::Except(kind),
            _ => Wanted::Kind(kind),
        };
        Ok(Request { wanted, copied: copies.then_some(kind), room, cut: flags & MSG_NOERROR != 0, no_wait })
    }

    fn fits(&self, message: &Message) -> bool {
        self.cut || message.text.len() <= self.room
    }
}

struct Receiver {
    request: Request,
    process: u32,
}

struct Sender {
    message: Option<Message>,
    process: u32,
}

/// A message queue.
pub struct Queue {
    id: AtomicI32,
    state: SpinLock<State>,
    sleepers: WaitQueue,
}

struct State {
    perm: Permissions,
    messages: VecDeque<Message>,
    bytes: usize,
    max_bytes: usize,
    receivers: Line<Receiver, Result<Found, Errno>>,
    senders: Line<Sender, Result<Found, Errno>>,
    status: Status,
    removed: bool,
}

/// What IPC_STAT tells of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Who may use it.
    pub perm: Permissions,
    /// When a message was sent last, in seconds.
    pub sent: i64,
    /// When one was received last.
    pub received: i64,
    /// When the queue was made or changed by msgctl(2).
    pub changed: i64,
    /// Bytes in it.
    pub bytes: usize,
    /// Messages in it.
    pub messages: usize,
    /// Bytes that may be in it.
    pub max_bytes: usize,
    /// The process that sent last.
    pub sender: u32,
    /// The process that received last.
    pub receiver: u32,
}

/// What MSG_INFO tells of all queues.
pub struct Totals {
    /// Queues.
    pub queues: usize,
    /// Messages in all of them.
    pub messages: usize,
    /// Bytes in all of them.
    pub bytes: usize,
    /// The highest index of a queue.
    pub highest: usize,
}

impl Totals {
    /// As of now.
    pub fn now() -> Totals {
        let (queues, highest) = QUEUES.usage();
        Totals { queues, messages: MESSAGES.load(Relaxed), bytes: BYTES.load(Relaxed), highest }
    }
}

/// msgget(2): the id.
pub fn get(caller: &Caller, key: i32, flags: u32) -> Result<i32, Errno> {
    let make = || Ok(Arc::new(Queue::new(Permissions::new(key, flags, caller.cred))));
    QUEUES.get(caller, key, flags, &limits::MSGMNI, |_| Ok(()), make)
}

impl Object for Queue {
    fn permissions(&self) -> Permissions {
        self.state.lock().perm
    }

    fn set_id(&self, id: i32) {
        self.id.store(id, Relaxed);
    }
}

impl State {
    fn check(&self) -> Result<(), Errno> {
        if self.removed { Err(Errno::EIDRM) } else { Ok(()) }
    }

    fn has_room(&self, len: usize) -> bool {
        self.bytes + len <= self.max_bytes && self.messages.len() < self.max_bytes
    }

    /// Gives a message to a receiver, or puts it into the queue, where there must be a place for it. The bits of those to be woken.
    fn accept(&mut self, message: Message, process: u32) -> u32 {
        self.status.sender = process;
        self.status.sent = now();
        let mut wakes = 0;
        let mut at = 0;
        while let Some(receiver) = self.receivers.job(at) {
            if !receiver.request.wanted.takes(message.kind) {
                at += 1;
                continue;
            }
            let (fits, process) = (receiver.request.fits(&message), receiver.process);
            if fits {
                self.status.receiver = process;
                self.status.received = now();
                return wakes | self.receivers.finish(at, |_| Ok(Found::Received(message)));
            }
            wakes |= self.receivers.finish(at, |_| Err(Errno::E2BIG));
        }
        self.bytes += message.text.len();
        MESSAGES.fetch_add(1, Relaxed);
        BYTES.fetch_add(message.text.len(), Relaxed);
        self.messages.push_back(message);
        wakes
    }

    /// Lets in the senders whose messages fit now.
    fn admit(&mut self) -> u32 {
        let mut wakes = 0;
        let mut at = 0;
        while let Some(sender) = self.senders.job(at) {
            let len = sender.message.as_ref().map_or(0, |message| message.text.len());
            let process = sender.process;
            if !self.has_room(len) || self.messages.try_reserve(1).is_err() {
                at += 1;
                continue;
            }
            let mut message = None;
            wakes |= self.senders.finish(at, |sender| {
                message = sender.message.take();
                Ok(Found::Sent)
            });
            if let Some(message) = message {
                wakes |= self.accept(message, process);
            }
        }
        wakes
    }

    /// The place of the message that is wanted.
    fn find(&self, wanted: Wanted) -> Option<usize> {
        let takes = |message: &Message| wanted.takes(message.kind);
        match wanted {
            Wanted::Lowest(_) => {
                let fitting = self.messages.iter().enumerate().filter(|(_, message)| takes(message));
                fitting.min_by_key(|(at, message)| (message.kind, *at)).map(|(at, _)| at)
            }
            _ => self.messages.iter().position(takes),
        }
    }

    /// Copies the message at a place (MSG_COPY). ENOMSG, E2BIG, ENOMEM.
    fn copy(&self, place: i64, request: &Request) -> Result<Message, Errno> {
        let place = usize::try_from(place).map_err(|_| Errno::ENOMSG)?;
        let message = self.messages.get(place).ok_or(Errno::ENOMSG)?;
        if !request.fits(message) {
            return Err(Errno::E2BIG);
        }
        let mut copy = Message::new(message.kind, message.text.len())?;
        copy.text.copy_from_slice(&message.text);
        Ok(copy)
    }

    fn forget(&self, message: &Message) {
        MESSAGES.fetch_sub(1, Relaxed);
        BYTES.fetch_sub(message.text.len(), Relaxed);
    }
}

/// What comes of a call that may have to wait.
pub enum Outcome<'a, T> {
    /// It is done.
    Done(T),
    /// It stands in line.
    Waits(Sleeping<'a>),
}

/// A sender or receiver in the line of a queue; dropping it takes it out.
pub struct Sleeping<'a> {
    queue: &'a Queue,
    ticket: Ticket,
    sends: bool,
}

/// What a sleeper finds.
pub enum Found {
    /// The message was received.
    Received(Message),
    /// It was sent.
    Sent,
    /// The queue has changed: the call is to be made again, with the message that was not sent.
    Again(Option<Message>),
}

impl Queue {
    fn new(perm: Permissions) -> Queue {
        let max_bytes = limits::MSGMNB.get() as usize;
        let status = Status {
            perm,
            sent: 0,
            received: 0,
            changed: now(),
            bytes: 0,
            messages: 0,
            max_bytes,
            sender: 0,
            receiver: 0,
        };
        let state = State {
            perm,
            messages: VecDeque::new(),
            bytes: 0,
            max_bytes,
            receivers: Line::new(),
            senders: Line::new(),
            status,
            removed: false,
        };
        Queue { id: AtomicI32::new(0), state: SpinLock::new(rank::IPC_OBJECT, state), sleepers: WaitQueue::new() }
    }

    /// Its id.
    pub fn id(&self) -> i32 {
        self.id.load(Relaxed)
    }

    fn wake(&self, bits: u32) {
        if bits != 0 {
            self.sleepers.notify_all(bits);
        }
    }

    /// msgsnd(2). EIDRM, EACCES, EAGAIN with `no_wait`, ENOMEM.
    pub fn send(&self, caller: &Caller, message: Message, no_wait: bool) -> Result<Outcome<'_, ()>, Errno> {
        let mut state = self.state.lock();
        state.check()?;
        state.perm.check(caller.cred, perm::WRITE)?;
        if state.has_room(message.text.len()) {
            state.messages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let wakes = state.accept(message, caller.process);
            drop(state);
            self.wake(wakes);
            return Ok(Outcome::Done(()));
        }
        if no_wait {
            return Err(Errno::EAGAIN);
        }
        state.senders.reserve()?;
        let ticket = state.senders.join(Sender { message: Some(message), process: caller.process });
        Ok(Outcome::Waits(Sleeping { queue: self, ticket, sends: true }))
    }

    /// msgrcv(2). EIDRM, EACCES, E2BIG, ENOMSG for IPC_NOWAIT, ENOMEM.
    pub fn receive(&self, caller: &Caller, request: Request) -> Result<Outcome<'_, Message>, Errno> {
        let mut state = self.state.lock();
        state.check()?;
        state.perm.check(caller.cred, perm::READ)?;
        if let Some(place) = request.copied {
            return Ok(Outcome::Done(state.copy(place, &request)?));
        }
        if let Some(at) = state.find(request.wanted) {
            if !request.fits(&state.messages[at]) {
                return Err(Errno::E2BIG);
            }
            let message = state.messages.remove(at).ok_or(Errno::ENOMSG)?;
            state.forget(&message);
            state.bytes -= message.text.len();
            state.status.receiver = caller.process;
            state.status.received = now();
            let wakes = state.admit();
            drop(state);
            self.wake(wakes);
            return Ok(Outcome::Done(message));
        }
        if request.no_wait {
            return Err(Errno::ENOMSG);
        }
        state.receivers.reserve()?;
        let ticket = state.receivers.join(Receiver { request, process: caller.process });
        Ok(Outcome::Waits(Sleeping { queue: self, ticket, sends: false }))
    }

    /// IPC_STAT, and MSG_STAT_ANY without a caller. EACCES, EIDRM.
    pub fn status(&self, caller: Option<&Caller>) -> Result<Status, Errno> {
        let state = self.state.lock();
        state.check()?;
        if let Some(caller) = caller {
            state.perm.check(caller.cred, perm::READ)?;
        }
        let (bytes, messages) = (state.bytes, state.messages.len());
        Ok(Status { perm: state.perm, bytes, messages, max_bytes: state.max_bytes, ..state.status })
    }

    /// IPC_SET. EPERM, also for more bytes than an unprivileged owner may have.
    pub fn set(&self, caller: &Caller, uid: u32, gid: u32, mode: u32, max_bytes: usize) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.check()?;
        state.perm.check_owner(caller.cred)?;
        if max_bytes as u64 > limits::MSGMNB.get() && !caller.cred.has(Capability::SysResource) {
            return Err(Errno::EPERM);
        }
        state.perm.set(uid, gid, mode);
        state.max_bytes = max_bytes;
        state.status.changed = now();
        // Who waits may have lost the right to, or may have got room.
        let wakes = state.receivers.finish_all(|_| Ok(Found::Again(None)))
            | state.senders.finish_all(|sender| Ok(Found::Again(sender.message.take())));
        drop(state);
        self.wake(wakes);
        Ok(())
    }

    /// IPC_RMID: everybody who waits gets EIDRM. EPERM.
    pub fn remove(self: &Arc<Queue>, caller: &Caller) -> Result<(), Errno> {
        {
            let state = self.state.lock();
            state.check()?;
            state.perm.check_owner(caller.cred)?;
        }
        if !QUEUES.remove(self.id(), self) {
            return Err(Errno::EIDRM);
        }
        let mut state = self.state.lock();
        state.removed = true;
        let wakes = state.receivers.finish_all(|_| Err(Errno::EIDRM)) | state.senders.finish_all(|_| Err(Errno::EIDRM));
        let messages = core::mem::take(&mut state.messages);
        messages.iter().for_each(|message| state.forget(message));
        drop(state);
        drop(messages);
        self.wake(wakes);
        Ok(())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        state.messages.iter().for_each(|message| state.forget(message));
    }
}

impl State {
    /// What a sleeper finds, if its turn has come.
    fn found(&mut self, ticket: Ticket, sends: bool) -> Option<Result<Found, Errno>> {
        if sends { self.senders.result(ticket) } else { self.receivers.result(ticket) }
    }

    fn leave(&mut self, ticket: Ticket, sends: bool) -> Option<Result<Found, Errno>> {
        if sends { self.senders.leave(ticket) } else { self.receivers.leave(ticket) }
    }
}

impl Sleeping<'_> {
    /// Waits until the call is done or cannot be: EIDRM, E2BIG.
    pub fn finished(&self) -> impl Future<Output = Result<Found, Errno>> {
        self.queue.sleepers.wait_until(bit(self.ticket), || self.queue.state.lock().found(self.ticket, self.sends))
    }

    /// Stops waiting. What came of the call if it was done with meanwhile.
    pub fn give_up(&self) -> Option<Result<Found, Errno>> {
        self.queue.state.lock().leave(self.ticket, self.sends)
    }
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        let left = self.give_up();
        drop(left);
    }
}
