//! The host's half of how streams share the guest's console with the kernel's log.
//!
//! The encoding is described in userland/init/src/frame.rs: bytes below 0x80 are the log's, the others carry frames.

/// Ends a frame.
const END: u8 = 0xC0;

/// What a frame is; the value is the byte that begins it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Guest to host: standard output.
    Out = 0xC1,
    /// Guest to host: standard error.
    Err = 0xC2,
    /// Guest to host: the command's status, one byte.
    Status = 0xC3,
    /// Guest to host: room for that many more bytes of input (two bytes, little-endian).
    Credit = 0xC4,
    /// Host to guest: standard input; an empty one is its end.
    Input = 0xC5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Out, Kind::Err, Kind::Status, Kind::Credit, Kind::Input].into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// Writes one frame as it goes over the line.
pub fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(payload.len().div_ceil(3) * 4 + 2);
    line.push(kind as u8);
    for group in payload.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, index| bits << 8 | u32::from(*group.get(index).unwrap_or(&0)));
        line.extend((0..=group.len()).map(|index| 0x80 | (bits >> (18 - 6 * index) & 0x3F) as u8));
    }
    line.push(END);
    line
}

/// Takes the line apart into log and frames.
#[derive(Default)]
pub struct Decoder {
    kind: Option<Kind>,
    bits: u32,
    sextets: usize,
    payload: Vec<u8>,
}

/// What one byte of the line turned out to be.
#[derive(PartialEq, Eq, Debug)]
pub enum Item {
    /// A byte of the kernel's log.
    Log(u8),
    /// A part of a frame that is not complete yet.
    Partial,
    /// The byte that completed a frame.
    Frame(Kind, Vec<u8>),
}

impl Decoder {
    /// Takes the next byte.
    pub fn push(&mut self, byte: u8) -> Item {
        match byte {
            0..0x80 => return Item::Log(byte),
            0x80..0xC0 => {
                self.bits = self.bits << 6 | u32::from(byte & 0x3F);
                // Each sextet after a group's first completes a byte.
                if !self.sextets.is_multiple_of(4) {
                    self.payload.push((self.bits >> (6 - 2 * (self.sextets % 4))) as u8);
                }
                self.sextets += 1;
            }
            END => {
                if let Some(kind) = self.kind.take() {
                    return Item::Frame(kind, std::mem::take(&mut self.payload));
                }
            }
            start => *self = Decoder { kind: Kind::from_byte(start), ..Decoder::default() },
        }
        Item::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_as_it_went_in() {
        for len in 0..600usize {
            let payload: Vec<u8> = (0..len).map(|index| (index * 7 + len) as u8).collect();
            let mut decoder = Decoder::default();
            let last = encode(Kind::Out, &payload).into_iter().map(|byte| decoder.push(byte)).last();
            assert_eq!(last, Some(Item::Frame(Kind::Out, payload)));
        }
    }

    #[test]
    fn a_log_line_in_the_middle_of_a_frame_harms_neither() {
        let line = encode(Kind::Err, b"binary \xff\x00 data");
        let mut decoder = Decoder::default();
        let (mut log, mut frames) = (Vec::new(), Vec::new());
        for (index, byte) in line.into_iter().enumerate() {
            for byte in [b'a' + (index % 26) as u8, byte] {
                match decoder.push(byte) {
                    Item::Log(byte) => log.push(byte),
                    Item::Frame(_, payload) => frames.push(payload),
                    Item::Partial => {}
                }
            }
        }
        assert_eq!(frames, [b"binary \xff\x00 data"]);
        assert!(log.starts_with(b"abcdef"));
    }

    #[test]
    fn a_frame_cut_short_is_dropped_and_the_next_one_is_read() {
        let mut decoder = Decoder::default();
        let mut line = encode(Kind::Out, b"lost");
        line.truncate(4);
        line.extend(encode(Kind::Status, &[7]));
        assert_eq!(line.into_iter().map(|byte| decoder.push(byte)).last(), Some(Item::Frame(Kind::Status, vec![7])));
    }
}
