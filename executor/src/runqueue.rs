//! One CPU's run queue: the real-time part, the wake slot and the fair part, in that order.
//!
//! The wake slot holds the task that the running one woke first: it goes next, so that a pair that
//! talks through a pipe switches back and forth without waiting for a round of the others. It is
//! bounded: after [`SLOT_BOUND`] uses in a row the fair queue's head goes first.

use crate::calendar::Calendar;
use crate::fifo::{Fifo, Ready};
use crate::sched::{Entity, LEVEL_FAIR, LEVEL_IDLE, LEVEL_NONE, LEVEL_RT, Packed};
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How often the wake slot goes before the queue's head.
pub(crate) const SLOT_BOUND: u32 = 4;
const PRIOS: usize = 100;

/// Where a task goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// After those that wait already, as its class says.
    Tail,
    /// Into the wake slot, if that is free.
    Slot,
    /// Before those that wait already.
    Head,
}

/// What of a run queue anyone may look at without its lock. Written with it held.
pub(crate) struct Gauge {
    /// How many tasks wait.
    len: AtomicU32,
    /// How many of them are of the idle class.
    idle: AtomicU32,
    /// The highest priority among the real-time ones; 0, which is none, where there are none.
    rt_top: AtomicU32,
}

impl Gauge {
    pub const fn new() -> Gauge {
        Gauge { len: AtomicU32::new(0), idle: AtomicU32::new(0), rt_top: AtomicU32::new(0) }
    }

    /// How many tasks wait.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len.load(Relaxed)
    }

    /// The level of what goes next.
    #[inline]
    pub fn top(&self) -> u32 {
        let rt_top = self.rt_top.load(Relaxed);
        if rt_top != 0 {
            LEVEL_RT + rt_top
        } else if self.len() > self.idle.load(Relaxed) {
            LEVEL_FAIR
        } else if self.len() > 0 {
            LEVEL_IDLE
        } else {
            LEVEL_NONE
        }
    }
}

pub(crate) struct RunQueue {
    slot: Option<Ready>,
    slot_uses: u32,
    rt_filled: u128,
    rt: [Fifo; PRIOS],
    fair: Calendar,
}

impl RunQueue {
    pub const fn new() -> RunQueue {
        RunQueue { slot: None, slot_uses: 0, rt_filled: 0, rt: [const { Fifo::new() }; PRIOS], fair: Calendar::new() }
    }

    /// Queues a task of `class`; how many wait now.
    #[inline(always)]
    pub fn push(&mut self, gauge: &Gauge, task: Ready, class: Packed, place: Place) -> u32 {
        let len = gauge.len() + 1;
        gauge.len.store(len, Relaxed);
        if place == Place::Slot && class.is_plain() && self.slot.is_none() {
            self.slot = Some(task);
        } else {
            self.enqueue(gauge, task, class, place);
        }
        len
    }

    #[inline(always)]
    fn enqueue(&mut self, gauge: &Gauge, task: Ready, class: Packed, place: Place) {
        if !class.is_fair() {
            if class.is_real_time() {
                return self.enqueue_rt(gauge, task, class.prio(), place);
            }
            // The class may change while the task waits; the link remembers nothing, so the count is
            // of what the task was. `counted_idle` is its own record.
            gauge.idle.store(gauge.idle.load(Relaxed) + 1, Relaxed);
            task.metadata().set_counted_idle(true);
            // Before those that wait already it would outrun what it gave way to.
            return self.fair.push(task, class.offset());
        }
        match place {
            Place::Head => self.fair.push_first(task),
            Place::Tail | Place::Slot => self.fair.push(task, class.offset()),
        }
    }

    fn enqueue_rt(&mut self, gauge: &Gauge, task: Ready, prio: usize, place: Place) {
        self.rt_filled |= 1 << prio;
        gauge.rt_top.store(gauge.rt_top.load(Relaxed).max(prio as u32), Relaxed);
        match place {
            Place::Head => self.rt[prio].push_front(task),
            Place::Tail | Place::Slot => self.rt[prio].push_back(task),
        }
    }

    /// The next task, and whether it was in the wake slot.
    #[inline]
    pub fn pop(&mut self, gauge: &Gauge) -> Option<(Ready, bool)> {
        let len = gauge.len();
        if len == 0 {
            return None;
        }
        gauge.len.store(len - 1, Relaxed);
        let rt_top = gauge.rt_top.load(Relaxed);
        if rt_top != 0 {
            return self.pop_rt(gauge, rt_top as usize).map(|task| (task, false));
        }
        if let Some(task) = self.slot.take() {
            if self.slot_uses < SLOT_BOUND {
                self.slot_uses += 1;
                return Some((task, true));
            }
            self.slot = Some(task);
        }
        self.slot_uses = 0;
        match self.fair.pop() {
            Some(task) => {
                forget(gauge, &task);
                Some((task, false))
            }
            None => self.slot.take().map(|task| (task, true)),
        }
    }

    fn pop_rt(&mut self, gauge: &Gauge, prio: usize) -> Option<Ready> {
        let task = self.rt[prio].pop_front();
        self.tidy(gauge, prio);
        task
    }

    /// After a real-time task was taken out.
    fn tidy(&mut self, gauge: &Gauge, prio: usize) {
        if self.rt[prio].is_empty() {
            self.rt_filled &= !(1 << prio);
            gauge.rt_top.store(127u32.saturating_sub(self.rt_filled.leading_zeros()), Relaxed);
        }
    }

    /// Moves the task in the wake slot to the queue, where others can steal it.
    pub fn flush_slot(&mut self, gauge: &Gauge) {
        if let Some(task) = self.slot.take() {
            let class = task.metadata().class();
            self.enqueue(gauge, task, class, Place::Tail);
        }
    }

    /// Takes out this task, wherever it waits.
    pub fn take(&mut self, gauge: &Gauge, entity: &Entity) -> Option<Ready> {
        let wanted = |other: &Entity| core::ptr::eq(other, entity);
        let mut found = self.slot.take_if(|task| wanted(task.metadata()));
        let mut prios = self.rt_filled;
        while found.is_none() && prios != 0 {
            let prio = prios.trailing_zeros() as usize;
            found = self.rt[prio].take_first(&mut { u32::MAX }, wanted);
            self.tidy(gauge, prio);
            prios &= !(1 << prio);
        }
        if found.is_none() {
            found = self.fair.take(u32::MAX, wanted);
            if let Some(task) = &found {
                forget(gauge, task);
            }
        }
        if found.is_some() {
            gauge.len.store(gauge.len() - 1, Relaxed);
        }
        found
    }

    /// Whether this task waits here.
    pub fn holds(&mut self, entity: &Entity) -> bool {
        let found = Cell::new(false);
        // Refuses all, so that nothing is taken out.
        let look = |other: &Entity| {
            found.set(found.get() || core::ptr::eq(other, entity));
            false
        };
        if let Some(task) = &self.slot {
            look(task.metadata());
        }
        for list in &mut self.rt {
            list.take_first(&mut { u32::MAX }, look);
        }
        self.fair.take(u32::MAX, look);
        found.get()
    }

    /// Takes out a task that `cpu` may run. The wake slot stays with its owner.
    pub fn steal(&mut self, gauge: &Gauge, cpu: usize) -> Option<Ready> {
        let wanted = |entity: &Entity| entity.allows(cpu);
        let mut prios = self.rt_filled;
        while prios != 0 {
            let prio = 127 - prios.leading_zeros() as usize;
            if let Some(task) = self.rt[prio].take_first(&mut 16, wanted) {
                self.tidy(gauge, prio);
                gauge.len.store(gauge.len() - 1, Relaxed);
                return Some(task);
            }
            prios &= !(1 << prio);
        }
        self.steal_fair(gauge, cpu)
    }

    /// The same of the fair part.
    pub fn steal_fair(&mut self, gauge: &Gauge, cpu: usize) -> Option<Ready> {
        // A bounded number, since the owner of the queue waits.
        let task = self.fair.take(64, |entity| entity.allows(cpu))?;
        forget(gauge, &task);
        gauge.len.store(gauge.len() - 1, Relaxed);
        Some(task)
    }
}

/// After a fair task was taken out.
#[inline]
fn forget(gauge: &Gauge, task: &Ready) {
    if task.metadata().counted_idle() {
        task.metadata().set_counted_idle(false);
        gauge.idle.store(gauge.idle.load(Relaxed) - 1, Relaxed);
    }
}
