//! A million processes and a million threads made, ended and waited for, on all CPUs at once: memory in use is afterwards
//! what it was before.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::accel;
use crate::arch::Arch;
use crate::compare;
use crate::image;
use crate::qemu::Config;
use crate::recipe::Recipe;
use crate::toolchain::Toolchain;

/// How many bytes fewer may be free: what CPUs keep in their caches. One byte lost in each cycle comes to as much.
const SLACK: u64 = 1 << 20;

/// The longest that it may take: a translated CPU does some hundreds of forks in a second.
const PATIENCE: Duration = Duration::from_secs(7200);

/// Runs `count` cycles of each kind on the chosen kernel and prints the memory around them; gives how many kinds left it as
/// it was and how many did not.
pub fn run(arch: Arch, count: u64) -> Result<(usize, usize)> {
    let kernel = image::chosen(arch)?;
    let root = Recipe::load("busybox")?.build(arch, &Toolchain::load()?.build_programs(arch)?)?;
    let mut config = Config::from_environment(arch)?;
    config.accelerator = accel::find(arch, &kernel, &root)?;
    let cycles = format!("cycles={count}");
    let text = compare::output(&config, &kernel, &root, "cycles", &["bench", &cycles], PATIENCE)?;
    let mut passed = 0;
    let lines: Vec<_> = text.lines().collect();
    for line in &lines {
        let kept = holds(line).with_context(|| format!("the program said: {line}"))?;
        println!("{} {count} cycles, free before and after: {line}", if kept { "ok    " } else { "FAILED" });
        passed += usize::from(kept);
    }
    ensure!(lines.len() == 2, "there are results of {} kinds", lines.len());
    Ok((passed, lines.len() - passed))
}

/// Whether a line `NAME BEFORE AFTER` says that memory is as it was. None if it is no such line.
fn holds(line: &str) -> Option<bool> {
    let mut words = line.split(' ').skip(1);
    let (before, after) = (words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
    Some(after + SLACK >= before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_gone_is_noticed() {
        assert_eq!(holds("fork 90000000 89900000"), Some(true));
        assert_eq!(holds("fork 90000000 80000000"), Some(false));
        assert_eq!(holds("cycles failed errno 11"), None);
    }
}
