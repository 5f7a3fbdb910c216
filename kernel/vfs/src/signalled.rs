//! Files that signal their owner when they become ready (O_ASYNC, fcntl(2)).
//!
//! A file is notified of under any lock, and sending a signal takes some that come before those. So what became ready is
//! put on a list here, and a task of the kernel takes it from there ([`next`]) and sends the signals.

use crate::description::Owner;
use crate::file::File;
use crate::ranks;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, Events, Result};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use executor::spin::SpinLock;
use executor::{Observer, ObserverId, WaitQueue};

/// What an open file needs to signal its owner. Few files have one.
pub struct Signaller {
    me: Weak<Signaller>,
    owner: SpinLock<Owner>,
    attached: SpinLock<Option<ObserverId>>,
    /// The descriptor that O_ASYNC was set by, which the signal names.
    descriptor: AtomicI32,
    /// What has come since the last signal.
    events: AtomicU32,
    listed: AtomicBool,
}

struct List {
    ready: Vec<Arc<Signaller>>,
    /// How many there are: the list has room for all of them, so that a notification allocates nothing.
    attached: usize,
}

static LIST: SpinLock<List> = SpinLock::new(ranks::SIGNALLED, List { ready: Vec::new(), attached: 0 });
static CHANGED: WaitQueue = WaitQueue::new();

/// A file that has become ready: its owner, the descriptor, and what it is ready for.
pub struct Ready {
    /// Whom to signal, and how.
    pub owner: Owner,
    /// The descriptor that the signal names.
    pub descriptor: i32,
    /// What it has become ready for.
    pub events: Events,
}

/// Waits for a file whose owner is to be signalled. For one task.
pub async fn next() -> Ready {
    let signaller = CHANGED.wait_until(executor::ALL, || LIST.lock().ready.pop()).await;
    signaller.listed.store(false, Ordering::SeqCst);
    let events = Events::from_bits_truncate(signaller.events.swap(0, Ordering::SeqCst));
    let owner = *signaller.owner.lock();
    Ready { owner, descriptor: signaller.descriptor.load(Ordering::Relaxed), events }
}

impl Signaller {
    pub(crate) fn new() -> Arc<Signaller> {
        Arc::new_cyclic(|me| Signaller {
            me: me.clone(),
            owner: SpinLock::new(ranks::OWNER, Owner::default()),
            attached: SpinLock::new(ranks::ATTACHED, None),
            descriptor: AtomicI32::new(-1),
            events: AtomicU32::new(0),
            listed: AtomicBool::new(false),
        })
    }

    pub(crate) fn owner(&self) -> Owner {
        *self.owner.lock()
    }

    pub(crate) fn set_owner(&self, owner: Owner) {
        *self.owner.lock() = owner;
    }

    /// Signals from now on, as `descriptor`, when the file becomes ready. A file that is always ready never becomes it. ENOMEM.
    pub(crate) fn attach(&self, file: &dyn File, descriptor: u32) -> Result<()> {
        let (Some(queue), Some(me)) = (file.queue(), self.me.upgrade()) else { return Ok(()) };
        let mut attached = self.attached.lock();
        if attached.is_some() {
            return Ok(());
        }
        self.descriptor.store(descriptor as i32, Ordering::Relaxed);
        {
            let mut list = LIST.lock();
            let room = list.attached + 1 - list.ready.len().min(list.attached);
            list.ready.try_reserve(room).map_err(|_| Errno::ENOMEM)?;
            list.attached += 1;
        }
        let interest = Events::IN | Events::OUT | Events::PRI | Events::ALWAYS;
        match queue.attach(me, interest.bits()) {
            Ok(id) => *attached = Some(id),
            Err(_) => {
                LIST.lock().attached -= 1;
                return Err(Errno::ENOMEM.into());
            }
        }
        Ok(())
    }

    /// Signals no more.
    pub(crate) fn detach(&self, file: &dyn File) {
        let id = self.attached.lock().take();
        if let (Some(id), Some(queue)) = (id, file.queue()) {
            queue.detach(id);
            LIST.lock().attached -= 1;
        }
    }
}

impl Observer for Signaller {
    fn notified(&self, mask: u32) {
        self.events.fetch_or(mask, Ordering::SeqCst);
        if self.listed.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            let mut list = LIST.lock();
            // There is room, unless a file was detached with its signal on the way and another came: it is that one's turn later.
            if list.ready.len() < list.ready.capacity() {
                list.ready.push(me);
            } else {
                self.listed.store(false, Ordering::SeqCst);
            }
        }
        CHANGED.notify_all(executor::ALL);
    }
}
