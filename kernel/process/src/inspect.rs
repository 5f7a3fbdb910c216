//! Who may look into whom (ptrace(2), "Ptrace access mode checking"): into memory, descriptors, what /proc shows of them.

use crate::Thread;
use alloc::sync::Arc;
use base::{Capability, Credentials};
use memory::space::Marks;

/// Whether the ids of `ours` that count, as user and group, are all three of `theirs` and its privileges are no fewer, and the
/// target allows it (PR_SET_DUMPABLE); or CAP_SYS_PTRACE. That a process may inspect itself is the caller's to know.
fn permitted(ours: &Credentials, (uid, gid): (u32, u32), target: &Arc<Thread>) -> bool {
    if ours.has(Capability::SysPtrace) {
        return true;
    }
    let view = target.view.lock();
    let theirs = view.cred.clone();
    let dumpable = view.space.as_ref().is_none_or(|space| space.marks().contains(Marks::DUMPABLE));
    drop(view);
    dumpable
        && [theirs.uid, theirs.euid, theirs.suid].iter().all(|id| *id == uid)
        && [theirs.gid, theirs.egid, theirs.sgid].iter().all(|id| *id == gid)
        && theirs.permitted & !ours.permitted == 0
}

/// PTRACE_MODE_READ_FSCREDS: what is reached by a path in /proc.
pub fn may_read(ours: &Credentials, target: &Arc<Thread>) -> bool {
    permitted(ours, (ours.fsuid, ours.fsgid), target)
}

/// PTRACE_MODE_ATTACH_REALCREDS: what is reached by a system call.
pub fn may_attach(ours: &Credentials, target: &Arc<Thread>) -> bool {
    permitted(ours, (ours.uid, ours.gid), target)
}
