//! What each CPU has for itself: the fields that the entry code reaches through GS, its GDT and TSS.
//!
//! GS points at the CPU's own record whenever the kernel runs. A record is changed only by its own CPU, with
//! interrupts masked, save for `apic_id` and `online` (see there); so plain cells suffice.

use crate::MAX_CPUS;
use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use x86_64::PrivilegeLevel;
use x86_64::instructions::tables::{lgdt, load_tss};
use x86_64::registers::model_specific::{GsBase, KernelGsBase};
use x86_64::registers::segmentation::{CS, DS, ES, SS, Segment, SegmentSelector};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, DescriptorFlags};
use x86_64::structures::tss::TaskStateSegment;

/// Kernel code; SYSCALL takes it and, 8 above it, the data selector.
pub const KERNEL_CS: u16 = 0x08;
/// Kernel data.
pub const KERNEL_SS: u16 = 0x10;
/// What SYSRET counts from: data 8 above, code 16 above.
pub const SYSRET_BASE: u16 = 0x23;
/// User data.
pub const USER_SS: u16 = 0x2b;
/// User code.
pub const USER_CS: u16 = 0x33;
const TSS_SELECTOR: u16 = 0x38;
const GDT_ENTRIES: usize = 9;

/// Number of the interrupt stack for double faults, counted from 0 as the TSS does.
pub const IST_DOUBLE_FAULT: u16 = 0;
/// The one for NMI.
pub const IST_NMI: u16 = 1;
/// The one for machine checks.
pub const IST_MACHINE_CHECK: u16 = 2;
/// How many interrupt stacks there are.
pub const IST_STACKS: usize = 3;

/// The record of one CPU.
#[repr(C, align(64))]
pub struct PerCpu {
    /// Its own address.
    this: Cell<usize>,
    /// The user's stack pointer, between SYSCALL and its way into the context.
    pub user_rsp: Cell<usize>,
    /// Where the kernel's stack stood when user mode was entered.
    pub kernel_rsp: Cell<usize>,
    /// The routine that enters user mode, chosen by what the CPU can do.
    pub enter: Cell<usize>,
    /// The token of the vector state that the registers hold, all ones for nobody's; see `fpu`.
    pub fpu_owner: Cell<u64>,
    /// The token of the thread that may enter user mode as things are, all ones for none.
    pub fpu_installed: Cell<u64>,
    /// Where the registers belong, if they may be newer than what is there; null if not.
    pub fpu_live: Cell<*mut super::fpu::State>,
    /// The last token that this CPU gave out.
    pub fpu_token: Cell<u64>,
    /// Whether the next use of the registers traps (CR0.TS).
    pub fpu_closed: Cell<bool>,
    /// Vectors that came in and are not yet serviced, a bit each.
    pub pending: [Cell<u64>; 4],
    /// The CPU's number.
    pub id: Cell<u32>,
    /// Whether RDFSBASE and its like may be used.
    pub fsgsbase: Cell<u8>,
    /// The address that the last corrected kernel fault touched.
    pub fault_addr: Cell<usize>,
    /// The error code of that fault.
    pub fault_code: Cell<u64>,
    /// The timer's deadline, in nanoseconds since boot; `u64::MAX` for none.
    pub deadline: Cell<u64>,
    /// What CR3 holds.
    pub cr3: Cell<u64>,
    /// The number the interrupt controller knows the CPU by. Written at boot by the boot CPU only.
    pub apic_id: AtomicU32,
    /// Set by the CPU itself once it runs.
    pub online: AtomicBool,
    /// Puts the TSS at an address of 4 modulo 8, so that its stack pointers are aligned.
    _align: u32,
    tss: UnsafeCell<TaskStateSegment>,
    gdt: UnsafeCell<[u64; GDT_ENTRIES]>,
}

/// Where the TSS holds the stack pointer for entries from user mode.
pub const RSP0: usize = offset_of!(PerCpu, tss) + 4;
const _: () = assert!(RSP0.is_multiple_of(8));

// SAFETY: the module's head says who may touch a record; what others read is atomic.
unsafe impl Sync for PerCpu {}

static CPUS: [PerCpu; MAX_CPUS] = [const { PerCpu::new() }; MAX_CPUS];

impl PerCpu {
    const fn new() -> PerCpu {
        PerCpu {
            this: Cell::new(0),
            user_rsp: Cell::new(0),
            kernel_rsp: Cell::new(0),
            enter: Cell::new(0),
            fpu_owner: Cell::new(super::fpu::NOBODY),
            fpu_installed: Cell::new(super::fpu::NOBODY),
            fpu_live: Cell::new(core::ptr::null_mut()),
            fpu_token: Cell::new(0),
            fpu_closed: Cell::new(false),
            pending: [const { Cell::new(0) }; 4],
            id: Cell::new(0),
            fsgsbase: Cell::new(0),
            fault_addr: Cell::new(0),
            fault_code: Cell::new(0),
            deadline: Cell::new(u64::MAX),
            cr3: Cell::new(0),
            apic_id: AtomicU32::new(0),
            online: AtomicBool::new(false),
            _align: 0,
            tss: UnsafeCell::new(TaskStateSegment::new()),
            gdt: UnsafeCell::new([0; GDT_ENTRIES]),
        }
    }

    /// Marks an interrupt vector for `irq::service`.
    pub fn record(&self, vector: u8) {
        let word = &self.pending[usize::from(vector >> 6)];
        word.set(word.get() | 1 << (vector & 63));
    }
}

/// The record of the CPU that runs this.
#[inline(always)]
pub fn this() -> &'static PerCpu {
    let this: usize;
    // SAFETY: GS points at the CPU's record, whose first field is its address; `init` is the first thing a
    // CPU does. The record is static.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) this, options(pure, nomem, nostack, preserves_flags));
        &*(this as *const PerCpu)
    }
}

/// The record of CPU `cpu`, for its atomic fields.
pub fn of(cpu: usize) -> &'static PerCpu {
    &CPUS[cpu]
}

/// Makes the calling CPU number `cpu`: GS, GDT and TSS.
///
/// # Safety
/// Called once, on CPU `cpu`, with interrupts masked.
pub unsafe fn init(cpu: usize) {
    let record = &CPUS[cpu];
    record.this.set(core::ptr::from_ref(record) as usize);
    record.id.set(cpu as u32);
    record.fpu_token.set(cpu as u64);
    // SAFETY: the TSS is static.
    let (tss_low, tss_high) = match unsafe { Descriptor::tss_segment_unchecked(record.tss.get()) } {
        Descriptor::SystemSegment(low, high) => (low, high),
        Descriptor::UserSegment(bits) => (bits, 0),
    };
    // SAFETY: nobody else touches this CPU's table, and it is not loaded yet or is loaded with equal contents.
    unsafe {
        *record.gdt.get() = [
            0,
            DescriptorFlags::KERNEL_CODE64.bits(),
            DescriptorFlags::KERNEL_DATA.bits(),
            0,
            0,
            DescriptorFlags::USER_DATA.bits(),
            DescriptorFlags::USER_CODE64.bits(),
            tss_low,
            tss_high,
        ];
        lgdt(&DescriptorTablePointer {
            limit: (GDT_ENTRIES * 8 - 1) as u16,
            base: x86_64::VirtAddr::new(record.gdt.get() as u64),
        });
        CS::set_reg(SegmentSelector(KERNEL_CS));
        SS::set_reg(SegmentSelector(KERNEL_SS));
        DS::set_reg(SegmentSelector::new(0, PrivilegeLevel::Ring0));
        ES::set_reg(SegmentSelector::new(0, PrivilegeLevel::Ring0));
        load_tss(SegmentSelector(TSS_SELECTOR));
    }
    GsBase::write(x86_64::VirtAddr::new(record.this.get() as u64));
    KernelGsBase::write(x86_64::VirtAddr::zero());
}

/// Sets the ends of the calling CPU's interrupt stacks.
pub fn set_ist(tops: [usize; IST_STACKS]) {
    // SAFETY: only this CPU's hardware reads the TSS, when an exception comes, and none uses these stacks now.
    let tss = unsafe { &mut *this().tss.get() };
    // The table is not aligned within the TSS, so it is set as a whole.
    let mut table = tss.interrupt_stack_table;
    for (slot, top) in table.iter_mut().zip(tops) {
        *slot = x86_64::VirtAddr::new(top as u64);
    }
    tss.interrupt_stack_table = table;
}

/// Tells the others that this CPU runs.
pub fn set_online() {
    this().online.store(true, Ordering::Release);
}
