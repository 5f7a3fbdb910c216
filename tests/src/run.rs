//! Command mode: boots a guest, runs one command in it, and becomes that command as seen from outside.
//!
//! Three threads: one reads the console and takes log and frames apart, one reads the input that the guest has room
//! for, and the main one waits for the end or the limit. Whatever happens, QEMU is ended.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cpio::Archive;
use crate::frame::{self, Decoder, Item, Kind};
use crate::image::{self, Kernel};
use crate::qemu::{Config, Machine};
use crate::stub::{self, Stub};
use crate::symbols::{self, Symbols};

/// The kernel panicked.
pub const PANIC: i32 = 101;
/// QEMU ended without the command's status: a triple fault, a reset, a QEMU that did not start.
pub const NO_STATUS: i32 = 103;
/// The limit was reached.
pub const LIMIT: i32 = 124;

/// Where a run's streams go.
pub struct Streams {
    /// The command's standard output.
    pub stdout: Box<dyn Write>,
    /// The command's standard error.
    pub stderr: Box<dyn Write>,
    /// The kernel's log, as it comes.
    pub log: Box<dyn Write + Send>,
    /// The command's standard input.
    pub stdin: Option<Box<dyn Read + Send>>,
    /// Whether to say on standard error why there is no status.
    pub report: bool,
}

impl Streams {
    /// Nowhere, and nothing is said.
    pub fn nowhere() -> Streams {
        let sink = || Box::new(std::io::sink());
        Streams { stdout: sink(), stderr: sink(), log: sink(), stdin: None, report: false }
    }

    /// This process's own: the log goes to standard error, input is passed on if it is not a terminal.
    pub fn inherit() -> Streams {
        let stdin = std::io::stdin();
        Streams {
            stdout: Box::new(std::io::stdout()),
            stderr: Box::new(std::io::stderr()),
            log: Box::new(std::io::stderr()),
            stdin: (!stdin.is_terminal()).then(|| Box::new(stdin) as Box<dyn Read + Send>),
            report: true,
        }
    }
}

/// The initramfs of one run: a root file system and the command for init.
pub fn initramfs(root: Vec<u8>, command: &[String]) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    for argument in command {
        ensure!(!argument.contains('\0'), "an argument holds a NUL");
        list.extend_from_slice(argument.as_bytes());
        list.push(0);
    }
    ensure!(list.len() < 64 * 1024 && command.len() <= 1024, "the command line is too long (64 KiB, 1024 words)");
    let mut archive = Archive::resume(root);
    if !command.is_empty() {
        archive.file("etc/pollux-run", 0o600, &list);
    }
    Ok(archive.finish())
}

enum Event {
    Frame(Kind, Vec<u8>),
    Panic,
    Stopped,
    Closed,
}

/// What is done to a machine from outside, once the command in it has printed something.
pub type Provocation<'a> = &'a mut dyn FnMut(&mut Stub) -> Result<()>;

/// Boots and runs the command that is in the initramfs; gives its status, or one of this module's.
pub fn run(config: &Config, kernel: &Kernel, initrd: &Path, limit: Duration, streams: Streams) -> Result<i32> {
    let tell = streams.report;
    let (code, report) = run_and_explain(config, kernel, initrd, limit, streams, None)?;
    if tell {
        eprint!("{report}");
    }
    Ok(code)
}

/// The same; also gives what is to be said of a run that had no status of its own.
pub fn run_and_explain(
    config: &Config,
    kernel: &Kernel,
    initrd: &Path,
    limit: Duration,
    streams: Streams,
    mut provoke: Option<Provocation>,
) -> Result<(i32, String)> {
    let mut command = config.command(&kernel.image, initrd);
    command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (events, received) = mpsc::channel();
    let mut stub = None;
    let mut theirs = None;
    // A counted machine is the one that the budgets describe and no other.
    if config.machine == Machine::Fast {
        let stopped = events.clone();
        let (ours, end) = Stub::add(config.arch, &mut command, move || {
            let _ = stopped.send(Event::Stopped);
        })?;
        (stub, theirs) = (Some(ours), Some(end));
    }
    let mut child = command.spawn().with_context(|| format!("cannot start {}", config.arch.qemu()))?;
    drop(theirs);
    let input = child.stdin.take().context("no pipe to QEMU")?;
    let mut output = child.stdout.take().context("no pipe from QEMU")?;

    let Streams { mut stdout, mut stderr, mut log, stdin, report: tell } = streams;
    let reader = thread::spawn(move || read_console(&mut output, &events, &mut *log));
    let (credit, granted) = mpsc::channel();
    // Not joined: it may be waiting for input that nobody needs any more.
    thread::spawn(move || send_input(stdin, input, &granted));

    let deadline = Instant::now() + limit;
    let mut status = None;
    let mut panicked = false;
    let mut places = Vec::new();
    let outcome = loop {
        // After the end is known, the machine gets a moment to stop by itself.
        let until = if status.is_some() || panicked { deadline.min(Instant::now() + GRACE) } else { deadline };
        match received.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Frame(Kind::Out, payload)) => {
                // A reader that went away (EPIPE) ends the run as it would end the command.
                if stdout.write_all(&payload).and_then(|()| stdout.flush()).is_err() {
                    break Some(141);
                }
                if let (Some(provoke), Some(stub)) = (provoke.take(), &mut stub) {
                    provoke(stub)?;
                }
            }
            Ok(Event::Frame(Kind::Err, payload)) => stderr.write_all(&payload)?,
            Ok(Event::Frame(Kind::Credit, payload)) => {
                let count = payload.iter().rev().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte));
                let _ = credit.send(count);
            }
            Ok(Event::Frame(Kind::Status, payload)) => status = payload.first().map(|&byte| i32::from(byte)),
            Ok(Event::Frame(Kind::Input, _)) => {}
            Ok(Event::Panic) => panicked = true,
            // What it has printed may still be on its way here, so where it stopped is kept until that is known.
            Ok(Event::Stopped) => {
                places = stub.as_mut().map(Stub::backtraces).transpose().ok().flatten().unwrap_or_default();
                end(&mut child);
            }
            Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => {
                wait_for_end(&mut child);
                break None;
            }
            Err(RecvTimeoutError::Timeout) if status.is_some() => {
                if tell {
                    eprintln!("harness: the guest did not power off by itself");
                }
                break None;
            }
            Err(RecvTimeoutError::Timeout) if panicked => break None,
            Err(RecvTimeoutError::Timeout) => {
                places = stub.as_mut().map(Stub::backtraces).transpose().ok().flatten().unwrap_or_default();
                break Some(LIMIT);
            }
        }
    };
    end(&mut child);
    let log = reader.join().unwrap_or_default();
    let _ = std::fs::write(image::log_path(config.arch), &log);
    let code = match (outcome, status) {
        (Some(code), _) => code,
        _ if panicked => PANIC,
        (None, Some(status)) => status,
        (None, None) => NO_STATUS,
    };
    let normal = !panicked && (status.is_some() || outcome == Some(141));
    let text = if normal { String::new() } else { report(code, &log, kernel, limit, &places) };
    Ok((code, text))
}

const GRACE: Duration = Duration::from_secs(3);

/// Gives a QEMU that has let go of the console the time to write what its plugins have found.
fn wait_for_end(child: &mut Child) {
    let until = Instant::now() + GRACE;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(5));
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// How a run without a status ended: the panic's addresses explained; or the log's last lines, and where the CPUs were
/// unless the guest wanted to end.
pub fn report(code: i32, log: &str, kernel: &Kernel, limit: Duration, places: &[Vec<u64>]) -> String {
    let wanted = code == NO_STATUS && log.contains("reboot: ");
    let mut text = match code {
        PANIC => "harness: the kernel panicked\n".to_string(),
        LIMIT => format!("harness: no end within the limit of {} s (hang, or limit= too low)\n", limit.as_secs()),
        _ if wanted => "harness: the machine stopped without the command's status (power-off or reset)\n".to_string(),
        _ => "harness: the machine stopped without the command's status (triple fault or reset)\n".to_string(),
    };
    let symbols = kernel.elf.as_deref().and_then(|elf| Symbols::load(elf).ok());
    match symbols::explain(log, symbols.as_ref()) {
        Some(panic) => text += &panic,
        None => {
            let lines: Vec<&str> = log.lines().collect();
            text += "harness: the log's last lines:\n";
            for line in &lines[lines.len().saturating_sub(20)..] {
                text += &format!("    {line}\n");
            }
            if !places.is_empty() && !wanted {
                text += "harness: where its CPUs were:\n";
                text += &stub::explain(places, symbols.as_ref());
            }
        }
    }
    text
}

/// Reads the console to its end and gives the log.
fn read_console(output: &mut impl Read, events: &Sender<Event>, log: &mut dyn Write) -> String {
    let mut decoder = Decoder::default();
    let mut buffer = [0u8; 4096];
    let mut text = Vec::new();
    let mut line_start = 0;
    let mut shown = 0;
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        for &byte in &buffer[..count] {
            match decoder.push(byte) {
                Item::Log(b'\r') | Item::Partial => {}
                Item::Log(byte) => {
                    text.push(byte);
                    if byte == b'\n' {
                        if symbols::is_panic(&String::from_utf8_lossy(&text[line_start..])) {
                            let _ = events.send(Event::Panic);
                        }
                        line_start = text.len();
                    }
                }
                Item::Frame(kind, payload) => {
                    let _ = events.send(Event::Frame(kind, payload));
                }
            }
        }
        let _ = log.write_all(&text[shown..]);
        shown = text.len();
    }
    let _ = events.send(Event::Closed);
    String::from_utf8_lossy(&text).into_owned()
}

/// Sends input as the guest grants room for it, and its end.
fn send_input(mut source: Option<Box<dyn Read + Send>>, mut guest: ChildStdin, granted: &mpsc::Receiver<usize>) {
    let mut room = 0;
    let mut buffer = [0u8; 510];
    loop {
        while room == 0 {
            match granted.recv() {
                Ok(count) => room += count,
                Err(_) => return,
            }
        }
        let most = room.min(buffer.len());
        let count = match &mut source {
            Some(source) => match source.read(&mut buffer[..most]) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => 0,
            },
            None => 0,
        };
        if guest.write_all(&frame::encode(Kind::Input, &buffer[..count])).and_then(|()| guest.flush()).is_err() {
            return;
        }
        if count == 0 {
            // The pipe stays open: for QEMU its end would be the end of the line.
            let _ = granted.recv();
            while granted.recv().is_ok() {}
            return;
        }
        room -= count;
    }
}
