//! Whether hardware help (KVM, HVF) can be used: only where a probe has booted something with it.
//!
//! The probe has two steps. The first runs two instructions, which already tells a dead /dev/kvm. The second boots the
//! kernel at hand and runs `true`, because there are machines where the first works and a kernel does not get far. The
//! verdict is kept under target/setup for this QEMU, host kernel and kernel; `just clean` forgets it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::arch::{Arch, out};
use crate::image::Kernel;
use crate::qemu::{Config, Machine};
use crate::run::{self, Streams};

/// How long a kernel may take to boot with hardware help.
const BOOT_LIMIT: Duration = Duration::from_secs(10);

/// The accelerator that works here for this kernel, if one does; POLLUX_ACCEL=tcg turns it off. `root` is a root file
/// system with init and `true`.
pub fn find(arch: Arch, kernel: &Kernel, root: &[u8]) -> Result<Option<&'static str>> {
    if !arch.is_host() || std::env::var("POLLUX_ACCEL").is_ok_and(|value| value == "tcg") {
        return Ok(None);
    }
    let name = if cfg!(target_os = "macos") { "hvf" } else { "kvm" };
    if name == "kvm" && fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(None);
    }
    let dir = out().join("setup");
    fs::create_dir_all(&dir)?;
    let record = dir.join(format!("{name}-{}-{}", arch.name(), kernel.name.replace(['/', ' '], "_")));
    let key = key(arch);
    if let Some(verdict) = fs::read_to_string(&record).ok().and_then(|text| text.strip_prefix(&key).map(str::to_string))
    {
        return Ok((verdict.trim() == "works").then_some(name));
    }
    let works = instructions_run(arch, name)? && kernel_boots(arch, name, kernel, root)?;
    if !works {
        eprintln!("harness: {name} is here but does not boot {}; using translation from now on", kernel.name);
    }
    fs::write(&record, format!("{key}{}\n", if works { "works" } else { "fails" }))?;
    Ok(works.then_some(name))
}

fn kernel_boots(arch: Arch, name: &'static str, kernel: &Kernel, root: &[u8]) -> Result<bool> {
    let config = Config {
        arch,
        machine: Machine::Fast,
        cpus: 1,
        memory: "512M".to_string(),
        append: String::new(),
        accelerator: Some(name),
        extra: Vec::new(),
    };
    let initrd = out().join(format!("probe-{}.cpio", std::process::id()));
    fs::write(&initrd, run::initramfs(root.to_vec(), &["true".to_string()])?)?;
    let status = run::run(&config, kernel, &initrd, BOOT_LIMIT, Streams::nowhere());
    let _ = fs::remove_file(&initrd);
    Ok(status? == 0)
}

fn key(arch: Arch) -> String {
    let version = Command::new(arch.qemu()).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let host = fs::read_to_string("/proc/version").unwrap_or_default();
    format!("{} {} ", String::from_utf8_lossy(&version).lines().next().unwrap_or(""), host.trim())
}

/// Boots a few instructions that end QEMU in a way that only running them can.
fn instructions_run(arch: Arch, accelerator: &str) -> Result<bool> {
    let image = out().join("setup/probe.bin");
    let mut command = Command::new(arch.qemu());
    command.args(["-nodefaults", "-display", "none", "-no-reboot", "-accel", accelerator, "-cpu", "host"]);
    let expected = match arch {
        Arch::X86_64 => {
            // A 64 KiB firmware: the reset vector jumps to `mov al, 0x21; out 0xf4, al; hlt`.
            let mut firmware = vec![0xF4; 64 << 10];
            firmware[0xFFF0..0xFFF5].copy_from_slice(&[0xB0, 0x21, 0xE6, 0xF4, 0xF4]);
            fs::write(&image, firmware)?;
            command.args(["-M", "q35", "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"]).arg(&image);
            0x21 << 1 | 1
        }
        Arch::Aarch64 => {
            // `ldr x0, =PSCI SYSTEM_OFF; hvc #0; b .`, loaded as a raw kernel.
            let code: [u32; 4] = [0x5280_0100, 0x72B0_8000, 0xD400_0002, 0x1400_0000];
            let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
            fs::write(&image, bytes)?;
            command.args(["-M", "virt", "-kernel"]).arg(&image);
            0
        }
    };
    let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return Ok(false);
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.code() == Some(expected)),
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Ok(false)
}
