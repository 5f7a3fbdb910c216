//! The selftests in the source of Debian's kernel that concern processes, on that kernel and on ours.
//!
//! They are built from Debian's package linux-source-6.1 by tests/build-selftests.sh and run in the guest by
//! userland/recipes/files/run-selftests. What may differ, and what does not apply, is in tests/selftests-differences.txt.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::arch::{Arch, out, root};
use crate::packages::{self, Wanted};
use crate::recipe::Recipe;
use crate::suite::Suite;
use crate::toolchain::Toolchain;

/// The directories of tools/testing/selftests that are run.
const DIRECTORIES: [&str; 14] = [
    "clone3",
    "pidfd",
    "futex/functional",
    "exec",
    "sigaltstack",
    "timers",
    "filesystems/epoll",
    "kcmp",
    "membarrier",
    "rseq",
    "sched",
    "core",
    "mincore",
    "proc",
];

/// What else concerns processes and is about one architecture.
fn of_the_architecture(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &["x86", "prctl"],
        Arch::Aarch64 => &["arm64/signal"],
    }
}

/// The longest that the tests of one directory may take.
const PATIENCE: Duration = Duration::from_secs(3000);

/// Runs the selftests of some directories, by default all, on both kernels.
pub fn run(arch: Arch, names: &[&str]) -> Result<(usize, usize)> {
    let mut directories = DIRECTORIES.to_vec();
    directories.extend(of_the_architecture(arch));
    let chosen: Vec<&str> = if names.is_empty() { directories.clone() } else { names.to_vec() };
    for name in &chosen {
        ensure!(directories.contains(name), "{name} is none of: {}", directories.join(", "));
    }
    let programs = Toolchain::load()?.build_programs(arch)?;
    let mut recipe = Recipe::load("selftests")?;
    recipe.add_directory("/selftests", &build(arch, &directories)?);
    let suite = Suite {
        name: "selftests",
        root: recipe.build(arch, &programs)?,
        runner: "run-selftests",
        patience: PATIENCE,
        memory: "2G",
        differences: "selftests-differences.txt",
    };
    suite.run(arch, &chosen)
}

/// Builds them, if that was not done yet, and gives the directory with what was built.
fn build(arch: Arch, directories: &[&str]) -> Result<PathBuf> {
    let source = &package(arch, "linux-source-6.1")?;
    let libraries = &package(arch, "libcap-dev")?;
    let script = root().join("tests/build-selftests.sh");
    let mut hasher = DefaultHasher::new();
    (source, libraries, directories, fs::read(&script)?).hash(&mut hasher);
    let to = out().join("selftests-built").join(arch.name());
    let (done, key) = (to.with_extension("key"), format!("{:016x}", hasher.finish()));
    if fs::read_to_string(&done).is_ok_and(|known| known == key) {
        return Ok(to);
    }
    eprintln!("selftests: building those of {} into {}", source.display(), to.display());
    let status = Command::new(&script)
        .args([
            arch.name().as_ref(),
            unpack(source)?.as_os_str(),
            packages::unpack(libraries)?.as_os_str(),
            to.as_ref(),
        ])
        .args(directories)
        .status()
        .context("build-selftests.sh")?;
    ensure!(status.success(), "the selftests cannot be built");
    fs::write(done, key)?;
    Ok(to)
}

fn package(arch: Arch, name: &str) -> Result<PathBuf> {
    let wanted = Wanted { plain: vec![name.to_string()], ..Wanted::default() };
    let files = packages::fetch(arch, name, &wanted)?;
    files.into_iter().next().with_context(|| format!("no package {name}"))
}

/// Takes from the kernel's source what its selftests are built from.
fn unpack(package: &Path) -> Result<PathBuf> {
    let sources = packages::unpack(package)?.join("usr/src");
    let tree = sources.join("linux-source-6.1");
    if tree.is_dir() {
        return Ok(tree);
    }
    let partial = sources.join("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    let parts = ["Makefile", "scripts", "include/uapi", "arch/x86/include", "arch/arm64/include", "tools"];
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(sources.join("linux-source-6.1.tar.xz")).args(["--strip-components", "1", "-C"]).arg(&partial);
    tar.args(parts.map(|part| format!("linux-source-6.1/{part}")));
    ensure!(tar.status().context("tar")?.success(), "tar cannot unpack the kernel's source");
    fs::rename(&partial, &tree)?;
    Ok(tree)
}
