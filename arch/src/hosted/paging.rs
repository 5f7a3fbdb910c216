//! Page-table entries and translation caches. Tables have four levels of 512 entries of 64 bits on every
//! machine; what an entry holds is known here only.

use super::sim;
use crate::addr::{PhysAddr, VirtAddr};
use bitflags::bitflags;

/// One past the highest user address that may be mapped.
pub const USER_END: VirtAddr = VirtAddr(0x7fff_ffff_f000);

/// Levels of a page table; level 0 holds pages.
pub const LEVELS: usize = 4;

/// Whether [`flush_page`] and its like reach the translation caches of all CPUs (aarch64), or of the calling
/// CPU only (x86_64).
pub const FLUSH_IS_GLOBAL: bool = false;

/// How many address-space numbers there are; 0 is the kernel's own and is never handed out.
pub fn asid_count() -> usize {
    4096
}

bitflags! {
    /// What a user page allows. A page that allows nothing is absent to the program but keeps its frame.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Perm: u8 {
        /// Loads.
        const READ = 1;
        /// Stores.
        const WRITE = 2;
        /// Instruction fetches.
        const EXEC = 4;
    }
}

/// One entry of a page table.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Entry(u64);

const PRESENT: u64 = 8;
const ACCESSED: u64 = 16;
const DIRTY: u64 = 32;
const TABLE: u64 = 64;
const ADDR: u64 = !0xfff;

impl Entry {
    /// No mapping.
    pub const EMPTY: Entry = Entry(0);

    /// An entry of level 1 to 3 that points to a table of the next lower level.
    pub fn table(table: PhysAddr) -> Entry {
        Entry(table.0 | TABLE | PRESENT)
    }

    /// An entry of level 0 that maps a user page. `perm` empty keeps the frame but lets no access through.
    pub fn page(page: PhysAddr, perm: Perm) -> Entry {
        Entry(page.0 | PRESENT | u64::from(perm.bits()))
    }

    /// As [`Entry::page`], already marked as accessed and, where writable, as dirty: for a page that
    /// is mapped because it was just touched.
    pub fn touched_page(page: PhysAddr, perm: Perm) -> Entry {
        let dirty = if perm.contains(Perm::WRITE) { DIRTY } else { 0 };
        Entry(Entry::page(page, perm).0 | ACCESSED | dirty)
    }

    /// Whether the entry maps something (a table, or a page whatever its permission).
    pub fn is_present(self) -> bool {
        self.0 & PRESENT != 0
    }

    /// The table or page that a present entry names.
    pub fn addr(self) -> PhysAddr {
        PhysAddr(self.0 & ADDR)
    }

    /// What a present page entry allows.
    pub fn perm(self) -> Perm {
        Perm::from_bits_truncate((self.0 & 7) as u8)
    }

    /// The same page with another permission; accessed and dirty marks are kept.
    pub fn with_perm(self, perm: Perm) -> Entry {
        Entry(self.0 & !7 | u64::from(perm.bits()))
    }

    /// Whether the page was used since [`Entry::without_accessed`].
    pub fn is_accessed(self) -> bool {
        self.0 & ACCESSED != 0
    }

    /// Whether the page was written to.
    pub fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// The same entry, not accessed.
    pub fn without_accessed(self) -> Entry {
        Entry(self.0 & !ACCESSED)
    }

    /// The bits, to be stored in a table with atomic operations.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The entry with these bits.
    pub fn from_bits(bits: u64) -> Entry {
        Entry(bits)
    }

    pub(super) fn mark(self, write: bool) -> Entry {
        Entry(self.0 | ACCESSED | if write { DIRTY } else { 0 })
    }
}

/// Prepares a zeroed page as the top-level table of a new user space (on a machine whose kernel half shares
/// the table: copies the kernel's entries).
///
/// # Safety
/// The page belongs to the caller alone.
pub unsafe fn init_root(_root: PhysAddr) {}

/// Makes `root` the user half of this CPU's address space under the number `asid`. `flush` says
/// that translations cached under that number on this CPU are stale.
///
/// # Safety
/// `root` is a table made by [`init_root`] that stays valid until another is activated on this CPU.
pub unsafe fn activate(root: PhysAddr, asid: u16, flush: bool) {
    let _ = (asid, flush);
    sim::set_root(Some(root));
}

/// Makes no user space current on this CPU: any user access faults.
pub fn deactivate() {
    sim::set_root(None);
}

/// Drops the translation of one user page of the space `asid`, after its entry was changed.
/// Includes whatever ordering the machine asks for between the two.
pub fn flush_page(_asid: u16, _addr: VirtAddr) {}

/// Drops all translations of the space `asid`.
pub fn flush_space(_asid: u16) {}

/// Drops all user translations of all spaces; on this CPU only, also where [`FLUSH_IS_GLOBAL`].
pub fn flush_all() {}

/// To be called after an entry went from empty to present, where the machine wants a barrier before the
/// next access (it never caches absent entries).
pub fn entry_added() {}

/// To be called after code was written to a page of RAM and before user code may fetch it, where the machine's
/// instruction cache does not see stores.
pub fn sync_code(_page: PhysAddr) {}
