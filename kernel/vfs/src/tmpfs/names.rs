//! The directories of a tmpfs.

use super::Tmpfs;
use super::node::Node;
use crate::clock;
use crate::inode::{Entry, FileType, RenameMode, Sink};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use base::{Errno, Result};
use core::ops::Bound;
use hashbrown::HashMap;

/// The entries of one directory, by name and by position.
#[derive(Default)]
pub(super) struct Directory {
    by_name: HashMap<Arc<[u8]>, u64>,
    by_position: BTreeMap<u64, (Arc<[u8]>, Arc<Node>)>,
    /// Positions that have been given out; they are never used again.
    last: u64,
}

impl Directory {
    fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        let position = self.by_name.get(name)?;
        self.by_position.get(position).map(|(_, node)| node)
    }

    /// Makes sure that one more entry fits. ENOMEM.
    fn reserve(&mut self) -> Result<()> {
        Ok(self.by_name.try_reserve(1).map_err(|_| Errno::ENOMEM)?)
    }

    fn insert(&mut self, name: &[u8], node: Arc<Node>) {
        let name: Arc<[u8]> = name.into();
        // Positions 0 and 1 are "." and "..".
        self.last = self.last.max(1) + 1;
        self.by_name.insert(name.clone(), self.last);
        self.by_position.insert(self.last, (name, node));
    }

    fn remove(&mut self, name: &[u8]) -> Option<Arc<Node>> {
        let position = self.by_name.remove(name)?;
        self.by_position.remove(&position).map(|(_, node)| node)
    }

    /// Puts `node` in the place of what `name` leads to.
    fn replace(&mut self, name: &[u8], node: Arc<Node>) -> Option<Arc<Node>> {
        let position = self.by_name.get(name)?;
        self.by_position.get_mut(position).map(|entry| core::mem::replace(&mut entry.1, node))
    }
}

/// The number of entries, which a directory's size is made of.
pub(super) fn count(fs: &Tmpfs, ino: u64) -> u64 {
    fs.directories.lock().get(&ino).map_or(0, |dir| dir.by_position.len() as u64)
}

pub(super) fn lookup(fs: &Tmpfs, dir: &Node, name: &[u8]) -> Result<Arc<Node>> {
    let directories = fs.directories.lock();
    let dir = directories.get(&dir.ino()).ok_or(Errno::ENOENT)?;
    dir.get(name).cloned().ok_or(Errno::ENOENT.into())
}

/// Adds an entry for `node`, which is new or has other names. EEXIST, ENOENT (`dir` is removed), ENOMEM.
pub(super) fn add(fs: &Tmpfs, dir: &Node, name: &[u8], node: &Arc<Node>, new: bool) -> Result<()> {
    let mut directories = fs.directories.lock();
    let is_dir = node.file_type() == FileType::Directory;
    if is_dir {
        directories.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    }
    let entries = directories.get_mut(&dir.ino()).ok_or(Errno::ENOENT)?;
    if entries.by_name.contains_key(name) {
        return Err(Errno::EEXIST.into());
    }
    entries.reserve()?;
    if !new {
        node.add_link()?;
    }
    entries.insert(name, node.clone());
    if is_dir {
        directories.insert(node.ino(), Directory::default());
        dir.change_links(1);
    }
    dir.changed(clock::now());
    Ok(())
}

pub(super) fn unlink(fs: &Tmpfs, dir: &Node, name: &[u8]) -> Result<()> {
    let mut directories = fs.directories.lock();
    let entries = directories.get_mut(&dir.ino()).ok_or(Errno::ENOENT)?;
    if entries.get(name).ok_or(Errno::ENOENT)?.file_type() == FileType::Directory {
        return Err(Errno::EISDIR.into());
    }
    let gone = entries.remove(name);
    dir.changed(clock::now());
    drop(directories);
    if let Some(gone) = gone {
        gone.change_links(-1);
    }
    Ok(())
}

pub(super) fn rmdir(fs: &Tmpfs, dir: &Node, name: &[u8]) -> Result<()> {
    let mut directories = fs.directories.lock();
    let entries = directories.get(&dir.ino()).ok_or(Errno::ENOENT)?;
    let victim = entries.get(name).ok_or(Errno::ENOENT)?.clone();
    check_empty(&directories, &victim)?;
    let entry = directories.get_mut(&dir.ino()).and_then(|entries| entries.remove(name));
    let content = directories.remove(&victim.ino());
    dir.change_links(-1);
    dir.changed(clock::now());
    drop(directories);
    victim.change_links(-2);
    drop((entry, content, victim));
    Ok(())
}

/// ENOTDIR, ENOTEMPTY.
fn check_empty(directories: &HashMap<u64, Directory>, victim: &Node) -> Result<()> {
    if victim.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    match directories.get(&victim.ino()) {
        Some(content) if !content.by_position.is_empty() => Err(Errno::ENOTEMPTY.into()),
        _ => Ok(()),
    }
}

pub(super) fn rename(fs: &Tmpfs, from: &Node, name: &[u8], to: &Node, to_name: &[u8], mode: RenameMode) -> Result<()> {
    let mut directories = fs.directories.lock();
    let moved = directories.get(&from.ino()).and_then(|dir| dir.get(name)).ok_or(Errno::ENOENT)?.clone();
    let target_dir = directories.get_mut(&to.ino()).ok_or(Errno::ENOENT)?;
    target_dir.reserve()?;
    let target = target_dir.get(to_name).cloned();
    let is_dir = |node: &Node| node.file_type() == FileType::Directory;
    let across = from.ino() != to.ino();
    // What is left over is dropped outside the lock.
    let removed = match (mode, &target) {
        (RenameMode::NoReplace, Some(_)) => return Err(Errno::EEXIST.into()),
        (RenameMode::Exchange, None) => return Err(Errno::ENOENT.into()),
        (RenameMode::Exchange, Some(target)) => {
            let entry = directories.get_mut(&from.ino()).and_then(|dir| dir.replace(name, target.clone()));
            let other = directories.get_mut(&to.ino()).and_then(|dir| dir.replace(to_name, moved.clone()));
            let shift = i32::from(is_dir(target)) - i32::from(is_dir(&moved));
            if across && shift != 0 {
                from.change_links(shift);
                to.change_links(-shift);
            }
            target.touched(clock::now());
            (entry, other, None)
        }
        (_, Some(target)) => {
            if is_dir(&moved) {
                check_empty(&directories, target)?;
            } else if is_dir(target) {
                return Err(Errno::EISDIR.into());
            }
            let entry = directories.get_mut(&from.ino()).and_then(|dir| dir.remove(name));
            let other = directories.get_mut(&to.ino()).and_then(|dir| dir.replace(to_name, moved.clone()));
            let content = directories.remove(&target.ino());
            if is_dir(target) {
                // The target's ".." goes; that of the moved one goes from one directory to the other.
                from.change_links(-1);
                target.change_links(-2);
            } else {
                target.change_links(-1);
            }
            (entry, other, content)
        }
        (_, None) => {
            let entry = directories.get_mut(&from.ino()).and_then(|dir| dir.remove(name));
            if let Some(dir) = directories.get_mut(&to.ino()) {
                dir.insert(to_name, moved.clone());
            }
            if across && is_dir(&moved) {
                from.change_links(-1);
                to.change_links(1);
            }
            (entry, None, None)
        }
    };
    let now = clock::now();
    from.changed(now);
    to.changed(now);
    moved.touched(now);
    drop(directories);
    drop((removed, target));
    Ok(())
}

/// As [`crate::Inode::readdir`]. The names are handed out without the lock.
pub(super) fn readdir(fs: &Tmpfs, dir: &Node, from: u64, sink: &mut Sink) -> Result<u64> {
    let mut at = from.max(2);
    loop {
        let found = {
            let directories = fs.directories.lock();
            let Some(entries) = directories.get(&dir.ino()) else { return Ok(at) };
            let mut rest = entries.by_position.range((Bound::Included(at), Bound::Unbounded));
            rest.next().map(|(position, (name, node))| (*position, name.clone(), node.clone()))
        };
        let Some((position, name, node)) = found else { return Ok(at) };
        let entry = Entry { name: &name, ino: node.ino(), kind: node.file_type(), next: position + 1 };
        if !sink(entry) {
            return Ok(at);
        }
        at = position + 1;
    }
}
