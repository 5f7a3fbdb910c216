//! The point of no return: the other threads end, the old program's things go, the new one's come.

use super::Request;
use super::image::Image;
use super::stack::Entry;
use crate::current::{AltStack, Current};
use crate::thread::{Conditions, Name};
use crate::{exit, reparent, tree};
use alloc::sync::Arc;
use arch::user::Context;
use base::{Credentials, Error, Restart, Result};
use vfs::Executed;

/// Replaces the caller's program. Fails only if the process is being killed.
pub(super) async fn replace(
    current: &mut Current,
    request: Request,
    image: Image,
    entry: Entry,
    cred: Arc<Credentials>,
    executable: Executed,
) -> Result<()> {
    end_other_threads(current).await?;
    exit::release_memory(current).await;
    current.thread.set_owns_nothing(false);
    if Arc::strong_count(&current.files) > 2 {
        // Shared with another process: closing on exec is nobody else's business.
        let own = current.files.fork()?;
        current.set_files(own);
    }
    current.files.close_on_exec();
    if Arc::strong_count(&current.actions) > 3 {
        let own = current.actions.fork();
        current.set_actions(own);
    }
    current.actions.reset_handlers();
    current.thread.process.timers.clear();
    let old = current.set_space(image.space);
    exit::empty(&old, 1).await;
    drop(old);
    if let Some(vfork) = current.vfork.take() {
        vfork.complete();
    }
    current.set_cred(cred);
    current.alt_stack = AltStack::default();
    current.forget_rseq();
    current.trampoline = image.trampoline;
    current.fpu.reset();
    current.cx = Context::new(entry.pc, entry.sp);
    current.resume = None;
    let process = current.thread.process.clone();
    let before = {
        let mut shared = process.shared.lock();
        (shared.strings, shared.auxv) = ((entry.args, entry.env), entry.auxv);
        shared.executable.replace(Arc::new(executable))
    };
    drop(before);
    current.thread.view.lock().name = name_of(&request.name);
    let tree = tree::lock();
    process.links(&tree).did_exec = true;
    reparent::adopt_all(&tree, &process);
    drop(tree);
    Ok(())
}

/// The last component of a path, cut to what a name holds.
fn name_of(path: &[u8]) -> Name {
    let base = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let mut name = [0; 16];
    let len = base.len().min(15);
    name[..len].copy_from_slice(&base[..len]);
    name
}

/// Ends all other threads of the process and becomes its leader. Gives up if the process is being killed, or if another
/// thread was first.
async fn end_other_threads(current: &mut Current) -> Result<()> {
    let thread = current.thread.clone();
    let process = thread.process.clone();
    {
        let mut shared = process.shared.lock();
        if shared.group_exit.is_some() || shared.exec.is_some() {
            return Err(Error::Interrupted(Restart::Always));
        }
        shared.exec = Some(thread.id());
        for other in shared.threads.values().filter(|other| !Arc::ptr_eq(other, &thread)) {
            other.interrupt(Conditions::EXEC);
        }
    }
    let alone =
        process.threads_changed.wait_until(executor::ALL, || (process.shared.lock().threads.len() == 1).then_some(()));
    let ended = thread.killable(alone).await;
    let mut shared = process.shared.lock();
    shared.exec = None;
    ended?;
    shared.staying = 1;
    if !thread.is_leader() {
        // The leader has exited but was not released: its number is taken over.
        shared.threads.remove(&thread.id());
        let own = thread.set_pid(process.pid().clone());
        shared.threads.insert(thread.id(), thread.clone());
        drop(shared);
        process.pid().set_thread(&thread);
        own.release();
    }
    Ok(())
}
