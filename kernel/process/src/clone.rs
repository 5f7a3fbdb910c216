//! Creation (fork(2), vfork(2), clone(2), clone3(2)): one record, one table of rules, one path.
//!
//! The child is built in stages. Each stage owns what it made, so a failure drops it all; nothing is visible to others
//! before [`link`], and nothing can fail after it.
#![allow(missing_docs, reason = "clone(2) documents the flags")]

use crate::current::Current;
use crate::limits::{Limits, Resource};
use crate::pidfd::PidFd;
use crate::process::Process;
use crate::signal::stop::StopState;
use crate::signal::{Actions, Signal};
use crate::thread::{Conditions, Thread, View};
use crate::tree::{self, Group, Session, Tree};
use crate::users;
use crate::{Pid, fault, oom};
use alloc::sync::Arc;
use arch::addr::VirtAddr;
use base::{Capability, Errno, Error, Restart, Result};
use bitflags::bitflags;
use executor::{Completion, Task};
use linux_raw_sys::general as raw;
use memory::Space;
use memory::space::Layout;
use memory::user::UserPtr;
use vfs::FsContext;

bitflags! {
    /// `CLONE_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        const VM = raw::CLONE_VM as u64;
        const FS = raw::CLONE_FS as u64;
        const FILES = raw::CLONE_FILES as u64;
        const SIGHAND = raw::CLONE_SIGHAND as u64;
        const PIDFD = raw::CLONE_PIDFD as u64;
        const PTRACE = raw::CLONE_PTRACE as u64;
        const VFORK = raw::CLONE_VFORK as u64;
        const PARENT = raw::CLONE_PARENT as u64;
        const THREAD = raw::CLONE_THREAD as u64;
        const NEWNS = raw::CLONE_NEWNS as u64;
        const SYSVSEM = raw::CLONE_SYSVSEM as u64;
        const SETTLS = raw::CLONE_SETTLS as u64;
        const PARENT_SETTID = raw::CLONE_PARENT_SETTID as u64;
        const CHILD_CLEARTID = raw::CLONE_CHILD_CLEARTID as u64;
        const DETACHED = raw::CLONE_DETACHED as u64;
        const UNTRACED = raw::CLONE_UNTRACED as u64;
        const CHILD_SETTID = raw::CLONE_CHILD_SETTID as u64;
        const NEWCGROUP = raw::CLONE_NEWCGROUP as u64;
        const NEWUTS = raw::CLONE_NEWUTS as u64;
        const NEWIPC = raw::CLONE_NEWIPC as u64;
        const NEWUSER = raw::CLONE_NEWUSER as u64;
        const NEWPID = raw::CLONE_NEWPID as u64;
        const NEWNET = raw::CLONE_NEWNET as u64;
        const IO = raw::CLONE_IO as u64;
        const NEWTIME = raw::CLONE_NEWTIME as u64;
        const CLEAR_SIGHAND = 1 << 32;
        const INTO_CGROUP = 1 << 33;

        /// What asks for a new namespace. There is none to be had: EINVAL.
        const NEW_ANY = Self::NEWNS.bits() | Self::NEWCGROUP.bits() | Self::NEWUTS.bits() | Self::NEWIPC.bits()
            | Self::NEWUSER.bits() | Self::NEWPID.bits() | Self::NEWNET.bits() | Self::NEWTIME.bits();
    }
}

/// What the caller of any of the four calls asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What is shared and what is done.
    pub flags: Flags,
    /// The signal that the parent gets at the child's exit; 0 for none.
    pub exit_signal: u8,
    /// The child's stack pointer; 0 for the parent's.
    pub stack: usize,
    /// The child's thread pointer, with SETTLS.
    pub tls: usize,
    /// Where the parent finds the child's id, with PARENT_SETTID.
    pub parent_tid: VirtAddr,
    /// Where the child finds its id, with CHILD_SETTID, and what is zeroed at its end, with CHILD_CLEARTID.
    pub child_tid: VirtAddr,
    /// Where the parent finds the pidfd, with PIDFD.
    pub pidfd: VirtAddr,
    /// The child's number, if the caller chooses it (clone3(2) set_tid).
    pub number: Option<i32>,
}

/// The combinations that are EINVAL: the first set may not come with the second (and, for the last field true, may not
/// come without it).
const RULES: &[(Flags, Flags, bool)] = &[
    (Flags::NEWNS, Flags::FS, false),
    (Flags::NEWUSER, Flags::FS, false),
    (Flags::THREAD, Flags::SIGHAND, true),
    (Flags::SIGHAND, Flags::VM, true),
    (Flags::SIGHAND, Flags::CLEAR_SIGHAND, false),
    (Flags::THREAD, Flags::NEWUSER, false),
    (Flags::THREAD, Flags::NEWPID, false),
    (Flags::PIDFD, Flags::DETACHED, false),
    (Flags::NEWIPC, Flags::SYSVSEM, false),
];

impl Request {
    /// Whether the flags go together, in the order that clone(2) checks them.
    fn check(&self, parent: &Process) -> Result<(), Errno> {
        for &(flag, other, needed) in RULES {
            if self.flags.contains(flag) && self.flags.contains(other) != needed {
                return Err(Errno::EINVAL);
            }
        }
        if self.flags.contains(Flags::PARENT) && parent.is_init() {
            return Err(Errno::EINVAL);
        }
        // Namespaces and cgroups: not here.
        if self.flags.intersects(Flags::NEW_ANY | Flags::INTO_CGROUP) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// Starts a thread. With a completion, its program runs only when that has fired.
pub type Spawn = fn(Current, executor::SchedParams, Option<Arc<Completion>>) -> Task;

/// Makes a child as `request` says and starts it with `spawn`. Returns its id as the parent
/// sees it. Waits for memory to be copied and, with VFORK, until the child lets go of the
/// parent's memory.
///
/// Errors: EINVAL, EAGAIN (limits), ENOMEM; a pending signal restarts the call.
pub async fn clone(parent: &mut Current, request: Request, spawn: Spawn) -> Result<u32> {
    request.check(&parent.thread.process)?;
    refuse_if_disturbed(&parent.thread)?;
    let charge = users::charge(&parent.cred, parent.thread.limit(Resource::Nproc))?;
    while memory::admit(8 * 1024).is_err() {
        if !oom::await_dying(&parent.thread).await? {
            return Err(Errno::ENOMEM.into());
        }
    }
    let flags = request.flags;
    let space = if flags.contains(Flags::VM) { parent.space.clone() } else { parent.space.fork().await? };
    let pidfd = if flags.contains(Flags::PIDFD) { Some(give_pidfd(parent, &request).await?) } else { None };
    let vfork = flags.contains(Flags::VFORK).then(|| Arc::new(Completion::new()));
    let born = give_birth(parent, &request, Means { charge, space, pidfd, vfork: vfork.clone(), spawn });
    if let (Err(_), Some(pidfd)) = (&born, pidfd) {
        parent.files.release(pidfd);
    }
    let (id, unseen) = born?;
    if let Some(shown) = unseen {
        // A bad pointer is ignored; one that is merely absent is not bad.
        let _ = store(parent, request.parent_tid, id).await;
        shown.complete();
    }
    if let Some(done) = vfork {
        parent.thread.killable(done.wait()).await?;
    }
    Ok(id)
}

/// What a child is given that had to be waited for.
struct Means {
    charge: users::Charge,
    space: Arc<Space>,
    /// The descriptor that is to be of the child.
    pidfd: Option<u32>,
    /// Fires when the child lets go of the parent's memory.
    vfork: Option<Arc<Completion>>,
    spawn: Spawn,
}

/// Makes the child, known and running; gives its id. Does not wait, so that what it is made of is moved once, to where it stays.
/// Past [`link`] nothing fails. Whoever looks for the child's task meanwhile, to wake it or to change how it is scheduled, waits until
/// it is there. If the parent's memory is not there to store the child's number, the parent has to do that and to fire what
/// this returns: the child waits for it.
fn give_birth(parent: &mut Current, request: &Request, means: Means) -> Result<(u32, Option<Arc<Completion>>)> {
    let flags = request.flags;
    let Means { charge, space, pidfd, vfork, spawn } = means;
    let files = if flags.contains(Flags::FILES) { parent.files.clone() } else { parent.files.fork()? };
    let fs = if flags.contains(Flags::FS) { parent.fs.clone() } else { Arc::new(parent.fs.fork()) };
    let actions = child_actions(parent, flags);
    let fpu = parent.fpu.fork().map_err(|_| Errno::ENOMEM)?;
    let pid = match request.number {
        None => Pid::allocate()?,
        Some(number) => choose_pid(parent, number)?,
    };
    let process = (!flags.contains(Flags::THREAD)).then(|| new_process(parent, &pid, &actions));
    let owner = process.as_ref().unwrap_or(&parent.thread.process).clone();
    let undo = flags.contains(Flags::SYSVSEM).then(|| parent.undo_list().clone());
    let view = View {
        name: parent.thread.name(),
        cred: parent.cred.clone(),
        space: Some(space.clone()),
        files: Some(files.clone()),
        fs: Some(fs.clone()),
        actions: actions.clone(),
        task: None,
        pid,
        parent_death_signal: None,
        robust_list: VirtAddr(0),
        undo: undo.as_ref().map_or(0, |list| list.name()),
        charge: Some(charge),
    };
    let thread = Thread::new(owner, parent.thread.mask(), view);
    if !flags.contains(Flags::VM) {
        thread.watch_same_cpu(&parent.thread);
    }
    let params = parent.thread.child_params();
    let tree = link(parent, request, &thread, process.as_ref())?;
    if let Some(pidfd) = pidfd {
        parent.files.fill(pidfd, PidFd::describe(&thread));
    }
    let id = thread.id();
    let record = thread.clone();
    let mut view = record.view.lock();
    view.pid.set_thread(&record);
    let is_absent = || UserPtr::<u32>::new(request.parent_tid).write(&id).is_err();
    let unseen = request.flags.contains(Flags::PARENT_SETTID) && is_absent();
    let unseen = unseen.then(|| Arc::new(Completion::new()));
    let keeps_stack = !flags.contains(Flags::VM) || flags.contains(Flags::VFORK);
    let mut child = Current {
        thread,
        cx: parent.cx.clone(),
        fpu,
        space,
        files,
        fs,
        cred: parent.cred.clone(),
        actions,
        clear_child_tid: if flags.contains(Flags::CHILD_CLEARTID) { request.child_tid } else { VirtAddr(0) },
        set_child_tid: if flags.contains(Flags::CHILD_SETTID) { request.child_tid } else { VirtAddr(0) },
        alt_stack: if keeps_stack { parent.alt_stack } else { Default::default() },
        saved_mask: None,
        resume: None,
        transferred: 0,
        carried: None,
        futex: None,
        parked: None,
        exiting: None,
        timer_slack: (parent.timer_slack.0, parent.timer_slack.0),
        trampoline: parent.trampoline,
        rseq: parent.rseq.filter(|_| !flags.contains(Flags::VM)),
        undo,
        vfork,
    };
    child.cx.set_syscall_result(0);
    if request.stack != 0 {
        child.cx.set_sp(request.stack);
    }
    if flags.contains(Flags::SETTLS) {
        child.cx.set_tls(request.tls);
    }
    view.task = Some(spawn(child, params, unseen.clone()));
    drop((view, tree));
    Ok((id, unseen))
}

/// A signal that waits already is taken first: the call is then restarted, and the program never sees EINTR.
fn refuse_if_disturbed(thread: &Thread) -> Result<()> {
    if thread.has(Conditions::INTERRUPT) { Err(Error::Interrupted(Restart::Always)) } else { Ok(()) }
}

/// Takes a descriptor for the child and shows it to the parent, before there is anything in it. EMFILE, EFAULT.
async fn give_pidfd(parent: &Current, request: &Request) -> Result<u32> {
    let pidfd = parent.files.reserve(parent.thread.limit(Resource::Nofile), true)?;
    store(parent, request.pidfd, pidfd).await.inspect_err(|_| parent.files.release(pidfd))?;
    Ok(pidfd)
}

/// Stores a word in the program's memory, resolving faults.
async fn store(current: &Current, addr: VirtAddr, value: u32) -> Result<()> {
    while let Err(page) = UserPtr::<u32>::new(addr).write(&value) {
        fault::resolve(current, page).await?;
    }
    Ok(())
}

/// A number of the caller's choice. EINVAL for what is none, EPERM without privilege, EEXIST if it is taken.
fn choose_pid(parent: &Current, number: i32) -> Result<Arc<Pid>, Errno> {
    let number = u32::try_from(number).ok().filter(|number| (1..crate::pid::limit()).contains(number));
    let number = number.ok_or(Errno::EINVAL)?;
    if !parent.cred.has(Capability::CheckpointRestore) && !parent.cred.has(Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    Pid::take(number)
}

fn child_actions(parent: &Current, flags: Flags) -> Arc<Actions> {
    if flags.contains(Flags::SIGHAND) {
        return parent.actions.clone();
    }
    let actions = parent.actions.fork();
    if flags.contains(Flags::CLEAR_SIGHAND) {
        actions.reset_handlers();
    }
    actions
}

/// The child's process, not linked to anything yet: that is for [`link`].
fn new_process(parent: &Current, pid: &Arc<Pid>, actions: &Arc<Actions>) -> Arc<Process> {
    let creator = &parent.thread.process;
    let group = creator.links(&tree::lock()).group.clone();
    let process = Process::new(pid.clone(), group, actions.clone(), creator.limits.fork());
    process.set_uid(parent.cred.uid);
    let (executable, strings, auxv) = {
        let shared = creator.shared.lock();
        (shared.executable.clone(), shared.strings, shared.auxv)
    };
    let mut shared = process.shared.lock();
    (shared.executable, shared.strings, shared.auxv) = (executable, strings, auxv);
    drop(shared);
    process.set_core_filter(creator.core_filter());
    process.oom.inherit(&creator.oom);
    process
}

/// Makes the child known. Past this point nothing fails. A signal sent to a group is delivered under the tree
/// lock, so it reaches either the parent before this point, which restarts the call, or the child as well. Returns the held
/// tree.
fn link(parent: &Current, request: &Request, thread: &Arc<Thread>, process: Option<&Arc<Process>>) -> Result<Tree> {
    let mut tree = tree::lock();
    let mut shared = parent.thread.process.shared.lock();
    shared.refuse_if_dying()?;
    refuse_if_disturbed(&parent.thread)?;
    match process {
        None => {
            shared.add(thread);
            // Born during a group stop: it stops with the others.
            match &mut shared.stop {
                StopState::Running => {}
                StopState::Stopping { running, .. } => {
                    *running += 1;
                    thread.set(Conditions::STOP);
                }
                StopState::Stopped { .. } => thread.set(Conditions::STOP),
            }
            drop(shared);
        }
        Some(process) => {
            drop(shared);
            process.shared.lock().add(thread);
            let creator = &parent.thread.process;
            let (group, detached, adopter) = {
                let links = creator.links(&tree);
                (
                    links.group.clone(),
                    links.detached,
                    links.parent.clone().map(|father| (father, links.parent_thread, links.exit_signal)),
                )
            };
            let (father, thread, exit_signal) = match adopter {
                Some(adopter) if request.flags.contains(Flags::PARENT) => adopter,
                _ => (creator.clone(), parent.thread.id(), Signal::new(request.exit_signal.into())),
            };
            {
                let mut links = process.links(&tree);
                (links.group, links.detached, links.exit_signal) = (group.clone(), detached, exit_signal);
            }
            tree::join_group(&mut tree, process, &group);
            father.adopt(&tree, process, thread);
            tree.processes += 1;
            process.pid().set_process(process);
        }
    }
    Ok(tree)
}

/// Whether `cred` may have more threads than its limit (RLIMIT_NPROC).
pub(crate) fn may_exceed_nproc(cred: &base::Credentials) -> bool {
    cred.uid == 0 || cred.has(Capability::SysResource) || cred.has(Capability::SysAdmin)
}

/// The first process: no parent, a session and a group of its own, every privilege, no memory yet. It executes its
/// program as its first act.
pub fn first(fs: Arc<FsContext>) -> Result<Current> {
    let pid = Pid::allocate()?;
    let session = Session::new(pid.clone());
    let group = Group::new(pid.clone(), session);
    let actions = Actions::new();
    let cred = Arc::new(base::Credentials::root());
    let process = Process::new(pid.clone(), group.clone(), actions.clone(), Limits::initial(users::threads_max()));
    pid.set_process(&process);
    // An empty space stands in until the program's own.
    let top = arch::addr::PAGE_SIZE;
    let space = Space::new(Layout::new(VirtAddr(top), 8 << 20, 0, 0)).map_err(|_| Errno::ENOMEM)?;
    let files = Arc::new(vfs::FdTable::new());
    let view = View {
        name: *b"init\0\0\0\0\0\0\0\0\0\0\0\0",
        cred: cred.clone(),
        space: Some(space.clone()),
        files: Some(files.clone()),
        fs: Some(fs.clone()),
        actions: actions.clone(),
        task: None,
        pid: pid.clone(),
        parent_death_signal: None,
        robust_list: VirtAddr(0),
        undo: 0,
        charge: Some(users::charge(&cred, u64::MAX)?),
    };
    let thread = Thread::new(process.clone(), crate::SignalSet::EMPTY, view);
    pid.set_thread(&thread);
    process.shared.lock().add(&thread);
    let mut tree = tree::lock();
    tree::join_group(&mut tree, &process, &group);
    tree.processes += 1;
    drop(tree);
    Ok(Current {
        thread,
        cx: arch::user::Context::new(0, 0),
        fpu: arch::user::Fpu::new(),
        space,
        files,
        fs,
        cred,
        actions,
        clear_child_tid: VirtAddr(0),
        set_child_tid: VirtAddr(0),
        alt_stack: Default::default(),
        saved_mask: None,
        resume: None,
        trampoline: VirtAddr(0),
        rseq: None,
        undo: None,
        exiting: None,
        timer_slack: (50_000, 50_000),
        vfork: None,
        transferred: 0,
        carried: None,
        futex: None,
        parked: None,
    })
}
