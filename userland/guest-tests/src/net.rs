//! Socket calls as the tests need them: addresses as bytes, messages with control data, epoll.

use core::mem::size_of;

use rt::raw::general::*;
use rt::raw::net::*;
use rt::sys::{Result, check};
use rt::{syscall1, syscall2, syscall3, syscall4, syscall5, syscall6};

pub const SOCK_NONBLOCK: u32 = O_NONBLOCK;
pub const SOCK_CLOEXEC: u32 = O_CLOEXEC;

/// An address as its bytes.
#[derive(Clone, Copy)]
pub struct Address {
    pub bytes: [u8; 128],
    pub len: u32,
}

impl Address {
    /// Room for any.
    pub const fn room() -> Address {
        Address { bytes: [0; 128], len: 128 }
    }

    /// 127.0.0.1 and a port; port 0 is any.
    pub fn loopback(port: u16) -> Address {
        let mut address = Address::room();
        address.bytes[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
        address.bytes[2..4].copy_from_slice(&port.to_be_bytes());
        address.bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
        address.len = 16;
        address
    }

    /// A UNIX name: a path, or with a zero byte in front an abstract name.
    pub fn unix(name: &[u8]) -> Address {
        let mut address = Address::room();
        address.bytes[..2].copy_from_slice(&(AF_UNIX as u16).to_ne_bytes());
        address.bytes[2..2 + name.len()].copy_from_slice(name);
        address.len = 2 + name.len() as u32;
        address
    }

    pub fn port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    pub fn shown(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

pub fn socket(family: u32, kind: u32) -> Result<i32> {
    // SAFETY: touches no memory.
    check(unsafe { syscall3(__NR_socket as usize, family as usize, kind as usize, 0) }).map(|fd| fd as i32)
}

pub fn socketpair(kind: u32) -> Result<[i32; 2]> {
    let mut pair = [0i32; 2];
    // SAFETY: the kernel writes two descriptors.
    check(unsafe {
        syscall4(__NR_socketpair as usize, AF_UNIX as usize, kind as usize, 0, pair.as_mut_ptr() as usize)
    })?;
    Ok(pair)
}

fn with_address(call: u32, fd: i32, address: &Address) -> Result<()> {
    // SAFETY: the address is readable for its length.
    let result = unsafe { syscall3(call as usize, fd as usize, address.bytes.as_ptr() as usize, address.len as usize) };
    check(result).map(drop)
}

pub fn bind(fd: i32, address: &Address) -> Result<()> {
    with_address(__NR_bind, fd, address)
}

pub fn connect(fd: i32, address: &Address) -> Result<()> {
    with_address(__NR_connect, fd, address)
}

pub fn listen(fd: i32, backlog: i32) -> Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { syscall2(__NR_listen as usize, fd as usize, backlog as usize) }).map(drop)
}

pub fn accept(fd: i32, flags: u32) -> Result<i32> {
    // SAFETY: null addresses are allowed.
    check(unsafe { syscall4(__NR_accept4 as usize, fd as usize, 0, 0, flags as usize) }).map(|fd| fd as i32)
}

pub fn accept_from(fd: i32) -> Result<(i32, Address)> {
    let mut from = Address::room();
    // SAFETY: the kernel writes an address into its room, and its length.
    let accepted = check(unsafe {
        syscall3(__NR_accept as usize, fd as usize, from.bytes.as_mut_ptr() as usize, &raw mut from.len as usize)
    })?;
    Ok((accepted as i32, from))
}

fn name(call: u32, fd: i32) -> Result<Address> {
    let mut address = Address::room();
    // SAFETY: as in `accept_from`.
    check(unsafe {
        syscall3(call as usize, fd as usize, address.bytes.as_mut_ptr() as usize, &raw mut address.len as usize)
    })?;
    Ok(address)
}

pub fn getsockname(fd: i32) -> Result<Address> {
    name(__NR_getsockname, fd)
}

pub fn getpeername(fd: i32) -> Result<Address> {
    name(__NR_getpeername, fd)
}

pub fn shutdown(fd: i32, how: u32) -> Result<()> {
    // SAFETY: touches no memory.
    check(unsafe { syscall2(__NR_shutdown as usize, fd as usize, how as usize) }).map(drop)
}

pub fn send(fd: i32, bytes: &[u8], flags: u32) -> Result<usize> {
    // SAFETY: the bytes are readable.
    check(unsafe {
        syscall6(__NR_sendto as usize, fd as usize, bytes.as_ptr() as usize, bytes.len(), flags as usize, 0, 0)
    })
}

pub fn recv(fd: i32, buffer: &mut [u8], flags: u32) -> Result<usize> {
    // SAFETY: the buffer is writable.
    check(unsafe {
        syscall6(__NR_recvfrom as usize, fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), flags as usize, 0, 0)
    })
}

pub fn send_to(fd: i32, bytes: &[u8], to: &Address) -> Result<usize> {
    // SAFETY: the bytes and the address are readable.
    check(unsafe {
        syscall6(
            __NR_sendto as usize,
            fd as usize,
            bytes.as_ptr() as usize,
            bytes.len(),
            0,
            to.bytes.as_ptr() as usize,
            to.len as usize,
        )
    })
}

pub fn recv_from(fd: i32, buffer: &mut [u8]) -> Result<(usize, Address)> {
    let mut from = Address::room();
    // SAFETY: the buffer and the address are writable.
    let count = check(unsafe {
        syscall6(
            __NR_recvfrom as usize,
            fd as usize,
            buffer.as_mut_ptr() as usize,
            buffer.len(),
            0,
            from.bytes.as_mut_ptr() as usize,
            &raw mut from.len as usize,
        )
    })?;
    Ok((count, from))
}

pub fn set_option<T>(fd: i32, level: u32, option: u32, value: &T) -> Result<()> {
    // SAFETY: the value is readable for its size.
    check(unsafe {
        syscall5(
            __NR_setsockopt as usize,
            fd as usize,
            level as usize,
            option as usize,
            &raw const *value as usize,
            size_of::<T>(),
        )
    })
    .map(drop)
}

/// An option of SOL_SOCKET that is an int.
pub fn option(fd: i32, option: u32) -> Result<i32> {
    let (mut value, mut len) = (0i32, 4u32);
    // SAFETY: the kernel writes an int and a length.
    check(unsafe {
        syscall5(
            __NR_getsockopt as usize,
            fd as usize,
            SOL_SOCKET as usize,
            option as usize,
            &raw mut value as usize,
            &raw mut len as usize,
        )
    })?;
    Ok(value)
}

/// `struct msghdr`.
#[repr(C)]
pub struct Message {
    name: usize,
    name_len: u32,
    iov: usize,
    iov_len: usize,
    control: usize,
    pub control_len: usize,
    pub flags: u32,
}

/// One control message with up to 8 ints.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Control {
    pub len: usize,
    pub level: u32,
    pub kind: u32,
    pub data: [i32; 8],
}

impl Control {
    pub fn new(kind: u32, data: &[i32]) -> Control {
        let mut control = Control { len: 16 + data.len() * 4, level: SOL_SOCKET, kind, data: [0; 8] };
        control.data[..data.len()].copy_from_slice(data);
        control
    }
}

pub fn sendmsg(fd: i32, bytes: &[u8], control: &Control, flags: u32) -> Result<usize> {
    let iov = [bytes.as_ptr() as usize, bytes.len()];
    let message = Message {
        name: 0,
        name_len: 0,
        iov: iov.as_ptr() as usize,
        iov_len: 1,
        control: &raw const *control as usize,
        control_len: control.len,
        flags: 0,
    };
    // SAFETY: the message and what it points to are readable.
    check(unsafe { syscall3(__NR_sendmsg as usize, fd as usize, &raw const message as usize, flags as usize) })
}

/// Receives with `room` bytes for control messages: the count, the flags, and the length of control data.
pub fn recvmsg(
    fd: i32,
    buffer: &mut [u8],
    control: &mut Control,
    room: usize,
    flags: u32,
) -> Result<(usize, u32, usize)> {
    let iov = [buffer.as_mut_ptr() as usize, buffer.len()];
    let mut message = Message {
        name: 0,
        name_len: 0,
        iov: iov.as_ptr() as usize,
        iov_len: 1,
        control: &raw mut *control as usize,
        control_len: room.min(size_of::<Control>()),
        flags: 0,
    };
    // SAFETY: the message and what it points to are writable.
    let count =
        check(unsafe { syscall3(__NR_recvmsg as usize, fd as usize, &raw mut message as usize, flags as usize) })?;
    Ok((count, message.flags, message.control_len))
}

pub fn epoll() -> Result<i32> {
    // SAFETY: touches no memory.
    check(unsafe { syscall1(__NR_epoll_create1 as usize, 0) }).map(|fd| fd as i32)
}

pub fn epoll_add(epoll: i32, fd: i32, events: u32) -> Result<()> {
    let event = epoll_event { events, data: fd as u64 };
    // SAFETY: the event is readable.
    check(unsafe {
        syscall4(
            __NR_epoll_ctl as usize,
            epoll as usize,
            EPOLL_CTL_ADD as usize,
            fd as usize,
            &raw const event as usize,
        )
    })
    .map(drop)
}

pub const NO_EVENT: epoll_event = epoll_event { events: 0, data: 0 };

pub fn epoll_wait(epoll: i32, events: &mut [epoll_event], timeout_ms: i32) -> Result<usize> {
    // SAFETY: the events are writable.
    check(unsafe {
        syscall6(
            __NR_epoll_pwait as usize,
            epoll as usize,
            events.as_mut_ptr() as usize,
            events.len(),
            timeout_ms as usize,
            0,
            8,
        )
    })
}
