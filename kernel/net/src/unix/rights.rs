//! Descriptions on their way in messages (SCM_RIGHTS).
//!
//! Each user may have as many on their way as it may have open files (ETOOMANYREFS), which also bounds what a
//! cycle of sockets sent over each other can hold. What is dropped unread is dropped by [`Rights::discard`], in a
//! loop and with no lock held: closing a socket that holds a socket that holds a socket must not use up the one stack.

use crate::ranks;
use crate::socket::Passed;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::{Capability, Credentials, Errno, Result};
use executor::spin::SpinLock;

#[derive(Default)]
struct State {
    /// How many are on their way, by user.
    in_flight: BTreeMap<u32, u64>,
    /// What [`Rights::discard`] has still to drop.
    discarded: Vec<Vec<Passed>>,
    /// Whether some CPU is at it.
    dropping: bool,
}

/// The descriptions on their way in a network.
pub struct Rights(SpinLock<State>);

/// Descriptions that a message carries, counted to the user who sent them.
#[derive(Default)]
pub struct Parcel {
    files: Vec<Passed>,
    uid: u32,
}

/// SCM_MAX_FD: the most descriptions that one message carries.
pub const MAX_FILES: usize = 253;

impl Rights {
    /// None on their way.
    pub fn new() -> Rights {
        Rights(SpinLock::new(ranks::UNIX_RIGHTS, State::default()))
    }

    /// Counts `files` to the sender. EINVAL for more than SCM_MAX_FD, ETOOMANYREFS past `limit`.
    pub fn pack(&self, cred: &Credentials, limit: u64, files: &mut Vec<Passed>) -> Result<Parcel> {
        if files.is_empty() {
            return Ok(Parcel::default());
        }
        if files.len() > MAX_FILES {
            return Err(Errno::EINVAL.into());
        }
        let mut state = self.0.lock();
        let count = state.in_flight.entry(cred.uid).or_insert(0);
        let privileged = cred.has(Capability::SysResource) || cred.has(Capability::SysAdmin);
        if *count > limit && !privileged {
            return Err(Errno::ETOOMANYREFS.into());
        }
        *count += files.len() as u64;
        drop(state);
        Ok(Parcel { files: core::mem::take(files), uid: cred.uid })
    }

    /// Takes the descriptions out: they have arrived.
    pub fn unpack(&self, parcel: Parcel) -> Vec<Passed> {
        if !parcel.files.is_empty() {
            let mut state = self.0.lock();
            if let Some(count) = state.in_flight.get_mut(&parcel.uid) {
                *count = count.saturating_sub(parcel.files.len() as u64);
                if *count == 0 {
                    state.in_flight.remove(&parcel.uid);
                }
            }
        }
        parcel.files
    }

    /// Takes the descriptions of a message back that was not sent after all.
    pub fn give_back(&self, parcel: Parcel, files: &mut Vec<Passed>) {
        if !parcel.is_empty() {
            *files = self.unpack(parcel);
        }
    }

    /// Drops what nobody will receive.
    pub fn discard(&self, parcel: Parcel) {
        if parcel.is_empty() {
            return;
        }
        let files = self.unpack(parcel);
        let mut state = self.0.lock();
        state.discarded.push(files);
        if state.dropping {
            return;
        }
        state.dropping = true;
        while let Some(files) = state.discarded.pop() {
            drop(state);
            drop(files);
            state = self.0.lock();
        }
        state.dropping = false;
    }
}

impl Default for Rights {
    fn default() -> Self {
        Rights::new()
    }
}

impl Parcel {
    /// Whether it carries nothing.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The descriptions once more, for MSG_PEEK.
    pub fn copies(&self) -> Vec<Passed> {
        self.files.clone()
    }
}
