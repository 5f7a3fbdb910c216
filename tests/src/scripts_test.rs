//! Shell scripts about the behaviour of processes (tests/scripts), on Debian's stock kernel and on ours: each has to print
//! the same, end with the same status and leave the same processes behind.
//!
//! tests/scripts/README.md says how a script is written; userland/recipes/files/run-scripts runs them in the guest.
//! What the stock kernel does depends on the scripts and the root file system alone, so it is kept under target/scripts.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::accel;
use crate::arch::Arch;
use crate::compare::{self, Results};
use crate::image::{self, Kernel};
use crate::qemu::Config;
use crate::recipe::Recipe;
use crate::toolchain::Toolchain;

/// The longest that all scripts may take on one kernel.
const PATIENCE: Duration = Duration::from_secs(1500);

/// Runs all scripts, or those whose names (`topic: rule`) contain one of some words, on both kernels and shows each
/// difference; gives how many results agree and how many do not.
pub fn run(arch: Arch, words: &[&str]) -> Result<(usize, usize)> {
    let programs = Toolchain::load()?.build_programs(arch)?;
    let root = Recipe::load("scripts")?.build(arch, &programs)?;
    let expected = known(arch, &root, words)?;
    let found = results(arch, &image::chosen(arch)?, &root, words)?;
    Ok(compare::count(&expected, &found, |name, theirs, ours| {
        if theirs != ours {
            println!("test scripts: {name} ... FAILED: - on Linux, + here\n{}", compare::difference(theirs, ours));
        }
        theirs == ours
    }))
}

/// What the stock kernel did: all of it from an earlier run, if there was one.
fn known(arch: Arch, root: &[u8], words: &[&str]) -> Result<Results> {
    let kernel = image::peer(arch)?;
    let kept = compare::kept("scripts", arch, &(&kernel.name, root))?;
    if let Ok(text) = fs::read_to_string(&kept) {
        let mut results = compare::read(&text);
        results.retain(|name, _| words.is_empty() || words.iter().any(|word| name.contains(word)));
        return Ok(results);
    }
    let results = results(arch, &kernel, root, words)?;
    if words.is_empty() {
        fs::write(kept, compare::write(&results))?;
    }
    Ok(results)
}

fn results(arch: Arch, kernel: &Kernel, root: &[u8], words: &[&str]) -> Result<Results> {
    let mut config = Config::from_environment(arch)?;
    config.accelerator = accel::find(arch, kernel, root)?;
    let command: Vec<&str> = ["run-scripts"].iter().chain(words).copied().collect();
    let text = compare::output(&config, kernel, root, "scripts", &command, PATIENCE)?;
    let results = compare::read(&text);
    ensure!(!results.is_empty(), "no script was run{}", if words.is_empty() { "" } else { ": none has such a name" });
    Ok(results)
}
