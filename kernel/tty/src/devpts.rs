//! devpts: the file system whose directory shows the pseudo-terminals that are open (pts(4)), and their numbers.
//!
//! `slots` (rank [`ranks::PTYS`]) holds who has which number; an inode's own lock (rank [`ranks::NODE`]) its owner and mode.

use crate::file::Opening;
use crate::job::Jobs;
use crate::pty::{Master, PtyLine};
use crate::ranks;
use crate::termios::Termios2;
use crate::tty::Tty;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::{Arc, Weak};
use base::{Errno, Result, Timespec};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use executor::spin::SpinLock;
use vfs::inode::{Attributes, Entry, Sink};
use vfs::mount::Statfs;
use vfs::{Caller, Device, File, FileSystem, FileType, Inode, Metadata, OpenFlags, clock};

/// /proc/sys/kernel/pty/max: the most pseudo-terminals that may be open at once, in all of the system.
pub static MAX: AtomicU32 = AtomicU32::new(MAX_MAX);
/// /proc/sys/kernel/pty/nr: how many are open now.
pub static OPEN: AtomicU32 = AtomicU32::new(0);

/// The highest value that [`MAX`] may have: the numbers that the device majors 136 to 143 have room for.
pub const MAX_MAX: u32 = 8 * 256;

/// Device number of /dev/ptmx.
pub const PTMX: Device = Device::new(5, 2);

const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
const FIRST_PTS_INO: u64 = 3;
const MAGIC: u64 = 0x1cd1;

/// Options of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The owner of new terminals; that of the process that opens the master if not given.
    pub uid: Option<u32>,
    /// The group of new terminals, likewise.
    pub gid: Option<u32>,
    /// The mode of new terminals.
    pub mode: u32,
    /// The mode of the `ptmx` in the directory.
    pub ptmxmode: u32,
    /// The most terminals of this mount.
    pub max: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { uid: None, gid: None, mode: 0o600, ptmxmode: 0, max: MAX_MAX }
    }
}

impl Options {
    /// From the data of mount(2): "gid=5,mode=620,ptmxmode=666". EINVAL for what is not known or not a number.
    pub fn parse(data: &str) -> Result<Options> {
        let mut options = Options::default();
        for item in data.split(',').filter(|item| !item.is_empty() && *item != "newinstance") {
            let (name, value) = item.split_once('=').ok_or(Errno::EINVAL)?;
            let number = |radix| u32::from_str_radix(value, radix).map_err(|_| Errno::EINVAL);
            match name {
                "uid" => options.uid = Some(number(10)?),
                "gid" => options.gid = Some(number(10)?),
                "mode" => options.mode = number(8)? & 0o777,
                "ptmxmode" => options.ptmxmode = number(8)? & 0o777,
                "max" => options.max = Some(number(10)?).filter(|max| *max <= MAX_MAX).ok_or(Errno::EINVAL)?,
                _ => return Err(Errno::EINVAL.into()),
            }
        }
        Ok(options)
    }
}

/// The pseudo-terminals of one devpts.
pub struct Ptys {
    options: Options,
    device: Device,
    jobs: Arc<dyn Jobs>,
    made: Timespec,
    slots: SpinLock<BTreeMap<u32, Slot>>,
}

/// Who has a number.
struct Slot {
    /// What the directory shows; gone once the master is closed.
    node: Option<Arc<PtsNode>>,
    /// The number is not given out again while somebody still has the slave.
    tty: Weak<Tty>,
}

impl Slot {
    fn free(&self) -> bool {
        self.node.is_none() && self.tty.strong_count() == 0
    }
}

impl Ptys {
    /// None yet. `device` is the number that stat(2) shows for the file system.
    pub fn new(options: Options, device: Device, jobs: Arc<dyn Jobs>) -> Arc<Ptys> {
        let slots = SpinLock::new(ranks::PTYS, BTreeMap::new());
        Arc::new(Ptys { options, device, jobs, made: clock::now(), slots })
    }

    /// open(2) of ptmx: makes a pair, the slave still locked, and gives its master. ENOSPC if there are too many.
    pub fn open_master(self: &Arc<Ptys>, caller: &Caller, _flags: OpenFlags) -> Result<Arc<dyn File>> {
        let counted = OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < MAX.load(Ordering::Relaxed)).then_some(open + 1)
        });
        counted.map_err(|_| Errno::ENOSPC)?;
        let line = Arc::new(PtyLine::new());
        let node = self.add(caller, &line).inspect_err(|_| {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        })?;
        Ok(Arc::new(Master::new(node, line, self.clone())))
    }

    /// Gives a new pair the smallest free number.
    fn add(&self, caller: &Caller, line: &Arc<PtyLine>) -> Result<Arc<PtsNode>> {
        let mut slots = self.slots.lock();
        let mut index = 0;
        for (&used, slot) in slots.iter() {
            if used != index || slot.free() {
                break;
            }
            index += 1;
        }
        if index >= self.options.max.min(MAX_MAX) {
            return Err(Errno::ENOSPC.into());
        }
        let device = Device::new(136 + index / 256, index % 256);
        let tty = Tty::new(device, Some(index), Termios2::PTY, line.clone(), self.jobs.clone());
        let now = clock::now();
        let mut metadata =
            Metadata::new(self.device, FIRST_PTS_INO + u64::from(index), FileType::CharDevice, self.options.mode, now);
        metadata.uid = self.options.uid.unwrap_or(caller.cred.fsuid);
        metadata.gid = self.options.gid.unwrap_or(caller.cred.fsgid);
        metadata.rdev = device;
        metadata.block_size = 1024;
        let node = Arc::new(PtsNode {
            index,
            locked: AtomicBool::new(true),
            metadata: SpinLock::new(ranks::NODE, metadata),
            tty: tty.clone(),
        });
        slots.insert(index, Slot { node: Some(node.clone()), tty: Arc::downgrade(&tty) });
        Ok(node)
    }

    /// The master is closed: the name goes.
    pub(crate) fn remove(&self, index: u32) {
        let node = self.slots.lock().get_mut(&index).and_then(|slot| slot.node.take());
        if node.is_some() {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn ptmx_metadata(&self) -> Metadata {
        let mut metadata = Metadata::new(self.device, PTMX_INO, FileType::CharDevice, self.options.ptmxmode, self.made);
        metadata.rdev = PTMX;
        metadata.block_size = 1024;
        metadata
    }
}

/// The inode of a slave, /dev/pts/N.
pub struct PtsNode {
    index: u32,
    locked: AtomicBool,
    metadata: SpinLock<Metadata>,
    tty: Arc<Tty>,
}

impl PtsNode {
    /// The number (TIOCGPTN).
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The terminal.
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    /// Whether the slave cannot be opened by name (TIOCSPTLCK).
    pub(crate) fn locked(&self) -> &AtomicBool {
        &self.locked
    }
}

impl Inode for PtsNode {
    fn metadata(&self) -> Metadata {
        *self.metadata.lock()
    }

    fn set_attributes(&self, change: &Attributes) -> Result<()> {
        let mut metadata = self.metadata.lock();
        metadata.mode = change.mode.unwrap_or(metadata.mode);
        metadata.uid = change.uid.unwrap_or(metadata.uid);
        metadata.gid = change.gid.unwrap_or(metadata.gid);
        metadata.atime = change.atime.unwrap_or(metadata.atime);
        metadata.mtime = change.mtime.unwrap_or(metadata.mtime);
        metadata.ctime = clock::now();
        Ok(())
    }

    /// EIO while locked, and once the master is closed.
    fn open(self: Arc<Self>, caller: &Caller, flags: OpenFlags) -> Result<Arc<dyn File>> {
        if self.locked.load(Ordering::Relaxed) {
            return Err(Errno::EIO.into());
        }
        self.tty.open(caller, Opening { flags, may_control: true, survives_hangup: false, node: None })
    }
}

/// The inode of the `ptmx` in the directory.
struct PtmxNode(Arc<Ptys>);

impl Inode for PtmxNode {
    fn metadata(&self) -> Metadata {
        self.0.ptmx_metadata()
    }

    fn open(self: Arc<Self>, caller: &Caller, flags: OpenFlags) -> Result<Arc<dyn File>> {
        self.0.open_master(caller, flags)
    }
}

/// The directory.
struct Root(Arc<Ptys>);

impl Inode for Root {
    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::new(self.0.device, ROOT_INO, FileType::Directory, 0o755, self.0.made);
        metadata.nlink = 2;
        metadata
    }

    fn lookup(&self, _caller: &Caller, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if name == b"ptmx" {
            return Ok(Arc::new(PtmxNode(self.0.clone())));
        }
        let index = parse_index(name).ok_or(Errno::ENOENT)?;
        let slots = self.0.slots.lock();
        match slots.get(&index).and_then(|slot| slot.node.clone()) {
            Some(node) => Ok(node),
            None => Err(Errno::ENOENT.into()),
        }
    }

    fn readdir(&self, _caller: &Caller, from: u64, sink: &mut Sink) -> Result<u64> {
        let mut position = from.max(PTMX_INO);
        if position == PTMX_INO {
            if !sink(Entry { name: b"ptmx", ino: PTMX_INO, kind: FileType::CharDevice, next: FIRST_PTS_INO }) {
                return Ok(position);
            }
            position = FIRST_PTS_INO;
        }
        // The sink may touch user memory but no terminal, so it may run under the lock.
        let slots = self.0.slots.lock();
        let first = u32::try_from(position - FIRST_PTS_INO).unwrap_or(u32::MAX);
        for (&index, _) in slots.range(first..).filter(|(_, slot)| slot.node.is_some()) {
            let name = format!("{index}");
            let ino = FIRST_PTS_INO + u64::from(index);
            if !sink(Entry { name: name.as_bytes(), ino, kind: FileType::CharDevice, next: ino + 1 }) {
                return Ok(ino);
            }
            position = ino + 1;
        }
        Ok(position)
    }
}

/// A decimal number as devpts writes it: no sign, no leading zeros.
fn parse_index(name: &[u8]) -> Option<u32> {
    let plain = name.iter().all(u8::is_ascii_digit) && (name.first() != Some(&b'0') || name.len() == 1);
    core::str::from_utf8(name).ok().filter(|_| plain)?.parse().ok()
}

/// The file system.
pub struct Devpts {
    ptys: Arc<Ptys>,
    root: Arc<Root>,
}

impl Devpts {
    /// A file system that shows `ptys`.
    pub fn new(ptys: Arc<Ptys>) -> Arc<Devpts> {
        Arc::new(Devpts { root: Arc::new(Root(ptys.clone())), ptys })
    }

    /// What it shows; /dev/ptmx opens a master here.
    pub fn ptys(&self) -> &Arc<Ptys> {
        &self.ptys
    }
}

impl FileSystem for Devpts {
    fn name(&self) -> &'static str {
        "devpts"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn device(&self) -> Device {
        self.ptys.device
    }

    fn statfs(&self) -> Statfs {
        Statfs { magic: MAGIC, block_size: 4096, name_max: 255, ..Statfs::default() }
    }

    fn show_options(&self, out: &mut dyn Write) -> fmt::Result {
        let options = &self.ptys.options;
        if let Some(uid) = options.uid {
            write!(out, ",uid={uid}")?;
        }
        if let Some(gid) = options.gid {
            write!(out, ",gid={gid}")?;
        }
        write!(out, ",mode={:03o},ptmxmode={:03o}", options.mode, options.ptmxmode)?;
        if options.max < MAX_MAX {
            write!(out, ",max={}", options.max)?;
        }
        Ok(())
    }
}
