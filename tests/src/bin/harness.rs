//! The command behind the justfile.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tests::arch::{Arch, out};
use tests::bench::{self, Request};
use tests::image::Kernel;
use tests::qemu::Config;
use tests::recipe::{self, Recipe};
use tests::run::{self, Streams};
use tests::toolchain::Toolchain;
use tests::{
    accel, busybox_test, cycles_test, image, interactive, jobs_test, machine_test, profile, python_test, scripts_test,
    selftests_test, server, shell_test, stress_test, trace,
};

const USAGE: &str = "\
harness image ARCH                  build the kernel; print the path of what QEMU's -kernel takes
harness debug-image ARCH            the same of a kernel for the debugger
harness initramfs ARCH RECIPE       build a root file system; print the path of the archive
harness prepare                     fetch and build what all other commands need, for both architectures
harness bench [ARCH|ROW|peer|known=1|record=1]...   compare with Debian's stock kernel
harness bench redis [ARCH|peer]...  a real server on Debian's stock kernel and on ours
harness profile ARCH ROW [FUNCTION]...  where a benchmark's instructions are spent
harness test-guest ARCH CPUS        run the conformance tests with each number of CPUs (1,4)
harness test-shell ARCH             use the interactive shell as a person does
harness test-machine ARCH [NAME...] command line, ends of a run, 64 CPUs, idling
harness test-busybox ARCH [APPLET...]   busybox's own tests, on Debian's stock kernel and on ours
harness test-scripts ARCH [NAME...]     shell scripts about processes, on Debian's stock kernel and on ours
harness test-jobs ARCH [TOPIC...]       job control on terminals, on Debian's stock kernel and on ours
harness test-python ARCH [MODULE...]    CPython's tests, on Debian's stock kernel and on ours
harness selftests ARCH [DIRECTORY...]     the kernel's selftests, on Debian's stock kernel and on ours
harness stress ARCH [STRESSOR...]       Debian's stress-ng, on its stock kernel and on ours
harness cycles ARCH COUNT           make and end so many processes and threads; look at memory before and after
harness trace ARCH COMMAND...       run a command on a kernel with trace points; show who did what when
harness lint-guest                  clippy for the kernel and the guest programs
harness qemu ARCH [COMMAND...]      boot; a shell, or one command
environment: POLLUX_SMP POLLUX_MEM POLLUX_APPEND POLLUX_LIMIT POLLUX_RECIPE POLLUX_ACCEL=tcg
             POLLUX_KERNEL=peer|PATH POLLUX_SECONDS POLLUX_APT_SOURCES";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(status) => std::process::exit(status),
        Err(error) => {
            eprintln!("harness: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<i32> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["image", arch] => {
            println!("{}", image::build(Arch::parse(arch)?)?.image.display());
            Ok(0)
        }
        ["debug-image", arch] => {
            println!("{}", image::build_for(Arch::parse(arch)?, true)?.image.display());
            Ok(0)
        }
        ["initramfs", arch, recipe] => {
            let arch = Arch::parse(arch)?;
            let path = out().join(format!("{recipe}-{}.cpio", arch.name()));
            std::fs::write(&path, run::initramfs(root(arch, recipe)?, &[])?)?;
            println!("{}", path.display());
            Ok(0)
        }
        ["prepare"] => prepare(),
        ["bench", ref words @ ..] if words.contains(&"redis") => {
            let rest: Vec<&str> = words.iter().copied().filter(|word| *word != "redis").collect();
            server::bench(&bench_request(&rest)?)
        }
        ["bench", ref words @ ..] => bench::bench(&bench_request(words)?),
        ["profile", arch, row, ref names @ ..] => profile::profile(Arch::parse(arch)?, row, names),
        ["test-guest", arch, cpus] => test_guest(Arch::parse(arch)?, cpus),
        ["test-shell", arch] => test_shell(Arch::parse(arch)?),
        ["test-machine", arch, ref names @ ..] => test_machine(Arch::parse(arch)?, names),
        ["test-busybox", arch, ref applets @ ..] => {
            let (passed, failed) = busybox_test::run(Arch::parse(arch)?, applets)?;
            println!("{passed} passed, {failed} failed");
            Ok(i32::from(failed > 0))
        }
        ["test-scripts", arch, ref names @ ..] => {
            let (passed, failed) = scripts_test::run(Arch::parse(arch)?, names)?;
            println!("{passed} passed, {failed} failed");
            Ok(i32::from(failed > 0))
        }
        ["test-jobs", arch, ref topics @ ..] => {
            let (passed, failed) = jobs_test::run(Arch::parse(arch)?, topics)?;
            println!("{passed} passed, {failed} failed");
            Ok(i32::from(failed > 0))
        }
        ["test-python", arch, ref modules @ ..] => {
            let (passed, failed) = python_test::run(Arch::parse(arch)?, modules)?;
            println!("{passed} passed, {failed} failed");
            Ok(i32::from(failed > 0))
        }
        ["selftests", arch, ref directories @ ..] => {
            let (passed, failed) = selftests_test::run(Arch::parse(arch)?, directories)?;
            println!("{passed} passed, {failed} failed");
            Ok(i32::from(failed > 0))
        }
        ["cycles", arch, count] => {
            let (passed, failed) = cycles_test::run(Arch::parse(arch)?, count.parse().context("a number of cycles")?)?;
            println!("{passed} passed, {failed} failed");
            Ok(i32::from(failed > 0))
        }
        ["stress", arch, ref names @ ..] => {
            let (passed, failed) = stress_test::run(Arch::parse(arch)?, names)?;
            println!("{passed} passed, {failed} failed");
            Ok(i32::from(failed > 0))
        }
        ["lint-guest"] => lint_guest(),
        ["trace", arch, _, ..] => traced(Arch::parse(arch)?, &arguments[2..]),
        ["qemu", arch, ..] => qemu(Arch::parse(arch)?, &arguments[2..]),
        _ => {
            eprintln!("{USAGE}");
            Ok(2)
        }
    }
}

/// What needs the network, so that afterwards nothing does.
fn prepare() -> Result<i32> {
    let toolchain = Toolchain::load()?;
    for arch in Arch::ALL {
        toolchain.build_programs(arch)?;
        image::peer(arch)?;
        for name in recipe::names()? {
            Recipe::load(&name)?.fetch(arch)?;
        }
    }
    Ok(0)
}

fn bench_request(words: &[&str]) -> Result<Request> {
    let mut request = Request::default();
    for word in words {
        match *word {
            "record=1" => request.record = true,
            "known=1" => request.known = true,
            "peer" => request.peer_only = true,
            name if bench::ROWS.iter().any(|row| row.name == name) => request.rows.push(name.to_string()),
            name => request.arches.push(Arch::parse(name).context("or a row's name, peer, known=1, record=1")?),
        }
    }
    Ok(request)
}

/// Runs the conformance tests with each of some numbers of CPUs (`1,4`).
fn test_guest(arch: Arch, cpus: &str) -> Result<i32> {
    let kernel = image::chosen(arch)?;
    let root = root(arch, "busybox")?;
    let mut config = Config::from_environment(arch)?;
    config.accelerator = accel::find(arch, &kernel, &root)?;
    let initrd = out().join(format!("test-{}-{}.cpio", arch.name(), std::process::id()));
    std::fs::write(&initrd, run::initramfs(root, &["guest-tests".to_string()])?)?;
    let mut worst = 0;
    let mut test = |kernel: &Kernel, cpus: &str| -> Result<()> {
        config.cpus = cpus.parse().context("a number of CPUs")?;
        println!("guest tests: {} on {}, {cpus} CPUs", kernel.name, arch.name());
        let streams = Streams { log: Box::new(std::io::sink()), stdin: None, ..Streams::inherit() };
        let status = run::run(&config, kernel, &initrd, limit()?.unwrap_or(DEFAULT_LIMIT), streams)?;
        worst = worst.max(status);
        Ok(())
    };
    for cpus in cpus.split(',') {
        test(&kernel, cpus)?;
    }
    // The order of locks is checked where most of them meet.
    if let (Some(kernel), Some(most)) = (image::checked(arch)?, cpus.rsplit(',').next()) {
        test(&kernel, most)?;
    }
    let _ = std::fs::remove_file(&initrd);
    Ok(worst)
}

/// Uses the interactive shell as a person does.
fn test_shell(arch: Arch) -> Result<i32> {
    let kernel = image::chosen(arch)?;
    println!("interactive shell: {} on {}", kernel.name, arch.name());
    let (passed, failed) = shell_test::run(arch)?;
    println!("{passed} passed, {failed} failed");
    Ok(i32::from(failed > 0))
}

/// What is met around the guest's programs.
fn test_machine(arch: Arch, names: &[&str]) -> Result<i32> {
    let (kernel, root) = (image::chosen(arch)?, root(arch, "busybox")?);
    println!("machine: {} on {}", kernel.name, arch.name());
    let (passed, failed) = machine_test::run(&machine_test::Bench { arch, kernel: &kernel, root: &root }, names);
    println!("{passed} passed, {failed} failed");
    Ok(i32::from(failed > 0))
}

/// Runs a command on a kernel with trace points. The guest's standard output carries the trace, and its standard error all
/// that the command prints.
fn traced(arch: Arch, command: &[String]) -> Result<i32> {
    let kernel = image::build_traced(arch)?;
    let recipe = std::env::var("POLLUX_RECIPE").unwrap_or_else(|_| "busybox".to_string());
    let root = root(arch, &recipe)?;
    let mut config = Config::from_environment(arch)?;
    config.accelerator = accel::find(arch, &kernel, &root)?;
    let (initrd, text) = (out().join(format!("trace-{}.cpio", arch.name())), trace::text_path(arch));
    let mut words: Vec<String> = ["sh", "-c", trace::WRAPPER, "sh"].map(str::to_string).to_vec();
    words.extend_from_slice(command);
    std::fs::write(&initrd, run::initramfs(root, &words)?)?;
    let streams = Streams { stdout: Box::new(std::fs::File::create(&text)?), ..Streams::inherit() };
    let status = run::run(&config, &kernel, &initrd, limit()?.unwrap_or(DEFAULT_LIMIT), streams)?;
    trace::report(arch, &std::fs::read_to_string(&text)?)?;
    Ok(status)
}

/// Checks form and lints of everything that is built for the bare-metal targets.
fn lint_guest() -> Result<i32> {
    let toolchain = Toolchain::load()?;
    for arch in Arch::ALL {
        for mut command in [toolchain.lint_kernel(arch), toolchain.lint_programs(arch)] {
            if !command.status().with_context(|| format!("{command:?}"))?.success() {
                return Ok(1);
            }
        }
    }
    Ok(0)
}

fn qemu(arch: Arch, command: &[String]) -> Result<i32> {
    let kernel = image::chosen(arch)?;
    let recipe = std::env::var("POLLUX_RECIPE").unwrap_or_else(|_| "busybox".to_string());
    let root = root(arch, &recipe)?;
    let mut config = Config::from_environment(arch)?;
    config.accelerator = accel::find(arch, &kernel, &root)?;
    let initrd = out().join(format!("run-{}-{}.cpio", arch.name(), std::process::id()));
    std::fs::write(&initrd, run::initramfs(root, command)?)?;
    let limit = limit()?;
    let status = match command {
        [] => interactive::run(&config, &kernel, &initrd, limit),
        _ => run::run(&config, &kernel, &initrd, limit.unwrap_or(DEFAULT_LIMIT), Streams::inherit()),
    };
    let _ = std::fs::remove_file(&initrd);
    status
}

/// How long a command may take unless limit= says otherwise.
const DEFAULT_LIMIT: Duration = Duration::from_secs(300);

fn limit() -> Result<Option<Duration>> {
    match std::env::var("POLLUX_LIMIT") {
        Ok(text) if !text.is_empty() => match text.parse::<u64>().context("limit= takes seconds")? {
            0 => bail!("limit=0 leaves no time"),
            seconds => Ok(Some(Duration::from_secs(seconds))),
        },
        _ => Ok(None),
    }
}

/// Builds a root file system, without the archive's end.
fn root(arch: Arch, recipe: &str) -> Result<Vec<u8>> {
    let programs = Toolchain::load()?.build_programs(arch)?;
    Recipe::load(recipe)?.build(arch, &programs)
}
