//! Vector registers: they are each thread's own, and a signal handler saves, sees and restores them as signal(7) and the
//! frame's layout (sigreturn(2), the machine's ABI) have it.
//!
//! The programs here are built without vector instructions, so the registers hold what the routines in assembly put there.

use core::arch::global_asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rt::raw::general::*;
use rt::signal;
use rt::sys;
use rt::thread::{Join, map_stack};

use crate::{Outcome, check, tests};

tests! {
    a_handler_leaves_the_vector_registers_as_they_were,
    a_handler_starts_with_the_control_word_of_its_abi,
    a_handler_changes_what_is_restored_by_changing_its_frame,
    vector_registers_survive_other_threads_and_children,
    a_forked_child_inherits_the_vector_registers,
    a_frame_with_damaged_vector_registers_is_sigsegv_once,
}

/// What is put into the first, the eighth (which survives calls on aarch64) and the last vector register, 16 bytes each, and
/// the control word (MXCSR, FPCR).
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Vectors {
    registers: [[u64; 2]; 3],
    control: u64,
    unused: u64,
}

// SAFETY: the assembly below defines them with these arguments, in the registers of the C convention.
unsafe extern "C" {
    /// Loads the registers from `from`, makes the system call, and stores them to `to`. Gives the call's result.
    fn vectors_over_call(number: usize, first: usize, second: usize, from: *const Vectors, to: *mut Vectors) -> isize;
    fn vectors_load(from: *const Vectors);
    fn vectors_store(to: *mut Vectors);
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".global vectors_load",
    "vectors_load:",
    "movdqu xmm0, [rdi]",
    "movdqu xmm8, [rdi + 16]",
    "movdqu xmm15, [rdi + 32]",
    "ldmxcsr [rdi + 48]",
    "ret",
    ".global vectors_store",
    "vectors_store:",
    "movdqu [rdi], xmm0",
    "movdqu [rdi + 16], xmm8",
    "movdqu [rdi + 32], xmm15",
    "mov qword ptr [rdi + 48], 0",
    "stmxcsr [rdi + 48]",
    "ret",
    ".global vectors_over_call",
    "vectors_over_call:",
    "push rbx",
    "push r8",
    "mov rbx, rdi",
    "mov rdi, rcx",
    "call vectors_load",
    "mov rax, rbx",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "syscall",
    "pop rdi",
    "call vectors_store",
    "pop rbx",
    "ret",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".arch_extension fp",
    ".arch_extension simd",
    ".global vectors_load",
    "vectors_load:",
    "ldr q0, [x0]",
    "ldr q8, [x0, #16]",
    "ldr q31, [x0, #32]",
    "ldr x9, [x0, #48]",
    "msr fpcr, x9",
    "ret",
    ".global vectors_store",
    "vectors_store:",
    "str q0, [x0]",
    "str q8, [x0, #16]",
    "str q31, [x0, #32]",
    "mrs x9, fpcr",
    "str x9, [x0, #48]",
    "ret",
    ".global vectors_over_call",
    "vectors_over_call:",
    "stp x29, x30, [sp, #-32]!",
    "str x4, [sp, #16]",
    "mov x8, x0",
    "mov x0, x3",
    "bl vectors_load",
    "mov x0, x1",
    "mov x1, x2",
    "svc #0",
    "mov x10, x0",
    "ldr x0, [sp, #16]",
    "bl vectors_store",
    "mov x0, x10",
    "ldp x29, x30, [sp], #32",
    "ret",
);

/// A control word that is not the first one: rounding towards zero.
const ROUND_TO_ZERO: u64 = if cfg!(target_arch = "x86_64") { 0x7f80 } else { 3 << 22 };
/// The first one.
const INITIAL: u64 = if cfg!(target_arch = "x86_64") { 0x1f80 } else { 0 };

fn pattern(seed: u64) -> Vectors {
    let word = |n: u64| (seed + n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Vectors {
        registers: [[word(1), word(2)], [word(3), word(4)], [word(5), word(6)]],
        control: ROUND_TO_ZERO,
        unused: 0,
    }
}

/// The registers after a system call that began with `from` in them.
fn over_call(number: u32, first: usize, second: usize, from: &Vectors) -> Result<Vectors, crate::Why> {
    let mut to = pattern(0);
    // SAFETY: both are as large as the routine takes them, and the calls that are made here touch no memory of this program
    // but by handlers.
    let result = unsafe { vectors_over_call(number as usize, first, second, from, &mut to) };
    sys::check(result)?;
    Ok(to)
}

fn raise(from: &Vectors) -> Result<Vectors, crate::Why> {
    over_call(__NR_kill, sys::getpid() as usize, SIGUSR1 as usize, from)
}

extern "C" fn fill(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    let mut other = pattern(1000);
    other.control = INITIAL;
    // SAFETY: loads registers that the compiler does not use.
    unsafe { vectors_load(&other) };
}

fn a_handler_leaves_the_vector_registers_as_they_were() -> Outcome {
    signal::handle(SIGUSR1, fill, 0)?;
    // The first signal comes to a program that has not used them yet.
    signal::raise(SIGUSR1)?;
    for seed in 1..10 {
        check!(raise(&pattern(seed))? == pattern(seed));
    }
    Ok(())
}

static SEEN: AtomicU64 = AtomicU64::new(u64::MAX);

extern "C" fn see(_: i32, _: *mut siginfo_t, _: *mut c_void) {
    let mut now = pattern(0);
    // SAFETY: as large as the routine takes it.
    unsafe { vectors_store(&mut now) };
    SEEN.store(now.control, Ordering::Relaxed);
}

fn a_handler_starts_with_the_control_word_of_its_abi() -> Outcome {
    signal::handle(SIGUSR1, see, 0)?;
    raise(&pattern(1))?;
    // x86_64 sets the state back for a handler; aarch64 leaves it.
    let expected = if cfg!(target_arch = "x86_64") { INITIAL } else { ROUND_TO_ZERO };
    check!(SEEN.load(Ordering::Relaxed) == expected);
    Ok(())
}

/// Where the first vector register lies in the frame that `context` belongs to.
///
/// # Safety
/// `context` is a handler's third argument.
unsafe fn first_register(context: *mut c_void) -> *mut [u64; 2] {
    if cfg!(target_arch = "x86_64") {
        // The pointer to the FXSAVE area follows 23 registers, after uc_flags, uc_link and uc_stack.
        // SAFETY: so says the caller.
        unsafe { context.cast::<*mut u8>().add(5 + 23).read().add(160).cast() }
    } else {
        // uc_mcontext is at 176; its extension records come after 288 bytes, the first is that of the vector registers: head,
        // FPSR, FPCR, registers.
        // SAFETY: as above.
        unsafe { context.cast::<u8>().add(176 + 288 + 16).cast() }
    }
}

extern "C" fn change(_: i32, _: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: it is this handler's third argument.
    unsafe {
        let register = first_register(context);
        let old = register.read_unaligned();
        register.write_unaligned([old[1], old[0]]);
    }
}

fn a_handler_changes_what_is_restored_by_changing_its_frame() -> Outcome {
    signal::handle(SIGUSR1, change, SA_SIGINFO)?;
    let before = pattern(1);
    let after = raise(&before)?;
    check!(after.registers[0] == [before.registers[0][1], before.registers[0][0]]);
    check!(after.registers[1..] == before.registers[1..]);
    check!(after.control == before.control);
    Ok(())
}

static WRONG: AtomicU64 = AtomicU64::new(0);

extern "C" fn keep(seed: usize) -> i32 {
    for round in 0..200 {
        let mine = pattern((seed * 1000 + round) as u64);
        if !over_call(__NR_sched_yield, 0, 0, &mine).is_ok_and(|after| after == mine) {
            WRONG.fetch_add(1, Ordering::Relaxed);
        }
    }
    0
}

extern "C" fn keep_none(_: usize) -> i32 {
    for _ in 0..200 {
        sys::sched_yield();
    }
    0
}

fn vector_registers_survive_other_threads_and_children() -> Outcome {
    const STACK: usize = 16 * 1024;
    let joins = [const { Join::new() }; 6];
    for (seed, join) in joins.iter().enumerate() {
        // Among those that use them, some that never do.
        let entry = if seed % 3 == 2 { keep_none } else { keep };
        // SAFETY: the stack is new, and the thread is waited for below.
        unsafe { join.spawn(map_stack(STACK)?, entry, seed)? };
    }
    let child = match sys::fork()? {
        0 => sys::exit_group(keep(77) + WRONG.load(Ordering::Relaxed) as i32),
        child => child,
    };
    joins.iter().for_each(Join::wait);
    check!(WRONG.load(Ordering::Relaxed) == 0);
    check!(sys::wait4(child, 0)?.1 == 0);
    Ok(())
}

fn a_forked_child_inherits_the_vector_registers() -> Outcome {
    let mine = pattern(5);
    let mut now = pattern(0);
    // clone(2) with SIGCHLD and no stack is fork(2).
    // SAFETY: both are as large as the routine takes them; the child goes on as a copy of this program.
    let child = unsafe { vectors_over_call(__NR_clone as usize, SIGCHLD as usize, 0, &mine, &mut now) };
    if sys::check(child)? == 0 {
        sys::exit_group(i32::from(now != mine));
    }
    check!(now == mine);
    check!(sys::wait4(child as i32, 0)?.1 == 0);
    Ok(())
}

static DAMAGED: AtomicU32 = AtomicU32::new(0);

/// Damages what says which vector registers follow: a reserved word of the XSAVE header, or the first record's kind.
extern "C" fn damage(_: i32, _: *mut siginfo_t, context: *mut core::ffi::c_void) {
    let context = context.cast::<u8>();
    // SAFETY: the layouts are the kernel's.
    unsafe {
        if cfg!(target_arch = "x86_64") {
            let state = context.add(224).cast::<*mut u8>().read();
            state.add(528).cast::<u64>().write_volatile(0xfff_ffff);
        } else {
            context.add(464).cast::<u32>().write_volatile(0x1234_5678);
        }
    }
}

extern "C" fn count_damage(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    if DAMAGED.fetch_add(1, Ordering::SeqCst) > 3 {
        sys::exit_group(1);
    }
}

/// sigreturn(2): the rest of the frame has been restored, so that a handler of SIGSEGV returns to where the first one should have.
fn a_frame_with_damaged_vector_registers_is_sigsegv_once() -> Outcome {
    signal::handle(SIGUSR1, damage, SA_SIGINFO)?;
    signal::handle(SIGSEGV, count_damage, 0)?;
    signal::raise(SIGUSR1)?;
    check!(DAMAGED.load(Ordering::SeqCst) == 1);
    signal::raise(SIGUSR1)?;
    check!(DAMAGED.load(Ordering::SeqCst) == 2);
    Ok(())
}
