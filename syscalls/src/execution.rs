//! execve(2), and how the first program starts.

use crate::args::Args;
use crate::run::{self, Birth};
use crate::{abi, fault, table};
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::addr::VirtAddr;
use base::{Errno, Error, Result};
use executor::{SchedParams, Task};
use kernel::cmdline::CommandLine;
use linux_raw_sys::general as raw;
use memory::user::{UserPtr, UserStr};
use process::Current;
use process::exec::{self, Request, Strings};
use process::limits::Resource;
use vfs::path::{Follow, Walk};
use vfs::{Location, OpenFlags};

/// The longest single string, with its zero (MAX_ARG_STRLEN).
const MAX_STRING: usize = 128 * 1024;

/// execve(2).
pub async fn execve(current: &mut Current, args: &Args) -> Result<usize> {
    let path = read_path(current, args.addr(0)).await?;
    let caller = current.caller();
    let program = Walk::new(&caller, &current.fs, None).resolve(&path, Follow::Yes)?;
    replace(current, program, path, args.addr(1), args.addr(2)).await
}

/// execveat(2).
pub async fn execveat(current: &mut Current, args: &Args) -> Result<usize> {
    let flags = args.uint(4);
    if flags & !(raw::AT_EMPTY_PATH | raw::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = read_path(current, args.addr(1)).await?;
    let follow = if flags & raw::AT_SYMLINK_NOFOLLOW != 0 { Follow::No } else { Follow::Yes };
    let at = args.int(0);
    let dir = if at == raw::AT_FDCWD || path.starts_with(b"/") { None } else { Some(current.files.get(at as u32)?) };
    let program = match &dir {
        _ if path.is_empty() && flags & raw::AT_EMPTY_PATH == 0 => return Err(Errno::ENOENT.into()),
        Some(dir) if path.is_empty() => dir.location(),
        _ => {
            let caller = current.caller();
            let found = Walk::new(&caller, &current.fs, dir.as_deref()).resolve(&path, follow)?;
            if found.inode().metadata().kind == vfs::FileType::Symlink {
                return Err(Errno::ELOOP.into());
            }
            found
        }
    };
    let name = match &dir {
        None => path,
        // What an interpreter can open the script by.
        Some(_) => name_by_descriptor(at, &path),
    };
    replace(current, program, name, args.addr(2), args.addr(3)).await
}

fn name_by_descriptor(fd: i32, path: &[u8]) -> Vec<u8> {
    let mut name = alloc::format!("/dev/fd/{fd}").into_bytes();
    if !path.is_empty() {
        name.push(b'/');
        name.extend_from_slice(path);
    }
    name
}

async fn read_path(current: &Current, addr: VirtAddr) -> Result<Vec<u8>> {
    loop {
        match UserStr(addr).read_vec(raw::PATH_MAX as usize - 1, Errno::ENAMETOOLONG) {
            Err(Error::Fault(page)) => fault::resolve(current, page).await?,
            other => return other,
        }
    }
}

async fn replace(
    current: &mut Current,
    program: Location,
    name: Vec<u8>,
    argv: VirtAddr,
    envp: VirtAddr,
) -> Result<usize> {
    let room = (current.thread.limit(Resource::Stack) as usize / 4).clamp(MAX_STRING, 6 << 20);
    let mut left = room;
    let mut argv = read_strings(current, argv, &mut left).await?;
    let envp = read_strings(current, envp, &mut left).await?;
    if argv.count() == 0 {
        // A program can rely on an argv[0].
        argv.push(b"")?;
    }
    exec::execute(current, request(program, name, argv, envp)).await?;
    run::note_thread(&current.thread);
    Ok(current.cx.syscall_result())
}

fn request(program: Location, name: Vec<u8>, argv: Strings, envp: Strings) -> Request {
    let mut random = [0; 32];
    kernel::random::fill(&mut random);
    Request { program, name, argv, envp, random, trampoline: abi::TRAMPOLINE, machine: abi::ELF_MACHINE }
}

/// Reads a vector of strings that ends with a null; a null vector has none. E2BIG past `left` bytes, pointers included.
async fn read_strings(current: &Current, vector: VirtAddr, left: &mut usize) -> Result<Strings> {
    let mut strings = Strings::new();
    if vector.0 == 0 {
        return Ok(strings);
    }
    let mut at = UserPtr::<usize>::new(vector);
    loop {
        let addr = match at.read() {
            Ok(0) => return Ok(strings),
            Ok(addr) => VirtAddr(addr),
            Err(page) => {
                fault::resolve(current, page).await?;
                continue;
            }
        };
        let string = loop {
            match UserStr(addr).read_vec(MAX_STRING - 1, Errno::E2BIG) {
                Err(Error::Fault(page)) => fault::resolve(current, page).await?,
                other => break other?,
            }
        };
        *left = left.checked_sub(string.len() + 1 + size_of::<usize>()).ok_or(Errno::E2BIG)?;
        strings.push(&string)?;
        at = at.add(1);
    }
}

/// What the first process is to be.
pub struct First {
    /// The paths that are tried in turn.
    programs: Vec<Vec<u8>>,
    /// The kernel's command line, for its arguments and its environment.
    line: CommandLine,
}

/// Starts the first process: /dev/console as its three descriptors, then the first of the programs that can be executed.
pub fn start_first(current: Current, programs: Vec<Vec<u8>>, line: CommandLine) -> Task {
    kernel::proc::register("unknown_syscalls", show_unknown);
    let first = Box::new(First { programs, line });
    run::be_born(current, Birth::First(first), SchedParams::default())
}

/// /proc/pollux/unknown_syscalls: a number and how often it was called, on each line.
fn show_unknown(out: &mut dyn core::fmt::Write) -> core::fmt::Result {
    for (number, count) in table::unknown_calls() {
        writeln!(out, "{number} {count}")?;
    }
    Ok(())
}

fn open_console(current: &Current) {
    let caller = current.caller();
    let walk = Walk::new(&caller, &current.fs, None);
    let request = vfs::open::Request { flags: OpenFlags::RDWR, mode: 0, umask: 0 };
    match vfs::open::open(&walk, b"/dev/console", &request) {
        Ok(console) => {
            for _ in 0..3 {
                // The table is empty, so the lowest three are taken.
                if current.files.open(console.clone(), 3, false).is_err() {
                    log::error!("no descriptor for the console");
                }
            }
        }
        Err(error) => log::error!("cannot open /dev/console: {error:?}"),
    }
}

/// Makes `current` the first process.
pub async fn execute_first(current: &mut Current, first: Box<First>) {
    open_console(current);
    let First { programs, line } = &*first;
    let mut last = (&b""[..], Errno::ENOENT);
    for program in programs {
        last = match try_first(current, program, line).await {
            Ok(()) => return,
            Err(Error::Errno(errno)) => (program, errno),
            Err(_) => (program, Errno::EIO),
        };
        // The usual ones may be absent.
        if last.1 != Errno::ENOENT || line.rdinit.as_ref() == Some(program) {
            log::error!("cannot execute {}: {:?}", alloc::string::String::from_utf8_lossy(program), last.1);
        }
    }
    kernel::boot::no_init(last.0, last.1)
}

async fn try_first(current: &mut Current, path: &[u8], line: &CommandLine) -> Result<()> {
    let mut argv = Strings::new();
    argv.push(path)?;
    for argument in &line.arguments {
        argv.push(argument)?;
    }
    let mut envp = Strings::new();
    for variable in [&b"HOME=/"[..], b"TERM=linux"].into_iter().chain(line.environment.iter().map(|v| &v[..])) {
        envp.push(variable)?;
    }
    let program = {
        let caller = current.caller();
        Walk::new(&caller, &current.fs, None).resolve(path, Follow::Yes)?
    };
    exec::execute(current, request(program, path.to_vec(), argv, envp)).await
}
