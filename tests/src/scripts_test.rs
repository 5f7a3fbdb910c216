//! Shell scripts about the behaviour of processes (tests/scripts), on Debian's stock kernel and on ours: each has to print
//! the same, end with the same status and leave the same processes behind.
//!
//! tests/scripts/README.md says how a script is written; userland/recipes/files/run-scripts runs them in the guest.
//! What the stock kernel does depends on the scripts and the root file system alone, so it is kept under target/scripts.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::accel;
use crate::arch::{Arch, out};
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
    let mut hasher = DefaultHasher::new();
    (&kernel.name, root).hash(&mut hasher);
    let cpus = Config::from_environment(arch)?.cpus;
    let dir = out().join("scripts");
    fs::create_dir_all(&dir)?;
    let kept = dir.join(format!("{}-{cpus}-{:016x}", arch.name(), hasher.finish()));
    if let Ok(text) = fs::read_to_string(&kept) {
        let mut results = read(&text);
        results.retain(|name, _| words.is_empty() || words.iter().any(|word| name.contains(word)));
        return Ok(results);
    }
    let results = results(arch, &kernel, root, words)?;
    if words.is_empty() {
        fs::write(kept, write(&results))?;
    }
    Ok(results)
}

fn results(arch: Arch, kernel: &Kernel, root: &[u8], words: &[&str]) -> Result<Results> {
    let mut config = Config::from_environment(arch)?;
    config.accelerator = accel::find(arch, kernel, root)?;
    let command: Vec<&str> = ["run-scripts"].iter().chain(words).copied().collect();
    let text = compare::output(&config, kernel, root, "scripts", &command, PATIENCE)?;
    let results = read(&text);
    ensure!(!results.is_empty(), "no script was run{}", if words.is_empty() { "" } else { ": none has such a name" });
    Ok(results)
}

/// Takes the runner's output apart: `= NAME` begins a script's result, and each of its lines is behind `| `.
fn read(text: &str) -> Results {
    let mut results = Results::new();
    let mut name = None;
    for line in text.lines() {
        if let Some(next) = line.strip_prefix("= ") {
            results.insert(next.to_string(), String::new());
            name = Some(next);
        } else if let Some((result, line)) = name.and_then(|name| results.get_mut(name)).zip(line.strip_prefix("| ")) {
            *result += line;
            result.push('\n');
        }
    }
    results
}

/// Puts it together again.
fn write(results: &Results) -> String {
    let mut text = String::new();
    for (name, result) in results {
        text += &format!("= {name}\n");
        for line in result.lines() {
            text += &format!("| {line}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_has_the_lines_behind_bars() {
        let results = read("noise\n= exit: a\n| one\n| \n| status 0\nnoise\n= exit: b\n| status 1\n");
        assert_eq!(results["exit: a"], "one\n\nstatus 0\n");
        assert_eq!(results["exit: b"], "status 1\n");
        assert_eq!(read(&write(&results)), results);
    }
}
