//! The notes of a core file (elf(5), "Notes"): registers of each thread, and what else a debugger asks of a process.

use crate::abi;
use alloc::vec::Vec;
use base::time::NANOS_PER_SEC;
use base::{Errno, Result};
use process::{Current, tree};

/// Types of notes.
const PRSTATUS: u32 = 1;
/// What `ps` tells of a process.
pub const PRPSINFO: u32 = 3;
/// The auxiliary vector.
pub const AUXV: u32 = 6;
/// The signal that it died of.
pub const SIGINFO: u32 = 0x5349_4749;
/// The files that are mapped.
pub const FILES: u32 = 0x4649_4c45;

/// Whose notes those are that every machine has.
pub const CORE: &[u8] = b"CORE";

/// Adds a note. ENOMEM.
pub fn push(out: &mut Vec<u8>, owner: &[u8], kind: u32, data: &[u8]) -> Result<()> {
    let padded = |len: usize| len.next_multiple_of(4);
    out.try_reserve(12 + padded(owner.len() + 1) + padded(data.len())).map_err(|_| Errno::ENOMEM)?;
    for word in [owner.len() as u32 + 1, data.len() as u32, kind] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for (bytes, len) in [(owner, owner.len() + 1), (data, data.len())] {
        out.extend_from_slice(bytes);
        out.resize(out.len() + padded(len) - bytes.len(), 0);
    }
    Ok(())
}

/// The calling thread's own notes, which begin with NT_PRSTATUS; `vectors` is its vector state as a signal frame has it.
pub fn of_thread(current: &Current, signal: u8, vectors: &[u8]) -> Result<Vec<u8>> {
    let mut notes = Vec::new();
    begin_thread(current, signal, &mut notes)?;
    end_thread(current, vectors, &mut notes)?;
    Ok(notes)
}

/// NT_PRSTATUS: `struct elf_prstatus`.
pub fn begin_thread(current: &Current, signal: u8, notes: &mut Vec<u8>) -> Result<()> {
    let thread = &current.thread;
    let mut data = Vec::new();
    let signal = u32::from(signal);
    let pending = thread.process.shared.lock().pending.set().union(thread.signals.lock().set());
    // Signal, code and errno; the signal again.
    for word in [signal, 0, 0, signal] {
        data.extend_from_slice(&word.to_le_bytes());
    }
    for word in [pending.0, thread.mask().0] {
        data.extend_from_slice(&word.to_le_bytes());
    }
    for id in ids(current, thread.id()) {
        data.extend_from_slice(&id.to_le_bytes());
    }
    let (own, children) = (thread.usage(), thread.process.times.children());
    for nanos in [own.user, own.system, children.user, children.system] {
        for word in [nanos / NANOS_PER_SEC, nanos % NANOS_PER_SEC / 1000] {
            data.extend_from_slice(&word.to_le_bytes());
        }
    }
    for register in abi::core_registers(current) {
        data.extend_from_slice(&register.to_le_bytes());
    }
    // There are floating-point registers.
    data.extend_from_slice(&1u64.to_le_bytes());
    push(notes, CORE, PRSTATUS, &data)
}

/// What follows NT_PRSTATUS: other registers.
pub fn end_thread(current: &Current, vectors: &[u8], notes: &mut Vec<u8>) -> Result<()> {
    abi::core_vectors(current, vectors, &mut |owner, kind, data| push(notes, owner, kind, data))
}

/// A number of the process's, its parent's, its group's and its session's.
fn ids(current: &Current, id: u32) -> [u32; 4] {
    let process = &current.thread.process;
    let tree = tree::lock();
    let parent = process.parent(&tree).map_or(0, |parent| parent.id());
    [id, parent, tree::group_of(&tree, process), tree::session_of(&tree, process)]
}

/// NT_PRPSINFO: `struct elf_prpsinfo`; `arguments` begins with the command line.
pub fn process_info(current: &Current, arguments: &[u8]) -> Vec<u8> {
    const ARGUMENTS: usize = 80;
    // Running: state 0, letter R, no zombie, not nice; flags.
    let mut data = alloc::vec![0, b'R', 0, 0, 0, 0, 0, 0];
    data.extend_from_slice(&0u64.to_le_bytes());
    for id in [current.cred.uid, current.cred.gid] {
        data.extend_from_slice(&id.to_le_bytes());
    }
    for id in ids(current, current.thread.process.id()) {
        data.extend_from_slice(&id.to_le_bytes());
    }
    data.extend_from_slice(&current.thread.name());
    let len = arguments.len().min(ARGUMENTS - 1);
    let end = arguments[..len].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    data.extend(arguments[..end].iter().map(|&byte| if byte == 0 { b' ' } else { byte }));
    data.resize(data.len() + ARGUMENTS - end, 0);
    data
}
