//! What `just trace` shows: a timeline for Perfetto (ui.perfetto.dev) or Chrome (about:tracing), and a table.
//!
//! The kernel's lines are those of `kernel/src/trace.rs`. In the timeline each CPU is a row. On it lie the
//! polls of tasks, by the names of their programs, and in them the times in user mode and the system calls and faults.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::arch::{Arch, out};

/// The guest's shell runs this with the command as its arguments.
pub const WRAPPER: &str = r#""$@" >&2; status=$?; cat /proc/pollux/trace; exit $status"#;

/// Where the kernel's lines are kept.
pub fn text_path(arch: Arch) -> PathBuf {
    out().join(format!("trace-{}.txt", arch.name()))
}

/// One line of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Record<'a> {
    cpu: u64,
    time: u64,
    task: u64,
    point: &'a str,
    argument: u64,
}

fn parse(line: &str) -> Option<Record<'_>> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    Some(Record {
        cpu: word()?.parse().ok()?,
        time: word()?.parse().ok()?,
        task: u64::from_str_radix(word()?, 16).ok()?,
        point: word()?,
        argument: u64::from_str_radix(word()?, 16).ok()?,
    })
}

/// What is known of a task, and what it did.
#[derive(Clone, Default)]
struct Task {
    thread: u64,
    name: String,
    polls: u64,
    wakes: u64,
    moves: u64,
    calls: u64,
    user: u64,
    polled: u64,
}

impl Task {
    fn title(&self, number: u64) -> String {
        match (self.thread, self.name.as_str()) {
            (0, _) => format!("task {number:x}"),
            (thread, "") => format!("thread {thread}"),
            (thread, name) => format!("{name} {thread}"),
        }
    }
}

fn trap_name(argument: u64) -> String {
    match argument >> 32 {
        0 => format!("system call {}", argument & 0xffff_ffff),
        1 => "page fault".to_string(),
        2 => "exception".to_string(),
        _ => "interrupt".to_string(),
    }
}

/// What a CPU was last seen to begin, for the events that end it.
#[derive(Default)]
struct Cpu {
    poll: Option<u64>,
    user: Option<u64>,
    trap: Option<(u64, String)>,
}

/// Events in the format of Chrome's tracing, and the tasks by their numbers.
fn convert(text: &str) -> (Vec<Value>, HashMap<u64, Task>) {
    let records: Vec<Record> = text.lines().filter_map(parse).collect();
    let mut tasks: HashMap<u64, Task> = HashMap::new();
    for record in &records {
        let task = tasks.entry(record.task).or_default();
        match record.point {
            "Thread" => task.thread = record.argument,
            "Name" => {
                let bytes = record.argument.to_le_bytes();
                task.name = String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string();
            }
            _ => {}
        }
    }
    let mut events = Vec::new();
    let mut cpus: HashMap<u64, Cpu> = HashMap::new();
    for record in &records {
        let cpu = cpus.entry(record.cpu).or_default();
        let Some(task) = tasks.get_mut(&record.task) else { continue };
        let title = task.title(record.task);
        let mut slice = |name: &str, from: u64| {
            let (ts, dur) = (from as f64 / 1000.0, (record.time - from) as f64 / 1000.0);
            events.push(json!({"name": name, "ph": "X", "ts": ts, "dur": dur, "pid": 0, "tid": record.cpu}));
        };
        match record.point {
            "Begin" => {
                *cpu = Cpu { poll: Some(record.time), ..Cpu::default() };
                task.polls += 1;
            }
            "End" => {
                if let Some((from, name)) = cpu.trap.take() {
                    slice(&name, from);
                }
                if let Some(from) = cpu.poll.take() {
                    slice(&title, from);
                    task.polled += record.time - from;
                }
            }
            "Enter" => {
                if let Some((from, name)) = cpu.trap.take() {
                    slice(&name, from);
                }
                cpu.user = Some(record.time);
            }
            "Trap" => {
                if let Some(from) = cpu.user.take() {
                    slice("user", from);
                    task.user += record.time - from;
                }
                task.calls += u64::from(record.argument >> 32 == 0);
                cpu.trap = Some((record.time, trap_name(record.argument)));
            }
            point @ ("Spawn" | "Wake" | "Migrate") => {
                task.wakes += u64::from(point == "Wake");
                task.moves += u64::from(point == "Migrate");
                let name = format!("{} {title}", point.to_lowercase());
                let ts = record.time as f64 / 1000.0;
                events.push(json!({"name": name, "ph": "i", "s": "t", "ts": ts, "pid": 0, "tid": record.cpu}));
            }
            _ => {}
        }
    }
    for cpu in cpus.keys() {
        let name = format!("CPU {cpu}");
        events.push(json!({"name": "thread_name", "ph": "M", "pid": 0, "tid": cpu, "args": {"name": name}}));
    }
    (events, tasks)
}

/// The tasks that did something, the busiest first.
fn table(tasks: &HashMap<u64, Task>) -> String {
    let mut rows: Vec<_> = tasks.iter().filter(|(_, task)| task.polls > 0).collect();
    rows.sort_by_key(|(number, task)| (std::cmp::Reverse(task.polled), **number));
    let mut text = format!(
        "{:24} {:>8} {:>8} {:>8} {:>8} {:>10} {:>10}\n",
        "task", "polls", "wakes", "moves", "calls", "user us", "kernel us"
    );
    for (number, task) in rows {
        let kernel = task.polled.saturating_sub(task.user) / 1000;
        let Task { polls, wakes, moves, calls, user, .. } = task;
        let title = task.title(*number);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{title:24} {polls:8} {wakes:8} {moves:8} {calls:8} {:10} {kernel:10}", user / 1000);
    }
    text
}

/// Writes the timeline, prints the table and where the timeline is.
pub fn report(arch: Arch, text: &str) -> Result<()> {
    let (events, tasks) = convert(text);
    let path = out().join(format!("trace-{}.json", arch.name()));
    fs::write(&path, serde_json::to_string(&json!({ "traceEvents": events }))?)
        .with_context(|| format!("{}", path.display()))?;
    print!("{}", table(&tasks));
    println!("{} records; the timeline, for ui.perfetto.dev: {}", text.lines().count(), path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
0 100 a0 Spawn 0
0 200 a0 Begin 0
0 210 a0 Thread 7
0 211 a0 Name 68732f
0 220 a0 Enter 0
0 320 a0 Trap 3f
0 330 a0 End 0
not a record
1 400 a0 Migrate 1
";

    #[test]
    fn polls_user_times_and_calls_become_slices() {
        let (events, tasks) = convert(TEXT);
        let slices: Vec<_> = events
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| (event["name"].as_str().unwrap_or(""), event["dur"].as_f64().unwrap_or(0.0)))
            .collect();
        println!("{slices:?}");
        assert_eq!(slices, [("user", 0.1), ("system call 63", 0.01), ("/sh 7", 0.13)]);
        let task = &tasks[&0xa0];
        assert_eq!((task.polls, task.moves, task.calls, task.user, task.polled), (1, 1, 1, 100, 130));
    }

    #[test]
    fn the_table_names_the_tasks() {
        let text = table(&convert(TEXT).1);
        println!("{text}");
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).is_some_and(|row| row.starts_with("/sh 7")));
    }
}
