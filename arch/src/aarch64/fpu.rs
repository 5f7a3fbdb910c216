//! Floating-point and vector registers: lazily restored, left in the CPU as long as nobody else needs them.
//!
//! The kernel itself is built without them. What the CPU holds is told by tags: every load of
//! registers and every set-up of a thread draws a number that is never used again; a thread's
//! state is in a CPU exactly if both remember the same number. So neither migration nor the end of a thread needs
//! a message to another CPU.
//!
//! Registers that are newer than memory belong to the thread that runs; when it leaves the CPU they are
//! stored, by its
//! [`Fpu::save`] or by [`leave`].
//!
//! A thread starts with EL0 access trapping (CPACR_EL1.FPEN = 01). Its first access traps and brings
//! the registers in. A thread that did so in its last few turns gets them without a trap, and every
//! [`PROBE`]th time is put to the test again, so that one burst of use does not cost for ever.

use super::percpu;
use super::user::OutOfMemory;
use super::usercopy;
use crate::addr::VirtAddr;
use crate::trap::PageFault;
use aarch64_cpu::registers::{CPACR_EL1, Writeable};
use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;
use core::arch::global_asm;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering::*};

/// Bytes of `struct user_fpsimd_state`.
const STATE: usize = 528;
/// Turns in a row that began with a trap before a thread is given its registers at once.
const EAGER_AFTER: u8 = 2;
/// Turns with registers given at once before a thread must trap again to keep that.
const PROBE: u8 = 16;

/// The registers, laid out as `struct user_fpsimd_state`.
#[derive(Clone)]
#[repr(C, align(16))]
struct Registers {
    vregs: [u128; 32],
    fpsr: u32,
    fpcr: u32,
    reserved: [u32; 2],
}

const _: () = assert!(size_of::<Registers>() == STATE);

static INITIAL: Registers = Registers { vregs: [0; 32], fpsr: 0, fpcr: 0, reserved: [0; 2] };

/// The registers in memory. Behind a pointer, since a CPU that holds newer ones must know where they go. Both the
/// [`Fpu`] and one CPU may point here; who lets go last frees it.
#[repr(C)]
struct State {
    registers: Registers,
    /// [`ALONE`], [`LIVE`] or [`ORPHAN`].
    shared: AtomicU8,
}

/// Only the [`Fpu`] points to the state.
const ALONE: u8 = 0;
/// A CPU does as well.
const LIVE: u8 = 1;
/// Only a CPU does.
const ORPHAN: u8 = 2;

/// What a CPU knows of its vector registers.
pub struct FpuCpu {
    /// Tag of the thread for which access is set up.
    installed: AtomicU64,
    /// Tag of the state in the registers.
    registers: AtomicU64,
    /// How many tags this CPU has drawn.
    drawn: AtomicU64,
    /// Whether EL0 may use the registers.
    open: AtomicBool,
    /// Where the registers belong, if they may differ from what is there. [`HOMELESS`] if there is no memory for
    /// them.
    live: AtomicPtr<State>,
}

/// Stands for the state of a thread that has none yet for want of memory.
const HOMELESS: *mut State = core::ptr::without_provenance_mut(1);
/// A tag that is never drawn, and not the 0 of a thread that was never set up.
const NOBODY: u64 = u64::MAX;

impl FpuCpu {
    pub const fn new() -> FpuCpu {
        FpuCpu {
            installed: AtomicU64::new(NOBODY),
            registers: AtomicU64::new(NOBODY),
            drawn: AtomicU64::new(0),
            open: AtomicBool::new(false),
            live: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    fn set_open(&self, open: bool) {
        if self.open.load(Relaxed) != open {
            self.open.store(open, Relaxed);
            // The return to EL0 makes it take effect; EL1 may always use the registers.
            CPACR_EL1.write(if open { CPACR_EL1::FPEN::TrapNothing } else { CPACR_EL1::FPEN::TrapEl0 });
        }
    }

    /// Brings the registers to the memory where they belong.
    #[inline(never)]
    fn store(&self, live: *mut State) -> Result<(), OutOfMemory> {
        self.forget();
        if live == HOMELESS {
            self.registers.store(NOBODY, Relaxed);
            return Err(OutOfMemory);
        }
        // SAFETY: a live state stays allocated until it is let go below, and nobody else touches its registers
        // until
        // then. EL1 may use the vector registers, and they are those of this state.
        unsafe {
            fpu_save(&mut (*live).registers);
            if (*live).shared.swap(ALONE, AcqRel) == ORPHAN {
                drop(Box::from_raw(live));
            }
        }
        Ok(())
    }

    /// The registers are not newer than memory any more, and before they may become so again, access is set up
    /// anew.
    fn forget(&self) {
        self.live.store(core::ptr::null_mut(), Relaxed);
        self.installed.store(NOBODY, Relaxed);
    }
}

/// Brings the vector registers to memory if those of the thread that ran last on this CPU are in the CPU only: what
/// [`Fpu::save`] does, for whoever does not have the thread's `Fpu` at hand. (The state lives behind a
/// pointer of its own, known to the CPU until the `Fpu` is dropped.) To be called after every poll of a
/// thread's future
/// that leaves it waiting.
#[inline]
pub fn leave() -> Result<(), OutOfMemory> {
    let cpu = &percpu::current().fpu;
    let live = cpu.live.load(Relaxed);
    if live.is_null() { Ok(()) } else { cpu.store(live) }
}

/// The floating-point and vector state of one user thread. Its registers live in the CPU while the
/// thread runs; [`Fpu::save`] brings them to memory.
#[derive(Default)]
pub struct Fpu {
    /// The set-up that is valid for this thread; 0 is none.
    installed: u64,
    /// The load of registers that holds this thread's latest state, if a CPU still has it; 0 is none.
    registers: u64,
    /// The state in memory; `None` is the initial state.
    state: Option<NonNull<State>>,
    /// Turns in a row that began with a trap.
    streak: u8,
    /// Turns since the last trap in which the registers were given at once.
    given: u8,
    /// This turn began without access and there was no trap yet.
    untouched: bool,
}

// SAFETY: the state behind the pointer is touched through `&mut Fpu`, or by the CPU that has the thread's
// registers, on
// which the thread runs; `shared` settles who frees it.
unsafe impl Send for Fpu {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for Fpu {}

impl Fpu {
    /// The state in which a program starts. Allocates nothing yet.
    pub fn new() -> Fpu {
        Fpu::default()
    }

    /// Makes this CPU ready to run the thread. Nothing to do if it ran it last.
    #[inline(always)]
    pub(super) fn install(&mut self) {
        if self.installed != percpu::current().fpu.installed.load(Relaxed) {
            self.install_anew();
        }
    }

    #[inline(never)]
    fn install_anew(&mut self) {
        let percpu = percpu::current();
        let cpu = &percpu.fpu;
        let live = cpu.live.load(Relaxed);
        if !live.is_null() && !self.is_live() {
            // Of a thread that ended here. Who would hear of missing memory is gone.
            let _ = cpu.store(live);
        }
        let drawn = cpu.drawn.load(Relaxed) + 1;
        cpu.drawn.store(drawn, Relaxed);
        let tag = drawn << 8 | percpu.id() as u64;
        cpu.installed.store(tag, Relaxed);
        self.installed = tag;
        if self.untouched {
            self.streak = 0;
        }
        if self.streak >= EAGER_AFTER && self.given < PROBE {
            self.given += 1;
            self.load();
        } else {
            self.given = 0;
            self.untouched = true;
            cpu.set_open(false);
        }
    }

    /// The thread's first access in this turn: brings the registers in and lets it use them.
    #[cold]
    pub(super) fn access(&mut self) {
        self.untouched = false;
        self.streak = self.streak.saturating_add(1);
        self.load();
    }

    fn load(&mut self) {
        let cpu = &percpu::current().fpu;
        if self.registers != cpu.registers.load(Relaxed) {
            // SAFETY: the state is ours while it is not live. EL1 may use the vector registers, nothing in the
            // kernel does,
            // and whose they were has been saved (`install_anew`).
            unsafe { fpu_restore(self.state.map_or(&INITIAL, |state| &(*state.as_ptr()).registers)) };
            self.registers = self.installed;
            cpu.registers.store(self.installed, Relaxed);
        }
        if self.state.is_none() {
            // Without memory the thread goes on; whoever saves it hears of it.
            self.state = allocate().ok();
        }
        let live = match self.state {
            Some(state) => {
                // SAFETY: the state is allocated.
                unsafe { (*state.as_ptr()).shared.store(LIVE, Relaxed) };
                state.as_ptr()
            }
            None => HOMELESS,
        };
        cpu.live.store(live, Relaxed);
        cpu.set_open(true);
    }

    /// Whether the registers of this CPU are this thread's and newer than memory.
    fn is_live(&self) -> bool {
        let cpu = &percpu::current().fpu;
        !cpu.live.load(Relaxed).is_null() && cpu.registers.load(Relaxed) == self.registers
    }

    /// Gives up what the CPU has and memory has not.
    fn discard(&mut self) {
        if self.is_live() {
            percpu::current().fpu.forget();
            if let Some(state) = self.state {
                // SAFETY: the state is allocated, and the only CPU that pointed to it has just let go.
                unsafe { (*state.as_ptr()).shared.store(ALONE, Relaxed) };
            }
        }
        self.registers = 0;
        self.installed = 0;
    }

    /// Brings the registers to memory if this thread's are in the CPU and may have changed. To be called when the
    /// thread leaves the CPU. Fails only if the machine needed memory for it and there is none.
    #[inline]
    pub fn save(&mut self) -> Result<(), OutOfMemory> {
        if self.is_live() { self.store() } else { Ok(()) }
    }

    fn store(&mut self) -> Result<(), OutOfMemory> {
        let cpu = &percpu::current().fpu;
        if self.state.is_none() {
            let state = allocate()?;
            self.state = Some(state);
            cpu.live.store(state.as_ptr(), Relaxed);
        }
        cpu.store(cpu.live.load(Relaxed))
    }

    /// A copy for a new thread; saves first.
    pub fn fork(&mut self) -> Result<Fpu, OutOfMemory> {
        self.save()?;
        let state = match self.state {
            Some(state) => {
                let copy = allocate()?;
                // SAFETY: `copy` is new, and `state` is allocated and not live.
                unsafe { (*copy.as_ptr()).registers = (*state.as_ptr()).registers.clone() };
                Some(copy)
            }
            None => None,
        };
        let mut copy = Fpu::new();
        copy.state = state;
        copy.streak = self.streak;
        Ok(copy)
    }

    /// Back to the state in which a program starts.
    pub fn reset(&mut self) {
        *self = Fpu::new();
    }

    /// Bytes that [`Fpu::write`] gives for the state as it is now.
    pub fn frame_size(&mut self) -> usize {
        usercopy::VECTORS
    }

    /// Writes the state into a signal frame at `addr` of the active address space, in the format that the machine's users
    /// expect of it: [`Fpu::frame_size`] bytes (x86_64: from a multiple of 64 on, the XSAVE area in standard format with its
    /// software-reserved bytes; aarch64: FPSR, FPCR and 32 vector registers, as they follow the head of `struct
    /// fpsimd_context`). The handler starts with what the machine's ABI gives it: on x86_64 the state in which a program starts,
    /// on aarch64 the state as it is. On a fault nothing has changed but the frame.
    pub fn push(&mut self, addr: VirtAddr) -> Result<(), PageFault> {
        self.bring_in();
        usercopy::save_vectors(addr)
    }

    /// Takes the state from a signal frame at `addr`. `Ok(false)` if the bytes there are no valid state; then it is the one in which
    /// a program starts. After a fault it is anything that a program may have; the call is to be made again. (Here all bytes
    /// are valid.)
    pub fn pop(&mut self, addr: VirtAddr) -> Result<bool, PageFault> {
        // Also where they are about to be replaced: after a fault they must not be another's.
        self.bring_in();
        usercopy::load_vectors(addr)?;
        Ok(true)
    }

    /// Brings the registers into this CPU, on which the thread runs, as if it had used them.
    #[inline]
    fn bring_in(&mut self) {
        self.install();
        if !self.is_live() {
            self.load();
        }
    }
}

impl Drop for Fpu {
    fn drop(&mut self) {
        self.discard();
        if let Some(state) = self.state {
            // SAFETY: allocated by `allocate` as a box. If a CPU (another one, on which the thread ended)
            // still points to
            // it, that CPU frees it.
            unsafe {
                if (*state.as_ptr()).shared.swap(ORPHAN, AcqRel) == ALONE {
                    drop(Box::from_raw(state.as_ptr()));
                }
            }
        }
    }
}

/// Memory for a state, set to the initial one.
fn allocate() -> Result<NonNull<State>, OutOfMemory> {
    // SAFETY: the layout is not empty; the block is written before use.
    unsafe {
        let block = alloc(Layout::new::<State>()).cast::<State>();
        let state = NonNull::new(block).ok_or(OutOfMemory)?;
        state.write(State { registers: INITIAL.clone(), shared: AtomicU8::new(ALONE) });
        Ok(state)
    }
}

// SAFETY: fpu.S defines both with these arguments; they touch the block that they are given and the vector registers.
unsafe extern "C" {
    fn fpu_save(registers: &mut Registers);
    fn fpu_restore(registers: &Registers);
}

global_asm!(
    ".arch_extension fp",
    ".arch_extension simd",
    ".irp name, save, restore",
    ".global fpu_\\name",
    ".endr",
    ".macro each_pair op",
    "\\op q0, q1, [x0, #0]",
    "\\op q2, q3, [x0, #32]",
    "\\op q4, q5, [x0, #64]",
    "\\op q6, q7, [x0, #96]",
    "\\op q8, q9, [x0, #128]",
    "\\op q10, q11, [x0, #160]",
    "\\op q12, q13, [x0, #192]",
    "\\op q14, q15, [x0, #224]",
    "\\op q16, q17, [x0, #256]",
    "\\op q18, q19, [x0, #288]",
    "\\op q20, q21, [x0, #320]",
    "\\op q22, q23, [x0, #352]",
    "\\op q24, q25, [x0, #384]",
    "\\op q26, q27, [x0, #416]",
    "\\op q28, q29, [x0, #448]",
    "\\op q30, q31, [x0, #480]",
    ".endm",
    ".text",
    "fpu_save:",
    "each_pair stp",
    "mrs x1, fpsr",
    "mrs x2, fpcr",
    "add x0, x0, #512",
    "stp w1, w2, [x0]",
    "ret",
    "fpu_restore:",
    "each_pair ldp",
    "add x0, x0, #512",
    "ldp w1, w2, [x0]",
    "msr fpsr, x1",
    "msr fpcr, x2",
    "ret",
);
