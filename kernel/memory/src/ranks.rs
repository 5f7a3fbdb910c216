//! The lock order of this crate (see [`executor::spin::Rank`]).
//!
//! An address space's own lock is asynchronous and outside of all spin locks. The allocators are
//! innermost, even inside the executor's locks, since anything may allocate.

use executor::spin::Rank;

/// The remembered area of an address space.
pub const RECENT: Rank = Rank::new(90, "recent area");
/// Who maps an object.
pub const MAPPINGS: Rank = Rank::new(140, "mappings");
/// The pages of shared anonymous memory.
pub const SHARED_PAGES: Rank = Rank::new(138, "shared pages");
/// Address-space numbers.
pub const ASIDS: Rank = Rank::new(200, "address-space numbers");
/// Translations that a CPU is asked to drop.
pub const MAILBOX: Rank = Rank::new(202, "translation mailbox");
/// The slabs of one size class.
pub const SLABS: Rank = Rank::new(252, "slabs");
/// A CPU's free frames.
pub const CACHE: Rank = Rank::new(253, "frame cache");
/// The free blocks.
pub const BUDDY: Rank = Rank::new(254, "buddy");
