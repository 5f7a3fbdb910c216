//! A thread's life between its birth and its end: into the program, out at a trap, answer, and in again.

use crate::apart::apart;
use crate::args::Args;
use crate::execution::{self, First};
use crate::table::{COUNT, Entry, TABLE};
use crate::wait::Slow;
use crate::{abi, coredump, fault, frame, park, tick, wait};
use alloc::boxed::Box;
use alloc::sync::Arc;
use arch::trap::{Exception, PageFault, Trap};
use arch::user;
use base::{Errno, Error, Restart, Result};
use executor::trace::{self, Point};
use executor::{Arrival, Completion, SchedParams, Task};
use kernel::cpu::Duty;
use memory::FaultError;
use memory::user::UserPtr;
use process::current::Installed;
use process::signal::deliver::{self, Delivery, Taken};
use process::signal::{Action, SaFlags, Siginfo, Signal, code, send, stop};
use process::{Conditions, Current, Thread, exit, futex, oom};

/// What comes before a thread's program.
pub enum Birth {
    /// Nothing: it is a clone.
    Clone,
    /// A clone that has to wait for its maker.
    CloneWhen(Arc<Completion>),
    /// The first process has to find its program.
    First(Box<First>),
}

/// Starts a thread; with a completion, when that has fired.
pub fn spawn(current: Current, params: SchedParams, when: Option<Arc<Completion>>) -> Task {
    be_born(current, when.map_or(Birth::Clone, Birth::CloneWhen), params)
}

/// Starts a thread that is born as `birth` says.
pub fn be_born(current: Current, birth: Birth, params: SchedParams) -> Task {
    let thread = current.thread.clone();
    executor::spawn_with(move || Installed::new(thread, life(current, birth)), params)
}

/// The one future of all threads: runs the program until the thread has to die. What a thread does on each of its
/// turns is in this function and not in one that it awaits, for each future on the way down costs on each poll; and what is
/// rare is kept [`apart`], so that this function is small.
#[expect(
    clippy::manual_async_fn,
    reason = "an argument of an async fn lies in its future twice; a block owns what it captures"
)]
fn life(mut current: Current, birth: Birth) -> impl Future<Output = ()> + Send {
    async move {
        note_thread(&current.thread);
        match birth {
            Birth::Clone => apart(show_child_its_id(&mut current)).await,
            Birth::CloneWhen(fired) => {
                let thread = current.thread.clone();
                // If it is killed meanwhile, it goes on to its end: what it waits for may need the memory that it has.
                apart(Box::pin(async move { _ = thread.killable(fired.wait()).await })).await;
                apart(show_child_its_id(&mut current)).await;
            }
            Birth::First(first) => apart(Box::pin(execution::execute_first(&mut current, first))).await,
        }
        let status = loop {
            if !current.thread.is_undisturbed()
                && let Some(first) = take_signal(&mut current)
                && let Some(status) = apart(attend(&mut current, first, None)).await
            {
                break status;
            }
            if let Some(duty) = kernel::cpu::prepare_user() {
                match duty {
                    Duty::GiveWay => {
                        current.thread.times.count_involuntary_switch();
                        executor::preempt().await;
                    }
                    Duty::FreeMemory => apart(Box::pin(oom::relieve(&current.thread))).await,
                }
                current.left_cpu();
                continue;
            }
            trace::point(Point::Enter, 0);
            let trap = user::enter(&mut current.cx, &mut current.fpu);
            note_trap(&current, &trap);
            match trap {
                Trap::Syscall => {
                    // The common case, a call that neither waits nor faults, touches nothing of the state that waiting needs.
                    let mut result = try_call(&mut current);
                    if let Err(Error::WouldBlock) = result {
                        if entry(&current).slow == Slow::SchedYield {
                            executor::yield_now().await;
                            result = Ok(0);
                        } else if current.futex.is_some() {
                            result = futex::asleep(&mut current).await.map(|()| 0);
                        } else {
                            while let Err(Error::WouldBlock) = result {
                                let Some((parked, queue)) = park::place(&current) else { break };
                                result = match park::ready(&current, parked, queue).await {
                                    Ok(Arrival::Told) => try_call(&mut current),
                                    Ok(Arrival::Seen) => {
                                        let result = try_call(&mut current);
                                        // If it sees otherwise the other half goes on, which waits by the same eyes.
                                        current.parked = None;
                                        result
                                    }
                                    Err(error) => {
                                        current.parked = None;
                                        Err(error)
                                    }
                                };
                            }
                        }
                    }
                    if let Err(reason @ (Error::WouldBlock | Error::Fault(_))) = result {
                        result = apart(call(&mut current, reason)).await;
                    }
                    match result {
                        Ok(value) => current.cx.set_syscall_result(value),
                        Err(Error::Errno(errno)) => current.cx.set_syscall_result(errno.to_result()),
                        Err(Error::Interrupted(restart)) => {
                            let interrupted = Some((restart, current.cx.syscall_number()));
                            if let Some(status) = apart(attend(&mut current, None, interrupted)).await {
                                break status;
                            }
                        }
                        // Both were dealt with above; what is left of them is a plain failure.
                        Err(Error::Fault(_)) => current.cx.set_syscall_result(Errno::EFAULT.to_result()),
                        Err(Error::WouldBlock) => current.cx.set_syscall_result(Errno::EAGAIN.to_result()),
                    }
                }
                Trap::PageFault(page) => page_fault(&mut current, page).await,
                Trap::Exception(exception) => raise(&mut current, exception),
                Trap::Interrupt => {
                    if kernel::cpu::service_interrupts() {
                        tick::met(&current);
                    }
                }
            }
        };
        if current.thread.process.dumps() {
            apart(Box::pin(coredump::take_part(&mut current))).await;
        }
        apart(exit::prepare(&mut current)).await;
        exit::finish(current, status);
    }
}

/// CLONE_CHILD_SETTID: the child's own store, before its program runs. A bad pointer is ignored.
async fn show_child_its_id(current: &mut Current) {
    let addr = core::mem::take(&mut current.set_child_tid);
    if addr.0 == 0 {
        return;
    }
    while let Err(page) = UserPtr::<u32>::new(addr).write(&current.thread.id()) {
        if fault::resolve(current, page).await.is_err() {
            return;
        }
    }
}

/// The trace point of a trap: the kind in the upper half, below it the number of a system call.
#[inline(always)]
fn note_trap(current: &Current, trap: &Trap) {
    if trace::ON {
        let what = match trap {
            Trap::Syscall => current.cx.syscall_number() as u64 & 0xffff_ffff,
            Trap::PageFault(_) => 1 << 32,
            Trap::Exception(_) => 2 << 32,
            Trap::Interrupt => 3 << 32,
        };
        trace::point(Point::Trap, what);
    }
}

/// Says in the trace whose task this is.
pub fn note_thread(thread: &Thread) {
    if trace::ON {
        trace::point(Point::Thread, thread.id().into());
        let [a, b, c, d, e, f, g, h, ..] = thread.name();
        trace::point(Point::Name, u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// What answers the system call that the thread has made.
#[inline]
fn entry(current: &Current) -> &'static Entry {
    &TABLE[current.cx.syscall_number().min(COUNT - 1)]
}

/// The half of the call that does not wait.
#[inline]
fn try_call(current: &mut Current) -> Result<usize> {
    (entry(current).fast)(current)
}

/// Goes on with a call that has to wait or has faulted, as `reason` says.
#[expect(clippy::manual_async_fn, reason = "an argument of an async fn lies in its future twice")]
fn call(current: &mut Current, mut reason: Error) -> impl Future<Output = Result<usize>> + Send {
    async move {
        loop {
            match reason {
                Error::WouldBlock => {
                    // Where a fault came first, the half that does not wait may have come so far only now.
                    if current.futex.is_some() {
                        return futex::asleep(current).await.map(|()| 0);
                    }
                    current.parked = None;
                    let args = Args(current.cx.syscall_args());
                    return wait::finish(current, entry(current).slow, &args).await;
                }
                Error::Fault(page) => fault::resolve(current, page).await?,
                other => return Err(other),
            }
            match try_call(current) {
                Ok(value) => return Ok(value),
                Err(error) => reason = error,
            }
        }
    }
}

async fn page_fault(current: &mut Current, page: PageFault) {
    current.thread.times.count_fault();
    tick::note_fault(current.cx.pc());
    let result = match current.space.try_fault(page) {
        Some(result) => result,
        None => {
            let result = apart(current.space.fault(page)).await;
            current.left_cpu();
            result
        }
    };
    let Err(error) = result else { return };
    let addr = page.addr.0;
    let info = match error {
        FaultError::NoMapping => Siginfo::fault(Signal::SIGSEGV, code::SEGV_MAPERR, addr),
        FaultError::BadPermission => Siginfo::fault(Signal::SIGSEGV, code::SEGV_ACCERR, addr),
        FaultError::BeyondObject => Siginfo::fault(Signal::SIGBUS, code::BUS_ADRERR, addr),
        FaultError::OutOfMemory => {
            // Either there is memory now, or the thread dies before it runs again.
            let _ = apart(Box::pin(oom::kill_largest(&current.thread))).await;
            current.left_cpu();
            return;
        }
    };
    send::force(&current.thread, info);
}

/// An exception of the program becomes a signal that it cannot escape.
fn raise(current: &mut Current, exception: Exception) {
    let pc = current.cx.pc();
    let info = match exception {
        Exception::IntegerDivide => Siginfo::fault(Signal::SIGFPE, code::FPE_INTDIV, pc),
        Exception::IntegerOverflow => Siginfo::kernel(Signal::SIGSEGV),
        Exception::BoundRange | Exception::GeneralProtection => Siginfo::kernel(Signal::SIGSEGV),
        Exception::FloatingPoint(flags) => Siginfo::fault(Signal::SIGFPE, float_code(flags), pc),
        Exception::IllegalInstruction => Siginfo::fault(Signal::SIGILL, code::ILL_ILLOPN, pc),
        Exception::StackSegment => Siginfo::kernel(Signal::SIGBUS),
        Exception::Alignment(addr) => Siginfo::fault(Signal::SIGBUS, code::BUS_ADRALN, addr.0),
        Exception::Breakpoint => abi::breakpoint(pc),
        Exception::Debug => Siginfo::fault(Signal::SIGTRAP, code::TRAP_TRACE, pc),
    };
    send::force(&current.thread, info);
}

fn float_code(flags: u32) -> i32 {
    const CODES: [(u32, i32); 6] = [
        (1, code::FPE_FLTINV),
        (4, code::FPE_FLTDIV),
        (8, code::FPE_FLTOVF),
        (2, code::FPE_FLTUND),
        (16, code::FPE_FLTUND),
        (32, code::FPE_FLTRES),
    ];
    CODES.iter().find(|(flag, _)| flags & flag != 0).map_or(code::FPE_FLTINV, |(_, code)| *code)
}

/// What [`attend`] comes to most often, without a future: one signal, whose handler is called. If that is not all,
/// gives what it has taken, for [`attend`] to go on with.
#[inline(never)]
fn take_signal(current: &mut Current) -> Option<Found> {
    if !current.thread.has_only(Conditions::SIGNAL) || current.exiting.is_some() {
        return Some(None);
    }
    let mut taken = Taken::NOTHING;
    match deliver::next(&current.thread, &current.actions, &mut taken) {
        Delivery::None if current.saved_mask.is_none() => None,
        Delivery::Handler if call_handler(current, &taken).is_ok() => {
            if current.thread.is_undisturbed() {
                None
            } else {
                Some(None)
            }
        }
        other => Some(Some((other, taken))),
    }
}

/// Builds the handler's frame on the program's stack and blocks what is to be blocked while it runs.
#[inline(always)]
fn call_handler(current: &mut Current, taken: &Taken) -> Result<()> {
    if current.rseq.is_some() {
        // The handler goes back to the abort handler.
        current.abort_rseq()?;
    }
    frame::push(current, &taken.info, &taken.action)?;
    let mask = deliver::handler_mask(current, taken.info.signal, &taken.action);
    deliver::set_mask(&current.thread, mask);
    Ok(())
}

/// [`call_handler`] for those who come to it seldom.
#[inline(never)]
fn call_handler_apart(current: &mut Current, taken: &Taken) -> Result<()> {
    call_handler(current, taken)
}

/// A signal that was taken before [`attend`].
type Found = Option<(Delivery, Taken)>;

/// Does what the thread's conditions ask for. `interrupted` is the system call that a signal ended, if one did:
/// how it is restarted is decided here. Returns the wait status when the thread has to die.
/// `first` is a signal that was taken already, if one was.
async fn attend(current: &mut Current, mut first: Found, mut interrupted: Option<(Restart, usize)>) -> Option<i32> {
    loop {
        let thread = &current.thread;
        if let Some(status) = current.exiting {
            return Some(status);
        }
        if thread.has(Conditions::FATAL) {
            return Some(thread.process.exit_status().unwrap_or(0));
        }
        if thread.has(Conditions::STOP) {
            stop::park(thread).await;
            current.left_cpu();
            continue;
        }
        if thread.has(Conditions::MIGRATE) {
            thread.clear(Conditions::MIGRATE);
            executor::yield_now().await;
            current.left_cpu();
            continue;
        }
        if thread.has(Conditions::RSEQ) {
            settle_rseq(current).await;
            continue;
        }
        let (delivery, taken) = first.take().unwrap_or_else(|| {
            let mut taken = Taken::NOTHING;
            (deliver::next(thread, &current.actions, &mut taken), taken)
        });
        match delivery {
            Delivery::None => break,
            Delivery::Stop => {}
            Delivery::Die { core } => {
                if core {
                    Box::pin(coredump::write(current, &taken.info)).await;
                }
                return Some(die(current, taken.info));
            }
            Delivery::Handler => {
                if let Some((restart, number)) = interrupted.take() {
                    before_handler(current, restart, number, &taken.action);
                }
                enter_handler(current, &taken).await;
            }
        }
    }
    if let Some((restart, number)) = interrupted {
        without_handler(current, restart, number);
    }
    if let Some(mask) = current.saved_mask.take() {
        deliver::set_mask(&current.thread, mask);
    }
    None
}

/// Brings what the program sees of its CPU up to date. A program whose memory does not allow that, or whose sequence is none,
/// dies of SIGSEGV.
async fn settle_rseq(current: &mut Current) {
    current.thread.clear(Conditions::RSEQ);
    let settled = loop {
        match current.settle_rseq() {
            Err(Error::Fault(page)) => {
                if let Err(error) = Box::pin(fault::resolve(current, page)).await {
                    break Err(error);
                }
            }
            other => break other,
        }
    };
    if settled.is_err() {
        current.forget_rseq();
        send::force(&current.thread, Siginfo::kernel(Signal::SIGSEGV));
    }
}

/// A handler runs first: is the call restarted after it, or does it fail with EINTR?
fn before_handler(current: &mut Current, restart: Restart, number: usize, action: &Action) {
    let again = match restart {
        Restart::Always => true,
        Restart::IfAsked => action.flags.contains(SaFlags::RESTART),
        Restart::IfUnhandled | Restart::Never | Restart::Resume => false,
    };
    if again {
        current.cx.rewind_syscall(number);
    } else {
        current.cx.set_syscall_result(Errno::EINTR.to_result());
    }
}

/// No handler runs: the call is issued once more, as itself or as restart_syscall(2), unless it never is.
fn without_handler(current: &mut Current, restart: Restart, number: usize) {
    let number = match restart {
        Restart::Never => return current.cx.set_syscall_result(Errno::EINTR.to_result()),
        Restart::Resume => linux_raw_sys::general::__NR_restart_syscall as usize,
        _ => number,
    };
    current.cx.rewind_syscall(number);
}

/// The process ends of a signal, unless its end was decided before.
fn die(current: &mut Current, info: Siginfo) -> i32 {
    let status = i32::from(info.signal.number());
    current.thread.process.exit_group(status);
    current.thread.process.exit_status().unwrap_or(status)
}

/// Has the handler called. If the stack is bad, the program dies of SIGSEGV.
async fn enter_handler(current: &mut Current, taken: &Taken) {
    loop {
        match call_handler_apart(current, taken) {
            Ok(()) => return,
            Err(Error::Fault(page)) if fault::resolve(current, page).await.is_ok() => {}
            Err(_) => {
                if taken.info.signal == Signal::SIGSEGV {
                    current.actions.set(Signal::SIGSEGV, Action::default());
                }
                send::force(&current.thread, Siginfo::kernel(Signal::SIGSEGV));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch::user::Context;

    fn size_of_future<F: Future>(_: impl FnOnce(Current) -> F) -> usize {
        size_of::<F>()
    }

    /// DESIGN.md, rule 3: what waits in a common call lies inside the thread's future, what is large and rare on the heap.
    #[test]
    fn the_future_of_a_thread_stays_within_its_budget() {
        // With aarch64's registers (and 64 bytes of vector state that this build has not) and the executor's part, it has to fit the
        // heap's object of 1,360 bytes: the next is of 2,048.
        const BUDGET: usize = 920;
        let size = size_of_future(|current| life(current, Birth::Clone)) - size_of::<Context>();
        println!("a thread's future: {size} bytes beside the registers, budget {BUDGET}");
        assert!(size <= BUDGET);
    }
}
