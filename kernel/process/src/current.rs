//! The running thread's own side: registers and what nobody else changes. It lives inside the
//! thread's future and is handed by reference to everything the thread does.

use crate::futex::Ticket;
use crate::rseq::Rseq;
use crate::signal::{Actions, SignalSet};
use crate::thread::{Conditions, Thread};
use alloc::boxed::Box;
use alloc::sync::Arc;
use arch::addr::VirtAddr;
use arch::user::{Context, Fpu};
use base::{Credentials, Events, Restart};
use core::any::Any;
use core::future::Future;
use core::pin::Pin;
use core::task::Poll;
use executor::Completion;
use ipc::sem::UndoList;
use memory::Space;
use memory::space::Marks;
use pin_project_lite::pin_project;
use vfs::{Caller, Description, FdTable, FsContext, OpenFlags};

/// The alternate signal stack (sigaltstack(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AltStack {
    /// Its lowest address.
    pub base: usize,
    /// Bytes; 0 where there is none.
    pub size: usize,
    /// SS_AUTODISARM was given.
    pub autodisarm: bool,
}

impl AltStack {
    /// Whether a stack pointer lies on it. With SS_AUTODISARM it never counts as in use.
    pub fn contains(&self, sp: usize) -> bool {
        !self.autodisarm && sp > self.base && sp - self.base <= self.size
    }
}

/// What restart_syscall(2) goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// A relative sleep until `until` (nanoseconds of the monotonic clock); the remaining time goes to `remaining` if
    /// it is not null.
    Sleep {
        /// The end.
        until: u64,
        /// Where the remaining time goes.
        remaining: VirtAddr,
    },
    /// A poll(2) with a time limit.
    Poll {
        /// The descriptors.
        fds: VirtAddr,
        /// How many.
        count: u32,
        /// The end.
        until: u64,
    },
    /// A futex wait with a relative time-out.
    Futex {
        /// The word.
        addr: VirtAddr,
        /// The expected value.
        value: u32,
        /// The end.
        until: u64,
        /// The bits to be woken by.
        bitset: u32,
        /// FUTEX_PRIVATE_FLAG.
        private: bool,
    },
}

/// A call that waits for nothing but its file, and is made again, on that file, when it is ready.
pub struct Parked {
    /// The file, which another thread may have closed meanwhile.
    pub file: Arc<Description>,
    /// What it is to be ready for.
    pub events: Events,
    /// What becomes of the call if a signal comes first.
    pub restart: Restart,
}

/// A thread, seen from inside.
pub struct Current {
    /// Its record, which others see.
    pub thread: Arc<Thread>,
    /// The general registers.
    pub cx: Context,
    /// The vector registers.
    pub fpu: Fpu,
    /// The address space; the record's copy is for others.
    pub space: Arc<Space>,
    /// The descriptors.
    pub files: Arc<FdTable>,
    /// Root, working directory and umask.
    pub fs: Arc<FsContext>,
    /// The identity.
    pub cred: Arc<Credentials>,
    /// The signal actions.
    pub actions: Arc<Actions>,
    /// Zeroed, and its futex woken, when the thread lets go of its address space (set_tid_address(2)).
    pub clear_child_tid: VirtAddr,
    /// Written with the thread id before the program runs for the first time.
    pub set_child_tid: VirtAddr,
    /// The alternate signal stack.
    pub alt_stack: AltStack,
    /// The mask to go back to when no handler runs after sigsuspend, ppoll, pselect, epoll_pwait.
    pub saved_mask: Option<SignalSet>,
    /// What restart_syscall(2) would do, once a call was interrupted that goes on by it.
    pub resume: Option<Box<Resume>>,
    /// Bytes that the half of a call that does not wait has moved, for the half that goes on; 0 else.
    pub transferred: usize,
    /// What that half has taken and could not hand over, where a number of bytes does not tell it; `None` else.
    pub carried: Option<Box<dyn Any + Send + Sync>>,
    /// The futex that the half of a call that does not wait has queued the thread for; `None` between calls.
    pub futex: Option<Ticket>,
    /// What the half of a call that does not wait wants to wait for; `None` between calls.
    pub parked: Option<Parked>,
    /// What semaphores are to take back at its end; `None` until it shares a list or has something noted.
    pub undo: Option<Arc<UndoList>>,
    /// Where it has registered for restartable sequences (rseq(2)).
    pub rseq: Option<Rseq>,
    /// Where the sigreturn trampoline that the kernel supplies lies in the address space; null where there is none.
    pub trampoline: VirtAddr,
    /// Set when the thread has asked to exit: its wait status.
    pub exiting: Option<i32>,
    /// By how many nanoseconds its timers may be late, and what PR_SET_TIMERSLACK with 0 makes of that. (They never are by
    /// design, so nothing else looks at it.)
    pub timer_slack: (u64, u64),
    /// Fires when the thread lets go of its address space: its parent waits in vfork.
    pub vfork: Option<Arc<Completion>>,
}

impl Current {
    /// What files may know of this thread. The description's flags are the file call's to add.
    #[inline]
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            cred: &self.cred,
            flags: OpenFlags::empty(),
            thread: self.thread.id(),
            process: self.thread.process.id(),
        }
    }

    /// Replaces the identity, for the thread itself and for those who look.
    pub fn set_cred(&mut self, cred: Arc<Credentials>) {
        self.thread.process.set_uid(cred.uid);
        let mut view = self.thread.view.lock();
        if cred.uid != self.cred.uid
            && let Some(charge) = &mut view.charge
        {
            charge.move_to(cred.uid);
        }
        let ids = |cred: &Credentials| [cred.euid, cred.egid, cred.fsuid, cred.fsgid];
        let changed = ids(&cred) != ids(&self.cred) || cred.permitted & !self.cred.permitted != 0;
        if changed {
            // Who was allowed to look in, and whose death mattered, was another's to decide.
            view.parent_death_signal = None;
        }
        view.cred = cred.clone();
        drop(view);
        if changed {
            self.space.mark(Marks::DUMPABLE, false);
        }
        self.cred = cred;
    }

    /// Replaces the address space, which is active from now on. The old one is returned; it is still to be let go of.
    pub fn set_space(&mut self, space: Arc<Space>) -> Arc<Space> {
        drop(self.thread.set_space(Some(space.clone())));
        space.activate();
        ipc::acts(self.thread.process.id());
        core::mem::replace(&mut self.space, space)
    }

    /// The list of what semaphores are to take back, made if there is none.
    pub fn undo_list(&mut self) -> &Arc<UndoList> {
        let list = self.undo.get_or_insert_default();
        self.thread.view.lock().undo = list.name();
        list
    }

    /// No longer shares a list of what semaphores are to take back; the last to leave it has that done.
    pub fn leave_undo_list(&mut self) {
        if let Some(list) = self.undo.take() {
            self.thread.view.lock().undo = 0;
            UndoList::leave(list, self.thread.process.id());
        }
    }

    /// Replaces the descriptor table.
    pub fn set_files(&mut self, files: Arc<FdTable>) {
        self.thread.view.lock().files = Some(files.clone());
        self.files = files;
    }

    /// Replaces root, working directory and umask.
    pub fn set_fs(&mut self, fs: Arc<FsContext>) {
        self.thread.view.lock().fs = Some(fs.clone());
        self.fs = fs;
    }

    /// Replaces the signal actions.
    pub fn set_actions(&mut self, actions: Arc<Actions>) {
        self.thread.view.lock().actions = actions.clone();
        self.thread.process.shared.lock().actions = actions.clone();
        self.actions = actions;
    }
}

pin_project! {
    /// The one wrapper around every thread's future: before each poll this CPU sees the thread's address space, and
    /// after one that leaves it waiting the vector registers are in memory.
    pub struct Installed<F> {
        #[pin]
        life: F,
        thread: Arc<Thread>,
    }
}

impl<F: Future<Output = ()>> Installed<F> {
    /// Wraps `life`, the future of `thread`.
    pub fn new(thread: Arc<Thread>, life: F) -> Installed<F> {
        Installed { life, thread }
    }
}

impl<F: Future<Output = ()>> Future for Installed<F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut core::task::Context<'_>) -> Poll<()> {
        let this = self.project();
        this.thread.install();
        let poll = this.life.poll(cx);
        if poll.is_pending() {
            this.thread.times.count_switch();
            if arch::user::leave().is_err() {
                // Its registers are lost to the next thread: it cannot go on.
                this.thread.interrupt(Conditions::KILL);
            }
        }
        poll
    }
}
