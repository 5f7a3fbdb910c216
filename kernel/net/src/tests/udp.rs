//! udp(7).

use super::*;

#[test]
fn datagrams_keep_their_borders_and_their_sender() {
    let (net, p) = (net(), Process::new());
    let (a, b) = (p.socket(&net, 2, 2), p.socket(&net, 2, 2));
    p.bind(&*b, &v4(5353)).unwrap();
    let to = v4(5353);
    for text in [&b"one"[..], b"", b"three"] {
        p.send(&*a, text, &mut SendArgs { to: Some(&to), ..Default::default() }).unwrap();
    }
    let (bytes, received) = p.recv(&*b, 10, MsgFlags::empty()).unwrap();
    assert_eq!(bytes, b"one");
    let Some(Address::Inet4(from)) = received.from else { panic!() };
    assert_eq!(from.ip(), &Ipv4Addr::LOCALHOST);
    assert_eq!(p.read(&*b, 10).unwrap(), b"");
    let (_, received) = p.recv(&*b, 2, MsgFlags::PEEK).unwrap();
    assert!(received.flags.contains(MsgFlags::TRUNC));
    assert_eq!(p.read(&*b, 10).unwrap(), b"three");
    assert_eq!(p.read(&*b, 10), Err(Error::WouldBlock));
    let back = Address::Inet4(from);
    p.send(&*b, b"reply", &mut SendArgs { to: Some(&back), ..Default::default() }).unwrap();
    assert_eq!(p.read(&*a, 10).unwrap(), b"reply");
}

#[test]
fn a_connected_socket_hears_its_peer_only_and_of_refusal() {
    let (net, p) = (net(), Process::new());
    let (a, b, c) = (p.socket(&net, 2, 2), p.socket(&net, 2, 2), p.socket(&net, 2, 2));
    assert_eq!(errno(p.write(&*a, b"x")), Errno::EDESTADDRREQ);
    p.bind(&*b, &v4(0)).unwrap();
    p.connect(&*a, &b.local().unwrap()).unwrap();
    let at_a = a.local().unwrap();
    p.send(&*c, b"spoof", &mut SendArgs { to: Some(&at_a), ..Default::default() }).unwrap();
    p.send(&*b, b"true", &mut SendArgs { to: Some(&at_a), ..Default::default() }).unwrap();
    assert_eq!(p.read(&*a, 10).unwrap(), b"true");
    b.close();
    assert_eq!(p.write(&*a, b"x"), Ok(1));
    assert!(p.poll(&*a).contains(Events::ERR));
    assert_eq!(errno(p.read(&*a, 10)), Errno::ECONNREFUSED);
}
