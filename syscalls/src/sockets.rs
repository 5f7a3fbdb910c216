//! Sockets (socket(2) and its family), on top of the `net` crate.
//!
//! * Here: making and naming sockets, their options, their end.
//! * [`accepting`]: accept(2) and connect(2). [`sending`], [`receiving`]: messages, one at a time; [`many`]: several.
//! * [`header`]: how messages and addresses lie in memory; [`control`]: what goes with a message; [`paths`]: names in the
//!   file system; [`waiting`]: the loop that the async halves share.
//!
//! A step of a call reads its arguments, tries, and says how the call goes on ([`waiting::Step`]). The fast half takes one
//! step, the async half more of them until there is a result. What a step has taken and cannot be given
//! back (a connection, a message) is carried from the one half to the other, so that an absent page of the caller's loses nothing.

pub mod accepting;
mod control;
mod header;
pub mod many;
mod paths;
pub mod receiving;
pub mod sending;
mod waiting;

use crate::args::Args;
use crate::creation::now;
use crate::paths::{caller, check_flags, install, opened};
use crate::table::{Calls, fast, slow};
use crate::wait::Slow;
use alloc::sync::Arc;
use base::{Errno, Result};
use header::{read_address, store_address};
use linux_raw_sys::general as raw;
use linux_raw_sys::net as abi;
use memory::user::UserPtr;
use net::{Address, Context, Shutdown, Socket, as_socket};
use paths::Names;
use process::Current;
use process::limits::Resource;
use vfs::{Caller, Description, OpenFlags};

/// The family.
pub const CALLS: Calls = &[
    (raw::__NR_socket, fast!(socket)),
    (raw::__NR_socketpair, fast!(socketpair)),
    (raw::__NR_bind, fast!(bind)),
    (raw::__NR_listen, fast!(listen)),
    (raw::__NR_accept, slow!(accepting::accept, Slow::Accept)),
    (raw::__NR_accept4, slow!(accepting::accept4, Slow::Accept4)),
    (raw::__NR_connect, slow!(accepting::connect, Slow::Connect)),
    (raw::__NR_getsockname, fast!(getsockname)),
    (raw::__NR_getpeername, fast!(getpeername)),
    (raw::__NR_sendto, slow!(sending::sendto, Slow::Sendto)),
    (raw::__NR_recvfrom, slow!(receiving::recvfrom, Slow::Recvfrom)),
    (raw::__NR_sendmsg, slow!(sending::sendmsg, Slow::Sendmsg)),
    (raw::__NR_recvmsg, slow!(receiving::recvmsg, Slow::Recvmsg)),
    (raw::__NR_sendmmsg, slow!(now, Slow::Sendmmsg)),
    (raw::__NR_recvmmsg, slow!(now, Slow::Recvmmsg)),
    (raw::__NR_shutdown, fast!(shutdown)),
    (raw::__NR_setsockopt, fast!(setsockopt)),
    (raw::__NR_getsockopt, fast!(getsockopt)),
];

/// The bits of a type argument that are the type.
const TYPE_MASK: u32 = 0xf;

/// The longest option value that is looked at; none that is known is longer.
const OPTION_MAX: usize = 128;

/// Calls `act` with what sockets know of a call that `caller` makes.
#[inline]
fn with<T>(current: &Current, caller: &Caller, act: impl FnOnce(&Context) -> T) -> T {
    let paths = Names(current);
    act(&Context { caller, paths: &paths, open_files_limit: current.thread.limit(Resource::Nofile) })
}

/// The socket behind an open file. ENOTSOCK.
#[inline]
fn socket_of(file: &Description) -> Result<&dyn Socket> {
    as_socket(&**file.file())
}

/// Type and flags of a type argument. EINVAL for a flag that is not known.
fn split(kind: u32) -> Result<(i32, OpenFlags)> {
    let flags = kind & !TYPE_MASK;
    check_flags(flags, raw::O_CLOEXEC | raw::O_NONBLOCK)?;
    Ok(((kind & TYPE_MASK) as i32, OpenFlags::from_bits_truncate(flags)))
}

/// The open file description of a new socket.
fn describe(socket: Arc<dyn Socket>, flags: OpenFlags) -> Arc<Description> {
    Description::new(socket, None, OpenFlags::RDWR | flags & OpenFlags::NONBLOCK)
}

fn socket(current: &mut Current, args: &Args) -> Result<usize> {
    let (kind, flags) = split(args.uint(1))?;
    let socket = kernel::network::get()?.socket(&current.caller(), args.int(0), kind, args.int(2))?;
    install(current, describe(socket, flags), flags.contains(OpenFlags::CLOEXEC))
}

fn socketpair(current: &mut Current, args: &Args) -> Result<usize> {
    let (kind, flags) = split(args.uint(1))?;
    let limit = current.thread.limit(Resource::Nofile);
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    let files = &current.files;
    let first = files.reserve(limit, cloexec)?;
    let second = files.reserve(limit, cloexec).inspect_err(|_| files.release(first))?;
    // The numbers are stored before there is anything that could not be undone.
    let made = args
        .ptr::<[u32; 2]>(3)
        .write(&[first, second])
        .map_err(Into::into)
        .and_then(|()| kernel::network::get()?.socket_pair(&current.caller(), args.int(0), kind, args.int(2)));
    match made {
        Ok((a, b)) => {
            files.fill(first, describe(a, flags));
            files.fill(second, describe(b, flags));
            Ok(0)
        }
        Err(error) => {
            files.release(first);
            files.release(second);
            Err(error)
        }
    }
}

fn bind(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let socket = socket_of(&file)?;
    let address = read_address(args.addr(1), args.int(2))?;
    let address = Address::decode(socket.family(), &address)?;
    with(current, &caller(current, &file), |cx| socket.bind(cx, &address))?;
    Ok(0)
}

fn listen(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let socket = socket_of(&file)?;
    with(current, &caller(current, &file), |cx| socket.listen(cx, args.int(1)))?;
    Ok(0)
}

fn getsockname(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let address = socket_of(&file)?.local()?;
    store_address(Some(&address), args.addr(1), args.ptr(2))?;
    Ok(0)
}

fn getpeername(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let address = socket_of(&file)?.peer()?;
    store_address(Some(&address), args.addr(1), args.ptr(2))?;
    Ok(0)
}

fn shutdown(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let socket = socket_of(&file)?;
    socket.shutdown(Shutdown::from_number(args.int(1))?)?;
    Ok(0)
}

fn setsockopt(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let socket = socket_of(&file)?;
    let len = usize::try_from(args.int(4)).map_err(|_| Errno::EINVAL)?.min(OPTION_MAX);
    let mut value = [0; OPTION_MAX];
    args.ptr::<u8>(3).read_slice(&mut value[..len])?;
    with(current, &caller(current, &file), |cx| socket.set_option(cx, args.int(1), args.int(2), &value[..len]))?;
    Ok(0)
}

fn getsockopt(current: &mut Current, args: &Args) -> Result<usize> {
    let file = opened(current, args, 0)?;
    let socket = socket_of(&file)?;
    let (level, name) = (args.int(1), args.int(2));
    let (value, len) = (args.ptr::<u8>(3), args.ptr::<i32>(4));
    let given = len.read()?;
    let room = usize::try_from(given).map_err(|_| Errno::EINVAL)?.min(OPTION_MAX);
    if (level as u32, name as u32) == (abi::SOL_SOCKET, abi::SO_ERROR) {
        // Asking takes the error away, so what could fail is tried before.
        value.write_slice(&[0; 4][..room.min(4)])?;
        len.write(&given)?;
    }
    let mut out = [0; OPTION_MAX];
    let n = socket.get_option(level, name, &mut out[..room])?.min(room);
    value.write_slice(&out[..n])?;
    UserPtr::write(len, &(n as i32))?;
    Ok(0)
}
