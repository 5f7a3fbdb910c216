//! The lock order of this crate. These locks rank above those of vfs and below the frame allocator's and the executor's. The
//! process layer ([`crate::job::Jobs`]) is called with none of them held.

use executor::spin::Rank;

/// The pseudo-terminals of one devpts.
pub const PTYS: Rank = Rank::new(140, "pseudo-terminals");
/// The attributes of a devpts inode.
pub const NODE: Rank = Rank::new(141, "devpts inode");
/// A terminal: settings, queues, job control.
pub const TTY: Rank = Rank::new(142, "terminal");
/// What the master of a pseudo-terminal has to read. A [`crate::line::Line`]'s own lock has this rank or a higher one.
pub const LINE: Rank = Rank::new(144, "terminal line");
