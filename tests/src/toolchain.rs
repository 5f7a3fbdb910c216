//! Which compiler builds for the bare-metal targets, as tests/setup.sh found it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::arch::{Arch, out, root};

/// Options that make a guest program an ordinary static one: a fixed address. They are passed by the
/// environment, so that the kernel's own options from a configuration file do not mix with them. The code model stays
/// the target's own, which the core library that comes with a compiler was built for; low addresses suit it too.
const PROGRAM_FLAGS: &str = "-Crelocation-model=static -Clink-arg=--image-base=0x400000 -Clink-arg=-zseparate-code";

/// A compiler for the bare-metal targets.
pub struct Toolchain {
    cargo: PathBuf,
    /// Set where the core library has to be built from source by a compiler that is not on the path.
    rustc: Option<PathBuf>,
    linker: Option<String>,
}

impl Toolchain {
    /// Reads what the set-up script recorded.
    pub fn load() -> Result<Toolchain> {
        let path = out().join("setup/toolchain");
        let text = fs::read_to_string(&path).with_context(|| format!("{}: run `just setup` first", path.display()))?;
        let value = |key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).filter(|value| !value.is_empty())
        };
        Ok(Toolchain {
            cargo: value("cargo").unwrap_or("cargo").into(),
            rustc: value("rustc").map(PathBuf::from),
            linker: value("linker").map(str::to_string),
        })
    }

    /// A cargo command for one architecture's bare-metal target, with the options after which the caller's go.
    pub fn cargo(&self, arch: Arch, verb: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        // What `cargo run` set for the harness itself is not meant for another compiler.
        for name in ["LD_LIBRARY_PATH", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO", "RUSTC"] {
            command.env_remove(name);
        }
        command.arg(verb).args(["--target", arch.target()]);
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core,alloc,compiler_builtins");
        }
        if let Some(linker) = &self.linker {
            let target = arch.target().to_uppercase().replace('-', "_");
            command.env(format!("CARGO_TARGET_{target}_LINKER"), linker);
        }
        command
    }

    /// Builds the kernel; gives its ELF file. The one for debugging has all names and types, checks the order of
    /// locks, and is slower.
    pub fn build_kernel(&self, arch: Arch, debugging: bool) -> Result<PathBuf> {
        let (profile, directory) = if debugging { ("dev", "debug") } else { ("release", "release") };
        let mut command = self.cargo(arch, "build");
        command.current_dir(root()).args(["--profile", profile, "--quiet", "--package", "pollux", "--bin", "pollux"]);
        command.arg("--target-dir").arg(out());
        run(command, "the kernel")?;
        Ok(out().join(arch.target()).join(directory).join("pollux"))
    }

    /// Builds the kernel with trace points, away from the one without; gives its ELF file.
    pub fn build_traced_kernel(&self, arch: Arch) -> Result<PathBuf> {
        let target = out().join("traced");
        let mut command = self.cargo(arch, "build");
        command.current_dir(root()).args(["--release", "--quiet", "--package", "pollux", "--bin", "pollux"]);
        command.args(["--features", "trace"]).arg("--target-dir").arg(&target);
        run(command, "the traced kernel")?;
        Ok(target.join(arch.target()).join("release/pollux"))
    }

    /// clippy on the kernel.
    pub fn lint_kernel(&self, arch: Arch) -> Command {
        let mut command = self.cargo(arch, "clippy");
        command.current_dir(root()).args(["--release", "--quiet", "--package", "pollux", "--target-dir"]);
        command.arg(out()).args(["--", "-D", "warnings"]);
        command
    }

    /// clippy on the guest programs.
    pub fn lint_programs(&self, arch: Arch) -> Command {
        let mut command = self.userland(arch, "clippy");
        command.args(["--release", "--quiet", "--workspace", "--", "-D", "warnings"]);
        command
    }

    /// A cargo command in the workspace of the guest programs.
    pub fn userland(&self, arch: Arch, verb: &str) -> Command {
        let mut command = self.cargo(arch, verb);
        command.current_dir(root().join("userland")).env("RUSTFLAGS", PROGRAM_FLAGS);
        command.arg("--target-dir").arg(out().join("userland"));
        command
    }

    /// Builds the guest programs; gives the directory that they are in.
    pub fn build_programs(&self, arch: Arch) -> Result<PathBuf> {
        let mut command = self.userland(arch, "build");
        command.args(["--release", "--quiet", "--workspace"]);
        run(command, "the guest programs")?;
        Ok(out().join("userland").join(arch.target()).join("release"))
    }
}

/// Runs a build whose output is for the person, not for a script.
fn run(mut command: Command, what: &str) -> Result<()> {
    command.stdout(std::io::stderr());
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "building {what} failed");
    Ok(())
}
