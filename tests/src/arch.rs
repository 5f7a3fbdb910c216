//! The two architectures and what tools call them.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// An architecture of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Arch {
    /// 64-bit PCs: QEMU's q35.
    X86_64,
    /// 64-bit Arm: QEMU's virt.
    Aarch64,
}

impl Arch {
    /// Both, in the order in which tables show them.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

    /// Reads a name as a person writes it.
    pub fn parse(name: &str) -> Result<Arch> {
        match name {
            "x86_64" | "x86" | "amd64" => Ok(Arch::X86_64),
            "aarch64" | "arm64" => Ok(Arch::Aarch64),
            _ => bail!("'{name}' is not an architecture: say x86_64 or aarch64"),
        }
    }

    /// The name in messages and file names.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        }
    }

    /// Debian's name.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        }
    }

    /// Rust's bare-metal target, for the kernel and for the guest programs.
    pub fn target(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64-unknown-none",
            Arch::Aarch64 => "aarch64-unknown-none-softfloat",
        }
    }

    /// QEMU's program.
    pub fn qemu(self) -> &'static str {
        match self {
            Arch::X86_64 => "qemu-system-x86_64",
            Arch::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// The serial console's name in a kernel command line.
    pub fn console(self) -> &'static str {
        match self {
            Arch::X86_64 => "ttyS0",
            Arch::Aarch64 => "ttyAMA0",
        }
    }

    /// Whether the development machine is of this architecture.
    pub fn is_host(self) -> bool {
        std::env::consts::ARCH == self.name()
    }
}

/// The top of the work tree.
pub fn root() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map(PathBuf::from).unwrap_or(tests)
}

/// Where everything that is made goes: `target/`, or what CARGO_TARGET_DIR says.
pub fn out() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => std::path::absolute(&path).unwrap_or_else(|_| path.into()),
        None => root().join("target"),
    }
}
