//! Unpacks an initramfs: newc cpio archives, plain or compressed with gzip, one after another, with zeros between
//! (Documentation/driver-api/early-userspace/buffer-format.rst of Linux describes the format).
//!
//! The input may be anything. What cannot be understood ends the unpacking with an error that says where. A compressed
//! archive is unpacked through a small window, so the memory it takes is that of its files. [`crate::cpio_entry`] makes
//! the files; this module finds them.

use crate::cpio_entry::{Body, Header, Target};
use crate::mount::Location;
use alloc::boxed::Box;
use alloc::vec::Vec;
use base::{Credentials, Errno};
use crc32fast::Hasher;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

/// Why the unpacking ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Neither a cpio header nor a gzip header.
    Magic,
    /// A field of a header is no hexadecimal number.
    Field,
    /// A name or link target is empty, too long, or not ended by a zero.
    Name,
    /// The input ends within an entry.
    Truncated,
    /// The gzip data are damaged, or not what their checksum and length say.
    Gzip,
    /// A file could not be written: ENOSPC, ENOMEM.
    File(Errno),
}

/// Where and why the unpacking ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Bytes of the input before the archive with the error.
    pub archive: usize,
    /// Bytes of that archive, uncompressed, up to about the error.
    pub offset: u64,
    /// What is wrong.
    pub reason: Reason,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries that were made.
    pub entries: u64,
    /// Entries that could not be made (their directory is missing, for one) and were passed over.
    pub skipped: u64,
    /// Bytes of files.
    pub bytes: u64,
}

const HEADER: usize = 110;
const PATH_MAX: usize = 4096;

/// Unpacks `archive` below `root`, as root. May take long; for boot only.
pub fn unpack(root: &Location, archive: &[u8]) -> Result<Summary, Failure> {
    let cred = Credentials::root();
    let mut summary = Summary::default();
    let mut at = 0;
    while at < archive.len() {
        let rest = &archive[at..];
        if rest[0] == 0 {
            at += 1;
            continue;
        }
        let mut unpacker = Unpacker::new(Target::new(root.clone(), &cred));
        let outcome = if rest.starts_with(&[0x1f, 0x8b]) { gunzip(rest, &mut unpacker) } else { unpacker.feed(rest) };
        let used = outcome.and_then(|used| unpacker.finish().map(|()| used));
        let fail = |reason| Failure { archive: at, offset: unpacker.offset, reason };
        let used = used.map_err(fail)?;
        if used == 0 {
            return Err(fail(Reason::Magic));
        }
        summary.entries += unpacker.target.summary.entries;
        summary.skipped += unpacker.target.summary.skipped;
        summary.bytes += unpacker.target.summary.bytes;
        at += used;
    }
    Ok(summary)
}

/// What the next byte belongs to.
enum State {
    /// Zeros before a header.
    Between,
    Header,
    Name(Header),
    /// So many bytes of padding, then the content.
    NamePad(Header, usize),
    Data {
        left: u64,
        pad: usize,
    },
    Link {
        header: Header,
        left: usize,
        pad: usize,
    },
    Pad(usize),
}

/// Takes an archive piece by piece.
struct Unpacker<'a> {
    state: State,
    buf: Vec<u8>,
    path: Vec<u8>,
    target: Target<'a>,
    offset: u64,
}

/// How many bytes of padding bring `len` to a multiple of 4.
fn padding(len: u64) -> usize {
    (len.wrapping_neg() % 4) as usize
}

impl<'a> Unpacker<'a> {
    fn new(target: Target<'a>) -> Unpacker<'a> {
        Unpacker { state: State::Between, buf: Vec::new(), path: Vec::new(), target, offset: 0 }
    }

    /// Takes `bytes`, and says how many: fewer than all where after the end of an archive something else begins.
    fn feed(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let mut at = 0;
        while at < bytes.len() {
            let used = self.step(&bytes[at..])?;
            if used == 0 && matches!(self.state, State::Between) {
                break;
            }
            at += used;
            self.offset += used as u64;
        }
        Ok(at)
    }

    /// The input is at its end.
    fn finish(&mut self) -> Result<(), Reason> {
        self.target.finish();
        if matches!(self.state, State::Between) { Ok(()) } else { Err(Reason::Truncated) }
    }

    /// Collects up to `want` bytes in the buffer; `true` once it has them.
    fn collect(&mut self, bytes: &[u8], want: usize) -> Result<(usize, bool), Reason> {
        let n = bytes.len().min(want - self.buf.len().min(want));
        self.buf.try_reserve(n).map_err(|_| Reason::File(Errno::ENOMEM))?;
        self.buf.extend_from_slice(&bytes[..n]);
        Ok((n, self.buf.len() >= want))
    }

    /// Does what can be done with the first of `bytes`, of which there are some; gives how many it used.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        match &mut self.state {
            State::Between => {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                if zeros == 0 && bytes[0] == b'0' {
                    self.state = State::Header;
                }
                Ok(zeros)
            }
            State::Header => {
                let (n, complete) = self.collect(bytes, HEADER)?;
                if complete {
                    let header = Header::parse(&self.buf)?;
                    self.buf.clear();
                    self.state = State::Name(header);
                }
                Ok(n)
            }
            State::Name(header) => {
                let header = *header;
                let len = header.name_len as usize;
                if len == 0 || len > PATH_MAX {
                    return Err(Reason::Name);
                }
                let (n, complete) = self.collect(bytes, len)?;
                if complete {
                    if self.buf.pop() != Some(0) {
                        return Err(Reason::Name);
                    }
                    let end = self.buf.iter().position(|byte| *byte == 0).unwrap_or(self.buf.len());
                    self.buf.truncate(end);
                    core::mem::swap(&mut self.path, &mut self.buf);
                    self.buf.clear();
                    self.after_name(header, padding(HEADER as u64 + len as u64))?;
                }
                Ok(n)
            }
            State::NamePad(header, left) => {
                let (header, n) = (*header, bytes.len().min(*left));
                let left = *left - n;
                self.after_name(header, left)?;
                Ok(n)
            }
            State::Data { left, pad } => {
                let n = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                let (left, pad) = (*left, *pad);
                self.target.write(&bytes[..n]).map_err(Reason::File)?;
                if left == 0 {
                    self.target.close();
                    self.state = State::Pad(pad);
                    self.pad_done();
                }
                Ok(n)
            }
            State::Link { header, left, pad } => {
                let (header, left, pad) = (*header, *left, *pad);
                let (n, complete) = self.collect(bytes, left)?;
                if complete {
                    let end = self.buf.iter().position(|byte| *byte == 0).unwrap_or(self.buf.len());
                    if end == 0 {
                        return Err(Reason::Name);
                    }
                    self.target.symlink(&self.path, &self.buf[..end], &header).map_err(Reason::File)?;
                    self.buf.clear();
                    self.state = State::Pad(pad);
                    self.pad_done();
                }
                Ok(n)
            }
            State::Pad(left) => {
                let n = bytes.len().min(*left);
                *left -= n;
                self.pad_done();
                Ok(n)
            }
        }
    }

    fn pad_done(&mut self) {
        if matches!(self.state, State::Pad(0)) {
            self.state = State::Between;
        }
    }

    /// The name is complete but for `pad` bytes behind it.
    fn after_name(&mut self, header: Header, pad: usize) -> Result<(), Reason> {
        if pad > 0 {
            self.state = State::NamePad(header, pad);
            return Ok(());
        }
        let size = u64::from(header.size);
        let data_pad = padding(size);
        if self.path == b"TRAILER!!!" {
            self.target.end_of_archive();
            self.state = State::Pad(0);
            self.pad_done();
            return Ok(());
        }
        self.state = match header.body() {
            Body::Symlink if size == 0 || size > PATH_MAX as u64 => return Err(Reason::Name),
            Body::Symlink => State::Link { header, left: size as usize, pad: data_pad },
            body => {
                self.target.begin(&self.path, &header, body).map_err(Reason::File)?;
                if size > 0 { State::Data { left: size, pad: data_pad } } else { State::Pad(0) }
            }
        };
        if size == 0 {
            self.target.close();
        }
        self.pad_done();
        Ok(())
    }
}

/// Unpacks one gzip member at the start of `input`; gives how long it is (RFC 1952).
fn gunzip(input: &[u8], unpacker: &mut Unpacker) -> Result<usize, Reason> {
    let header = gzip_header(input).ok_or(Reason::Gzip)?;
    let mut state: Box<InflateState> = InflateState::new_boxed(DataFormat::Raw);
    let mut window = Vec::new();
    window.try_reserve_exact(32 * 1024).map_err(|_| Reason::File(Errno::ENOMEM))?;
    window.resize(32 * 1024, 0);
    let mut at = header;
    let (mut sum, mut len) = (Hasher::new(), 0u32);
    loop {
        let result = inflate(&mut state, &input[at..], &mut window, MZFlush::None);
        at += result.bytes_consumed;
        let out = &window[..result.bytes_written];
        sum.update(out);
        // Modulo 2^32, as the trailer has it.
        len = len.wrapping_add(out.len() as u32);
        if unpacker.feed(out)? < out.len() {
            return Err(Reason::Magic);
        }
        match result.status {
            Ok(MZStatus::StreamEnd) => break,
            Ok(_) if result.bytes_consumed == 0 && result.bytes_written == 0 => return Err(Reason::Truncated),
            Ok(_) => {}
            Err(MZError::Buf) => return Err(Reason::Truncated),
            Err(_) => return Err(Reason::Gzip),
        }
    }
    let trailer = input[at..].first_chunk::<8>().ok_or(Reason::Truncated)?;
    let expected = [sum.finalize().to_le_bytes(), len.to_le_bytes()];
    if trailer[..] == *expected.as_flattened() { Ok(at + 8) } else { Err(Reason::Gzip) }
}

/// The length of the gzip header at the start of `input`.
fn gzip_header(input: &[u8]) -> Option<usize> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const CRC: u8 = 2;
    // Method 8 is deflate.
    let (&[0x1f, 0x8b, 8, flags, ..], true) = (input, input.len() >= 10) else { return None };
    let mut at = 10;
    if flags & EXTRA != 0 {
        let len = input.get(at..at + 2)?;
        at += 2 + usize::from(u16::from_le_bytes([len[0], len[1]]));
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            at += input.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & CRC != 0 {
        at += 2;
    }
    (at <= input.len()).then_some(at)
}

#[cfg(test)]
mod tests;
