//! Page-table entries and translation caches. Tables have four levels of 512 entries of 64 bits on every
//! machine; what an entry holds is known here only.
//!
//! There is no hardware management of the accessed flag and of dirty state here (Cortex-A72 has none). Entries are
//! always marked accessed, and a page counts as dirty once it has been mapped writable. Both answers err on
//! the safe side:
//! a used page is never called unused, a changed one never clean.

use super::tables;
use crate::addr::{PhysAddr, VirtAddr};
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, Readable, TTBR0_EL1, Writeable};
use bitflags::bitflags;
use core::arch::asm;

/// One past the highest user address that may be mapped.
pub const USER_END: VirtAddr = VirtAddr(0xffff_ffff_f000);

/// Levels of a page table; level 0 holds pages.
pub const LEVELS: usize = 4;

/// Whether [`flush_page`] and its like reach the translation caches of all CPUs (aarch64), or of the calling
/// CPU only (x86_64).
pub const FLUSH_IS_GLOBAL: bool = true;

/// How many address-space numbers there are; 0 is the kernel's own and is never handed out.
pub fn asid_count() -> usize {
    match ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::ASIDBits) {
        2 => 1 << 16,
        _ => 1 << 8,
    }
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

/// One entry of a page table. As the hardware defines it (Arm ARM, D8.3), and in the bits that it ignores: the
/// permission
/// (55 to 57) and whether the page was ever writable (58). A page without any permission is
/// an invalid entry in which bit 1 is set.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Entry(u64);

const VALID: u64 = 1;
const PAGE: u64 = 2;
const TABLE: u64 = 2;
const EL0: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const NO_KERNEL_EXEC: u64 = 1 << 53;
const NO_USER_EXEC: u64 = 1 << 54;
const PERM_SHIFT: u32 = 55;
const DIRTY: u64 = 1 << 58;
const ADDR: u64 = 0xffff_ffff_f000;
/// What depends on the permission.
const PERM_BITS: u64 = VALID | EL0 | READ_ONLY | NO_USER_EXEC | 7 << PERM_SHIFT;

const fn perm_bits(perm: Perm) -> u64 {
    let mut bits = (perm.bits() as u64) << PERM_SHIFT;
    if !perm.is_empty() {
        bits |= VALID;
    }
    // The machine has no write-only pages.
    if perm.intersects(Perm::READ.union(Perm::WRITE)) {
        bits |= EL0;
    }
    if perm.contains(Perm::WRITE) {
        bits |= DIRTY;
    } else {
        bits |= READ_ONLY;
    }
    if !perm.contains(Perm::EXEC) {
        bits |= NO_USER_EXEC;
    }
    bits
}

impl Entry {
    /// No mapping.
    pub const EMPTY: Entry = Entry(0);

    /// An entry of level 1 to 3 that points to a table of the next lower level.
    #[inline]
    pub fn table(table: PhysAddr) -> Entry {
        Entry(table.0 | TABLE | VALID)
    }

    /// An entry of level 0 that maps a user page. `perm` empty keeps the frame but lets no access through.
    #[inline]
    pub fn page(page: PhysAddr, perm: Perm) -> Entry {
        let fixed = PAGE | INNER_SHAREABLE | ACCESSED | NOT_GLOBAL | NO_KERNEL_EXEC;
        Entry(page.0 | fixed | perm_bits(perm))
    }

    /// As [`Entry::page`], already marked as accessed and, where writable, as dirty: for a page that
    /// is mapped because it was just touched.
    #[inline]
    pub fn touched_page(page: PhysAddr, perm: Perm) -> Entry {
        Entry::page(page, perm)
    }

    /// Whether the entry maps something (a table, or a page whatever its permission).
    #[inline]
    pub fn is_present(self) -> bool {
        self.0 & (VALID | PAGE) != 0
    }

    /// The table or page that a present entry names.
    #[inline]
    pub fn addr(self) -> PhysAddr {
        PhysAddr(self.0 & ADDR)
    }

    /// What a present page entry allows.
    #[inline]
    pub fn perm(self) -> Perm {
        Perm::from_bits_truncate((self.0 >> PERM_SHIFT & 7) as u8)
    }

    /// The same page with another permission; accessed and dirty marks are kept.
    #[inline]
    pub fn with_perm(self, perm: Perm) -> Entry {
        Entry(self.0 & !PERM_BITS | perm_bits(perm))
    }

    /// Whether the page was used since [`Entry::without_accessed`]. Always yes, since nobody notices.
    #[inline]
    pub fn is_accessed(self) -> bool {
        self.is_present()
    }

    /// Whether the page was written to: yes if it ever was mapped writable.
    #[inline]
    pub fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// The same entry, not accessed; here that cannot be told, so it stays as it is.
    #[inline]
    pub fn without_accessed(self) -> Entry {
        self
    }

    /// The bits, to be stored in a table with atomic operations.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The entry with these bits.
    #[inline]
    pub fn from_bits(bits: u64) -> Entry {
        Entry(bits)
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
#[inline]
pub unsafe fn activate(root: PhysAddr, asid: u16, flush: bool) {
    if flush {
        // SAFETY: only caches are touched.
        unsafe { asm!("tlbi aside1, {}", in(reg) u64::from(asid) << 48, options(nostack)) };
        barrier::dsb(barrier::NSH);
    }
    TTBR0_EL1.set(root.0 | u64::from(asid) << 48);
    barrier::isb(barrier::SY);
}

/// Makes no user space current on this CPU: any user access faults.
pub fn deactivate() {
    TTBR0_EL1.set(tables::empty_root().0);
    barrier::isb(barrier::SY);
}

/// Drops the translation of one user page of the space `asid`, after its entry was changed.
/// Includes whatever ordering the machine asks for between the two.
#[inline]
pub fn flush_page(asid: u16, addr: VirtAddr) {
    let operand = u64::from(asid) << 48 | (addr.0 as u64 >> 12) & (1 << 44) - 1;
    // SAFETY: only caches are touched. The final ISB lets the kernel's own next access see the change.
    unsafe {
        asm!("dsb ishst", "tlbi vae1is, {}", "dsb ish", "isb", in(reg) operand, options(nostack));
    }
}

/// Drops all translations of the space `asid`.
#[inline]
pub fn flush_space(asid: u16) {
    // SAFETY: as in `flush_page`.
    unsafe {
        asm!("dsb ishst", "tlbi aside1is, {}", "dsb ish", "isb", in(reg) u64::from(asid) << 48, options(nostack));
    }
}

/// Drops all user translations of all spaces; on this CPU only, also where [`FLUSH_IS_GLOBAL`].
pub fn flush_all() {
    // SAFETY: as in `flush_page`. The kernel's translations go too and come back by themselves.
    unsafe { asm!("dsb nshst", "tlbi vmalle1", "dsb nsh", "isb", options(nostack)) };
}

/// To be called after an entry went from empty to present, where the machine wants a barrier before the
/// next access (it never caches absent entries).
#[inline]
pub fn entry_added() {
    barrier::dsb(barrier::ISHST);
    // For the kernel's own access; a return to user mode would synchronise by itself.
    barrier::isb(barrier::SY);
}

/// To be called after code was written to a page of RAM and before user code may fetch it, where the machine's
/// instruction cache does not see stores.
pub fn sync_code(page: PhysAddr) {
    super::physmap::sync_code(page);
}
