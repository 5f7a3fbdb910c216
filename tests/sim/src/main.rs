//! The simulator: `just sim seeds=1000`, `just sim fresh=1`, `just sim seed=17 trace=1`. See docs/simulator.md.
//!
//! Each seed runs in a process of its own, so that it starts from nothing, replays exactly, and a panic is that
//! seed's failure and no other's.
#![forbid(unsafe_code)]

mod image;
mod machine;
mod mail;
mod model;
mod observe;
mod plan;
mod rng;
mod script;
mod world;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[global_allocator]
static HEAP: arch::sim::CountingHeap = arch::sim::CountingHeap;

/// Blocks of the kernel's heap that may be in use at the end and were not at the start: capacity that tables keep.
const HEAP_SLACK: i64 = 64;

/// A run that takes longer than this hangs inside the kernel.
const PATIENCE: Duration = Duration::from_secs(120);

struct Options {
    seed: Option<u64>,
    seeds: u64,
    from: u64,
    jobs: usize,
    trace: bool,
    child: bool,
}

fn options() -> Result<Options, String> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options { seed: None, seeds: 100, from: 1, jobs, trace: false, child: false };
    for argument in std::env::args().skip(1) {
        let (name, value) = argument.split_once('=').ok_or(format!("{argument}: not NAME=NUMBER"))?;
        let number: u64 = value.parse().map_err(|_| format!("{argument}: not a number"))?;
        match name {
            "seed" => options.seed = Some(number),
            "seeds" => options.seeds = number,
            "from" => options.from = number,
            "fresh" if number != 0 => options.from = fresh(),
            "fresh" => {}
            "jobs" => options.jobs = number.max(1) as usize,
            "trace" => options.trace = number != 0,
            "child" => options.child = number != 0,
            _ => return Err(format!("{name}: one of seed, seeds, from, fresh, jobs, trace")),
        }
    }
    Ok(options)
}

/// A seed that no earlier run began at, and none of up to a million seeds reached: from the clock, a million for each
/// second.
fn fresh() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.as_secs() * 1_000_000)
}

fn main() -> ExitCode {
    match options() {
        Ok(options) => match options.seed {
            Some(seed) if options.child => one(seed, options.trace),
            Some(seed) => report(seed, run_apart(seed, options.trace)),
            None => many(&options),
        },
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs one seed in this process.
fn one(seed: u64, trace: bool) -> ExitCode {
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        eprintln!("the kernel does not come back");
        std::process::abort();
    });
    let outcome = machine::run(seed, trace);
    println!(
        "seed {seed}: {} nodes on {} CPUs, {} calls, {} steps, trace {:016x}",
        outcome.nodes, outcome.cpus, outcome.calls, outcome.ops, outcome.hash
    );
    ExitCode::SUCCESS
}

/// Runs one seed in a process of its own: its line, or what it said when it failed.
fn run_apart(seed: u64, trace: bool) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .env("RUST_BACKTRACE", if trace { "1" } else { "0" })
        .args([format!("seed={seed}"), "child=1".into(), format!("trace={}", u8::from(trace))])
        .stdin(Stdio::null())
        .stderr(if trace { Stdio::inherit() } else { Stdio::piped() })
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_string());
    }
    Err(format!("{} ({})", String::from_utf8_lossy(&output.stderr).trim(), output.status))
}

fn report(seed: u64, result: Result<String, String>) -> ExitCode {
    match result {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("seed {seed} failed: {message}\n  replay: just sim seed={seed} trace=1");
            ExitCode::FAILURE
        }
    }
}

/// Runs a range of seeds.
fn many(options: &Options) -> ExitCode {
    let next = AtomicU64::new(options.from);
    let end = options.from + options.seeds;
    let failed = Mutex::new(Vec::new());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= end {
                        return;
                    }
                    let result = run_apart(seed, false);
                    if result.is_err() {
                        report(seed, result);
                        failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(seed);
                    }
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let failed = failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (from, last, count) = (options.from, end - 1, options.seeds);
    println!("seeds {from} to {last}, {:.0} per second", count as f64 / seconds);
    println!("{} passed, {} failed", count - failed.len() as u64, failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
