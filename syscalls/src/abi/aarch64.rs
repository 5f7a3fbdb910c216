//! aarch64.

use crate::args::Args;
use crate::coredump::Note;
use crate::frame::{Saved, unsound};
use crate::legacy::Old;
use crate::table::Calls;
use arch::addr::VirtAddr;
use base::{Errno, Result, Timespec};
use core::mem::MaybeUninit;
use memory::user::UserPtr;
use process::Current;
use process::signal::{Action, Disposition, SaFlags, Siginfo, Signal, SignalSet, code, info};
use vfs::Metadata;

/// What uname(2) calls the machine.
pub const MACHINE: &str = "aarch64";
/// `e_machine` of programs.
pub const ELF_MACHINE: u16 = 183;
/// The smallest alternate signal stack.
pub const MINSIGSTKSZ: usize = 5120;
/// Code of the sigreturn trampoline: `mov x8, #139; svc #0`.
pub const TRAMPOLINE: &[u8] = &[0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];
/// `svc #0`.
pub const SYSCALL_INSTRUCTION: [u8; 4] = [0x01, 0x00, 0x00, 0xd4];
/// aarch64 has no calls of its own.
pub const CALLS: Calls = &[];

/// The number of an old call: aarch64 has none of them.
pub const fn old_number(_: Old) -> Option<u32> {
    None
}

/// The last two arguments of clone(2): where the child's id goes, and the thread pointer.
pub fn clone_tail(args: &Args) -> (VirtAddr, usize) {
    (args.addr(4), args.size(3))
}

/// What follows the permissions in `struct semid64_ds`: its times and its count.
pub const fn semaphore_status(operated: i64, changed: i64, count: usize) -> [u64; 5] {
    [operated as u64, changed as u64, count as u64, 0, 0]
}

/// The general registers as a core file has them (`struct user_pt_regs`).
pub fn core_registers(current: &Current) -> [u64; 34] {
    let mut registers = [0; 34];
    registers[..31].copy_from_slice(&current.cx.x);
    registers[31..].copy_from_slice(&[current.cx.sp, current.cx.pc, current.cx.pstate()]);
    registers
}

/// Hands the vector state, which is as a signal frame has it, and the thread pointer to `note` as a core file has them: whose note,
/// its type and data.
pub fn core_vectors(current: &Current, frame: &[u8], note: &mut Note<'_>) -> Result<()> {
    const FPREGSET: u32 = 2;
    const TLS: u32 = 0x401;
    const CONTROL: usize = 8;
    // FPSR and FPCR come first in a frame, and last, with room behind, in a core file.
    let mut registers = [0; 512 + 2 * CONTROL];
    if frame.len() >= 512 + CONTROL {
        registers[..512].copy_from_slice(&frame[CONTROL..512 + CONTROL]);
        registers[512..512 + CONTROL].copy_from_slice(&frame[..CONTROL]);
        note(b"CORE", FPREGSET, &registers)?;
    }
    note(b"LINUX", TLS, &current.cx.tls().to_le_bytes())
}

/// The signal of a breakpoint instruction.
pub fn breakpoint(pc: usize) -> Siginfo {
    Siginfo::fault(Signal::SIGTRAP, code::TRAP_BRKPT, pc)
}

/// The highest address below `sp` that the running function does not use.
pub fn below_red_zone(sp: usize) -> usize {
    sp
}

/// `struct rt_sigframe` in words: siginfo, then ucontext.
const UCONTEXT: usize = info::SIZE / 8;
/// uc_stack: after uc_flags and uc_link. uc_sigmask follows.
const STACK: usize = UCONTEXT + 2;
/// uc_mcontext: after 128 bytes of mask, of which eight say something, at the next multiple of 16. First the fault address.
const MCONTEXT: usize = UCONTEXT + 22;
/// 31 registers, sp, pc, pstate.
const REGISTERS: usize = MCONTEXT + 1;
/// Extension records, at the next multiple of 16.
const RECORDS: usize = MCONTEXT + 36;
/// Room for records that every frame has.
const RECORD_BYTES: usize = 4096;
/// The whole frame in bytes.
const FRAME: usize = RECORDS * 8 + RECORD_BYTES;

const FPSIMD_MAGIC: u32 = 0x4650_8001;
/// The record of vector registers: head, FPSR and FPCR, 32 registers.
const FPSIMD_BYTES: usize = 528;
const ESR_MAGIC: u32 = 0x4553_5201;

/// Builds the frame below `top`; returns its lowest address.
pub fn push_frame(current: &mut Current, top: usize, info: &Siginfo, action: &Action, saved: &Saved) -> Result<usize> {
    let Disposition::Handler(handler) = action.disposition else { return Err(Errno::EINVAL.into()) };
    // A frame record, so that the handler's caller can be found.
    let record = (top & !15).wrapping_sub(16);
    let sp = record.wrapping_sub(FRAME) & !15;
    UserPtr::<[u64; 2]>::new(VirtAddr(record)).write(&[current.cx.x[29], current.cx.x[30]])?;
    let at = UserPtr::<u64>::new(VirtAddr(sp));
    at.write_slice(&head(info, saved))?;
    at.add(MCONTEXT).write(&current.cx.far)?;
    at.add(REGISTERS).write_slice(current.cx.general())?;
    at.add(RECORDS).write(&record_head(FPSIMD_MAGIC, FPSIMD_BYTES))?;
    current.fpu.push(at.add(RECORDS + 1).addr())?;
    // The last record, and the end of the list.
    let last = at.add(RECORDS + FPSIMD_BYTES / 8).cast::<[u64; 2]>();
    last.write(&[record_head(ESR_MAGIC, 16), current.cx.esr])?;
    last.add(1).write(&[0, 0])?;
    let link = if action.flags.contains(SaFlags::RESTORER) { action.restorer } else { current.trampoline.0 };
    current.cx.call(handler, sp, [info.signal.number().into(), sp, sp + UCONTEXT * 8], link);
    current.cx.x[29] = record as u64;
    Ok(sp)
}

/// siginfo and the ucontext up to the part of the mask that says something.
#[inline]
fn head(info: &Siginfo, saved: &Saved) -> [u64; UCONTEXT + 6] {
    let [i0, i1, i2, i3, i4, i5] = info.words();
    let [base, flags, size] = saved.stack;
    [i0, i1, i2, i3, i4, i5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, base, flags, size, saved.mask.0]
}

fn record_head(magic: u32, size: usize) -> u64 {
    u64::from(magic) | (size as u64) << 32
}

/// Takes the frame at the stack pointer. What a program may not set is put right or refused by the context
/// itself. Without sound vector registers, see [`unsound`].
pub fn pop_frame(current: &mut Current) -> Result<Saved> {
    let sp = current.cx.sp();
    if !sp.is_multiple_of(16) {
        return Err(Errno::EFAULT.into());
    }
    let at = UserPtr::<u64>::new(VirtAddr(sp));
    let stack = at.add(STACK).cast::<[u64; 2]>();
    let ([base, flags], [size, mask]) = (stack.read()?, stack.add(1).read()?);
    let mut general = MaybeUninit::uninit();
    let general = at.add(REGISTERS).cast().read_into(&mut general)?;
    let sound = restore_vectors(current, sp + RECORDS * 8)?;
    current.cx.set_general(general);
    if !sound {
        return Err(unsound(current, SignalSet(mask)));
    }
    Ok(Saved { mask: SignalSet(mask), stack: [base, flags, size] })
}

/// Finds the vector registers among the records. False for a list without them, and for one with unknown records.
fn restore_vectors(current: &mut Current, records: usize) -> Result<bool> {
    let mut at = 0;
    let mut found = false;
    while at + 8 <= RECORD_BYTES {
        let [magic, size] = UserPtr::<[u32; 2]>::new(VirtAddr(records + at)).read()?;
        match (magic, size as usize) {
            (0, 0) => break,
            (FPSIMD_MAGIC, FPSIMD_BYTES) if !found => {
                found = current.fpu.pop(VirtAddr(records + at + 8))?;
            }
            (ESR_MAGIC, 16) => {}
            _ => return Ok(false),
        }
        at += size as usize;
    }
    Ok(found)
}

/// Bytes in `struct stat`.
pub const STAT: usize = 128;

/// `metadata` as `struct stat`.
pub fn encode_stat(metadata: &Metadata) -> [u8; STAT] {
    let m = metadata;
    let mut words = [0u64; STAT / 8];
    words[0] = m.dev.encode();
    words[1] = m.ino;
    words[2] = u64::from(m.st_mode()) | u64::from(m.nlink) << 32;
    words[3] = u64::from(m.uid) | u64::from(m.gid) << 32;
    words[4] = m.rdev.encode();
    words[6] = m.size;
    words[7] = m.block_size.into();
    words[8] = m.blocks;
    for (i, Timespec { sec, nsec }) in [m.atime, m.mtime, m.ctime].into_iter().enumerate() {
        words[9 + 2 * i] = sec as u64;
        words[10 + 2 * i] = nsec as u64;
    }
    super::words_to_bytes(&words)
}
