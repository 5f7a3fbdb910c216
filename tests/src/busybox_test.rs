//! busybox's own test suite, on Debian's stock kernel and on ours: the results have to be the same.
//!
//! Which tests pass depends on busybox and how it was configured; the stock kernel says so. Tests whose results may
//! differ are listed in tests/busybox-differences.txt, each with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::arch::{Arch, out, root};
use crate::image::{self, Kernel};
use crate::qemu::Config;
use crate::recipe::Recipe;
use crate::run::{self, LIMIT, NO_STATUS, PANIC, Streams};
use crate::toolchain::Toolchain;

/// The longest that the suite may take on one kernel: the stock one needs a quarter of an hour on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2400);

/// The words of the suite for a result.
const WORDS: [&str; 4] = ["PASS", "FAIL", "SKIPPED", "UNTESTED"];

/// A test's name, with a number where several have the same, and its result.
type Results = BTreeMap<String, String>;

/// Runs the suite, or the tests of some applets, on both kernels; gives how many results agree and how many do not.
pub fn run(arch: Arch, applets: &[&str]) -> Result<(usize, usize)> {
    let programs = Toolchain::load()?.build_programs(arch)?;
    let root = Recipe::load("busybox-tests")?.build(arch, &programs)?;
    let expected = results(arch, &image::peer(arch)?, &root, applets)?;
    let found = results(arch, &image::chosen(arch)?, &root, applets)?;
    let listed = differences()?;
    let (mut same, mut different) = (0, 0);
    let names: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for name in names {
        let (theirs, ours) = (expected.get(name), found.get(name));
        let shown = |result: Option<&String>| result.cloned().unwrap_or_else(|| "absent".to_string());
        if theirs == ours || listed.contains(name) {
            same += 1;
        } else {
            different += 1;
            println!("test busybox: {name} ... FAILED: {} here, {} on Linux", shown(ours), shown(theirs));
        }
    }
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
    println!("busybox: its test suite on {}, {}", kernel.name, arch.name());
    let config = Config::from_environment(arch)?;
    let command: Vec<String> = ["busybox-tests"].iter().chain(applets).map(|word| word.to_string()).collect();
    let initrd = out().join(format!("busybox-{}-{}.cpio", arch.name(), std::process::id()));
    fs::write(&initrd, run::initramfs(root.to_vec(), &command)?)?;
    // A file, so that one can watch: on a translated CPU this takes minutes.
    let kept = out().join(format!("busybox-{}-{}.log", arch.name(), kernel.name.replace(['/', ' '], "_")));
    let streams = Streams {
        stdout: Box::new(fs::File::create(&kept)?),
        stderr: Box::new(std::io::stderr()),
        log: Box::new(std::io::sink()),
        stdin: None,
        report: true,
    };
    let status = run::run(&config, kernel, &initrd, PATIENCE, streams);
    let _ = fs::remove_file(&initrd);
    let text = String::from_utf8_lossy(&fs::read(&kept)?).into_owned();
    let status = status?;
    ensure!(![PANIC, LIMIT, NO_STATUS].contains(&status), "the suite did not come to its end; see {}", kept.display());
    let results = read(&text);
    ensure!(!results.is_empty(), "the suite printed no results; see {}", kept.display());
    Ok(results)
}

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
