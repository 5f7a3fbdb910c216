//! Names of UNIX sockets, and the list of all of them.
//!
//! A name in the file system is an inode that holds a [`Node`]; abstract names are kept here. Both hold the
//! socket weakly: a name does not keep it open.

use super::UnixSocket;
use crate::ranks;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, Result};
use executor::spin::SpinLock;

/// What a socket's inode stands for: the socket that was bound to it.
pub struct Node(Weak<UnixSocket>);

impl Node {
    /// A node for `socket`.
    pub(super) fn new(socket: Weak<UnixSocket>) -> Arc<Node> {
        Arc::new(Node(socket))
    }

    /// The socket; ECONNREFUSED once it is closed.
    pub(super) fn socket(&self) -> Result<Arc<UnixSocket>> {
        Ok(self.0.upgrade().ok_or(Errno::ECONNREFUSED)?)
    }
}

#[derive(Default)]
struct Tables {
    /// By the bytes after the zero byte.
    abstracts: BTreeMap<Arc<[u8]>, Weak<UnixSocket>>,
    /// Every socket, by inode number, for /proc/net/unix.
    all: BTreeMap<u64, Weak<UnixSocket>>,
    next_automatic: u32,
}

/// The abstract names and all sockets of a network.
pub struct Names(SpinLock<Tables>);

impl Names {
    /// No names.
    pub fn new() -> Names {
        Names(SpinLock::new(ranks::UNIX_NAMES, Tables::default()))
    }

    /// Gives `socket` the abstract name `name`; EADDRINUSE if another has it.
    pub(super) fn bind(&self, name: &Arc<[u8]>, socket: &Weak<UnixSocket>) -> Result<()> {
        let mut tables = self.0.lock();
        if tables.abstracts.get(name).is_some_and(|holder| holder.strong_count() > 0) {
            return Err(Errno::EADDRINUSE.into());
        }
        tables.abstracts.insert(name.clone(), socket.clone());
        Ok(())
    }

    /// Gives `socket` a free name of five hexadecimal digits (autobind). ENOSPC if there is none.
    pub(super) fn bind_any(&self, socket: &Weak<UnixSocket>) -> Result<Arc<[u8]>> {
        let mut tables = self.0.lock();
        for _ in 0..=0xf_ffff {
            let number = tables.next_automatic & 0xf_ffff;
            tables.next_automatic = number + 1;
            let name: Arc<[u8]> = format!("{number:05x}").into_bytes().into();
            if tables.abstracts.get(&name).is_none_or(|holder| holder.strong_count() == 0) {
                tables.abstracts.insert(name.clone(), socket.clone());
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC.into())
    }

    /// The socket of that abstract name; ECONNREFUSED if there is none.
    pub(super) fn find(&self, name: &[u8]) -> Result<Arc<UnixSocket>> {
        let found = self.0.lock().abstracts.get(name).cloned();
        Ok(found.and_then(|socket| socket.upgrade()).ok_or(Errno::ECONNREFUSED)?)
    }

    /// Takes back the abstract name of a socket that closes.
    pub(super) fn unbind(&self, name: &[u8], socket: &Weak<UnixSocket>) {
        let mut tables = self.0.lock();
        if tables.abstracts.get(name).is_some_and(|holder| holder.ptr_eq(socket)) {
            tables.abstracts.remove(name);
        }
    }

    pub(super) fn register(&self, inode: u64, socket: Weak<UnixSocket>) {
        self.0.lock().all.insert(inode, socket);
    }

    pub(super) fn forget(&self, inode: u64) {
        // Dropped after the lock: it may be the last reference to the socket's memory.
        let gone = self.0.lock().all.remove(&inode);
        drop(gone);
    }

    /// All sockets there are.
    pub(crate) fn all(&self) -> Vec<Arc<UnixSocket>> {
        let all: Vec<Weak<UnixSocket>> = self.0.lock().all.values().cloned().collect();
        all.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Default for Names {
    fn default() -> Self {
        Names::new()
    }
}
