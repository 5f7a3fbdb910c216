//! semctl(2).

use super::{MAX_VALUE, SEMAPHORES, SETS, Semaphore, Set, State, zeroed};
use crate::perm::Permissions;
use crate::{Caller, now, perm};
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Errno, Result};
use core::sync::atomic::Ordering::Relaxed;
use executor::spin::SpinGuard;

/// What IPC_STAT tells of a set.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Who may use it.
    pub perm: Permissions,
    /// When semop(2) last did something, in seconds.
    pub operated: i64,
    /// When it was made or changed by semctl(2), in seconds.
    pub changed: i64,
    /// Semaphores.
    pub count: usize,
}

/// What SEM_INFO tells of all sets.
pub struct Totals {
    /// Sets.
    pub sets: usize,
    /// Semaphores in all of them.
    pub semaphores: u64,
    /// The highest index of a set.
    pub highest: usize,
}

impl Totals {
    /// As of now.
    pub fn now() -> Totals {
        let (sets, highest) = SETS.usage();
        Totals { sets, semaphores: SEMAPHORES.load(Relaxed), highest }
    }
}

impl Set {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut state = self.state.lock();
        state.check()?;
        look(&mut state)
    }

    /// EACCES unless the caller may do what `wanted` says; EIDRM.
    fn open(&self, caller: &Caller, wanted: u32) -> Result<SpinGuard<'_, State>, Errno> {
        let state = self.state.lock();
        state.check()?;
        state.perm.check(caller.cred, wanted)?;
        Ok(state)
    }

    /// IPC_STAT, and SEM_STAT_ANY without a caller.
    pub fn status(&self, caller: Option<&Caller>) -> Result<Status, Errno> {
        self.with(|state| {
            if let Some(caller) = caller {
                state.perm.check(caller.cred, perm::READ)?;
            }
            Ok(Status { perm: state.perm, operated: state.operated, changed: state.changed, count: self.count })
        })
    }

    /// IPC_SET. EPERM.
    pub fn set(&self, caller: &Caller, uid: u32, gid: u32, mode: u32) -> Result<(), Errno> {
        self.with(|state| {
            state.perm.check_owner(caller.cred)?;
            state.perm.set(uid, gid, mode);
            state.changed = now();
            Ok(())
        })
    }

    /// IPC_RMID: everybody who waits gets EIDRM. EPERM.
    pub fn remove(self: &Arc<Set>, caller: &Caller) -> Result<(), Errno> {
        self.with(|state| state.perm.check_owner(caller.cred))?;
        if !SETS.remove(self.id(), self) {
            return Err(Errno::EIDRM);
        }
        let mut state = self.state.lock();
        state.removed = true;
        let adjustments = core::mem::take(&mut state.values.adjustments);
        let wakes = state.line.finish_all(|_| Err(Errno::EIDRM));
        drop(state);
        drop(adjustments);
        self.wake(wakes);
        Ok(())
    }

    /// One of GETVAL and GETPID. EINVAL for a semaphore that there is not, EACCES.
    fn one<T>(&self, caller: &Caller, number: usize, look: impl FnOnce(&State, &Semaphore) -> T) -> Result<T, Errno> {
        let state = self.open(caller, perm::READ)?;
        let semaphore = state.values.semaphores.get(number).ok_or(Errno::EINVAL)?;
        Ok(look(&state, semaphore))
    }

    /// GETVAL.
    pub fn value(&self, caller: &Caller, number: usize) -> Result<usize, Errno> {
        self.one(caller, number, |_, semaphore| semaphore.value as usize)
    }

    /// GETPID.
    pub fn last_process(&self, caller: &Caller, number: usize) -> Result<usize, Errno> {
        self.one(caller, number, |_, semaphore| semaphore.process as usize)
    }

    /// GETZCNT with `zero`, else GETNCNT: how many wait for the semaphore to be zero, or to rise.
    pub fn waiters(&self, caller: &Caller, number: usize, zero: bool) -> Result<usize, Errno> {
        self.one(caller, number, |state, _| {
            let awaits = |op: &super::Op| usize::from(op.number) == number && (op.change == 0) == zero;
            state.line.jobs().filter(|job| awaits(job.awaited())).count()
        })
    }

    /// GETALL. ENOMEM.
    pub fn values(&self, caller: &Caller) -> Result<Vec<u16>, Errno> {
        let mut values = zeroed(self.count)?;
        let state = self.open(caller, perm::READ)?;
        for (value, semaphore) in values.iter_mut().zip(&state.values.semaphores) {
            *value = semaphore.value as u16;
        }
        Ok(values)
    }

    /// Whether the caller may SETALL, which it is asked before its values are looked at.
    pub fn check_alter(&self, caller: &Caller) -> Result<(), Errno> {
        self.open(caller, perm::WRITE).map(drop)
    }

    /// SETVAL. ERANGE, EINVAL, EACCES.
    pub fn set_value(&self, caller: &Caller, number: usize, value: i32) -> Result<(), Errno> {
        if !(0..=MAX_VALUE).contains(&value) {
            return Err(Errno::ERANGE);
        }
        let state = self.state.lock();
        state.check()?;
        if number >= self.count {
            return Err(Errno::EINVAL);
        }
        state.perm.check(caller.cred, perm::WRITE)?;
        self.replace(state, caller, number, &[value as u16]);
        Ok(())
    }

    /// SETALL. ERANGE, EACCES.
    pub fn set_values(&self, caller: &Caller, values: &[u16]) -> Result<(), Errno> {
        if values.iter().any(|value| i32::from(*value) > MAX_VALUE) {
            return Err(Errno::ERANGE);
        }
        let state = self.open(caller, perm::WRITE)?;
        self.replace(state, caller, 0, values);
        Ok(())
    }

    /// Gives semaphores new values; what processes were to take back of them is forgotten.
    fn replace(&self, mut state: SpinGuard<'_, State>, caller: &Caller, first: usize, values: &[u16]) {
        for (semaphore, value) in state.values.semaphores[first..].iter_mut().zip(values) {
            *semaphore = Semaphore { value: i32::from(*value), process: caller.process };
        }
        for row in state.values.adjustments.values_mut() {
            row[first..][..values.len()].fill(0);
        }
        state.changed = now();
        let wakes = state.settle();
        drop(state);
        self.wake(wakes);
    }
}
