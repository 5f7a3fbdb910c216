//! The simulated machine's state and the simulator's handle on it.

pub use super::faults::{Chance, Fate, set_fate, spared, strikes};
pub use super::heap::{CountingHeap, InUse, in_use, with_few_blocks};

use super::irq::Irq;
use super::paging::{Entry, Perm};
use super::user::Program;
use crate::MAX_CPUS;
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::boot::{BootInfo, MAX_RANGES, PhysRange};
use crate::trap::{Access, PageFault};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::cell::{Cell, RefCell};

/// Where simulated RAM starts. Not zero, so that a null frame is recognised.
const RAM_START: u64 = 0x10_0000;

/// The machine. One per host thread, so that unit tests do not meet.
pub struct Machine {
    /// Nanoseconds since boot.
    pub now: u64,
    /// Number of CPUs.
    pub cpus: usize,
    /// What [`super::random::seed`] gives.
    pub seed: [u8; 32],
    /// Everything the console printed.
    pub console_out: Vec<u8>,
    /// What the console will receive.
    pub console_in: VecDeque<u8>,
    ram: &'static mut [u64],
    pending: [VecDeque<Irq>; MAX_CPUS],
    deadlines: [Option<u64>; MAX_CPUS],
    roots: [Option<PhysAddr>; MAX_CPUS],
}

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
    static EXECUTED: RefCell<Option<Arc<dyn Program>>> = const { RefCell::new(None) };
}

/// Makes a fresh machine with `ram` bytes of memory for this host thread, and tells of it as a boot
/// loader would. The memory of an earlier machine is leaked, since statics may still point into it.
pub fn boot(cpus: usize, ram: usize, seed: [u8; 32]) -> &'static BootInfo {
    let ram = ram & !(PAGE_SIZE - 1);
    let words = zeroed_pages(ram);
    MACHINE.set(Some(Machine {
        now: 1,
        cpus,
        seed,
        console_out: Vec::new(),
        console_in: VecDeque::new(),
        ram: words,
        pending: [const { VecDeque::new() }; MAX_CPUS],
        deadlines: [None; MAX_CPUS],
        roots: [None; MAX_CPUS],
    }));
    CPU.set(0);
    let mut ranges = [PhysRange::default(); MAX_RANGES];
    ranges[0] = PhysRange { start: PhysAddr(RAM_START), len: ram as u64 };
    Box::leak(Box::new(BootInfo {
        ranges,
        ranges_len: 1,
        ram_bytes: ram as u64,
        ram_start: PhysAddr(RAM_START),
        ram_end: PhysAddr(RAM_START + ram as u64),
        command_line: b"",
        initrd: None,
        cpus,
    }))
}

/// `len` bytes of zeroes at a page boundary, never freed. One page more is asked for, and no alignment: the allocator then
/// gives fresh pages of the host, which cost nothing until they are used.
fn zeroed_pages(len: usize) -> &'static mut [u64] {
    let words = Vec::leak(std::vec![0u64; (len + PAGE_SIZE) / 8]);
    let skipped = (words.as_ptr() as usize).next_multiple_of(PAGE_SIZE) - words.as_ptr() as usize;
    &mut words[skipped / 8..][..len / 8]
}

/// Sets the program that runs where a context brings none: after execve(2), from the entry point on.
pub fn set_executed_program(program: Arc<dyn Program>) {
    EXECUTED.set(Some(program));
}

/// What [`set_executed_program`] has set.
pub(super) fn executed_program() -> Option<Arc<dyn Program>> {
    EXECUTED.with_borrow(Option::clone)
}

/// Which CPU runs now.
pub fn cpu() -> usize {
    CPU.get()
}

/// Goes on as CPU `cpu`.
pub fn set_cpu(cpu: usize) {
    CPU.set(cpu);
}

/// Reads or changes the machine's state.
///
/// # Panics
/// If no machine was booted on this host thread.
pub fn with<T>(f: impl FnOnce(&mut Machine) -> T) -> T {
    MACHINE.with_borrow_mut(|m| f(m.as_mut().expect("sim::boot was called")))
}

/// Moves the clock on by `ns` nanoseconds and raises the timer interrupts that are then due.
pub fn advance(ns: u64) {
    with(|m| {
        m.now += ns;
        for cpu in 0..m.cpus {
            if m.deadlines[cpu].is_some_and(|at| at <= m.now) {
                m.deadlines[cpu] = None;
                m.pending[cpu].push_back(Irq::Timer);
            }
        }
    });
}

/// The earliest deadline of any CPU.
pub fn next_deadline() -> Option<u64> {
    with(|m| m.deadlines.iter().flatten().min().copied())
}

/// Raises an interrupt on CPU `cpu`.
pub fn raise(cpu: usize, irq: Irq) {
    with(|m| m.pending[cpu].push_back(irq));
}

/// Whether an interrupt is pending on the CPU that runs.
pub fn irq_pending() -> bool {
    with(|m| !m.pending[cpu()].is_empty())
}

pub(super) fn take_irq() -> Option<Irq> {
    with(|m| m.pending[cpu()].pop_front())
}

pub(super) fn send_ipi(cpu: usize) {
    with(|m| {
        if !m.pending[cpu].contains(&Irq::Ipi) {
            m.pending[cpu].push_back(Irq::Ipi);
        }
    });
}

pub(super) fn set_deadline(deadline: Option<u64>) {
    with(|m| m.deadlines[cpu()] = deadline);
}

pub(super) fn set_root(root: Option<PhysAddr>) {
    with(|m| m.roots[cpu()] = root);
}

pub(super) fn ram_ptr(addr: PhysAddr) -> *mut u8 {
    with(|m| {
        let offset = (addr.0 - RAM_START) as usize;
        assert!(offset < m.ram.len() * 8, "{addr:?} is not RAM");
        m.ram.as_mut_ptr().cast::<u8>().wrapping_add(offset)
    })
}

pub(super) fn ram_addr(ptr: *const u8) -> PhysAddr {
    with(|m| PhysAddr(ptr as u64 - m.ram.as_ptr() as u64 + RAM_START))
}

/// Walks the active page table as the hardware would and calls `copy` with a host pointer, the
/// offset in the whole, and a length, for each piece.
pub(super) fn user_copy(
    addr: VirtAddr,
    len: usize,
    access: Access,
    mut copy: impl FnMut(*mut u8, usize, usize),
) -> Result<(), (PageFault, usize)> {
    let mut done = 0;
    while done < len {
        let here = VirtAddr(addr.0.wrapping_add(done));
        let fault = (PageFault { addr: here, access }, done);
        if strikes(Chance::Access) {
            return Err(fault);
        }
        let page = translate(here, access).ok_or(fault)?;
        let piece = (PAGE_SIZE - here.page_offset()).min(len - done);
        copy(ram_ptr(page + here.page_offset() as u64), done, piece);
        done += piece;
    }
    Ok(())
}

/// The page of RAM behind a user address, if `access` is allowed there; marks it accessed or dirty.
fn translate(addr: VirtAddr, access: Access) -> Option<PhysAddr> {
    if addr >= super::paging::USER_END {
        return None;
    }
    let mut table = with(|m| m.roots[cpu()])?;
    for level in (0..super::paging::LEVELS).rev() {
        let index = addr.0 >> (12 + 9 * level) & 511;
        let slot = ram_ptr(table + index as u64 * 8).cast::<u64>();
        // SAFETY: tables lie in simulated RAM, and one host thread plays every CPU.
        let entry = Entry::from_bits(unsafe { slot.read() });
        if !entry.is_present() {
            return None;
        }
        if level == 0 {
            let needed = match access {
                Access::Read => Perm::READ,
                Access::Write => Perm::WRITE,
                Access::Execute => Perm::EXEC,
            };
            if !entry.perm().contains(needed) {
                return None;
            }
            // SAFETY: as above.
            unsafe { slot.write(entry.mark(access == Access::Write).bits()) };
            return Some(entry.addr());
        }
        table = entry.addr();
    }
    None
}
