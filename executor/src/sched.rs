//! Scheduling classes and the scheduling data of one task.

use crate::fifo::Link;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// How a task competes for its CPU.
///
/// Any real-time task goes before any fair one. Batch tasks are fair tasks that never use the
/// wake slot; idle tasks are fair tasks of the lowest weight that any other fair task preempts.
///
/// ```
/// use executor::{Class, RtPolicy};
/// let audio = Class::RealTime { prio: 50, policy: RtPolicy::Fifo };
/// assert!(audio > Class::Fair { nice: -20 });
/// assert_eq!(Class::default(), Class::Fair { nice: 0 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A share of the CPU by weight; `nice` is -20 (most) to 19 and each step is a factor of 1.25.
    Fair {
        /// -20 to 19; values outside are clamped.
        nice: i8,
    },
    /// Before all other classes; 1 is the lowest priority and 99 the highest.
    RealTime {
        /// 1 to 99; values outside are clamped.
        prio: u8,
        /// Whether equals take turns.
        policy: RtPolicy,
    },
    /// Only what the others leave, but never nothing at all.
    Idle,
    /// As `Fair`, for work that nobody waits for.
    Batch {
        /// -20 to 19; values outside are clamped.
        nice: i8,
    },
}

/// What real-time tasks of one priority do among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtPolicy {
    /// Each runs until it waits or yields.
    Fifo,
    /// Each runs for a slice.
    RoundRobin,
}

impl Default for Class {
    fn default() -> Class {
        Class::Fair { nice: 0 }
    }
}

impl PartialOrd for Class {
    /// Orders by who preempts whom; classes that take turns are neither less nor greater.
    fn partial_cmp(&self, other: &Class) -> Option<core::cmp::Ordering> {
        let (a, b) = (self.pack().level(), other.pack().level());
        if a == b && self != other { None } else { Some(a.cmp(&b)) }
    }
}

impl Class {
    pub(crate) fn pack(self) -> Packed {
        let nice = |n: i8| (n.clamp(-20, 19) + 20) as u16;
        Packed(match self {
            Class::Fair { nice: n } => nice(n),
            Class::Batch { nice: n } => BATCH | nice(n),
            Class::Idle => IDLE | nice(19),
            Class::RealTime { prio, policy } => {
                let rr = if policy == RtPolicy::RoundRobin { ROUND_ROBIN } else { 0 };
                REAL_TIME | rr | u16::from(prio.clamp(1, 99))
            }
        })
    }
}

const BATCH: u16 = 1 << 8;
const IDLE: u16 = 1 << 9;
const REAL_TIME: u16 = 1 << 10;
const ROUND_ROBIN: u16 = 1 << 11;

/// A class in one word: the nice value plus 20 or the priority, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packed(u16);

/// Levels order classes by who preempts whom. Nothing runs at `LEVEL_NONE`.
pub(crate) const LEVEL_NONE: u32 = 0;
pub(crate) const LEVEL_IDLE: u32 = 1;
pub(crate) const LEVEL_FAIR: u32 = 2;
/// Priority 0 of the real-time part, which does not exist.
pub(crate) const LEVEL_RT: u32 = 3;

impl Packed {
    #[inline]
    pub fn is_real_time(self) -> bool {
        self.0 & REAL_TIME != 0
    }
    #[inline]
    pub fn is_idle(self) -> bool {
        self.0 & IDLE != 0
    }
    /// Fair or batch: neither idle nor real-time.
    #[inline]
    pub fn is_fair(self) -> bool {
        // All others have a higher bit.
        self.0 < IDLE
    }
    /// Neither batch, idle nor real-time.
    #[inline]
    pub fn is_plain(self) -> bool {
        self.0 < BATCH
    }
    #[inline]
    pub fn prio(self) -> usize {
        (self.0 & 0x7f) as usize
    }
    #[inline]
    fn nice_index(self) -> usize {
        (self.0 & 0x3f) as usize
    }
    #[inline]
    pub fn level(self) -> u32 {
        if self.is_fair() {
            LEVEL_FAIR
        } else if self.is_real_time() {
            LEVEL_RT + self.prio() as u32
        } else {
            LEVEL_IDLE
        }
    }
    /// Whether it preempts what runs at `level`.
    #[inline]
    pub fn outranks(self, level: u32) -> bool {
        if self.is_fair() { LEVEL_FAIR > level } else { self.level() > level }
    }
    /// How many buckets of virtual time after now its next turn is.
    #[inline]
    pub fn offset(self) -> u64 {
        u64::from(SHARES.0[self.nice_index()])
    }
    /// [`Packed::slice`] of a fair or batch task.
    #[inline]
    pub fn fair_slice(self) -> u64 {
        SHARES.1[self.nice_index()]
    }
    /// How long it may run before others have their turn, in ns.
    #[inline]
    pub fn slice(self) -> u64 {
        if self.is_real_time() {
            return if self.0 & ROUND_ROBIN != 0 { RT_SLICE } else { u64::MAX };
        }
        self.fair_slice()
    }
    pub fn unpack(self) -> Class {
        let nice = (self.nice_index() as i8) - 20;
        if self.is_real_time() {
            let policy = if self.0 & ROUND_ROBIN != 0 { RtPolicy::RoundRobin } else { RtPolicy::Fifo };
            Class::RealTime { prio: self.prio() as u8, policy }
        } else if self.is_idle() {
            Class::Idle
        } else if self.0 & BATCH != 0 {
            Class::Batch { nice }
        } else {
            Class::Fair { nice }
        }
    }
}

impl Class {
    /// How long a task of this class may run before its equals have their turn, in ns. `None` for FIFO.
    pub fn slice_ns(self) -> Option<u64> {
        Some(self.pack().slice()).filter(|slice| *slice != u64::MAX)
    }
}

const SLICE: u64 = 3_000_000;
const RT_SLICE: u64 = 100_000_000;
/// Buckets of virtual time between the turns of a task of nice 0.
const UNIT: u64 = 16;
/// The calendar's size: offsets stay below it.
pub(crate) const BUCKETS: usize = 256;

/// What six bits can say; the forty nice values come first.
const NICE_INDICES: usize = 64;

/// For each nice value the offset of its turns and the length of its slice.
///
/// A share is slice over offset. The offset is 1.25^nice units, rounded and held to the calendar's
/// size; the slice makes up for what rounding and the bounds took away, so that the share is exact.
const SHARES: ([u16; NICE_INDICES], [u64; NICE_INDICES]) = {
    let mut offsets = [0u16; NICE_INDICES];
    let mut slices = [0u64; NICE_INDICES];
    let mut i = 0;
    while i < 40 {
        // 1.25^nice units in 1/65536 of a bucket
        let mut ideal = UNIT << 16;
        let mut n = 20;
        while n < i {
            ideal = ideal * 5 / 4;
            n += 1;
        }
        while n > i {
            ideal = ideal * 4 / 5;
            n -= 1;
        }
        let rounded = (ideal + (1 << 15)) >> 16;
        let offset = if rounded < 1 {
            1
        } else if rounded > 255 {
            255
        } else {
            rounded
        };
        offsets[i] = offset as u16;
        slices[i] = (SLICE / 1000) * (offset << 16) / ideal * 1000;
        i += 1;
    }
    (offsets, slices)
};

/// What [`spawn`](crate::spawn) is told about a task.
///
/// ```
/// use executor::{Class, SchedParams};
/// let params = SchedParams { class: Class::Batch { nice: 5 }, ..SchedParams::default() };
/// assert_eq!(params.affinity, u64::MAX);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SchedParams {
    /// Its class.
    pub class: Class,
    /// The CPUs that may run it, one bit each. A mask without a started CPU is taken for all.
    pub affinity: u64,
    /// The CPU whose queue it starts on; the spawning one if None.
    pub cpu: Option<usize>,
}

impl Default for SchedParams {
    fn default() -> SchedParams {
        SchedParams { class: Class::default(), affinity: u64::MAX, cpu: None }
    }
}

/// A task's scheduling data, kept in its metadata.
///
/// `link` belongs to the list that owns the task. The rest are words that anyone may read;
/// `home` is written by whoever queues or runs the task, `runtime` by the CPU that runs it.
pub(crate) struct Entity {
    pub link: Link,
    pub affinity: AtomicU64,
    pub runtime: AtomicU64,
    home: AtomicU32,
    class: AtomicU16,
    /// What it has left of the slice in which it gave way, in ns; 0 for a whole one.
    left: AtomicU32,
    /// Whether a run queue counts it among its idle tasks; its lock protects this.
    counted_idle: AtomicBool,
}

impl Entity {
    pub fn new(params: &SchedParams, home: usize) -> Entity {
        Entity {
            link: Link::default(),
            affinity: AtomicU64::new(params.affinity),
            runtime: AtomicU64::new(0),
            home: AtomicU32::new(home as u32),
            class: AtomicU16::new(params.class.pack().0),
            left: AtomicU32::new(0),
            counted_idle: AtomicBool::new(false),
        }
    }
    #[inline]
    pub fn class(&self) -> Packed {
        Packed(self.class.load(Relaxed))
    }
    pub fn set_class(&self, class: Class) {
        self.class.store(class.pack().0, Relaxed);
    }
    /// Replaces the nice value of a fair or batch task.
    pub fn set_nice(&self, nice: i8) {
        let _ = self.class.fetch_update(Relaxed, Relaxed, |word| {
            Some(match Packed(word).unpack() {
                Class::Fair { .. } => Class::Fair { nice }.pack().0,
                Class::Batch { .. } => Class::Batch { nice }.pack().0,
                Class::RealTime { .. } | Class::Idle => word,
            })
        });
    }
    /// Whether its next slice is what it has left of the last one.
    #[inline]
    pub fn goes_on(&self) -> bool {
        self.left.load(Relaxed) != 0
    }
    /// It gives way with `ns` of its slice left; where that is nothing, its next slice is a whole one.
    pub fn keep_slice(&self, ns: u64) {
        self.left.store(ns.min(u32::MAX.into()) as u32, Relaxed);
    }
    /// How long it may run now, in ns.
    pub fn take_slice(&self, class: Packed) -> u64 {
        match (self.left.swap(0, Relaxed), class.slice()) {
            (0, slice) | (_, slice @ u64::MAX) => slice,
            (left, slice) => slice.min(left.into()),
        }
    }
    #[inline]
    pub fn counted_idle(&self) -> bool {
        self.counted_idle.load(Relaxed)
    }
    #[inline]
    pub fn set_counted_idle(&self, yes: bool) {
        self.counted_idle.store(yes, Relaxed);
    }
    #[inline]
    pub fn allows(&self, cpu: usize) -> bool {
        self.affinity.load(Relaxed) >> cpu & 1 != 0
    }
    /// The CPU whose queue it is on, or on the way to, or that ran it last.
    #[inline]
    pub fn home(&self) -> usize {
        (self.home.load(Relaxed) & !MOVING) as usize
    }
    /// Whether `cpu` ran it last.
    #[inline]
    pub fn is_home(&self, cpu: usize) -> bool {
        self.home.load(Relaxed) == cpu as u32
    }
    /// It is about to run on `cpu`. Whether it comes from elsewhere.
    #[inline]
    pub fn arrive(&self, cpu: usize) -> bool {
        let comes = !self.is_home(cpu);
        if comes {
            self.home.store(cpu as u32, Relaxed);
        }
        comes
    }
    /// It is on the way to `cpu`.
    pub fn send(&self, cpu: usize) {
        if self.home() != cpu {
            self.home.store(cpu as u32 | MOVING, Relaxed);
        }
    }
}

/// In `home`: it has not run there yet.
const MOVING: u32 = 1 << 31;
