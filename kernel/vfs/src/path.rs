//! Path resolution (path_resolution(7)).
//!
//! One [`Walker`] goes through one path, component by component. Symbolic links replace what has been
//! walked by their target, so nothing recurses. It stops before the last component, which
//! each system call treats in its own way, or goes to the end with [`Walk::resolve`].

use crate::context::FsContext;
use crate::description::Description;
use crate::file::Caller;
use crate::inode::{FileType, Link, NAME_MAX};
use crate::mount::Location;
use crate::permission::{self, Access};
use alloc::vec::Vec;
use base::{Errno, Result};
use bitflags::bitflags;
use core::ops::{Deref, Range};
use linux_raw_sys::general as raw;

/// The most symbolic links that one path may lead through.
pub const MAX_LINKS: u32 = 40;

bitflags! {
    /// Where a walk may not lead (openat2(2), `RESOLVE_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Resolve: u64 {
        /// EXDEV where it would cross a mount.
        const NO_XDEV = raw::RESOLVE_NO_XDEV as u64;
        /// ELOOP where a link leads to an object itself (/proc/PID/fd).
        const NO_MAGICLINKS = raw::RESOLVE_NO_MAGICLINKS as u64;
        /// ELOOP at any symbolic link.
        const NO_SYMLINKS = raw::RESOLVE_NO_SYMLINKS as u64;
        /// EXDEV where it would leave the directory it began in.
        const BENEATH = raw::RESOLVE_BENEATH as u64;
        /// The directory it begins in is its root.
        const IN_ROOT = raw::RESOLVE_IN_ROOT as u64;
        /// EAGAIN where it would have to wait. No walk here waits.
        const CACHED = raw::RESOLVE_CACHED as u64;
        /// What keeps it under the directory it began in.
        const SCOPED = Self::BENEATH.bits() | Self::IN_ROOT.bits();
    }
}

/// Who walks, and from where.
pub struct Walk<'a> {
    /// Whose permissions count.
    pub caller: &'a Caller<'a>,
    /// What "/" means, and what ".." does not leave.
    pub root: Location,
    /// Where relative paths begin.
    pub start: Location,
    /// Where it may not lead.
    pub resolve: Resolve,
}

/// Whether a symbolic link at the very end is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It is.
    Yes,
    /// The link itself is meant (lstat, AT_SYMLINK_NOFOLLOW), unless a slash follows it.
    No,
}

impl<'a> Walk<'a> {
    /// From the current directory of `fs`, or from the directory open as `dir` (the *at calls; `None` is AT_FDCWD).
    /// EBADF cannot happen here; a `dir` that is no directory gives ENOTDIR when it is used.
    pub fn new(caller: &'a Caller<'a>, fs: &FsContext, dir: Option<&Description>) -> Walk<'a> {
        let (root, cwd) = fs.root_and_cwd();
        let start = dir.map_or(cwd, |dir| dir.location());
        Walk { caller, root, start, resolve: Resolve::empty() }
    }

    /// The same walk under the restrictions of openat2(2).
    pub fn restricted(mut self, resolve: Resolve) -> Walk<'a> {
        if resolve.intersects(Resolve::SCOPED) {
            self.root = self.start.clone();
        }
        self.resolve = resolve;
        self
    }

    /// What `path` leads to. ENOENT also for the empty path (AT_EMPTY_PATH is the caller's: `start` is then meant).
    pub fn resolve(&self, path: &[u8], follow: Follow) -> Result<Location> {
        let mut walker = Walker::new(self, path)?;
        loop {
            let last = walker.to_last()?;
            let found = match walker.find(&last)? {
                Some(found) => found,
                None => return Err(Errno::ENOENT.into()),
            };
            let kind = found.inode().kind();
            if kind == FileType::Symlink && (follow == Follow::Yes || last.slash) {
                match walker.follow(&found, last)? {
                    Some(target) => return Ok(target),
                    None => continue,
                }
            }
            if last.slash && kind != FileType::Directory {
                return Err(Errno::ENOTDIR.into());
            }
            return Ok(found);
        }
    }

    /// The root, for a path or a link that begins there. EXDEV where that leads out of the restrictions, seen from `from`.
    fn to_root(&self, from: Option<&Location>) -> Result<Location> {
        if self.resolve.contains(Resolve::BENEATH) {
            return Err(Errno::EXDEV.into());
        }
        self.allow(from.unwrap_or(&self.start), self.root.clone())
    }

    /// `to`, unless it lies on another mount than `from` and that matters. EXDEV.
    #[inline]
    fn allow(&self, from: &Location, to: Location) -> Result<Location> {
        let stays = !self.resolve.contains(Resolve::NO_XDEV) || alloc::sync::Arc::ptr_eq(&from.mount, &to.mount);
        if stays { Ok(to) } else { Err(Errno::EXDEV.into()) }
    }

    /// The directory that the last component of `path` is in; the last component is not looked at.
    pub fn parent<'p>(&self, path: &'p [u8]) -> Result<Parent<'p>> {
        let mut walker = Walker::new(self, path)?;
        let last = walker.to_last()?;
        Ok(Parent { dir: walker.at, text: walker.text, last })
    }
}

/// A path, or what is left of it after a symbolic link.
enum Text<'p> {
    Given(&'p [u8]),
    Replaced(Vec<u8>),
}

impl Deref for Text<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Text::Given(text) => text,
            Text::Replaced(text) => text,
        }
    }
}

/// The kind of a last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastKind {
    /// A name.
    Name,
    /// ".".
    Dot,
    /// "..".
    DotDot,
    /// There is none: the path is all slashes.
    Root,
}

/// The last component of a path.
#[derive(Clone, Debug)]
pub struct Last {
    /// What it is.
    pub kind: LastKind,
    /// Whether slashes follow it.
    pub slash: bool,
    range: Range<usize>,
}

/// A directory, and a name in it that may or may not exist.
pub struct Parent<'p> {
    /// The directory. The caller may search it.
    pub dir: Location,
    text: Text<'p>,
    last: Last,
}

impl Parent<'_> {
    /// The last component.
    pub fn name(&self) -> &[u8] {
        &self.text[self.last.range.clone()]
    }

    /// What the last component is.
    pub fn last(&self) -> &Last {
        &self.last
    }
}

/// A walk in progress.
pub struct Walker<'w, 'p> {
    walk: &'w Walk<'w>,
    /// How far the walk has come.
    pub at: Location,
    text: Text<'p>,
    pos: usize,
    links: u32,
}

impl<'w, 'p> Walker<'w, 'p> {
    /// At the beginning of `path`. ENOENT if it is empty.
    pub fn new(walk: &'w Walk<'w>, path: &'p [u8]) -> Result<Walker<'w, 'p>> {
        let at = match path.first() {
            None => return Err(Errno::ENOENT.into()),
            Some(b'/') => walk.to_root(None)?,
            Some(_) => walk.start.clone(),
        };
        Ok(Walker { walk, at, text: Text::Given(path), pos: 0, links: 0 })
    }

    /// A component of the path.
    pub fn name(&self, last: &Last) -> &[u8] {
        &self.text[last.range.clone()]
    }

    /// Walks up to the last component. Search permission in its directory has then been checked.
    pub fn to_last(&mut self) -> Result<Last> {
        loop {
            let Some(next) = self.next_component() else {
                return Ok(Last { kind: LastKind::Root, slash: true, range: 0..0 });
            };
            let (range, more, slash) = next;
            let dir = self.at.inode().ownership();
            if dir.kind != FileType::Directory {
                return Err(Errno::ENOTDIR.into());
            }
            permission::check(self.walk.caller.cred, &dir, Access::EXEC)?;
            if range.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG.into());
            }
            let kind = match &self.text[range.clone()] {
                b"." => LastKind::Dot,
                b".." => LastKind::DotDot,
                _ => LastKind::Name,
            };
            let component = Last { kind, slash, range };
            if !more {
                return Ok(component);
            }
            let found = self.find(&component)?.ok_or(Errno::ENOENT)?;
            if found.inode().kind() == FileType::Symlink {
                if let Some(target) = self.follow(&found, component)? {
                    self.at = target;
                }
            } else {
                self.at = found;
            }
        }
    }

    /// The next component's place, whether another follows, and whether a slash does; past it.
    fn next_component(&mut self) -> Option<(Range<usize>, bool, bool)> {
        let text = &*self.text;
        let mut start = self.pos;
        while text.get(start) == Some(&b'/') {
            start += 1;
        }
        if start == text.len() {
            return None;
        }
        let mut end = start;
        while end < text.len() && text[end] != b'/' {
            end += 1;
        }
        let slash = end < text.len();
        let mut rest = end;
        while text.get(rest) == Some(&b'/') {
            rest += 1;
        }
        self.pos = rest;
        Some((start..end, rest < text.len(), slash))
    }

    /// What a component leads to, mounts crossed and links not followed; `None` if a name does not exist.
    pub fn find(&self, component: &Last) -> Result<Option<Location>> {
        match component.kind {
            LastKind::Root | LastKind::Dot => Ok(Some(self.at.clone())),
            LastKind::DotDot => {
                if self.walk.resolve.contains(Resolve::BENEATH) && self.at.same(&self.walk.root) {
                    return Err(Errno::EXDEV.into());
                }
                self.walk.allow(&self.at, self.at.parent(&self.walk.root)).map(Some)
            }
            LastKind::Name => match self.at.dentry.lookup(self.walk.caller, self.name(component)) {
                Ok(dentry) => {
                    let found = Location { mount: self.at.mount.clone(), dentry }.cross();
                    self.walk.allow(&self.at, found).map(Some)
                }
                Err(base::Error::Errno(Errno::ENOENT)) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Follows the symbolic link `link`, found as `component`. `Some` is where it leads if it is a link to an object
    /// itself and the walk ends there (if components follow, the walk is there); after `None` the walk goes on.
    /// ELOOP after [`MAX_LINKS`].
    pub fn follow(&mut self, link: &Location, component: Last) -> Result<Option<Location>> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP.into());
        }
        let resolve = self.walk.resolve;
        if resolve.contains(Resolve::NO_SYMLINKS) {
            return Err(Errno::ELOOP.into());
        }
        match link.inode().readlink(self.walk.caller)? {
            Link::Location(target) => {
                if resolve.contains(Resolve::NO_MAGICLINKS) {
                    return Err(Errno::ELOOP.into());
                }
                if resolve.intersects(Resolve::SCOPED) {
                    return Err(Errno::EXDEV.into());
                }
                let target = self.walk.allow(&self.at, target)?;
                if component.slash && target.inode().kind() != FileType::Directory {
                    return Err(Errno::ENOTDIR.into());
                }
                Ok(Some(target))
            }
            Link::Path(mut target) => {
                let Some(first) = target.first() else { return Err(Errno::ENOENT.into()) };
                if *first == b'/' {
                    self.at = self.walk.to_root(Some(&self.at))?;
                }
                let rest = &self.text[component.range.end..];
                target.try_reserve(rest.len()).map_err(|_| Errno::ENOMEM)?;
                target.extend_from_slice(rest);
                self.text = Text::Replaced(target);
                self.pos = 0;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
