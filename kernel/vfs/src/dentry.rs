//! Names: the tree of directory entries in use, from which `..`, getcwd(2) and /proc/PID/cwd are answered.
//!
//! A [`Dentry`] is one name in one directory. While anybody uses one, there is exactly one for that name, so
//! that a rename is seen by all who hold it. In a directory whose entries change only by this
//! module ([`Inode::cacheable`]) dentries stay as long as the name does; in others (procfs) they go
//! with their last user, and every lookup asks the directory again.
//!
//! A directory's `children` lock ([`crate::ranks::CHILDREN`]) is held across each change of the directory itself, so
//! cache and directory agree. No dentry is dropped under it.

use crate::file::Caller;
use crate::inode::{FileType, Inode, NewInode, RenameMode};
use crate::ranks;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use base::{Errno, Result};
use core::sync::atomic::{AtomicU32, Ordering};
use executor::spin::{SpinGuard, SpinLock};
use hashbrown::HashMap;

/// One name in one directory.
pub struct Dentry {
    inode: Arc<dyn Inode>,
    place: SpinLock<Place>,
    children: SpinLock<Children>,
    /// How many mounts lie on this dentry.
    pub(crate) mounted: AtomicU32,
}

struct Place {
    /// `None` for the root of a file system, and for what never had a name.
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
    deleted: bool,
}

#[derive(Default)]
struct Children {
    map: HashMap<Arc<[u8]>, Child>,
    /// The directory itself has been removed.
    dead: bool,
}

enum Child {
    /// In a cacheable directory.
    Kept(Arc<Dentry>),
    Seen(Weak<Dentry>),
}

impl Child {
    fn get(&self) -> Option<Arc<Dentry>> {
        match self {
            Child::Kept(dentry) => Some(dentry.clone()),
            Child::Seen(dentry) => dentry.upgrade(),
        }
    }
}

/// What [`Dentry::place`] tells: the directory, the name in it, and whether that name is gone.
pub struct NamedIn {
    /// The directory; `None` at the root of a file system.
    pub parent: Option<Arc<Dentry>>,
    /// The (last) name.
    pub name: Arc<[u8]>,
    /// Whether the name has been removed.
    pub deleted: bool,
}

/// Serialises renames between directories, so that "is below" stays true while one is made.
static RENAME: SpinLock<()> = SpinLock::new(ranks::RENAME, ());

impl Dentry {
    /// The root of a file system, or an object without a name in any directory, which shows as `name`.
    pub fn detached(inode: Arc<dyn Inode>, name: &[u8]) -> Arc<Dentry> {
        Dentry::new(inode, None, name.into())
    }

    fn new(inode: Arc<dyn Inode>, parent: Option<Arc<Dentry>>, name: Arc<[u8]>) -> Arc<Dentry> {
        Arc::new(Dentry {
            inode,
            place: SpinLock::new(ranks::PLACE, Place { parent, name, deleted: false }),
            children: SpinLock::new(ranks::CHILDREN, Children::default()),
            mounted: AtomicU32::new(0),
        })
    }

    /// The file.
    #[inline]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// Where the name is.
    pub fn place(&self) -> NamedIn {
        let place = self.place.lock();
        NamedIn { parent: place.parent.clone(), name: place.name.clone(), deleted: place.deleted }
    }

    /// The directory that this name is in; `None` at the root of a file system.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }

    /// Whether the name has been removed.
    pub fn is_deleted(&self) -> bool {
        self.place.lock().deleted
    }

    pub(crate) fn is_mountpoint(&self) -> bool {
        self.mounted.load(Ordering::Acquire) != 0
    }

    /// The entry `name`, never "." or "..". ENOENT, ENOTDIR.
    pub fn lookup(self: &Arc<Dentry>, caller: &Caller, name: &[u8]) -> Result<Arc<Dentry>> {
        if self.inode.cacheable() {
            let mut children = self.children.lock();
            if let Some(Child::Kept(found)) = children.map.get(name) {
                return Ok(found.clone());
            }
            let inode = self.inode.lookup(caller, name)?;
            return self.keep(&mut children, name, inode);
        }
        let inode = self.inode.lookup(caller, name)?;
        let found = {
            let children = self.children.lock();
            children.map.get(name).and_then(Child::get)
        };
        if let Some(found) = found
            && found.inode.metadata().ino == inode.metadata().ino
        {
            return Ok(found);
        }
        let name: Arc<[u8]> = name.into();
        let dentry = Dentry::new(inode, Some(self.clone()), name.clone());
        let mut children = self.children.lock();
        children.map.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        children.map.insert(name, Child::Seen(Arc::downgrade(&dentry)));
        drop(children);
        Ok(dentry)
    }

    fn keep(self: &Arc<Dentry>, children: &mut Children, name: &[u8], inode: Arc<dyn Inode>) -> Result<Arc<Dentry>> {
        children.map.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let name: Arc<[u8]> = name.into();
        let dentry = Dentry::new(inode, Some(self.clone()), name.clone());
        children.map.insert(name, Child::Kept(dentry.clone()));
        Ok(dentry)
    }

    /// Creates `name`. EEXIST, ENOENT (this directory is removed), and what [`Inode::create`] gives.
    pub fn create(self: &Arc<Dentry>, caller: &Caller, name: &[u8], new: &NewInode) -> Result<Arc<Dentry>> {
        self.add(caller, name, |dir| dir.create(caller, name, new))
    }

    /// Makes `name` a name of `target`.
    pub fn link(self: &Arc<Dentry>, caller: &Caller, name: &[u8], target: &Arc<dyn Inode>) -> Result<Arc<Dentry>> {
        self.add(caller, name, |dir| dir.link(name, target).map(|()| target.clone()))
    }

    fn add(
        self: &Arc<Dentry>,
        caller: &Caller,
        name: &[u8],
        make: impl FnOnce(&dyn Inode) -> Result<Arc<dyn Inode>>,
    ) -> Result<Arc<Dentry>> {
        if !self.inode.cacheable() {
            make(&*self.inode)?;
            return self.lookup(caller, name);
        }
        let mut children = self.children.lock();
        if children.dead {
            return Err(Errno::ENOENT.into());
        }
        if children.map.contains_key(name) {
            return Err(Errno::EEXIST.into());
        }
        children.map.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let inode = make(&*self.inode)?;
        self.keep(&mut children, name, inode)
    }

    /// Removes `child`, the entry `name` of this directory: [`Inode::rmdir`] if `directory`, else [`Inode::unlink`].
    pub fn remove(&self, name: &[u8], child: &Arc<Dentry>, directory: bool) -> Result<()> {
        let mut children = self.children.lock();
        if children.dead || !child.is_at(self, name) {
            return Err(Errno::ENOENT.into());
        }
        if child.is_mountpoint() {
            return Err(Errno::EBUSY.into());
        }
        if directory {
            self.inode.rmdir(name)?;
        } else {
            self.inode.unlink(name)?;
        }
        let gone = children.map.remove_entry(name);
        child.place.lock().deleted = true;
        drop(children);
        drop(gone);
        if directory {
            // Nothing can be found or made in it from here on: the directory itself refuses, too.
            child.children.lock().dead = true;
        }
        Ok(())
    }

    fn is_at(&self, dir: &Dentry, name: &[u8]) -> bool {
        let place = self.place.lock();
        !place.deleted && *place.name == *name && place.parent.as_ref().is_some_and(|p| core::ptr::eq(&**p, dir))
    }

    /// Whether this is `ancestor` or below it in the same file system.
    pub fn is_below(self: &Arc<Dentry>, ancestor: &Arc<Dentry>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, ancestor) {
                return true;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    /// rename(2): moves `child`, the entry `name`, to `to_name` in `to`; `target` is what that name leads to now.
    /// EINVAL (into itself), ENOTEMPTY (the target is above), EEXIST, EBUSY, ENOENT (`child` is no longer there),
    /// ESTALE (`target` is no longer what `to_name` leads to: look again), and what [`Inode::rename`] gives.
    pub fn rename(
        self: &Arc<Dentry>,
        name: &[u8],
        child: &Arc<Dentry>,
        to: &Arc<Dentry>,
        to_name: &[u8],
        target: Option<&Arc<Dentry>>,
        mode: RenameMode,
    ) -> Result<()> {
        let rename = RENAME.lock();
        if to.is_below(child) {
            return Err(Errno::EINVAL.into());
        }
        if let Some(target) = target
            && self.is_below(target)
        {
            return Err(if mode == RenameMode::Exchange { Errno::EINVAL } else { Errno::ENOTEMPTY }.into());
        }
        let (mut from_children, mut to_children) = lock_two(self, to);
        let dead = from_children.dead || to_children.as_ref().is_some_and(|c| c.dead);
        if dead || !child.is_at(self, name) {
            return Err(Errno::ENOENT.into());
        }
        let changed = match target {
            Some(target) => !target.is_at(to, to_name),
            None => to_children.as_ref().unwrap_or(&from_children).map.contains_key(to_name) && to.inode.cacheable(),
        };
        if changed {
            return Err(Errno::ESTALE.into());
        }
        if child.is_mountpoint() || target.is_some_and(|t| t.is_mountpoint()) {
            return Err(Errno::EBUSY.into());
        }
        to_children.as_mut().unwrap_or(&mut from_children).map.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.inode.rename(name, &to.inode, to_name, mode)?;

        let from_key = child.place.lock().name.clone();
        let to_key: Arc<[u8]> = match target {
            Some(target) => target.place.lock().name.clone(),
            None => to_name.into(),
        };
        let kept = from_children.map.remove_entry(name);
        let replaced = to_children.as_mut().unwrap_or(&mut from_children).map.remove_entry(to_name);
        let mut dropped = Vec::new();
        if let Some((_, moved)) = kept {
            let at = to_children.as_mut().unwrap_or(&mut from_children);
            at.map.insert(to_key.clone(), moved);
        }
        dropped.push(child.move_to(to, to_key));
        match (mode, target, replaced) {
            (RenameMode::Exchange, Some(target), Some((_, other))) => {
                from_children.map.insert(from_key.clone(), other);
                dropped.push(target.move_to(self, from_key));
            }
            (_, Some(target), replaced) => {
                target.place.lock().deleted = true;
                drop(to_children);
                drop(from_children);
                drop(replaced);
                if target.inode.kind() == FileType::Directory {
                    target.children.lock().dead = true;
                }
            }
            _ => {}
        }
        drop(rename);
        drop(dropped);
        Ok(())
    }

    /// Notes a new place; gives the old directory, to be dropped outside the locks.
    fn move_to(&self, to: &Arc<Dentry>, name: Arc<[u8]>) -> Option<Arc<Dentry>> {
        let mut place = self.place.lock();
        place.name = name;
        place.parent.replace(to.clone())
    }

    /// Forgets all cached names below this root, when its file system goes.
    pub(crate) fn prune(self: &Arc<Dentry>) {
        let mut work: Vec<Arc<Dentry>> = alloc::vec![self.clone()];
        while let Some(dentry) = work.pop() {
            let map = core::mem::take(&mut dentry.children.lock().map);
            work.extend(map.into_values().filter_map(|child| child.get()));
        }
    }
}

/// Locks the entries of two directories (once, if they are one). Whoever takes two holds [`RENAME`], so there is one at a time, and
/// whoever has one waits for no other: in whichever order they are taken, nobody waits for ever.
fn lock_two<'a>(a: &'a Arc<Dentry>, b: &'a Arc<Dentry>) -> (SpinGuard<'a, Children>, Option<SpinGuard<'a, Children>>) {
    let first = a.children.lock();
    let second = (!Arc::ptr_eq(a, b)).then(|| b.children.lock_same_rank());
    (first, second)
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // A deep path must not be a deep recursion: parents that go with us go one by one.
        let mut next = self.unhook();
        while let Some(parent) = next {
            next = Arc::into_inner(parent).and_then(|mut dentry| dentry.unhook());
        }
    }
}

impl Dentry {
    /// Takes this dentry, which nobody uses any more, out of its directory's cache; gives the directory.
    fn unhook(&mut self) -> Option<Arc<Dentry>> {
        let place = self.place.get_mut();
        let parent = place.parent.take()?;
        if !parent.inode.cacheable() {
            let mut children = parent.children.lock();
            let stale = matches!(children.map.get(&place.name), Some(Child::Seen(d)) if d.strong_count() == 0);
            let gone = if stale { children.map.remove_entry(&place.name) } else { None };
            drop(children);
            drop(gone);
        }
        Some(parent)
    }
}
