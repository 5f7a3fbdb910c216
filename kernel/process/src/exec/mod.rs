//! Program execution (execve(2)).
//!
//! The new address space is built whole while the old one still stands, so every failure up to there leaves the caller as it
//! was. Then the other threads are ended and awaited, and from there on nothing can fail but by death.

mod elf;
mod image;
mod replace;
mod script;
mod stack;

use crate::current::Current;
use crate::limits::Resource;
use alloc::sync::Arc;
use alloc::vec::Vec;
use base::{Credentials, Errno, Result};
use memory::io::Dst;
use memory::space::Limits;
use vfs::inode::FileType;
use vfs::mount::MountFlags;
use vfs::path::{Follow, Walk};
use vfs::permission::{self, Access};
use vfs::{Description, Executed, Location, OpenFlags};

/// Strings for the new program: arguments or environment, each with its terminating zero.
#[derive(Default)]
pub struct Strings {
    bytes: Vec<u8>,
    count: usize,
}

impl Strings {
    /// None.
    pub fn new() -> Strings {
        Strings::default()
    }

    /// Adds one, without a zero in it. ENOMEM.
    pub fn push(&mut self, string: &[u8]) -> Result<(), Errno> {
        self.bytes.try_reserve(string.len() + 1).map_err(|_| Errno::ENOMEM)?;
        self.bytes.extend_from_slice(string);
        self.bytes.push(0);
        self.count += 1;
        Ok(())
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All of them, with their zeros.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the first away, with its zero.
    fn remove_first(&mut self) {
        if self.count > 0 {
            let end = self.bytes.iter().position(|&byte| byte == 0).map_or(self.bytes.len(), |at| at + 1);
            self.bytes.drain(..end);
            self.count -= 1;
        }
    }
}

/// A program to be executed.
pub struct Request {
    /// The file.
    pub program: Location,
    /// Its name as the program and scripts' interpreters see it (AT_EXECFN).
    pub name: Vec<u8>,
    /// Arguments.
    pub argv: Strings,
    /// Environment.
    pub envp: Strings,
    /// Random bytes: 16 go to the program (AT_RANDOM), the rest decide where things lie.
    pub random: [u8; 32],
    /// The sigreturn trampoline that programs do not bring themselves; empty where they do.
    pub trampoline: &'static [u8],
    /// `e_machine` of programs that can run here.
    pub machine: u16,
}

/// Executes a program in place of the caller's. On success the caller's context is the new program's. Waits for files, memory
/// and the end of the other threads.
pub async fn execute(current: &mut Current, mut request: Request) -> Result<()> {
    let limits = space_limits(current);
    let opened = script::resolve(current, &mut request)?;
    let image = image::build(current, &request, &opened, &limits).await?;
    let cred = new_credentials(current, &opened);
    let entry = stack::fill(&image, &request, &cred, &limits).await?;
    replace::replace(current, request, image, entry, cred, opened.executed).await
}

/// Bytes of a program that tell what it is.
const HEAD: usize = 256;

/// A file that may be executed, opened.
struct Opened {
    file: Arc<Description>,
    executed: Executed,
    head: Vec<u8>,
}

impl Opened {
    fn location(&self) -> &Location {
        self.executed.location()
    }
}

/// Opens a file for execution. EACCES unless it is a regular file that the caller may execute, on a mount that allows it;
/// ETXTBSY while somebody writes it.
fn open(current: &Current, location: &Location) -> Result<Opened> {
    let inode = location.inode();
    let metadata = inode.metadata();
    if metadata.kind != FileType::Regular || location.mount.flags().contains(MountFlags::NOEXEC) {
        return Err(Errno::EACCES.into());
    }
    permission::check_inode(&current.cred, &**inode, Access::EXEC)?;
    // Reading is the kernel's, whatever the mode says.
    let kernel = Credentials::root();
    let caller = vfs::Caller::kernel(&kernel);
    let executed = Executed::new(location.clone())?;
    let file = inode.clone().open(&caller, OpenFlags::empty())?;
    let file = Description::new(file, Some(location.clone()), OpenFlags::empty());
    let mut head = alloc::vec![0; HEAD];
    let read = read_at(&file, 0, &mut head)?;
    head.truncate(read);
    Ok(Opened { file, executed, head })
}

/// Reads from a program file with the kernel's rights. Returns how many bytes there were.
fn read_at(file: &Description, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let kernel = Credentials::root();
    let caller = vfs::Caller::kernel(&kernel);
    let mut done = 0;
    while done < buf.len() {
        let n = file.file().read(&caller, offset + done as u64, &mut Dst::kernel(&mut buf[done..]))?;
        if n == 0 {
            break;
        }
        done += n;
    }
    Ok(done)
}

/// The file of this path, as the caller sees it.
fn find(current: &Current, path: &[u8]) -> Result<Location> {
    let caller = current.caller();
    Walk::new(&caller, &current.fs, None).resolve(path, Follow::Yes)
}

/// The set-id bits of the file make the new identity, unless the mount or the caller forbids them. Capabilities follow
/// capabilities(7) for a file without file capabilities.
fn new_credentials(current: &Current, opened: &Opened) -> Arc<Credentials> {
    // Bits of `securebits`.
    const NOROOT: u32 = 1;
    const KEEP_CAPS: u32 = 1 << 4;
    let metadata = opened.location().inode().metadata();
    let mut cred = (*current.cred).clone();
    if !cred.no_new_privs && !opened.location().mount.flags().contains(MountFlags::NOSUID) {
        if metadata.mode & permission::SET_UID != 0 {
            cred.euid = metadata.uid;
        }
        const SET_GID_EXEC: u32 = permission::SET_GID | 0o010;
        if metadata.mode & SET_GID_EXEC == SET_GID_EXEC {
            cred.egid = metadata.gid;
        }
    }
    (cred.suid, cred.fsuid, cred.sgid, cred.fsgid) = (cred.euid, cred.euid, cred.egid, cred.egid);
    if cred.euid != current.cred.uid || cred.egid != current.cred.gid {
        cred.ambient = 0;
    }
    if (cred.uid == 0 || cred.euid == 0) && cred.securebits & NOROOT == 0 {
        cred.permitted = cred.inheritable | cred.bounding | cred.ambient;
        cred.effective = if cred.euid == 0 { cred.permitted } else { cred.ambient };
    } else {
        cred.permitted = cred.ambient;
        cred.effective = cred.ambient;
    }
    cred.securebits &= !KEEP_CAPS;
    Arc::new(cred)
}

/// The limits that the address space heeds.
pub fn space_limits(current: &Current) -> Limits {
    let limits = &current.thread.process.limits;
    let get = |resource| limits.get(resource).soft as usize;
    let memlock = if current.cred.has(base::Capability::IpcLock) { usize::MAX } else { get(Resource::Memlock) };
    Limits { address_space: get(Resource::As), data: get(Resource::Data), stack: get(Resource::Stack), memlock }
}
