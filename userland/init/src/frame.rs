//! How streams share the console with the kernel's log.
//!
//! The log is ASCII, so bytes below 0x80 are the log's and bytes from 0x80 up are ours: however the two are
//! interleaved, the reader can tell them apart byte by byte. 0x80..=0xBF carry six bits each, the most significant
//! first; 0xC0 and up begin a frame and name its kind, and [`END`] ends it. The harness has the other half
//! (tests/src/frame.rs), and the same encoding is used towards the guest.

use rt::sys;

/// Ends a frame.
pub const END: u8 = 0xC0;
/// Guest to host: standard output.
pub const OUT: u8 = 0xC1;
/// Guest to host: standard error.
pub const ERR: u8 = 0xC2;
/// Guest to host: the command's status, one byte; the last frame.
pub const STATUS: u8 = 0xC3;
/// Guest to host: room for that many more bytes of input (two bytes, little-endian).
pub const CREDIT: u8 = 0xC4;
/// Host to guest: standard input; an empty one is its end.
pub const INPUT: u8 = 0xC5;

/// The most bytes that one frame carries.
pub const PAYLOAD: usize = 512;
/// The most bytes that one frame takes on the line.
pub const ENCODED: usize = PAYLOAD.div_ceil(3) * 4 + 2;

/// Writes one frame to the console.
pub fn send(console: i32, kind: u8, payload: &[u8]) {
    let mut line = [0u8; ENCODED];
    line[0] = kind;
    let mut used = 1;
    for group in payload.chunks(3) {
        let mut bits = 0u32;
        for index in 0..3 {
            bits = bits << 8 | u32::from(*group.get(index).unwrap_or(&0));
        }
        for index in 0..group.len() + 1 {
            line[used] = 0x80 | (bits >> (18 - 6 * index) & 0x3F) as u8;
            used += 1;
        }
    }
    line[used] = END;
    // The console cannot be repaired from here if it fails; the harness's time limit is the answer.
    let _ = sys::write_all(console, &line[..used + 1]);
}

/// Takes frames apart, byte by byte.
pub struct Decoder {
    kind: u8,
    bits: u32,
    sextets: u32,
    used: usize,
    payload: [u8; PAYLOAD],
}

impl Decoder {
    /// A decoder outside any frame.
    pub const fn new() -> Decoder {
        Decoder { kind: END, bits: 0, sextets: 0, used: 0, payload: [0; PAYLOAD] }
    }

    /// Takes a byte; gives the kind and payload when it ended a frame.
    pub fn push(&mut self, byte: u8) -> Option<(u8, &[u8])> {
        match byte {
            0..0x80 => None,
            0x80..0xC0 => {
                self.bits = self.bits << 6 | u32::from(byte & 0x3F);
                self.sextets += 1;
                // Each sextet after a group's first completes a byte.
                if self.sextets % 4 != 1 && self.used < PAYLOAD {
                    let left = 6 - 2 * ((self.sextets - 1) % 4);
                    self.payload[self.used] = (self.bits >> left) as u8;
                    self.used += 1;
                }
                None
            }
            END => {
                let kind = core::mem::replace(&mut self.kind, END);
                (kind != END).then_some((kind, &self.payload[..self.used]))
            }
            kind => {
                *self = Decoder { kind, bits: 0, sextets: 0, used: 0, payload: self.payload };
                None
            }
        }
    }
}
