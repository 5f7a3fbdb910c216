//! The calls that x86_64 has from before the architectures agreed: older forms of what [`crate::table`] has.

use crate::creation::now;
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use crate::{identity, signals, system};
use linux_raw_sys::general as nr;

/// Numbers and what answers them.
pub const LEGACY: Calls = &[
    (nr::__NR_fork, slow(now, Slow::Fork)),
    (nr::__NR_vfork, slow(now, Slow::Vfork)),
    (nr::__NR_pause, slow(now, Slow::Pause)),
    (nr::__NR_getpgrp, fast(identity::getpgrp)),
    (nr::__NR_arch_prctl, fast(super::arch_prctl)),
    (nr::__NR_time, fast(system::time)),
    (nr::__NR_alarm, fast(signals::alarm)),
];
