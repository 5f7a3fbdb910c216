//! Signals (signal(7)): what is pending ([`pending`]), what is to be done ([`action`]), how they are sent
//! ([`send`]) and taken ([`deliver`]), and how a process stops and goes on ([`stop`]).

pub mod action;
pub mod deliver;
pub mod info;
pub mod number;
pub mod pending;
pub mod send;
pub mod stop;

pub use action::{Action, Actions, Disposition, SaFlags};
pub use info::{Fields, Siginfo, code};
pub use number::{DefaultAction, Signal, SignalSet};
pub use pending::Pending;
