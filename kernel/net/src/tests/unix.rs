//! unix(7).

use super::*;
use crate::UnixAddress;
use crate::options::Credential;
use crate::socket::{Passed, Shutdown};
use linux_raw_sys::net as abi;
use vfs::{Description, OpenFlags};

const STREAM: i32 = 1;
const DATAGRAM: i32 = 2;
const SEQPACKET: i32 = 5;

fn pair(net: &Arc<Net>, p: &Process, kind: i32) -> (Arc<dyn Socket>, Arc<dyn Socket>) {
    net.socket_pair(&p.caller(), 1, kind, 0).unwrap()
}

fn name(name: &[u8]) -> Address {
    Address::Unix(UnixAddress::Abstract(name.into()))
}

fn open(socket: Arc<dyn Socket>) -> Passed {
    Description::new(socket, None, OpenFlags::from_bits_retain(2))
}

#[test]
fn a_stream_carries_bytes_and_ends() {
    let (net, p) = (net(), Process::new());
    let (a, b) = pair(&net, &p, STREAM);
    assert_eq!(p.read(&*b, 1), Err(Error::WouldBlock));
    p.write(&*a, b"hello").unwrap();
    p.write(&*a, b" there").unwrap();
    assert_eq!(p.read(&*b, 7).unwrap(), b"hello t");
    assert_eq!(p.recv(&*b, 2, MsgFlags::PEEK).unwrap().0, b"he");
    a.shutdown(Shutdown::Write).unwrap();
    assert_eq!(p.read(&*b, 9).unwrap(), b"here");
    assert_eq!(p.read(&*b, 9).unwrap(), b"");
    assert!(p.poll(&*b).contains(Events::IN | Events::RDHUP | Events::OUT));
    p.write(&*b, b"back").unwrap();
    b.close();
    assert_eq!(p.read(&*a, 9).unwrap(), b"back");
    assert_eq!(errno(p.write(&*a, b"x")), Errno::EPIPE);
    assert!(p.poll(&*a).contains(Events::HUP));
}

#[test]
fn closing_with_unread_data_resets() {
    let (net, p) = (net(), Process::new());
    let (a, b) = pair(&net, &p, STREAM);
    p.write(&*a, b"x").unwrap();
    b.close();
    assert!(p.poll(&*a).contains(Events::ERR | Events::HUP));
    assert_eq!(errno(p.read(&*a, 1)), Errno::ECONNRESET);
    assert_eq!(p.read(&*a, 1).unwrap(), b"");
}

#[test]
fn a_full_stream_blocks_and_tells_of_room() {
    let (net, p) = (net(), Process::new());
    let (a, b) = pair(&net, &p, STREAM);
    let told = observe(&*a);
    let mut written = 0;
    while let Ok(n) = p.write(&*a, &[5; 30_000]) {
        written += n;
    }
    assert_eq!(written, 212_992);
    assert!(!p.poll(&*a).contains(Events::OUT));
    told.take();
    while written > 0 {
        let n = p.read(&*b, 4096).unwrap().len();
        written -= n;
    }
    assert!(told.take().contains(Events::OUT));
    assert!(p.poll(&*a).contains(Events::OUT));
}

#[test]
fn packets_keep_their_borders() {
    let (net, p) = (net(), Process::new());
    let (a, b) = pair(&net, &p, SEQPACKET);
    for text in [&b"one"[..], b"", b"three"] {
        p.write(&*a, text).unwrap();
    }
    let (bytes, received) = p.recv(&*b, 2, MsgFlags::TRUNC).unwrap();
    assert_eq!((bytes.len(), received.len), (2, 3));
    assert!(received.flags.contains(MsgFlags::TRUNC));
    assert_eq!(p.read(&*b, 9).unwrap(), b"");
    assert_eq!(p.read(&*b, 9).unwrap(), b"three");
    assert_eq!(p.read(&*b, 9), Err(Error::WouldBlock));
    assert_eq!(errno(p.write(&*a, &vec![0; 300_000])), Errno::EMSGSIZE);
}

#[test]
fn a_listener_hands_out_connections_with_credentials() {
    let (net, p) = (net(), Process::new());
    let server = p.socket(&net, 1, STREAM);
    assert_eq!(errno(p.listen(&*server, 1)), Errno::EINVAL);
    p.bind(&*server, &name(b"srv")).unwrap();
    assert_eq!(errno(p.bind(&*p.socket(&net, 1, STREAM), &name(b"srv"))), Errno::EADDRINUSE);
    let client = p.socket(&net, 1, STREAM);
    assert_eq!(errno(p.connect(&*client, &name(b"srv"))), Errno::ECONNREFUSED);
    p.listen(&*server, 0).unwrap();
    assert_eq!(errno(p.connect(&*p.socket(&net, 1, SEQPACKET), &name(b"srv"))), Errno::EPROTOTYPE);
    p.connect(&*client, &name(b"srv")).unwrap();
    let late = p.socket(&net, 1, STREAM);
    let told = observe(&*late);
    assert_eq!(p.connect(&*late, &name(b"srv")), Err(Error::WouldBlock));
    let accepted = p.accept(&*server).unwrap();
    assert!(!told.take().is_empty());
    p.connect(&*late, &name(b"srv")).unwrap();
    assert_eq!(accepted.local(), Ok(name(b"srv")));
    assert_eq!(client.peer(), Ok(name(b"srv")));
    let mut cred = [0; 12];
    accepted.get_option(1, abi::SO_PEERCRED as i32, &mut cred).unwrap();
    assert_eq!(cred, Credential { pid: 7, uid: 0, gid: 0 }.to_bytes());
    p.write(&*client, b"x").unwrap();
    assert_eq!(p.read(&*accepted, 1).unwrap(), b"x");
    server.close();
    assert_eq!(errno(p.read(&*late, 1)), Errno::ECONNRESET);
    p.bind(&*p.socket(&net, 1, STREAM), &name(b"srv")).unwrap();
}

#[test]
fn descriptions_are_passed_with_their_byte() {
    let (net, p) = (net(), Process::new());
    for kind in [STREAM, SEQPACKET, DATAGRAM] {
        let (a, b) = pair(&net, &p, kind);
        let (x, y) = pair(&net, &p, STREAM);
        if kind == STREAM {
            p.write(&*a, b"before").unwrap();
        }
        let mut args = SendArgs { rights: vec![open(x)], ..Default::default() };
        p.send(&*a, b"here", &mut args).unwrap();
        assert!(args.rights.is_empty());
        if kind == STREAM {
            p.write(&*a, b"after").unwrap();
            let (bytes, received) = p.recv(&*b, 99, MsgFlags::empty()).unwrap();
            assert_eq!((&bytes[..], received.rights.len()), (&b"before"[..], 0));
        }
        assert_eq!(p.recv(&*b, 99, MsgFlags::PEEK).unwrap().1.rights.len(), 1);
        let (bytes, received) = p.recv(&*b, 99, MsgFlags::empty()).unwrap();
        assert_eq!((&bytes[..], received.rights.len()), (&b"here"[..], 1));
        p.write(&*y, b"through").unwrap();
        let passed = crate::as_socket(&**received.rights[0].file()).unwrap();
        let mut buf = [0; 9];
        assert_eq!(passed.read(&p.caller(), 0, &mut Dst::kernel(&mut buf)), Ok(7));
        drop(received);
        assert_eq!(errno(p.write(&*y, b"x")), Errno::EPIPE, "the last reference closed it");
    }
}

#[test]
fn descriptions_in_flight_are_bounded_and_a_long_chain_is_dropped() {
    let (net, mut p) = (net(), Process::new());
    p.cred.effective = 0;
    let (keep, _other) = pair(&net, &p, STREAM);
    let file = open(keep);
    let (a, b) = pair(&net, &p, STREAM);
    let refused = (0..2000).find_map(|_| {
        let mut args = SendArgs { rights: vec![file.clone()], ..Default::default() };
        p.send(&*a, b"x", &mut args).err()
    });
    assert_eq!(refused, Some(Errno::ETOOMANYREFS.into()));
    drop((a, b));
    // A socket in a socket in a socket ...
    p.cred = Credentials::root();
    let (mut a, mut b) = pair(&net, &p, STREAM);
    for _ in 0..50_000 {
        let (outer, inner) = pair(&net, &p, STREAM);
        p.send(&*outer, b"x", &mut SendArgs { rights: vec![open(b), open(a)], ..Default::default() }).unwrap();
        (a, b) = (outer, inner);
    }
    drop((a, b));
    assert_eq!(net.unix.all().len(), 2);
}

#[test]
fn credentials_are_told_to_who_asks() {
    let (net, p) = (net(), Process::new());
    let (a, b) = pair(&net, &p, STREAM);
    p.set(&*b, 1, abi::SO_PASSCRED, 1).unwrap();
    p.write(&*a, b"one").unwrap();
    p.write(&*a, b"two").unwrap();
    let (bytes, received) = p.recv(&*b, 99, MsgFlags::empty()).unwrap();
    assert_eq!(bytes, b"onetwo");
    assert_eq!(received.credential, Some(Credential { pid: 7, uid: 0, gid: 0 }));
}

#[test]
fn datagrams_wait_for_their_receiver() {
    let (net, p) = (net(), Process::new());
    let (a, b) = (p.socket(&net, 1, DATAGRAM), p.socket(&net, 1, DATAGRAM));
    p.bind(&*b, &name(b"log")).unwrap();
    p.connect(&*a, &name(b"log")).unwrap();
    p.bind(&*a, &Address::Unix(UnixAddress::Unnamed)).unwrap();
    let told = observe(&*a);
    let sent = (0..).take_while(|_| p.write(&*a, b"line").is_ok()).count();
    assert_eq!(sent, 10);
    assert!(!p.poll(&*a).contains(Events::OUT));
    told.take();
    let (bytes, received) = p.recv(&*b, 99, MsgFlags::empty()).unwrap();
    assert_eq!(bytes, b"line");
    assert_eq!(received.from, Some(a.local().unwrap()));
    assert!(told.take().contains(Events::OUT));
    b.close();
    assert_eq!(errno(p.write(&*a, b"x")), Errno::ECONNREFUSED);
    assert_eq!(errno(p.write(&*a, b"x")), Errno::ENOTCONN);
}

#[test]
fn the_list_shows_every_socket() {
    let (net, p) = (net(), Process::new());
    let server = p.socket(&net, 1, STREAM);
    p.bind(&*server, &name(b"srv")).unwrap();
    p.listen(&*server, 5).unwrap();
    let mut text = String::new();
    net.show_unix(&mut text).unwrap();
    assert!(text.lines().nth(1).unwrap().contains("00010000 0001 01"), "{text}");
    assert!(text.ends_with(" @srv\n"));
}
