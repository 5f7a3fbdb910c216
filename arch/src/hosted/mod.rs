//! The machine as a simulation inside one process of the development machine.
//!
//! One host thread plays all CPUs in turn ([`sim::set_cpu`]). Physical memory is a host
//! allocation; page tables are real ones in it, walked in software; a user program is a
//! [`user::Program`], a script that yields traps. Time moves only when the simulator moves it.

pub mod backtrace;
pub mod console;
pub mod cpu;
pub mod faults;
pub mod heap;
pub mod irq;
pub mod paging;
pub mod physmap;
pub mod power;
pub mod random;
pub mod sim;
pub mod time;
pub mod user;
pub mod usercopy;
