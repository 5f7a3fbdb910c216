//! rseq(2).

use crate::args::Args;
use crate::table::{Calls, fast};
use base::{Errno, Result};
use linux_raw_sys::general as nr;
use memory::user::check_range;
use process::Current;
use process::rseq::{FEATURES, Rseq, SIZE};

/// The family.
pub const CALLS: Calls = &[(nr::__NR_rseq, fast!(rseq))];

/// RSEQ_FLAG_UNREGISTER.
const UNREGISTER: u32 = 1;

/// rseq(2). EINVAL, EBUSY for who is registered, EPERM for another signature, EFAULT.
fn rseq(current: &mut Current, args: &Args) -> Result<usize> {
    let (addr, len, flags, signature) = (args.addr(0), args.uint(1), args.uint(2), args.uint(3));
    let wanted = Rseq { addr, len, signature };
    if flags & !UNREGISTER != 0 {
        return Err(Errno::EINVAL.into());
    }
    let same = current.rseq.map(|known| known.addr == addr && known.len == len);
    match same {
        None if flags & UNREGISTER != 0 => return Err(Errno::EINVAL.into()),
        Some(false) => return Err(Errno::EINVAL.into()),
        Some(true) if current.rseq != Some(wanted) => return Err(Errno::EPERM.into()),
        Some(true) if flags & UNREGISTER == 0 => return Err(Errno::EBUSY.into()),
        Some(true) => current.unregister_rseq()?,
        None => {
            if !addr.0.is_multiple_of(SIZE as usize) || len < FEATURES || len < SIZE {
                return Err(Errno::EINVAL.into());
            }
            check_range(addr, len as usize)?;
            current.register_rseq(wanted)?;
        }
    }
    Ok(0)
}
