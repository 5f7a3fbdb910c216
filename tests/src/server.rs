//! `just bench redis`: a real server under its own benchmark, on Debian's stock kernel and on ours.
//!
//! Server and clients share one CPU of the counted machine (BUDGETS.md) and never idle, so the time that passes in the
//! guest is the instructions that both programs and the kernel between them execute: requests per second are those of
//! a machine that executes a thousand million instructions a second, and the instructions of a request follow.

use std::fs;
use std::io::sink;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::arch::{Arch, out};
use crate::bench::{Request, Sink, group};
use crate::image::{self, Kernel};
use crate::qemu::{Config, Machine};
use crate::recipe::Recipe;
use crate::run::{self, Streams};
use crate::toolchain::Toolchain;

/// Requests of each kind: enough that starting and connecting is little beside them.
const REQUESTS: &str = "5000";

/// The longest that one boot may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Instructions a second of the counted machine.
const RATE: f64 = 1e9;

/// Kinds of requests, and how many of each were answered in a second.
type Figures = Vec<(String, f64)>;

/// Measures, prints the tables and writes the JSON. The status is 1 if our kernel did not get to the end.
pub fn bench(request: &Request) -> Result<i32> {
    let arches = if request.arches.is_empty() { Arch::ALL.to_vec() } else { request.arches.clone() };
    let mut status = 0;
    for arch in arches {
        let programs = Toolchain::load()?.build_programs(arch)?;
        let root = Recipe::load("redis")?.build(arch, &programs)?;
        let peer = image::peer(arch)?;
        let linux = figures(arch, &peer, &root)?;
        let ours = match request.peer_only {
            true => Figures::new(),
            false => figures(arch, &image::chosen(arch)?, &root).unwrap_or_else(|error| {
                eprintln!("bench: {error:#}");
                status = 1;
                Figures::new()
            }),
        };
        print(arch, &peer, &linux, &ours)?;
    }
    Ok(status)
}

fn figures(arch: Arch, kernel: &Kernel, root: &[u8]) -> Result<Figures> {
    eprintln!("bench: {} on {}: redis, {REQUESTS} requests of each kind", kernel.name, arch.name());
    let config = Config {
        arch,
        machine: Machine::Counted,
        cpus: 1,
        memory: "1G".to_string(),
        append: "mitigations=off audit=0 init_on_alloc=0 cgroup_disable=memory nokaslr".to_string(),
        accelerator: None,
        extra: Vec::new(),
    };
    let command = ["serve", "csv", REQUESTS].map(str::to_string);
    let initrd = out().join(format!("serve-{}-{}.cpio", arch.name(), std::process::id()));
    fs::write(&initrd, run::initramfs(root.to_vec(), &command)?)?;
    let text = Arc::new(Mutex::new(Vec::new()));
    let streams = Streams {
        stdout: Box::new(Sink(text.clone())),
        stderr: Box::new(std::io::stderr()),
        log: Box::new(sink()),
        stdin: None,
        report: true,
    };
    let status = run::run(&config, kernel, &initrd, LIMIT, streams);
    let _ = fs::remove_file(&initrd);
    let status = status?;
    ensure!(status == 0, "{}: redis ended with status {status}", kernel.name);
    let text = text.lock().map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let figures = read(&text);
    ensure!(!figures.is_empty(), "{}: redis-benchmark printed no figures", kernel.name);
    Ok(figures)
}

/// Reads redis-benchmark's --csv form: a heading, then a name in quotes, requests per second and delays.
fn read(text: &str) -> Figures {
    let rows = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(',').map(|field| field.trim_matches('"'));
        let (name, rate) = (fields.next()?, fields.next()?);
        Some((name.to_string(), rate.parse().ok().filter(|rate| *rate > 0.0)?))
    });
    rows.collect()
}

fn print(arch: Arch, peer: &Kernel, linux: &Figures, ours: &Figures) -> Result<()> {
    println!("\nredis, {} (peer: {})", arch.name(), peer.name);
    println!("| {:12} | Linux req/s | ours req/s | Linux instr/req | ours instr/req | ratio |", "request");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut rows = Vec::new();
    for (name, theirs) in linux {
        let mine = ours.iter().find(|(other, _)| other == name).map(|(_, rate)| *rate);
        let cost = |rate: f64| (RATE / rate) as u64;
        let shown = |value: Option<u64>| value.map(group).unwrap_or_default();
        println!(
            "| {name:12} | {:>11} | {:>10} | {:>15} | {:>14} | {:>5} |",
            group(*theirs as u64),
            shown(mine.map(|rate| rate as u64)),
            group(cost(*theirs)),
            shown(mine.map(cost)),
            mine.map(|rate| format!("{:.2}", theirs / rate)).unwrap_or_default()
        );
        rows.push(json!({ "name": name, "linux": theirs, "ours": mine }));
    }
    let dir = out().join("bench");
    fs::create_dir_all(&dir)?;
    let json =
        json!({ "arch": arch.name(), "peer": peer.name, "unit": "requests per 10^9 instructions", "rows": rows });
    let path = dir.join(format!("redis-{}.json", arch.name()));
    fs::write(&path, serde_json::to_string_pretty(&json)? + "\n").with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_from_csv_and_its_heading_is_not_one() {
        let text =
            "\"test\",\"rps\",\"avg_latency_ms\"\n\"PING_INLINE\",\"1679.40\",\"17.676\"\n\"SET\",\"0.00\",\"1\"\n";
        assert_eq!(read(text), [("PING_INLINE".to_string(), 1679.40)]);
    }
}
