//! What the tests that compare two kernels need: a command's output on each of them, and the two sets of results side by
//! side.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::arch::{Arch, out};
use crate::image::Kernel;
use crate::qemu::Config;
use crate::run::{self, LIMIT, NO_STATUS, PANIC, Streams};

/// What was tried, and what came of it.
pub type Results = BTreeMap<String, String>;

/// Boots a kernel with a root file system, runs a command in it to its end, within `patience`, and gives its standard
/// output. The output is also kept in a file whose name begins with `what`, so that one can watch: on a translated CPU
/// this takes minutes.
pub fn output(
    config: &Config,
    kernel: &Kernel,
    root: &[u8],
    what: &str,
    command: &[&str],
    patience: Duration,
) -> Result<String> {
    let arch = config.arch.name();
    println!("{what}: {} on {arch}, CPUs: {}", kernel.name, config.cpus);
    let command: Vec<String> = command.iter().map(|word| word.to_string()).collect();
    let initrd = out().join(format!("{what}-{arch}-{}.cpio", std::process::id()));
    fs::write(&initrd, run::initramfs(root.to_vec(), &command)?)?;
    let kept = out().join(format!("{what}-{arch}-{}.log", kernel.name.replace(['/', ' '], "_")));
    let streams = Streams {
        stdout: Box::new(fs::File::create(&kept)?),
        stderr: Box::new(std::io::stderr()),
        log: Box::new(std::io::sink()),
        stdin: None,
        report: true,
    };
    let status = run::run(config, kernel, &initrd, patience, streams);
    let _ = fs::remove_file(&initrd);
    let status = status?;
    let text = String::from_utf8_lossy(&fs::read(&kept)?).into_owned();
    ensure!(![PANIC, LIMIT, NO_STATUS].contains(&status), "{what} did not come to its end; see {}", kept.display());
    Ok(text)
}

/// Where the peer's results of `what` are kept under the target directory: they are good for as long as the number of CPUs
/// and `key` are the same.
pub fn kept(what: &str, arch: Arch, key: &impl Hash) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let cpus = Config::from_environment(arch)?.cpus;
    let dir = out().join(what);
    fs::create_dir_all(&dir)?;
    Ok(dir.join(format!("{}-{cpus}-{:016x}", arch.name(), hasher.finish())))
}

/// Takes the output of a runner in the guest apart: `= NAME` begins a test's result, each of whose lines is behind `| `. Of two tests with one name the later one gets a number.
pub fn read(text: &str) -> Results {
    let mut results = Results::new();
    let mut name = None::<String>;
    for line in text.lines() {
        if let Some(next) = line.strip_prefix("= ").map(str::trim_end) {
            let mut key = next.to_string();
            let mut number = 2;
            while results.contains_key(&key) {
                key = format!("{next} #{number}");
                number += 1;
            }
            results.insert(key.clone(), String::new());
            name = Some(key);
        } else if let Some(result) = name.as_ref().and_then(|name| results.get_mut(name))
            && let Some(line) = line.strip_prefix("| ")
        {
            *result += line;
            result.push('\n');
        }
    }
    results
}

/// Puts it together again.
pub fn write(results: &Results) -> String {
    let mut text = String::new();
    for (name, result) in results {
        text += &format!("= {name}\n");
        for line in result.lines() {
            text += &format!("| {line}\n");
        }
    }
    text
}

/// Hands each name with the peer's result and ours to `agree`; gives how many agree and how many do not.
pub fn count(
    theirs: &Results,
    ours: &Results,
    mut agree: impl FnMut(&str, Option<&str>, Option<&str>) -> bool,
) -> (usize, usize) {
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let of = |results: &Results, name: &String| results.get(name).cloned();
    let same = names.iter().filter(|name| agree(name, of(theirs, name).as_deref(), of(ours, name).as_deref())).count();
    (same, names.len() - same)
}

/// The lines of two results: those that both have once, the peer's after `-` and ours after `+`.
pub fn difference(theirs: Option<&str>, ours: Option<&str>) -> String {
    let lines = |text: Option<&str>| text.unwrap_or("(not run)").lines().map(str::to_string).collect::<Vec<_>>();
    let (theirs, ours) = (lines(theirs), lines(ours));
    // How long the longest common part of what is left on both sides is.
    let mut common = vec![vec![0u32; ours.len() + 1]; theirs.len() + 1];
    for i in (0..theirs.len()).rev() {
        for j in (0..ours.len()).rev() {
            common[i][j] = match theirs[i] == ours[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < theirs.len() || j < ours.len() {
        if i < theirs.len() && j < ours.len() && theirs[i] == ours[j] {
            text += &format!("      {}\n", theirs[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == ours.len() || i < theirs.len() && common[i + 1][j] >= common[i][j + 1] {
            text += &format!("    - {}\n", theirs[i]);
            i += 1;
        } else {
            text += &format!("    + {}\n", ours[j]);
            j += 1;
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

    #[test]
    fn what_only_one_of_two_has_is_compared_too() {
        let theirs = Results::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        let ours = Results::from([("a".into(), "1".into()), ("c".into(), "3".into())]);
        let mut seen = Vec::new();
        let counts = count(&theirs, &ours, |name, theirs, ours| {
            seen.push(format!("{name} {theirs:?} {ours:?}"));
            theirs == ours
        });
        assert_eq!(counts, (1, 2));
        assert_eq!(seen, ["a Some(\"1\") Some(\"1\")", "b Some(\"2\") None", "c None Some(\"3\")"]);
    }

    #[test]
    fn a_difference_shows_what_only_one_side_has() {
        let text = difference(Some("a\nb\nc\n"), Some("a\nx\nc\n"));
        assert_eq!(text, "      a\n    - b\n    + x\n      c\n");
        assert_eq!(difference(Some("a\n"), None), "    - a\n    + (not run)\n");
    }

    #[test]
    fn tests_of_one_name_are_told_apart_and_results_have_the_lines_behind_bars() {
        let results = read("noise\n= a  \n| ok\nnoise\n= b\n| one\n| FAIL\n= a\n| skipped: no\n= hung\n");
        assert_eq!(results["a"], "ok\n");
        assert_eq!(results["b"], "one\nFAIL\n");
        assert_eq!(results["a #2"], "skipped: no\n");
        assert_eq!(results["hung"], "");
        assert_eq!(read(&write(&results)), results);
    }
}
