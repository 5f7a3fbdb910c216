//! Exceptions in the kernel: a refused access to user memory goes on at its fixup; anything else is a
//! defect and ends in a panic with the registers.

use super::{percpu, tables};
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The registers as vectors.S stores them on the kernel stack.
#[repr(C)]
pub struct Frame {
    x: [u64; 31],
    sp: u64,
    elr: u64,
    spsr: u64,
    esr: u64,
    far: u64,
}

/// One line of the fixup table: an abort on a user address at first..last goes on at `target`.
#[repr(C)]
struct Fixup {
    first: u64,
    last: u64,
    target: u64,
}

global_asm!(
    ".set FRAME, {frame}",
    ".set STACK_SHIFT, {shift}",
    ".set EMERGENCY, {emergency}",
    include_str!("vectors.S"),
    frame = const size_of::<Frame>(),
    shift = const tables::STACK_SHIFT,
    emergency = const percpu::EMERGENCY,
);

const _: () = assert!(size_of::<Frame>() == 288);
const DATA_ABORT: u64 = 0x25;

// SAFETY: the linker script defines both, around the table of `Fixup`s that the assembly fills; only their addresses are used.
unsafe extern "C" {
    static __fixup_start: [Fixup; 0];
    static __fixup_end: [Fixup; 0];
}

fn fixups() -> &'static [Fixup] {
    let start = (&raw const __fixup_start).cast::<Fixup>();
    let end = (&raw const __fixup_end).cast::<Fixup>();
    // SAFETY: the linker script puts whole lines, and only these, between the two symbols.
    unsafe { core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
}

#[unsafe(no_mangle)]
extern "C" fn kernel_fault(frame: &mut Frame, kind: u64) {
    let user_address = frame.far >> 55 & 1 == 0;
    if kind == 0 && frame.esr >> 26 & 0x3f == DATA_ABORT && user_address {
        for fixup in fixups() {
            if (fixup.first..fixup.last).contains(&frame.elr) {
                frame.elr = fixup.target;
                return;
            }
        }
    }
    die(frame, kind);
}

/// An exception that the kernel did not expect.
#[cold]
fn die(frame: &Frame, kind: u64) -> ! {
    static DYING: AtomicBool = AtomicBool::new(false);
    if DYING.swap(true, Relaxed) {
        // The panic itself failed.
        super::power::halt();
    }
    let what = match kind {
        0 => "exception",
        2 => "SError",
        _ => "exception through an unused vector",
    };
    panic!(
        "{what} in the kernel on CPU {}: ESR {:#x} FAR {:#x} PC {:#x} SP {:#x} PSTATE {:#x} X0-X30 {:x?}",
        percpu::current().id(),
        frame.esr,
        frame.far,
        frame.elr,
        frame.sp,
        frame.spsr,
        frame.x,
    );
}

#[unsafe(no_mangle)]
extern "C" fn kernel_overflow(sp: u64, elr: u64, esr: u64, far: u64) -> ! {
    panic!("kernel stack overflow on CPU {}: SP {sp:#x} PC {elr:#x} ESR {esr:#x} FAR {far:#x}", percpu::current().id());
}

/// The memory system reported an error that belongs to no instruction.
#[cold]
pub fn system_error(pc: u64) -> ! {
    panic!("SError in user mode on CPU {}, PC {pc:#x}", percpu::current().id());
}
