//! /proc/sysvipc, and of the limits of System V IPC those that are four in one file (proc(5), proc_sys_kernel(5)).

use super::sysctl::parse;
use super::system::System;
use super::table::{Entry, text};
use super::text::{Buffer, Shown, Text};
use base::{Errno, Result};
use core::fmt::Write;
use ipc::limits::{Limit, SEMMNI, SEMMNS, SEMMSL, SEMOPM};
use ipc::show;
use vfs::Caller;

/// The directory.
pub static TABLE: &[Entry<System>] = &[
    text("msg", Text::new(|_, out| Ok(show::msg(out)?))),
    text("sem", Text::new(|_, out| Ok(show::sem(out)?))),
    text("shm", Text::new(|_, out| Ok(show::shm(out)?))),
];

/// What `kernel.sem` holds, in its order.
const SEM: [&Limit; 4] = [&SEMMSL, &SEMMNS, &SEMOPM, &SEMMNI];

/// `kernel.sem`.
pub fn semaphores(_: &System, out: &mut Buffer) -> Shown {
    let [of_one, of_all, operations, sets] = SEM.map(Limit::get);
    Ok(writeln!(out, "{of_one}\t{of_all}\t{operations}\t{sets}")?)
}

/// Sets as many of them as were written, from the first. EINVAL.
pub fn set_semaphores(_: &System, _: &Caller, bytes: &[u8]) -> Result<()> {
    let words = bytes.split(|byte| matches!(byte, b' ' | b'\t' | b'\n' | 0)).filter(|word| !word.is_empty());
    let mut values = [None; SEM.len()];
    for (i, word) in words.enumerate() {
        *values.get_mut(i).ok_or(Errno::EINVAL)? = Some(parse(word)?);
    }
    for (limit, value) in SEM.iter().zip(values) {
        if let Some(value) = value {
            limit.set(value)?;
        }
    }
    Ok(())
}
