//! A shell on the guest's serial console.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::termios::{self, OptionalActions, Termios};

use crate::image::{self, Kernel};
use crate::qemu::Config;
use crate::run::{self, LIMIT, NO_STATUS, PANIC};
use crate::symbols;

/// Puts the terminal back as it was, whichever way the run ends.
struct Terminal(Option<Termios>);

impl Terminal {
    fn keep() -> Terminal {
        Terminal(termios::tcgetattr(rustix::stdio::stdin()).ok())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.0 {
            let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved);
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
    let mut child = command.spawn().with_context(|| format!("cannot start {}", config.arch.qemu()))?;
    let started = Instant::now();
    let expired = loop {
        if child.try_wait()?.is_some() {
            break false;
        }
        if limit.is_some_and(|limit| started.elapsed() > limit) {
            let _ = child.kill();
            let _ = child.wait();
            break true;
        }
        std::thread::sleep(Duration::from_millis(20));
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
        run::report(code, &text, kernel, limit.unwrap_or_default());
    }
    Ok(code)
}

/// The status in init's line about a shell that ended with one.
fn shell_status(line: &str) -> Option<i32> {
    line.strip_prefix("init: the shell ended with status ")?.trim().parse().ok()
}
