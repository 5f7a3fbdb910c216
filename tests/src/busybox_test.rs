//! busybox's own test suite, on Debian's stock kernel and on ours: the results have to be the same.
//!
//! Which tests pass depends on busybox and how it was configured; the stock kernel says so. Tests whose results may
//! differ are listed in tests/busybox-differences.txt, each with its reason.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::arch::{Arch, root};
use crate::compare::{self, Results};
use crate::image::{self, Kernel};
use crate::qemu::Config;
use crate::recipe::Recipe;
use crate::toolchain::Toolchain;

/// The longest that the suite may take on one kernel: the stock one needs a quarter of an hour on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2400);

/// The words of the suite for a result.
const WORDS: [&str; 4] = ["PASS", "FAIL", "SKIPPED", "UNTESTED"];

/// Runs the suite, or the tests of some applets, on both kernels; gives how many results agree and how many do not.
pub fn run(arch: Arch, applets: &[&str]) -> Result<(usize, usize)> {
    let programs = Toolchain::load()?.build_programs(arch)?;
    let root = Recipe::load("busybox-tests")?.build(arch, &programs)?;
    let expected = results(arch, &image::peer(arch)?, &root, applets)?;
    let found = results(arch, &image::chosen(arch)?, &root, applets)?;
    let listed = differences()?;
    let (same, different) = compare::count(&expected, &found, |name, theirs, ours| {
        let differs = theirs != ours && !listed.contains(name);
        if differs {
            let shown = |result: Option<&str>| result.unwrap_or("absent").to_string();
            println!("test busybox: {name} ... FAILED: {} here, {} on Linux", shown(ours), shown(theirs));
        }
        !differs
    });
    for word in WORDS {
        let count = |results: &Results| results.values().filter(|result| *result == word).count();
        println!("busybox: {word}: {} here, {} on Linux", count(&found), count(&expected));
    }
    Ok((same, different))
}

/// The names before the colon of each line that is not a comment.
fn differences() -> Result<BTreeSet<String>> {
    let path = root().join("tests/busybox-differences.txt");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    Ok(lines.filter_map(|line| Some(line.rsplit_once(" -- ")?.0.trim().to_string())).collect())
}

fn results(arch: Arch, kernel: &Kernel, root: &[u8], applets: &[&str]) -> Result<Results> {
    let command: Vec<&str> = ["busybox-tests"].iter().chain(applets).copied().collect();
    let text = compare::output(&Config::from_environment(arch)?, kernel, root, "busybox", &command, PATIENCE)?;
    let results = read(&text);
    ensure!(!results.is_empty(), "the suite printed no results");
    Ok(results)
}

/// The tests' names, with a number where several have the same, and their results.
fn read(text: &str) -> Results {
    let mut results = Results::new();
    for line in text.lines() {
        let Some((word, name)) = line.split_once(": ").filter(|(word, _)| WORDS.contains(word)) else { continue };
        let mut key = name.trim().to_string();
        let mut number = 2;
        while results.contains_key(&key) {
            key = format!("{} #{number}", name.trim());
            number += 1;
        }
        results.insert(key, word.to_string());
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_of_one_name_are_told_apart() {
        let results = read("PASS: cat works\nnoise: x\nFAIL: cat works\nSKIPPED: dog (not built)\n");
        let shown: Vec<_> = results.iter().map(|(name, result)| format!("{name}={result}")).collect();
        assert_eq!(shown, ["cat works=PASS", "cat works #2=FAIL", "dog (not built)=SKIPPED"]);
    }

    #[test]
    fn every_difference_that_is_listed_has_a_name_and_a_reason() {
        differences().unwrap();
    }
}
