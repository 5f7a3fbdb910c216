//! The simulated machine: x86_64's numbers, and a signal frame that holds the simulated registers.

#[path = "old_numbers.rs"]
mod old_numbers;

#[path = "stat_x86_64.rs"]
mod stat;

pub use old_numbers::old_number;
pub use stat::encode_stat;

use crate::args::Args;
use crate::coredump::Note;
use crate::frame::Saved;
use crate::table::{Calls, fast};
use arch::addr::VirtAddr;
use base::{Errno, Result};
use memory::user::UserPtr;
use process::Current;
use process::signal::{Action, Disposition, Siginfo, Signal, SignalSet};

/// The calls that no other architecture has.
pub const CALLS: Calls = &[(linux_raw_sys::general::__NR_arch_prctl, fast!(arch_prctl))];

/// What uname(2) calls the machine.
pub const MACHINE: &str = "simulated";
/// `e_machine` of programs: none.
pub const ELF_MACHINE: u16 = 0;
/// The smallest alternate signal stack.
pub const MINSIGSTKSZ: usize = 2048;
/// A simulated program has no code in memory: no address is behind a system call.
pub const SYSCALL_INSTRUCTION: [u8; 1] = [0];
/// There is no trampoline: a script returns by itself.
pub const TRAMPOLINE: &[u8] = &[];

/// The last two arguments of clone(2): where the child's id goes, and the thread pointer.
pub fn clone_tail(args: &Args) -> (VirtAddr, usize) {
    (args.addr(3), args.size(4))
}

/// What follows the permissions in `struct semid64_ds`: its times and its count.
pub const fn semaphore_status(operated: i64, changed: i64, count: usize) -> [u64; 7] {
    [operated as u64, 0, changed as u64, 0, count as u64, 0, 0]
}

/// The general registers as a core file has them.
pub fn core_registers(current: &Current) -> [u64; 2] {
    [current.cx.pc() as u64, current.cx.sp() as u64]
}

/// Hands the vector state to `note` as a core file has it: there is none.
pub fn core_vectors(_: &Current, _: &[u8], _: &mut Note<'_>) -> Result<()> {
    Ok(())
}

/// The signal of a breakpoint instruction.
pub fn breakpoint(_: usize) -> Siginfo {
    Siginfo::kernel(Signal::SIGTRAP)
}

/// arch_prctl(2) has nothing to set here.
fn arch_prctl(_: &mut Current, _: &Args) -> Result<usize> {
    Err(Errno::EINVAL.into())
}

/// The highest address below `sp` that the running function does not use.
pub fn below_red_zone(sp: usize) -> usize {
    sp
}

/// Words of a frame: pc, sp, result, 16 registers, mask, alternate stack, and the number and arguments that a call which
/// is issued again after the handler still needs.
const WORDS: usize = 30;

/// Builds the frame below `top`; returns its lowest address.
pub fn push_frame(current: &mut Current, top: usize, info: &Siginfo, action: &Action, saved: &Saved) -> Result<usize> {
    let sp = top.wrapping_sub(WORDS * 8) & !15;
    let mut words = [0u64; WORDS];
    let cx = &current.cx;
    words[..3].copy_from_slice(&[cx.pc as u64, cx.sp as u64, cx.ret as u64]);
    for (word, reg) in words[3..19].iter_mut().zip(cx.regs) {
        *word = reg as u64;
    }
    words[19] = saved.mask.0;
    words[20..23].copy_from_slice(&saved.stack);
    words[23] = cx.nr as u64;
    for (word, arg) in words[24..].iter_mut().zip(cx.args) {
        *word = arg as u64;
    }
    UserPtr::<u64>::new(VirtAddr(sp)).write_slice(&words)?;
    let Disposition::Handler(handler) = action.disposition else { return Err(Errno::EINVAL.into()) };
    current.cx.call(handler, sp, [info.signal.number().into(), 0, sp], 0);
    Ok(sp)
}

/// Takes the frame at the stack pointer.
pub fn pop_frame(current: &mut Current) -> Result<Saved> {
    let mut words = [0u64; WORDS];
    UserPtr::<u64>::new(VirtAddr(current.cx.sp)).read_slice(&mut words)?;
    let cx = &mut current.cx;
    (cx.pc, cx.sp, cx.ret) = (words[0] as usize, words[1] as usize, words[2] as usize);
    for (reg, word) in cx.regs.iter_mut().zip(&words[3..19]) {
        *reg = *word as usize;
    }
    cx.nr = words[23] as usize;
    for (arg, word) in cx.args.iter_mut().zip(&words[24..]) {
        *arg = *word as usize;
    }
    Ok(Saved { mask: SignalSet(words[19]), stack: [words[20], words[21], words[22]] })
}
