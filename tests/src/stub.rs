//! QEMU's own debugger interface (the GDB remote serial protocol), as far as the harness needs it: it tells that the
//! machine has stopped, and where its CPUs were.
//!
//! It speaks over a pair of sockets, one of which QEMU inherits; so no port or path is taken, and it ends with QEMU. The
//! machine waits for the word to begin, since recent versions tell only those that a machine has stopped who had it go on.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::arch::Arch;
use crate::symbols::Symbols;

/// How long QEMU may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Callers that are shown of each CPU.
const DEPTH: usize = 32;
/// The kernel's half of the address space.
const KERNEL: u64 = 0xffff_0000_0000_0000;

/// The connection.
pub struct Stub {
    arch: Arch,
    stream: UnixStream,
    packets: Receiver<String>,
    stopped: bool,
}

/// Where the registers that are needed lie among the bytes of a `g` packet.
struct Layout {
    pc: usize,
    sp: usize,
    frame: usize,
}

fn layout(arch: Arch) -> Layout {
    match arch {
        // RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8 to R15, RIP
        Arch::X86_64 => Layout { pc: 16 * 8, sp: 7 * 8, frame: 6 * 8 },
        // X0 to X30, SP, PC
        Arch::Aarch64 => Layout { pc: 32 * 8, sp: 31 * 8, frame: 29 * 8 },
    }
}

impl Stub {
    /// Adds the interface to a machine that is about to start, which then pauses at its end instead of going away. The
    /// second result is QEMU's end of the connection, to be dropped once QEMU runs. `on_stop` is called when the machine
    /// has come to its end.
    pub fn add(arch: Arch, command: &mut Command, on_stop: impl FnOnce() + Send + 'static) -> Result<(Stub, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let fd = theirs.as_raw_fd();
        command.args(["-S", "-no-shutdown", "-chardev", &format!("socket,id=stub,fd={fd}"), "-gdb", "chardev:stub"]);
        let (sender, packets) = mpsc::channel();
        let mut reader = ours.try_clone()?;
        std::thread::spawn(move || {
            let mut on_stop = Some(on_stop);
            while let Some(packet) = read_packet(&mut reader) {
                // Signal 2 is what it stops by when asked to.
                if packet.starts_with(['T', 'S'])
                    && packet.get(1..3) != Some("02")
                    && let Some(tell) = on_stop.take()
                {
                    tell();
                }
                if sender.send(packet).is_err() {
                    return;
                }
            }
        });
        let mut stub = Stub { arch, stream: ours, packets, stopped: true };
        stub.go_on()?;
        Ok((stub, OwnedFd::from(theirs)))
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let sum = text.bytes().fold(0u8, u8::wrapping_add);
        self.stream.write_all(format!("${text}#{sum:02x}").as_bytes()).context("QEMU's debugger interface")
    }

    fn receive(&mut self) -> Result<String> {
        self.packets.recv_timeout(PATIENCE).context("no answer of QEMU's debugger interface")
    }

    fn ask(&mut self, text: &str) -> Result<String> {
        self.send(text)?;
        loop {
            let answer = self.receive()?;
            // The end of a machine is told whenever it comes.
            if !answer.starts_with(['T', 'S']) {
                return Ok(answer);
            }
        }
    }

    /// Stops the machine, if it runs.
    pub fn stop(&mut self) -> Result<()> {
        if !self.stopped {
            // To a machine that stopped by itself this says nothing; that it stopped waits to be read.
            self.stream.write_all(&[3])?;
            while !self.receive()?.starts_with(['T', 'S']) {}
            self.stopped = true;
        }
        Ok(())
    }

    /// Lets a stopped machine go on.
    pub fn go_on(&mut self) -> Result<()> {
        self.stopped = false;
        self.send("c")
    }

    /// The CPUs, as the protocol numbers them.
    pub fn cpus(&mut self) -> Result<Vec<String>> {
        let mut cpus = Vec::new();
        let mut answer = self.ask("qfThreadInfo")?;
        while let Some(list) = answer.strip_prefix('m') {
            cpus.extend(list.split(',').map(str::to_string));
            answer = self.ask("qsThreadInfo")?;
        }
        Ok(cpus)
    }

    /// The registers of a CPU, which memory is read by from then on.
    fn registers(&mut self, cpu: &str) -> Result<Vec<u8>> {
        ensure!(self.ask(&format!("Hg{cpu}"))? == "OK", "no CPU {cpu}");
        bytes(&self.ask("g")?)
    }

    /// Sets the stack pointer of a CPU of a stopped machine.
    pub fn set_stack_pointer(&mut self, cpu: &str, change: impl FnOnce(u64) -> u64) -> Result<()> {
        let mut registers = self.registers(cpu)?;
        let at = layout(self.arch).sp;
        let value = change(word(&registers, at)?);
        registers[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let text: String = registers.iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(self.ask(&format!("G{text}"))? == "OK", "the registers cannot be set");
        Ok(())
    }

    /// Fills kernel memory of a stopped machine with zeros.
    pub fn clear(&mut self, start: u64, len: usize) -> Result<()> {
        let text = "00".repeat(len);
        ensure!(self.ask(&format!("M{start:x},{len:x}:{text}"))? == "OK", "memory at {start:#x} cannot be written");
        Ok(())
    }

    /// Stops the machine, if it runs, and tells where each CPU is: its program counter, then return addresses.
    pub fn backtraces(&mut self) -> Result<Vec<Vec<u64>>> {
        self.stop()?;
        self.cpus()?.iter().map(|cpu| self.chain(cpu)).collect()
    }

    /// Where a CPU is, and its callers by frame pointers, if it is in the kernel.
    fn chain(&mut self, cpu: &str) -> Result<Vec<u64>> {
        let (registers, layout) = (self.registers(cpu)?, layout(self.arch));
        let mut chain = vec![word(&registers, layout.pc)?];
        let mut frame = word(&registers, layout.frame)?;
        while chain[0] >= KERNEL && frame >= KERNEL && frame.is_multiple_of(8) && chain.len() < DEPTH {
            let answer = self.ask(&format!("m{frame:x},10"))?;
            // An error where nothing is mapped.
            let Ok(record) = bytes(&answer) else { break };
            let (next, back) = (word(&record, 0)?, word(&record, 8)?);
            if back == 0 {
                break;
            }
            chain.push(back);
            if next <= frame {
                break;
            }
            frame = next;
        }
        Ok(chain)
    }
}

/// What [`Stub::backtraces`] found, with names.
pub fn explain(chains: &[Vec<u64>], symbols: Option<&Symbols>) -> String {
    let mut text = String::new();
    for (cpu, chain) in chains.iter().enumerate() {
        text += &format!("CPU {cpu}\n");
        for (depth, &address) in chain.iter().enumerate() {
            text += &format!("  #{depth} {address:#x}\n");
            // All but the first are return addresses, which point after their call.
            let place = address - u64::from(depth > 0);
            if address < KERNEL {
                text += "        not in the kernel\n";
            } else if let Some(symbols) = symbols {
                symbols.describe(place).iter().for_each(|name| text += &format!("        {name}\n"));
            }
        }
    }
    text
}

/// The next packet, acknowledged; nothing once QEMU is gone.
fn read_packet(stream: &mut UnixStream) -> Option<String> {
    let mut byte = || {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| byte[0])
    };
    while byte()? != b'$' {}
    let mut text = String::new();
    loop {
        match byte()? {
            b'#' => break,
            other => text.push(char::from(other)),
        }
    }
    byte()?;
    byte()?;
    stream.write_all(b"+").ok()?;
    Some(text)
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    // `x` stands for what cannot be known; an error is E and two digits.
    if hex.is_empty() || !hex.len().is_multiple_of(2) {
        bail!("QEMU's debugger interface answers {hex:?}");
    }
    let digits = hex.replace('x', "0");
    let pairs = digits.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    pairs.collect()
}

fn word(bytes: &[u8], at: usize) -> Result<u64> {
    let slice = bytes.get(at..at + 8).context("too few registers")?;
    Ok(u64::from_le_bytes(slice.try_into()?))
}
