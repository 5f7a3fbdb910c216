//! x86_64.

#[path = "old_numbers.rs"]
mod old_numbers;

#[path = "stat_x86_64.rs"]
mod stat;

pub use old_numbers::old_number;
pub use stat::encode_stat;

use crate::args::Args;
use crate::coredump::Note;
use crate::frame::{Saved, unsound};
use crate::table::{Calls, fast};
use arch::addr::VirtAddr;
use base::{Errno, Result};
use core::mem::MaybeUninit;
use memory::user::UserPtr;
use process::Current;
use process::signal::{Action, Disposition, SaFlags, Siginfo, Signal, SignalSet, info};

/// The calls that no other architecture has.
pub const CALLS: Calls = &[(linux_raw_sys::general::__NR_arch_prctl, fast!(arch_prctl))];

/// What uname(2) calls the machine.
pub const MACHINE: &str = "x86_64";
/// `e_machine` of programs.
pub const ELF_MACHINE: u16 = 62;
/// The smallest alternate signal stack.
pub const MINSIGSTKSZ: usize = 2048;
/// `syscall`.
pub const SYSCALL_INSTRUCTION: [u8; 2] = [0x0f, 0x05];
/// Code of the sigreturn trampoline that the kernel supplies: none, programs bring their own.
pub const TRAMPOLINE: &[u8] = &[];

/// The last two arguments of clone(2): where the child's id goes, and the thread pointer.
pub fn clone_tail(args: &Args) -> (VirtAddr, usize) {
    (args.addr(3), args.size(4))
}

/// What follows the permissions in `struct semid64_ds`: its times and its count.
pub const fn semaphore_status(operated: i64, changed: i64, count: usize) -> [u64; 7] {
    [operated as u64, 0, changed as u64, 0, count as u64, 0, 0]
}

/// The general registers as a core file has them (`struct user_regs_struct`).
pub fn core_registers(current: &Current) -> [u64; 27] {
    let mut regs = [0; arch::user::REGS];
    current.cx.store_regs(&mut regs);
    let (cs, ss) = current.cx.segments();
    let (fs_base, gs_base) = (current.cx.tls() as u64, current.fpu.gs_base() as u64);
    let [r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags] = regs;
    let [orig, cs, ss] = [current.cx.orig_rax(), cs.into(), ss.into()];
    // DS, ES, FS and GS select nothing.
    [
        r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig, rip, cs, rflags, rsp, ss,
        fs_base, gs_base, 0, 0, 0, 0,
    ]
}

/// Hands the vector state, which is as a signal frame has it, to `note` as a core file has it: whose note, its type and data.
pub fn core_vectors(_: &Current, frame: &[u8], note: &mut Note<'_>) -> Result<()> {
    const FPREGSET: u32 = 2;
    const XSTATE: u32 = 0x202;
    const LEGACY: usize = 512;
    // In a frame these words, which the CPU leaves alone, hold a mark, and the components that there are; in a core file the latter.
    const MARK: usize = 464;
    let Some(legacy) = frame.get(..LEGACY) else { return Ok(()) };
    note(b"CORE", FPREGSET, legacy)?;
    let mut area = alloc::vec::Vec::new();
    area.try_reserve_exact(frame.len()).map_err(|_| Errno::ENOMEM)?;
    // Behind the area is another mark.
    area.extend_from_slice(&frame[..frame.len() & !7]);
    if area.len() > LEGACY {
        area.copy_within(MARK + 8..MARK + 16, MARK);
        note(b"LINUX", XSTATE, &area)?;
    }
    Ok(())
}

/// The signal of a breakpoint instruction.
pub fn breakpoint(_: usize) -> Siginfo {
    Siginfo::kernel(Signal::SIGTRAP)
}

/// arch_prctl(2): the FS and GS bases.
fn arch_prctl(current: &mut Current, args: &Args) -> Result<usize> {
    const SET_GS: u32 = 0x1001;
    const SET_FS: u32 = 0x1002;
    const GET_FS: u32 = 0x1003;
    const GET_GS: u32 = 0x1004;
    let base = args.size(1);
    let check = || if base < arch::paging::USER_END.0 { Ok(()) } else { Err(Errno::EPERM) };
    match args.uint(0) {
        SET_FS => {
            check()?;
            current.cx.set_tls(base);
        }
        SET_GS => {
            check()?;
            current.fpu.set_gs_base(base);
        }
        GET_FS => args.ptr::<usize>(1).write(&current.cx.tls())?,
        GET_GS => args.ptr::<usize>(1).write(&current.fpu.gs_base())?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// The highest address below `sp` that the running function does not use.
pub fn below_red_zone(sp: usize) -> usize {
    sp.wrapping_sub(128)
}

/// Where the registers are in `struct rt_sigframe`, in words: after the return address, uc_flags, uc_link and uc_stack.
const MCONTEXT: usize = 6;
/// uc_sigmask: after 23 words of registers, the pointer to the vector state, and eight more.
const SIGMASK: usize = MCONTEXT + 32;
/// siginfo.
const INFO: usize = SIGMASK + 1;
/// The words that say something; then siginfo has zeros up to the end.
const SAID: usize = INFO + info::WORDS;
/// All of it.
const WORDS: usize = INFO + info::SIZE / 8;
/// The pointer to the vector state.
const FPSTATE: usize = MCONTEXT + 23;

/// UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
const UC_FLAGS: u64 = 7;

/// Builds the frame below `top`; returns its lowest address.
pub fn push_frame(current: &mut Current, top: usize, info: &Siginfo, action: &Action, saved: &Saved) -> Result<usize> {
    let Disposition::Handler(handler) = action.disposition else { return Err(Errno::EINVAL.into()) };
    if !action.flags.contains(SaFlags::RESTORER) {
        return Err(Errno::EFAULT.into());
    }
    let fpstate = top.wrapping_sub(current.fpu.frame_size()) & !63;
    let sp = (fpstate.wrapping_sub(WORDS * 8) & !15).wrapping_sub(8);
    let words = words(current, info, action, saved, fpstate);
    let at = UserPtr::<u64>::new(VirtAddr(sp));
    at.write_slice(&words)?;
    at.add(SAID).zero(WORDS - SAID)?;
    current.fpu.push(VirtAddr(fpstate))?;
    current.cx.call(handler, sp, [info.signal.number().into(), sp + INFO * 8, sp + 8], 0);
    Ok(sp)
}

fn words(current: &Current, info: &Siginfo, action: &Action, saved: &Saved, fpstate: usize) -> [u64; SAID] {
    let (cs, ss) = current.cx.segments();
    let (trap, error, cr2) = current.cx.last_trap();
    let segments = u64::from(cs) | u64::from(ss) << 48;
    let [base, flags, size] = saved.stack;
    let [i0, i1, i2, i3, i4, i5] = info.words();
    #[rustfmt::skip]
    let mut words = [
        action.restorer as u64, UC_FLAGS, 0, base, flags, size,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        segments, error, trap, saved.mask.0, cr2, fpstate as u64, 0, 0, 0, 0, 0, 0, 0, 0,
        saved.mask.0, i0, i1, i2, i3, i4, i5,
    ];
    if let Some(general) = words[MCONTEXT..].first_chunk_mut() {
        current.cx.store_regs(general);
    }
    words
}

/// Takes the frame that the stack pointer points past the return address of. What a program may not set is put
/// right or refused by the context itself. Without sound vector registers, see [`unsound`].
pub fn pop_frame(current: &mut Current) -> Result<Saved> {
    let sp = current.cx.sp().wrapping_sub(8);
    let mut words = MaybeUninit::uninit();
    let words = UserPtr::<[u64; INFO]>::new(VirtAddr(sp)).read_into(&mut words)?;
    let sound = match words[FPSTATE] as usize {
        0 => {
            current.fpu.clear();
            true
        }
        fpstate => current.fpu.pop(VirtAddr(fpstate))?,
    };
    if let Some(general) = words[MCONTEXT..].first_chunk() {
        current.cx.set_regs(general);
    }
    let mask = SignalSet(words[SIGMASK]);
    if !sound {
        return Err(unsound(current, mask));
    }
    Ok(Saved { mask, stack: [words[3], words[4], words[5]] })
}
