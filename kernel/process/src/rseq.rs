//! Restartable sequences (rseq(2)): a thread's program learns which CPU it runs on by looking at its own memory, and a few
//! instructions of its choice begin anew if the thread did not run through them undisturbed.
//!
//! The word that says the CPU is brought up to date, and a sequence that was left is aborted, on the way back to the
//! program: [`Current::left_cpu`] and [`Thread::switch_in`](crate::Thread) ask for it by a condition, so who is not
//! registered, or has not moved, pays nothing.

use crate::current::Current;
use crate::thread::Conditions;
use arch::addr::VirtAddr;
use arch::paging::USER_END;
use base::{Errno, Result};
use memory::user::UserPtr;

/// Bytes of `struct rseq` as it was at first, and its alignment.
pub const SIZE: u32 = 32;
/// Bytes of it that mean something (AT_RSEQ_FEATURE_SIZE).
pub const FEATURES: u32 = 28;

/// `cpu_id` of a thread that is not registered any more (RSEQ_CPU_ID_UNINITIALIZED).
const UNINITIALIZED: u32 = u32::MAX;

/// Where a thread has registered, and what a program shows that its abort handlers are meant to be some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rseq {
    /// Its `struct rseq`.
    pub addr: VirtAddr,
    /// How long it said that is.
    pub len: u32,
    /// What stands before each abort handler.
    pub signature: u32,
}

/// Where the fields of `struct rseq` lie.
const CPU_ID_START: usize = 0;
const SEQUENCE: usize = 8;
const FLAGS: usize = 16;
const NODE_ID: usize = 20;

impl Rseq {
    fn field<T>(&self, offset: usize) -> UserPtr<T> {
        UserPtr::new(VirtAddr(self.addr.0.wrapping_add(offset)))
    }

    /// Writes where the thread runs: `cpu_id_start` and `cpu_id`, then `node_id` and `mm_cid`, for which the CPU's number
    /// serves, as no other thread has it at the same time. A fault is to be resolved.
    fn place(&self, cpu: u32, started: u32) -> Result<()> {
        self.field::<[u32; 2]>(CPU_ID_START).write(&[started, cpu])?;
        let concurrency = if cpu == UNINITIALIZED { 0 } else { cpu };
        Ok(self.field::<[u32; 2]>(NODE_ID).write(&[0, concurrency])?)
    }
}

impl Current {
    /// Registers the thread, which must not be, and tells its program where it runs. A fault is to be resolved.
    pub fn register_rseq(&mut self, rseq: Rseq) -> Result<()> {
        let cpu = arch::cpu::id();
        rseq.place(cpu as u32, cpu as u32)?;
        rseq.field::<u64>(SEQUENCE).write(&0)?;
        self.rseq = Some(rseq);
        self.thread.watch_cpu(Some(cpu));
        Ok(())
    }

    /// Takes the registration back. A fault is to be resolved.
    pub fn unregister_rseq(&mut self) -> Result<()> {
        if let Some(rseq) = self.rseq {
            rseq.place(UNINITIALIZED, 0)?;
            self.forget_rseq();
        }
        Ok(())
    }

    /// The thread is not registered any more, and its memory has nothing to be told.
    pub fn forget_rseq(&mut self) {
        self.rseq = None;
        self.thread.watch_cpu(None);
    }

    /// The thread was stopped somewhere in its program and has let others run.
    #[inline]
    pub fn left_cpu(&self) {
        if self.rseq.is_some() {
            self.thread.set(Conditions::RSEQ);
        }
    }

    /// Brings what the program sees up to date and aborts the sequence that it was in, if it was in one. A fault is to be
    /// resolved; EINVAL for a sequence that is none.
    pub fn settle_rseq(&mut self) -> Result<()> {
        let Some(rseq) = self.rseq else { return Ok(()) };
        self.abort_rseq()?;
        let cpu = arch::cpu::id();
        rseq.place(cpu as u32, cpu as u32)?;
        self.thread.watch_cpu(Some(cpu));
        Ok(())
    }

    /// Has the program go on in the abort handler of the sequence that it is in, if it is in one. Errors as for
    /// [`Current::settle_rseq`].
    #[inline(never)]
    pub fn abort_rseq(&mut self) -> Result<()> {
        let Some(rseq) = self.rseq else { return Ok(()) };
        let sequence = rseq.field::<u64>(SEQUENCE).read()?;
        if sequence == 0 {
            return Ok(());
        }
        let handler = left_sequence(&rseq, sequence, self.cx.pc() as u64)?;
        rseq.field::<u64>(SEQUENCE).write(&0)?;
        if let Some(handler) = handler {
            self.cx.set_pc(handler as usize);
        }
        Ok(())
    }
}

/// The abort handler of the `struct rseq_cs` at `addr`, if `pc` lies in the sequence that it describes. EINVAL for what is
/// none: the program gets SIGSEGV.
fn left_sequence(rseq: &Rseq, addr: u64, pc: u64) -> Result<Option<u64>> {
    let end = USER_END.0 as u64;
    if addr >= end {
        return Err(Errno::EINVAL.into());
    }
    // Version and flags, start, length, abort handler.
    let [head, start, len, handler] = UserPtr::<[u64; 4]>::new(VirtAddr(addr as usize)).read()?;
    let (version, flags) = (head as u32, (head >> 32) as u32);
    let stop = start.checked_add(len).filter(|stop| *stop < end);
    if version != 0 || start >= end || stop.is_none() || handler >= end || handler.wrapping_sub(start) < len {
        return Err(Errno::EINVAL.into());
    }
    let signature = UserPtr::<u32>::new(VirtAddr((handler as usize).wrapping_sub(4))).read()?;
    if signature != rseq.signature {
        return Err(Errno::EINVAL.into());
    }
    if pc.wrapping_sub(start) >= len {
        return Ok(None);
    }
    // What the flags once asked for is not done any more.
    if flags | rseq.field::<u32>(FLAGS).read()? != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Some(handler))
}
