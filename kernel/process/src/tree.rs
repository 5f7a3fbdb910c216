//! Who is whose child, process groups and sessions, who is a zombie (credentials(7), setpgid(2), setsid(2)).
//!
//! One lock guards all of it. It is held for short lookups and relinkings only; what it guards of each
//! process lies in that process ([`Links`]) and is reached with a reference to the held lock.

use crate::pid::{self, Pid};
use crate::process::Process;
use crate::signal::Signal;
use crate::times::Usage;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use base::{Errno, Few, rank};
use core::iter;
use executor::spin::{SpinGuard, SpinLock};

/// What the tree lock guards beside every process's [`Links`].
#[derive(Default)]
pub struct State {
    groups: BTreeMap<u32, Arc<Group>>,
    /// Processes that exist, zombies included.
    pub processes: usize,
}

/// The held tree lock.
pub type Tree = SpinGuard<'static, State>;

static TREE: SpinLock<State> = SpinLock::new(rank::TREE, State { groups: BTreeMap::new(), processes: 0 });

/// Takes the tree lock.
pub fn lock() -> Tree {
    TREE.lock()
}

/// A process's place in the tree.
pub struct Links {
    /// Who is told of its exit. Only the first process has none.
    pub parent: Option<Arc<Process>>,
    /// The thread of the parent that made it or adopted it (__WNOTHREAD, parent-death signals).
    pub parent_thread: u32,
    /// Its children, zombies included, by the thread that each belongs to and its process id.
    pub children: Few<(u32, u32), Arc<Process>>,
    /// Its process group.
    pub group: Arc<Group>,
    /// The signal that its parent gets at its exit; `None` for no signal.
    pub exit_signal: Option<Signal>,
    /// Set when it has exited and is not reaped.
    pub zombie: Option<Zombie>,
    /// Orphans among its descendants become its children (PR_SET_CHILD_SUBREAPER).
    pub subreaper: bool,
    /// It has executed a program since it was forked.
    pub did_exec: bool,
    /// It has given up its session's controlling terminal for itself (TIOCNOTTY).
    pub detached: bool,
}

impl Links {
    /// The place of a process in `group` that nobody has made, and that has made none.
    #[inline]
    pub(crate) fn new(group: Arc<Group>) -> Links {
        Links {
            parent: None,
            parent_thread: 0,
            children: Few::new(),
            group,
            exit_signal: None,
            zombie: None,
            subreaper: false,
            did_exec: false,
            detached: false,
        }
    }
}

/// What is left of a process between exit and wait.
#[derive(Clone, Copy, Debug)]
pub struct Zombie {
    /// The wait status.
    pub status: i32,
    /// What it and its reaped children used.
    pub usage: Usage,
}

/// A process group.
pub struct Group {
    /// Its id.
    pub pid: Arc<Pid>,
    /// Its session.
    pub session: Arc<Session>,
    members: SpinLock<BTreeMap<u32, Weak<Process>>>,
}

/// A session. Its controlling terminal is the terminal layer's to know, by the session's id.
pub struct Session {
    /// Its id: that of the process that made it.
    pub pid: Arc<Pid>,
}

impl Session {
    /// A session led by the process of this id.
    pub(crate) fn new(pid: Arc<Pid>) -> Arc<Session> {
        Arc::new(Session { pid })
    }
}

impl Group {
    /// A group without members.
    pub(crate) fn new(pid: Arc<Pid>, session: Arc<Session>) -> Arc<Group> {
        Arc::new(Group { pid, session, members: SpinLock::new(rank::GROUP, BTreeMap::new()) })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.pid.number()
    }

    /// Its session's id.
    pub fn session_id(&self) -> u32 {
        self.session.pid.number()
    }

    /// Its members, zombies included. What is done to one of them may change who the others are.
    pub fn members<'a>(&'a self, _tree: &'a Tree) -> impl Iterator<Item = Arc<Process>> + use<'a> {
        let mut from = 0;
        iter::from_fn(move || {
            let members = self.members.lock();
            let (id, member) = members.range(from..).find_map(|(id, member)| Some((*id, member.upgrade()?)))?;
            from = id + 1;
            Some(member)
        })
    }
}

impl Process {
    /// Its children, zombies included: all, or those of one of its threads. What is done to one of them may change who
    /// the others are.
    pub fn children<'a>(&'a self, tree: &'a Tree, thread: Option<u32>) -> impl Iterator<Item = Arc<Process>> + use<'a> {
        let last = thread.unwrap_or(u32::MAX);
        let mut from = (thread.unwrap_or(0), 0);
        iter::from_fn(move || {
            let links = self.links(tree);
            let (&(thread, id), child) = links.children.first_in(from..=(last, u32::MAX))?;
            from = (thread, id + 1);
            Some(child.clone())
        })
    }

    /// Makes `child`, which is nobody's, a child of this process and of its thread `thread`.
    pub(crate) fn adopt(self: &Arc<Process>, tree: &Tree, child: &Arc<Process>, thread: u32) {
        {
            let mut links = child.links(tree);
            links.parent = Some(self.clone());
            links.parent_thread = thread;
        }
        self.links(tree).children.insert((thread, child.id()), child.clone());
    }

    /// Takes the process from its parent. Returns that.
    pub(crate) fn abandon(&self, tree: &Tree) -> Option<Arc<Process>> {
        let (parent, thread) = {
            let mut links = self.links(tree);
            (links.parent.take()?, links.parent_thread)
        };
        parent.links(tree).children.remove(&(thread, self.id()));
        Some(parent)
    }
}

/// The group with this id.
pub fn find_group(tree: &Tree, group: u32) -> Option<Arc<Group>> {
    tree.groups.get(&group).cloned()
}

/// Makes the process a member of `group`, which becomes known by it.
pub(crate) fn join_group(tree: &mut Tree, process: &Arc<Process>, group: &Arc<Group>) {
    let mut members = group.members.lock();
    let first = members.is_empty();
    members.insert(process.id(), Arc::downgrade(process));
    drop(members);
    if first {
        tree.groups.insert(group.id(), group.clone());
    }
}

/// Takes the process out of its group. A group without members is forgotten.
pub(crate) fn leave_group(tree: &mut Tree, process: &Arc<Process>) {
    let group = process.links(tree).group.clone();
    let mut members = group.members.lock();
    members.remove(&process.id());
    let empty = members.is_empty();
    drop(members);
    if empty {
        tree.groups.remove(&group.id());
    }
}

/// setpgid(2) on behalf of `caller`. ESRCH, EACCES, EPERM, EINVAL as the man page has them.
pub fn set_group(caller: &Arc<Process>, target: u32, group: u32) -> Result<(), Errno> {
    let mut tree = lock();
    let target = if target == 0 || target == caller.id() {
        caller.clone()
    } else {
        let missing = || if pid::find_thread(target).is_some() { Errno::EINVAL } else { Errno::ESRCH };
        pid::find_process(target).ok_or_else(missing)?
    };
    let group = if group == 0 { target.id() } else { group };
    if !Arc::ptr_eq(&target, caller) {
        let is_child = target.parent(&tree).is_some_and(|parent| Arc::ptr_eq(&parent, caller));
        if !is_child {
            return Err(Errno::ESRCH);
        }
        if session_of(&tree, &target) != session_of(&tree, caller) {
            return Err(Errno::EPERM);
        }
        if target.links(&tree).did_exec {
            return Err(Errno::EACCES);
        }
    }
    let old = target.links(&tree).group.clone();
    if old.session_id() == target.id() {
        return Err(Errno::EPERM);
    }
    if old.id() == group {
        return Ok(());
    }
    let new = match find_group(&tree, group) {
        Some(found) if found.session_id() == old.session_id() => found,
        Some(_) => return Err(Errno::EPERM),
        None if group == target.id() => Group::new(target.pid().clone(), old.session.clone()),
        None => return Err(Errno::EPERM),
    };
    let parent = target.parent(&tree);
    leave_group(&mut tree, &target);
    join_group(&mut tree, &target, &new);
    target.links(&tree).group = new;
    // Waits that name a group look again.
    if let Some(parent) = parent {
        parent.children_changed.notify_all(executor::ALL);
    }
    Ok(())
}

/// setsid(2): EPERM for a group leader.
pub fn new_session(process: &Arc<Process>) -> Result<u32, Errno> {
    let mut tree = lock();
    if find_group(&tree, process.id()).is_some() {
        return Err(Errno::EPERM);
    }
    let parent = process.parent(&tree);
    leave_group(&mut tree, process);
    let group = Group::new(process.pid().clone(), Session::new(process.pid().clone()));
    join_group(&mut tree, process, &group);
    {
        let mut links = process.links(&tree);
        links.group = group;
        links.detached = false;
    }
    if let Some(parent) = parent {
        parent.children_changed.notify_all(executor::ALL);
    }
    Ok(process.id())
}

/// The id of the process's session.
pub fn session_of(tree: &Tree, process: &Process) -> u32 {
    process.links(tree).group.session_id()
}

/// The id of the process's group.
pub fn group_of(tree: &Tree, process: &Process) -> u32 {
    process.links(tree).group.id()
}

/// Whether nobody outside the group but in its session could continue it: no member has a parent in another group of the
/// same session. `leaving` is left out of account (it is about to exit).
pub fn is_orphaned(tree: &Tree, group: &Group, leaving: Option<&Process>) -> bool {
    !group.members(tree).any(|member| {
        if leaving.is_some_and(|leaving| leaving.id() == member.id()) {
            return false;
        }
        let links = member.links(tree);
        if links.zombie.is_some() {
            return false;
        }
        let Some(parent) = links.parent.clone() else { return false };
        drop(links);
        let theirs = parent.links(tree).group.clone();
        !parent.is_init() && theirs.id() != group.id() && theirs.session_id() == group.session_id()
    })
}

/// Whether the process's own group is orphaned.
pub fn is_orphaned_group_of(tree: &Tree, process: &Process) -> bool {
    let group = process.links(tree).group.clone();
    is_orphaned(tree, &group, None)
}
