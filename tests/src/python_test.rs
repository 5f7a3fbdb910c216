//! CPython's own tests of what its modules ask of a kernel, on Debian's stock kernel and on ours: the same tests have to
//! pass, and the same to be skipped for the same reasons.
//!
//! userland/recipes/files/run-python runs a module in the guest; what may differ is in tests/python-differences.txt.

use std::time::Duration;

use anyhow::Result;

use crate::arch::Arch;
use crate::recipe::Recipe;
use crate::suite::Suite;
use crate::toolchain::Toolchain;

/// The modules that are about processes, threads and signals.
const MODULES: [&str; 10] = [
    "test_subprocess",
    "test_signal",
    "test_threading",
    "test_os",
    "test_posix",
    "test_wait3",
    "test_wait4",
    "test_fork1",
    "test_pty",
    "test_concurrent_futures",
];

/// The longest that a module may take: test_concurrent_futures starts some hundred interpreters.
const PATIENCE: Duration = Duration::from_secs(2400);

/// Runs some modules of CPython's tests, by default those about processes, on both kernels.
pub fn run(arch: Arch, modules: &[&str]) -> Result<(usize, usize)> {
    let programs = Toolchain::load()?.build_programs(arch)?;
    let suite = Suite {
        name: "python",
        root: Recipe::load("python")?.build(arch, &programs)?,
        runner: "run-python",
        patience: PATIENCE,
        memory: "2G",
        differences: "python-differences.txt",
    };
    suite.run(arch, if modules.is_empty() { &MODULES } else { modules })
}
