//! Return addresses of the running code.

/// Calls `each` with the return addresses of the current call chain, innermost first. The
/// development machine has better tools, so here there are none.
pub fn walk(_each: impl FnMut(usize)) {}
