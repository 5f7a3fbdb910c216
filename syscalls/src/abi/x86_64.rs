//! x86_64.

#[path = "old_numbers.rs"]
mod old_numbers;

#[path = "stat_x86_64.rs"]
mod stat;

pub use old_numbers::old_number;
pub use stat::encode_stat;

use crate::args::Args;
use crate::frame::Saved;
use crate::table::{Calls, fast};
use arch::addr::VirtAddr;
use arch::user::Regs;
use base::{Errno, Result};
use memory::user::UserPtr;
use process::Current;
use process::signal::{Action, SaFlags, Siginfo, Signal, SignalSet, info};

/// The calls that no other architecture has.
pub const CALLS: Calls = &[(linux_raw_sys::general::__NR_arch_prctl, fast(arch_prctl))];

/// What uname(2) calls the machine.
pub const MACHINE: &str = "x86_64";
/// `e_machine` of programs.
pub const ELF_MACHINE: u16 = 62;
/// The smallest alternate signal stack.
pub const MINSIGSTKSZ: usize = 2048;
/// Code of the sigreturn trampoline that the kernel supplies: none, programs bring their own.
pub const TRAMPOLINE: &[u8] = &[];

/// The last two arguments of clone(2): where the child's id goes, and the thread pointer.
pub fn clone_tail(args: &Args) -> (VirtAddr, usize) {
    (args.addr(3), args.size(4))
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

/// Words of `struct rt_sigframe`: return address, ucontext, siginfo.
const WORDS: usize = 55;
/// Where the registers are in it, in words: after the return address, uc_flags, uc_link and uc_stack.
const MCONTEXT: usize = 6;
/// uc_sigmask.
const SIGMASK: usize = MCONTEXT + 32;
/// siginfo.
const INFO: usize = SIGMASK + 1;
/// The pointer to the vector state.
const FPSTATE: usize = MCONTEXT + 23;

/// UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
const UC_FLAGS: u64 = 7;

/// Builds the frame below `top`; returns its lowest address.
pub fn push_frame(current: &mut Current, top: usize, info: &Siginfo, action: &Action, saved: &Saved) -> Result<usize> {
    if !action.flags.contains(SaFlags::RESTORER) {
        return Err(Errno::EFAULT.into());
    }
    let size = current.fpu.frame_size();
    let fpstate = top.wrapping_sub(size) & !63;
    let sp = (fpstate.wrapping_sub(WORDS * 8) & !15).wrapping_sub(8);
    let mut words = [0u64; WORDS];
    words[0] = action.restorer as u64;
    words[1] = UC_FLAGS;
    words[3..6].copy_from_slice(&saved.stack);
    fill_mcontext(current, &mut words, saved, fpstate);
    words[SIGMASK] = saved.mask.0;
    let encoded = info.encode();
    for (word, bytes) in words[INFO..].iter_mut().zip(encoded.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    write_fpu(current, fpstate, size)?;
    UserPtr::<u64>::new(VirtAddr(sp)).write_slice(&words)?;
    let Siginfo { signal, .. } = *info;
    let args = [signal.number().into(), sp + INFO * 8, sp + 8];
    let process::signal::Disposition::Handler(handler) = action.disposition else {
        return Err(Errno::EINVAL.into());
    };
    current.cx.call(handler, sp, args, 0);
    Ok(sp)
}

fn fill_mcontext(current: &Current, words: &mut [u64; WORDS], saved: &Saved, fpstate: usize) {
    let regs = current.cx.regs();
    let (cs, ss) = current.cx.segments();
    let (trap, error, cr2) = current.cx.last_trap();
    let segments = u64::from(cs) | u64::from(ss) << 48;
    let mcontext = [
        regs.r8,
        regs.r9,
        regs.r10,
        regs.r11,
        regs.r12,
        regs.r13,
        regs.r14,
        regs.r15,
        regs.rdi,
        regs.rsi,
        regs.rbp,
        regs.rbx,
        regs.rdx,
        regs.rax,
        regs.rcx,
        regs.rsp,
        regs.rip,
        regs.rflags,
        segments,
        error,
        trap,
        saved.mask.0,
        cr2,
        fpstate as u64,
    ];
    words[MCONTEXT..MCONTEXT + mcontext.len()].copy_from_slice(&mcontext);
}

/// Room for the vector state of a frame with AVX. The state is passed over the kernel's stack in a buffer of the first
/// size that it fits, since clearing one is a good part of what a signal costs.
const WITH_AVX: usize = 840;
/// The same with AVX-512.
const WITH_AVX512: usize = 3072;

fn write_fpu(current: &mut Current, addr: usize, size: usize) -> Result<()> {
    match size {
        ..=WITH_AVX => write_fpu_over(current, addr, &mut [0; WITH_AVX][..size]),
        _ if size <= WITH_AVX512 => write_fpu_over(current, addr, &mut [0; WITH_AVX512][..size]),
        _ => write_fpu_over(current, addr, &mut alloc::vec![0; size]),
    }
}

fn write_fpu_over(current: &mut Current, addr: usize, buf: &mut [u8]) -> Result<()> {
    current.fpu.write(buf);
    Ok(UserPtr::<u8>::new(VirtAddr(addr)).write_slice(buf)?)
}

/// Takes the frame that the stack pointer points past the return address of. What a program may not set is put
/// right or refused by the context itself.
pub fn pop_frame(current: &mut Current) -> Result<Saved> {
    let sp = current.cx.sp().wrapping_sub(8);
    let mut words = [0u64; WORDS];
    UserPtr::<u64>::new(VirtAddr(sp)).read_slice(&mut words)?;
    let fpstate = words[FPSTATE] as usize;
    if fpstate == 0 {
        current.fpu.reset();
    } else {
        read_fpu(current, fpstate)?;
    }
    let m = &words[MCONTEXT..];
    current.cx.set_regs(&Regs {
        r8: m[0],
        r9: m[1],
        r10: m[2],
        r11: m[3],
        r12: m[4],
        r13: m[5],
        r14: m[6],
        r15: m[7],
        rdi: m[8],
        rsi: m[9],
        rbp: m[10],
        rbx: m[11],
        rdx: m[12],
        rax: m[13],
        rcx: m[14],
        rsp: m[15],
        rip: m[16],
        rflags: m[17],
    });
    Ok(Saved { mask: SignalSet(words[SIGMASK]), stack: [words[3], words[4], words[5]] })
}

fn read_fpu(current: &mut Current, addr: usize) -> Result<()> {
    let size = current.fpu.frame_size();
    match size {
        ..=WITH_AVX => read_fpu_over(current, addr, &mut [0; WITH_AVX][..size]),
        _ if size <= WITH_AVX512 => read_fpu_over(current, addr, &mut [0; WITH_AVX512][..size]),
        _ => read_fpu_over(current, addr, &mut alloc::vec![0; size]),
    }
}

fn read_fpu_over(current: &mut Current, addr: usize, buf: &mut [u8]) -> Result<()> {
    UserPtr::<u8>::new(VirtAddr(addr)).read_slice(buf)?;
    if current.fpu.read(buf) { Ok(()) } else { Err(Errno::EFAULT.into()) }
}

/// The number of 64-bit words of a siginfo that the frame holds.
const _: () = assert!(INFO + info::SIZE / 8 == WORDS);
