//! A suite of tests that a program in the guest runs, on Debian's stock kernel and on ours, part by part.
//!
//! Each part is a boot of its own, so that one that hangs costs only itself. The guest's runner is started with the part
//! as its argument and prints `= NAME` for each test, then its result, each line behind `| `; other lines are for the
//! person who reads the log. What the stock kernel did depends on its version, the root file system and the number of CPUs
//! alone, so it is kept under target/NAME-OF-THE-SUITE.
//!
//! Tests whose result may differ, because they fail now and then on the stock kernel too, or because of what this kernel
//! does not have, are listed in a file of their own, each with its reason:
//!
//! ```text
//! NAME -- REASON
//! ```
//!
//! The name is as the runner prints it; a `*` stands for anything.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::accel;
use crate::arch::{Arch, root};
use crate::compare::{self, Results};
use crate::image::{self, Kernel};
use crate::qemu::Config;

/// What to run and how.
pub struct Suite<'a> {
    /// What it is called in messages and in the names of files.
    pub name: &'a str,
    /// The root file system that it runs in.
    pub root: Vec<u8>,
    /// The program in the guest that runs a part.
    pub runner: &'a str,
    /// The longest that one part may take on one kernel.
    pub patience: Duration,
    /// The guest's memory, where the environment does not say.
    pub memory: &'a str,
    /// The file under tests/ with the tests that may differ.
    pub differences: &'a str,
}

impl Suite<'_> {
    /// Runs some parts on both kernels and shows each difference; gives how many results agree and how many do not. What
    /// may differ counts as agreeing, and is shown too.
    pub fn run(&self, arch: Arch, parts: &[&str]) -> Result<(usize, usize)> {
        let listed = Differences::read(self.differences)?;
        let (peer, ours) = (image::peer(arch)?, image::chosen(arch)?);
        let (mut same, mut different) = (0, 0);
        for part in parts {
            let expected = self.known(arch, &peer, part)?;
            let found = self.results(arch, &ours, part)?;
            let (agree, differ) = compare::count(&expected, &found, |name, theirs, ours| {
                if theirs == ours {
                    return true;
                }
                let reason = listed.reason(name);
                let verdict = reason.map_or("FAILED".to_string(), |reason| format!("may differ ({reason})"));
                println!("test {}: {name} ... {verdict}: - on Linux, + here", self.name);
                print!("{}", compare::difference(theirs, ours));
                reason.is_some()
            });
            println!("{} {part}: {} here, {} on Linux", self.name, tally(&found), tally(&expected));
            (same, different) = (same + agree, different + differ);
        }
        Ok((same, different))
    }

    /// What the stock kernel did, from an earlier run if there was one.
    fn known(&self, arch: Arch, kernel: &Kernel, part: &str) -> Result<Results> {
        let what = format!("{}/{}", self.name, part.replace('/', "_"));
        let kept = compare::kept(&what, arch, &(&kernel.name, &self.root))?;
        if let Ok(text) = fs::read_to_string(&kept) {
            return Ok(compare::read(&text));
        }
        let results = self.results(arch, kernel, part)?;
        fs::write(kept, compare::write(&results))?;
        Ok(results)
    }

    fn results(&self, arch: Arch, kernel: &Kernel, part: &str) -> Result<Results> {
        let mut config = Config::from_environment(arch)?;
        config.accelerator = accel::find(arch, kernel, &self.root)?;
        if std::env::var("POLLUX_MEM").is_ok_and(|memory| memory.is_empty()) {
            config.memory = self.memory.to_string();
        }
        let what = format!("{}-{}", self.name, part.replace('/', "_"));
        let text = compare::output(&config, kernel, &self.root, &what, &[self.runner, part], self.patience)?;
        let results = compare::read(&text);
        ensure!(!results.is_empty(), "{} {part} ran no test", self.name);
        Ok(results)
    }
}

/// How many tests had which result: the first word of the last line.
fn tally(results: &Results) -> String {
    let mut counts = Vec::<(String, usize)>::new();
    for result in results.values() {
        let word = result.lines().last().and_then(|line| line.split_whitespace().next()).unwrap_or("nothing");
        match counts.iter_mut().find(|(known, _)| known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word.to_string(), 1)),
        }
    }
    counts.sort();
    counts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// The tests that may differ.
struct Differences(Vec<(String, String)>);

impl Differences {
    fn read(file: &str) -> Result<Differences> {
        let path = root().join("tests").join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut listed = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let (name, reason) = line.split_once(" -- ").with_context(|| format!("{file}: no reason in '{line}'"))?;
            listed.push((name.trim().to_string(), reason.trim().to_string()));
        }
        Ok(Differences(listed))
    }

    fn reason(&self, name: &str) -> Option<&str> {
        let fits = |pattern: &str| match pattern.split_once('*') {
            Some((start, end)) => {
                name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
            }
            None => name == pattern,
        };
        self.0.iter().find(|(pattern, _)| fits(pattern)).map(|(_, reason)| reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_by_their_first_word() {
        let results = compare::read("= a\n| ok\n= b\n| one\n| FAIL\n= c\n| skipped: no\n= hung\n");
        assert_eq!(tally(&results), "1 FAIL, 1 nothing, 1 ok, 1 skipped:");
    }

    #[test]
    fn every_difference_that_is_listed_has_a_reason() {
        for file in ["jobs-differences.txt", "python-differences.txt", "selftests-differences.txt"] {
            Differences::read(file).unwrap();
        }
    }

    #[test]
    fn a_star_in_a_listed_name_stands_for_anything() {
        let listed =
            Differences(vec![("a.b*".into(), "x".into()), ("c".into(), "y".into()), ("d*#2".into(), "z".into())]);
        assert_eq!(listed.reason("d e #2"), Some("z"));
        assert_eq!(listed.reason("d#"), None);
        assert_eq!(listed.reason("a.bc"), Some("x"));
        assert_eq!(listed.reason("c"), Some("y"));
        assert_eq!(listed.reason("cd"), None);
    }
}
