//! Job control as a person sees it on a terminal, and processes as Debian's tools show them, on Debian's stock kernel and
//! on ours: expect types to bash, dash and script(1), and what their terminals show has to be the same.
//!
//! tests/jobs/README.md says how a case is written; userland/recipes/files/run-scripts runs them in the guest.

use std::time::Duration;

use anyhow::Result;

use crate::arch::Arch;
use crate::recipe::Recipe;
use crate::suite::Suite;
use crate::toolchain::Toolchain;

/// The files of tests/jobs.
const TOPICS: [&str; 8] = ["foreground", "suspend", "background", "nested", "script", "hangup", "screen", "tools"];

/// The longest that a topic may take.
const PATIENCE: Duration = Duration::from_secs(1500);

/// Runs some topics, by default all, on both kernels.
pub fn run(arch: Arch, topics: &[&str]) -> Result<(usize, usize)> {
    let programs = Toolchain::load()?.build_programs(arch)?;
    let suite = Suite {
        name: "jobs",
        root: Recipe::load("jobs")?.build(arch, &programs)?,
        runner: "run-scripts",
        patience: PATIENCE,
        memory: "1G",
        differences: "jobs-differences.txt",
    };
    // The runner takes parts of names, which begin with the topic.
    let topics = if topics.is_empty() { &TOPICS } else { topics };
    let parts: Vec<String> = topics.iter().map(|topic| format!("{topic}:")).collect();
    suite.run(arch, &parts.iter().map(String::as_str).collect::<Vec<_>>())
}
