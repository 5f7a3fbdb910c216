//! A program on a terminal of its own, driven as a person drives it: keys go in, and what appears is waited for.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pty_process::blocking::Command;
use rustix::termios;

/// How long anything may take to appear: slow machines translate both guests at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program and its terminal.
pub struct Session {
    /// The terminal's far end.
    keys: File,
    child: Child,
    screen: Receiver<Vec<u8>>,
    /// What has appeared and has not been waited for yet.
    unread: String,
    /// All that has appeared.
    transcript: String,
}

impl Session {
    /// Starts a program as the leader of a session whose controlling terminal is a new one.
    pub fn start(program: &std::path::Path, arguments: &[&str]) -> Result<Session> {
        let (pty, terminal) = pty_process::blocking::open().context("no pseudo-terminal")?;
        pty.resize(pty_process::Size::new(24, 80))?;
        let child = Command::new(program).args(arguments).spawn(terminal)?;
        let keys = File::from(OwnedFd::from(pty));
        let mut output = keys.try_clone()?;
        let (sender, screen) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Session { keys, child, screen, unread: String::new(), transcript: String::new() })
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).context("the terminal takes no keys")
    }

    /// Waits until `text` appears, and gives what appeared before it.
    pub fn expect(&mut self, text: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.unread.find(text) {
                let before = self.unread[..at].to_string();
                self.unread.drain(..at + text.len());
                return Ok(before);
            }
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.take(&bytes),
                Err(error) => {
                    let why = if error == RecvTimeoutError::Timeout { "in time" } else { "before the end" };
                    bail!("{text:?} did not appear {why}; last:\n{}", last_lines(&self.transcript));
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        // A carriage return says nothing here, and QEMU's terminal and the guest's both put one before a newline.
        let text = String::from_utf8_lossy(bytes).replace('\r', "");
        self.unread += &text;
        self.transcript += &text;
    }

    /// The terminal's settings, in a form that can be compared.
    pub fn settings(&self) -> Result<String> {
        let settings = termios::tcgetattr(&self.keys)?;
        Ok(format!("{settings:?}"))
    }

    /// Waits for the program's end and gives its exit status.
    pub fn status(mut self) -> Result<(i32, String)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let settings = self.settings()?;
                return Ok((status.code().context("ended by a signal")?, settings));
            }
            if Instant::now() > deadline {
                bail!("the program does not end; last:\n{}", last_lines(&self.transcript));
            }
            while let Ok(bytes) = self.screen.try_recv() {
                self.take(&bytes);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Has no effect on one that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn last_lines(transcript: &str) -> String {
    let lines: Vec<&str> = transcript.split('\n').collect();
    let shown = lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("    {}", line.escape_debug()));
    shown.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_reaches_the_program_and_its_status_comes_back() {
        let mut session = Session::start("/bin/sh".as_ref(), &["-c", "read line; echo got-$line; exit 3"]).unwrap();
        let before = session.settings().unwrap();
        session.press("some words\r").unwrap();
        session.expect("got-some words").unwrap();
        assert_eq!(session.status().unwrap(), (3, before));
    }

    #[test]
    fn what_does_not_appear_is_an_error_that_shows_what_did() {
        let mut session = Session::start("/bin/echo".as_ref(), &["seen"]).unwrap();
        let error = session.expect("unseen").unwrap_err().to_string();
        assert!(error.contains("    seen"), "{error}");
    }
}
