//! A shell on the guest's serial console.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::stdio;
use rustix::termios::{self, OptionalActions, Termios};

use crate::image::{self, Kernel};
use crate::qemu::Config;
use crate::run::{self, LIMIT, NO_STATUS, PANIC};
use crate::stub::Stub;
use crate::symbols;

/// Puts the terminal back as it was, whichever way the run ends. QEMU makes it raw and not blocking, and has no time to
/// undo that where it is killed.
struct Terminal {
    settings: Option<Termios>,
    flags: [rustix::io::Result<OFlags>; 2],
}

impl Terminal {
    fn keep() -> Terminal {
        let flags = [stdio::stdin(), stdio::stdout()].map(fcntl_getfl);
        Terminal { settings: termios::tcgetattr(stdio::stdin()).ok(), flags }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.settings {
            let _ = termios::tcsetattr(stdio::stdin(), OptionalActions::Now, saved);
        }
        for (file, flags) in [stdio::stdin(), stdio::stdout()].into_iter().zip(self.flags) {
            let _ = flags.and_then(|flags| fcntl_setfl(file, flags));
        }
    }
}

/// Boots a shell. QEMU has the terminal, raw, until it ends; Ctrl-A X ends it.
pub fn run(config: &Config, kernel: &Kernel, initrd: &Path, limit: Option<Duration>) -> Result<i32> {
    eprintln!("Leave with Ctrl-A X (or `exit`).");
    let log = image::log_path(config.arch);
    let _ = std::fs::remove_file(&log);
    let mut command = config.command(&kernel.image, initrd);
    let console = format!("stdio,id=console,mux=on,signal=off,logfile={}", log.display());
    command.args(["-chardev", &console, "-serial", "chardev:console", "-mon", "chardev=console,mode=readline"]);
    if !std::io::stdin().is_terminal() {
        command.stdin(Stdio::inherit());
    }
    let terminal = Terminal::keep();
    let (end, ended) = mpsc::channel();
    let (mut stub, theirs) = Stub::add(config.arch, &mut command, move || {
        let _ = end.send(());
    })?;
    let mut child = command.spawn().with_context(|| format!("cannot start {}", config.arch.qemu()))?;
    drop(theirs);
    let started = Instant::now();
    let mut places = Vec::new();
    let expired = loop {
        if child.try_wait()?.is_some() {
            break false;
        }
        let expired = limit.is_some_and(|limit| started.elapsed() > limit);
        // QEMU goes by itself where a person ends it; the machine's own end only stops it.
        if expired || ended.recv_timeout(Duration::from_millis(20)).is_ok() {
            places = stub.backtraces().unwrap_or_default();
            let _ = child.kill();
            let _ = child.wait();
            break expired;
        }
    };
    drop(terminal);
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).replace('\r', "");
    let code = if text.lines().any(symbols::is_panic) {
        PANIC
    } else if expired {
        LIMIT
    } else if text.contains("reboot: ") || text.contains("QEMU: Terminated") {
        // A kernel says so before it powers off or restarts; init says how the shell ended, if not well.
        text.lines().rev().find_map(shell_status).unwrap_or(0)
    } else {
        NO_STATUS
    };
    if matches!(code, PANIC | LIMIT | NO_STATUS) {
        println!();
        eprint!("{}", run::report(code, &text, kernel, limit.unwrap_or_default(), &places));
    }
    Ok(code)
}

/// The status in init's line about a shell that ended with one.
fn shell_status(line: &str) -> Option<i32> {
    line.strip_prefix("init: the shell ended with status ")?.trim().parse().ok()
}
