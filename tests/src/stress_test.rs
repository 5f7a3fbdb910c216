//! Debian's stress-ng on its stock kernel and on ours: each stressor alone and all of them together. A stressor may fail or
//! be skipped here only where it is there too, and must leave memory and processes as they were.
//!
//! userland/recipes/files/run-stress runs them in the guest, and has the list. What the stock kernel does is kept under
//! target/stress for the stressors that were asked for: its results vary only in what this does not compare.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::accel;
use crate::arch::Arch;
use crate::compare::{self, Results};
use crate::image::{self, Kernel};
use crate::qemu::Config;
use crate::recipe::Recipe;
use crate::toolchain::Toolchain;

/// The longest that everything may take on one kernel, beyond the stressors' own time: translated CPUs are slow to stop.
const PATIENCE: Duration = Duration::from_secs(1200);

/// How many more kB may be in use after a stressor than before the first. What CPUs keep in their caches of free frames and
/// objects comes to some hundred; one leaked page in a hundred operations would come to more.
const GROWTH: u64 = 3072;

/// How long each stressor is run unless it is said.
const SECONDS: u64 = 3;

/// Runs all stressors, or some of them, on both kernels and prints a table; gives how many do as on Linux and how many do
/// not.
pub fn run(arch: Arch, names: &[&str]) -> Result<(usize, usize)> {
    let programs = Toolchain::load()?.build_programs(arch)?;
    let root = Recipe::load("stress")?.build(arch, &programs)?;
    let expected = known(arch, &root, names)?;
    let found = results(arch, &image::chosen(arch)?, &root, names)?;
    let start = found.values().map(|text| Outcome::read(text).before).max().unwrap_or(0);
    println!(
        "{:<12} {:>8} {:>12} {:>8} {:>12} {:>12} {:>12}",
        "stressor", "Linux", "ops", "here", "ops", "free kB", "after"
    );
    Ok(compare::count(&expected, &found, |name, theirs, ours| {
        let (theirs, ours) = (Outcome::read(theirs.unwrap_or_default()), Outcome::read(ours.unwrap_or_default()));
        println!(
            "{name:<12} {:>8} {:>12} {:>8} {:>12} {:>12} {:>12}",
            theirs.verdict(),
            theirs.operations,
            ours.verdict(),
            ours.operations,
            ours.before,
            ours.after
        );
        let complaints = ours.complaints(&theirs, start);
        complaints.iter().for_each(|complaint| println!("    FAILED: {complaint}"));
        complaints.is_empty()
    }))
}

/// What the stock kernel did, from an earlier run if there was one.
fn known(arch: Arch, root: &[u8], names: &[&str]) -> Result<Results> {
    let kernel = image::peer(arch)?;
    let kept = compare::kept("stress", arch, &(&kernel.name, root, seconds()?, names))?;
    if let Ok(text) = fs::read_to_string(&kept) {
        return Ok(compare::read(&text));
    }
    let results = results(arch, &kernel, root, names)?;
    fs::write(kept, compare::write(&results))?;
    Ok(results)
}

fn results(arch: Arch, kernel: &Kernel, root: &[u8], names: &[&str]) -> Result<Results> {
    let mut config = Config::from_environment(arch)?;
    config.accelerator = accel::find(arch, kernel, root)?;
    let seconds = seconds()?;
    let text = seconds.to_string();
    let command: Vec<&str> = ["run-stress", &text].iter().chain(names).copied().collect();
    // The runner's own list has some thirty.
    let count = if names.is_empty() { 40 } else { names.len() as u64 };
    let patience = PATIENCE + Duration::from_secs(seconds * count * 2);
    let results = compare::read(&compare::output(&config, kernel, root, "stress", &command, patience)?);
    ensure!(!results.is_empty(), "no stressor was run");
    Ok(results)
}

/// POLLUX_SECONDS, which just sets.
fn seconds() -> Result<u64> {
    match std::env::var("POLLUX_SECONDS") {
        Ok(text) if !text.is_empty() => text.parse().context("seconds= takes a number"),
        _ => Ok(SECONDS),
    }
}

/// What came of one stressor.
#[derive(Default, Debug)]
struct Outcome {
    status: Option<i32>,
    operations: u64,
    /// What stress-ng said that is not its usual report.
    said: Vec<String>,
    /// Free memory in kB.
    before: u64,
    after: u64,
    left: i64,
}

impl Outcome {
    fn read(text: &str) -> Outcome {
        let mut outcome = Outcome::default();
        for line in text.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["status", status] => outcome.status = status.parse().ok(),
                ["ops", _, count] => outcome.operations += count.parse().unwrap_or(0),
                ["memory", before, after] => {
                    outcome.before = before.parse().unwrap_or(0);
                    outcome.after = after.parse().unwrap_or(0);
                }
                ["left", count] => outcome.left = count.parse().unwrap_or(0),
                ["says", ..] => outcome.said.push(line["says ".len()..].to_string()),
                _ => {}
            }
        }
        outcome
    }

    fn verdict(&self) -> &'static str {
        match self.status {
            None => "absent",
            Some(0) if self.operations > 0 => "passed",
            Some(0) => "skipped",
            // What `timeout -s KILL` gives.
            Some(137) => "hung",
            Some(_) => "failed",
        }
    }

    /// What is wrong with ours, compared with theirs, if the machine had `start` kB free at first.
    fn complaints(&self, theirs: &Outcome, start: u64) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.verdict() != "passed" && self.verdict() != theirs.verdict() {
            complaints.push(format!("{} with status {:?}", self.verdict(), self.status));
        }
        if !complaints.is_empty() || theirs.said.is_empty() {
            complaints.extend(self.said.iter().cloned());
        }
        if self.after + GROWTH < start {
            complaints.push(format!("{} kB fewer free than at the beginning", start - self.after));
        }
        if self.left > 0 {
            complaints.push(format!("{} processes left behind", self.left));
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str = "status 0\nops fork 12\nops vfork 3\nmemory 9000 8000\nleft 0\n";

    #[test]
    fn what_passes_and_leaves_nothing_behind_is_right() {
        let outcome = Outcome::read(PASSED);
        assert_eq!((outcome.verdict(), outcome.operations), ("passed", 15));
        assert!(outcome.complaints(&Outcome::default(), 9000).is_empty());
    }

    #[test]
    fn a_failure_is_ours_unless_linux_has_it() {
        let failed = Outcome::read("status 2\nsays msg: wrong\nmemory 9000 9000\n");
        assert_eq!(failed.complaints(&Outcome::read(PASSED), 9000).len(), 2);
        assert!(failed.complaints(&Outcome::read("status 2\nsays msg: wrong\n"), 9000).is_empty());
        assert_eq!(Outcome::read("status 137\n").verdict(), "hung");
    }

    #[test]
    fn growth_counts_from_the_beginning() {
        let outcome = Outcome::read("status 0\nops a 1\nmemory 6000 5000\nleft 2\n");
        assert_eq!(outcome.complaints(&Outcome::default(), 9000).len(), 2);
    }
}
