//! What comes with a signal (`siginfo_t`, sigaction(2)).

use super::Signal;

/// `si_code` values, where the source is not a fault.
pub mod code {
    /// kill(2) and its like.
    pub const USER: i32 = 0;
    /// The kernel.
    pub const KERNEL: i32 = 0x80;
    /// sigqueue(3).
    pub const QUEUE: i32 = -1;
    /// A POSIX timer.
    pub const TIMER: i32 = -2;
    /// tgkill(2), tkill(2).
    pub const TKILL: i32 = -6;
    /// A child exited.
    pub const CLD_EXITED: i32 = 1;
    /// A child was killed.
    pub const CLD_KILLED: i32 = 2;
    /// A child was killed and dumped core.
    pub const CLD_DUMPED: i32 = 3;
    /// A child stopped.
    pub const CLD_STOPPED: i32 = 5;
    /// A child went on.
    pub const CLD_CONTINUED: i32 = 6;
    /// SIGSEGV: nothing is mapped there.
    pub const SEGV_MAPERR: i32 = 1;
    /// SIGSEGV: the mapping does not allow it.
    pub const SEGV_ACCERR: i32 = 2;
    /// SIGBUS: misaligned.
    pub const BUS_ADRALN: i32 = 1;
    /// SIGBUS: beyond the end of the object.
    pub const BUS_ADRERR: i32 = 2;
    /// SIGILL: illegal opcode.
    pub const ILL_ILLOPN: i32 = 2;
    /// SIGFPE: integer division by zero.
    pub const FPE_INTDIV: i32 = 1;
    /// SIGFPE: integer overflow.
    pub const FPE_INTOVF: i32 = 2;
    /// SIGFPE: floating-point division by zero.
    pub const FPE_FLTDIV: i32 = 3;
    /// SIGFPE: floating-point overflow.
    pub const FPE_FLTOVF: i32 = 4;
    /// SIGFPE: floating-point underflow.
    pub const FPE_FLTUND: i32 = 5;
    /// SIGFPE: inexact result.
    pub const FPE_FLTRES: i32 = 6;
    /// SIGFPE: invalid operation.
    pub const FPE_FLTINV: i32 = 7;
    /// SIGTRAP: breakpoint.
    pub const TRAP_BRKPT: i32 = 1;
    /// SIGTRAP: single step.
    pub const TRAP_TRACE: i32 = 2;
}

/// Bytes in a `siginfo_t`.
pub const SIZE: usize = 128;

/// The 64-bit words of it that say something.
pub const WORDS: usize = 6;

/// A signal and what came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Siginfo {
    /// Which.
    pub signal: Signal,
    /// `si_code`: where it came from.
    pub code: i32,
    /// The part that depends on the source.
    pub fields: Fields,
}

/// The part of a `siginfo_t` that depends on the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// Nothing is known: the queue was full when it was sent, or the kernel has no more to say.
    None,
    /// Sent by a process.
    Sender {
        /// Its id.
        pid: u32,
        /// Its real user id.
        uid: u32,
    },
    /// Sent with a value.
    Value {
        /// The sender's process id.
        pid: u32,
        /// Its real user id.
        uid: u32,
        /// `si_value`.
        value: usize,
    },
    /// About a child.
    Child {
        /// Its process id.
        pid: u32,
        /// Its real user id.
        uid: u32,
        /// Exit code, or the signal that killed, stopped or continued it.
        status: i32,
        /// User time in clock ticks.
        utime: u64,
        /// System time in clock ticks.
        stime: u64,
    },
    /// A fault at an address.
    Fault {
        /// The address.
        addr: usize,
    },
    /// A POSIX timer.
    Timer {
        /// Its id.
        id: i32,
        /// Missed expirations.
        overrun: i32,
        /// `si_value`.
        value: usize,
    },
    /// As a program gave it to rt_sigqueueinfo(2): the bytes from offset 16 on that matter.
    Raw([u64; 4]),
}

impl Siginfo {
    /// From the kernel, about nothing in particular.
    pub fn kernel(signal: Signal) -> Siginfo {
        Siginfo { signal, code: code::KERNEL, fields: Fields::None }
    }

    /// From kill(2).
    pub fn user(signal: Signal, pid: u32, uid: u32) -> Siginfo {
        Siginfo { signal, code: code::USER, fields: Fields::Sender { pid, uid } }
    }

    /// Of a fault.
    pub fn fault(signal: Signal, code: i32, addr: usize) -> Siginfo {
        Siginfo { signal, code, fields: Fields::Fault { addr } }
    }

    /// As 64-bit programs lay it out: the first words. The others are zero.
    #[inline]
    pub fn words(&self) -> [u64; WORDS] {
        let two = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let fields = match self.fields {
            Fields::None => [0; 4],
            Fields::Sender { pid, uid } => [two(pid, uid), 0, 0, 0],
            Fields::Value { pid, uid, value } => [two(pid, uid), value as u64, 0, 0],
            Fields::Child { pid, uid, status, utime, stime } => [two(pid, uid), two(status as u32, 0), utime, stime],
            Fields::Fault { addr } => [addr as u64, 0, 0, 0],
            Fields::Timer { id, overrun, value } => [two(id as u32, overrun as u32), value as u64, 0, 0],
            Fields::Raw(words) => words,
        };
        let [a, b, c, d] = fields;
        [self.signal.number().into(), two(self.code as u32, 0), a, b, c, d]
    }

    /// All of it as bytes.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut out = [0; SIZE];
        for (to, word) in out.as_chunks_mut::<8>().0.iter_mut().zip(self.words()) {
            *to = word.to_ne_bytes();
        }
        out
    }

    /// As a program laid it out, sent as `signal` (the number inside is not believed).
    pub fn decode(signal: Signal, raw: &[u8; SIZE]) -> Siginfo {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&raw[at..at + 8]);
            u64::from_ne_bytes(bytes)
        };
        let mut code = [0; 4];
        code.copy_from_slice(&raw[8..12]);
        Siginfo {
            signal,
            code: i32::from_ne_bytes(code),
            fields: Fields::Raw([word(16), word(24), word(32), word(40)]),
        }
    }
}
