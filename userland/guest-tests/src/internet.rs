//! Internet sockets over loopback: TCP and UDP.

use rt::println;
use rt::raw::errno::*;
use rt::raw::general::*;
use rt::raw::net::*;
use rt::sys::{self, Errno};

use crate::net::{self, *};
use crate::sockets::{drain, in_child, tcp_listener};
use crate::{Outcome, check, tests};

tests! {
    tcp_carries_bytes_over_loopback,
    a_nonblocking_connect_is_seen_by_epoll,
    a_refused_connect_shows_in_so_error,
    shutdown_ends_one_direction,
    a_close_that_lingers_waits_for_what_was_written,
    udp_keeps_messages_apart_and_names_the_sender,
    a_hundred_connections_are_served_by_one_epoll,
}

fn tcp_carries_bytes_over_loopback() -> Outcome {
    let (listener, address) = tcp_listener()?;
    let child = in_child(|| {
        let client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC)?;
        connect(client, &address)?;
        check!(connect(client, &address) == Err(Errno(EISCONN)));
        check!(getpeername(client)?.port() == address.port());
        set_option(client, IPPROTO_TCP as u32, TCP_NODELAY, &1i32)?;
        let mut buffer = [0u8; 16];
        for i in 0..100u8 {
            sys::write_all(client, &[i; 16])?;
            check!(recv(client, &mut buffer, MSG_WAITALL)? == 16);
            check!(buffer == [i; 16]);
        }
        Ok(())
    })?;
    let (server, from) = accept_from(listener)?;
    check!(from.len == 16 && from.bytes[4..8] == [127, 0, 0, 1]);
    let mut buffer = [0u8; 16];
    loop {
        match sys::read(server, &mut buffer)? {
            0 => break,
            count => sys::write_all(server, &buffer[..count])?,
        }
    }
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}

fn a_nonblocking_connect_is_seen_by_epoll() -> Outcome {
    let (listener, address) = tcp_listener()?;
    let client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK)?;
    let epoll = net::epoll()?;
    check!(connect(client, &address) == Err(Errno(EINPROGRESS)));
    epoll_add(epoll, client, EPOLLOUT | EPOLLET)?;
    let mut events = [NO_EVENT; 4];
    check!(epoll_wait(epoll, &mut events, 5000)? == 1);
    check!(events[0].events & EPOLLOUT != 0 && events[0].events & EPOLLERR == 0);
    check!(option(client, SO_ERROR)? == 0);
    check!(getpeername(client)?.port() == address.port());
    let server = accept(listener, SOCK_NONBLOCK)?;
    check!(recv(server, &mut [0; 4], 0) == Err(Errno::AGAIN));
    check!(accept(listener, 0x1234) == Err(Errno(EINVAL)));
    Ok(())
}

fn a_refused_connect_shows_in_so_error() -> Outcome {
    // A port that is bound and does not listen.
    let holder = socket(AF_INET, SOCK_STREAM)?;
    bind(holder, &Address::loopback(0))?;
    let address = getsockname(holder)?;
    let client = socket(AF_INET, SOCK_STREAM)?;
    check!(connect(client, &address) == Err(Errno(ECONNREFUSED)));
    let client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK)?;
    let first = connect(client, &address);
    check!(first == Err(Errno(EINPROGRESS)));
    let mut wait = [pollfd { fd: client, events: POLLOUT as i16, revents: 0 }];
    check!(sys::poll(&mut wait, 5000)? == 1);
    check!(wait[0].revents & POLLERR as i16 != 0);
    check!(option(client, SO_ERROR)? == ECONNREFUSED as i32);
    check!(option(client, SO_ERROR)? == 0);
    Ok(())
}

fn shutdown_ends_one_direction() -> Outcome {
    let (listener, address) = tcp_listener()?;
    check!(shutdown(socket(AF_INET, SOCK_STREAM)?, SHUT_WR) == Err(Errno(ENOTCONN)));
    let client = socket(AF_INET, SOCK_STREAM)?;
    connect(client, &address)?;
    let server = accept(listener, 0)?;
    let unix = socketpair(SOCK_STREAM)?;
    for [a, b] in [[client, server], unix] {
        sys::write_all(a, b"last")?;
        shutdown(a, SHUT_WR)?;
        check!(shutdown(a, 7) == Err(Errno(EINVAL)));
        check!(drain(b)? == 4);
        check!(send(a, b"x", MSG_NOSIGNAL) == Err(Errno(EPIPE)));
        sys::write_all(b, b"back")?;
        check!(recv(a, &mut [0; 8], 0)? == 4);
    }
    Ok(())
}

/// The other end reads late: what was written is not all there when close(2) begins.
fn a_close_that_lingers_waits_for_what_was_written() -> Outcome {
    let (listener, address) = tcp_listener()?;
    for late in [false, true] {
        let client = socket(AF_INET, SOCK_STREAM)?;
        connect(client, &address)?;
        let server = accept(listener, 0)?;
        set_option(client, SOL_SOCKET, SO_LINGER, &[1, if late { 1 } else { 10 }])?;
        let mut written = 0;
        while let Ok(n) = send(client, &[7; 4096], MSG_DONTWAIT) {
            written += n;
        }
        let closed = sys::pipe(0)?;
        let reader = in_child(|| {
            sys::close(client)?;
            sys::write_all(closed[1], b"x")?;
            sys::sleep_ms(if late { 1500 } else { 200 });
            check!(drain(server)? == written);
            Ok(())
        })?;
        // The child's end goes first, for the last close is what waits.
        check!(sys::read(closed[0], &mut [0])? == 1);
        let from = sys::clock_ns(CLOCK_MONOTONIC);
        sys::close(client)?;
        let took = (sys::clock_ns(CLOCK_MONOTONIC) - from) / 1_000_000;
        println!("close took {took} ms");
        check!(if late { (900..1400).contains(&took) } else { (50..5000).contains(&took) });
        check!(sys::wait4(reader, 0)? == (reader, 0));
        sys::close(server)?;
    }
    Ok(())
}

fn udp_keeps_messages_apart_and_names_the_sender() -> Outcome {
    let a = socket(AF_INET, SOCK_DGRAM)?;
    let b = socket(AF_INET, SOCK_DGRAM)?;
    bind(a, &Address::loopback(0))?;
    bind(b, &Address::loopback(0))?;
    let to = getsockname(b)?;
    check!(send(a, b"x", 0) == Err(Errno(EDESTADDRREQ)));
    check!(send_to(a, b"one", &to)? == 3);
    check!(send_to(a, b"", &to)? == 0);
    check!(send_to(a, b"three", &to)? == 5);
    let mut buffer = [0u8; 8];
    let (count, from) = recv_from(b, &mut buffer)?;
    check!(count == 3 && from.shown() == getsockname(a)?.shown());
    check!(recv_from(b, &mut buffer)?.0 == 0);
    check!(recv(b, &mut buffer[..2], MSG_TRUNC)? == 5);
    check!(&buffer[..2] == b"th");
    connect(b, &from)?;
    check!(send(b, b"back", 0)? == 4);
    check!(recv(a, &mut buffer, 0)? == 4);
    Ok(())
}

/// Connections of the test below.
const MANY: usize = 100;
/// Messages that each sends.
const ROUNDS: usize = 10;

fn a_hundred_connections_are_served_by_one_epoll() -> Outcome {
    let (listener, address) = tcp_listener()?;
    let child = in_child(|| {
        let mut clients = [0; MANY];
        for client in &mut clients {
            *client = socket(AF_INET, SOCK_STREAM)?;
            connect(*client, &address)?;
        }
        for round in 0..ROUNDS {
            for (i, client) in clients.iter().enumerate() {
                check!(send(*client, &[i as u8, round as u8], 0)? == 2);
            }
            for (i, client) in clients.iter().enumerate() {
                let mut answer = [0u8; 2];
                check!(recv(*client, &mut answer, MSG_WAITALL)? == 2);
                check!(answer == [i as u8, round as u8]);
            }
        }
        Ok(())
    })?;
    let epoll = net::epoll()?;
    epoll_add(epoll, listener, EPOLLIN)?;
    let (mut opened, mut closed) = (0, 0);
    let mut events = [NO_EVENT; 16];
    while closed < MANY {
        let count = epoll_wait(epoll, &mut events, 10_000)?;
        check!(count > 0);
        for event in &events[..count] {
            let fd = event.data as i32;
            if fd == listener {
                let client = accept(listener, SOCK_NONBLOCK)?;
                epoll_add(epoll, client, EPOLLIN | EPOLLRDHUP)?;
                opened += 1;
                continue;
            }
            let mut buffer = [0u8; 64];
            match sys::read(fd, &mut buffer) {
                Ok(0) => {
                    sys::close(fd)?;
                    closed += 1;
                }
                Ok(count) => sys::write_all(fd, &buffer[..count])?,
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    check!(opened == MANY);
    check!(sys::wait4(child, 0)? == (child, 0));
    Ok(())
}
