//! Robust futexes (set_robust_list(2)): locks that a thread held when it died are marked, and one
//! waiter of each is woken to find out.

use crate::current::Current;
use crate::futex;
use arch::addr::VirtAddr;
use base::{Error, Result};
use memory::user::UserPtr;

const FUTEX_WAITERS: u32 = linux_raw_sys::general::FUTEX_WAITERS;
const FUTEX_OWNER_DIED: u32 = linux_raw_sys::general::FUTEX_OWNER_DIED;
const FUTEX_TID_MASK: u32 = linux_raw_sys::general::FUTEX_TID_MASK;

/// Marks an entry whose lock is a priority-inheriting one.
const INHERITS: usize = 1;

/// A list may be corrupt or circular: no more entries than this are looked at.
const LIMIT: usize = 2048;

/// Walks the thread's list. Bad memory ends the walk.
pub(crate) async fn release_all(current: &mut Current) {
    let head = core::mem::take(&mut current.thread.view.lock().robust_list);
    if head != VirtAddr(0) {
        // Nobody is left to be told of an error.
        let _ = walk(current, head).await;
    }
}

async fn walk(current: &Current, head: VirtAddr) -> Result<()> {
    let mut entry = read_word(current, head).await?;
    let offset = read_word(current, VirtAddr(head.0.wrapping_add(8))).await? as isize;
    let pending = read_word(current, VirtAddr(head.0.wrapping_add(16))).await?;
    for _ in 0..LIMIT {
        let (node, inherits) = (entry & !INHERITS, entry & INHERITS != 0);
        if node == head.0 {
            break;
        }
        // Read before the lock is released: another thread may then free it.
        let next = read_word(current, VirtAddr(node)).await;
        if node != pending & !INHERITS {
            release(current, VirtAddr(node.wrapping_add_signed(offset)), false, inherits).await?;
        }
        entry = next?;
    }
    let (node, inherits) = (pending & !INHERITS, pending & INHERITS != 0);
    if node != 0 {
        release(current, VirtAddr(node.wrapping_add_signed(offset)), true, inherits).await?;
    }
    Ok(())
}

async fn read_word(current: &Current, addr: VirtAddr) -> Result<usize> {
    loop {
        match UserPtr::<usize>::new(addr).read() {
            Ok(word) => return Ok(word),
            Err(fault) => resolve(current, fault.into()).await?,
        }
    }
}

async fn resolve(current: &Current, error: Error) -> Result<()> {
    match error {
        Error::Fault(fault) => crate::fault::resolve(current, fault).await,
        other => Err(other),
    }
}

/// Marks one lock if this thread holds it. `pending`: the thread died while taking or releasing it, so a
/// waiter is woken in any case if the word is free. With `inherits` the waiters stand in line for the lock, which is given to
/// the first of them later ([`futex::pi`]).
async fn release(current: &Current, addr: VirtAddr, pending: bool, inherits: bool) -> Result<()> {
    if !addr.0.is_multiple_of(4) {
        return Ok(());
    }
    let word = UserPtr::<u32>::new(addr);
    loop {
        let old = match word.load() {
            Ok(old) => old,
            Err(error) => {
                resolve(current, error).await?;
                continue;
            }
        };
        if pending && old == 0 && !inherits {
            futex::wake(current, addr, false, 1, futex::ANY).await?;
            return Ok(());
        }
        if old & FUTEX_TID_MASK != current.thread.id() {
            return Ok(());
        }
        match word.compare_exchange(old, old & FUTEX_WAITERS | FUTEX_OWNER_DIED) {
            Ok(found) if found == old => {
                if old & FUTEX_WAITERS != 0 && !inherits {
                    futex::wake(current, addr, false, 1, futex::ANY).await?;
                }
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => resolve(current, error).await?,
        }
    }
}
