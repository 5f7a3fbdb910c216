//! Restartable sequences (rseq(2)).

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::signal;
use rt::sys::{self, Errno};
use rt::thread::{Join, map_stack};

use crate::support::{becomes, call, eventually, in_child, start, stat_path, state_of};
use crate::{Outcome, check, tests};

tests! {
    rseq_is_registered_once_and_taken_back,
    rseq_says_which_cpu_the_thread_is_on,
    a_fork_keeps_the_registration_and_a_thread_has_its_own,
    exec_ends_the_registration,
    a_sequence_is_aborted_by_a_signal,
    a_sequence_is_aborted_by_a_switch,
    a_sequence_is_aborted_by_a_membarrier,
    a_sequence_that_is_over_is_not_aborted,
    a_sequence_that_is_none_is_sigsegv,
}

const SIGNATURE: u32 = 0x5305_3053;
const LEN: usize = 32;
const UNREGISTER: usize = 1;

/// `struct rseq`.
#[repr(C, align(32))]
struct Rseq {
    start: AtomicU32,
    cpu: AtomicU32,
    sequence: AtomicU64,
    flags: AtomicU32,
    node: AtomicU32,
    concurrency: AtomicU32,
    unused: AtomicU32,
}

impl Rseq {
    const fn new() -> Rseq {
        Rseq {
            start: AtomicU32::new(0),
            cpu: AtomicU32::new(0),
            sequence: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            node: AtomicU32::new(0),
            concurrency: AtomicU32::new(0),
            unused: AtomicU32::new(0),
        }
    }

    fn call(&self, len: usize, flags: usize, signature: u32) -> Result<usize, Errno> {
        call(__NR_rseq, [&raw const *self as usize, len, flags, signature as usize])
    }

    fn register(&self) -> Result<usize, Errno> {
        self.call(LEN, 0, SIGNATURE)
    }
}

static RSEQ: Rseq = Rseq::new();

// A sequence that spins until `stop` is set; 1 if it was aborted. Its description comes first, then one of a sequence of
// the same instructions whose abort handler is none.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .data",
    ".balign 32",
    ".globl guest_rseq_sequences",
    "guest_rseq_sequences:",
    ".long 0, 0",
    ".quad .Lrseq_start, .Lrseq_commit - .Lrseq_start, .Lrseq_abort",
    ".long 0, 0",
    ".quad .Lrseq_start, .Lrseq_commit - .Lrseq_start, guest_rseq_spin",
    ".popsection",
    ".globl guest_rseq_spin",
    "guest_rseq_spin:",
    "mov [rdi], rdx",
    ".Lrseq_start:",
    "cmp dword ptr [rsi], 0",
    "je .Lrseq_start",
    ".Lrseq_commit:",
    "xor eax, eax",
    "ret",
    ".long 0x53053053",
    ".Lrseq_abort:",
    "mov eax, 1",
    "ret",
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".pushsection .data",
    ".balign 32",
    ".globl guest_rseq_sequences",
    "guest_rseq_sequences:",
    ".long 0, 0",
    ".quad .Lrseq_start, .Lrseq_commit - .Lrseq_start, .Lrseq_abort",
    ".long 0, 0",
    ".quad .Lrseq_start, .Lrseq_commit - .Lrseq_start, guest_rseq_spin",
    ".popsection",
    ".globl guest_rseq_spin",
    "guest_rseq_spin:",
    "str x2, [x0]",
    ".Lrseq_start:",
    "ldr w3, [x1]",
    "cbz w3, .Lrseq_start",
    ".Lrseq_commit:",
    "mov w0, #0",
    "ret",
    ".long 0x53053053",
    ".Lrseq_abort:",
    "mov w0, #1",
    "ret",
);

// SAFETY: the assembly above defines both.
unsafe extern "C" {
    static guest_rseq_sequences: [[u64; 4]; 2];
    fn guest_rseq_spin(field: *const AtomicU64, stop: *const AtomicU32, sequence: *const [u64; 4]) -> u32;
}

/// Spins in the first sequence, or the second that is none; whether it was aborted.
fn spin(rseq: &Rseq, stop: &AtomicU32, which: usize) -> bool {
    // SAFETY: the sequence reads the flag and writes nothing but the field.
    unsafe { guest_rseq_spin(&raw const rseq.sequence, stop, &raw const guest_rseq_sequences[which]) == 1 }
}

fn rseq_is_registered_once_and_taken_back() -> Outcome {
    check!(RSEQ.call(LEN, UNREGISTER, SIGNATURE) == Err(Errno(EINVAL)));
    check!(RSEQ.call(LEN - 8, 0, SIGNATURE) == Err(Errno(EINVAL)));
    check!(RSEQ.call(LEN, 2, SIGNATURE) == Err(Errno(EINVAL)));
    let unaligned = &raw const RSEQ as usize + 8;
    check!(call(__NR_rseq, [unaligned, LEN, 0, SIGNATURE as usize]) == Err(Errno(EINVAL)));
    check!(call(__NR_rseq, [usize::MAX & !31, LEN, 0, SIGNATURE as usize]) == Err(Errno(EFAULT)));
    RSEQ.cpu.store(u32::MAX, SeqCst);
    check!(RSEQ.register()? == 0);
    check!(RSEQ.cpu.load(SeqCst) < 64 && RSEQ.start.load(SeqCst) == RSEQ.cpu.load(SeqCst));
    check!(RSEQ.register() == Err(Errno(EBUSY)));
    check!(RSEQ.call(LEN, 0, 1) == Err(Errno(EPERM)));
    check!(RSEQ.call(LEN + 32, 0, SIGNATURE) == Err(Errno(EINVAL)));
    check!(RSEQ.call(LEN, UNREGISTER, 1) == Err(Errno(EPERM)));
    check!(RSEQ.call(LEN + 32, UNREGISTER, SIGNATURE) == Err(Errno(EINVAL)));
    check!(RSEQ.call(LEN, UNREGISTER, SIGNATURE)? == 0);
    check!(RSEQ.cpu.load(SeqCst) == u32::MAX && RSEQ.start.load(SeqCst) == 0);
    check!(RSEQ.register()? == 0);
    Ok(())
}

fn cpu() -> u32 {
    let mut cpu = u32::MAX;
    let _ = call(__NR_getcpu, [&raw mut cpu as usize, 0, 0]);
    // SAFETY: the kernel has written it.
    unsafe { (&raw const cpu).read_volatile() }
}

fn rseq_says_which_cpu_the_thread_is_on() -> Outcome {
    RSEQ.register()?;
    let mut allowed = 0u64;
    call(__NR_sched_getaffinity, [0, 8, &raw mut allowed as usize])?;
    for round in 0..4 {
        for bit in (0..64).filter(|bit| allowed >> bit & 1 != 0) {
            let mask = 1u64 << bit;
            call(__NR_sched_setaffinity, [0, 8, &raw const mask as usize])?;
            check!(cpu() == bit);
            check!(RSEQ.cpu.load(SeqCst) == bit && RSEQ.start.load(SeqCst) == bit);
            check!(RSEQ.concurrency.load(SeqCst) < 64);
            if round > 1 {
                sys::sleep_ms(1);
                check!(RSEQ.cpu.load(SeqCst) == bit);
            }
        }
    }
    Ok(())
}

static OTHER: Rseq = Rseq::new();
static RESULT: AtomicU32 = AtomicU32::new(0);
static STOP: AtomicU32 = AtomicU32::new(0);

extern "C" fn register_another(_: usize) -> i32 {
    let unknown = RSEQ.call(LEN, UNREGISTER, SIGNATURE) == Err(Errno(EINVAL));
    let fine = unknown && OTHER.register().is_ok() && OTHER.cpu.load(SeqCst) < 64;
    RESULT.store(if fine { 1 } else { 2 }, SeqCst);
    0
}

fn a_fork_keeps_the_registration_and_a_thread_has_its_own() -> Outcome {
    RSEQ.register()?;
    let status = in_child(|| {
        check!(RSEQ.register() == Err(Errno(EBUSY)));
        for _ in 0..20 {
            sys::sleep_ms(1);
            // It may be moved between the two looks, but not for ever.
            check!(eventually(|| RSEQ.cpu.load(SeqCst) == cpu()));
        }
        Ok(())
    })?;
    check!(status == 0);
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    unsafe { join.spawn(map_stack(16 * 1024)?, register_another, 0)? };
    join.wait();
    check!(RESULT.load(SeqCst) == 1);
    Ok(())
}

fn exec_ends_the_registration() -> Outcome {
    // The page of the registration is gone then; who wrote there would end the program.
    let status = in_child(|| {
        RSEQ.register()?;
        let argv = [c"guest-tests".as_ptr().cast(), c"child".as_ptr().cast(), c"5".as_ptr().cast(), core::ptr::null()];
        let envp = [core::ptr::null()];
        // SAFETY: both vectors end with a null pointer.
        Err(unsafe { sys::execve(c"/proc/self/exe", argv.as_ptr(), envp.as_ptr()) }.into())
    })?;
    check!(status == 5 << 8);
    Ok(())
}

extern "C" fn note(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {
    // The sequence has been left before the handler runs.
    RESULT.store(1 + (RSEQ.sequence.load(SeqCst) != 0) as u32, SeqCst);
}

fn a_sequence_is_aborted_by_a_signal() -> Outcome {
    RSEQ.register()?;
    signal::handle(SIGUSR1, note, 0)?;
    let parent = sys::getpid();
    let child = start(|| {
        sys::sleep_ms(30);
        signal::kill(parent, SIGUSR1)?;
        Ok(())
    })?;
    // A switch may come first.
    while RESULT.load(SeqCst) == 0 {
        check!(spin(&RSEQ, &STOP, 0));
        check!(RSEQ.sequence.load(SeqCst) == 0);
    }
    check!(RESULT.load(SeqCst) == 1);
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

extern "C" fn spin_beside(_: usize) -> i32 {
    RESULT.store(1, SeqCst);
    while STOP.load(SeqCst) == 0 {
        core::hint::spin_loop();
    }
    0
}

fn a_sequence_is_aborted_by_a_switch() -> Outcome {
    let one = 1u64;
    call(__NR_sched_setaffinity, [0, 8, &raw const one as usize])?;
    RSEQ.register()?;
    let never = AtomicU32::new(0);
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    unsafe { join.spawn(map_stack(16 * 1024)?, spin_beside, 0)? };
    check!(becomes(&RESULT, 1));
    for _ in 0..5 {
        check!(spin(&RSEQ, &never, 0));
        check!(RSEQ.sequence.load(SeqCst) == 0);
    }
    STOP.store(1, SeqCst);
    join.wait();
    Ok(())
}

fn a_sequence_that_is_over_is_not_aborted() -> Outcome {
    RSEQ.register()?;
    signal::handle(SIGUSR1, note, 0)?;
    let done = AtomicU32::new(1);
    // It may be aborted where it is, now and then.
    check!(eventually(|| !spin(&RSEQ, &done, 0)));
    signal::raise(SIGUSR1)?;
    check!(RSEQ.sequence.load(SeqCst) == 0 && RESULT.load(SeqCst) == 1);
    Ok(())
}

fn is_zombie(id: i32) -> bool {
    let mut path = [0; 32];
    state_of(stat_path(id, &mut path)) == b'Z'
}

fn a_sequence_that_is_none_is_sigsegv() -> Outcome {
    for sequence in [&raw const STOP as u64, 8, u64::MAX - 100] {
        let status = in_child(|| {
            RSEQ.register()?;
            signal::handle(SIGUSR1, note, 0)?;
            RSEQ.sequence.store(sequence, SeqCst);
            signal::raise(SIGUSR1)?;
            Ok(())
        })?;
        check!(status & 0x7f == SIGSEGV as i32);
    }
    // The signature does not stand before the abort handler.
    let ready = sys::pipe(0)?;
    let child = start(|| {
        signal::handle(SIGUSR1, note, 0)?;
        RSEQ.register()?;
        sys::write(ready[1], b"r")?;
        spin(&RSEQ, &STOP, 1);
        Ok(())
    })?;
    sys::read(ready[0], &mut [0])?;
    // Until it is in the sequence, a signal does it no harm.
    check!(eventually(|| signal::kill(child, SIGUSR1).is_ok() && is_zombie(child)));
    check!(sys::wait4(child, 0)?.1 & 0x7f == SIGSEGV as i32);
    Ok(())
}

extern "C" fn spin_in_a_sequence(_: usize) -> i32 {
    if OTHER.register().is_err() {
        return 1;
    }
    // A switch aborts it, too.
    while STOP.load(SeqCst) == 0 {
        RESULT.fetch_add(spin(&OTHER, &STOP, 0).into(), SeqCst);
    }
    0
}

/// membarrier(2), MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ: what runs on another CPU does not go on with a sequence that it began before.
fn a_sequence_is_aborted_by_a_membarrier() -> Outcome {
    const SEQUENCES: usize = 1 << 7;
    check!(call(__NR_membarrier, [SEQUENCES, 0, 0]) == Err(Errno(EPERM)));
    call(__NR_membarrier, [SEQUENCES << 1, 0, 0])?;
    let join = Join::new();
    // SAFETY: the stack is new and the thread is waited for.
    unsafe { join.spawn(map_stack(16 * 1024)?, spin_in_a_sequence, 0)? };
    for _ in 0..200 {
        let before = RESULT.load(SeqCst);
        // What its last instruction before the sequence stores, an abort clears. So it is in the sequence now, or was aborted by
        // a switch and counts that.
        check!(eventually(|| OTHER.sequence.load(SeqCst) != 0));
        call(__NR_membarrier, [SEQUENCES, 0, 0])?;
        check!(eventually(|| RESULT.load(SeqCst) != before));
    }
    STOP.store(1, SeqCst);
    join.wait();
    Ok(())
}
