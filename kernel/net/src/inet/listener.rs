//! A listening TCP socket: connections that were begun, and those that wait to be accepted.
//!
//! A connection takes its place in the backlog with its SYN, so that one whose handshake is complete always
//! has it. A SYN that finds no place is dropped; the client sends another.

use super::conn::{Conn, Shared};
use super::stack::Work;
use super::tuple::{Point, Tuple};
use crate::net::Net;
use crate::ranks;
use crate::socket::{IN, notify};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use base::{Error, Result};
use executor::spin::SpinLock;

struct Backlog {
    ready: VecDeque<Arc<Conn>>,
    /// Connections that have a place and are not ready.
    begun: usize,
    limit: usize,
    closed: bool,
}

/// A listening socket.
pub struct Listener {
    me: Weak<Listener>,
    net: Arc<Net>,
    /// Where it listens.
    pub point: Point,
    /// Queue and options.
    pub shared: Arc<Shared>,
    backlog: SpinLock<Backlog>,
}

impl Listener {
    /// Starts to listen at `point`. ENOBUFS.
    pub fn start(net: &Arc<Net>, point: Point, shared: &Arc<Shared>, limit: usize) -> Result<Arc<Listener>> {
        let backlog = Backlog { ready: VecDeque::new(), begun: 0, limit, closed: false };
        let listener = Arc::new_cyclic(|me| Listener {
            me: me.clone(),
            net: net.clone(),
            point,
            shared: shared.clone(),
            backlog: SpinLock::new(ranks::TCP_BACKLOG, backlog),
        });
        net.inet.add_listener(point, listener.clone())?;
        Ok(listener)
    }

    /// A connection for a SYN; `None` if there is no place or no memory for it.
    pub(super) fn begin(&self, tuple: &Tuple, now: u64) -> Option<Arc<Conn>> {
        let mut backlog = self.backlog.lock();
        if backlog.closed
            || backlog.begun + backlog.ready.len() > backlog.limit
            || backlog.ready.try_reserve(1).is_err()
        {
            return None;
        }
        backlog.begun += 1;
        drop(backlog);
        let conn = Conn::passive(&self.net, tuple, &self.shared, self.me.clone(), now);
        if conn.is_none() {
            self.failed();
        }
        conn
    }

    /// A connection that had begun is complete. False if nobody listens any more.
    pub(super) fn complete(&self, conn: Arc<Conn>) -> bool {
        let mut backlog = self.backlog.lock();
        backlog.begun = backlog.begun.saturating_sub(1);
        if backlog.closed {
            return false;
        }
        backlog.ready.push_back(conn);
        drop(backlog);
        notify(&self.shared.queue, IN);
        true
    }

    /// A connection that had begun came to nothing.
    pub(super) fn failed(&self) {
        let mut backlog = self.backlog.lock();
        backlog.begun = backlog.begun.saturating_sub(1);
    }

    /// The next connection; WouldBlock if there is none.
    pub fn accept(&self) -> Result<Arc<Conn>> {
        self.backlog.lock().ready.pop_front().ok_or(Error::WouldBlock)
    }

    /// How many wait to be accepted, and how many may.
    pub fn pending(&self) -> (usize, usize) {
        let backlog = self.backlog.lock();
        (backlog.ready.len(), backlog.limit)
    }

    /// listen(2) again, with another backlog.
    pub fn set_limit(&self, limit: usize) {
        self.backlog.lock().limit = limit;
    }

    /// Stops listening. Connections that nobody accepted are reset.
    pub fn stop(self: &Arc<Self>, work: &mut Work) {
        self.net.inet.remove_listener(self.point, self);
        let mut backlog = self.backlog.lock();
        backlog.closed = true;
        let ready = core::mem::take(&mut backlog.ready);
        drop(backlog);
        for conn in ready {
            conn.abort(work);
            conn.forsake(work);
        }
    }
}
