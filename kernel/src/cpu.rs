//! What a CPU does: polls tasks, answers interrupts, halts when there is nothing to do.

use arch::MAX_CPUS;
use arch::irq::Irq;
use base::PerCpu;
use base::percpu::Padded;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use executor::Step;
use process::times::Mode;

/// What the executor asks of the machine.
pub struct Machine;

static CPUS: AtomicUsize = AtomicUsize::new(1);

impl executor::Platform for Machine {
    #[inline]
    fn cpu_id() -> usize {
        arch::cpu::id()
    }

    #[inline]
    fn cpu_count() -> usize {
        CPUS.load(Ordering::Relaxed)
    }

    #[inline]
    fn now() -> u64 {
        arch::time::now()
    }

    fn ring(cpu: usize) {
        arch::irq::send_ipi(cpu);
    }

    fn arrived() {
        // The thread looks around before it runs (`Thread::switch_in`).
        memory::tlb::unsettle();
    }

    fn resumed(now: u64) {
        // An idle CPU does not tick. Whatever ended that, an interrupt or a look at another CPU's queue, no program runs
        // without: what is asked of a running thread waits for the tick.
        arm_at(crate::tick::due(now));
    }
}

executor::platform!(Machine);

/// Says how many CPUs the machine has. Once, before the first task.
pub fn set_count(cpus: usize) {
    CPUS.store(cpus, Ordering::Relaxed);
}

/// How many CPUs the machine has.
pub fn count() -> usize {
    CPUS.load(Ordering::Relaxed)
}

/// Interrupts are let in after so many polls without a return to user mode.
const POLLS_PER_LOOK: u32 = 16;

/// No deadline is set.
const NEVER: u64 = u64::MAX;

/// The deadline that each CPU's timer is set to. Written by that CPU only.
static ARMED: PerCpu<AtomicU64> = PerCpu::new([const { Padded(AtomicU64::new(NEVER)) }; MAX_CPUS]);

/// The time each CPU has spent halted, in nanoseconds.
static IDLE: PerCpu<AtomicU64> = PerCpu::new([const { Padded(AtomicU64::new(0)) }; MAX_CPUS]);

/// How long CPU `cpu` has been halted since boot, in nanoseconds.
pub fn idle_time(cpu: usize) -> u64 {
    IDLE.of(cpu).load(Ordering::Relaxed)
}

/// Runs this CPU for ever.
pub fn run() -> ! {
    executor::start();
    let mut polls = POLLS_PER_LOOK;
    loop {
        if step() == Step::Idle {
            polls = POLLS_PER_LOOK;
        } else {
            polls -= 1;
            if polls == 0 {
                polls = POLLS_PER_LOOK;
                arch::irq::poll();
                if service_interrupts() {
                    crate::tick::charge(Mode::System, false);
                }
            }
        }
    }
}

/// Polls one task, or halts until there may be one.
#[inline]
pub fn step() -> Step {
    let step = executor::run_next();
    if step == Step::Idle {
        idle();
    }
    step
}

fn idle() {
    if !prepare_halt() {
        return;
    }
    let from = arch::time::now();
    arch::irq::wait(executor::has_work);
    let halted = IDLE.this();
    halted.store(halted.load(Ordering::Relaxed) + arch::time::now().saturating_sub(from), Ordering::Relaxed);
    finish_halt();
}

/// What comes before a halt; false if there is work after all. The simulator halts its CPUs by itself.
pub fn prepare_halt() -> bool {
    if !executor::enter_idle() {
        return false;
    }
    arm(executor::next_deadline());
    true
}

/// What comes after a halt. The tick comes back with the first task.
pub fn finish_halt() {
    executor::leave_idle();
    service();
}

/// Answers every pending interrupt. After a [`arch::trap::Trap::Interrupt`]. Returns whether the CPU's tick was due, which the
/// caller charges ([`crate::tick::charge`]).
pub fn service_interrupts() -> bool {
    let now = service();
    let ticked = crate::tick::take(now);
    arm_at(crate::tick::due(now));
    ticked
}

/// Answers every pending interrupt. Returns the time.
fn service() -> u64 {
    arch::irq::service(|irq| match irq {
        Irq::Timer => ARMED.this().store(NEVER, Ordering::Relaxed),
        Irq::Ipi => memory::tlb::service(),
        Irq::Console => crate::console::interrupt(),
        Irq::Line(_) => {}
    });
    let now = arch::time::now();
    executor::fire_timers(now);
    now
}

/// What a thread has to do before it goes on with its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// To let another thread run.
    GiveWay,
    /// To have memory given back: the kernel lives on its reserve.
    FreeMemory,
}

/// On the way to user mode: has the timer set for whatever comes first. Returns what the thread has to do before.
#[inline]
pub fn prepare_user() -> Option<Duty> {
    let duty = if executor::is_quiet() { None } else { look_around() };
    debug_assert!(duty.is_some() || is_ticking(), "a program would run without the tick");
    duty
}

/// Whether this CPU's timer goes off by its next tick.
#[inline]
fn is_ticking() -> bool {
    ARMED.this().load(Ordering::Relaxed) <= crate::tick::last_due()
}

/// What [`prepare_user`] does where something may have changed.
fn look_around() -> Option<Duty> {
    if memory::is_pressed() {
        return Some(Duty::FreeMemory);
    }
    if executor::is_settled(ARMED.this().load(Ordering::Relaxed)) {
        return None;
    }
    if executor::need_resched() {
        return Some(Duty::GiveWay);
    }
    if let Some(deadline) = executor::next_deadline() {
        arm_at(deadline);
    }
    None
}

fn arm(deadline: Option<u64>) {
    if let Some(deadline) = deadline {
        arm_at(deadline);
    }
}

/// Sets the timer unless it goes off early enough as it is. One that goes off too early does no harm and is set
/// again then; so a deadline that moves back and forth costs nothing.
#[inline]
fn arm_at(deadline: u64) {
    let armed = ARMED.this();
    if deadline < armed.load(Ordering::Relaxed) {
        armed.store(deadline, Ordering::Relaxed);
        arch::time::set_deadline(Some(deadline));
    }
}
