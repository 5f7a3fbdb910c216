//! UNIX sockets and what all sockets have in common: what they pass, and how they end.

use rt::raw::errno::*;
use rt::raw::general::*;
use rt::raw::net::*;
use rt::sys::{self, Errno};
use rt::{signal, syscall3};

use crate::net::*;
use crate::{Outcome, check, tests};

tests! {
    a_socketpair_carries_bytes_both_ways,
    a_unix_stream_connects_by_path,
    a_unix_stream_connects_by_abstract_name,
    a_unix_socket_that_has_a_name_is_told_first_that_the_new_one_is_taken,
    a_path_without_a_listener_is_refused,
    a_record_that_does_not_fit_is_cut_and_told,
    scm_rights_passes_an_open_file,
    scm_rights_without_room_is_told_and_leaks_nothing,
    scm_rights_past_the_descriptor_limit_is_cut,
    scm_credentials_name_the_sender,
    writing_to_a_closed_peer_is_sigpipe_and_epipe,
    a_peek_leaves_the_bytes,
    a_wait_for_all_gathers_pieces,
    a_receive_timeout_is_eagain,
    a_signal_ends_a_wait_with_a_timeout,
    a_big_send_goes_on_until_all_is_taken,
    what_is_no_socket_is_enotsock,
    bad_arguments_are_refused_in_order,
    a_message_reaches_pages_that_were_never_touched,
    sendmmsg_and_recvmmsg_count_messages,
}

/// Runs `act` in a child, which then ends.
pub fn in_child(act: impl FnOnce() -> Outcome) -> Result<i32, Errno> {
    match sys::fork()? {
        0 => sys::exit_group(if act().is_ok() { 0 } else { 1 }),
        child => Ok(child),
    }
}

/// A listener on a free TCP port, and its address.
pub fn tcp_listener() -> Result<(i32, Address), Errno> {
    let listener = socket(AF_INET, SOCK_STREAM)?;
    bind(listener, &Address::loopback(0))?;
    listen(listener, 128)?;
    Ok((listener, getsockname(listener)?))
}

fn a_socketpair_carries_bytes_both_ways() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    let child = in_child(|| {
        let mut buffer = [0u8; 16];
        for _ in 0..100 {
            let count = sys::read(pair[1], &mut buffer)?;
            sys::write_all(pair[1], &buffer[..count])?;
        }
        Ok(())
    })?;
    let mut buffer = [0u8; 16];
    for i in 0..100u8 {
        sys::write_all(pair[0], &[i, !i])?;
        check!(recv(pair[0], &mut buffer, 0)? == 2);
        check!(buffer[..2] == [i, !i]);
    }
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn echo_over(address: &Address) -> Outcome {
    let listener = socket(AF_UNIX, SOCK_STREAM)?;
    bind(listener, address)?;
    check!(bind(listener, &Address::unix(b"\0guest-tests-another")) == Err(Errno(EINVAL)));
    listen(listener, 5)?;
    check!(getsockname(listener)?.bytes[..address.len as usize] == *address.shown());
    let child = in_child(|| {
        let client = socket(AF_UNIX, SOCK_STREAM)?;
        connect(client, address)?;
        sys::write_all(client, b"hello")?;
        let mut buffer = [0u8; 8];
        check!(sys::read(client, &mut buffer)? == 5);
        check!(getpeername(client)?.bytes[..address.len as usize] == *address.shown());
        Ok(())
    })?;
    let (server, from) = accept_from(listener)?;
    // A client without a name has the family only.
    check!(from.len == 2);
    let mut buffer = [0u8; 8];
    check!(sys::read(server, &mut buffer)? == 5);
    sys::write_all(server, &buffer[..5])?;
    check!(sys::wait4(child, 0)? == (child, 0));
    check!(sys::read(server, &mut buffer)? == 0);
    Ok(())
}

fn a_unix_stream_connects_by_path() -> Outcome {
    let path = c"/tmp/guest-tests-socket";
    let _ = sys::unlink(path);
    let address = Address::unix(path.to_bytes());
    echo_over(&address)?;
    let second = socket(AF_UNIX, SOCK_STREAM)?;
    check!(bind(second, &address) == Err(Errno(EADDRINUSE)));
    sys::unlink(path)?;
    check!(connect(second, &address) == Err(Errno(ENOENT)));
    Ok(())
}

fn a_unix_socket_that_has_a_name_is_told_first_that_the_new_one_is_taken() -> Outcome {
    let paths = [c"/tmp/guest-tests-bound", c"/tmp/guest-tests-other"];
    for path in paths {
        let _ = sys::unlink(path);
    }
    let bound = socket(AF_UNIX, SOCK_STREAM)?;
    bind(bound, &Address::unix(paths[0].to_bytes()))?;
    check!(bind(bound, &Address::unix(paths[0].to_bytes())) == Err(Errno(EADDRINUSE)));
    check!(bind(bound, &Address::unix(b"/tmp/not-there/x")) == Err(Errno(ENOENT)));
    check!(bind(bound, &Address::unix(paths[1].to_bytes())) == Err(Errno(EINVAL)));
    // Nothing is left of the attempt.
    check!(sys::unlink(paths[1]) == Err(Errno(ENOENT)));
    sys::unlink(paths[0])?;
    Ok(())
}

fn a_unix_stream_connects_by_abstract_name() -> Outcome {
    let address = Address::unix(b"\0guest-tests\0name");
    echo_over(&address)?;
    // The name went with the listener, which echo_over left open in this process only.
    let second = socket(AF_UNIX, SOCK_STREAM)?;
    check!(bind(second, &address) == Err(Errno(EADDRINUSE)));
    check!(connect(second, &Address::unix(b"\0guest-tests-nobody")) == Err(Errno(ECONNREFUSED)));
    Ok(())
}

fn a_path_without_a_listener_is_refused() -> Outcome {
    let path = c"/tmp/guest-tests-deaf";
    let _ = sys::unlink(path);
    let address = Address::unix(path.to_bytes());
    let bound = socket(AF_UNIX, SOCK_STREAM)?;
    bind(bound, &address)?;
    let client = socket(AF_UNIX, SOCK_STREAM)?;
    check!(connect(client, &address) == Err(Errno(ECONNREFUSED)));
    sys::close(bound)?;
    check!(connect(client, &address) == Err(Errno(ECONNREFUSED)));
    sys::unlink(path)?;
    sys::close(sys::open(path, O_CREAT | O_RDWR, 0o600)?)?;
    check!(connect(client, &address) == Err(Errno(ECONNREFUSED)));
    sys::unlink(path)?;
    Ok(())
}

fn a_record_that_does_not_fit_is_cut_and_told() -> Outcome {
    for kind in [SOCK_DGRAM, SOCK_SEQPACKET] {
        let pair = socketpair(kind)?;
        let mut buffer = [0u8; 4];
        check!(send(pair[0], b"123456789", 0)? == 9);
        check!(send(pair[0], b"ab", 0)? == 2);
        let (count, flags, _) = recvmsg(pair[1], &mut buffer, &mut Control::default(), 0, 0)?;
        check!(count == 4 && flags & MSG_TRUNC != 0);
        check!(recv(pair[1], &mut buffer, MSG_PEEK | MSG_TRUNC)? == 2);
        check!(recv(pair[1], &mut buffer, 0)? == 2);
        check!(recv(pair[1], &mut buffer, MSG_DONTWAIT) == Err(Errno::AGAIN));
    }
    Ok(())
}

fn scm_rights_passes_an_open_file() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    let pipe = sys::pipe(0)?;
    check!(sendmsg(pair[0], b"x", &Control::new(SCM_RIGHTS, &[pipe[0], pipe[1]]), 0)? == 1);
    sys::close(pipe[1])?;
    let mut control = Control::default();
    let mut buffer = [0u8; 4];
    let (count, flags, len) = recvmsg(pair[1], &mut buffer, &mut control, 48, MSG_CMSG_CLOEXEC)?;
    check!(count == 1 && flags == MSG_CMSG_CLOEXEC && len == 24);
    check!((control.len, control.level, control.kind) == (24, SOL_SOCKET, SCM_RIGHTS));
    let [reader, writer] = [control.data[0], control.data[1]];
    sys::write_all(writer, b"through")?;
    let mut buffer = [0u8; 8];
    check!(sys::read(reader, &mut buffer)? == 7);
    // SAFETY: touches no memory.
    let flags = sys::check(unsafe { syscall3(__NR_fcntl as usize, reader as usize, F_GETFD as usize, 0) })?;
    check!(flags == FD_CLOEXEC as usize);
    sys::close(writer)?;
    // No copy of the write end is left anywhere.
    check!(sys::read(reader, &mut buffer)? == 0);
    Ok(())
}

fn scm_rights_without_room_is_told_and_leaks_nothing() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    let pipe = sys::pipe(0)?;
    let mut buffer = [0u8; 8];
    let mut control = Control::default();
    let two = Control::new(SCM_RIGHTS, &[pipe[1], pipe[1]]);
    sendmsg(pair[0], b"a", &two, 0)?;
    let (_, flags, len) = recvmsg(pair[1], &mut buffer, &mut control, 0, 0)?;
    check!(flags == MSG_CTRUNC && len == 0);
    sendmsg(pair[0], b"b", &two, 0)?;
    let (_, flags, len) = recvmsg(pair[1], &mut buffer, &mut control, 20, 0)?;
    check!(flags == MSG_CTRUNC && len == 20 && control.len == 20);
    sys::close(control.data[0])?;
    sendmsg(pair[0], b"c", &two, 0)?;
    check!(recv(pair[1], &mut buffer, 0)? == 1);
    sys::close(pipe[1])?;
    check!(sys::read(pipe[0], &mut buffer)? == 0);
    check!(sendmsg(pair[0], b"d", &Control::new(SCM_RIGHTS, &[1000]), 0) == Err(Errno(EBADF)));
    Ok(())
}

fn scm_rights_past_the_descriptor_limit_is_cut() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    let pipe = sys::pipe(0)?;
    let limit = [pipe[1] as u64 + 2; 2];
    // SAFETY: the new limit is readable, and the old one not asked for.
    sys::check(unsafe {
        rt::syscall4(__NR_prlimit64 as usize, 0, RLIMIT_NOFILE as usize, limit.as_ptr() as usize, 0)
    })?;
    sendmsg(pair[0], b"a", &Control::new(SCM_RIGHTS, &[pipe[0], pipe[0], pipe[0]]), 0)?;
    let mut control = Control::default();
    let (count, flags, len) = recvmsg(pair[1], &mut [0; 8], &mut control, 48, 0)?;
    check!(count == 1 && flags == MSG_CTRUNC);
    check!(control.len == 20 && control.data[0] == pipe[1] + 1);
    check!(len == 24);
    check!(accept(pair[0], 0).is_err());
    Ok(())
}

fn scm_credentials_name_the_sender() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    set_option(pair[1], SOL_SOCKET, SO_PASSCRED, &1i32)?;
    sys::write_all(pair[0], b"who")?;
    let mut control = Control::default();
    let (count, flags, len) = recvmsg(pair[1], &mut [0; 8], &mut control, 48, 0)?;
    check!(count == 3 && flags == 0 && len == 32);
    check!((control.len, control.kind) == (28, SCM_CREDENTIALS));
    check!(control.data[0] == sys::getpid());
    let lie = Control::new(SCM_CREDENTIALS, &[sys::getpid()]);
    check!(sendmsg(pair[0], b"x", &lie, 0) == Err(Errno(EINVAL)));
    Ok(())
}

fn writing_to_a_closed_peer_is_sigpipe_and_epipe() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    sys::close(pair[1])?;
    check!(send(pair[0], b"x", MSG_NOSIGNAL) == Err(Errno(EPIPE)));
    for plain in [true, false] {
        let child = in_child(|| {
            if plain {
                let _ = sys::write(pair[0], b"x");
            } else {
                let _ = send(pair[0], b"x", 0);
            }
            Ok(())
        })?;
        check!(sys::wait4(child, 0)? == (child, SIGPIPE as i32));
    }
    // Sockets that keep messages apart give the error alone.
    let pair = socketpair(SOCK_SEQPACKET)?;
    sys::close(pair[1])?;
    check!(send(pair[0], b"x", 0) == Err(Errno(EPIPE)));
    check!(sys::write(pair[0], b"x") == Err(Errno(EPIPE)));
    Ok(())
}

fn a_peek_leaves_the_bytes() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    let mut buffer = [0u8; 8];
    check!(recv(pair[1], &mut buffer, MSG_PEEK | MSG_DONTWAIT) == Err(Errno::AGAIN));
    sys::write_all(pair[0], b"peek")?;
    for flags in [MSG_PEEK, MSG_PEEK, 0] {
        check!(recv(pair[1], &mut buffer, flags)? == 4);
        check!(&buffer[..4] == b"peek");
    }
    check!(recv(pair[1], &mut buffer, MSG_DONTWAIT) == Err(Errno::AGAIN));
    Ok(())
}

fn a_wait_for_all_gathers_pieces() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    let child = in_child(|| {
        for piece in [&b"ab"[..], b"cd", b"ef", b"g"] {
            sys::sleep_ms(20);
            sys::write_all(pair[0], piece)?;
        }
        Ok(())
    })?;
    sys::close(pair[0])?;
    let mut buffer = [0u8; 6];
    check!(recv(pair[1], &mut buffer, MSG_WAITALL)? == 6);
    check!(&buffer == b"abcdef");
    check!(recv(pair[1], &mut buffer, MSG_WAITALL)? == 1);
    sys::wait4(child, 0)?;
    Ok(())
}

fn a_receive_timeout_is_eagain() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    set_option(pair[0], SOL_SOCKET, SO_RCVTIMEO_OLD, &[0i64, 50_000])?;
    let before = sys::clock_ns(CLOCK_MONOTONIC);
    check!(recv(pair[0], &mut [0; 4], 0) == Err(Errno::AGAIN));
    check!(sys::read(pair[0], &mut [0; 4]) == Err(Errno::AGAIN));
    check!(sys::clock_ns(CLOCK_MONOTONIC) - before >= 100_000_000);
    let (listener, _) = tcp_listener()?;
    set_option(listener, SOL_SOCKET, SO_RCVTIMEO_OLD, &[0i64, 20_000])?;
    check!(accept(listener, 0) == Err(Errno::AGAIN));
    Ok(())
}

extern "C" fn ignore(_: i32, _: *mut siginfo_t, _: *mut core::ffi::c_void) {}

fn a_signal_ends_a_wait_with_a_timeout() -> Outcome {
    let pair = socketpair(SOCK_STREAM)?;
    signal::handle(SIGUSR1, ignore, SA_RESTART)?;
    let me = sys::getpid();
    let child = in_child(|| {
        for _ in 0..2 {
            sys::sleep_ms(50);
            signal::kill(me, SIGUSR1)?;
        }
        sys::sleep_ms(50);
        sys::write_all(pair[1], b"end")?;
        Ok(())
    })?;
    let mut buffer = [0u8; 4];
    set_option(pair[0], SOL_SOCKET, SO_RCVTIMEO_OLD, &[10i64, 0])?;
    check!(recv(pair[0], &mut buffer, 0) == Err(Errno::INTR));
    // Without a limit it is restarted.
    set_option(pair[0], SOL_SOCKET, SO_RCVTIMEO_OLD, &[0i64, 0])?;
    check!(recv(pair[0], &mut buffer, 0)? == 3);
    sys::wait4(child, 0)?;
    Ok(())
}

/// Reads `fd` to its end: how many bytes came.
pub fn drain(fd: i32) -> Result<usize, Errno> {
    let mut buffer = [0u8; 4096];
    let mut total = 0;
    loop {
        match sys::read(fd, &mut buffer)? {
            0 => return Ok(total),
            count => total += count,
        }
    }
}

fn a_big_send_goes_on_until_all_is_taken() -> Outcome {
    const SIZE: usize = 3 << 20;
    let memory = sys::mmap_anonymous(SIZE)?;
    // SAFETY: mapped just now, for as long as the process lives.
    let bytes = unsafe { core::slice::from_raw_parts(memory, SIZE) };
    let (listener, address) = tcp_listener()?;
    for tcp in [false, true] {
        let pair = if tcp {
            let client = socket(AF_INET, SOCK_STREAM)?;
            connect(client, &address)?;
            [client, accept(listener, 0)?]
        } else {
            socketpair(SOCK_STREAM)?
        };
        let child = in_child(|| {
            sys::close(pair[0])?;
            sys::sleep_ms(10);
            check!(drain(pair[1])? == SIZE);
            Ok(())
        })?;
        sys::close(pair[1])?;
        check!(send(pair[0], bytes, 0)? == SIZE);
        sys::close(pair[0])?;
        check!(sys::wait4(child, 0)? == (child, 0));
    }
    Ok(())
}

fn what_is_no_socket_is_enotsock() -> Outcome {
    let pipe = sys::pipe(0)?;
    let any = Address::loopback(0);
    let none = Err(Errno(ENOTSOCK));
    check!(bind(pipe[0], &any) == none && listen(pipe[0], 1) == none && connect(pipe[0], &any) == none);
    check!(shutdown(pipe[0], 0) == none && set_option(pipe[0], 1, 2, &0i32) == none);
    check!(send(pipe[1], b"x", 0) == Err(Errno(ENOTSOCK)));
    check!(recv(pipe[0], &mut [0; 4], 0) == Err(Errno(ENOTSOCK)));
    check!(accept(pipe[0], 0) == Err(Errno(ENOTSOCK)) && option(pipe[0], 4) == Err(Errno(ENOTSOCK)));
    check!(bind(999, &any) == Err(Errno(EBADF)) && send(999, b"x", 0) == Err(Errno(EBADF)));
    Ok(())
}

fn bad_arguments_are_refused_in_order() -> Outcome {
    check!(socket(AF_INET, SOCK_STREAM | 0x100) == Err(Errno(EINVAL)));
    check!(socket(999, SOCK_STREAM) == Err(Errno(EAFNOSUPPORT)));
    check!(socket(AF_UNIX, 9) == Err(Errno(ESOCKTNOSUPPORT)));
    let stream = socket(AF_INET, SOCK_STREAM)?;
    let mut address = Address::loopback(0);
    address.len = u32::MAX;
    check!(bind(stream, &address) == Err(Errno(EINVAL)));
    address.len = 8;
    check!(connect(stream, &address) == Err(Errno(EINVAL)));
    check!(accept(stream, 0) == Err(Errno(EINVAL)));
    check!(getpeername(stream).err() == Some(Errno(ENOTCONN)));
    check!(recv(stream, &mut [0; 4], 0) == Err(Errno(ENOTCONN)));
    // SAFETY: the kernel refuses the addresses.
    let bind_nowhere = unsafe { syscall3(__NR_bind as usize, stream as usize, 8, 16) };
    check!(sys::check(bind_nowhere) == Err(Errno(EFAULT)));
    let pair = socketpair(SOCK_STREAM)?;
    // SAFETY: as above.
    let message_nowhere = unsafe { syscall3(__NR_sendmsg as usize, pair[0] as usize, 8, 0) };
    check!(sys::check(message_nowhere) == Err(Errno(EFAULT)));
    check!(set_option(stream, SOL_SOCKET, SO_REUSEADDR, &1u8) == Err(Errno(EINVAL)));
    check!(set_option(stream, SOL_SOCKET, 9999, &1u32) == Err(Errno(ENOPROTOOPT)));
    Ok(())
}

fn a_message_reaches_pages_that_were_never_touched() -> Outcome {
    let pair = socketpair(SOCK_DGRAM)?;
    let fresh = sys::mmap_anonymous(4 << 12)?;
    check!(send(pair[0], &[7; 5000], 0)? == 5000);
    // SAFETY: mapped just now; the message spans its pages, which are absent.
    let buffer = unsafe { core::slice::from_raw_parts_mut(fresh, 4 << 12) };
    check!(recv(pair[1], buffer, 0)? == 5000);
    check!(buffer[..5000].iter().all(|byte| *byte == 7));
    // The address and its length lie on pages of their own, and a message of a stream in between.
    let (listener, address) = tcp_listener()?;
    let client = socket(AF_INET, SOCK_STREAM)?;
    connect(client, &address)?;
    let place = sys::mmap_anonymous(2 << 12)? as usize;
    // SAFETY: both lie in the mapping; the length is written first.
    let server = unsafe {
        let len = (place + 4096) as *mut u32;
        len.write(16);
        let server = sys::check(syscall3(__NR_accept as usize, listener as usize, place, len as usize))?;
        check!(len.read() == 16);
        server as i32
    };
    // SAFETY: as above.
    let port = unsafe { u16::from_be(((place + 2) as *const u16).read()) };
    check!(port == getsockname(client)?.port());
    sys::write_all(client, &[3; 10000])?;
    let stream = sys::mmap_anonymous(4 << 12)?;
    // SAFETY: as above.
    let buffer = unsafe { core::slice::from_raw_parts_mut(stream, 10000) };
    check!(recv(server, buffer, MSG_WAITALL)? == 10000);
    check!(buffer.iter().all(|byte| *byte == 3));
    Ok(())
}

fn sendmmsg_and_recvmmsg_count_messages() -> Outcome {
    let pair = socketpair(SOCK_DGRAM)?;
    let mut bytes = [[1u8; 8], [2u8; 8], [0u8; 8], [0u8; 8]];
    let iovs = bytes.each_mut().map(|bytes| [bytes.as_mut_ptr() as usize, 8]);
    // A header of seven words, and the length.
    let vector = |from: usize| [0, 1].map(|i| [0usize, 0, iovs[from + i].as_ptr() as usize, 1, 0, 0, 0, 99]);
    let mut sent = vector(0);
    // SAFETY: headers, vectors and bytes live until the end.
    let count = sys::check(unsafe {
        rt::syscall4(__NR_sendmmsg as usize, pair[0] as usize, sent.as_mut_ptr() as usize, 2, 0)
    })?;
    check!(count == 2 && sent[0][7] as u32 == 8 && sent[1][7] as u32 == 8);
    let mut got = vector(2);
    // SAFETY: as above.
    let count = sys::check(unsafe {
        rt::syscall5(__NR_recvmmsg as usize, pair[1] as usize, got.as_mut_ptr() as usize, 2, 0x10000, 0)
    })?;
    check!(count == 2 && got[1][7] as u32 == 8);
    check!(bytes[2] == [1; 8] && bytes[3] == [2; 8]);
    Ok(())
}
