//! /proc (proc(5)).

use base::Result;
use vfs::mount::Location;

/// Mounts /proc under `root`.
pub fn mount(_root: &Location) -> Result<()> {
    Ok(())
}
