//! Directories written down as tables: a name, and what it stands for.
//!
//! A table is about a [`Subject`]: the system as a whole, or one process. The inodes are made when they are looked up
//! and hold nothing but the subject, so there is nothing to keep in step.

use super::device;
use super::text::{Text, TextFile};
use alloc::sync::Arc;
use base::{Errno, Result, Timespec};
use vfs::inode::{Entry as DirEntry, Link, Sink};
use vfs::{Caller, File, FileType, Inode, Metadata, OpenFlags};

/// The position of the first entry of a directory (0 and 1 are "." and "..").
pub const FIRST: u64 = 2;

/// Whom files belong to, and since when.
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Their times.
    pub time: Timespec,
}

/// What a table is about.
pub trait Subject: Clone + Send + Sync + 'static {
    /// What a write to one of its files gives that is only read, to who may open it for writing all the same.
    const READ_ONLY: Errno;

    /// Whom its files belong to. ENOENT if it is gone.
    fn owner(&self) -> Result<Owner>;

    /// Whether the caller may look into it, as it must for links and private files.
    fn may_inspect(&self, caller: &Caller) -> bool;

    /// The subject as a file shows it that this caller opens.
    fn opened_by(&self, caller: &Caller) -> Self;
}

/// One name of a table.
pub struct Entry<S: 'static> {
    name: &'static str,
    node: Node<S>,
}

/// What a name stands for.
pub enum Node<S: 'static> {
    /// A directory of more names.
    Dir(&'static [Entry<S>]),
    /// A file of text.
    Text(Text<S>),
    /// A symbolic link; the flag says whether only who may inspect the subject may follow it.
    Link(fn(&S, &Caller) -> Result<Link>, bool),
    /// A directory of its own kind; it is given its inode number.
    Made(fn(&S, u64) -> Arc<dyn Inode>),
}

/// `name` is a file of text.
pub const fn text<S>(name: &'static str, text: Text<S>) -> Entry<S> {
    Entry { name, node: Node::Text(text) }
}

/// `name` is a directory.
pub const fn dir<S>(name: &'static str, entries: &'static [Entry<S>]) -> Entry<S> {
    Entry { name, node: Node::Dir(entries) }
}

/// `name` is a link that everybody may follow.
pub const fn link<S>(name: &'static str, to: fn(&S, &Caller) -> Result<Link>) -> Entry<S> {
    Entry { name, node: Node::Link(to, false) }
}

/// `name` is a link for those who may inspect the subject.
pub const fn private_link<S>(name: &'static str, to: fn(&S, &Caller) -> Result<Link>) -> Entry<S> {
    Entry { name, node: Node::Link(to, true) }
}

/// `name` is a directory made by `make`.
pub const fn made<S>(name: &'static str, make: fn(&S, u64) -> Arc<dyn Inode>) -> Entry<S> {
    Entry { name, node: Node::Made(make) }
}

impl<S> Entry<S> {
    fn kind(&self) -> FileType {
        match self.node {
            Node::Dir(_) | Node::Made(_) => FileType::Directory,
            Node::Text(_) => FileType::Regular,
            Node::Link(..) => FileType::Symlink,
        }
    }
}

/// The inode number of the entry at `index` of a table in the directory `ino`. Tables have fewer than 64 entries.
fn child_ino(ino: u64, index: usize) -> u64 {
    ino << 6 | (index as u64 + 1)
}

/// The entry `name` of a table. ENOENT.
pub fn find<S: Subject>(table: &'static [Entry<S>], subject: &S, ino: u64, name: &[u8]) -> Result<Arc<dyn Inode>> {
    let index = table.iter().position(|entry| entry.name.as_bytes() == name).ok_or(Errno::ENOENT)?;
    subject.owner()?;
    let ino = child_ino(ino, index);
    let subject = subject.clone();
    Ok(match &table[index].node {
        Node::Dir(entries) => Arc::new(Directory { subject, ino, entries }),
        Node::Text(text) => Arc::new(TextNode { subject, ino, text }),
        Node::Link(to, private) => Arc::new(LinkNode { subject, ino, to: *to, private: *private }),
        Node::Made(make) => make(&subject, ino),
    })
}

/// Hands the entries of a table on to `sink`; returns the position, and whether all of them were taken.
pub fn list<S>(table: &[Entry<S>], ino: u64, from: u64, sink: &mut Sink) -> (u64, bool) {
    let first = from.saturating_sub(FIRST) as usize;
    for (index, entry) in table.iter().enumerate().skip(first) {
        let next = FIRST + index as u64 + 1;
        let name = entry.name.as_bytes();
        if !sink(DirEntry { name, ino: child_ino(ino, index), kind: entry.kind(), next }) {
            return (next - 1, false);
        }
    }
    (from.max(FIRST + table.len() as u64), true)
}

/// What stat(2) tells of a file here. One whose subject is gone is root's.
pub fn metadata<S: Subject>(subject: &S, ino: u64, kind: FileType, mode: u32) -> Metadata {
    let owner = subject.owner().unwrap_or(Owner { uid: 0, gid: 0, time: super::boot_time() });
    let mut metadata = Metadata::new(device(), ino, kind, mode, owner.time);
    (metadata.uid, metadata.gid, metadata.block_size) = (owner.uid, owner.gid, 1024);
    if kind == FileType::Directory {
        metadata.nlink = 2;
    }
    metadata
}

/// A directory that is a table.
pub struct Directory<S: Subject> {
    /// What it is about.
    pub subject: S,
    /// Its inode number.
    pub ino: u64,
    /// What is in it.
    pub entries: &'static [Entry<S>],
}

impl<S: Subject> Inode for Directory<S> {
    fn metadata(&self) -> Metadata {
        metadata(&self.subject, self.ino, FileType::Directory, 0o555)
    }

    fn lookup(&self, _: &Caller, name: &[u8]) -> Result<Arc<dyn Inode>> {
        find(self.entries, &self.subject, self.ino, name)
    }

    fn readdir(&self, _: &Caller, from: u64, sink: &mut Sink) -> Result<u64> {
        self.subject.owner()?;
        Ok(list(self.entries, self.ino, from, sink).0)
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

struct TextNode<S: Subject> {
    subject: S,
    ino: u64,
    text: &'static Text<S>,
}

impl<S: Subject> Inode for TextNode<S> {
    fn metadata(&self) -> Metadata {
        metadata(&self.subject, self.ino, FileType::Regular, self.text.mode)
    }

    /// EACCES for who may not inspect the subject, ESRCH if that is gone.
    fn open(self: Arc<Self>, caller: &Caller, _: OpenFlags) -> Result<Arc<dyn File>> {
        self.subject.owner().map_err(|_| Errno::ESRCH)?;
        if self.text.private && !self.subject.may_inspect(caller) {
            return Err(Errno::EACCES.into());
        }
        Ok(Arc::new(TextFile::new(self.subject.opened_by(caller), self.text)))
    }

    /// The size is 0 already: O_TRUNC, as shells give it before they write, has nothing to change.
    fn truncate(&self, size: u64) -> Result<()> {
        if size == 0 { Ok(()) } else { Err(Errno::EINVAL.into()) }
    }
}

struct LinkNode<S: Subject> {
    subject: S,
    ino: u64,
    to: fn(&S, &Caller) -> Result<Link>,
    private: bool,
}

impl<S: Subject> Inode for LinkNode<S> {
    fn metadata(&self) -> Metadata {
        metadata(&self.subject, self.ino, FileType::Symlink, 0o777)
    }

    fn readlink(&self, caller: &Caller) -> Result<Link> {
        if self.private && !self.subject.may_inspect(caller) {
            return Err(Errno::EACCES.into());
        }
        (self.to)(&self.subject, caller)
    }
}
