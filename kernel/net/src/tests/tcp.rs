//! tcp(7), as far as one machine can see it.

use super::*;
use crate::socket::Shutdown;
use linux_raw_sys::net as abi;

const SOL_SOCKET: i32 = 1;

#[test]
fn bytes_go_both_ways() {
    for at in [v4(0), v6(0)] {
        let (net, p) = (net(), Process::new());
        let (server, address) = p.server(&net, &at, 8);
        assert_eq!(p.accept(&*server).err(), Some(Error::WouldBlock));
        let client = p.socket(&net, if matches!(at, Address::Inet4(_)) { 2 } else { 10 }, 1);
        assert_eq!(p.poll(&*server), Events::empty());
        p.connect(&*client, &address).unwrap();
        assert!(p.poll(&*server).contains(Events::IN));
        let accepted = p.accept(&*server).unwrap();
        assert_eq!(accepted.peer(), client.local());
        assert_eq!(client.peer(), accepted.local());
        for _ in 0..100 {
            assert_eq!(p.write(&*client, b"ping"), Ok(4));
            assert_eq!(p.read(&*accepted, 100).unwrap(), b"ping");
            assert_eq!(p.write(&*accepted, b"pong!"), Ok(5));
            assert_eq!(p.read(&*client, 3).unwrap(), b"pon");
            assert_eq!(p.read(&*client, 100).unwrap(), b"g!");
            assert_eq!(p.read(&*client, 100), Err(Error::WouldBlock));
        }
    }
}

#[test]
fn a_v6_wildcard_takes_v4_unless_told_not_to() {
    let (net, p) = (net(), Process::new());
    let any = Address::Inet6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 5000, 0, 0));
    let (server, _) = p.server(&net, &any, 8);
    let client = p.socket(&net, 2, 1);
    p.connect(&*client, &v4(5000)).unwrap();
    let accepted = p.accept(&*server).unwrap();
    assert!(matches!(accepted.peer(), Ok(Address::Inet6(a)) if a.ip().to_ipv4_mapped() == Some(Ipv4Addr::LOCALHOST)));
    let other = p.socket(&net, 10, 1);
    p.set(&*other, 41, 26, 1).unwrap();
    let any = Address::Inet6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 5001, 0, 0));
    p.bind(&*other, &any).unwrap();
    p.listen(&*other, 1).unwrap();
    let client = p.socket(&net, 2, 1);
    assert_eq!(errno(p.connect(&*client, &v4(5001))), Errno::ECONNREFUSED);
}

#[test]
fn a_port_without_listener_refuses() {
    let (net, mut p) = (net(), Process::new());
    let client = p.socket(&net, 2, 1);
    assert_eq!(errno(p.connect(&*client, &v4(81))), Errno::ECONNREFUSED);
    p.nonblock = true;
    let client = p.socket(&net, 2, 1);
    assert_eq!(errno(p.connect(&*client, &v4(81))), Errno::EINPROGRESS);
    assert!(p.poll(&*client).contains(Events::ERR | Events::HUP | Events::OUT));
    let mut error = [0; 4];
    client.get_option(SOL_SOCKET, abi::SO_ERROR as i32, &mut error).unwrap();
    assert_eq!(i32::from_ne_bytes(error), i32::from(Errno::ECONNREFUSED.get()));
}

#[test]
fn a_connect_that_does_not_wait_ends_by_poll() {
    let (net, mut p) = (net(), Process::new());
    let (_server, address) = p.server(&net, &v4(0), 8);
    p.nonblock = true;
    let client = p.socket(&net, 2, 1);
    assert_eq!(errno(p.connect(&*client, &address)), Errno::EINPROGRESS);
    assert!(p.poll(&*client).contains(Events::OUT));
    assert_eq!(p.connect(&*client, &address), Ok(()));
    assert_eq!(errno(p.connect(&*client, &address)), Errno::EISCONN);
}

#[test]
fn a_half_closed_connection_goes_on_the_other_way() {
    let (net, p) = (net(), Process::new());
    let (client, accepted) = p.tcp_pair(&net);
    p.write(&*client, b"last").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(errno(p.write(&*client, b"x")), Errno::EPIPE);
    assert_eq!(p.read(&*accepted, 10).unwrap(), b"last");
    assert_eq!(p.read(&*accepted, 10).unwrap(), b"");
    let events = p.poll(&*accepted);
    assert!(events.contains(Events::IN | Events::RDHUP | Events::OUT) && !events.contains(Events::HUP));
    p.write(&*accepted, b"answer").unwrap();
    assert_eq!(p.read(&*client, 10).unwrap(), b"answer");
    accepted.close();
    assert_eq!(p.read(&*client, 10).unwrap(), b"");
    assert!(p.poll(&*client).contains(Events::HUP));
}

#[test]
fn both_ends_may_close_at_once() {
    let (net, p) = (net(), Process::new());
    let (client, accepted) = p.tcp_pair(&net);
    client.shutdown(Shutdown::Write).unwrap();
    accepted.shutdown(Shutdown::Write).unwrap();
    client.close();
    accepted.close();
    let (open, resting) = net.inet.connections();
    assert_eq!((open.len(), resting.len()), (0, 1));
    pass(61_000);
    net.inet.end_rests(NOW.get());
    assert_eq!(net.inet.connections().1.len(), 0);
}

#[test]
fn closing_with_unread_data_resets() {
    let (net, p) = (net(), Process::new());
    let (client, accepted) = p.tcp_pair(&net);
    p.write(&*client, b"unread").unwrap();
    accepted.close();
    assert!(p.poll(&*client).contains(Events::ERR | Events::HUP));
    assert_eq!(errno(p.read(&*client, 1)), Errno::ECONNRESET);
    assert_eq!(p.read(&*client, 1).unwrap(), b"");
    assert_eq!(errno(p.write(&*client, b"x")), Errno::EPIPE);
    assert_eq!(net.inet.connections().0.len(), 0);
}

#[test]
fn writing_to_a_closed_peer_resets_then_breaks() {
    let (net, p) = (net(), Process::new());
    let (client, accepted) = p.tcp_pair(&net);
    accepted.close();
    assert_eq!(p.write(&*client, b"one"), Ok(3));
    assert_eq!(errno(p.write(&*client, b"two")), Errno::EPIPE);
}

#[test]
fn linger_zero_resets() {
    let (net, p) = (net(), Process::new());
    let (client, accepted) = p.tcp_pair(&net);
    let mut value = [0; 8];
    value[0] = 1;
    p.with(|cx| client.set_option(cx, SOL_SOCKET, abi::SO_LINGER as i32, &value)).unwrap();
    client.close();
    assert_eq!(errno(p.read(&*accepted, 1)), Errno::ECONNRESET);
    assert_eq!(net.inet.connections().0.len() + net.inet.connections().1.len(), 0);
}

#[test]
fn a_full_backlog_makes_clients_wait() {
    let (net, mut p) = (net(), Process::new());
    let (server, address) = p.server(&net, &v4(0), 1);
    p.nonblock = true;
    let clients: Vec<_> = (0..4).map(|_| p.socket(&net, 2, 1)).collect();
    for client in &clients {
        assert_eq!(errno(p.connect(&**client, &address)), Errno::EINPROGRESS);
    }
    let ready = |p: &Process| clients.iter().filter(|c| p.poll(&***c).contains(Events::OUT)).count();
    assert_eq!(ready(&p), 2);
    let first = p.accept(&*server).unwrap();
    pass(1100);
    assert_eq!(ready(&p), 3);
    drop(first);
    p.accept(&*server).unwrap();
    pass(4000);
    assert_eq!(ready(&p), 4);
}

#[test]
fn a_listener_that_closes_resets_what_it_had_not_accepted() {
    let (net, p) = (net(), Process::new());
    let (server, address) = p.server(&net, &v4(0), 8);
    let client = p.socket(&net, 2, 1);
    p.connect(&*client, &address).unwrap();
    server.close();
    assert_eq!(errno(p.read(&*client, 1)), Errno::ECONNRESET);
    let late = p.socket(&net, 2, 1);
    assert_eq!(errno(p.connect(&*late, &address)), Errno::ECONNREFUSED);
}

#[test]
fn ports_are_shared_only_as_allowed() {
    let (net, mut p) = (net(), Process::new());
    let (_server, _) = p.server(&net, &v4(6379), 8);
    let other = p.socket(&net, 2, 1);
    assert_eq!(errno(p.bind(&*other, &v4(6379))), Errno::EADDRINUSE);
    p.set(&*other, SOL_SOCKET, abi::SO_REUSEADDR, 1).unwrap();
    assert_eq!(errno(p.bind(&*other, &v4(6379))), Errno::EADDRINUSE);
    let (a, b) = (p.socket(&net, 2, 1), p.socket(&net, 2, 1));
    for socket in [&a, &b] {
        p.set(&**socket, SOL_SOCKET, abi::SO_REUSEPORT, 1).unwrap();
        p.bind(&**socket, &v4(7000)).unwrap();
        p.listen(&**socket, 8).unwrap();
    }
    let elsewhere = Address::Inet4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 80));
    assert_eq!(errno(p.bind(&*p.socket(&net, 2, 1), &elsewhere)), Errno::EADDRNOTAVAIL);
    p.cred.effective = 0;
    assert_eq!(errno(p.bind(&*p.socket(&net, 2, 1), &v4(80))), Errno::EACCES);
}

#[test]
fn a_server_restarts_at_once_with_reuseaddr() {
    let (net, p) = (net(), Process::new());
    let server = p.socket(&net, 2, 1);
    p.set(&*server, SOL_SOCKET, abi::SO_REUSEADDR, 1).unwrap();
    p.bind(&*server, &v4(6379)).unwrap();
    p.listen(&*server, 8).unwrap();
    let client = p.socket(&net, 2, 1);
    p.connect(&*client, &v4(6379)).unwrap();
    let accepted = p.accept(&*server).unwrap();
    accepted.close();
    client.close();
    server.close();
    let strict = p.socket(&net, 2, 1);
    assert_eq!(errno(p.bind(&*strict, &v4(6379))), Errno::EADDRINUSE);
    let again = p.socket(&net, 2, 1);
    p.set(&*again, SOL_SOCKET, abi::SO_REUSEADDR, 1).unwrap();
    p.bind(&*again, &v4(6379)).unwrap();
    p.listen(&*again, 8).unwrap();
    pass(61_000);
    net.inet.end_rests(NOW.get());
}

#[test]
fn a_dead_peer_is_found_by_keepalive() {
    let (net, p) = (net(), Process::new());
    let (client, accepted) = p.tcp_pair(&net);
    p.set(&*client, SOL_SOCKET, abi::SO_KEEPALIVE, 1).unwrap();
    p.set(&*client, 6, abi::TCP_KEEPIDLE, 10).unwrap();
    p.set(&*client, 6, abi::TCP_KEEPINTVL, 2).unwrap();
    p.set(&*client, 6, abi::TCP_KEEPCNT, 3).unwrap();
    pass(60_000);
    assert_eq!(p.read(&*client, 1), Err(Error::WouldBlock), "a live peer answers");
    LOSS.set(1);
    pass(20_000);
    assert_eq!(errno(p.read(&*client, 1)), Errno::ETIMEDOUT);
    LOSS.set(0);
    drop(accepted);
}

#[test]
fn every_arrival_and_every_room_is_told() {
    let (net, p) = (net(), Process::new());
    let (client, accepted) = p.tcp_pair(&net);
    let (at_client, at_server) = (observe(&*client), observe(&*accepted));
    for _ in 0..5 {
        p.write(&*client, b"x").unwrap();
        assert!(at_server.take().contains(Events::IN), "nothing was read, and yet each arrival is told");
    }
    at_client.take();
    let mut written = 0;
    loop {
        match p.write(&*client, &[1; 10_000]) {
            Ok(n) => written += n,
            Err(error) => break assert_eq!(error, Error::WouldBlock),
        }
    }
    assert!(written > 200_000);
    assert!(!p.poll(&*client).contains(Events::OUT));
    at_client.take();
    let mut left = written + 5;
    while left > 0 {
        left -= p.read(&*accepted, 65536).unwrap().len();
    }
    pass(100);
    assert!(at_client.take().contains(Events::OUT));
    accepted.close();
    assert!(at_client.take().contains(Events::IN | Events::RDHUP));
}

#[test]
fn corked_bytes_go_out_together() {
    let (net, p) = (net(), Process::new());
    let (client, accepted) = p.tcp_pair(&net);
    p.set(&*client, 6, abi::TCP_CORK, 1).unwrap();
    p.write(&*client, b"head").unwrap();
    assert_eq!(p.read(&*accepted, 10), Err(Error::WouldBlock));
    p.write(&*client, b"body").unwrap();
    p.set(&*client, 6, abi::TCP_CORK, 0).unwrap();
    assert_eq!(p.read(&*accepted, 10).unwrap(), b"headbody");
    p.send(&*client, b"a", &mut SendArgs { flags: MsgFlags::MORE, ..Default::default() }).unwrap();
    assert_eq!(p.read(&*accepted, 10), Err(Error::WouldBlock));
    pass(250);
    assert_eq!(p.read(&*accepted, 10).unwrap(), b"a");
}

#[test]
fn a_thousand_connections_come_and_go() {
    let (net, p) = (net(), Process::new());
    let (server, address) = p.server(&net, &v4(0), 128);
    let mut ends = Vec::new();
    for i in 0..1000u32 {
        let client = p.socket(&net, 2, 1);
        p.connect(&*client, &address).unwrap();
        let accepted = p.accept(&*server).unwrap();
        p.write(&*client, &i.to_ne_bytes()).unwrap();
        ends.push((client, accepted));
    }
    for (i, (client, accepted)) in ends.iter().enumerate() {
        assert_eq!(p.read(&**accepted, 9).unwrap(), (i as u32).to_ne_bytes());
        p.write(&**accepted, b"ok").unwrap();
        assert_eq!(p.read(&**client, 9).unwrap(), b"ok");
    }
    let mut text = String::new();
    net.show_tcp(false, &mut text).unwrap();
    assert_eq!(text.lines().count(), 2002);
    drop(ends);
    assert_eq!(net.inet.connections().0.len(), 0);
}

#[test]
fn a_socket_that_cannot_be_is_refused_exactly() {
    let (net, p) = (net(), Process::new());
    let make = |family, kind, protocol| net.socket(&p.caller(), family, kind, protocol).map(drop);
    assert_eq!(errno(make(16, 3, 0)), Errno::EAFNOSUPPORT);
    assert_eq!(errno(make(99, 1, 0)), Errno::EAFNOSUPPORT);
    assert_eq!(errno(make(2, 11, 0)), Errno::EINVAL);
    assert_eq!(errno(make(2, 1, 17)), Errno::EPROTONOSUPPORT);
    assert_eq!(errno(make(2, 5, 0)), Errno::ESOCKTNOSUPPORT);
    assert_eq!(errno(make(1, 1, 6)), Errno::EPROTONOSUPPORT);
    assert_eq!(make(1, 3, 0), Ok(()));
    assert_eq!(errno(net.socket_pair(&p.caller(), 2, 1, 0).map(drop)), Errno::EOPNOTSUPP);
}
