//! Page-table entries and translation caches. Tables have four levels of 512 entries of 64 bits on every
//! machine; what an entry holds is known here only.

use super::features::{Features, has};
use super::{kmap, percpu, physmap};
use crate::addr::{PhysAddr, VirtAddr};
use bitflags::bitflags;
use core::arch::asm;
use x86_64::instructions::tlb::{self, InvPcidCommand, Pcid};

/// One past the highest user address that may be mapped. The last page of the lower half stays empty: a SYSCALL at
/// its end would return to a non-canonical address.
pub const USER_END: VirtAddr = VirtAddr(0x7fff_ffff_f000);

/// Levels of a page table; level 0 holds pages.
pub const LEVELS: usize = 4;

/// Whether [`flush_page`] and its like reach the translation caches of all CPUs (aarch64), or of the calling
/// CPU only (x86_64).
pub const FLUSH_IS_GLOBAL: bool = false;

/// How many address-space numbers there are; 0 is the kernel's own and is never handed out. CPUs without such
/// numbers (PCID) have no other, and forget everything at each [`activate`].
#[inline]
pub fn asid_count() -> usize {
    if has(Features::PCID) { 4096 } else { 1 }
}

bitflags! {
    /// What a user page allows. A page that allows nothing is absent to the program but keeps its frame.
    /// Any permission includes loads on this machine.
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

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// One of the bits that the hardware leaves to software: the entry keeps a frame that nobody may touch.
const KEPT: u64 = 1 << 9;
const NO_EXECUTE: u64 = 1 << 63;
const PERMISSION: u64 = PRESENT | WRITABLE | USER | KEPT | NO_EXECUTE;
const ADDR: u64 = 0x000f_ffff_ffff_f000;

#[inline(always)]
fn permission(perm: Perm) -> u64 {
    if perm.is_empty() {
        return KEPT | NO_EXECUTE;
    }
    let write = if perm.contains(Perm::WRITE) { WRITABLE } else { 0 };
    let execute = if perm.contains(Perm::EXEC) { 0 } else { NO_EXECUTE };
    PRESENT | USER | write | execute
}

impl Entry {
    /// No mapping.
    pub const EMPTY: Entry = Entry(0);

    /// An entry of level 1 to 3 that points to a table of the next lower level.
    #[inline]
    pub fn table(table: PhysAddr) -> Entry {
        Entry(table.0 | PRESENT | WRITABLE | USER | ACCESSED)
    }

    /// An entry of level 0 that maps a user page. `perm` empty keeps the frame but lets no access through.
    #[inline]
    pub fn page(page: PhysAddr, perm: Perm) -> Entry {
        Entry(page.0 | permission(perm))
    }

    /// As [`Entry::page`], already marked as accessed and, where writable, as dirty: for a page that
    /// is mapped because it was just touched.
    #[inline]
    pub fn touched_page(page: PhysAddr, perm: Perm) -> Entry {
        let dirty = if perm.contains(Perm::WRITE) { DIRTY } else { 0 };
        Entry(Entry::page(page, perm).0 | ACCESSED | dirty)
    }

    /// Whether the entry maps something (a table, or a page whatever its permission).
    #[inline]
    pub fn is_present(self) -> bool {
        self.0 & (PRESENT | KEPT) != 0
    }

    /// The table or page that a present entry names.
    #[inline]
    pub fn addr(self) -> PhysAddr {
        PhysAddr(self.0 & ADDR)
    }

    /// What a present page entry allows.
    #[inline]
    pub fn perm(self) -> Perm {
        if self.0 & PRESENT == 0 {
            return Perm::empty();
        }
        let mut perm = Perm::READ;
        perm.set(Perm::WRITE, self.0 & WRITABLE != 0);
        perm.set(Perm::EXEC, self.0 & NO_EXECUTE == 0);
        perm
    }

    /// The same page with another permission; accessed and dirty marks are kept.
    #[inline]
    pub fn with_perm(self, perm: Perm) -> Entry {
        Entry(self.0 & !PERMISSION | permission(perm))
    }

    /// Whether the page was used since [`Entry::without_accessed`].
    #[inline]
    pub fn is_accessed(self) -> bool {
        self.0 & ACCESSED != 0
    }

    /// Whether the page was written to.
    #[inline]
    pub fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// The same entry, not accessed.
    #[inline]
    pub fn without_accessed(self) -> Entry {
        Entry(self.0 & !ACCESSED)
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
pub unsafe fn init_root(root: PhysAddr) {
    // The physical map may take several entries (512 GiB each); the image, stacks and device registers take one.
    let kernel = physmap::to_ptr(kmap::root()).cast::<u64>();
    let user = physmap::to_ptr(root).cast::<u64>();
    for index in kmap::upper_slots() {
        // SAFETY: both are tables of 512 entries; the kernel's does not change after boot, the other is the caller's.
        unsafe { user.add(index).write(kernel.add(index).read()) };
    }
}

/// CR3: do not forget what is cached under the number.
const KEEP: u64 = 1 << 63;

/// Makes `root` the user half of this CPU's address space under the number `asid`. `flush` says
/// that translations cached under that number on this CPU are stale.
///
/// # Safety
/// `root` is a table made by [`init_root`] that stays valid until another is activated on this CPU. `asid` is below
/// [`asid_count`]; where that is 1, a CPU without PCID, only `flush` will do.
#[inline]
pub unsafe fn activate(root: PhysAddr, asid: u16, flush: bool) {
    let value = root.0 | u64::from(asid);
    let keep = if flush { 0 } else { KEEP };
    percpu::this().cr3.set(value);
    // SAFETY: the upper half is the kernel's in every table; the lower is the caller's business.
    unsafe { asm!("mov cr3, {}", in(reg) value | keep, options(nostack, preserves_flags)) }
}

/// Makes no user space current on this CPU: any user access faults.
pub fn deactivate() {
    // Where spaces have numbers, nothing of a user is cached under the kernel's.
    // SAFETY: the kernel's own tables stay for ever.
    unsafe { activate(kmap::root(), 0, !has(Features::PCID)) }
}

/// Whether the space `asid` is current on this CPU.
#[inline]
fn is_current(asid: u16) -> bool {
    !has(Features::PCID) || percpu::this().cr3.get() & 0xfff == u64::from(asid)
}

/// Drops the translation of one user page of the space `asid`, after its entry was changed.
/// Includes whatever ordering the machine asks for between the two.
#[inline]
pub fn flush_page(asid: u16, addr: VirtAddr) {
    if is_current(asid) {
        // Without numbers, a space that is not current has nothing cached, and one too many does no harm.
        // SAFETY: forgets a translation.
        unsafe { asm!("invlpg [{}]", in(reg) addr.0, options(nostack, preserves_flags)) }
    } else if let (true, Ok(pcid)) = (has(Features::INVPCID), Pcid::new(asid)) {
        let addr = x86_64::VirtAddr::new_truncate(addr.0 as u64);
        // SAFETY: the CPU has the instruction.
        unsafe { tlb::flush_pcid(InvPcidCommand::Address(addr, pcid)) }
    } else {
        forget_other(asid);
    }
}

/// Drops all translations of the space `asid`.
pub fn flush_space(asid: u16) {
    if is_current(asid) {
        let value = percpu::this().cr3.get();
        // SAFETY: writes what the register holds; that drops what is cached under its number.
        unsafe { asm!("mov cr3, {}", in(reg) value, options(nostack, preserves_flags)) }
    } else if let (true, Ok(pcid)) = (has(Features::INVPCID), Pcid::new(asid)) {
        // SAFETY: the CPU has the instruction.
        unsafe { tlb::flush_pcid(InvPcidCommand::Single(pcid)) }
    } else {
        forget_other(asid);
    }
}

/// Drops what is cached under a number that is not current, where the CPU has no instruction for it: by passing
/// through that number with the kernel's tables, which hold nothing in the user half.
fn forget_other(asid: u16) {
    let back = percpu::this().cr3.get() | KEEP;
    // SAFETY: the kernel's half is the same in both tables.
    unsafe {
        asm!(
            "mov cr3, {}",
            "mov cr3, {}",
            in(reg) kmap::root().0 | u64::from(asid),
            in(reg) back,
            options(nostack, preserves_flags),
        );
    }
}

/// Drops all user translations of all spaces; on this CPU only, also where [`FLUSH_IS_GLOBAL`].
pub fn flush_all() {
    if !has(Features::PCID) {
        return flush_space(0);
    }
    if has(Features::INVPCID) {
        // SAFETY: the CPU has the instruction.
        return unsafe { tlb::flush_pcid(InvPcidCommand::AllExceptGlobal) };
    }
    // Switching global pages off and on drops everything under every number (SDM vol. 3, 4.10.4.1).
    // SAFETY: both values are ones that the CPU had.
    unsafe {
        let cr4: u64;
        asm!("mov {}, cr4", out(reg) cr4, options(nostack, preserves_flags));
        asm!("mov cr4, {}", "mov cr4, {}", in(reg) cr4 & !(1 << 7), in(reg) cr4, options(nostack, preserves_flags));
    }
}

/// To be called after an entry went from empty to present, where the machine wants a barrier before the
/// next access (it never caches absent entries).
#[inline(always)]
pub fn entry_added() {}

/// To be called after code was written to a page of RAM and before user code may fetch it, where the machine's
/// instruction cache does not see stores.
#[inline(always)]
pub fn sync_code(_page: PhysAddr) {}
