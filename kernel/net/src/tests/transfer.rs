//! Large transfers: what is read is what was written, whatever the pieces, and whatever is lost on the way.

use super::*;

fn pattern(at: usize) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8
}

/// Sends `total` bytes in random pieces and checks them at the other end. `lossy` lets time pass for what was lost.
fn transfer(net: &Arc<Net>, total: usize, pieces: usize, lossy: bool) {
    let p = Process::new();
    let (client, accepted) = p.tcp_pair(net);
    let (mut written, mut read) = (0, 0);
    let mut idle = 0;
    while read < total {
        let size = random() as usize % pieces + 1;
        let bytes: Vec<u8> = (written..total.min(written + size)).map(pattern).collect();
        let mut moved = 0;
        if !bytes.is_empty() {
            match p.write(&*client, &bytes) {
                Ok(n) => moved += n,
                Err(error) => assert_eq!(error, Error::WouldBlock),
            }
            written += moved;
        }
        match p.read(&*accepted, random() as usize % pieces + 1) {
            Ok(bytes) => {
                assert!(!bytes.is_empty());
                for (i, byte) in bytes.iter().enumerate() {
                    assert_eq!(*byte, pattern(read + i), "at {}", read + i);
                }
                read += bytes.len();
                moved += bytes.len();
            }
            Err(error) => assert_eq!(error, Error::WouldBlock),
        }
        idle = if moved == 0 { idle + 1 } else { 0 };
        assert!(idle < if lossy { 3000 } else { 20 }, "stuck with {written} written and {read} read of {total}");
        if moved == 0 {
            pass(50);
        }
    }
    client.close();
    pass(if lossy { 200_000 } else { 0 });
    assert_eq!(p.read(&*accepted, 1).unwrap(), b"");
}

#[test]
fn ten_megabytes_arrive_whole() {
    transfer(&net(), 10 << 20, 100_000, false);
}

#[test]
fn a_megabyte_in_tiny_pieces_arrives_whole() {
    transfer(&net(), 1 << 20, 50, false);
}

#[test]
fn what_is_lost_is_sent_again() {
    let net = net();
    LOSS.set(20);
    transfer(&net, 1 << 20, 10_000, true);
}

#[test]
fn a_connection_dropped_in_the_middle_ends_cleanly() {
    let (net, p) = (net(), Process::new());
    for by_client in [false, true] {
        let (client, accepted) = p.tcp_pair(&net);
        while p.write(&*client, &[3; 50_000]).is_ok() {}
        drop(if by_client { client } else { accepted });
    }
    pass(3000);
    let (open, _) = net.inet.connections();
    assert!(open.is_empty(), "{:?}", open.iter().map(|c| c.core().state()).collect::<Vec<_>>());
}
