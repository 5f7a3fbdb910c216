//! What this machine's CPUs can do, and switching it on.

use super::percpu;
use core::arch::x86_64::{__cpuid_count, CpuidResult};
use core::sync::atomic::{AtomicU32, Ordering};
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::{LStar, Msr, SFMask};
use x86_64::registers::rflags::RFlags;

bitflags::bitflags! {
    /// Features that change what the kernel does.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Features: u32 {
        const FSGSBASE = 1;
        const SMEP = 1 << 1;
        const SMAP = 1 << 2;
        const UMIP = 1 << 3;
        const PCID = 1 << 4;
        const INVPCID = 1 << 5;
        const XSAVE = 1 << 6;
        const XSAVEOPT = 1 << 7;
        const XSAVEC = 1 << 8;
        const XGETBV1 = 1 << 9;
        const X2APIC = 1 << 10;
        const TSC_DEADLINE = 1 << 11;
        const GIB_PAGES = 1 << 12;
        const RDRAND = 1 << 13;
        const RDSEED = 1 << 14;
        const RDTSCP = 1 << 15;
        /// All that the short way of saving and restoring the vector state needs.
        const DIRECT_XSAVE = 1 << 16;
    }
}

static FOUND: AtomicU32 = AtomicU32::new(0);

/// CPUID, zeros for a leaf that is not there.
pub fn cpuid(leaf: u32, sub: u32) -> CpuidResult {
    let max = __cpuid_count(leaf & 0xc000_0000, 0).eax;
    if leaf > max { CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 } } else { __cpuid_count(leaf, sub) }
}

/// Whether all CPUs have these.
#[inline]
pub fn has(features: Features) -> bool {
    Features::from_bits_retain(FOUND.load(Ordering::Relaxed)).contains(features)
}

/// Asks the boot CPU; the others are taken to be alike.
pub fn detect() {
    let l1 = cpuid(1, 0);
    let l7 = cpuid(7, 0);
    let ld = cpuid(0xd, 1);
    let e1 = cpuid(0x8000_0001, 0);
    let table = [
        (Features::FSGSBASE, l7.ebx, 0),
        (Features::SMEP, l7.ebx, 7),
        (Features::SMAP, l7.ebx, 20),
        (Features::INVPCID, l7.ebx, 10),
        (Features::RDSEED, l7.ebx, 18),
        (Features::UMIP, l7.ecx, 2),
        (Features::PCID, l1.ecx, 17),
        (Features::X2APIC, l1.ecx, 21),
        (Features::TSC_DEADLINE, l1.ecx, 24),
        (Features::XSAVE, l1.ecx, 26),
        (Features::RDRAND, l1.ecx, 30),
        (Features::XSAVEOPT, ld.eax, 0),
        (Features::XSAVEC, ld.eax, 1),
        (Features::XGETBV1, ld.eax, 2),
        (Features::GIB_PAGES, e1.edx, 26),
        (Features::RDTSCP, e1.edx, 27),
    ];
    let mut found = Features::empty();
    for (feature, register, bit) in table {
        found.set(feature, register >> bit & 1 != 0);
    }
    let direct = Features::FSGSBASE | Features::XSAVE | Features::XSAVEOPT | Features::XGETBV1;
    found.set(Features::DIRECT_XSAVE, found.contains(direct));
    FOUND.store(found.bits(), Ordering::Relaxed);
}

// SAFETY: the assembly defines the functions, of which only the addresses are used, and the linker script the two ends of the
// table of SMAP sites.
unsafe extern "C" {
    fn enter_user_INSTRUCTION();
    fn enter_user_MSR();
    fn syscall_entry_INSTRUCTION();
    fn syscall_entry_MSR();
    static __smap_sites_start: [u32; 0];
    static __smap_sites_end: [u32; 0];
}

const MSR_STAR: u32 = 0xc000_0081;
const MSR_TSC_AUX: u32 = 0xc000_0103;

/// Sets up the calling CPU: protections, SYSCALL, and which entry code it uses.
///
/// # Safety
/// [`detect`] ran, the CPU's record is set up, and the kernel's own page tables are active.
pub unsafe fn enable() {
    let mut cr4 =
        Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | Cr4Flags::PAGE_GLOBAL | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE;
    for (feature, bit) in [
        (Features::FSGSBASE, Cr4Flags::FSGSBASE),
        (Features::SMEP, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
        (Features::SMAP, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        (Features::UMIP, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
        (Features::PCID, Cr4Flags::PCID),
        (Features::XSAVE, Cr4Flags::OSXSAVE),
    ] {
        cr4.set(bit, has(feature));
    }
    let fast = has(Features::FSGSBASE);
    let (enter, entry) = if fast {
        (enter_user_INSTRUCTION as *const (), syscall_entry_INSTRUCTION as *const ())
    } else {
        (enter_user_MSR as *const (), syscall_entry_MSR as *const ())
    };
    let cpu = percpu::this();
    cpu.fsgsbase.set(u8::from(fast));
    cpu.enter.set(enter as usize);
    // SAFETY: the CPU has what is switched on; nothing the kernel relies on is switched off. The entry code fits the
    // selectors of the GDT, and clears the flags that kernel code relies on being clear.
    unsafe {
        Cr4::write(cr4);
        let star = u64::from(percpu::SYSRET_BASE) << 48 | u64::from(percpu::KERNEL_CS) << 32;
        Msr::new(MSR_STAR).write(star);
        LStar::write(x86_64::VirtAddr::new(entry as u64));
        if has(Features::RDTSCP) {
            Msr::new(MSR_TSC_AUX).write(u64::from(cpu.id.get()));
        }
        super::xsave::enable();
    }
    SFMask::write(
        RFlags::TRAP_FLAG
            | RFlags::INTERRUPT_FLAG
            | RFlags::DIRECTION_FLAG
            | RFlags::IOPL_LOW
            | RFlags::IOPL_HIGH
            | RFlags::NESTED_TASK
            | RFlags::RESUME_FLAG
            | RFlags::ALIGNMENT_CHECK,
    );
}

/// Where the CPUs have no SMAP, STAC and CLAC do not exist: replaces them.
///
/// # Safety
/// Called once on the boot CPU, while the image's text is still writable, before any user copy.
pub unsafe fn patch_smap_sites() {
    if has(Features::SMAP) {
        return;
    }
    const NOP: [u8; 3] = [0x0f, 0x1f, 0x00];
    let start = (&raw const __smap_sites_start).cast::<u64>();
    let bytes = (&raw const __smap_sites_end) as usize - start as usize;
    for i in 0..bytes / 8 {
        // SAFETY: the linker script lays out the table; each entry is the address of a 3-byte instruction of the
        // image, which per the contract is writable and not being executed.
        unsafe { (start.add(i).read() as *mut [u8; 3]).write(NOP) };
    }
}
