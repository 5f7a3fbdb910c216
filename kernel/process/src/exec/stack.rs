//! What a new program finds on its stack: argument and environment strings and pointers, and the auxiliary vector
//! (getauxval(3)).
//!
//! ```text
//! stack_top ─► 8 zero bytes
//!              execution name, environment strings, argument strings
//!              platform name, 16 random bytes
//!              (alignment to 16)
//!              auxiliary vector, null, envp, null, argv
//! sp ────────► argc
//! ```

use super::image::Image;
use super::{Request, Strings};
use crate::rseq;
use alloc::vec::Vec;
use arch::addr::{PAGE_SIZE, VirtAddr};
use base::time::USER_HZ;
use base::{Credentials, Errno, Result};
use linux_raw_sys::auxvec as at;
use memory::space::Limits;

/// The stack pointer and the program counter that a program starts with.
pub(super) struct Entry {
    pub pc: usize,
    pub sp: usize,
    /// Where the argument strings lie, for /proc/PID/cmdline: first byte and one past the last.
    pub args: (usize, usize),
    /// Where the environment strings lie.
    pub env: (usize, usize),
    /// Where the auxiliary vector lies.
    pub auxv: (usize, usize),
}

/// The least room for strings, whatever RLIMIT_STACK says (execve(2)).
const MIN_STRINGS: usize = 128 * 1024;

/// Writes the stack. E2BIG if strings and pointers take more than a quarter of the stack's limit.
pub(super) async fn fill(image: &Image, request: &Request, cred: &Credentials, limits: &Limits) -> Result<Entry> {
    let Request { argv, envp, name, random, .. } = request;
    let room = (limits.stack / 4).clamp(MIN_STRINGS, 6 << 20);
    let pointers = (argv.count() + envp.count()) * 8;
    if argv.bytes().len() + envp.bytes().len() + name.len() + pointers > room {
        return Err(Errno::E2BIG.into());
    }
    let mut top = image.stack_top - 8;
    let mut place = |len: usize| {
        top -= len;
        top
    };
    let name_at = place(name.len() + 1);
    let env_at = place(envp.bytes().len());
    let args_at = place(argv.bytes().len());
    let platform = arch::cpu::PLATFORM.as_bytes();
    let platform_at = place(platform.len() + 1);
    let random_at = place(16) & !15;
    let auxv = auxiliary(image, cred, [name_at, platform_at, random_at]);
    let words = 1 + argv.count() + 1 + envp.count() + 1 + auxv.len();
    let sp = (random_at - words * 8) & !15;
    let mut table = Vec::new();
    table.try_reserve(words).map_err(|_| Errno::ENOMEM)?;
    table.push(argv.count());
    push_pointers(&mut table, argv, args_at);
    push_pointers(&mut table, envp, env_at);
    let auxv_at = sp + table.len() * 8;
    table.extend(auxv);
    let auxv = (auxv_at, sp + table.len() * 8);
    let bytes: Vec<u8> = table.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let pieces: [(usize, &[u8]); 6] = [
        (sp, &bytes),
        (random_at, &random[..16]),
        (platform_at, platform),
        (args_at, argv.bytes()),
        (env_at, envp.bytes()),
        (name_at, name),
    ];
    for (at, piece) in pieces {
        image.space.write_at(VirtAddr(at), piece).await.map_err(|_| Errno::ENOMEM)?;
    }
    let args = (args_at, args_at + argv.bytes().len());
    Ok(Entry { pc: image.start, sp, args, env: (env_at, env_at + envp.bytes().len()), auxv })
}

/// A pointer to each string from `at` on, and a null.
fn push_pointers(table: &mut Vec<usize>, strings: &Strings, mut at: usize) {
    for string in strings.bytes().split_inclusive(|&byte| byte == 0) {
        table.push(at);
        at += string.len();
    }
    table.push(0);
}

fn auxiliary(image: &Image, cred: &Credentials, [name, platform, random]: [usize; 3]) -> Vec<usize> {
    let secure = cred.uid != cred.euid || cred.gid != cred.egid;
    let pairs = [
        (at::AT_HWCAP, arch::cpu::hwcap()),
        (at::AT_PAGESZ, PAGE_SIZE),
        (at::AT_CLKTCK, USER_HZ as usize),
        (at::AT_PHDR, image.headers.0),
        (at::AT_PHENT, 56),
        (at::AT_PHNUM, image.headers.1),
        (at::AT_BASE, image.interpreter),
        (at::AT_FLAGS, 0),
        (at::AT_ENTRY, image.entry),
        (at::AT_UID, cred.uid as usize),
        (at::AT_EUID, cred.euid as usize),
        (at::AT_GID, cred.gid as usize),
        (at::AT_EGID, cred.egid as usize),
        (at::AT_SECURE, secure.into()),
        (at::AT_RANDOM, random),
        (at::AT_HWCAP2, arch::cpu::hwcap2()),
        (at::AT_EXECFN, name),
        (at::AT_PLATFORM, platform),
        (at::AT_RSEQ_FEATURE_SIZE, rseq::FEATURES as usize),
        (at::AT_RSEQ_ALIGN, rseq::SIZE as usize),
        (at::AT_MINSIGSTKSZ, arch::cpu::min_signal_stack()),
        (at::AT_NULL, 0),
    ];
    pairs.iter().flat_map(|&(key, value)| [key as usize, value]).collect()
}
