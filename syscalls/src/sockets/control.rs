//! Control messages (cmsg(3), unix(7)): descriptors and credentials that go with a message.

use alloc::sync::Arc;
use alloc::vec::Vec;
use arch::addr::VirtAddr;
use base::{Errno, Result};
use linux_raw_sys::net as abi;
use memory::user::UserPtr;
use net::options::Credential;
use net::socket::{MsgFlags, Passed};
use net::unix::rights::MAX_FILES;
use net::{Family, Socket};
use process::Current;
use process::limits::Resource;
use vfs::FdTable;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct cmsghdr`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    len: usize,
    level: u32,
    kind: u32,
}

const HEAD: usize = size_of::<Head>();
/// The most bytes of control messages that go with a message (net.core.optmem_max).
const MOST: usize = 128 << 10;
const CREDENTIAL: usize = 12;

/// Bytes from one control message to the next, for one of `len` bytes.
fn aligned(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}

/// What a program sends along.
#[derive(Default)]
pub struct Sent {
    /// SCM_RIGHTS.
    pub rights: Vec<Passed>,
    /// SCM_CREDENTIALS.
    pub credential: Option<Credential>,
}

/// Reads the control messages of a message. EINVAL for what is malformed or not known, ENOBUFS for too much, EBADF.
pub fn read(current: &Current, socket: &dyn Socket, at: usize, len: usize) -> Result<Sent> {
    let mut sent = Sent::default();
    if len > MOST {
        return Err(Errno::ENOBUFS.into());
    }
    let mut offset = 0;
    while len - offset >= HEAD {
        let here = UserPtr::<Head>::from(at.wrapping_add(offset));
        let head = here.read()?;
        if head.len < HEAD || head.len > len - offset {
            return Err(Errno::EINVAL.into());
        }
        let (data, size) = (here.addr().0.wrapping_add(HEAD), head.len - HEAD);
        if socket.family() == Family::Unix {
            // Other levels are nobody's business here, and passed over.
            if head.level == abi::SOL_SOCKET {
                read_one(current, head.kind, data, size, &mut sent)?;
            }
        } else if head.level != abi::SOL_SOCKET || !matches!(head.kind, abi::SCM_RIGHTS | abi::SCM_CREDENTIALS) {
            return Err(Errno::EINVAL.into());
        }
        offset = (offset + aligned(head.len)).min(len);
    }
    Ok(sent)
}

fn read_one(current: &Current, kind: u32, data: usize, size: usize, sent: &mut Sent) -> Result<()> {
    match kind {
        abi::SCM_RIGHTS => {
            let count = size / 4;
            if count + sent.rights.len() > MAX_FILES {
                return Err(Errno::EINVAL.into());
            }
            sent.rights.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
            for i in 0..count {
                let fd = UserPtr::<u32>::from(data).add(i).read()?;
                sent.rights.push(current.files.get(fd)?);
            }
        }
        abi::SCM_CREDENTIALS if size == CREDENTIAL => {
            let [pid, uid, gid] = UserPtr::<[u32; 3]>::from(data).read()?;
            if uid == u32::MAX || gid == u32::MAX {
                return Err(Errno::EINVAL.into());
            }
            sent.credential = Some(Credential { pid, uid, gid });
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(())
}

/// Descriptors that a message brings, under the numbers that they will have. Dropping them gives the numbers back.
pub struct Arriving {
    table: Arc<FdTable>,
    fds: Vec<u32>,
    files: Vec<Passed>,
}

impl Arriving {
    /// Reserves numbers for as many of `files` as `room` bytes of control messages can tell; those for which there is no number are
    /// lost, with all after them.
    fn new(current: &Current, mut files: Vec<Passed>, room: usize, cloexec: bool) -> Arriving {
        let fit = room.saturating_sub(HEAD) / 4;
        let limit = current.thread.limit(Resource::Nofile);
        let mut fds = Vec::new();
        if fds.try_reserve_exact(fit.min(files.len())).is_ok() {
            while fds.len() < fit.min(files.len()) {
                let Ok(fd) = current.files.reserve(limit, cloexec) else { break };
                fds.push(fd);
            }
        }
        files.truncate(fds.len());
        Arriving { table: current.files.clone(), fds, files }
    }

    /// Opens them.
    pub fn open(mut self) {
        for (fd, file) in core::mem::take(&mut self.fds).into_iter().zip(core::mem::take(&mut self.files)) {
            self.table.fill(fd, file);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        for fd in &self.fds {
            self.table.release(*fd);
        }
    }
}

/// What a message brings along, being stored.
#[derive(Default)]
pub struct Arrived {
    /// SCM_RIGHTS as they came.
    pub rights: Vec<Passed>,
    /// SCM_CREDENTIALS.
    pub credential: Option<Credential>,
    /// Those of `rights` that have numbers.
    numbered: Option<Arriving>,
    /// Some had no room, or no number.
    cut: bool,
}

/// The room for control messages that is left.
struct Room {
    at: usize,
    left: usize,
}

impl Room {
    /// Stores one control message; what has no room is cut off, and that is told.
    fn put(&mut self, kind: u32, data: &[u8]) -> Result<bool> {
        if self.left < HEAD {
            return Ok(false);
        }
        let whole = HEAD + data.len();
        let len = whole.min(self.left);
        let data_at = VirtAddr(self.at.wrapping_add(HEAD));
        UserPtr::<u8>::new(data_at).write_slice(&data[..len - HEAD])?;
        UserPtr::<Head>::from(self.at).write(&Head { len, level: abi::SOL_SOCKET, kind })?;
        let space = aligned(len).min(self.left);
        self.at = self.at.wrapping_add(space);
        self.left -= space;
        Ok(len == whole)
    }
}

impl Arrived {
    /// What came.
    pub fn new(rights: Vec<Passed>, credential: Option<Credential>) -> Arrived {
        Arrived { rights, credential, numbered: None, cut: false }
    }

    /// Stores everything into the `len` bytes at `at` (none if null). Returns the bytes used, and MSG_CTRUNC if
    /// something had no room. After a fault it is called again, and stores the same.
    pub fn store(&mut self, current: &Current, at: usize, len: usize, cloexec: bool) -> Result<(usize, MsgFlags)> {
        let mut room = Room { at, left: if at == 0 { 0 } else { len } };
        let before = room.left;
        let mut cut = false;
        if let Some(credential) = self.credential {
            cut |= !room.put(abi::SCM_CREDENTIALS, &credential.to_bytes())?;
        }
        if !self.rights.is_empty() {
            let rights = core::mem::take(&mut self.rights);
            let count = rights.len();
            let arriving = Arriving::new(current, rights, room.left, cloexec);
            self.cut = arriving.fds.len() < count;
            self.numbered = Some(arriving);
        }
        if let Some(arriving) = &self.numbered
            && !arriving.fds.is_empty()
        {
            room.put(abi::SCM_RIGHTS, arriving.fds.as_bytes())?;
        }
        let flags = if cut || self.cut { MsgFlags::CTRUNC } else { MsgFlags::empty() };
        Ok((before - room.left, flags))
    }

    /// All is stored: the descriptors can be used.
    pub fn open(&mut self) {
        if let Some(arriving) = self.numbered.take() {
            arriving.open();
        }
    }
}
