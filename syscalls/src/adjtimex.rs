//! adjtimex(2), clock_adjtime(2): how the real-time clock is kept in step with others. Nobody keeps this one in step: it runs
//! as fast as the machine's counter, which the calls tell, and cannot be made to run otherwise.

use crate::args::Args;
use crate::table::{Calls, fast};
use crate::time::read_clock;
use base::{Capability, Errno, Result, Timespec};
use linux_raw_sys::general as raw;
use memory::user::UserPtr;
use process::Current;

/// The family.
pub const CALLS: Calls = &[(raw::__NR_adjtimex, fast!(adjtimex)), (raw::__NR_clock_adjtime, fast!(clock_adjtime))];

/// `struct timex`, whose fields take eight bytes each.
type Timex = [u64; 26];

// Where they lie.
const MODES: usize = 0;
const OFFSET: usize = 1;
const FREQUENCY: usize = 2;
const MAX_ERROR: usize = 3;
const ESTIMATED_ERROR: usize = 4;
const STATUS: usize = 5;
const CONSTANT: usize = 6;
const PRECISION: usize = 7;
const TOLERANCE: usize = 8;
const SECONDS: usize = 9;
const MICROSECONDS: usize = 10;
const TICK: usize = 11;

/// ADJ_OFFSET_SS_READ, the one mode that only asks (what is left of an adjtime(3), which is nothing).
const READ_REST: u32 = 0xa001;
/// STA_UNSYNC, and TIME_ERROR that goes with it.
const UNSYNCHRONIZED: u64 = 0x40;
const TIME_ERROR: usize = 5;
/// Microseconds that a clock may be wrong that nobody has set right.
const UNKNOWN_ERROR: u64 = 16_000_000;
/// Parts per million that a clock may be slow or fast, in units of 2^-16.
const TOLERATED: u64 = 500 << 16;
/// The time constant of a phase-locked loop that has not been used.
const UNUSED_CONSTANT: u64 = 2;

/// EPERM, EOPNOTSUPP for who asks for more than to be told.
fn tell(current: &Current, out: UserPtr<Timex>) -> Result<usize> {
    let mut timex = out.read()?;
    let modes = timex[MODES] as u32;
    if modes != 0 && modes != READ_REST {
        let allowed = current.cred.has(Capability::SysTime);
        return Err(if allowed { Errno::EOPNOTSUPP } else { Errno::EPERM }.into());
    }
    let now = Timespec::from_nanos(kernel::time::realtime());
    timex[OFFSET..].fill(0);
    for (field, value) in [
        (FREQUENCY, 0),
        (MAX_ERROR, UNKNOWN_ERROR),
        (ESTIMATED_ERROR, UNKNOWN_ERROR),
        (STATUS, UNSYNCHRONIZED),
        (CONSTANT, UNUSED_CONSTANT),
        (PRECISION, 1),
        (TOLERANCE, TOLERATED),
        (SECONDS, now.sec as u64),
        (MICROSECONDS, now.nsec as u64 / 1000),
        // Microseconds in a hundredth of a second.
        (TICK, 10_000),
    ] {
        timex[field] = value;
    }
    out.write(&timex)?;
    Ok(TIME_ERROR)
}

/// adjtimex(2).
fn adjtimex(current: &mut Current, args: &Args) -> Result<usize> {
    tell(current, args.ptr(0))
}

/// clock_adjtime(2). EINVAL for a clock that does not exist, EOPNOTSUPP for one that is not kept in step.
fn clock_adjtime(current: &mut Current, args: &Args) -> Result<usize> {
    if args.uint(0) != raw::CLOCK_REALTIME {
        read_clock(current, args.int(0))?;
        return Err(Errno::EOPNOTSUPP.into());
    }
    tell(current, args.ptr(1))
}
