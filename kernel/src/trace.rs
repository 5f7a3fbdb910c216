//! /proc/pollux/trace: what the trace points noted.
//!
//! One line for each record, CPU after CPU: the CPU, nanoseconds since boot, the task, what happened, and its argument in
//! hexadecimal. `just trace` makes something readable of it. The first read ends the recording.

use core::fmt;

/// Writes all records.
pub fn show(out: &mut dyn fmt::Write) -> fmt::Result {
    for cpu in 0..crate::cpu::count() {
        executor::trace::read(cpu, |record| {
            let executor::trace::Record { time, task, argument, point } = record;
            writeln!(out, "{cpu} {time} {task:x} {point:?} {argument:x}")
        })?;
    }
    Ok(())
}
