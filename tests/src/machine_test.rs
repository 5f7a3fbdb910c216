//! What a stranger meets around the guest's programs: the kernel's command line, how a run ends, 64 CPUs, an idle guest.
//!
//! Each run is the command `harness qemu` itself, as `just` starts it, with the variables that `just` sets.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::arch::{Arch, out};
use crate::image::Kernel;
use crate::run::{self, LIMIT, NO_STATUS, PANIC};
use crate::stub::Stub;
use crate::symbols::Symbols;
use crate::terminal::Session;

/// What the tests need.
pub struct Bench<'a> {
    /// The architecture.
    pub arch: Arch,
    /// The kernel, which `harness qemu` chooses as this process did.
    pub kernel: &'a Kernel,
    /// A root file system without its end.
    pub root: &'a [u8],
}

type Test = (&'static str, fn(&Bench) -> Result<()>);

const TESTS: &[Test] = &[
    ("a_command_s_output_and_status_come_back_and_nothing_else", output_and_status),
    ("standard_input_reaches_the_command", standard_input),
    ("the_log_goes_to_standard_error_and_quiet_shortens_it", quiet),
    ("a_gzip_compressed_initramfs_is_unpacked", gzip),
    ("rdinit_names_the_first_program_and_unknown_words_are_its", unknown_words),
    ("init_names_the_first_program_and_drops_words_before_it", init),
    ("an_init_that_ends_is_a_panic_with_its_own_status", init_ends),
    ("a_panic_has_a_status_and_a_backtrace_with_names", panics),
    ("panic_0_stops_and_is_seen_all_the_same", panic_stops),
    ("a_reset_has_a_status", reset),
    ("power_off_by_sysrq_ends_the_machine", sysrq_power_off),
    ("a_hang_reaches_its_limit_and_shows_where_the_cpus_are", hang),
    ("a_kernel_stack_that_overflows_is_a_panic_with_its_callers", overflow),
    ("a_stack_pointer_to_nowhere_is_a_panic_with_its_callers", wild_stack),
    ("a_triple_fault_has_a_status_the_log_and_where_it_happened", triple_fault),
    ("sixty_four_cpus_are_used", many_cpus),
    ("an_idle_guest_uses_under_two_percent_of_a_cpu", idle),
];

/// Runs the tests whose names contain one of `names`, or all; gives how many passed and failed.
pub fn run(bench: &Bench, names: &[&str]) -> (u32, u32) {
    let mut count = (0, 0);
    for (name, test) in TESTS {
        if !names.is_empty() && !names.iter().any(|part| name.contains(part)) {
            continue;
        }
        match test(bench) {
            Ok(()) => {
                println!("test machine: {name} ... ok");
                count.0 += 1;
            }
            Err(error) => {
                println!("test machine: {name} ... FAILED: {error:#}");
                count.1 += 1;
            }
        }
    }
    count
}

/// What a run gave.
struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn of(output: Output) -> Result<Run> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let status = output.status.code().context("ended by a signal")?;
        Ok(Run { status, stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    fn ended_with(self, status: i32) -> Result<Run> {
        ensure!(self.status == status, "status {} instead of {status}; standard error:\n{}", self.status, self.stderr);
        Ok(self)
    }

    fn printed(self, stdout: &str) -> Result<Run> {
        ensure!(self.stdout == stdout, "standard output is {:?}, not {stdout:?}", self.stdout);
        Ok(self)
    }

    fn told(self, words: &str) -> Result<Run> {
        ensure!(self.stderr.contains(words), "{words:?} is not in standard error:\n{}", self.stderr);
        Ok(self)
    }
}

fn harness(bench: &Bench, variables: &[(&str, &str)], command: &[&str]) -> Result<Command> {
    let mut process = Command::new(std::env::current_exe()?);
    process.args(["qemu", bench.arch.name()]).args(command).envs(variables.iter().copied());
    Ok(process)
}

/// `just VARIABLES qemu-ARCH COMMAND`.
fn just(bench: &Bench, variables: &[(&str, &str)], command: &[&str]) -> Result<Run> {
    Run::of(harness(bench, variables, command)?.stdin(std::process::Stdio::null()).output()?)
}

fn output_and_status(bench: &Bench) -> Result<()> {
    just(bench, &[], &["sh", "-c", "echo hi; exit 3"])?.ended_with(3)?.printed("hi\n")?;
    let errors = just(bench, &[("POLLUX_SMP", "4")], &["sh", "-c", "echo out; echo err >&2; kill -TERM $$"])?;
    errors.ended_with(128 + 15)?.printed("out\n")?.told("err\n")?;
    just(bench, &[], &["no-such-command"])?.ended_with(127)?.printed("")?;
    Ok(())
}

fn standard_input(bench: &Bench) -> Result<()> {
    let bytes: Vec<u8> = (0..50_000u32).map(|index| (index * 7 >> 3) as u8).collect();
    let path = out().join(format!("input-{}", std::process::id()));
    std::fs::write(&path, &bytes)?;
    let output = harness(bench, &[], &["cat"])?.stdin(std::fs::File::open(&path)?).output()?;
    let _ = std::fs::remove_file(&path);
    ensure!(output.stdout == bytes, "{} bytes came back of {}, or others", output.stdout.len(), bytes.len());
    Ok(())
}

fn quiet(bench: &Bench) -> Result<()> {
    let loud = just(bench, &[], &["true"])?.ended_with(0)?.printed("")?.told("[    0.")?;
    // Only that the machine goes down is said however quiet it is.
    let quiet =
        just(bench, &[("POLLUX_APPEND", "quiet")], &["true"])?.ended_with(0)?.printed("")?.told("Power down")?;
    ensure!(quiet.stderr.lines().count() < loud.stderr.lines().count(), "quiet, and yet:\n{}", quiet.stderr);
    Ok(())
}

/// Boots an archive of the test's own, without the command that the harness adds, and gives the log.
fn boot(bench: &Bench, append: &str, archive: &[u8]) -> Result<(i32, String)> {
    let mut config = crate::qemu::Config::from_environment(bench.arch)?;
    config.append = append.to_string();
    let initrd = out().join(format!("machine-{}-{}.cpio", bench.arch.name(), std::process::id()));
    std::fs::write(&initrd, archive)?;
    let status = run::run(&config, bench.kernel, &initrd, Duration::from_secs(120), run::Streams::nowhere());
    let _ = std::fs::remove_file(&initrd);
    let log = std::fs::read_to_string(crate::image::log_path(bench.arch))?;
    Ok((status?, log))
}

fn archive(bench: &Bench, command: &[&str]) -> Result<Vec<u8>> {
    let command: Vec<String> = command.iter().map(|word| word.to_string()).collect();
    run::initramfs(bench.root.to_vec(), &command)
}

fn gzip(bench: &Bench) -> Result<()> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&archive(bench, &["sh", "-c", "exit 5"])?)?;
    let (status, log) = boot(bench, "", &encoder.finish()?)?;
    ensure!(status == 5, "status {status}; the log:\n{log}");
    Ok(())
}

/// The lines of a log that no kernel wrote.
fn lines(log: &str) -> Vec<&str> {
    log.lines().map(str::trim_end).filter(|line| !line.starts_with('[') && !line.is_empty()).collect()
}

fn unknown_words(bench: &Bench) -> Result<()> {
    let archive = archive(bench, &[])?;
    let script = "echo 0=$0 n=$#; for word; do echo word=$word; done; echo A=$A TERM=$TERM HOME=$HOME";
    let append = format!("rdinit=/bin/sh A=b mod.x=1 ro -- -c \"{script}\" \"name\" \"two words\" c=d");
    let (status, log) = boot(bench, &append, &archive)?;
    let expected = ["0=name n=2", "word=two words", "word=c=d", "A=b TERM=linux HOME=/"];
    let lines = lines(&log);
    ensure!(lines.starts_with(&expected), "{lines:?} instead of {expected:?}");
    ensure!(status == PANIC, "status {status}, although init ended");
    Ok(())
}

fn init(bench: &Bench) -> Result<()> {
    // rdinit comes first where the archive has it; without /init, what init= names is started.
    let (_, log) = boot(bench, "lost rdinit=/no/such init=/bin/echo kept -- more", &archive(bench, &[])?)?;
    if bench.kernel.name.starts_with("Linux") {
        // It wants a root device then.
        return Ok(());
    }
    ensure!(lines(&log).first() == Some(&"kept more"), "the log is\n{log}");
    Ok(())
}

fn init_ends(bench: &Bench) -> Result<()> {
    let (status, log) = boot(bench, "rdinit=/bin/true", &archive(bench, &[])?)?;
    ensure!(status == PANIC && log.contains("Attempted to kill init"), "status {status}; the log:\n{log}");
    Ok(())
}

const CRASH: &[&str] = &["sh", "-c", "echo before; sleep 1; echo c >/proc/sysrq-trigger; echo after"];

fn panics(bench: &Bench) -> Result<()> {
    let run = just(bench, &[("POLLUX_SMP", "4")], CRASH)?.ended_with(PANIC)?.printed("before\n")?;
    let run = run.told("Kernel panic - not syncing: sysrq triggered crash")?;
    if bench.kernel.elf.is_some() {
        for words in ["handle (kernel/src/sysrq.rs:", "write (syscalls/src/io.rs:"] {
            ensure!(run.stderr.contains(words), "{words:?} is not in the backtrace:\n{}", run.stderr);
        }
    }
    Ok(())
}

fn panic_stops(bench: &Bench) -> Result<()> {
    just(bench, &[("POLLUX_APPEND", "panic=0")], CRASH)?.ended_with(PANIC)?;
    Ok(())
}

fn reset(bench: &Bench) -> Result<()> {
    for command in ["reboot -f", "echo b >/proc/sysrq-trigger; sleep 100"] {
        let run = just(bench, &[], &["sh", "-c", command])?.ended_with(NO_STATUS)?;
        run.told("the machine stopped without the command's status")?;
    }
    Ok(())
}

fn sysrq_power_off(bench: &Bench) -> Result<()> {
    just(bench, &[], &["sh", "-c", "echo o >/proc/sysrq-trigger; sleep 100"])?.ended_with(NO_STATUS)?;
    Ok(())
}

/// What an idle CPU's callers are, where there are symbols.
const IDLE: &[&str] = &["(kernel/src/cpu.rs:", "(kernel/src/boot.rs:"];

fn hang(bench: &Bench) -> Result<()> {
    let run = just(bench, &[("POLLUX_LIMIT", "4"), ("POLLUX_SMP", "2")], &["sleep", "1000"])?.ended_with(LIMIT)?;
    let mut run = run.told("no end within the limit of 4 s")?.told("the log's last lines")?.told("\nCPU 1\n")?;
    for words in IDLE.iter().filter(|_| bench.kernel.elf.is_some()) {
        run = run.told(words)?;
    }
    Ok(())
}

/// A command on four CPUs that prints a line and sleeps a second at a time; then the machine is stopped and `provoke`d. Gives the status and
/// what is said of the run.
fn provoked(bench: &Bench, provoke: impl Fn(&mut Stub) -> Result<()>) -> Result<(i32, String)> {
    let mut config = crate::qemu::Config::from_environment(bench.arch)?;
    config.cpus = 4;
    let initrd = out().join(format!("machine-{}-{}.cpio", bench.arch.name(), std::process::id()));
    std::fs::write(&initrd, archive(bench, &["sh", "-c", "echo ready; while sleep 1; do :; done"])?)?;
    let mut outside = |stub: &mut Stub| {
        // All CPUs are idle by then, or soon enough.
        std::thread::sleep(Duration::from_millis(500));
        stub.stop()?;
        provoke(stub)?;
        stub.go_on()
    };
    let limit = Duration::from_secs(30);
    let run = run::run_and_explain(&config, bench.kernel, &initrd, limit, run::Streams::nowhere(), Some(&mut outside));
    let _ = std::fs::remove_file(&initrd);
    run
}

/// Leaves every idle CPU with another stack pointer, which it finds out at its next interrupt.
fn stack_pointer(bench: &Bench, change: fn(u64) -> u64) -> Result<()> {
    if bench.kernel.elf.is_none() {
        return Ok(());
    }
    let (code, report) =
        provoked(bench, |stub| stub.cpus()?.iter().try_for_each(|cpu| stub.set_stack_pointer(cpu, change)))?;
    ensure!(code == PANIC, "status {code}: {report}");
    let what = match bench.arch {
        Arch::X86_64 => "exception 8 in kernel mode",
        Arch::Aarch64 => "kernel stack overflow on CPU",
    };
    for words in [what, "(kernel/src/boot.rs:"] {
        ensure!(report.contains(words), "{words:?} is not in\n{report}");
    }
    Ok(())
}

/// The low end of the stack: the next value that is saved is one too many.
fn overflow(bench: &Bench) -> Result<()> {
    stack_pointer(
        bench,
        match bench.arch {
            Arch::X86_64 => |sp| (sp & !0x3_ffff) + 0x1000,
            // Saved registers are read again first.
            Arch::Aarch64 => |sp| (sp & !0xffff) - 16,
        },
    )
}

/// No stack at all, and no multiple of anything.
fn wild_stack(bench: &Bench) -> Result<()> {
    stack_pointer(bench, |_| 0x7ffd_eadb_eef5)
}

/// Takes the interrupt descriptor table away.
fn triple_fault(bench: &Bench) -> Result<()> {
    let (Some(elf), Arch::X86_64) = (&bench.kernel.elf, bench.arch) else {
        return Ok(());
    };
    let table = Symbols::load(elf)?.address("arch::imp::idt::IDT")?;
    let (code, report) = provoked(bench, |stub| stub.clear(table, 0x400))?;
    ensure!(code == NO_STATUS, "status {code}: {report}");
    for words in ["(triple fault or reset)", "the log's last lines", "\nCPU 3\n"].iter().chain(IDLE) {
        ensure!(report.contains(words), "{words:?} is not in\n{report}");
    }
    Ok(())
}

fn many_cpus(bench: &Bench) -> Result<()> {
    let variables = [("POLLUX_SMP", "64"), ("POLLUX_MEM", "2G")];
    let script =
        "nproc; grep -c ^processor /proc/cpuinfo; for i in $(seq 128); do sh -c 'exit 0' & done; wait; echo done";
    just(bench, &variables, &["sh", "-c", script])?.ended_with(0)?.printed("64\n64\ndone\n")?;
    Ok(())
}

/// A shell that waits at its prompt, by the CPU time of its QEMU over ten seconds.
fn idle(bench: &Bench) -> Result<()> {
    const SECONDS: u64 = 10;
    let mut session = Session::start(&std::env::current_exe()?, &["qemu", bench.arch.name()])?;
    session.expect("/ # ")?;
    std::thread::sleep(Duration::from_secs(2));
    let machine = child_of(session.pid())?;
    let before = cpu_time(machine)?;
    std::thread::sleep(Duration::from_secs(SECONDS));
    let used = cpu_time(machine)? - before;
    println!("idle guest on {}: {used} ms of CPU time in {SECONDS} s", bench.arch.name());
    ensure!(used < SECONDS * 1000 / 50, "{used} ms in {SECONDS} s are more than 2 %");
    Ok(())
}

/// The only child of a process.
fn child_of(pid: u32) -> Result<u32> {
    let path = PathBuf::from(format!("/proc/{pid}/task/{pid}/children"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.split_whitespace().next().context("no QEMU under the harness")?.parse().context("a process id")
}

/// The milliseconds of CPU time that a process has used (proc_pid_stat(5), in hundredths of a second).
fn cpu_time(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let [user, system] =
        [fields.get(11), fields.get(12)].map(|field| field.and_then(|field| field.parse::<u64>().ok()));
    Ok((user.context("utime")? + system.context("stime")?) * 10)
}
