//! The vector state of user threads. Kernel code never touches these registers, so they stay in the CPU until
//! another thread's are loaded.
//!
//! Each time a state is loaded it gets a *token* that no CPU ever gives out again; the CPU's record holds the
//! token of what its registers hold. They are this thread's latest exactly if the tokens are equal. GS base belongs to
//! the state too, since programs hardly use it and it is costly to look at on each trap.
//!
//! While a thread runs, its registers are newer than memory (the state is *live*), and the CPU's record points to where
//! they belong, so that [`leave`] finds it.
//!
//! A thread that has never used the registers runs with them *closed*: they hold the first state, nothing of another's, and
//! its first use traps (CR0.TS). Until then it has no memory for them, and nothing but GS base is saved when it leaves.

use super::features::{Features, has};
use super::percpu;
use super::usercopy;
use super::xsave::*;
use crate::addr::VirtAddr;
use crate::trap::PageFault;
use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};
use x86_64::registers::model_specific::Msr;

pub use super::xsave::OutOfMemory;

/// What is saved of a thread. Behind a pointer, since a CPU that holds newer registers must know where they go. Both the
/// [`Fpu`] and one CPU may point here; who lets go last frees it.
pub struct State {
    /// None is the first state.
    area: Option<Area>,
    gs_base: u64,
    /// [`ALONE`], [`LIVE`] or [`ORPHAN`].
    shared: AtomicU8,
}

/// Only the [`Fpu`] points to the state.
const ALONE: u8 = 0;
/// A CPU does as well.
const LIVE: u8 = 1;
/// Only a CPU does.
const ORPHAN: u8 = 2;

/// Stands for the state of a thread that runs without one, for want of memory.
const HOMELESS: *mut State = core::ptr::without_provenance_mut(1);
/// A token that is never given out, and not the 0 of a state that was never loaded.
pub const NOBODY: u64 = u64::MAX;

impl State {
    fn allocate(area: Option<Area>, gs_base: u64) -> Result<NonNull<State>, OutOfMemory> {
        // SAFETY: the type has a size, and all of it is written before it is used.
        unsafe {
            let state = NonNull::new(alloc(Layout::new::<State>()).cast::<State>()).ok_or(OutOfMemory)?;
            state.write(State { area, gs_base, shared: AtomicU8::new(ALONE) });
            Ok(state)
        }
    }

    /// Makes room for `components`. What the old room held is lost.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, components: u64) -> Result<(), OutOfMemory> {
        self.area = Some(Area::new(components)?);
        Ok(())
    }

    /// Brings the CPU's registers here.
    #[inline]
    fn store_registers(&mut self, closed: bool) -> Result<(), OutOfMemory> {
        self.gs_base = read_gs_base();
        if closed {
            return Ok(());
        }
        let used = in_use();
        if self.area.as_ref().is_none_or(|area| used & !area.components != 0) {
            self.grow(used)?;
        }
        let Some(area) = &mut self.area else { return Err(OutOfMemory) };
        area.save();
        Ok(())
    }
}

/// Frees a state.
///
/// # Safety
/// It came from [`State::allocate`], and nobody uses it any more.
unsafe fn free(state: *mut State) {
    // SAFETY: per the contract.
    unsafe {
        state.drop_in_place();
        dealloc(state.cast(), Layout::new::<State>());
    }
}

/// Brings the registers to the memory where they belong.
#[inline(never)]
fn store(cpu: &percpu::PerCpu, live: *mut State) -> Result<(), OutOfMemory> {
    cpu.fpu_live.set(core::ptr::null_mut());
    cpu.fpu_installed.set(NOBODY);
    if live == HOMELESS {
        cpu.fpu_owner.set(NOBODY);
        return Err(OutOfMemory);
    }
    // SAFETY: a live state stays allocated until it is let go here, and until then nobody else touches it: the
    // thread runs on this CPU, in code that is not running now.
    unsafe {
        let result = (*live).store_registers(cpu.fpu_closed.get());
        if result.is_err() {
            cpu.fpu_owner.set(NOBODY);
        }
        if (*live).shared.swap(ALONE, Ordering::AcqRel) == ORPHAN {
            free(live);
        }
        result
    }
}

/// Brings the vector registers to memory if those of the thread that ran last on this CPU are in the CPU only: what
/// [`Fpu::save`] does, for whoever does not have the thread's `Fpu` at hand. (The state lives behind a
/// pointer of its own, known to the CPU until the `Fpu` is dropped.) To be called after every poll of a thread's future
/// that leaves it waiting.
#[inline]
pub fn leave() -> Result<(), OutOfMemory> {
    let cpu = percpu::this();
    let live = cpu.fpu_live.get();
    if live.is_null() || store_directly(cpu, live) { Ok(()) } else { store(cpu, live) }
}

/// [`store`] where the machine is recent and the state has room already; false, with nothing done, where not.
#[inline]
fn store_directly(cpu: &percpu::PerCpu, live: *mut State) -> bool {
    if live == HOMELESS || !has(Features::DIRECT_XSAVE) {
        return false;
    }
    // SAFETY: as in `store`; the room is as in `store_registers`.
    unsafe {
        if !cpu.fpu_closed.get() {
            let Some(area) = &(*live).area else { return false };
            let (ptr, mask) = (area.ptr.as_ptr(), area.components as u32);
            if in_use() & !area.components != 0 {
                return false;
            }
            if has(Features::XSAVEC) {
                asm!("xsavec64 [{}]", in(reg) ptr, in("eax") mask, in("edx") 0, options(nostack));
            } else {
                asm!("xsaveopt64 [{}]", in(reg) ptr, in("eax") mask, in("edx") 0, options(nostack));
            }
        }
        let gs_base: u64;
        asm!("swapgs", "rdgsbase {}", "swapgs", out(reg) gs_base, options(nomem, nostack, preserves_flags));
        (*live).gs_base = gs_base;
        cpu.fpu_live.set(core::ptr::null_mut());
        cpu.fpu_installed.set(NOBODY);
        if (*live).shared.swap(ALONE, Ordering::AcqRel) == ORPHAN {
            free(live);
        }
    }
    true
}

/// The floating-point and vector state of one user thread. Its registers live in the CPU while the
/// thread runs; [`Fpu::save`] brings them to memory.
#[derive(Default)]
pub struct Fpu {
    /// Which load the CPU's registers must come from to be this thread's; 0 matches none.
    token: u64,
    state: Option<NonNull<State>>,
    /// GS base as long as there is no state.
    first_gs_base: u64,
}

// SAFETY: the state behind the pointer is touched through `&mut Fpu`, or by the CPU that has the thread's registers, on
// which the thread runs; `shared` settles who frees it.
unsafe impl Send for Fpu {}
// SAFETY: a shared reference reads GS base only.
unsafe impl Sync for Fpu {}

impl Fpu {
    /// The state in which a program starts. Allocates nothing yet.
    pub fn new() -> Fpu {
        Fpu::default()
    }

    fn state(&self) -> Option<&State> {
        // SAFETY: allocated as long as this `Fpu` lives; a CPU writes to it in `store` only, while this is not used.
        self.state.map(|state| unsafe { &*state.as_ptr() })
    }

    fn area(&self) -> Option<&Area> {
        self.state()?.area.as_ref()
    }

    /// Makes sure that the CPU holds this state, to be changed by the program.
    #[inline(always)]
    pub(super) fn make_current(&mut self) {
        if self.token != percpu::this().fpu_installed.get() {
            self.install();
        }
    }

    #[inline(never)]
    fn install(&mut self) {
        let cpu = percpu::this();
        // In one place, so that what is rare costs the rest nothing.
        let state = match self.state {
            Some(state) if cpu.fpu_live.get().is_null() && has(Features::DIRECT_XSAVE) => state,
            _ => return self.install_slowly(),
        };
        if self.token != cpu.fpu_owner.get() {
            self.take_token(cpu);
            // SAFETY: a state that an `Fpu` points to is allocated, and no CPU has it live.
            let (area, gs_base) = unsafe { (&(*state.as_ptr()).area, (*state.as_ptr()).gs_base) };
            match area {
                Some(area) => {
                    open(cpu);
                    // SAFETY: as for `load_registers`.
                    unsafe {
                        asm!("xrstor64 [{}]", in(reg) area.ptr.as_ptr(), in("eax") u32::MAX, in("edx") u32::MAX,
                             options(nostack));
                    }
                }
                None => close(cpu),
            }
            // SAFETY: see `write_gs_base`.
            unsafe {
                asm!("swapgs", "wrgsbase {}", "swapgs", in(reg) gs_base, options(nomem, nostack, preserves_flags));
            }
        }
        // SAFETY: as above.
        unsafe { (*state.as_ptr()).shared.store(LIVE, Ordering::Relaxed) };
        cpu.fpu_live.set(state.as_ptr());
        cpu.fpu_installed.set(self.token);
    }

    /// A new token for the state, which this CPU is about to hold.
    #[inline]
    fn take_token(&mut self, cpu: &percpu::PerCpu) {
        // The CPU's number is in the low bits from the start, so tokens of different CPUs differ.
        self.token = cpu.fpu_token.get() + crate::MAX_CPUS as u64;
        cpu.fpu_token.set(self.token);
        cpu.fpu_owner.set(self.token);
    }

    #[cold]
    #[inline(never)]
    fn install_slowly(&mut self) {
        let cpu = percpu::this();
        let live = cpu.fpu_live.get();
        if !live.is_null() {
            // Of a thread that ended here, most likely: who would hear of missing memory is gone.
            let _ = store(cpu, live);
        }
        if self.token != cpu.fpu_owner.get() {
            self.take_token(cpu);
            match self.area() {
                Some(area) => {
                    open(cpu);
                    // SAFETY: it was written by the CPU or checked by it, and lives while it is borrowed.
                    unsafe { load_registers(area.ptr.as_ptr()) };
                }
                None => close(cpu),
            }
            write_gs_base(self.state().map_or(self.first_gs_base, |state| state.gs_base));
        }
        if self.state.is_none() {
            // Without memory the thread goes on; whoever saves it hears of it.
            self.state = State::allocate(None, self.first_gs_base).ok();
        }
        if let Some(state) = self.state() {
            state.shared.store(LIVE, Ordering::Relaxed);
        }
        cpu.fpu_live.set(self.state.map_or(HOMELESS, NonNull::as_ptr));
        cpu.fpu_installed.set(self.token);
    }

    /// Lets the thread, which has just run here, use the registers. False if it could already.
    pub(super) fn open(&mut self) -> bool {
        self.make_current();
        let cpu = percpu::this();
        let closed = cpu.fpu_closed.get();
        open(cpu);
        closed
    }

    /// Whether the registers of this CPU are this thread's and newer than memory.
    fn is_live(&self) -> bool {
        let cpu = percpu::this();
        !cpu.fpu_live.get().is_null() && cpu.fpu_installed.get() == self.token
    }

    /// Gives up what the CPU has and memory has not.
    fn discard(&mut self) {
        if self.is_live() {
            let cpu = percpu::this();
            cpu.fpu_live.set(core::ptr::null_mut());
            cpu.fpu_installed.set(NOBODY);
            if let Some(state) = self.state() {
                state.shared.store(ALONE, Ordering::Relaxed);
            }
        }
        self.token = 0;
    }

    /// Brings the registers to memory if this thread's are in the CPU and may have changed. To be called when the
    /// thread leaves the CPU. Fails only if the machine needed memory for it and there is none.
    pub fn save(&mut self) -> Result<(), OutOfMemory> {
        if !self.is_live() {
            return Ok(());
        }
        let cpu = percpu::this();
        if self.state.is_none() {
            let state = State::allocate(None, 0)?;
            self.state = Some(state);
            cpu.fpu_live.set(state.as_ptr());
        }
        store(cpu, cpu.fpu_live.get())
    }

    /// A copy for a new thread: of what the CPU has, if that is newer than memory.
    pub fn fork(&mut self) -> Result<Fpu, OutOfMemory> {
        let area = if !self.is_live() {
            self.area().map(Area::copy).transpose()?
        } else if percpu::this().fpu_closed.get() {
            None
        } else {
            let mut area = Area::new(in_use())?;
            area.save();
            Some(area)
        };
        Ok(Fpu { token: 0, state: Some(State::allocate(area, self.gs_base() as u64)?), first_gs_base: 0 })
    }

    /// Back to the state in which a program starts.
    pub fn reset(&mut self) {
        *self = Fpu::new();
    }

    /// The GS base, which programs may use as they like.
    pub fn gs_base(&self) -> usize {
        if self.is_live() {
            return read_gs_base() as usize;
        }
        self.state().map_or(self.first_gs_base, |state| state.gs_base) as usize
    }

    /// Sets the GS base. Bits above the user half are dropped, as the machine does not take every 64-bit value.
    pub fn set_gs_base(&mut self, base: usize) {
        let base = base as u64 & ((1 << 47) - 1);
        if self.is_live() {
            return write_gs_base(base);
        }
        self.token = 0;
        match self.state {
            // SAFETY: ours, and no CPU's.
            Some(state) => unsafe { (*state.as_ptr()).gs_base = base },
            None => self.first_gs_base = base,
        }
    }

    /// Bytes that [`Fpu::write`] gives for the state as it is now. The frame must start on a multiple of 64.
    pub fn frame_size(&mut self) -> usize {
        frame_bytes()
    }

    /// Writes the state into a signal frame at `addr` of the active address space, in the format that the machine's users
    /// expect of it: [`Fpu::frame_size`] bytes (x86_64: from a multiple of 64 on, the XSAVE area in standard format with its
    /// software-reserved bytes; aarch64: FPSR, FPCR and 32 vector registers, as they follow the head of `struct
    /// fpsimd_context`). The handler starts with what the machine's ABI gives it: on x86_64 the state in which a program starts,
    /// on aarch64 the state as it is. On a fault nothing has changed but the frame.
    pub fn push(&mut self, addr: VirtAddr) -> Result<(), PageFault> {
        self.open();
        let size = STANDARD_SIZE.load(Ordering::Relaxed);
        if size == 0 {
            usercopy::save_vectors(addr)?;
        } else {
            let put = |offset: usize, bytes: &[u8]| {
                usercopy::write(VirtAddr(addr.0.wrapping_add(offset)), bytes).map_err(|(fault, _)| fault)
            };
            put(SW_AT, description())?;
            usercopy::save_vectors(addr)?;
            put(size as usize, &MAGIC2.to_le_bytes())?;
        }
        // SAFETY: the registers are open, and the image is static.
        unsafe { load_registers((&raw const INITIAL).cast()) };
        Ok(())
    }

    /// Takes the state from a signal frame at `addr`. `Ok(false)` if the bytes there are no valid state; then it is the one in which
    /// a program starts. After a fault it is anything that a program may have; the call is to be made again.
    pub fn pop(&mut self, addr: VirtAddr) -> Result<bool, PageFault> {
        self.open();
        let enabled = ENABLED.load(Ordering::Relaxed);
        let wanted = self.described(addr, enabled)?;
        if wanted != enabled {
            // SAFETY: as in `push`.
            unsafe { load_registers((&raw const INITIAL).cast()) };
        }
        let valid = addr.0.is_multiple_of(64) && usercopy::load_vectors(addr, wanted)?;
        if !valid {
            // SAFETY: as in `push`.
            unsafe { load_registers((&raw const INITIAL).cast()) };
        }
        Ok(valid)
    }

    /// The components that the frame at `addr` says it holds. One without the extended part is plain FXSAVE.
    fn described(&self, addr: VirtAddr, enabled: u64) -> Result<u64, PageFault> {
        let size = STANDARD_SIZE.load(Ordering::Relaxed);
        if size == 0 {
            return Ok(0);
        }
        let get = |offset: usize, bytes: &mut [u8]| {
            usercopy::read(VirtAddr(addr.0.wrapping_add(offset)), bytes).map_err(|(fault, _)| fault)
        };
        let mut words = [[0; 8]; 3];
        get(SW_AT, words.as_flattened_mut())?;
        let [magic, components, described] = words.map(u64::from_le_bytes);
        if magic as u32 != MAGIC1 || described as u32 != size {
            return Ok(0);
        }
        let mut mark = [0; 4];
        get(size as usize, &mut mark)?;
        Ok(if u32::from_le_bytes(mark) == MAGIC2 { components & enabled } else { 0 })
    }

    /// Back to the state in which a program starts, but for GS base.
    pub fn clear(&mut self) {
        self.open();
        // SAFETY: as in `push`.
        unsafe { load_registers((&raw const INITIAL).cast()) };
    }
}

/// Lets programs use the registers.
#[inline]
fn open(cpu: &percpu::PerCpu) {
    if cpu.fpu_closed.replace(false) {
        // SAFETY: clears CR0.TS, which nothing but this module looks at.
        unsafe { asm!("clts", options(nomem, nostack, preserves_flags)) };
    }
}

/// Makes the next use of the registers trap. They then hold the first state, so that nothing of another thread's is in reach
/// of a CPU that runs ahead of the trap.
#[inline]
fn close(cpu: &percpu::PerCpu) {
    const TS: u64 = 1 << 3;
    if !cpu.fpu_closed.replace(true) {
        // SAFETY: the registers are open until the bit is set, which nothing but this module looks at.
        unsafe {
            load_registers((&raw const INITIAL).cast());
            asm!("mov {0}, cr0", "or {0}, {1}", "mov cr0, {0}", out(reg) _, const TS, options(nomem, nostack));
        }
    }
}

/// Loads the registers.
///
/// # Safety
/// They are open. The image is aligned to 64, large enough for the components that its header names, and valid: it was written
/// by the CPU or is [`INITIAL`].
unsafe fn load_registers(image: *const u8) {
    // SAFETY: per the contract.
    unsafe {
        if has(Features::XSAVE) {
            asm!("xrstor64 [{}]", in(reg) image, in("eax") u32::MAX, in("edx") u32::MAX, options(nostack));
        } else {
            asm!("fxrstor64 [{}]", in(reg) image, options(nostack));
        }
    }
}

impl Drop for Fpu {
    fn drop(&mut self) {
        self.discard();
        let Some(state) = self.state else { return };
        // SAFETY: if no CPU points to the state, nobody does after this; else that CPU frees it.
        unsafe {
            if (*state.as_ptr()).shared.swap(ORPHAN, Ordering::AcqRel) != LIVE {
                free(state.as_ptr());
            }
        }
    }
}

const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;

/// The user's GS base, which SWAPGS has put aside while the kernel runs.
fn read_gs_base() -> u64 {
    if percpu::this().fsgsbase.get() == 0 {
        // SAFETY: the register exists on every x86_64.
        return unsafe { Msr::new(MSR_KERNEL_GS_BASE).read() };
    }
    let base;
    // SAFETY: between the two SWAPGS nothing uses GS: interrupts are masked, and NMI checks what it finds.
    unsafe { asm!("swapgs", "rdgsbase {}", "swapgs", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

/// Sets it. The address must be canonical, which those of this module are.
fn write_gs_base(base: u64) {
    // SAFETY: as in `read_gs_base`; user mode alone uses the value.
    unsafe {
        if percpu::this().fsgsbase.get() == 0 {
            Msr::new(MSR_KERNEL_GS_BASE).write(base);
        } else {
            asm!("swapgs", "wrgsbase {}", "swapgs", in(reg) base, options(nomem, nostack, preserves_flags));
        }
    }
}
