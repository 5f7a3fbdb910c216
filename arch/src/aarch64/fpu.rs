//! Floating-point and vector registers: lazily restored, left in the CPU as long as nobody else needs them.
//!
//! The kernel itself is built without them. What the CPU holds is told by tags: every load of
//! registers and every set-up of a thread draws a number that is never used again; a thread's
//! state is in a CPU exactly if both remember the same number. So neither migration nor the end of a thread needs
//! a message to another CPU.
//!
//! A thread starts with EL0 access trapping (CPACR_EL1.FPEN = 01). Its first access traps and brings
//! the registers in. A thread that did so in its last few turns gets them without a trap, and every
//! [`PROBE`]th time is put to the test again, so that one burst of use does not cost for ever.

use super::percpu;
use super::user::OutOfMemory;
use aarch64_cpu::registers::{CPACR_EL1, Writeable};
use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Bytes of `struct user_fpsimd_state`.
const FRAME: usize = 528;
/// Turns in a row that began with a trap before a thread is given its registers at once.
const EAGER_AFTER: u8 = 2;
/// Turns with registers given at once before a thread must trap again to keep that.
const PROBE: u8 = 16;

/// The registers in memory, laid out as `struct user_fpsimd_state`.
#[derive(Clone)]
#[repr(C, align(16))]
struct State {
    vregs: [u128; 32],
    fpsr: u32,
    fpcr: u32,
    reserved: [u32; 2],
}

const _: () = assert!(size_of::<State>() == FRAME);

static INITIAL: State = State { vregs: [0; 32], fpsr: 0, fpcr: 0, reserved: [0; 2] };

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
}

impl FpuCpu {
    pub const fn new() -> FpuCpu {
        FpuCpu {
            installed: AtomicU64::new(0),
            registers: AtomicU64::new(0),
            drawn: AtomicU64::new(0),
            open: AtomicBool::new(false),
        }
    }

    fn set_open(&self, open: bool) {
        if self.open.load(Relaxed) != open {
            self.open.store(open, Relaxed);
            // The return to EL0 makes it take effect; EL1 may always use the registers.
            CPACR_EL1.write(if open { CPACR_EL1::FPEN::TrapNothing } else { CPACR_EL1::FPEN::TrapEl0 });
        }
    }
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
    state: Option<Box<State>>,
    /// The registers may differ from `state`. Then they are in the CPU that runs the thread.
    dirty: bool,
    /// Turns in a row that began with a trap.
    streak: u8,
    /// Turns since the last trap.
    given: u8,
}

impl Fpu {
    /// The state in which a program starts. Allocates nothing yet.
    pub fn new() -> Fpu {
        Fpu::default()
    }

    /// Makes this CPU ready to run the thread. Nothing to do if it ran it last.
    #[inline(always)]
    pub(super) fn install(&mut self) {
        let cpu = &percpu::current().fpu;
        if self.installed != cpu.installed.load(Relaxed) || self.installed == 0 {
            self.install_anew();
        }
    }

    #[inline(never)]
    fn install_anew(&mut self) {
        let percpu = percpu::current();
        let cpu = &percpu.fpu;
        let drawn = cpu.drawn.load(Relaxed) + 1;
        cpu.drawn.store(drawn, Relaxed);
        let tag = drawn << 8 | percpu.id() as u64;
        cpu.installed.store(tag, Relaxed);
        self.installed = tag;
        if self.streak >= EAGER_AFTER && self.given < PROBE {
            self.given += 1;
            self.load();
        } else {
            // A turn that ends without a trap ends the streak (`save`).
            self.given = 0;
            cpu.set_open(false);
        }
    }

    /// The thread's first access in this turn: brings the registers in and lets it use them.
    #[cold]
    pub(super) fn access(&mut self) {
        self.streak = self.streak.saturating_add(1);
        self.load();
    }

    fn load(&mut self) {
        let cpu = &percpu::current().fpu;
        if self.registers == 0 || self.registers != cpu.registers.load(Relaxed) {
            let state = self.state.as_deref().unwrap_or(&INITIAL);
            // SAFETY: EL1 may touch the registers, nothing in the kernel uses them, and whose they were has saved
            // them when it left this CPU.
            unsafe { fpu_restore(state) };
            self.registers = self.installed;
            cpu.registers.store(self.installed, Relaxed);
        }
        self.dirty = true;
        cpu.set_open(true);
    }

    /// Brings the registers to memory if this thread's are in the CPU and may have changed. To be called when the
    /// thread leaves the CPU. Fails only if the machine needed memory for it and there is none.
    #[inline]
    pub fn save(&mut self) -> Result<(), OutOfMemory> {
        if self.dirty {
            self.store()
        } else {
            self.streak = 0;
            Ok(())
        }
    }

    #[inline(never)]
    fn store(&mut self) -> Result<(), OutOfMemory> {
        if self.state.is_none() {
            self.state = Some(allocate()?);
        }
        if let Some(state) = self.state.as_deref_mut() {
            // SAFETY: EL1 may touch the registers, and `dirty` says that they are this thread's.
            unsafe { fpu_save(state) };
        }
        self.dirty = false;
        // Access is open and the copy would go stale unnoticed: set up again before the next entry.
        self.installed = 0;
        Ok(())
    }

    /// A copy for a new thread; saves first.
    pub fn fork(&mut self) -> Result<Fpu, OutOfMemory> {
        if self.dirty {
            self.store()?;
        }
        let state = match self.state.as_deref() {
            Some(state) => {
                let mut copy = allocate()?;
                *copy = state.clone();
                Some(copy)
            }
            None => None,
        };
        Ok(Fpu { state, streak: self.streak, ..Fpu::default() })
    }

    /// Back to the state in which a program starts.
    pub fn reset(&mut self) {
        *self = Fpu::default();
    }

    /// Bytes that [`Fpu::write`] gives for the state as it is now.
    pub fn frame_size(&mut self) -> usize {
        FRAME
    }

    /// Writes the state into a signal frame in the format that the machine's users expect of it (x86_64: the XSAVE area
    /// in standard format with its software-reserved bytes; aarch64: 32 vector registers, FPSR and FPCR as `struct
    /// user_fpsimd_state`). `out` is [`Fpu::frame_size`] bytes long.
    pub fn write(&mut self, out: &mut [u8]) {
        let mut live;
        let state = if self.dirty {
            live = INITIAL.clone();
            // SAFETY: as in `store`.
            unsafe { fpu_save(&mut live) };
            &live
        } else {
            self.state.as_deref().unwrap_or(&INITIAL)
        };
        let (vregs, rest) = out.split_at_mut(512);
        for (to, from) in vregs.chunks_exact_mut(16).zip(&state.vregs) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        rest[..4].copy_from_slice(&state.fpsr.to_le_bytes());
        rest[4..8].copy_from_slice(&state.fpcr.to_le_bytes());
        rest[8..16].fill(0);
    }

    /// Takes the state from a signal frame. False if the bytes are no valid state; then nothing has changed.
    /// Any value is valid here: the machine ignores bits of FPSR and FPCR that it does not have. Also
    /// false without memory for the state.
    pub fn read(&mut self, frame: &[u8]) -> bool {
        let Some((frame, _)) = frame.split_first_chunk::<FRAME>() else { return false };
        let (vregs, rest) = frame.split_at(512);
        let Some((control, _)) = rest.split_first_chunk::<8>() else { return false };
        if self.state.is_none() {
            let Ok(state) = allocate() else { return false };
            self.state = Some(state);
        }
        let Some(state) = self.state.as_deref_mut() else { return false };
        let (vregs, _) = vregs.as_chunks::<16>();
        for (to, from) in state.vregs.iter_mut().zip(vregs) {
            *to = u128::from_le_bytes(*from);
        }
        let [a, b, c, d, e, f, g, h] = *control;
        state.fpsr = u32::from_le_bytes([a, b, c, d]);
        state.fpcr = u32::from_le_bytes([e, f, g, h]);
        self.dirty = false;
        self.registers = 0;
        self.installed = 0;
        true
    }
}

/// Memory for a state, set to the initial one.
fn allocate() -> Result<Box<State>, OutOfMemory> {
    // SAFETY: the layout is not empty; the block has the layout of a State, is written before use, and belongs to
    // the global allocator as Box wants it.
    unsafe {
        let block = alloc(Layout::new::<State>()).cast::<State>();
        if block.is_null() {
            return Err(OutOfMemory);
        }
        block.write(INITIAL.clone());
        Ok(Box::from_raw(block))
    }
}

unsafe extern "C" {
    fn fpu_save(state: &mut State);
    fn fpu_restore(state: &State);
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
