//! QEMU's command line.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::arch::Arch;

/// What kind of machine to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Machine {
    /// As fast as it goes: hardware help where it works, else translation on all cores.
    Fast,
    /// The machine of BUDGETS.md, where a nanosecond is an instruction and every run is the same.
    Counted,
}

/// A machine to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The architecture.
    pub arch: Arch,
    /// How time passes in it.
    pub machine: Machine,
    /// How many CPUs.
    pub cpus: u32,
    /// Memory as QEMU takes it: `512M`, `2G`.
    pub memory: String,
    /// Words added to the kernel's command line.
    pub append: String,
    /// Hardware help for a fast machine, where [`crate::accel`] found that it works.
    pub accelerator: Option<&'static str>,
    /// More of QEMU's own options.
    pub extra: Vec<String>,
}

impl Config {
    /// The machine that the environment asks for: POLLUX_SMP, POLLUX_MEM and POLLUX_APPEND, which just sets.
    pub fn from_environment(arch: Arch) -> Result<Config> {
        let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cpus = match value("POLLUX_SMP") {
            Some(text) => text.parse().with_context(|| format!("smp={text} is not a number"))?,
            None => 1,
        };
        if !(1..=64).contains(&cpus) {
            bail!("smp={cpus}: between 1 and 64");
        }
        Ok(Config {
            arch,
            machine: Machine::Fast,
            cpus,
            memory: value("POLLUX_MEM").unwrap_or_else(|| "1G".to_string()),
            append: value("POLLUX_APPEND").unwrap_or_default(),
            accelerator: None,
            extra: Vec::new(),
        })
    }

    /// QEMU with everything but its consoles. When this process dies, however it dies, so does QEMU.
    pub fn command(&self, kernel: &Path, initrd: &Path) -> Command {
        let mut command = if Path::new("/usr/bin/setpriv").exists() {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--pdeathsig", "KILL", "--", self.arch.qemu()]);
            command
        } else {
            Command::new(self.arch.qemu())
        };
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-no-reboot"]);
        command.args(["-m", &self.memory, "-smp", &self.cpus.to_string()]);
        self.machine_options(&mut command);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
        command.args(["-append", &self.command_line()]);
        command.args(&self.extra);
        command
    }

    fn machine_options(&self, command: &mut Command) {
        match self.machine {
            Machine::Counted => {
                let (machine, cpu) = match self.arch {
                    Arch::X86_64 => ("q35", "max,erms=off,la57=off"),
                    Arch::Aarch64 => ("virt,dtb-randomness=off", "cortex-a72"),
                };
                command.args(["-M", machine, "-cpu", cpu, "-accel", "tcg,thread=single"]);
                command.args(["-icount", "shift=0,sleep=off", "-seed", "1"]);
                command.args(["-rtc", &format!("base={BASE_TIME},clock=vm")]);
            }
            Machine::Fast => {
                let machine = match self.arch {
                    Arch::X86_64 => "q35",
                    Arch::Aarch64 => "virt,gic-version=3",
                };
                command.args(["-M", machine]);
                match self.accelerator {
                    Some(name) => command.args(["-accel", name, "-cpu", "host"]),
                    None => {
                        let cpu = if self.arch == Arch::X86_64 { "max" } else { "max,pauth-impdef=on" };
                        command.args(["-accel", "tcg,thread=multi", "-cpu", cpu])
                    }
                };
            }
        }
    }

    fn command_line(&self) -> String {
        // A panic reboots at once, which ends QEMU; where the user says otherwise, the later word counts.
        let line = format!("console={} panic=-1 {}", self.arch.console(), self.append);
        line.trim_end().to_string()
    }
}

/// When a counted machine's clock is at power-on.
pub const BASE_TIME: &str = "2024-01-01T00:00:00";
/// The same in nanoseconds since 1970.
pub const BASE_TIME_NS: u64 = 1_704_067_200_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_machine_is_the_one_of_the_budgets() {
        let config = Config {
            arch: Arch::X86_64,
            machine: Machine::Counted,
            cpus: 1,
            memory: "1G".to_string(),
            append: "quiet".to_string(),
            accelerator: None,
            extra: Vec::new(),
        };
        let command = config.command(Path::new("k"), Path::new("i"));
        let line = command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        for part in ["-icount shift=0,sleep=off", "-cpu max,erms=off,la57=off", "-seed 1", "clock=vm", "-smp 1"] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert!(line.ends_with("console=ttyS0 panic=-1 quiet"));
    }
}
