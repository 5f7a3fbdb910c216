//! Who may use an object (sysvipc(7), `struct ipc_perm`).

use base::{Capability, Credentials, Errno};

/// Reading, in all three places of a mode.
pub const READ: u32 = 0o444;
/// Writing (for a semaphore set: altering).
pub const WRITE: u32 = 0o222;

/// Executing (attached memory).
pub const EXEC: u32 = 0o111;

/// Owner, creator and mode of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// What it is found by; [`crate::PRIVATE`] for nothing.
    pub key: i32,
    /// The owner's user id.
    pub uid: u32,
    /// The owner's group id.
    pub gid: u32,
    /// The creator's user id.
    pub cuid: u32,
    /// The creator's group id.
    pub cgid: u32,
    /// The nine permission bits, and those that a kind adds.
    pub mode: u32,
}

impl Permissions {
    /// Those of an object that `cred` makes.
    pub fn new(key: i32, mode: u32, cred: &Credentials) -> Permissions {
        let (uid, gid) = (cred.euid, cred.egid);
        Permissions { key, uid, gid, cuid: uid, cgid: gid, mode: mode & 0o777 }
    }

    /// Whether `cred` may do what the bits of `wanted` say, in whichever of the three places. EACCES.
    pub fn check(&self, cred: &Credentials, wanted: u32) -> Result<(), Errno> {
        let wanted = wanted >> 6 | wanted >> 3 | wanted;
        let granted = if [self.uid, self.cuid].contains(&cred.euid) {
            self.mode >> 6
        } else if cred.in_group(self.gid) || cred.in_group(self.cgid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 7 == 0 || cred.has(Capability::IpcOwner) { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether `cred` may change or remove the object. EPERM.
    pub fn check_owner(&self, cred: &Credentials) -> Result<(), Errno> {
        let owns = [self.uid, self.cuid].contains(&cred.euid);
        if owns || cred.has(Capability::SysAdmin) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// IPC_SET.
    pub fn set(&mut self, uid: u32, gid: u32, mode: u32) {
        (self.uid, self.gid) = (uid, gid);
        self.mode = self.mode & !0o777 | mode & 0o777;
    }
}
