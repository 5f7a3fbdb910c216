//! Words that all parts of the kernel share. Nothing here knows more than its own file.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod cred;
pub mod errno;
pub mod error;
pub mod events;
pub mod few;
pub mod percpu;
pub mod rank;
pub mod time;

pub use cred::{Capability, Credentials};
pub use errno::Errno;
pub use error::{Error, Restart, Result};
pub use events::Events;
pub use few::Few;
pub use percpu::PerCpu;
pub use time::Timespec;
