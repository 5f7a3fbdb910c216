//! Segments that answer for nobody: the reset of a segment that no connection wants, and the
//! acknowledgement of a FIN that arrives again in TIME-WAIT.

use super::packet::Packet;
use super::tuple::{ACK, FIN, Headers, RST, SYN};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, IpRepr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

/// Which answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// RST, by the rules of RFC 9293, 3.10.7.1.
    Reset,
    /// ACK of all that the segment carries.
    Acknowledge,
}

/// Writes the answer to `packet`, whose headers are `headers`, into `out`. False if there is to be none.
pub fn write(reply: Reply, packet: &[u8], headers: &Headers, out: &mut Packet) -> bool {
    if headers.flags & RST != 0 {
        return false;
    }
    let Some(segment) = packet.get(headers.transport..headers.end) else { return false };
    let Ok(segment) = TcpPacket::new_checked(segment) else { return false };
    let (local, remote) = (headers.tuple.local, headers.tuple.remote);
    let payload = headers.end - headers.payload;
    let length = payload + usize::from(headers.flags & SYN != 0) + usize::from(headers.flags & FIN != 0);
    let acknowledged = headers.flags & ACK != 0;
    let end = segment.seq_number() + length;
    let (control, seq_number, ack_number) = match reply {
        Reply::Reset if acknowledged => (TcpControl::Rst, segment.ack_number(), None),
        Reply::Reset => (TcpControl::Rst, TcpSeqNumber(0), Some(end)),
        Reply::Acknowledge => (TcpControl::None, segment.ack_number(), Some(end)),
    };
    let repr = TcpRepr {
        src_port: local.port,
        dst_port: remote.port,
        control,
        seq_number,
        ack_number,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let (from, to) = (IpAddress::from(local.ip.to_std()), IpAddress::from(remote.ip.to_std()));
    let ip = IpRepr::new(from, to, IpProtocol::Tcp, repr.buffer_len(), 64);
    let caps = ChecksumCapabilities::ignored();
    let head = ip.header_len();
    out.set_len(head + repr.buffer_len());
    if out.len() < head + repr.buffer_len() {
        return false;
    }
    ip.emit(&mut out[..], &caps);
    repr.emit(&mut TcpPacket::new_unchecked(&mut out[head..]), &from, &to, &caps);
    true
}
