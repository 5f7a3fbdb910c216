//! `just bench`: the same static program on Debian's stock kernel and on ours, in the same machine, row by row.
//!
//! The machine counts instructions (BUDGETS.md): a nanosecond is an instruction and every run gives the same figures.
//! A row that ends a run (a panic, a hang) is marked as failed, and another boot measures the rest. The peer's figures
//! depend on its kernel and the program alone, so they are kept under target/bench; `known=1` takes them from there,
//! for who measures one change after the other.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::arch::{Arch, out, root};
use crate::chart;
use crate::image::{self, Kernel};
use crate::qemu::{Config, Machine};
use crate::recipe::Recipe;
use crate::run::{self, Streams};
use crate::toolchain::Toolchain;

/// What a row's figure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Instructions for one operation.
    Instructions,
    /// Bytes.
    Bytes,
}

/// A row of the table.
pub struct Row {
    /// The program's name for it.
    pub name: &'static str,
    /// What a person reads.
    pub title: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// What it may cost (BUDGETS.md), where that is said.
    pub budget: Option<u64>,
    /// The row that it may exceed by so many percent, where it should be flat.
    pub flat: Option<(&'static str, u64)>,
    /// Whether the peer has room for it in this machine.
    pub peer: bool,
}

impl Row {
    /// What it may cost where the other rows cost `figures`.
    fn budget(&self, figures: &Figures) -> Option<u64> {
        let flat = self.flat.and_then(|(name, percent)| match figures.get(name) {
            Some(Ok(value)) => Some(value * (100 + percent) / 100),
            _ => None,
        });
        self.budget.or(flat)
    }

    const fn flat(self, name: &'static str, percent: u64) -> Row {
        Row { flat: Some((name, percent)), ..self }
    }

    /// A kernel that takes 20 KiB for a thread or 80 for a process does not get as far.
    const fn ours_alone(self) -> Row {
        Row { peer: false, ..self }
    }
}

const fn row(name: &'static str, title: &'static str, budget: u64) -> Row {
    let budget = if budget == 0 { None } else { Some(budget) };
    Row { name, title, unit: Unit::Instructions, budget, flat: None, peer: true }
}

const fn bytes(name: &'static str, title: &'static str, budget: u64) -> Row {
    Row { unit: Unit::Bytes, ..row(name, title, budget) }
}

/// Every row, in the order in which the program measures them: the rows about memory before the crowds, which leave
/// memory in caches.
pub const ROWS: &[Row] = &[
    row("getpid", "getpid, raw", 150),
    row("yield_alone", "sched_yield, alone", 250),
    row("yield_threads", "yield between 2 threads, one switch", 500),
    row("yield_processes", "yield between 2 processes, one switch", 600),
    row("pipe", "pipe, 1 byte, round trip of 2 processes", 3_000),
    row("futex", "futex round trip of 2 threads", 2_500),
    row("eventfd", "eventfd round trip", 2_500),
    row("unix", "unix stream socketpair round trip", 3_900),
    row("tcp", "TCP over loopback round trip", 9_500),
    row("epoll", "epoll_wait + eventfd round trip", 3_900),
    row("signal", "signal to self: kill + handler + return", 1_400),
    row("page_fault", "first write to an anonymous page", 1_100),
    row("mmap", "mmap one page, write, munmap", 4_000),
    row("thread", "thread create + join", 12_000),
    row("fork", "fork + _exit + wait", 30_000),
    row("vfork", "vfork + _exit + wait", 8_000),
    row("fork_exec", "fork + execve(static) + wait", 70_000),
    row("vfork_exec", "vfork + execve(static) + wait", 45_000),
    bytes("process_bytes", "memory per forked, blocked process", 42_000),
    bytes("thread_bytes", "kernel memory per blocked thread", 2_048),
    row("wake_1000", "wake 1,000 readers of one pipe, per thread", 1_500),
    row("switch_2", "switch among 2 threads", 0),
    row("switch_1000", "switch among 1,000 threads", 0).flat("switch_2", 10),
    row("switch_10000", "switch among 10,000 threads", 0).flat("switch_2", 10),
    row("switch_100000", "switch among 100,000 threads", 0).flat("switch_2", 10).ours_alone(),
    row("crowd", "start 100,000 threads that block, per thread", 20_000).ours_alone(),
    bytes("crowd_bytes", "memory of 100,000 blocked threads with stacks", 1 << 30).ours_alone(),
    row("wait_1", "child's exit + wait, alone", 0),
    row("wait_10000", "child's exit + wait, among 10,000 of each", 0).flat("wait_1", 20).ours_alone(),
    row("boot", "power-on to the first instruction of init", 60_000_000),
    bytes("memory_at_init", "memory in use at init", 0),
    bytes("image", "kernel image, as -kernel takes it", 0),
];

/// What a kernel did in each row; an absent row was not measured, an error says why it failed.
pub type Figures = BTreeMap<String, Result<u64, String>>;

/// What `just bench` was asked for.
#[derive(Default)]
pub struct Request {
    /// Which architectures; none means both.
    pub arches: Vec<Arch>,
    /// Which rows; none means all.
    pub rows: Vec<String>,
    /// Whether to take the peer's figures from an earlier run with the same program, if there was one.
    pub known: bool,
    /// Whether to write docs/benchmarks.md.
    pub record: bool,
    /// Whether to leave our kernel out.
    pub peer_only: bool,
}

/// Measures, prints the tables and writes the files. The status is 1 if a row of ours failed.
pub fn bench(request: &Request) -> Result<i32> {
    let arches = if request.arches.is_empty() { Arch::ALL.to_vec() } else { request.arches.clone() };
    let dir = out().join("bench");
    fs::create_dir_all(&dir)?;
    let mut failed = false;
    let mut document = String::from(
        "# Benchmarks\n\nWritten by `just bench record=1`. Instructions per operation, or bytes; see BUDGETS.md for the machine.\n",
    );
    for arch in arches {
        let programs = Toolchain::load()?.build_programs(arch)?;
        let root = Recipe::load("busybox")?.build(arch, &programs)?;
        let peer = image::peer(arch)?;
        let linux = peer_figures(arch, &peer, &root, &programs.join("bench"), request)?;
        let ours = match request.peer_only {
            true => Figures::new(),
            false => match image::chosen(arch) {
                Ok(kernel) => figures(arch, &kernel, &root, request, |_| true)?,
                Err(error) => {
                    eprintln!("bench: our kernel cannot be measured: {error:#}");
                    Figures::new()
                }
            },
        };
        failed |= !request.peer_only && ours.values().any(Result::is_err);
        let table = table(&linux, &ours);
        println!("\n{} ({})\n{table}", arch.name(), peer.name);
        document += &format!("\n## {} (peer: {})\n\n{table}", arch.name(), peer.name);
        let json = json!({ "arch": arch.name(), "peer": peer.name, "rows": rows_json(&linux, &ours) });
        fs::write(dir.join(format!("{}.json", arch.name())), serde_json::to_string_pretty(&json)? + "\n")?;
        fs::write(dir.join(format!("{}.svg", arch.name())), chart::draw(arch, &peer.name, &linux, &ours))?;
    }
    println!("JSON and charts: {}", dir.display());
    if request.record {
        fs::write(root().join("docs/benchmarks.md"), document).context("docs/benchmarks.md")?;
    }
    Ok(i32::from(failed))
}

fn peer_figures(arch: Arch, peer: &Kernel, root: &[u8], program: &Path, request: &Request) -> Result<Figures> {
    let mut hasher = DefaultHasher::new();
    (&peer.name, fs::read(program)?, qemu_version(arch)).hash(&mut hasher);
    let cache = out().join("bench").join(format!("peer-{}-{:016x}.json", arch.name(), hasher.finish()));
    if request.known
        && let Ok(text) = fs::read_to_string(&cache)
        && let Ok(Value::Object(known)) = serde_json::from_str(&text)
    {
        println!("bench: {}: figures of an earlier run with the same program", peer.name);
        return Ok(known.into_iter().filter_map(|(name, value)| Some((name, Ok(value.as_u64()?)))).collect());
    }
    let found = figures(arch, peer, root, request, |row| row.peer)?;
    if request.rows.is_empty() && found.values().all(Result::is_ok) {
        let known: BTreeMap<_, _> =
            found.iter().filter_map(|(name, value)| Some((name, value.as_ref().ok()?))).collect();
        fs::write(cache, serde_json::to_string(&known)?)?;
    }
    Ok(found)
}

fn qemu_version(arch: Arch) -> Vec<u8> {
    std::process::Command::new(arch.qemu()).arg("--version").output().map(|output| output.stdout).unwrap_or_default()
}

/// The longest that one boot may take: a few hundred million instructions a second, and slow machines.
const LIMIT: Duration = Duration::from_secs(240);

/// The row that has a boot of its own: what earlier rows gave back may come back late, and would be taken for its own.
const ALONE: &str = "thread_bytes";

/// Measures every row that was asked for and that `has_room` allows on one kernel.
fn figures(arch: Arch, kernel: &Kernel, root: &[u8], request: &Request, has_room: fn(&Row) -> bool) -> Result<Figures> {
    let wanted = |name: &str| request.rows.is_empty() || request.rows.iter().any(|row| row == name);
    let rows = ROWS.iter().filter(|row| has_room(row)).map(|row| row.name);
    let mut left: Vec<&str> = rows.filter(|name| *name != "image" && wanted(name)).collect();
    // Boot first: the note that init left is about this boot, and the crowds come last.
    left.sort_by_key(|name| match *name {
        "boot" | "memory_at_init" => 0,
        ALONE => 2,
        _ => 1,
    });
    let mut found = Figures::new();
    if wanted("image") {
        found.insert("image".to_string(), Ok(image::size(&kernel.image)));
    }
    while !left.is_empty() {
        eprintln!("bench: {} on {}: {} rows", kernel.name, arch.name(), left.len());
        let mut batch = left.clone();
        if batch.len() > 1 {
            batch.retain(|row| *row != ALONE);
        }
        let (text, status) = boot(arch, kernel, root, &batch, Vec::new())?;
        let before = left.len();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(' ') else {
                continue;
            };
            left.retain(|row| *row != name);
            found.insert(name.to_string(), value.parse().map_err(|_| value.trim_start_matches("failed ").to_string()));
        }
        if !left.iter().any(|row| batch.contains(row)) {
            continue;
        }
        let why = match status {
            run::PANIC => "panic",
            run::LIMIT => "hang",
            run::NO_STATUS => "reset",
            _ => "not printed",
        };
        // Rows are measured in the program's order, which is this table's, so the first one left ended the run.
        found.insert(left.remove(0).to_string(), Err(why.to_string()));
        if before == left.len() + 1 && found.len() == 1 + usize::from(wanted("image")) {
            // Not even the first row: the kernel does not get as far as the program.
            left.drain(..).for_each(|name| drop(found.insert(name.to_string(), Err(why.to_string()))));
        }
    }
    if let Some(Ok(value)) = found.get_mut("memory_at_init") {
        *value = MEMORY - (*value).min(MEMORY);
    }
    Ok(found)
}

/// The machine's memory.
const MEMORY: u64 = 1 << 30;

/// Boots the machine of BUDGETS.md with some options of its own; gives what `bench WORDS` printed, and its status.
pub fn boot(arch: Arch, kernel: &Kernel, root: &[u8], words: &[&str], extra: Vec<String>) -> Result<(String, i32)> {
    let config = Config {
        arch,
        machine: Machine::Counted,
        cpus: 1,
        memory: "1G".to_string(),
        append: "mitigations=off audit=0 init_on_alloc=0 cgroup_disable=memory nokaslr".to_string(),
        accelerator: None,
        extra,
    };
    let mut command = vec!["bench".to_string()];
    command.extend(words.iter().map(|word| word.to_string()));
    let initrd = out().join(format!("bench-{}-{}.cpio", arch.name(), std::process::id()));
    fs::write(&initrd, run::initramfs(root.to_vec(), &command)?)?;
    let text = Arc::new(Mutex::new(Vec::new()));
    let streams = Streams {
        stdout: Box::new(Sink(text.clone())),
        stderr: Box::new(std::io::stderr()),
        log: Box::new(std::io::sink()),
        stdin: None,
        report: true,
    };
    let status = run::run(&config, kernel, &initrd, LIMIT, streams);
    let _ = fs::remove_file(&initrd);
    let text = text.lock().map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    Ok((text, status?))
}

/// Gathers what a guest prints.
pub struct Sink(pub Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Ok(mut text) = self.0.lock() {
            text.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn table(linux: &Figures, ours: &Figures) -> String {
    let mut text = format!(
        "| {:45} | {:>13} | {:>13} | {:>6} | {:>10} | |\n| --- | ---: | ---: | ---: | ---: | --- |\n",
        "operation", "Linux", "ours", "ratio", "budget"
    );
    for row in ROWS {
        let (theirs, mine) = (linux.get(row.name), ours.get(row.name));
        if theirs.is_none() && mine.is_none() {
            continue;
        }
        let ratio = match (theirs, mine) {
            (Some(Ok(theirs)), Some(Ok(mine))) => {
                format!("{:.2}", *mine as f64 / (*theirs).max(1) as f64)
            }
            _ => String::new(),
        };
        let budget = row.budget(ours);
        let verdict = match (mine, budget) {
            (Some(Err(_)), _) => "failed",
            (Some(Ok(mine)), Some(budget)) if *mine > budget => "over",
            (Some(Ok(_)), Some(_)) => "held",
            _ => "",
        };
        let budget = budget.map(group).unwrap_or_default();
        text += &format!(
            "| {:45} | {:>13} | {:>13} | {ratio:>6} | {budget:>10} | {verdict} |\n",
            row.title,
            shown(theirs),
            shown(mine)
        );
    }
    text
}

fn shown(value: Option<&Result<u64, String>>) -> String {
    match value {
        Some(Ok(value)) => group(*value),
        Some(Err(why)) => why.clone(),
        None => String::new(),
    }
}

/// A number with a comma between thousands.
pub fn group(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn rows_json(linux: &Figures, ours: &Figures) -> Vec<Value> {
    let value = |figures: &Figures, name: &str| match figures.get(name) {
        Some(Ok(value)) => json!(value),
        Some(Err(why)) => json!({ "failed": why }),
        None => Value::Null,
    };
    ROWS.iter()
        .map(|row| {
            let unit = if row.unit == Unit::Bytes { "bytes" } else { "instructions" };
            json!({ "name": row.name, "title": row.title, "unit": unit, "linux": value(linux, row.name),
                    "ours": value(ours, row.name), "budget": row.budget(ours) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_row_is_printed_as_failed_and_one_over_budget_as_over() {
        let linux = Figures::from([("getpid".into(), Ok(329)), ("pipe".into(), Ok(12_024))]);
        let ours = Figures::from([("getpid".into(), Ok(200)), ("pipe".into(), Err("panic".into()))]);
        let table = table(&linux, &ours);
        assert!(table.lines().any(|line| line.contains("getpid") && line.ends_with("| over |")), "{table}");
        assert!(table.lines().any(|line| line.contains("panic") && line.ends_with("| failed |")), "{table}");
    }

    #[test]
    fn a_row_that_should_be_flat_is_held_to_the_other() {
        let figures = |wait| Figures::from([("wait_1".into(), Ok(1000)), ("wait_10000".into(), Ok(wait))]);
        for (wait, verdict) in [(1200, "held"), (1201, "over")] {
            let table = table(&Figures::new(), &figures(wait));
            let line = table.lines().find(|line| line.contains("among 10,000 of each")).unwrap();
            assert!(line.ends_with(&format!(" 1,200 | {verdict} |")), "{line}");
        }
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(group(1_830_000_000), "1,830,000,000");
        assert_eq!(group(329), "329");
    }
}
